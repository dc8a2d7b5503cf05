"""Reliability diagrams: how often a class is there, against how probable the model called it.

The bins (count, mean confidence, frequency of each, and the frequencies between which 95 % of
calibrated models would lie) come ready from the results file; an empty bin holds no data and is not
drawn. Two conventions of confidence: ``positive``, p against presence; ``decision``,
max(p, 1 − p) against the decision at p = 0.5 being right.
"""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ccr_diag.figures.paging import pages
from ccr_diag.figures.panel_page import (
    AXIS_NAME,
    TICKS,
    TITLE_LINE,
    Grid,
    draw_keys,
    foot_note,
    key_height,
    model_heading,
    note_height,
    page_width,
    place,
    widest_panel,
)
from ccr_diag.figures.picture import Picture
from ccr_diag.figures.reliability_diagram import (
    DECISION_START,
    TITLE_SIZE,
    draw_log_reliability,
    draw_reliability,
    log_start,
)
from ccr_diag.figures.reliability_marks import (
    COLUMNS,
    Bins,
    band_key,
    count_keys,
    filled,
)
from ccr_diag.figures.signed_axis import SIGNED
from ccr_diag.figures.style import (
    ALL,
    OVER_COLOUR,
    UNDER_COLOUR,
    as_said,
    entry_of,
    group_label,
    groups_missing,
    groups_present,
    metrics_present,
    number,
    pool_of,
    results_looks,
    style,
    wrapped_note,
)
from ccr_diag.results import Results

MODELS_PER_PAGE, PANELS_ACROSS = 4, 5
LOG = "mass_positive"


class _Kind(NamedTuple):
    """A table of bins and how its pages say what they show."""

    name: str  # of the files
    metric: str  # printed above each panel
    says: str


_KINDS = {
    "positive": _Kind(
        "positive", "ece_positive", "Confidence: p; frequency: share of entries with the class."
    ),
    "decision": _Kind(
        "decision",
        "ece_decision",
        "Confidence: max(p, 1 − p); frequency: share of right decisions (p ≥ 0.5). ▽: below 0.5.",
    ),
    LOG: _Kind(
        "log",
        "ece_positive",
        "Bins of equal mass, both axes logarithmic. ▽: frequency 0, or below the axis; ◁: "
        "confidence below the axis. ECE: of bins of equal width.",
    ),
}
_MARKS = "Points: the larger, the more entries in the bin. Bands take labels as independent."
_SPLITS = (
    "Bins: first split; faint points: other splits, if any; ECE and signed error: means over "
    "splits."
)
_SIGNED = "Signed error: mean p − share with the class."

# Inches.
_GAP, _HEADING, _ROOM, _TITLE_PAD = 0.17, 0.2, 0.06, 0.1
_COUNTS, _COUNTS_GAP = 0.22, 0.08
_NAME_AT = 0.36  # of an axis, left of it
_WIDEST_PANEL, _TALLEST_ROWS = 2.0, 8.6
_TITLE_LETTERS = 17  # in an inch of a line above a panel


class _Row(NamedTuple):
    """Panels side by side, and the model above them all if it is one."""

    model: dict[str, Any] | None
    panels: list[tuple[dict[str, Any], str]]  # model, group


def reliability_pages(results: Results, convention: str = "positive") -> list[Figure]:
    """Models down; all classes and each group across; without groups the models stand across.

    The bins are those of the first split; printed numbers are means over splits.

    Args:
        results: a parsed results file.
        convention: ``positive``, ``decision``, or ``mass_positive``: bins of equal mass on
            logarithmic axes.

    Raises:
        BadData: the ECE of the convention or the signed error is missing for a panel.
    """
    return [_page(results, rows, convention) for rows in _pages(results)]


def reliability_table(results: Results, convention: str = "positive") -> pd.DataFrame:
    """What the points and bands of all pages show.

    Args:
        results: a parsed results file.
        convention: see ``reliability_pages``.

    Returns:
        A row a filled bin: model, group, convention, split (empty where there are none), bin,
        count, confidence, frequency, low, high.
    """
    panels = [panel for rows in _pages(results) for row in rows for panel in row.panels]
    return _table(panels, convention)


