"""Results → what ``analyze`` prints and writes: tables, findings and definitions, in every form.

results ──► report_tables: which tables there are ──► report_layout: text, Markdown, LaTeX, CSV
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ccr_diag.metrics.presets import preset
from ccr_diag.report_layout import as_csv, as_json, as_latex, as_markdown, as_text, wrapped
from ccr_diag.report_tables import ALL, Entry, tables
from ccr_diag.results import Results
from ccr_diag.runs import TABLES_CSV, TABLES_MARKDOWN, write_text

BELOW = "calibration errors err upwards; an interval takes that back, and may lie below its value"


def render(results: Results, form: str, width: int | None = None) -> str:
    """The results in one of ``FORMATS``, ending in a line break.

    Args:
        results: of ``analyze checkpoint`` or ``analyze predictions``.
        form: which.
        width: characters a line of text, see ``as_text``.
    """
    if form == "text":
        return to_text(results, width) + "\n"
    forms = {"markdown": to_markdown, "csv": to_csv, "latex": to_latex, "json": as_json}
    return forms[form](results)


def write_tables(results: Results, folder: Path) -> None:
    """Write ``tables.md`` and ``tables.csv``."""
    write_text(folder / TABLES_MARKDOWN, to_markdown(results))
    write_text(folder / TABLES_CSV, to_csv(results))


def to_text(results: Results, width: int | None = None) -> str:
    """Aligned columns for a terminal, then the findings and the definitions."""
    parts = [as_text(tables(results), width)]
    for label, sentences in findings(results):
        lines = (wrapped(sentence, width, "  - ", "    ") for sentence in sentences)
        parts.append("\n".join([f"Findings, {label}", *lines]))
    return "\n\n".join([*parts, wrapped(definitions_line(results), width)])


def to_markdown(results: Results) -> str:
    """The same in Markdown."""
    parts = [as_markdown(tables(results)).rstrip("\n")]
    for label, sentences in findings(results):
        lines = (f"- {line}" for line in sentences)
        parts.append("\n".join([f"**Findings, {label}**", "", *lines]))
    return "\n\n".join([*parts, definitions_line(results)]) + "\n"


def to_latex(results: Results) -> str:
    """The tables for LaTeX with booktabs; each says the definitions."""
    return as_latex(tables(results), [definitions_line(results)])


def to_csv(results: Results) -> str:
    """Tidy rows in full precision: model, map rule, group, class, metric, value, low, high."""
    header = ["model", "map_rule", "group", "class", "metric", "value", "low", "high"]
    return as_csv([header, *(row for m in results["models"] for row in _tidy(m))])


def _tidy(model: dict[str, Any]) -> Iterable[list[Any]]:
    """Group ``all`` holds all classes; ``class`` is empty but for the numbers of one class."""
    pools = {ALL: model, **model["groups"]}
    places: list[tuple[str, str, dict[str, Entry]]] = [
        *((group, "", pool["metrics"]) for group, pool in pools.items()),
        (ALL, "", model["geometry"].get("summary", {})),
        *((c["group"] or "", c["name"], c["metrics"]) for c in model["classes"]),
    ]
    for group, class_, metrics in places:
        for metric, entry in metrics.items():
            values = [entry[key] for key in ("value", "low", "high")]
            yield [model["name"], model["map_rule"], group, class_, metric, *values]


def findings(results: Results) -> list[tuple[str, list[str]]]:
    """Label of each model that has findings, and the sentences."""
    return [
        (
            f"{model['label']} (split {model['splits'][0]['split']})"
            if len(model["splits"]) > 1
            else model["label"],
            [finding["text"] for finding in model["findings"]],
        )
        for model in results["models"]
        if model["findings"]
    ]


def definitions_line(results: Results) -> str:
    """What was chosen, in one line."""
    chosen, known = results["definitions"], preset(results["definitions"]["preset"])
    said = [f"{chosen['preset']}: {known.says}", chosen["interval"]]
    if chosen["n_bins"] != known.n_bins:
        said.insert(1, f"but {chosen['n_bins']} bins")
    entries = (entry for model in results["models"] for entry in model["metrics"].values())
    if any(e["high"] is not None and e["high"] < e["value"] for e in entries):
        said.append(BELOW)
    return f"Definitions: {'; '.join(said)}."
