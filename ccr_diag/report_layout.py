"""Any tables → text for a terminal, Markdown, LaTeX; any records → CSV and JSON.

Knows no metric. A table is (title, header, rows of text); its first column names the rows. Cells
that are ``Best`` stand bold in Markdown and LaTeX.
"""

import csv
import io
import json
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

Table = tuple[str, list[str], list[list[str]]]

FORMATS = ("text", "markdown", "csv", "json", "latex")
NONE = "–"
"""Stands where a number is undefined."""


class Best(str):
    """A cell whose value is the best of those that it is compared with."""


_GAP = "  "
_LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "<": "$<$",
    ">": "$>$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "≠": r"$\neq$",
    "‖": r"$\Vert$",
    "−": "$-$",
    "–": "--",
    "Δ": r"$\Delta$",
    "τ": r"$\tau$",
    "λ": r"$\lambda$",
}


def lay_out(tables: Sequence[Table], form: str, width: int | None = None) -> str:
    """The tables as ``text`` (see there for ``width``), ``markdown`` or ``latex``."""
    if form == "text":
        return as_text(tables, width) + "\n"
    return {"markdown": as_markdown, "latex": as_latex}[form](tables)


def as_json(content: dict[str, Any]) -> str:
    """Indented JSON of plain values, NaN refused."""
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_csv(rows: Iterable[Sequence[Any]]) -> str:
    """One line a row, None as an empty field."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def as_text(tables: Sequence[Table], width: int | None = None) -> str:
    """Aligned columns, numbers to the right.

    Args:
        tables: any.
        width: characters a line. Where a table is wider, it and those with the same kind of rows
            are turned on their side; where that is too wide as well, it is cut between columns.
            None: lines are as long as they are.
    """
    turned = set() if width is None else _kinds_to_turn(tables, width)
    parts = []
    for title, header, rows in tables:
        cells = _turned([header, *rows]) if header[0] in turned else [header, *rows]
        blocks = [_aligned(run) for run in _runs(cells, width)]
        parts.append("\n".join([wrapped(title, width), "\n\n".join(blocks)]))
    return "\n\n".join(parts)


def as_markdown(tables: Iterable[Table]) -> str:
    """Markdown tables under bold titles, numbers to the right."""
    parts = []
    for title, header, rows in tables:
        cells = [list(map(_marked_down, row)) for row in [header, *rows]]
        lines = [f"| {' | '.join(row)} |" for row in cells]
        rule = "".join("|---:" if right else "|---" for right in _to_the_right(header, rows)) + "|"
        parts.append("\n".join([f"**{title}**", "", lines[0], rule, *lines[1:]]))
    return "\n\n".join(parts) + "\n"


def as_latex(tables: Iterable[Table]) -> str:
    """``table`` environments with booktabs rules, numbers to the right."""
    return "\n\n".join(_latex(*table) for table in tables) + "\n"


def wrapped(text: str, width: int | None, first: str = "", rest: str = "") -> str:
    """A paragraph in lines of at most ``width``, the first and the rest indented so."""
    if width is None:
        return first + text
    units = text.replace(" %", "\u00a0%").replace("× ", "×\u00a0")  # stay with their number
    lines = textwrap.fill(
        units,
        width,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines.replace("\u00a0", " ")


def _kinds_to_turn(tables: Sequence[Table], width: int) -> set[str]:
    """What rows are called in tables that are too wide, but would all fit on their side."""
    upright: dict[str, list[int]] = {}
    sideways: dict[str, list[int]] = {}
    for _, header, rows in tables:
        cells = [header, *rows]
        upright.setdefault(header[0], []).append(_width(cells))
        sideways.setdefault(header[0], []).append(_width(_turned(cells)))
    return {kind for kind in upright if max(upright[kind]) > width >= max(sideways[kind])}


def _turned(cells: list[list[str]]) -> list[list[str]]:
    """Rows for columns; the corner, which named the rows, is left empty."""
    (_, *names), *others = zip(*cells, strict=True)
    return [["", *names], *map(list, others)]


def _runs(cells: list[list[str]], width: int | None) -> list[list[list[str]]]:
    """The table cut between columns so that each part fits, each with the names of the rows."""
    names, *columns = zip(*cells, strict=True)
    runs = [[names]]
    for column in columns:
        wider = _columns_width([*runs[-1], column])
        if width is not None and wider > width and len(runs[-1]) > 1:
            runs.append([names])
        runs[-1].append(column)
    return [list(map(list, zip(*run, strict=True))) for run in runs]


def _aligned(cells: list[list[str]]) -> str:
    header, *rows = cells
    padded = [
        [text.rjust(width) if right else text.ljust(width) for text in column]
        for column, right in zip(zip(*cells, strict=True), _to_the_right(header, rows), strict=True)
        for width in [max(map(len, column))]
    ]
    lines = [_GAP.join(row).rstrip() for row in zip(*padded, strict=True)]
    return "\n".join([lines[0], "─" * _width(cells), *lines[1:]])


def _width(cells: list[list[str]]) -> int:
    return _columns_width(list(zip(*cells, strict=True)))


def _columns_width(columns: Sequence[Sequence[str]]) -> int:
    return sum(max(map(len, column)) for column in columns) + len(_GAP) * (len(columns) - 1)


def _to_the_right(header: list[str], rows: list[list[str]]) -> list[bool]:
    """For each column: whether it holds numbers; the first never does, it names the rows."""
    columns = zip(header, *rows, strict=True)
    return [i > 0 and all(map(_is_number, column[1:])) for i, column in enumerate(columns)]


def _is_number(text: str) -> bool:
    return re.match(r"(< )?[-+]?[\d.]|–|$", text) is not None


def _marked_down(text: str) -> str:
    shown = text.replace("|", "\\|")
    return f"**{shown}**" if isinstance(text, Best) else shown


def _latex(title: str, header: list[str], rows: list[list[str]]) -> str:
    lines = [" & ".join(map(_latex_cell, row)) + r" \\" for row in [header, *rows]]
    places = "".join("r" if right else "l" for right in _to_the_right(header, rows))
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_escaped(title)}}}",
            rf"\begin{{tabular}}{{{places}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _latex_cell(text: str) -> str:
    return rf"\textbf{{{_escaped(text)}}}" if isinstance(text, Best) else _escaped(text)


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