def reliability_pictures(results: Results) -> list[Picture]:
    """The pages of each convention that the results hold the ECE of, and of the log-scaled variant.

    Raises:
        BadData: some panel has the ECE or the signed error, and some other has not.
    """
    present = metrics_present(results)
    return [
        Picture(
            f"reliability_{kind.name}_{i}",
            _page(results, rows, convention),
            _table([panel for row in rows for panel in row.panels], convention),
        )
        for convention, kind in _KINDS.items()
        if {kind.metric, SIGNED} <= present
        for i, rows in enumerate(_pages(results), start=1)
    ]


def _pages(results: Results) -> list[list[_Row]]:
    models, groups = results["models"], groups_present(results)
    if groups == [ALL]:
        across = pages([(model, ALL) for model in models], PANELS_ACROSS)
        return [list(p) for p in pages([_Row(None, list(p)) for p in across], MODELS_PER_PAGE)]
    return [
        [_Row(model, [(model, group) for group in part]) for model in down]
        for down in pages(models, MODELS_PER_PAGE)
        for part in pages([ALL, *groups], PANELS_ACROSS)
    ]


def _table(panels: Sequence[tuple[dict[str, Any], str]], convention: str) -> pd.DataFrame:
    found = []
    for model, group in panels:
        for split, bins in _bins_of(model, group, convention):
            where = {"model": model["name"], "group": group, "convention": convention}
            found.append(filled(bins).assign(**where, split=split))
    columns = ["model", "group", "convention", "split", *COLUMNS]
    rows = [table for table in found if not table.empty]
    return pd.concat(rows, ignore_index=True)[columns] if rows else pd.DataFrame(columns=columns)


def _bins_of(model: dict[str, Any], group: str, convention: str) -> Iterator[tuple[Any, Bins]]:
    """Split and bins, the first split first; of a model without splits its own bins."""
    holding = [part for part in model["splits"] if pool_of(part, group) is not None]
    for part in holding or [model]:
        pool = pool_of(part, group)
        if pool is not None:
            yield part.get("split"), pool["reliability"][convention]


def _page(results: Results, rows: Sequence[_Row], convention: str) -> Figure:
    looks, kind = results_looks(results), _KINDS[convention]
    panels = [panel for row in rows for panel in row.panels]
    tables = [bins for panel in panels for _, bins in _bins_of(*panel, convention)]
    counts = [count for bins in tables for count in bins["count"]]
    handles = _keys(counts, convention)
    limits = _limits(tables, counts, convention)
    side, columns = _side(rows, convention), max(len(row.panels) for row in rows)
    width = page_width(side, columns, _GAP)
    titles = [[_title(row, panel, kind, side) for panel in row.panels] for row in rows]
    text = wrapped_note(_note(results, kind), width)
    grid = Grid(
        side=side,
        columns=columns,
        gap=_GAP,
        above=[_above(row, line) for row, line in zip(rows, titles, strict=True)],
        below=_below(convention),
        head=key_height(len(handles), width),
        foot=TICKS + AXIS_NAME + note_height(text),
    )
    with style():
        figure: Figure = grid.new_page()
        for i, row in enumerate(rows):
            top = grid.top(i)
            if row.model is not None:
                at = top - grid.above[i] + 0.4 * _HEADING
                label, look = row.model["label"], looks[row.model["name"]]
                model_heading(figure, at, label, _rule(row.model), look)
            axes = [_panel_axes(figure, grid, i, j, convention) for j in range(len(row.panels))]
            for drawn, panel, title in zip(axes, row.panels, titles[i], strict=True):
                look = looks[panel[0]["name"]]
                _draw_panel(drawn, panel, convention, look=look, title=title, **limits)
            _label_outer(axes, rows[i + 1 :], side)
        draw_keys(figure, handles)
        foot_note(figure, text)
    return figure


def _side(rows: Sequence[_Row], convention: str) -> float:
    """Panels as large as the width and the height of a page allow (inches)."""
    across = max(len(row.panels) for row in rows)
    other = _HEADING + 2 * TITLE_LINE + _below(convention)
    side: float = min(_WIDEST_PANEL, widest_panel(across, _GAP), _TALLEST_ROWS / len(rows) - other)
    return side


