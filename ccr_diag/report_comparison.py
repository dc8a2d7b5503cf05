"""A comparison → a table for people, tidy CSV and JSON. Rounds; computes nothing.

A table is (title, header, rows of text), as in ``report``.
"""

import csv
import io
from dataclasses import fields

from ccr_diag.comparing import Comparison
from ccr_diag.metrics.comparison import METHOD, Difference
from ccr_diag.report import NONE, Table, as_json, as_latex, as_markdown, as_text


def render_comparison(comparison: Comparison, form: str) -> str:
    """The comparison as ``text``, ``markdown``, ``csv``, ``json`` or ``latex``."""
    if form == "json":
        return as_json(comparison.to_json())
    if form == "csv":
        return to_csv(comparison)
    render = {"text": as_text, "markdown": as_markdown, "latex": as_latex}[form]
    text = render(tables(comparison)).rstrip("\n") + "\n"
    return text if form == "latex" else f"{text}\n{METHOD}\n"


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
    out = io.StringIO()
    names = [field.name.rstrip("_") for field in fields(Difference)]
    writer = csv.DictWriter(out, ["name_a", "name_b", *names], lineterminator="\n")
    writer.writeheader()
    for row in comparison.differences:
        writer.writerow({"name_a": comparison.a, "name_b": comparison.b} | row.to_json())
    return out.getvalue()


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
