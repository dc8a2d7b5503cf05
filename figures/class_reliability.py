"""Small multiples: a reliability diagram of every class, those first that matter most.

A class matters as |signed error| × frequency, the share of positives among its test images: what
its misjudged probability does to how many images.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ccr_diag.errors import BadConfig
from ccr_diag.figures.class_names import fitted
from ccr_diag.figures.paging import file_words
from ccr_diag.figures.panel_page import (
    AXIS_NAME,
    TICKS,
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
from ccr_diag.figures.reliability_marks import (
    COLUMNS,
    band_key,
    count_keys,
    draw_band,
    draw_diagonal,
    draw_points,
    filled,
)
from ccr_diag.figures.signed_axis import SIGNED
from ccr_diag.figures.style import (
    GROUP_COLOURS,
    LOOKS,
    Look,
    as_said,
    defined,
    entry_of,
    group_colour,
    new_axes,
    number,
    results_looks,
    style,
    wrapped_note,
)
from ccr_diag.results import Results

ACROSS, DOWN = 6, 6  # classes of a page
_GAP, _ABOVE, _BELOW, _HEADING, _WIDEST_PANEL = 0.13, 0.3, 0.06, 0.2, 1.3  # inches
_TITLE_SIZE, _SQUARE = 6.0, 0.12  # points; inches beside the name
_NOTE = (
    "In order of |signed error| × share of positives. Above each panel: signed error (mean p − "
    "share of positives) and positives among the test images. Points: the larger, the more images "
    "in the bin. Bands take labels as independent."
)
_SPLITS = " Bins: first split; signed errors: means over splits."
Class = Mapping[str, Any]
"""An entry of a model's ``classes``."""


def draw_class_reliability(
    entry: Class, ax: Axes | None = None, *, look: Look = LOOKS["zero-shot"]
) -> Axes:
    """Frequency against confidence of one class, with its signed error and positives above.

    A narrow band at the confidence holds the frequencies that a calibrated model would show in 95
    of 100 cases. The square beside the name has the colour of the class's group.

    Args:
        entry: of a model's ``classes`` in a results file; its bins are those of positive
            confidence.
        ax: where to draw; a new figure when left out.
        look: colour and marker of the model.

    Returns:
        The axes of the diagram.

    Raises:
        BadData: the class has no signed error.
    """
    table = filled(entry["reliability"])
    signed = entry_of(entry["metrics"], SIGNED, f"class {entry['name']!r}")["value"]
    with style():
        ax = ax or new_axes(1.6, 1.8)
        ax.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(lambda value, _: number(value, "g"))
        ax.set_aspect("equal")
        draw_diagonal(ax, 0.0)
        draw_band(ax, table, width=1.2)
        draw_points(ax, table, look)
        ax.set(xlabel="confidence", ylabel="frequency")
        page = ax.get_figure(root=True)
        assert page is not None
        room = ax.get_position().width * page.get_figwidth() - _SQUARE
        above = f"{number(signed, '+.3f')}, {entry['n_positive']:,} pos."
        name = as_said(fitted(entry["name"], room, _TITLE_SIZE))
        ax.set_title(f"{name}\n{above}", fontsize=_TITLE_SIZE, loc="left", linespacing=1.15, pad=4)
        if entry["group"] in GROUP_COLOURS:
            _draw_group(ax, entry["group"])
        if table.empty:
            ax.text(0.5, 0.25, "no images", transform=ax.transAxes, fontsize=6, ha="center")
    return ax


def class_order(classes: Sequence[Class]) -> list[Class]:
    """Classes by |signed error| × share of positives, the largest first.

    Those whose signed error is undefined, or that no image is known of, come last.
    """

    def weight(entry: Class) -> float:
        signed = entry_of(entry["metrics"], SIGNED, f"class {entry['name']!r}")["value"]
        if not defined(signed) or not entry["n_known"]:
            return -1.0
        return float(abs(signed) * entry["n_positive"] / entry["n_known"])

    return sorted(classes, key=weight, reverse=True)


def class_reliability_table(results: Results) -> pd.DataFrame:
    """What the points and bands of every class show, the classes in the order of the pages.

    Returns:
        A row a filled bin: model, class (in full), group, convention, split (empty where there are
        none), n_known, n_positive, signed_error, bin, count, confidence, frequency, low, high.
    """
    return pd.concat(
        [_table(model, class_order(model["classes"])) for model in results["models"]],
        ignore_index=True,
    )


