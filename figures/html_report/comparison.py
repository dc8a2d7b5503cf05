"""A comparison of two models → what its report shows, as plain records. Names and rounds alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from ccr_diag.figures.html_report.charts import axis, look_record, reliability_chart
from ccr_diag.figures.html_report.differences_section import pair_record
from ccr_diag.figures.html_report.environment import render
from ccr_diag.figures.html_report.numbers import OWN_TERMS, Term, of_class, shown, term_of, terms
from ccr_diag.figures.html_report.page import all_definitions, chosen_settings
from ccr_diag.figures.style import results_looks
from ccr_diag.results import Results

Plain = Mapping[str, Any]

COUNTS = ("n_images", "n_classes", "n_known", "n_positive")
CLASS_METRICS = ("ece_positive", "map")
SIDES = ("a", "b")
NO_CHANGE = 0.01  # how far the axis reaches where no number differs


def comparison_page(record: Results) -> str:
    """The report of a comparison: one HTML file that needs nothing else.

    Args:
        record: of ``comparison_record``.

    Returns:
        The page; every name in it is escaped.
    """
    known = terms(record)
    (pair,) = record["differences"]["pairs"]
    labels = [model["label"] for model in record["models"]]
    first = record["models"][0]
    page: str = render(
        "comparison.html.j2",
        title=f"{labels[1]} against {labels[0]}",
        labels=labels,
        verdict=record["verdict"],
        facts=[f"{first[key]:,} {OWN_TERMS[key].label}" for key in COUNTS],
        forests=_forests(labels, pair["rows"], known),
        charts=_charts(record, known),
        classes=_classes(record, known),
        method=record["differences"]["method"],
        interval=record["definitions"]["interval"],
        definitions=all_definitions(record, known),
        provenance=record["provenance"],
        origins=[(m["label"], m["provenance"]) for m in record["models"] if m["provenance"]],
        chosen=chosen_settings(record),
    )
    return page


def _forests(
    labels: Sequence[str], rows: Sequence[Plain], known: Mapping[str, Term]
) -> list[dict[str, Any]]:
    """One a metric: all classes, base and the groups."""
    a, b = labels
    whole = pair_record("", a, b, rows, known)
    return [_forest(block) | {"terms": whole["terms"]} for block in whole["blocks"]]


def _forest(block: Plain) -> dict[str, Any]:
    """The rows of one metric, 0 in the middle of their axis: one side is better, one is worse."""
    term = block["term"]
    changes = [row["difference"] for row in block["rows"]]
    ends = [abs(end) for c in changes for end in (c.value, c.low, c.high) if end is not None]
    reach = max(ends, default=0.0) or NO_CHANGE
    shared = axis(changes, [-reach, reach])
    return {
        "id": f"forest-{term.key}",
        "term": term,
        "axis": shared,
        "rows": [row | {"mark": shared.mark(row["difference"])} for row in block["rows"]],
        "sides": ("worse", "better") if term.better == "higher" else ("better", "worse"),
        "of_distances": term.better.startswith("nearer"),
    }


def _charts(record: Results, known: Mapping[str, Term]) -> list[list[dict[str, Any]]]:
    """The reliability diagrams of both models beside one another, a row a convention."""
    looks = results_looks(record)
    return [
        [
            reliability_chart(
                model["reliability"][convention], convention, f"{side}-{convention}",
                model["label"], looks[model["name"]],
                shown(term_of(known, f"ece_{convention}"), model["metrics"][f"ece_{convention}"]),
            )
            | {"model": model["label"], "look": look_record(looks[model["name"]])}
            for side, model in zip(SIDES, record["models"], strict=True)
        ]
        for convention in ("positive", "decision")
    ]  # fmt: skip


def _classes(record: Results, known: Mapping[str, Term]) -> dict[str, Any]:
    """One row a class: what changes in it, metric by metric."""
    by_class: dict[str, dict[str, Plain]] = {}
    for row in record["class_differences"]:
        by_class.setdefault(row["class"], {})[row["metric"]] = row
    metrics = [key for key in CLASS_METRICS if any(key in rows for rows in by_class.values())]
    entries = record["models"][0]["classes"]
    return {
        "grouped": any(entry["group"] is not None for entry in entries),
        "terms": [of_class(term_of(known, key)) for key in metrics],
        "count": OWN_TERMS["n_positive"],
        "rows": [
            {
                "name": entry["name"],
                "group": entry["group"],
                "count": shown(OWN_TERMS["n_positive"], entry["n_positive"]),
                "changes": [_change(by_class[entry["name"]][key], known) for key in metrics],
            }
            for entry in entries
        ],
    }


def _change(row: Plain, known: Mapping[str, Term]) -> dict[str, Any]:
    """The two values of a class, and their difference."""
    (found,) = pair_record("", "", "", [{**row, "group": "all"}], known)["rows"]
    return {key: found[key] for key in ("a", "b", "difference", "verdict")}
