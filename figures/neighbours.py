"""Classes whose neighbours in the text space changed most: lists for each tuned space.

Who the neighbours are, before and after, and which classes moved most comes from the results file.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ccr_diag.figures.class_names import fitted
from ccr_diag.figures.paging import page_names
from ccr_diag.figures.picture import Picture
from ccr_diag.figures.style import (
    MUTED,
    PAGE_INCHES,
    as_said,
    group_colour,
    group_label,
    new_figure,
    note,
    number,
    style,
)
from ccr_diag.figures.text_spaces import (
    Model,
    geometry_of,
    left_out,
    panel_title,
    same_texts,
    with_texts,
    zero_shot_of,
)
from ccr_diag.results import Results

CLASS, GROUP, PRESERVED, LISTS, NAMES = 0.0, 0.17, 0.24, 0.295, 0.37  # left edges, of the width
GAP_INCHES = 0.15  # between cells, and what the figure takes of its page on either side
LINE_INCHES = 0.15
LINES = 56  # on a page
POINTS = 7.0


def draw_neighbours(moved: Sequence[dict[str, Any]], k: int, ax: Axes | None = None) -> Axes:
    """A table of two lines a class: its neighbours in zero-shot, and below those after tuning.

    Neighbours that stayed are muted, those that left are black, and those that came bold.

    Args:
        moved: classes with ``name``, ``group``, ``NP``, ``neighbours_zero_shot`` and
            ``neighbours``, nearest first.
        k: number of neighbours.
        ax: where to write; a new figure when left out.

    Returns:
        The axes; class i has its lines at 2 i and 2 i + 1 from the top.
    """
    with style():
        if ax is None:
            height = LINE_INCHES * (2 * len(moved) + 2)
            ax = new_figure(PAGE_INCHES, height).subplots()
        ax.set(xlim=(0, 1), ylim=(2 * len(moved) - 0.4, -1.6))
        ax.set_axis_off()
        headings = ("class", "group", f"NP@{k}", "neighbours")
        for x, heading in zip((CLASS, GROUP, PRESERVED, LISTS), headings, strict=True):
            ax.text(x, -1, heading, fontsize=POINTS, color=MUTED, va="center")
        for i, of in enumerate(moved):
            _draw_class(ax, of, 2 * i)
    return ax


def neighbour_pictures(results: Results) -> list[Picture]:
    """``neighbour_changes``: the lists of every tuned text space, as many as a page holds.

    Args:
        results: a parsed results file.

    Returns:
        Numbered where one page does not hold all; none where nothing was tuned.
    """
    table = neighbour_table(results)
    parts = _pages([same for same in _tuned(results) if _moved(same[0])])
    found = []
    for part, file in zip(parts, page_names("neighbour_changes", len(parts)), strict=True):
        drawn = table["model"].isin([same[0]["name"] for same in part])
        found.append(Picture(file, _page(results, part), table[drawn]))
    return found


def _pages(spaces: Sequence[list[Model]]) -> list[list[list[Model]]]:
    """Text spaces in their order, on pages of at most ``LINES`` lines."""
    parts: list[list[list[Model]]] = []
    left = 0
    for same in spaces:
        lines = _lines(same)
        if lines > left:
            parts.append([])
            left = LINES
        parts[-1].append(same)
        left -= lines
    return parts


def _lines(same: list[Model]) -> int:
    """Two a class, below a heading and the names of the models."""
    return 2 * len(_moved(same[0])) + 2 + len(same)


def _page(results: Results, spaces: Sequence[list[Model]]) -> Figure:
    """The lists of some text spaces, one below the other."""
    # The names of the models stand outside of the axes, whose lines so are equally high.
    inside = [_lines(same) - len(same) for same in spaces]
    with style():
        figure: Figure = new_figure(PAGE_INCHES, LINE_INCHES * sum(map(_lines, spaces)) + 0.5)
        grid = figure.subplots(len(spaces), squeeze=False, height_ratios=inside)
        for ax, same in zip(grid.flat, spaces, strict=True):
            draw_neighbours(_moved(same[0]), _text(same[0])["k"], ax)
            ax.set_title(panel_title(same, PAGE_INCHES - GAP_INCHES), loc="left")
        text = (
            "Classes whose lists changed, most first (by rank-biased overlap); first split; "
            "nearest neighbours first. Muted: in both lists; bold: came with tuning."
            f"{left_out(results, with_texts(results))}"
        )
        note(figure, text)
    return figure


def neighbour_table(results: Results) -> pd.DataFrame:
    """The classes that moved most in each tuned text space, first split.

    Args:
        results: a parsed results file.

    Returns:
        Columns ``model``, ``same_texts``, ``rank`` (1 moved most), ``class``, ``group``, ``k``,
        ``NP`` (share of the zero-shot neighbours that stayed), ``RBO``, and as lists, nearest
        first, ``neighbours_zero_shot`` and ``neighbours``.
    """
    rows = [
        {
            "model": same[0]["name"],
            "same_texts": " = ".join(model["name"] for model in same),
            "rank": rank,
            "class": of["name"],
            "group": of["group"],
            "k": _text(same[0])["k"],
            "NP": of["NP"],
            "RBO": of["RBO"],
            "neighbours_zero_shot": ", ".join(of["neighbours_zero_shot"]),
            "neighbours": ", ".join(of["neighbours"]),
        }
        for same in _tuned(results)
        for rank, of in enumerate(_moved(same[0]), start=1)
    ]
    columns = ["model", "same_texts", "rank", "class", "group", "k", "NP", "RBO"]
    return pd.DataFrame(rows, columns=[*columns, "neighbours_zero_shot", "neighbours"])


def _draw_class(ax: Axes, of: dict[str, Any], top: int) -> None:
    name = as_said(
        fitted(of["name"], PAGE_INCHES * (GROUP - CLASS) - GAP_INCHES, POINTS, bold=True)
    )
    ax.text(CLASS, top, name, fontsize=POINTS, weight="bold", va="center")
    if of["group"] is not None:
        ax.plot(
            [GROUP - 0.012],
            [top],
            "s",
            color=group_colour(of["group"]),
            markersize=4,
            clip_on=False,
        )
        ax.text(GROUP, top, as_said(group_label(of["group"])), fontsize=POINTS, va="center")
    ax.text(PRESERVED, top, number(of["NP"], ".2f"), fontsize=POINTS, va="center")
    lists = (
        ("zero-shot", of["neighbours_zero_shot"], of["neighbours"], False),
        ("tuned", of["neighbours"], of["neighbours_zero_shot"], True),
    )
    for line, (label, names, others, bold) in enumerate(lists, start=top):
        ax.text(LISTS, line, label, fontsize=POINTS - 0.5, color=MUTED, va="center")
        _draw_names(ax, line, names, others, bold)
    ax.axhline(top + 1.5, color=MUTED, linewidth=0.3, alpha=0.5)


def _draw_names(
    ax: Axes, line: int, names: Sequence[str], others: Sequence[str], bold: bool
) -> None:
    """One list; each name in a column of its own, so that both lists stand below one another."""
    wide = (1 - NAMES) / len(names)
    for i, name in enumerate(names):
        stayed = name in others
        heavy = bold and not stayed
        ax.text(
            NAMES + i * wide,
            line,
            as_said(fitted(name, PAGE_INCHES * wide - GAP_INCHES, POINTS, bold=heavy)),
            fontsize=POINTS,
            color=MUTED if stayed else "black",
            weight="bold" if heavy else "normal",
            va="center",
        )


def _tuned(results: Results) -> list[list[Model]]:
    """Tuned text spaces, each once."""
    models = with_texts(results)
    start = zero_shot_of(models)
    return [same for same in same_texts(models) if start not in same]


def _moved(model: Model) -> list[dict[str, Any]]:
    """Of the classes that moved most those whose lists differ, with their groups.

    None where the results do not say.
    """
    text = _text(model)
    classes = {
        entry["name"]: {**entry, "group": of["group"]}
        for entry, of in zip(text.get("classes", []), model["classes"], strict=False)
    }
    moved = [classes[name] for name in text.get("most_moved", [])]
    return [of for of in moved if of["neighbours"] != of["neighbours_zero_shot"]]


def _text(model: Model) -> dict[str, Any]:
    text: dict[str, Any] = geometry_of(model).get("text") or {}
    return text
