"""A measured pair in, everything that the page of a comparison shows out.

The layout of ``results`` with two models, whose one pair has a row for all classes, base and each
group, and beside it::

    "class_differences": [{"metric", "class", "a", "b", "difference", "low", "high", "p", "p_holm",
                           "verdict"}],
    "verdict": {"text", "reasons": [text]}
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ccr_diag.comparing import MeasuredPair
from ccr_diag.differences import ROWS_SAID, compared_metrics, row_record, rows_over_images
from ccr_diag.measuring import record_of
from ccr_diag.metrics.comparison import METHOD, Difference, compare
from ccr_diag.metrics.presets import preset
from ccr_diag.results import Results
from ccr_diag.verdict import CALLED, model_verdict

Row = Mapping[str, Any]

CALIBRATED = {
    "better": "{b} is better calibrated than {a}",
    "worse": "{b} is worse calibrated than {a}",
    "cannot tell": "Which of {a} and {b} is better calibrated cannot be told",
}
OTHERS = {"map": ("mAP", 100, "{:.1f} %"), "brier": ("Brier score", 1, "{:.4f}")}
"""What the verdict adds of other measures: how it calls, scales and writes them."""


def comparison_record(pair: MeasuredPair, metrics: Sequence[str] = ()) -> Results:
    """All rows of the metrics asked for and of those that are always compared.

    Args:
        pair: of two predictions.
        metrics: keys of metrics, beside ``compared_metrics``.

    Raises:
        BadConfig: a metric was not measured, or there are no replicates.
    """
    a, b = pair.measured
    chosen = list(dict.fromkeys([*compared_metrics(a, b), *metrics]))
    rows = rows_over_images(a, b, chosen)
    of_class = [m for m in chosen if m in a.class_values]
    results = record_of(pair.names, pair.predictions, pair.measured)
    name_a, name_b = pair.names
    results["differences"] = {
        "method": f"{METHOD} {ROWS_SAID} Classes are one family of their own.",
        "pairs": [{"a": name_a, "b": name_b, "rows": rows}],
    }
    results["class_differences"] = [
        _class_row(row) for m in of_class for row in compare(a, b, m, "class")
    ]
    results["verdict"] = _verdict(results, rows)
    return results


def _class_row(row: Difference) -> dict[str, Any]:
    return {"class": row.class_} | {k: v for k, v in row_record(row).items() if k != "group"}


def _verdict(results: Results, rows: Sequence[Row]) -> dict[str, Any]:
    """One sentence, then how the groups, each model alone and other measures stand."""
    labels = dict(zip("ab", (model["label"] for model in results["models"]), strict=True))
    metric = preset(results["definitions"]["preset"]).headline
    all_ = _row(rows, metric, "all")
    text = f"{CALIBRATED[all_['verdict']].format(**labels)}: {CALLED[metric]} {_change(all_)}."
    groups = [r for r in rows if r["metric"] == metric and r["group"] not in ("all", "base")]
    reasons = [_of_groups(labels["b"], groups)] if groups else []
    reasons += [model_verdict(model, metric).text for model in results["models"]]
    for key, (said, scale, form) in OTHERS.items():
        row = _row(rows, key, "all")
        if row["difference"] is not None:
            values = " → ".join(form.format(scale * row[side]) for side in "ab")
            reasons.append(f"{said}: {labels['b']} is {_called(row)}, {values}.")
    return {"text": text, "reasons": reasons}


def _of_groups(b: str, groups: Sequence[Row]) -> str:
    """How B does there: “By group, B is better for head and new; for tail it cannot be told.”."""
    by_verdict: dict[str, list[str]] = {}
    for row in groups:
        by_verdict.setdefault(row["verdict"], []).append(row["group"])
    known = [
        f"{verdict} for {_listed(by_verdict[verdict])}"
        for verdict in ("better", "worse")
        if verdict in by_verdict
    ]
    open_ = by_verdict.get("cannot tell")
    unknown = f"for {_listed(open_)} it cannot be told" if open_ else ""
    if not known:
        return f"By group, {unknown}."
    return f"By group, {b} is {' and '.join(known)}{f'; {unknown}' if unknown else ''}."


def _called(row: Row) -> str:
    return "not told apart" if row["verdict"] == "cannot tell" else str(row["verdict"])


def _row(rows: Sequence[Row], metric: str, group: str) -> Row:
    return next(row for row in rows if (row["metric"], row["group"]) == (metric, group))


def _change(row: Row) -> str:
    """“2.71 % against 4.05 %, a difference of −1.34 points [−1.80, −1.00]”."""
    if row["difference"] is None:
        return "is undefined"
    said = f"{100 * row['b']:.2f} % against {100 * row['a']:.2f} %"
    said += f", a difference of {_points(row['difference'])} points"
    if row["low"] is None or row["high"] is None:
        return said
    return f"{said} [{_points(row['low'])}, {_points(row['high'])}]"


def _points(value: float) -> str:
    return f"{100 * value:+z.2f}".replace("-", "−")


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