def _above(row: _Row, titles: Sequence[str]) -> float:
    """Room for the model's name, if it stands there, and the longest title (inches)."""
    lines = 1 + max(title.count("\n") for title in titles)
    room: float = (_ROOM if row.model is None else _HEADING) + TITLE_LINE * lines
    return room


def _below(convention: str) -> float:
    """Room for the histogram, if there is one (inches)."""
    return _TITLE_PAD + (0.0 if convention == LOG else _COUNTS_GAP + _COUNTS)


def _rule(model: dict[str, Any]) -> str:
    """The rule of the bias, unless the model's name states it."""
    stated = model["map_rule"] is None or "bias" in model["label"]
    return "" if stated else f"  (bias rule: {model['map_rule']})"


def _title(row: _Row, panel: tuple[dict[str, Any], str], kind: _Kind, side: float) -> str:
    """What stands above a panel: its group (its model where those stand across) and two numbers."""
    model, group = panel
    name = model["label"] if row.model is None else group_label(group)
    above = as_said(textwrap.fill(name, int(_TITLE_LETTERS * side)))
    pool = pool_of(model, group)
    if pool is None:
        return f"{above}\nno classes"
    where = f"model {model['name']!r}, group {group!r}"
    ece, signed = (
        entry_of(pool["metrics"], metric, where)["value"] for metric in (kind.metric, SIGNED)
    )
    return f"{above}\nECE {number(ece, '.3f')}   signed {number(signed, '+z.3f')}"


def _note(results: Results, kind: _Kind) -> str:
    several = any(len(model["splits"]) > 1 for model in results["models"])
    missing = groups_missing(results)
    without = [f"Without classes: {', '.join(missing)}."] if missing else []
    return " ".join([kind.says, _SIGNED, _MARKS, *([_SPLITS] if several else []), *without])


def _limits(tables: Sequence[Bins], counts: Sequence[int], convention: str) -> dict[str, Any]:
    """What the axes of all panels of a page share."""
    if convention == LOG:
        return {"start": log_start(tables)}
    start = DECISION_START if convention == "decision" else 0.0
    return {"start": start, "most": max(counts, default=0)}


def _keys(counts: Sequence[int], convention: str) -> list[Artist]:
    sides = {"over-confident gap": OVER_COLOUR, "under-confident gap": UNDER_COLOUR}
    gaps = [] if convention == LOG else [Patch(facecolor=c, label=n) for n, c in sides.items()]
    return [*gaps, band_key(), *count_keys(counts)]


def _panel_axes(
    figure: Figure, grid: Grid, row: int, column: int, convention: str
) -> tuple[Axes, Axes | None]:
    """A diagram and, but on logarithmic axes, its histogram."""
    left, top, side = grid.left(column), grid.top(row), grid.side
    ax = place(figure, left, top, side, side)
    if convention == LOG:
        return ax, None
    return ax, place(figure, left, top + side + _COUNTS_GAP, side, _COUNTS)


def _draw_panel(
    axes: tuple[Axes, Axes | None],
    panel: tuple[dict[str, Any], str],
    convention: str,
    **looks: Any,
) -> None:
    ax, histogram = axes
    tables = [bins for _, bins in _bins_of(*panel, convention)]
    if not tables:
        for part in filter(None, axes):
            part.set_axis_off()
        ax.set_title(looks["title"], fontsize=TITLE_SIZE)
    elif convention == LOG:
        draw_log_reliability(tables[0], ax, splits=tables[1:], **looks)
    else:
        draw_reliability(tables[0], ax, splits=tables[1:], histogram=histogram, **looks)


def _label_outer(
    row: Sequence[tuple[Axes, Axes | None]], below: Sequence[_Row], side: float
) -> None:
    """Numbers and names of axes only at the left and the bottom of the page."""
    for j, axes in enumerate(row):
        for ax in filter(None, axes):
            ax.yaxis.set_label_coords(-_NAME_AT / side, 0.5)  # one line for both, left of numbers
            if j:
                ax.set_ylabel("")
                ax.tick_params(labelleft=False)
            if below and len(below[0].panels) > j:
                ax.set_xlabel("")
                ax.tick_params(labelbottom=False)
