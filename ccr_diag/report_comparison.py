"""A comparison → a table for people, tidy CSV and JSON. Rounds; computes nothing.

A table is (title, header, rows of text), as in ``report_layout``.
"""

from dataclasses import fields

from ccr_diag.comparing import Comparison
from ccr_diag.metrics.comparison import METHOD, Difference
from ccr_diag.report_layout import NONE, Table, as_csv, as_json, lay_out, wrapped


def render_comparison(comparison: Comparison, form: str, width: int | None = None) -> str:
    """The comparison as ``text``, ``markdown``, ``csv``, ``json`` or ``latex``.

    Args:
        comparison: of two files.
        form: which.
        width: characters a line of the sentences below a table of text; no table is cut, as two
            columns name its rows.
    """
    if form == "json":
        return as_json(comparison.to_json())
    if form == "csv":
        return to_csv(comparison)
    text = lay_out(tables(comparison), form)
    if form == "latex":
        return text
    return f"{text}\n{wrapped(METHOD, width if form == 'text' else None)}\n"


def tables(comparison: Comparison) -> list[Table]:
    """One row a metric and group or class."""
    options = comparison.options
    title = (
        f"{comparison.b} (B) against {comparison.a} (A): {comparison.n_images} images, "
        f"{options['n_bins']} bins, {options['n_bootstrap']} replicates"
    )
    header = ["metric", "of", "A", "B", "difference", "p (Holm)", "B is"]
    return [(title, header, [_row(row) for row in comparison.differences])]


def to_csv(comparison: Comparison) -> str:
    """Tidy rows in full precision, one a difference; undefined numbers are empty."""
    names = [field.name.rstrip("_") for field in fields(Difference)]
    records = [row.to_json() for row in comparison.differences]
    rows = ([comparison.a, comparison.b, *(record[n] for n in names)] for record in records)
    return as_csv([["name_a", "name_b", *names], *rows])


def _row(row: Difference) -> list[str]:
    of = row.class_ or ("all classes" if row.group == "all" else row.group)
    values = [_plain(row.a), _plain(row.b), _with_interval(row), _p(row.p_holm)]
    return [row.metric, of, *values, row.verdict]


def _with_interval(row: Difference) -> str:
    if row.low != row.low:  # NaN
        return _signed(row.difference)
    return f"{_signed(row.difference)} [{_signed(row.low)}, {_signed(row.high)}]"


def _p(p: float) -> str:
    if p != p:  # NaN
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _plain(value: float) -> str:
    return NONE if value != value else f"{value:z.4f}"


def _signed(value: float) -> str:
    return NONE if value != value else f"{value:+z.4f}"
