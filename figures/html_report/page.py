"""Results → what the report of an analysis shows, as plain records. Names and rounds alone."""

from collections.abc import Mapping
from typing import Any

from ccr_diag.figures.html_report.charts import axis, look_record
from ccr_diag.figures.html_report.differences_section import differences_section
from ccr_diag.figures.html_report.environment import render
from ccr_diag.figures.html_report.model_section import SUMMARIES, model_section
from ccr_diag.figures.html_report.numbers import OWN_TERMS, Term, column, shown, term_of, terms
from ccr_diag.figures.style import averages, results_looks
from ccr_diag.metrics.presets import preset
from ccr_diag.results import Results
from ccr_diag.verdict import expected_of, verdict

Plain = Mapping[str, Any]


def results_page(results: Results) -> str:
    """The report of an analysis: one HTML file that needs nothing else.

    Args:
        results: a parsed results file.

    Returns:
        The page; every name in it is escaped.
    """
    known, looks, said = terms(results), results_looks(results), verdict(results)
    headline = preset(results["definitions"]["preset"]).headline
    n_bins = results["definitions"]["n_bins"]
    models = [
        model_section(model, f"m{i}", looks[model["name"]], known, n_bins, headline)
        for i, model in enumerate(results["models"])
    ]
    page: str = render(
        "report.html.j2",
        title=_title(results),
        facts=_facts(results),
        verdict=said,
        shown_first=_shown_first(results, said.evidence.get("least")),
        models=models,
        glance=_glance(results, known, headline),
        averages=averages(results, [m["metrics"][headline] for m in results["models"]])
        if all(headline in m["metrics"] for m in results["models"])
        else results["definitions"]["interval"],
        several_splits=any(len(m["splits"]) > 1 for m in results["models"]),
        differences=differences_section(results, known),
        maps=_maps(results),
        definitions=all_definitions(results, known),
        provenance=results["provenance"],
        origins=[(m["label"], m["provenance"]) for m in results["models"] if m["provenance"]],
        chosen=chosen_settings(results),
        own=OWN_TERMS,
    )
    return page


def _shown_first(results: Results, least: str | None) -> str:
    """The part of the model with the least error, or else of the first one."""
    names = [model["name"] for model in results["models"]]
    return f"m{names.index(least) if least in names else 0}"


def _title(results: Results) -> str:
    data = results.get("data")
    if data:
        return f"Calibration of {data['name']}, split {data['split']}"
    labels = [model["label"] for model in results["models"]]
    return f"Calibration of {labels[0]}" if len(labels) == 1 else "Calibration of predictions"


def _facts(results: Results) -> list[str]:
    """Sizes that all models share, or their range."""
    models = results["models"]
    found = [
        f"{_span([model[key] for model in models])} {OWN_TERMS[key].label}"
        for key in ("n_images", "n_classes", "n_known", "n_positive")
    ]
    splits = [len(model["splits"]) for model in models]
    if max(splits) > 1:
        found.append(f"{_span(splits)} splits")
    return [*found, f"{len(models)} model{'s' if len(models) > 1 else ''}"]


def _span(counts: list[int]) -> str:
    least, most = min(counts), max(counts)
    return f"{least:,}" if least == most else f"{least:,}–{most:,}"


def _glance(results: Results, known: Mapping[str, Term], headline: str) -> dict[str, Any]:
    """One row a model: the summary numbers, and the first of them on one axis."""
    models, looks, expected = results["models"], results_looks(results), expected_of(headline)
    columns = [
        key for key in SUMMARIES[headline] if any(key in model["metrics"] for model in models)
    ]
    cells = [
        column(term_of(known, key), [model["metrics"].get(key) for model in models])
        for key in columns
    ]
    chance = column(
        term_of(known, expected),
        [(model["metrics"].get(expected) or {}).get("value") for model in models],
    )
    rows: list[dict[str, Any]] = [
        {
            "label": model["label"],
            "look": look_record(looks[model["name"]]),
            "cells": [of_metric[i] for of_metric in cells],
            "expected": chance[i],
        }
        for i, model in enumerate(models)
    ]
    first = cells[0] if cells else []
    shared = axis(first, [row["expected"].value for row in rows])
    for row in rows:
        row["mark"] = shared.mark(row["cells"][0], row["expected"].value) if columns else None
    return {
        "rows": rows,
        "axis": shared,
        "terms": [term_of(known, key) for key in columns],
        "expected": term_of(known, expected)
        if any(expected in model["metrics"] for model in models)
        else None,
    }


def _maps(results: Results) -> dict[str, Any]:
    """τ, b and rule of each model, and what the rules mean."""
    rows = []
    for model in results["models"]:
        splits = [split["map"] for split in model["splits"]] or [model["map"]]
        known = [found for found in splits if found is not None]
        rows.append(
            {
                "label": model["label"],
                "rule": model["map_rule"],
                "scales": [shown(OWN_TERMS["scale"], m["scale"]) for m in known],
                "biases": [shown(OWN_TERMS["bias"], m["bias"]) for m in known],
            }
        )
    used = {model["map_rule"] for model in results["models"]}
    rules = results["definitions"].get("bias_rules", {})
    return {"rows": rows, "rules": {rule: text for rule, text in rules.items() if rule in used}}


def all_definitions(results: Results, known: Mapping[str, Term]) -> list[Term]:
    """Of every number in the file, and of those that only pages show."""
    geometry = results["definitions"].get("geometry", {})
    rest = [Term(key, key, text) for key, text in geometry.items() if key not in known]
    return [*known.values(), *rest]


def chosen_settings(results: Results) -> dict[str, Any]:
    """What the definitions leave open, as it was chosen."""
    said = results["definitions"]
    chosen = {
        key: value
        for key, value in said.items()
        if key not in ("metrics", "geometry", "bias_rules", "preset")
    }
    return {"preset": f"{said['preset']}: {preset(said['preset']).says}", **chosen}
