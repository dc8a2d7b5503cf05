"""Any tables → text for a terminal, Markdown, LaTeX; any records → CSV and JSON.

Knows no metric. A table is (title, header, rows of text); its first column names the rows. Cells
that are ``Best`` stand bold in Markdown and LaTeX.
"""

import csv
import io
import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
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
    "|": "$|$",
    "²": "$^2$",
    "⁻": "$^-$",
    "→": r"$\rightarrow$",
    "√": r"$\surd$",
    "ℓ": r"$\ell$",
    "Σ": r"$\Sigma$",
    "Δ": r"$\Delta$",
    "‖": r"$\Vert$",
    "−": "$-$",
    "–": "--",
    "τ": r"$\tau$",
    "λ": r"$\lambda$",
}
_LATEX_NEEDS = r"% \usepackage{booktabs,graphicx}"
_OTHER_SCRIPTS = "% Letters here need XeLaTeX or LuaLaTeX, and a font that has them."
_FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
_LATEX_WIDTH = 160  # characters: 6 pt on a line of 7 inches
_LATEX_ROWS = 36  # with their caption on a page


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


def as_latex(tables: Iterable[Table], notes: Sequence[str] = ()) -> str:
    """``table`` environments with booktabs rules, numbers to the right, as wide as a line at most.

    Those that would be unreadable so, or longer than a page, are cut.

    Args:
        tables: any.
        notes: sentences with each, the first in its caption, the others below it in small print;
            what stands in backquotes is set as code.
    """
    set_notes = [_with_code(note) for note in notes]
    shown = "\n\n".join(_latex(*part, set_notes) for table in tables for part in _parts(*table))
    needs = [_LATEX_NEEDS] + [_OTHER_SCRIPTS] * any(map(_is_other_script, shown))
    return "\n".join([*needs, "", shown, ""])


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


def _runs(cells: list[list[str]], width: int | None, n_names: int = 1) -> list[list[list[str]]]:
    """The table cut between columns so that each part fits, each with the names of the rows."""
    columns = list(zip(*cells, strict=True))
    names = columns[:n_names]
    runs = [list(names)]
    for column in columns[n_names:]:
        wider = _columns_width([*runs[-1], column])
        if width is not None and wider > width and len(runs[-1]) > n_names:
            runs.append(list(names))
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


def _parts(title: str, header: list[str], rows: list[list[str]]) -> list[Table]:
    """The table, cut so that each part is readable on a page, and has the names of its rows."""
    n_names = [*_to_the_right(header, rows), True].index(True)
    n_lines = -(-len(rows) // max(1, -(-len(rows) // _LATEX_ROWS))) or 1
    blocks = [rows[i : i + n_lines] for i in range(0, len(rows), n_lines)] or [rows]
    runs = [run for block in blocks for run in _runs([header, *block], _LATEX_WIDTH, n_names)]
    if len(runs) == 1:
        return [(title, header, rows)]
    return [(f"{title} ({i} of {len(runs)})", run[0], run[1:]) for i, run in enumerate(runs, 1)]


def _latex(title: str, header: list[str], rows: list[list[str]], notes: list[str]) -> str:
    places = "".join("r" if right else "l" for right in _to_the_right(header, rows))
    said, (first, *rest) = _escaped(title), notes or [""]
    caption = rf"[{{{said}}}]{{{said}. {first}}}" if first else f"{{{said}}}"
    below = rf"\par\medskip\parbox{{\linewidth}}{{\footnotesize {' '.join(rest)}}}"
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{caption}\medskip",
            _FIT,
            rf"\begin{{tabular}}{{{places}}}",
            r"\toprule",
            _latex_row(header),
            r"\midrule",
            *_latex_rows(rows),
            r"\bottomrule",
            r"\end{tabular}}",
            *([below] if rest else []),
            r"\end{table}",
        ]
    )


def _latex_rows(rows: list[list[str]]) -> Iterator[str]:
    """Rows of one name stand together, apart from others, and it is written once."""
    together = any(row[0] == above[0] for above, row in pairwise(rows))
    above = None
    for name, *texts in rows:
        if together and above not in (None, name):
            yield r"\addlinespace"
        yield _latex_row(["" if name == above else name, *texts])
        above = name


def _latex_row(cells: Sequence[str]) -> str:
    line = " & ".join(map(_latex_cell, cells))
    return ("{}" if line.startswith(("[", "*")) else "") + line + r" \\"  # no option of the rule


def _latex_cell(text: str) -> str:
    return rf"\textbf{{{_escaped(text)}}}" if isinstance(text, Best) else _escaped(text)


def _with_code(text: str) -> str:
    """Escaped, and `words` as code."""
    parts = enumerate(text.split("`"))
    return "".join(rf"\texttt{{{_escaped(p)}}}" if i % 2 else _escaped(p) for i, p in parts)


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _is_other_script(character: str) -> bool:
    """Whether LaTeX alone does not know it: neither Latin nor punctuation."""
    return ord(character) > 0x17F and not 0x2010 <= ord(character) <= 0x2044
