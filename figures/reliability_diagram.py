"""One reliability diagram: how often a class is there, against how probable the model called it.

On linear axes with bins of equal width, or on logarithmic ones with bins of equal mass. The bins
come ready from the results file; an empty bin holds no data and is not drawn.
"""

from collections.abc import Iterable, Sequence
from math import floor, log10

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.ticker import FixedLocator, NullLocator

from ccr_diag.figures.reliability_marks import Bins, draw_band, draw_diagonal, draw_points, filled
from ccr_diag.figures.style import (
    LOOKS,
    OVER_COLOUR,
    UNDER_COLOUR,
    Look,
    new_axes,
    number,
    style,
)

DECISION_START = 0.5  # max(p, 1 − p) is never less
TITLE_SIZE = 6.5
_HISTOGRAM = (0.0, -0.32, 1.0, 0.24)  # in units of the diagram above it
_MOST_TICKS = 4  # of a logarithmic axis


def draw_reliability(
    bins: Bins,
    ax: Axes | None = None,
    *,
    look: Look = LOOKS["zero-shot"],
    title: str = "",
    splits: Sequence[Bins] = (),
    histogram: Axes | None = None,
    start: float = 0.0,
    most: int = 0,
) -> Axes:
    """Frequency against confidence, the gap between them shaded, and the counts below.

    The shade between a bin's frequency and its confidence shows the sign of the gap. A narrow band
    at the confidence holds the frequencies that a calibrated model would show in 95 of 100 cases,
    were the labels independent. A point before the start of the axes stands at their edge as an
    open arrow.

    Args:
        bins: ``count``, ``confidence``, ``frequency``, ``low``, ``high`` of each equal-width bin of
            [0, 1]; all but the first may be anything where the count is 0.
        ax: where to draw; a new figure when left out.
        look: colour and marker of the model.
        title: above the diagram.
        splits: bins of the other splits, shown as faint points.
        histogram: where to draw the counts; hung below ``ax`` as its child when left out.
        start: where both axes begin: 0, or ``DECISION_START`` for the decision convention.
        most: a count that the axis of counts has room for; the largest count when that is more.

    Returns:
        The axes of the diagram.
    """
    table, n_bins = filled(bins), len(bins["count"])
    with style():
        ax = ax or new_axes(2.4, 3.0)
        histogram = histogram or ax.inset_axes(_HISTOGRAM)
        ticks = (start, (1 + start) / 2, 1)
        ax.set(xlim=(start, 1), ylim=(start, 1), xticks=ticks, yticks=ticks, ylabel="frequency")
        ax.yaxis.set_major_formatter(lambda value, _: number(value, "g"))
        ax.set_aspect("equal")
        ax.tick_params(labelbottom=False)
        ax.set_title(title, fontsize=TITLE_SIZE)
        draw_diagonal(ax, start)
        _draw_gaps(ax, table, n_bins)
        draw_band(ax, table, start=start)
        for other in splits:
            draw_points(ax, filled(other), look, start=start, faint=True)
        draw_points(ax, table, look, start=start)
        _draw_counts(histogram, bins["count"], look, start, most)
    return ax


def draw_log_reliability(
    bins: Bins,
    ax: Axes | None = None,
    *,
    look: Look = LOOKS["zero-shot"],
    title: str = "",
    splits: Sequence[Bins] = (),
    start: float | None = None,
) -> Axes:
    """The crowded low end: bins of equal mass on logarithmic axes, square and equal.

    Of many classes few are in an image, so nearly all entries share the first bins of equal width.
    A logarithmic axis has no 0: a bin without a positive, or below the start of the axes, stands at
    their edge as an open arrow.

    Args:
        bins: ``count``, ``confidence``, ``frequency``, ``low``, ``high`` of each bin of equal mass;
            all but the first may be anything where the count is 0.
        ax: where to draw; a new figure when left out.
        look: colour and marker of the model.
        title: above the diagram.
        splits: bins of the other splits, shown as faint points.
        start: of both axes, a power of ten below 1; ``log_start`` of the bins when left out.

    Returns:
        The axes of the diagram.
    """
    start = log_start([bins]) if start is None else start
    table = filled(bins)
    with style():
        ax = ax or new_axes(2.4, 2.5)
        ax.set(xscale="log", yscale="log", xlim=(start, 1), ylim=(start, 1))
        ax.set_aspect("equal")
        decades = round(-log10(start))
        step = -(-decades // (_MOST_TICKS - 1))
        for axis in (ax.xaxis, ax.yaxis):
            # None at the start: it would run into the 1 of the panel before.
            powers = range(0, max(decades, 2), step)
            axis.set_major_locator(FixedLocator([10.0**-i for i in powers]))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(_small)
        draw_diagonal(ax, start)
        draw_band(ax, table, start=start)
        for other in splits:
            draw_points(ax, filled(other), look, start=start, faint=True)
        draw_points(ax, table, look, start=start)
        ax.set(xlabel="confidence", ylabel="frequency")
        ax.set_title(title, fontsize=TITLE_SIZE)
    return ax


def log_start(tables: Iterable[Bins]) -> float:
    """Where logarithmic axes begin: the power of ten below one positive in the largest bin.

    A frequency below it is 0, and no bin can tell such a confidence from 0.
    """
    largest = max((count for bins in tables for count in bins["count"]), default=0)
    return float(10.0 ** -(floor(log10(max(largest, 1))) + 1))


def _draw_gaps(ax: Axes, table: pd.DataFrame, n_bins: int) -> None:
    """From the frequency to the confidence over the width of each bin, coloured by its sign."""
    left, right = table["bin"] / n_bins, (table["bin"] + 1) / n_bins
    confidence, frequency = table["confidence"], table["frequency"]
    corners = [(left, frequency), (left, confidence), (right, confidence), (right, frequency)]
    gaps = PolyCollection(
        list(np.array(corners).transpose(2, 0, 1)),
        facecolors=np.where(confidence > frequency, OVER_COLOUR, UNDER_COLOUR).tolist(),
        edgecolors="white",
        linewidths=0.4,
        zorder=2,
    )
    gaps.set_gid("gap")
    ax.add_collection(gaps, autolim=False)


def _draw_counts(ax: Axes, counts: Sequence[int], look: Look, start: float, most: int) -> None:
    # One count must still show: the axis starts at 0.5.
    heights = np.maximum(counts, 0.5)
    edges = np.linspace(0, 1, len(counts) + 1)
    ax.stairs(heights, edges, baseline=0.5, fill=True, color=look.colour)
    most = max(most, 1, *counts)
    ax.set(
        xlim=(start, 1), xticks=(start, (1 + start) / 2, 1), yscale="log", ylim=(0.5, 2.0 * most)
    )
    powers = sorted({0, len(str(most)) - 1})  # more would not fit
    ax.set_yticks([10**power for power in powers], [_short(power) for power in powers])
    ax.minorticks_off()
    ax.xaxis.set_major_formatter(lambda value, _: number(value, "g"))
    ax.set(xlabel="confidence", ylabel="count")


def _short(power: int) -> str:
    """A power of ten as a count: 1, 10, 100, 1k and so on."""
    return f"{10 ** (power % 3)}{('', 'k', 'M', 'G', 'T')[power // 3]}"


def _small(value: float, _: object) -> str:
    """A power of ten: 1, 0.1, 0.01, 1e−3 and so on."""
    text: str = number(value, "g") if value >= 0.01 else f"1e−{round(-log10(value))}"
    return text
