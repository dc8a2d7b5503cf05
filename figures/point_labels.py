"""Names beside points of a scatter, where there is room for them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from ccr_diag.figures.style import MUTED, as_said

LETTERS = 20  # of a name in full
_SIZE, _NEAR = 6.0, 3.0  # points
_STEPS = 12  # places looked at along a bar or line
Pixels = np.ndarray[Any, np.dtype[np.float64]]
_MARK = 2.0  # radius that is kept free around every point, in points
# Where a name may stand: which way from its point, and the alignments that go with it.
_SIDES = (
    (1.0, 0.0, "left", "center"),
    (-1.0, 0.0, "right", "center"),
    (0.5, 1.0, "left", "bottom"),
    (-0.5, 1.0, "right", "bottom"),
    (0.5, -1.0, "left", "top"),
    (-0.5, -1.0, "right", "top"),
)
_PLACES = [(x * far, y * far, ha, va) for far in (_NEAR, 7.0, 12.0) for x, y, ha, va in _SIDES]
_SHARES = {"left": 0.0, "bottom": 0.0, "center": 0.5, "right": 1.0, "top": 1.0}
"""How much of a text lies before the place that it is aligned to."""


def label_points(ax: Axes, names: Sequence[tuple[float, float, str]]) -> list[Annotation]:
    """Write each name beside its point, clear of all points, of other names and of the edges.

    Call it when the layout of the figure is final. A name that finds no room is left out.

    Args:
        ax: with its points drawn as collections.
        names: x and y of a point (data units) and what to write; the first has the first choice.

    Returns:
        What was written.
    """
    dots, paths = _dots(ax), _paths(ax)
    taken: list[Bbox] = []
    written = []
    for x, y, name in names:
        text = ax.annotate(
            as_said(short(name)), (x, y), (0, 0), textcoords="offset points",
            fontsize=_SIZE, color=MUTED, zorder=4, annotation_clip=False,
        )  # fmt: skip
        text.set_in_layout(False)
        point = ax.transData.transform((x, y))
        box = _settle(text, ax, dots, paths, point, taken)
        if box is None:
            text.remove()
            continue
        taken.append(Bbox.union([box, Bbox([point, point])]))
        _lead(text, ax)
        written.append(text)
    return written


def short(name: str, letters: int = LETTERS) -> str:
    """The beginning of a long name."""
    return name if len(name) <= letters else f"{name[: letters - 1].rstrip()}…"


def _dots(ax: Axes) -> Pixels:
    """Where dots are."""
    found = [c.get_offsets() for c in ax.collections if isinstance(c, PathCollection)]
    return np.concatenate([np.empty((0, 2)), *(ax.transData.transform(xy) for xy in found)])


def _paths(ax: Axes) -> Pixels:
    """Places along bars and lines."""
    bars = (c for c in ax.collections if isinstance(c, LineCollection))
    found = [ax.transData.transform(bar) for c in bars for bar in c.get_segments()]
    found += [line.get_transform().transform(line.get_xydata()) for line in ax.lines]
    return np.concatenate([np.empty((0, 2)), *map(_along, found)])


def _along(path: Pixels) -> Pixels:
    """Places from the first point of a path to its last."""
    return np.linspace(path[0], path[-1], _STEPS)


def _settle(
    text: Annotation, ax: Axes, dots: Pixels, paths: Pixels, point: Pixels, taken: list[Bbox]
) -> Bbox | None:
    """Move a name to the free place that hides least of bars and lines, the first of several.

    Returns:
        What the name covers there; None if there is no place.
    """
    per_point = ax.figure.dpi / 72
    size = np.array(text.get_window_extent().size)
    room = size / 2 + _MARK * per_point
    found = []
    for x, y, ha, va in _PLACES:
        corner = point + np.array([x, y]) * per_point - size * np.array([_SHARES[ha], _SHARES[va]])
        box = Bbox([corner, corner + size])
        whole = Bbox.union([box, Bbox([point, point])])
        inside = ax.bbox.contains(*corner) and ax.bbox.contains(*(corner + size))
        dot, path = ((np.abs(xy - corner - size / 2) < room).all(axis=1) for xy in (dots, paths))
        if inside and not dot.any() and not any(map(whole.overlaps, taken)):
            found.append((path.sum(), {"position": (x, y), "ha": ha, "va": va}, box))
    if not found:
        return None
    _, place, box = min(found, key=lambda one: one[0])
    text.set(**place)
    return box


def _lead(text: Annotation, ax: Axes) -> None:
    """A thin line from a point to a name that stands apart from it."""
    if np.abs(text.get_position()).max() <= _NEAR:
        return
    line = ax.annotate(
        "", text.xy, text.get_position(), textcoords="offset points", zorder=3,
        arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": MUTED, "shrinkA": 0,
                    "shrinkB": _MARK},
    )  # fmt: skip
    line.set_in_layout(False)
