"""The results table of sweeps → tables of means over splits, for people and for programs.

A table is (title, header, rows of text), as in ``report_layout``: one a metric and data set, with a
row for each model and whatever else tells runs apart; the best of a column is marked.
"""

from typing import Any, Literal

import pandas as pd

from ccr_diag.metrics.registry import METRICS, better, definitions
from ccr_diag.records import OVER_SPLITS, label
from ccr_diag.report_layout import Table, as_csv, as_json, as_latex, lay_out, wrapped
from ccr_diag.report_tables import ALL, Entry, cells
from ccr_diag.sweep_table import UNCALIBRATED, ZERO_SHOT, identity, summarise

TABLES = {
    "map": "mAP (higher is better)",
    "ece_positive": "ECE, positive (lower is better)",
    "ece_decision": "ECE, decision (lower is better)",
    "mce_weighted_decision": "MCE, weighted, decision (lower is better)",
    "ace_decision": "ACE, decision (lower is better)",
    "piece_decision": "PIECE, decision (lower is better)",
    "signed_error": "Signed error (above 0 over-confident, below 0 under-confident)",
    "nll": "Log loss (lower is better)",
}
GROUPS = ("base", "new", "head", "medium", "tail", ALL)
HARMONIC = "map_harmonic"
WORDS = {"lambda": "λ {}", "batch_size": "batch {}", "shots": "{} shots"}
"""How a setting is said beside a model; others by their name."""

Spread = Literal["interval", "sd"]
SPREADS: dict[Spread, str] = {
    "interval": "mean ± half of the 95 % interval over splits (Student t)",
    "sd": "mean ± standard deviation over splits",
}


def render_sweep(
    frame: pd.DataFrame, form: str, width: int | None = None, spread: Spread = "interval"
) -> str:
    """The means of a sweep as ``text``, ``markdown``, ``csv``, ``json`` or ``latex``.

    Args:
        frame: of ``sweep_table.read_table``.
        form: which.
        width: characters a line of text.
        spread: what stands after ±; CSV and JSON hold both.

    Raises:
        BadData: runs that the table cannot tell apart.
    """
    if form in ("csv", "json"):
        return _as_records(frame, form)
    if form == "latex":
        return as_latex(tables(frame, spread), notes(frame, spread))
    text = lay_out(tables(frame, spread), form, width)
    lines = [wrapped(line, width if form == "text" else None) for line in notes(frame, spread)]
    return f"{text}\n" + ("\n" if form == "text" else "\n\n").join(lines) + "\n"


def tables(frame: pd.DataFrame, spread: Spread = "interval") -> list[Table]:
    """One table a metric and data set, those of zero-shot first; “–” where a number is undefined.

    Args:
        frame: of ``sweep_table.read_table``.
        spread: what stands after ±.
    """
    ordered = _zero_shot_first(frame[frame["metric"].isin([*TABLES, HARMONIC])])
    found = summarise(ordered, identity(ordered))
    found["row"] = labels(found)
    several = len(found[["data", "test_split"]].drop_duplicates()) > 1
    made = []
    for (data, split), part in found.groupby(["data", "test_split"], sort=False):
        of = f", {data} ({split})" if several else ""
        for metric, title in TABLES.items():
            if (part["metric"] == metric).any():
                made.append(_table(f"{title}, × 100{of}", part, metric, spread))
    return made


def _table(title: str, means: pd.DataFrame, metric: str, spread: Spread) -> Table:
    """One metric: a row for each kind of run, a column a group."""
    rows = means["row"].unique()
    columns = {g: (metric, g) for g in GROUPS if (means["group"] == g).any()}
    if metric == "map" and (means["metric"] == HARMONIC).any():
        columns["harmonic mean"] = (HARMONIC, ALL)
    shown = [_column(means, rows, *column, spread) for column in columns.values()]
    body = [[row, *texts] for row, *texts in zip(rows, *shown, strict=True)]
    return title, ["model", *columns], body


def _column(means: pd.DataFrame, rows: Any, metric: str, group: str, spread: Spread) -> list[str]:
    part = means[(means["metric"] == metric) & (means["group"] == group)].set_index("row")
    entries = [entry_of(part.loc[row], spread) if row in part.index else None for row in rows]
    return cells(entries, 100.0, several=True, way=better(metric))


