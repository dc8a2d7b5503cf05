"""Results → tables: text for the terminal, Markdown and LaTeX for papers, tidy CSV for files.

Rounds; computes nothing. A table is (title, header, rows of text); ``as_text``, ``as_markdown``,
``as_latex`` and ``as_csv`` lay any list of tables out.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ccr_diag.metrics.presets import preset
from ccr_diag.results import Results
from ccr_diag.runs import TABLES_CSV, TABLES_MARKDOWN, write_text

Table = tuple[str, list[str], list[list[str]]]
Entry = dict[str, float | None]
"""``value``, ``low`` and ``high``, each perhaps None."""

NONE = "–"
FORMATS = ("text", "markdown", "csv", "json", "latex")
GROUP_TABLES = {
    "ece_positive": "ECE, positive, by group (lower is better; in brackets what a calibrated model "
    "would show on as many labels)",
    "signed_error": "Signed error by group (above 0 over-confident, below 0 under-confident)",
    "map": "mAP by group (higher is better)",
}
REFERENCE = {"ece_positive": "ece_expected_positive"}
SMALL_SAMPLE = (
    "How far the numbers carry (expected: ECE of a calibrated model on as many labels; "
    "debiased: around 0 for a calibrated model)"
)
SAMPLE_METRICS = ("ece_positive", "ece_expected_positive", "l2_debiased_positive")
GEOMETRY_TABLE = (
    "Text geometry (ED: mean distance to 5 nearest classes; "
    "NP@5: share of zero-shot neighbours kept)"
)
GEOMETRY_COLUMNS = ("ED", "NP@5", "gap", "RBO", "pair_drift", "effective_rank")
BELOW = "calibration errors err upwards; an interval takes that back, and may lie below its value"


def tables(results: Results) -> list[Table]:
    """All classes, each group, how far the sample carries, and the text geometry if there is one.

    Args:
        results: of ``analyze checkpoint`` or ``analyze predictions``.
    """
    models = results["models"]
    chosen = preset(results["definitions"]["preset"])
    shown = {
        metric: title
        for metric, title in chosen.columns.items()
        if any(metric in model["metrics"] for model in models)
    }
    columns = [[model["metrics"].get(metric) for model in models] for metric in shown]
    unit = "" if chosen.scale == 1 else f", × {chosen.scale:g}"
    title = f"All classes{unit}"
    found = [_by_model(title, models, shown.values(), columns, chosen.scale)]
    groups = list(models[0]["groups"])
    if groups:
        found += [_by_group(metric, models, groups) for metric in GROUP_TABLES]
    found.append(_small_sample(models))
    if all(model["geometry"] for model in models):
        found.append(_geometry(models))
    return found


def _by_model(
    title: str,
    models: Sequence[dict[str, Any]],
    header: Iterable[str],
    columns: Sequence[Sequence[Entry | None]],
    scale: float,
) -> Table:
    """One row a model, one column a measure."""
    several = any(len(model["splits"]) > 1 for model in models)
    texts = [_column(column, scale, several) for column in columns]
    rows = [[model["label"], *(c[i] for c in texts)] for i, model in enumerate(models)]
    return title, ["model", *header], rows


def _by_group(metric: str, models: Sequence[dict[str, Any]], groups: Sequence[str]) -> Table:
    of_group = [[_metrics(model, group) for model in models] for group in groups]
    columns = [[metrics.get(metric) for metrics in column] for column in of_group]
    title = f"{GROUP_TABLES[metric]}, × 100"
    _, header, rows = _by_model(title, models, groups, columns, 100.0)
    if metric in REFERENCE:
        for row, by_group in zip(rows, zip(*of_group, strict=True), strict=True):
            for i, metrics in enumerate(by_group, start=1):
                reference = metrics.get(REFERENCE[metric], {"value": None})
                row[i] += f" ({_number(reference['value'], 100.0, 1)})"
    return title, header, rows


def _metrics(model: dict[str, Any], group: str) -> dict[str, Entry]:
    found: dict[str, Entry] = model["groups"].get(group, {"metrics": {}})["metrics"]
    return found


def _small_sample(models: Sequence[dict[str, Any]]) -> Table:
    """One row a model and group: how many labels there are, and what chance alone would show."""
    rows = []
    for model in models:
        for i, (group, pool) in enumerate({"all": model, **model["groups"]}.items()):
            counts = (pool[k] for k in ("n_classes", "n_known", "n_positive", "effective_bins"))
            values = (pool["metrics"].get(metric, {"value": None}) for metric in SAMPLE_METRICS)
            rows.append(
                [
                    "" if i else model["label"],
                    group,
                    *map(str, counts),
                    *(_number(entry["value"], 100.0, 2) for entry in values),
                ]
            )
    header = ["model", "group", "classes", "labels", "positive", "filled bins"]
    return f"{SMALL_SAMPLE}, × 100", [*header, "ECE", "expected", "debiased"], rows


def _geometry(models: Sequence[dict[str, Any]]) -> Table:
    names = [n for n in GEOMETRY_COLUMNS if n in models[0]["geometry"]["summary"]]
    columns = [[model["geometry"]["summary"].get(n) for model in models] for n in names]
    return _by_model(GEOMETRY_TABLE, models, names, columns, 1.0)


def _column(entries: Sequence[Entry | None], scale: float, several: bool) -> list[str]:
    """One more decimal where every value would otherwise show a single digit."""
    sizes = [abs(scale * (e["value"] or 0.0)) for e in entries if e is not None]
    few, least = (1, 1.0) if scale == 100 else (3, 0.1)
    digits = few if max(sizes, default=0.0) >= least else few + 1
    return [cell(entry, scale, digits, several) for entry in entries]


def cell(entry: Entry | None, scale: float, digits: int, several: bool = False) -> str:
    """“3.1 [2.9, 3.4]”, or “3.1 ± 0.2” for the mean over several splits; “–” where undefined.

    Args:
        entry: a value and its interval, which is left out where there is none.
        scale: what is multiplied by before rounding.
        digits: decimals.
        several: whether the interval lies evenly around the value.
    """
    value, low, high = (None if entry is None else entry[key] for key in ("value", "low", "high"))
    text = _number(value, scale, digits)
    if value is None or low is None or high is None:
        return text
    if several:
        return f"{text} ± {_number(high - value, scale, digits)}"
    return f"{text} [{_number(low, scale, digits)}, {_number(high, scale, digits)}]"


def _number(value: float | None, scale: float, digits: int) -> str:
    return NONE if value is None else f"{scale * value:z.{digits}f}"


def percent(entry: Entry) -> str:
    """“12.3 ± 0.4” in percent, of a mean over splits."""
    return cell(entry, 100.0, 1, several=True)


def plain(entry: Entry) -> str:
    """“0.123 ± 0.004”, of a mean over splits."""
    return cell(entry, 1.0, 3, several=True)


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


def to_text(results: Results) -> str:
    """Aligned columns for a terminal, then the findings and the definitions."""
    parts = [as_text(tables(results))]
    for label, sentences in findings(results):
        parts.append("\n".join([f"Findings, {label}", *(f"  - {line}" for line in sentences)]))
    return "\n\n".join([*parts, definitions_line(results)])


def to_markdown(results: Results) -> str:
    """The same in Markdown."""
    parts = [as_markdown(tables(results)).rstrip("\n")]
    for label, sentences in findings(results):
        lines = (f"- {line}" for line in sentences)
        parts.append("\n".join([f"**Findings, {label}**", "", *lines]))
    return "\n\n".join([*parts, definitions_line(results)]) + "\n"


def to_latex(results: Results) -> str:
    """The tables for LaTeX with booktabs; the definitions as a comment."""
    return f"% {definitions_line(results)}\n\n{as_latex(tables(results))}"


def to_csv(results: Results) -> str:
    """Tidy rows in full precision: model, map rule, group, class, metric, value, low, high."""
    header = ["model", "map_rule", "group", "class", "metric", "value", "low", "high"]
    return _written_csv([header, *(row for m in results["models"] for row in _tidy(m))])


def _tidy(model: dict[str, Any]) -> Iterable[list[Any]]:
    """Group ``all`` holds all classes; ``class`` is empty but for the numbers of one class."""
    pools = {"all": model, **model["groups"]}
    places: list[tuple[str, str, dict[str, Entry]]] = [
        *((group, "", pool["metrics"]) for group, pool in pools.items()),
        ("all", "", model["geometry"].get("summary", {})),
        *((c["group"] or "", c["name"], c["metrics"]) for c in model["classes"]),
    ]
    for group, class_, metrics in places:
        for metric, entry in metrics.items():
            values = [entry[key] for key in ("value", "low", "high")]
            yield [model["name"], model["map_rule"], group, class_, metric, *values]


def write_tables(results: Results, folder: Path) -> None:
    """Write ``tables.md`` and ``tables.csv``."""
    write_text(folder / TABLES_MARKDOWN, to_markdown(results))
    write_text(folder / TABLES_CSV, to_csv(results))


def render(results: Results, form: str) -> str:
    """The results in one of ``FORMATS``, ending in a line break."""
    if form == "json":
        return as_json(results)
    forms = {"text": to_text, "markdown": to_markdown, "csv": to_csv, "latex": to_latex}
    return forms[form](results).rstrip("\n") + "\n"


def as_json(content: dict[str, Any]) -> str:
    """Indented JSON of plain values, NaN refused."""
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_text(tables: Iterable[Table]) -> str:
    """Aligned columns, numbers to the right."""
    return "\n\n".join(_aligned(*table) for table in tables)


def _aligned(title: str, header: list[str], rows: list[list[str]]) -> str:
    columns = list(zip(header, *rows, strict=True))
    padded = [
        [text.rjust(width) if right else text.ljust(width) for text in column]
        for column in columns
        for width, right in [(max(map(len, column)), all(map(_is_number, column[1:])))]
    ]
    lines = ["  ".join(row).rstrip() for row in zip(*padded, strict=True)]
    width = sum(max(map(len, column)) for column in columns) + 2 * (len(columns) - 1)
    return "\n".join([title, lines[0], "─" * width, *lines[1:]])


def _is_number(text: str) -> bool:
    return re.match(r"[-+]?[\d.]|–|$", text) is not None


def as_markdown(tables: Iterable[Table]) -> str:
    """Markdown tables under bold titles."""
    parts = []
    for title, header, rows in tables:
        cells = [[text.replace("|", "\\|") for text in row] for row in [header, *rows]]
        lines = [f"| {' | '.join(row)} |" for row in cells]
        rule = "|---" * len(header) + "|"
        parts.append("\n".join([f"**{title}**", "", lines[0], rule, *lines[1:]]))
    return "\n\n".join(parts) + "\n"


def as_csv(tables: Iterable[Table]) -> str:
    """Header and rows of each table as shown, a blank line between tables; titles are left out."""
    return "\n".join(_written_csv([header, *rows]) for _, header, rows in tables)


def _written_csv(rows: Iterable[Sequence[Any]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


_LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "−": "$-$",
    "–": "--",
    "Δ": r"$\Delta$",
    "τ": r"$\tau$",
    "λ": r"$\lambda$",
}


def as_latex(tables: Iterable[Table]) -> str:
    """``table`` environments with booktabs rules."""
    return "\n\n".join(_latex(*table) for table in tables) + "\n"


def _latex(title: str, header: list[str], rows: list[list[str]]) -> str:
    lines = [" & ".join(map(_escaped, row)) + r" \\" for row in [header, *rows]]
    columns = zip(header, *rows, strict=True)
    places = [
        "r" if i and all(map(_is_number, column)) else "l" for i, column in enumerate(columns)
    ]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_escaped(title)}}}",
            rf"\begin{{tabular}}{{{''.join(places)}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
