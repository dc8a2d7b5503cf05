"""One model of the results → what its part of a report shows, as plain records."""

from collections.abc import Mapping, Sequence
from typing import Any

from ccr_diag.figures.html_report.charts import axis, look_record, reliability_chart, sparkline
from ccr_diag.figures.html_report.numbers import (
    OWN_TERMS,
    Term,
    column,
    decimals_of,
    of_class,
    shown,
    term_of,
)
from ccr_diag.figures.style import Look
from ccr_diag.verdict import expected_of, model_verdict

Plain = Mapping[str, Any]

SUMMARIES = {  # the calibration error that a preset begins with → what is shown beside it
    "ece_positive": ("ece_positive", "ece_decision", "signed_error", "map"),
    "ece_decision": (
        "ece_decision", "ace_decision", "mce_weighted_decision", "piece_decision", "map",
    ),
}  # fmt: skip
MOVED = 10
MEASURES = ("ED", "NP", "drift")  # of a class that moved


def model_section(
    model: Plain, identity: str, look: Look, known: Mapping[str, Term], n_bins: int, headline: str
) -> dict[str, Any]:
    """Everything that is shown of one model.

    Args:
        model: an entry of ``models``.
        identity: unique on the page, to name its parts by.
        look: its colour and marker.
        known: what numbers are, by key.
        n_bins: bins of equal width.
        headline: the calibration error that comes first, a key of ``SUMMARIES``.
    """
    metrics = model["metrics"]
    conventions = sorted(("positive", "decision"), key=lambda name: not headline.endswith(name))
    return {
        "id": identity,
        "label": model["label"],
        "look": look_record(look),
        "verdict": model_verdict(model, headline),
        "cards": _cards(model, known, headline),
        "findings": model["findings"],
        "charts": [
            reliability_chart(
                model["reliability"][convention], convention, f"{identity}-{convention}",
                model["label"], look,
                shown(term_of(known, f"ece_{convention}"), metrics.get(f"ece_{convention}")),
            )
            for convention in conventions
        ],
        "groups": _groups(model, known, headline),
        "classes": _classes(model, known, n_bins, headline),
        "geometry": _geometry(model, known),
        "first_split": model["splits"][0]["split"] if len(model["splits"]) > 1 else None,
    }  # fmt: skip


def _cards(model: Plain, known: Mapping[str, Term], headline: str) -> list[dict[str, Any]]:
    """The summary numbers; beside the first, what a calibrated model would show."""
    found: list[dict[str, Any]] = [
        {"shown": shown(term_of(known, key), model["metrics"][key]), "beside": None}
        for key in SUMMARIES[headline]
        if key in model["metrics"]
    ]
    expected = expected_of(headline)
    if headline in model["metrics"] and expected in model["metrics"]:
        value = model["metrics"][expected]["value"]
        places = decimals_of(found[0]["shown"])
        found[0]["beside"] = shown(term_of(known, expected), value, places)
    count = shown(OWN_TERMS["n_known"], model["n_known"])
    positive = shown(OWN_TERMS["n_positive"], model["n_positive"])
    return [*found, {"shown": count, "beside": positive}]


def _groups(model: Plain, known: Mapping[str, Term], headline: str) -> dict[str, Any] | None:
    """One row a group, the calibration errors on one axis, and all classes first."""
    columns = [key for key in SUMMARIES[headline] if key in model["metrics"]]
    if not (columns and model["groups"]):
        return None
    pools = {"all classes": model, **model["groups"]}
    by_column = [
        column(term_of(known, key), [pool["metrics"].get(key) for pool in pools.values()])
        for key in columns
    ]
    rows = []
    for i, (name, pool) in enumerate(pools.items()):
        cells = [of_metric[i] for of_metric in by_column]
        expected = (pool["metrics"].get(expected_of(headline)) or {}).get("value")
        counts = [shown(OWN_TERMS[key], pool[key]) for key in ("n_classes", "n_positive")]
        rows.append({"name": name, "counts": counts, "cells": cells, "expected": expected})
    first = [row["cells"][0] for row in rows]
    shared = axis(first, [row["expected"] for row in rows])
    for row in rows:
        row["mark"] = shared.mark(row["cells"][0], row["expected"])
    return {
        "rows": rows,
        "axis": shared,
        "terms": [term_of(known, key) for key in columns],
        "counts": [OWN_TERMS[key] for key in ("n_classes", "n_positive")],
    }


def _classes(model: Plain, known: Mapping[str, Term], n_bins: int, headline: str) -> dict[str, Any]:
    """One row a class, in the order of the file."""
    classes, shows = model["classes"], (headline, "signed_error", "map")
    there = [key for key in shows if any(key in entry["metrics"] for entry in classes)]
    columns = [of_class(term_of(known, key)) for key in there]
    by_column = [
        column(term, [entry["metrics"].get(key) for entry in classes])
        for key, term in zip(there, columns, strict=True)
    ]
    counts = ["n_positive"]
    if any(entry["n_training"] is not None for entry in classes):
        counts.insert(0, "n_training")
    rows = [
        {
            "name": entry["name"],
            "group": entry["group"],
            "counts": [shown(OWN_TERMS[key], entry[key]) for key in counts],
            "cells": [of_metric[i] for of_metric in by_column],
            "spark": sparkline(entry["reliability"], n_bins),
        }
        for i, entry in enumerate(classes)
    ]
    return {
        "rows": rows,
        "terms": columns,
        "counts": [OWN_TERMS[key] for key in counts],
        "grouped": bool(model["groups"]),
    }


def _geometry(model: Plain, known: Mapping[str, Term]) -> dict[str, Any] | None:
    """What tuning did to the text space: the summary, and the classes that moved most."""
    if not model["geometry"]:
        return None
    summary = model["geometry"]["summary"]
    text = model["splits"][0]["geometry"].get("text") if model["splits"] else None
    return {
        "summary": [shown(term_of(known, key), entry) for key, entry in summary.items()],
        "terms": [term_of(known, key) for key in MEASURES],
        "k": text["k"] if text else None,
        "moved": _moved(text, known) if text else [],
    }


def _moved(text: Plain, known: Mapping[str, Term]) -> list[dict[str, Any]]:
    """Neighbours before and after of the classes that moved most; which of them stayed or came."""
    of_class = {entry["name"]: entry for entry in text["classes"]}
    moved = [of_class[name] for name in text["most_moved"][:MOVED]]
    return moved_classes([entry for entry in moved if entry["drift"]], MEASURES, known)


def moved_classes(
    entries: Sequence[Plain], measures: Sequence[str], known: Mapping[str, Term]
) -> list[dict[str, Any]]:
    """Classes of the text geometry: measures, and their neighbours before and after tuning.

    Args:
        entries: of ``classes``.
        measures: keys in them.
        known: what numbers are, by key.
    """
    columns = [column(term_of(known, key), [entry[key] for entry in entries]) for key in measures]
    rows = []
    for i, entry in enumerate(entries):
        before, after = entry["neighbours_zero_shot"], entry["neighbours"]
        rows.append(
            {
                "name": entry["name"],
                "cells": [of_measure[i] for of_measure in columns],
                "before": [{"name": n, "stayed": n in after} for n in before],
                "after": [{"name": n, "stayed": n in before} for n in after],
            }
        )
    return rows
