"""Reliability diagrams: how often a class is there, against how probable the model called it.

The bins (count, mean confidence, frequency of each) come ready from the results file; an empty bin
holds no data and is not drawn.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

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
    groups_present,
    interval_of,
    new_figure,
    number,
    results_looks,
    style,
)
from ccr_diag.results import Results

Bins = Mapping[str, Sequence[Any]]
MODELS_PER_PAGE = 4
_BAR_COLOUR = "#DDDDDD"
_BARS: dict[str, Any] = {"align": "edge", "edgecolor": "white", "linewidth": 0.4}
_HISTOGRAM = (0.0, -0.36, 1.0, 0.27)  # in units of the diagram above it


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
    the gap.

    Args:
        bins: ``count``, ``confidence``, ``frequency`` of each equal-width bin of [0, 1]; the last
            two may be anything where the count is 0.
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
        for other in splits:
            _draw_points(ax, other, look, size=3.0, alpha=0.55)
        _draw_points(ax, bins, look, size=12.0, alpha=1.0)
        ax.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1), ylabel="frequency")
        ax.tick_params(labelbottom=False)
        ax.set_title(title, fontsize=7.5)
        counts = [bins["count"][i] for i in filled]
        histogram.bar(left, counts, width, color=look.colour, **_BARS)
        _set_counts_axis(histogram, max(counts, default=1))
    return ax


def reliability_pages(results: Results) -> list[Figure]:
    """Models down, groups across, four models a page; printed numbers are means over splits.

    Raises:
        BadData: the positive ECE or the signed error is missing for a panel.
    """
    models = results["models"]
    cuts = range(0, len(models), MODELS_PER_PAGE)
    return [_page(results, models[cut : cut + MODELS_PER_PAGE]) for cut in cuts]


def _page(results: Results, models: Sequence[dict[str, Any]]) -> Figure:
    groups = groups_present(results)
    looks = results_looks(results)
    last = len(models) - 1
    with style():
        # The last row also carries the label of the confidence axis; below it stands the note.
        heights = [1.95] * last + [2.05, 0.2]
        figure: Figure = new_figure(PAGE_INCHES, sum(heights) + 0.3)
        rows = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        for i, (row, model) in enumerate(zip(rows, models, strict=False)):
            look = looks[model["name"]]
            rule = "" if "bias" in model["label"] else f"  (bias rule: {model['map_rule']})"
            title = f"{model['label']}{rule}"
            row.suptitle(title, fontsize=8.5, weight="bold", color=look.colour, x=0.01, ha="left")
            axes = row.subplots(2, len(groups), height_ratios=(3, 1), sharex=True, squeeze=False)
            for group, ax, histogram in zip(groups, *axes, strict=True):
                _draw_panel(ax, histogram, model, group, look)
            _label_outer(axes[:, 1:].flat, axes[0, 1:], axes[1] if i < last else ())
        figure.legend(handles=_keys(), loc="outside upper center", ncols=3, handlelength=1.2)
        text = (
            "Bars and large points: first split; small points: other splits, if any. "
            "Empty bins are left out. ECE (positive) and signed error: means over splits."
        )
        rows[-1].text(0.01, 0.5, text, fontsize=6.5, color=MUTED, va="center")
    return figure


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


def _draw_panel(ax: Axes, histogram: Axes, model: dict[str, Any], group: str, look: Look) -> None:
    tables = [s["measurements"]["reliability"].get(group) for s in model["splits"]]
    tables = [table for table in tables if table is not None]
    if not tables:
        ax.set_axis_off()
        histogram.set_axis_off()
        ax.set_title(f"{group}: no classes")
        return
    where = f"model {model['name']!r}, group {group!r}"
    summary = model["summary"].get(group, {})
    ece = interval_of(summary, "ece_positive", where)["mean"]
    signed = interval_of(summary, "signed_error", where)["mean"]
    title = f"{group}\nECE {number(ece, '.3f')}   signed {number(signed, '+z.3f')}"
    draw_reliability(tables[0], ax, look=look, title=title, splits=tables[1:], histogram=histogram)


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
        Patch(color=_BAR_COLOUR, label="frequency"),
        Patch(color=OVER_COLOUR, label="over-confident gap"),
        Patch(color=UNDER_COLOUR, label="under-confident gap"),
    ]
