"""The marks that all reliability diagrams share: diagonal, consistency band, points, their key."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ccr_diag.figures.style import MUTED, Look

Bins = Mapping[str, Sequence[Any]]
"""``count``, ``confidence``, ``frequency``, ``low``, ``high`` of each bin, and ``bin``, its number,
where not all bins are there; all but the first may be anything where the count is 0."""

_MEANS = ("confidence", "frequency", "low", "high")
COLUMNS = ("bin", "count", *_MEANS)
"""Of the table behind a diagram."""

BAND_COLOUR, BAND_ALPHA = "#7A7A7A", 0.6
_ARROWS = {"confidence": "<", "frequency": "v"}  # towards the edge that it lies beyond


def filled(bins: Bins) -> pd.DataFrame:
    """The bins that hold any entry, one a row: ``COLUMNS``. An empty bin holds no data."""
    table = pd.DataFrame({"bin": range(len(bins["count"])), **bins}, columns=list(COLUMNS))
    return table[table["count"] > 0].astype(dict.fromkeys(_MEANS, float)).reset_index(drop=True)


def point_areas(counts: Sequence[int] | pd.Series) -> np.ndarray:
    """Square points of ink for bins of these counts: every factor of ten adds the same."""
    areas: np.ndarray = 6.0 + 4.0 * np.log10(np.asarray(counts, dtype=float))
    return areas


def draw_diagonal(ax: Axes, start: float) -> None:
    """Where a calibrated model lies, up to 1."""
    ax.plot([start, 1], [start, 1], color=MUTED, linewidth=0.7, linestyle="--", zorder=3)


def draw_band(ax: Axes, table: pd.DataFrame, *, start: float = 0.0, width: float = 2.4) -> None:
    """At each bin's confidence the frequencies of 95 of 100 calibrated models.

    Each mark reaches the diagonal: where so little is expected of a bin that almost every
    calibrated model shows the same count, the band alone would miss the frequency expected.

    Args:
        ax: of the diagram.
        table: of ``filled``.
        start: where both axes begin.
        width: of each mark, in points.
    """
    confidence = table["confidence"]
    low = np.maximum(np.minimum(table["low"], confidence), start)
    high = np.maximum(np.maximum(table["high"], confidence), start)
    band = ax.vlines(
        confidence.clip(lower=start), low, high, color=BAND_COLOUR, linewidth=width,
        alpha=BAND_ALPHA, zorder=3.5,
    )  # fmt: skip
    band.set_capstyle("butt")  # others would lengthen it
    band.set_gid("band")


def draw_points(
    ax: Axes, table: pd.DataFrame, look: Look, *, start: float = 0.0, faint: bool = False
) -> None:
    """A point a bin, the larger the more it holds; one before the start as an open arrow there.

    Args:
        ax: of the diagram.
        table: of ``filled``.
        look: colour and marker of the model.
        start: where both axes begin.
        faint: stand back, for splits other than the first.
    """
    beyond = {name: table[name] < start for name in _ARROWS}
    marks = [("points", table[~(beyond["confidence"] | beyond["frequency"])], look.marker)]
    marks += [(f"{name} below", table[beyond[name]], arrow) for name, arrow in _ARROWS.items()]
    for kind, part, marker in marks:
        if kind != "points" and part.empty:
            continue
        inside = kind == "points"
        scatter = ax.scatter(
            part["confidence"].clip(lower=start),
            part["frequency"].clip(lower=start),
            s=point_areas(part["count"]),
            facecolors=look.colour if inside else "white",
            edgecolors="white" if inside else look.colour,
            linewidths=0.3 if inside else 0.8,
            marker=marker,
            alpha=0.35 if faint else 1.0,
            zorder=3.8 if faint else 4,
            clip_on=False,  # a point on the edge shows whole
        )
        scatter.set_gid(f"{kind} of another split" if faint else kind)


def band_key() -> Patch:
    """The key of the band."""
    return Patch(facecolor=BAND_COLOUR, alpha=BAND_ALPHA, label="95 % of calibrated models")


def count_keys(counts: Iterable[int]) -> list[Artist]:
    """Keys of the points: a few powers of ten between the smallest and the largest count."""
    found = [int(count) for count in counts if count > 0]
    if not found:
        return []
    low, high = (len(str(count)) - 1 for count in (min(found), max(found)))
    return [
        Line2D(
            [], [], linestyle="none", marker="o", color=MUTED, markeredgewidth=0,
            markersize=float(point_areas([10**power])[0]) ** 0.5, label=f"bin of {10**power:,}",
        )
        for power in sorted({low, (low + high) // 2, high})
    ]  # fmt: skip
