"""Records → where marks stand, in the units of an SVG or in percent of a width. Draws nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Any

from ccr_diag.figures.html_report.numbers import OWN_TERMS, Shown, Term, factor, shown
from ccr_diag.figures.style import Look, defined, number
from ccr_diag.verdict import stretches, stretches_said

Plain = Mapping[str, Any]

PATHS = {  # matplotlib's marker → SVG path in a box from -5 to 5
    "o": "M-4.4 0a4.4 4.4 0 1 0 8.8 0a4.4 4.4 0 1 0-8.8 0z",
    "s": "M-4-4H4V4H-4z",
    "^": "M0-4.6 4.6 4H-4.6z",
    "D": "M0-5 5 0 0 5-5 0z",
    "v": "M0 4.6 4.6-4H-4.6z",
    "P": "M-1.6-4.6H1.6V-1.6H4.6V1.6H1.6V4.6H-1.6V1.6H-4.6V-1.6H-1.6z",
    "X": "M-4.6-2.6-2.6-4.6 0-2 2.6-4.6 4.6-2.6 2 0 4.6 2.6 2.6 4.6 0 2-2.6 4.6-4.6 2.6-2 0z",
    "<": "M-4.6 0 4-4.6V4.6z",
    ">": "M4.6 0-4-4.6V4.6z",
    "p": "M0-4.8 4.6-1.5 2.8 3.9H-2.8L-4.6-1.5z",
    "h": "M0-4.8 4.2-2.4V2.4L0 4.8-4.2 2.4V-2.4z",
    "H": "M-4.8 0-2.4 4.2H2.4L4.8 0 2.4-4.2H-2.4z",
    "8": "M-1.8-4.3H1.8L4.3-1.8V1.8L1.8 4.3H-1.8L-4.3 1.8V-1.8z",
    "d": "M0-5 3 0 0 5-3 0z",
    "*": "M0-5 1.3-1.7 4.8-1.5 2 .7 3 4.2 0 2.2-3 4.2-2 .7-4.8-1.5-1.3-1.7z",
}


@dataclass(frozen=True)
class Mark:
    """A value with its interval on an axis, in percent of its length; None where undefined.

    Args:
        at: the value.
        low: lower end.
        high: upper end.
        zero: the neutral value, where it is on the axis.
        expected: what a calibrated model would show.
    """

    at: float | None
    low: float | None
    high: float | None
    zero: float | None
    expected: float | None = None


@dataclass(frozen=True)
class Tick:
    """A place on an axis, in percent of its length, and what stands there."""

    at: float
    text: str


@dataclass(frozen=True)
class Axis:
    """A linear axis that the rows of a table share.

    Args:
        low: where it begins.
        high: where it ends.
        ticks: its marks.
    """

    low: float
    high: float
    ticks: tuple[Tick, ...]

    def place(self, value: float | int | None) -> float | None:
        """In percent; 3 % are kept free at both ends, for the marks."""
        if value is None or not defined(value):
            return None
        return round(3 + 94 * (value - self.low) / (self.high - self.low), 3)

    def mark(self, entry: Shown, expected: float | None = None) -> Mark:
        """Of one number."""
        zero = self.place(0.0) if self.low <= 0 <= self.high else None
        return Mark(
            self.place(entry.value), self.place(entry.low), self.place(entry.high), zero,
            self.place(expected),
        )  # fmt: skip


def axis(entries: Sequence[Shown], others: Sequence[float | None] = ()) -> Axis:
    """From 0, or from below it, to the furthest end of all, with about five round ticks."""
    values = [v for e in entries for v in (e.value, e.low, e.high) if v is not None]
    values += [v for v in others if v is not None]
    low, high = min([0.0, *values]), max([0.0, *values])
    if low == high:
        high = 1.0
    step = _round_step((high - low) / 5)
    low, high = step * floor(low / step + 1e-9), step * ceil(high / step - 1e-9)
    term = entries[0].term if entries else OWN_TERMS["difference"]
    n = round((high - low) / step)
    bare = Axis(low, high, ())
    ticks = [low + i * step for i in range(n + 1)]
    labels = _tick_labels(ticks, step, term)
    placed = (Tick(bare.place(v) or 0.0, label) for v, label in zip(ticks, labels, strict=True))
    return Axis(low, high, tuple(placed))


def _round_step(least: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** floor(log10(least))
    return power * next(m for m in (1, 2, 5, 10) if m * power >= least * (1 - 1e-9))


def _tick_labels(values: Sequence[float], step: float, term: Term) -> list[str]:
    scale = factor(term)
    n = max(-floor(log10(scale * step) + 1e-9), 0)
    return [number(scale * value, f"z.{n}f") for value in values]


def look_record(look: Look) -> dict[str, str]:
    """Colour and shape of a model."""
    return {"colour": look.colour, "path": PATHS[look.marker]}


# reliability

_WIDTH, _LEFT, _TOP, _SIDE, _COUNTS, _GAP = 330, 44, 8, 270, 38, 40
_AXES = {
    "positive": ("probability p", "share of present labels", "Positive"),
    "decision": ("confidence max(p, 1 − p)", "share of right decisions", "Decision"),
}


def reliability_chart(
    bins: Plain, convention: str, identity: str, model: str, look: Look, error: Shown
) -> dict[str, Any]:
    """The marks of a reliability diagram: square, both axes from 0 to 1, counts below.

    Args:
        bins: a reliability table of bins of equal width.
        convention: ``positive`` or ``decision``.
        identity: unique on the page.
        model: label of the model.
        look: of the model.
        error: its calibration error of that convention.
    """
    n, most = len(bins["count"]), max([*bins["count"], 1])
    x_label, y_label, heading = _AXES[convention]
    ends = f" [{error.ends}]" if error.ends else ""
    base = _TOP + _SIDE + _GAP + _COUNTS
    sides = _sides(bins)
    return {
        "id": identity,
        "width": _WIDTH, "height": base + 16, "colour": look.colour,
        "left": _LEFT, "right": _LEFT + _SIDE, "top": _TOP, "bottom": _TOP + _SIDE, "base": base,
        "start_x": _LEFT, "start_y": _TOP + _SIDE,
        "x_label": x_label, "y_label": y_label, "heading": heading,
        "title": f"Reliability of {model}, {heading.lower()}",
        "said": f"{model}: {stretches_said(bins)}; {error.term.label} {error.text}{ends}.",
        "counts_said": f"labels in each bin, at most {most:,}",
        "ticks": [
            {"x": _LEFT + _SIDE * v, "y": _TOP + _SIDE * (1 - v), "text": f"{v:g}"}
            for v in (0, 0.25, 0.5, 0.75, 1)
        ],
        "columns": [
            OWN_TERMS[key] for key in ("count", "confidence", "frequency", "band_low", "band_high")
        ],
        "bins": [
            _bin(bins, i, n, most, base, sides[i]) for i in range(n) if bins["count"][i]
        ],
    }  # fmt: skip


def _bin(bins: Plain, i: int, n: int, most: int, base: int, side: str) -> dict[str, Any]:
    count, confidence, frequency, low, high = (
        bins[key][i] for key in ("count", "confidence", "frequency", "low", "high")
    )
    height = max(_COUNTS * count / most, 1.0)
    row = [count, confidence, frequency, low, high]
    keys = ("count", "confidence", "frequency", "band_low", "band_high")
    cells = [shown(OWN_TERMS[key], value) for key, value in zip(keys, row, strict=True)]
    ends = f"{i / n:.2f} to {(i + 1) / n:.2f}"
    return {
        "side": side,
        "range": ends,
        "said": f"{ends}: confidence {cells[1].text}, frequency {cells[2].text}, "
        f"calibrated {cells[3].text} to {cells[4].text}, {cells[0].text} labels",
        "left": _r(_LEFT + _SIDE * i / n + 0.5), "width": _r(_SIDE / n - 1),
        "x": _x(confidence), "y": _y(frequency), "diagonal": _y(confidence),
        "low": _y(confidence if low is None else low),
        "high": _y(confidence if high is None else high),
        "radius": _r(3 + 4 * (count / most) ** 0.5),
        "bar_top": _r(base - height), "bar_height": _r(height),
        "cells": cells,
    }  # fmt: skip


def _sides(bins: Plain) -> list[str]:
    """``over``, ``under`` or ``inside`` of each bin."""
    n = len(bins["count"])
    found = stretches(bins)
    middles = [(i + 0.5) / n for i in range(n)]
    return [next((s.side for s in found if s.low < m < s.high), "inside") for m in middles]


def sparkline(bins: Plain, n_bins: int) -> dict[str, Any]:
    """The reliability of one class in a box of 40 units; a single filled bin is a dot."""
    points = [
        (_r(2 + 36 * c), _r(38 - 36 * f))
        for c, f in zip(bins["confidence"], bins["frequency"], strict=True)
        if c is not None and f is not None
    ]
    whole: dict[str, list[Any]] = {key: [None] * n_bins for key in ("frequency", "low", "high")}
    whole["count"] = [0] * n_bins
    for row, i in enumerate(bins["bin"]):
        for key, column in whole.items():
            column[i] = bins[key][row]
    path = "M" + " ".join(f"{x:g} {y:g}" for x, y in points) if points else "M0 0"
    alone = {"x": points[0][0], "y": points[0][1]} if len(points) == 1 else None
    return {"path": path, "alone": alone, "said": stretches_said(whole)}


def _x(value: float) -> float:
    return _r(_LEFT + _SIDE * value)


def _y(value: float) -> float:
    return _r(_TOP + _SIDE * (1 - value))


def _r(value: float) -> float:
    return round(value, 1)