def entry_of(mean: "pd.Series[Any] | dict[Any, Any]", spread: Spread) -> Entry:
    """Value and ends, None where undefined.

    Args:
        mean: a row of ``summarise``.
        spread: how far from the value the ends are.
    """
    value = mean["mean"]
    ends = (mean["low"], mean["high"])
    if spread == "sd":
        ends = (value - mean["sd"], value + mean["sd"])
    numbers = dict(zip(("value", "low", "high"), (value, *ends), strict=True))
    return {key: None if pd.isna(number) else float(number) for key, number in numbers.items()}


def labels(frame: pd.DataFrame, without: str = "") -> "pd.Series[str]":
    """What each row's runs are called: the model, what tells its runs apart, and the calibrator.

    Args:
        frame: rows of a table, or means of them.
        without: a setting, or ``calibrator``, that is left out.
    """
    telling = [name for name in _settings(frame) if name != without]
    several = frame.groupby("model", sort=False)[telling].nunique() > 1
    columns = ["model", *telling] + ["calibrator"] * (without != "calibrator")
    rows = list(frame[columns].itertuples(index=False, name=None))
    said = {row: _said(dict(zip(columns, row, strict=True)), several) for row in set(rows)}
    return pd.Series([said[row] for row in rows], index=frame.index, dtype=object)


def _settings(frame: pd.DataFrame) -> list[str]:
    """Settings of tuning, which a model's name may not tell."""
    apart = ("model", "data", "test_split", "calibrator", "preset", "n_bins", "row")
    means = ("mean", "sd", "low", "high", "n")
    return [name for name in identity(frame) if name not in (*apart, *means)]


def _said(row: dict[str, Any], several: pd.DataFrame) -> str:
    """“BCE + CCR, λ 10, temperature by group”."""
    model, calibrator = row["model"], row.get("calibrator", UNCALIBRATED)
    telling = [name for name in several.columns if several.loc[model, name]]
    words = [label(model), *(setting_said(name, row[name]) for name in telling)]
    return ", ".join(words + [calibrator] * (calibrator != UNCALIBRATED))


def setting_said(name: str, value: Any) -> str:
    """“λ 10”, “batch 32”, “16 shots”, “epochs 3”."""
    number = f"{value:g}" if isinstance(value, float) else str(value) or "none"
    return WORDS.get(name, f"{name.replace('_', ' ')} {{}}").format(number)


def notes(frame: pd.DataFrame, spread: Spread = "interval") -> list[str]:
    """What the numbers are, and which runs lack splits that others have."""
    said = SPREADS[spread][0].upper() + SPREADS[spread][1:]
    preset, n_bins = frame["preset"].iloc[0], frame["n_bins"].iloc[0]
    splits = set(frame["split"])
    lines = [f"{said}; {_counted(len(splits), 'split')}, preset {preset}, {n_bins} bins."]
    ordered = _zero_shot_first(frame)
    for name, part in ordered.groupby(labels(ordered, "calibrator"), sort=False)["split"]:
        missing = sorted(splits - set(part))
        if missing:
            lines.append(
                f"{name}: {len(splits) - len(missing)} of {len(splits)} splits, without "
                f"{', '.join(map(str, missing))}."
            )
    return lines


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}" + "s" * (n != 1)


def _zero_shot_first(frame: pd.DataFrame) -> pd.DataFrame:
    untuned = frame["framework"] == ZERO_SHOT
    return pd.concat([frame[untuned], frame[~untuned]], ignore_index=True)


def _as_records(frame: pd.DataFrame, form: str) -> str:
    """Tidy means in full precision, one a row, of every metric."""
    means = summarise(frame, identity(frame))
    plain = means.astype(object).where(means.notna(), None)
    if form == "csv":
        return as_csv([list(plain.columns), *plain.itertuples(index=False, name=None)])
    known = [m for m in means["metric"].unique() if m in METRICS or m == HARMONIC]
    said = {
        "preset": str(frame["preset"].iloc[0]),
        "n_bins": int(frame["n_bins"].iloc[0]),
        "interval": OVER_SPLITS,
        "metrics": definitions(known),
    }
    return as_json({"definitions": said, "means": plain.to_dict("records")})
