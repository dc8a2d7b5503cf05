"""One model of the results → what its part of a report shows, as plain records."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ccr_diag.figures.html_report.charts import axis, look_record, reliability_chart, sparkline
from ccr_diag.figures.html_report.numbers import OWN_TERMS, Term, shown, term_of
from ccr_diag.figures.style import Look
from ccr_diag.verdict import model_verdict

Plain = Mapping[str, Any]

CARDS = ("ece_positive", "ece_decision", "signed_error", "map")
GROUP_COLUMNS = ("ece_positive", "ece_decision", "signed_error", "map")
CLASS_COLUMNS = ("ece_positive", "signed_error", "map")
EXPECTED = "ece_expected_positive"
MOVED = 10
MEASURES = ("ED", "NP", "drift")  # of a class that moved


def model_section(
    model: Plain, identity: str, look: Look, known: Mapping[str, Term], n_bins: int
) -> dict[str, Any]:
    """Everything that is shown of one model.

    Args:
        model: an entry of ``models``.
        identity: unique on the page, to name its parts by.
        look: its colour and marker.
        known: what numbers are, by key.
        n_bins: bins of equal width.
    """
    metrics = model["metrics"]
    return {
        "id": identity,
        "label": model["label"],
        "look": look_record(look),
        "verdict": model_verdict(model),
        "cards": _cards(model, known),
        "findings": model["findings"],
        "charts": [
            reliability_chart(
                model["reliability"][convention], convention, f"{identity}-{convention}",
                model["label"], look,
                shown(term_of(known, f"ece_{convention}"), metrics.get(f"ece_{convention}")),
            )
            for convention in ("positive", "decision")
        ],
        "groups": _groups(model, known),
        "classes": _classes(model, known, n_bins),
        "geometry": _geometry(model, known),
        "first_split": model["splits"][0]["split"] if len(model["splits"]) > 1 else None,
    }  # fmt: skip


def _cards(model: Plain, known: Mapping[str, Term]) -> list[dict[str, Any]]:
    """The summary numbers; beside the first, what a calibrated model would show."""
    found = [
        {"shown": shown(term_of(known, key), model["metrics"][key]), "beside": None}
        for key in CARDS
        if key in model["metrics"]
    ]
    if found and EXPECTED in model["metrics"]:
        expected = {"value": model["metrics"][EXPECTED]["value"]}
        found[0]["beside"] = shown(term_of(known, EXPECTED), expected)
    count = shown(OWN_TERMS["n_known"], model["n_known"])
    positive = shown(OWN_TERMS["n_positive"], model["n_positive"])
    return [*found, {"shown": count, "beside": positive}]


def _groups(model: Plain, known: Mapping[str, Term]) -> dict[str, Any] | None:
    """One row a group, the calibration errors on one axis, and all classes first."""
    columns = [key for key in GROUP_COLUMNS if key in model["metrics"]]
    if not (columns and model["groups"]):
        return None
    pools = {"all classes": model, **model["groups"]}
    rows = []
    for name, pool in pools.items():
        cells = [shown(term_of(known, key), pool["metrics"].get(key)) for key in columns]
        expected = (pool["metrics"].get(EXPECTED) or {}).get("value")
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


def _classes(model: Plain, known: Mapping[str, Term], n_bins: int) -> dict[str, Any]:
    """One row a class, in the order of the file."""
    there = [key for key in CLASS_COLUMNS if any(key in c["metrics"] for c in model["classes"])]
    columns = [_of_class(term_of(known, key)) for key in there]
    counts = ["n_positive"]
    if any(entry["n_training"] is not None for entry in model["classes"]):
        counts.insert(0, "n_training")
    rows = [
        {
            "name": entry["name"],
            "group": entry["group"],
            "counts": [shown(OWN_TERMS[key], entry[key]) for key in counts],
            "cells": [
                shown(term, entry["metrics"].get(key))
                for key, term in zip(there, columns, strict=True)
            ],
            "spark": sparkline(entry["reliability"], n_bins),
        }
        for entry in model["classes"]
    ]
    return {
        "rows": rows,
        "terms": columns,
        "counts": [OWN_TERMS[key] for key in counts],
        "grouped": bool(model["groups"]),
    }


def _of_class(term: Term) -> Term:
    """The mean over classes of average precision is of one class its average precision."""
    return replace(term, label="AP") if term.key == "map" else term


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
    moved = (of_class[name] for name in text["most_moved"][:MOVED])
    return [moved_class(entry, MEASURES, known) for entry in moved if entry["drift"]]


def moved_class(entry: Plain, measures: Sequence[str], known: Mapping[str, Term]) -> dict[str, Any]:
    """A class of the text geometry: measures, and its neighbours before and after tuning.

    Args:
        entry: of ``classes``.
        measures: keys in it.
        known: what numbers are, by key.
    """
    before, after = entry["neighbours_zero_shot"], entry["neighbours"]
    return {
        "name": entry["name"],
        "cells": [shown(term_of(known, key), entry[key]) for key in measures],
        "before": [{"name": n, "stayed": n in after} for n in before],
        "after": [{"name": n, "stayed": n in before} for n in after],
    }
