"""Results → tables: text for the terminal, Markdown and tidy CSV for files.

Rounds; computes nothing.
"""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ccr_diag.results import Results
from ccr_diag.runs import TABLES_CSV, TABLES_MARKDOWN, write_text

GROUP_COLUMNS = ("head", "medium", "tail", "new", "base")
GROUP_TABLES = {
    "ece_positive": "ECE, positive (%, lower is better)",
    "signed_error": "Signed error (%, above 0 over-confident, below 0 under-confident)",
    "mAP": "mAP (%, higher is better)",
}
GEOMETRY_TABLE = (
    "Text geometry (ED: mean distance to 5 nearest classes; "
    "NP@5: share of zero-shot neighbours kept)"
)

Table = tuple[str, list[str], list[list[str]]]


def tables(results: Results) -> list[Table]:
    """(title, header, rows of text) of each table: one a metric by group, one of the geometry."""
    found: list[Table] = []
    for metric, title in GROUP_TABLES.items():
        groups = [g for g in GROUP_COLUMNS if g in results["models"][0]["summary"]]
        rows = [
            [model["label"], *(percent(model["summary"][g][metric]) for g in groups)]
            for model in results["models"]
        ]
        found.append((title, ["model", *groups], rows))
    columns = list(results["models"][0]["geometry_summary"])
    rows = [
        [model["label"], *(plain(model["geometry_summary"][c]) for c in columns)]
        for model in results["models"]
    ]
    found.append((GEOMETRY_TABLE, ["model", *columns], rows))
    return found


def percent(interval: dict[str, Any]) -> str:
    """“12.3 ± 0.4” in percent; the half-width of the interval is left out where there is none."""
    return _with_half_width(interval, 100.0, 1)


def plain(interval: dict[str, Any]) -> str:
    """“0.123 ± 0.004”."""
    return _with_half_width(interval, 1.0, 3)


def _with_half_width(interval: dict[str, Any], factor: float, digits: int) -> str:
    mean, high = interval["mean"], interval["high"]
    if mean is None:
        return "–"
    text = f"{factor * mean:.{digits}f}"
    return text if high is None else f"{text} ± {factor * (high - mean):.{digits}f}"


def to_text(results: Results) -> str:
    """Aligned columns for a terminal."""
    return "\n\n".join(_aligned(*table) for table in tables(results))


def _aligned(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in [header, *rows]
    ]
    return "\n".join([title, lines[0], "─" * len(lines[0]), *lines[1:]])


def to_markdown(results: Results) -> str:
    """The same tables in Markdown."""
    parts = []
    for title, header, rows in tables(results):
        lines = [f"| {' | '.join(row)} |" for row in [header, *rows]]
        parts.append(
            "\n".join([f"**{title}**", "", lines[0], "|---" * len(header) + "|", *lines[1:]])
        )
    return "\n\n".join(parts) + "\n"


def to_csv(results: Results) -> str:
    """Tidy rows in full precision: model, bias rule, group, metric, mean, sd, low, high, n."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["model", "bias_rule", "group", "metric", "mean", "sd", "low", "high", "n"])
    for model in results["models"]:
        measured = {**model["summary"], "all classes": model["geometry_summary"]}
        for group, metrics in measured.items():
            for metric, interval in metrics.items():
                values = [interval[key] for key in ("mean", "sd", "low", "high", "n")]
                writer.writerow([model["name"], model["map_rule"], group, metric, *values])
    return out.getvalue()


def write_tables(results: Results, folder: Path) -> None:
    """Write ``tables.md`` and ``tables.csv``."""
    write_text(folder / TABLES_MARKDOWN, to_markdown(results))
    write_text(folder / TABLES_CSV, to_csv(results))


def render(results: Results, form: str) -> str:
    """The results as ``text``, ``markdown``, ``csv`` or ``json``."""
    if form == "json":
        return json.dumps(results, indent=1)
    return {"text": to_text, "markdown": to_markdown, "csv": to_csv}[form](results)