def class_reliability_pictures(results: Results, pages: int | None = 1) -> list[Picture]:
    """Pages of each model, the classes that matter most on the first.

    Args:
        results: a parsed results file.
        pages: of each model; ``None``: as many as show every class (1,203 classes fill 34, each a
            figure held in memory).

    Returns:
        ``reliability_classes_MODEL_PAGE``; none where no class has a signed error.

    Raises:
        BadConfig: no pages.
        BadData: only some classes have a signed error.
    """
    if pages is not None and pages < 1:
        raise BadConfig(
            f"A model needs at least one page of classes, but got {pages}; "
            "give 1 or more, or none for all."
        )
    if not any(SIGNED in c["metrics"] for model in results["models"] for c in model["classes"]):
        return []
    return [
        Picture(f"reliability_classes_{file_words(model['name']) or 'model'}_{i}", figure, table)
        for model in results["models"]
        for i, (figure, table) in enumerate(_pages(results, model, pages), start=1)
    ]


def _pages(
    results: Results, model: dict[str, Any], most: int | None
) -> Iterator[tuple[Figure, pd.DataFrame]]:
    ordered = class_order(model["classes"])
    starts = range(0, len(ordered), ACROSS * DOWN)
    look = results_looks(results)[model["name"]]
    for start in starts[:most]:
        shown = ordered[start : start + ACROSS * DOWN]
        first, last = start + 1, start + len(shown)
        span = f"classes {first:,}–{last:,}" if first < last else f"class {first:,}"
        yield _page(model, shown, look, f": {span} of {len(ordered):,}"), _table(model, shown)


def _page(model: dict[str, Any], shown: Sequence[Class], look: Look, said: str) -> Figure:
    columns = min(ACROSS, len(shown))
    rows = -(-len(shown) // columns)
    side = min(_WIDEST_PANEL, widest_panel(columns, _GAP))
    width = page_width(side, columns, _GAP)
    handles = _keys(shown)
    text = wrapped_note(_NOTE + (_SPLITS if len(model["splits"]) > 1 else ""), width)
    head = key_height(len(handles), width)
    grid = Grid(
        side=side,
        columns=columns,
        gap=_GAP,
        above=[_ABOVE] * rows,
        below=_BELOW,
        head=head + _HEADING,
        foot=TICKS + AXIS_NAME + note_height(text),
    )
    with style():
        figure: Figure = grid.new_page()
        model_heading(figure, head + 0.5 * _HEADING, model["label"], said, look)
        for i, entry in enumerate(shown):
            row, column = divmod(i, columns)
            ax = place(figure, grid.left(column), grid.top(row), side, side)
            draw_class_reliability(entry, ax, look=look)
            if column:
                ax.set_ylabel("")
                ax.tick_params(labelleft=False)
            if i + columns < len(shown):  # another stands below
                ax.set_xlabel("")
                ax.tick_params(labelbottom=False)
        draw_keys(figure, handles)
        foot_note(figure, text)
    return figure


def _draw_group(ax: Axes, group: str) -> None:
    """A square in the group's colour at the end of the line of the name."""
    square = ax.annotate(
        "■", (1.0, 1.0), (0.0, 13.0), xycoords="axes fraction", textcoords="offset points",
        ha="right", va="center", fontsize=7, color=group_colour(group),
    )  # fmt: skip
    square.set_gid("group")


def _keys(shown: Sequence[Class]) -> list[Artist]:
    present = {entry["group"] for entry in shown}
    groups = [
        Line2D([], [], linestyle="none", marker="s", markersize=4.5, color=colour, label=group)
        for group, colour in GROUP_COLOURS.items()
        if group in present
    ]
    counts = [count for entry in shown for count in entry["reliability"]["count"]]
    return [band_key(), *count_keys(counts), *groups]


def _table(model: dict[str, Any], classes: Sequence[Class]) -> pd.DataFrame:
    split = model["splits"][0]["split"] if model["splits"] else None
    what = pd.DataFrame(
        {
            "model": model["name"],
            "class": [entry["name"] for entry in classes],
            "group": [entry["group"] for entry in classes],
            "convention": "positive",
            "split": split,
            "n_known": [entry["n_known"] for entry in classes],
            "n_positive": [entry["n_positive"] for entry in classes],
            SIGNED: [entry["metrics"][SIGNED]["value"] for entry in classes],
        }
    )
    tables = [entry["reliability"] for entry in classes]
    bins = pd.DataFrame({key: [v for table in tables for v in table[key]] for key in COLUMNS})
    repeated = what.loc[what.index.repeat([len(table["bin"]) for table in tables])]
    return pd.concat([repeated.reset_index(drop=True), bins], axis=1)
