"""Reliability diagrams: how often a class is there, against how probable the model called it.

The bins (count, mean confidence, frequency of each, and the frequencies between which 95 % of
calibrated models would lie) come ready from the results file; an empty bin holds no data and is not
drawn.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ccr_diag.figures.style import (
    LOOKS,
    MUTED,
    OVER_COLOUR,
    PAGE_INCHES,
    UNDER_COLOUR,
    Look,
    as_said,
    entry_of,
    group_label,
    groups_present,
    new_figure,
    number,
    pool_of,
    results_looks,
    style,
)
from ccr_diag.results import Results

Bins = Mapping[str, Sequence[Any]]
MODELS_PER_PAGE = GROUPS_PER_PAGE = 4
_BAR_COLOUR = "#DDDDDD"
_BAND_COLOUR, _BAND_ALPHA = "#7A7A7A", 0.6
_BARS: dict[str, Any] = {"align": "edge", "edgecolor": "white", "linewidth": 0.4}
_PANEL_INCHES, _LEGEND_INCHES = 2.35, 3.4  # the widest a panel, the narrowest a page gets
_NOTE_LETTERS, _TITLE_LETTERS = 20, 26  # in an inch of the note; in a line above a panel
_BINS = "Empty bins are left out. Bands take labels as independent."
_ALONE = f"{_BINS} ECE: positive."
_SPLITS = (
    f"Bars, bands and large points: first split; small points: other splits, if any. {_BINS} "
    "ECE (positive) and signed error: means over splits."
)
_HISTOGRAM = (0.0, -0.36, 1.0, 0.27)  # in units of the diagram above it


class _Row(NamedTuple):
    """Panels side by side, and the model above them all if it is one."""

    model: dict[str, Any] | None
    panels: list[tuple[dict[str, Any], str]]  # model, group


def draw_reliability(
    bins: Bins,
    ax: Axes | None = None,
    *,
    look: Look = LOOKS["zero-shot"],
    title: str = "",
    splits: Sequence[Bins] = (),
    histogram: Axes | None = None,
) -> Axes:
    """Frequency against confidence, the gap between them shaded, and the counts below.

    A bar is as high as the frequency; the shade between it and the confidence shows the sign of
    the gap. A narrow band at the confidence holds the frequencies that a calibrated model would
    show in 95 of 100 cases, were the labels independent.

    Args:
        bins: ``count``, ``confidence``, ``frequency``, ``low``, ``high`` of each equal-width bin of
            [0, 1]; all but the first may be anything where the count is 0.
        ax: where to draw; a new figure, with the counts below, when left out.
        look: colour and marker of the model.
        title: above the diagram.
        splits: bins of the other splits, shown as small points.
        histogram: where to draw the counts; hung below ``ax`` as its child when left out.

    Returns:
        The axes of the diagram.
    """
    width = 1.0 / len(bins["count"])
    filled = [i for i, count in enumerate(bins["count"]) if count]
    left = [i * width for i in filled]
    with style():
        if ax is None:
            ax, histogram = new_figure(2.4, 2.8).subplots(2, 1, sharex=True, height_ratios=(3, 1))
        histogram = histogram or ax.inset_axes(_HISTOGRAM, sharex=ax)
        ax.plot([0, 1], [0, 1], color=MUTED, linewidth=0.7, linestyle="--", zorder=3)
        frequency = [bins["frequency"][i] for i in filled]
        ax.bar(left, frequency, width, color=_BAR_COLOUR, **_BARS)
        for i in filled:
            _draw_gap(ax, bins, i)
        _draw_band(ax, bins, filled)
        for other in splits:
            _draw_points(ax, other, look, size=3.0, alpha=0.55)
        _draw_points(ax, bins, look, size=12.0, alpha=1.0)
        ax.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1), ylabel="frequency")
        ax.tick_params(labelbottom=False)
        ax.set_title(title, fontsize=7.5, linespacing=1.25)
        counts = [bins["count"][i] for i in filled]
        histogram.bar(left, counts, width, color=look.colour, **_BARS)
        _set_counts_axis(histogram, max(counts, default=1))
    return ax


def reliability_pages(results: Results) -> list[Figure]:
    """Models down, groups across, four of each a page; without groups the models stand across.

    The bins are those of the first split; printed numbers are means over splits.

    Raises:
        BadData: the positive ECE or the signed error is missing for a panel.
    """
    models, groups = results["models"], groups_present(results)
    if len(groups) == 1:
        rows = [
            _Row(None, [(model, groups[0]) for model in part])
            for part in _parts(models, GROUPS_PER_PAGE)
        ]
        return [_page(results, part) for part in _parts(rows, MODELS_PER_PAGE)]
    return [
        _page(results, [_Row(model, [(model, group) for group in across]) for model in down])
        for down in _parts(models, MODELS_PER_PAGE)
        for across in _parts(groups, GROUPS_PER_PAGE)
    ]


def _parts(whole: Sequence[Any], most: int) -> list[Sequence[Any]]:
    """Runs of almost one length, the longer first, none longer than ``most``."""
    parts = -(-len(whole) // most)
    cuts = [-(-len(whole) * i // parts) for i in range(parts + 1)]
    return [whole[a:b] for a, b in pairwise(cuts)]


def _page(results: Results, rows: Sequence[_Row]) -> Figure:
    looks = results_looks(results)
    several = any(len(model["splits"]) > 1 for model in results["models"])
    last = len(rows) - 1
    across = max(len(row.panels) for row in rows)
    width = min(PAGE_INCHES, max(_LEGEND_INCHES, _PANEL_INCHES * across))
    text = textwrap.fill(_SPLITS if several else _ALONE, int(_NOTE_LETTERS * width))
    with style():
        # The last row also carries the label of the confidence axis; below it stands the note.
        heights = [1.95] * last + [2.05, 0.12 * text.count("\n") + 0.2]
        figure: Figure = new_figure(width, sum(heights) + 0.3)
        parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        for i, (part, row) in enumerate(zip(parts, rows, strict=False)):
            if row.model is not None:
                colour = looks[row.model["name"]].colour
                part.suptitle(
                    _title(row.model), fontsize=8.5, weight="bold", color=colour, x=0.01, ha="left"
                )
            axes = part.subplots(2, across, height_ratios=(3, 1), sharex=True, squeeze=False)
            for (model, group), ax, histogram in zip(row.panels, *axes, strict=False):
                name = group_label(group) if row.model is not None else model["label"]
                _draw_panel(ax, histogram, model, group, looks[model["name"]], name)
            for ax in axes[:, len(row.panels) :].flat:
                ax.set_axis_off()
            _label_outer(axes[:, 1:].flat, axes[0, 1:], axes[1] if i < last else ())
        figure.legend(
            handles=_keys(),
            loc="outside upper center",
            ncols=4 if across > 2 else 2,
            handlelength=1.2,
        )
        parts[-1].text(0.01, 0.5, text, fontsize=6.5, color=MUTED, va="center")
    return figure


def _title(model: dict[str, Any]) -> str:
    stated = model["map_rule"] is None or "bias" in model["label"]
    rule = "" if stated else f"  (bias rule: {model['map_rule']})"
    return f"{as_said(model['label'])}{rule}"


def _label_outer(
    no_names: Iterable[Axes], no_ticks: Iterable[Axes], no_confidence: Iterable[Axes]
) -> None:
    """Names of axes only at the left and the bottom of the page."""
    for ax in no_names:
        ax.set_ylabel("")
    for ax in no_ticks:
        ax.tick_params(labelleft=False)
    for ax in no_confidence:
        ax.set_xlabel("")


def _draw_panel(
    ax: Axes, histogram: Axes, model: dict[str, Any], group: str, look: Look, name: str
) -> None:
    pool = pool_of(model, group)
    if pool is None:
        ax.set_axis_off()
        histogram.set_axis_off()
        ax.set_title(f"{name}: no classes")
        return
    where = f"model {model['name']!r}, group {group!r}"
    ece, signed = (
        entry_of(pool["metrics"], metric, where)["value"]
        for metric in ("ece_positive", "signed_error")
    )
    above = as_said(textwrap.fill(name, _TITLE_LETTERS))
    title = f"{above}\nECE {number(ece, '.3f')}   signed {number(signed, '+z.3f')}"
    others = [pool_of(split, group) for split in model["splits"][1:]]
    draw_reliability(
        pool["reliability"]["positive"],
        ax,
        look=look,
        title=title,
        splits=[other["reliability"]["positive"] for other in others if other is not None],
        histogram=histogram,
    )


def _draw_band(ax: Axes, bins: Bins, filled: Sequence[int]) -> None:
    x, low, high = ([bins[key][i] for i in filled] for key in ("confidence", "low", "high"))
    band = ax.vlines(x, low, high, color=_BAND_COLOUR, linewidth=2.4, alpha=_BAND_ALPHA, zorder=3.5)
    band.set_capstyle("butt")
    band.set_gid("band")


def _draw_gap(ax: Axes, bins: Bins, i: int) -> None:
    confidence, frequency = bins["confidence"][i], bins["frequency"][i]
    width = 1.0 / len(bins["count"])
    colour = OVER_COLOUR if confidence > frequency else UNDER_COLOUR
    gap = confidence - frequency
    ax.bar(i * width, gap, width, bottom=frequency, color=colour, zorder=2, **_BARS)


def _draw_points(ax: Axes, bins: Bins, look: Look, size: float, alpha: float) -> None:
    points = [
        (confidence, frequency)
        for count, confidence, frequency in zip(
            bins["count"], bins["confidence"], bins["frequency"], strict=True
        )
        if count
    ]
    ax.scatter(
        [p[0] for p in points],
        [p[1] for p in points],
        s=size,
        c=look.colour,
        alpha=alpha,
        marker=look.marker,
        edgecolors="white",
        linewidths=0.03 * size,
        zorder=4,
        clip_on=False,
    )


def _set_counts_axis(histogram: Axes, most: int) -> None:
    # One count must still show: the axis starts at 0.5.
    histogram.set(xlim=(0, 1), yscale="log", ylim=(0.5, 3.0 * most))
    histogram.set(xlabel="confidence", ylabel="count")
    histogram.set_yticks(sorted({1, 10 ** (len(str(most)) - 1)}))  # more would not fit
    histogram.minorticks_off()


def _keys() -> list[Patch]:
    return [
        Patch(facecolor=_BAR_COLOUR, label="frequency"),
        Patch(facecolor=OVER_COLOUR, label="over-confident gap"),
        Patch(facecolor=UNDER_COLOUR, label="under-confident gap"),
        Patch(facecolor=_BAND_COLOUR, alpha=_BAND_ALPHA, label="95 % of calibrated models"),
    ]
