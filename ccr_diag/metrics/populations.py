"""Populations that a sample may come from: its bins, with other gaps between p and frequency.

Bin b of the sample has n entries and gap g = p̄ − f, of standard deviation s. A family goes from the
calibrated population to one that is clearly worse than the sample, in steps t of STEPS::

    scaled    x · g                           off everywhere, in the same proportions
    shifted   sign(g) · max(|g| + t · s, 0)   small gaps, more likely chance, vanish first
    levelled  sign(g) · min(n|g|, m) / n      m = max(n|g|) + t · n·s: the largest sum is due to
                                              chance; for t > 0 one bin has m, no other is touched
    alike     mean g + t · its s              all bins lean the same way, their spread is chance

A truth that is near none of them is between them.
"""

import numpy as np
from jaxtyping import Float64

SCALES = (0.0, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 4.0)  # x
COARSE = (0.0, 0.5, 1.0, 2.0)  # x where a measure takes long
STEPS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.5)  # t

Bins = Float64[np.ndarray, "*batch bins"]
Errors = Float64[np.ndarray, "*batch replicates bins"]


def families(count: Bins, gap: Bins, sd: Bins, error: Errors) -> list[list[Bins]]:
    """The gaps of all populations, family by family; each begins with the calibrated one.

    Args:
        count: n.
        gap: g; 0 in an empty bin.
        sd: s.
        error: of the gaps, in each replicate.
    """
    calibrated = np.zeros_like(gap)
    return [
        scaled(gap, SCALES),
        [calibrated, *shifted(gap, sd)],
        [calibrated, *levelled(count, gap, sd)],
        [calibrated, *alike(count, gap, error)],
    ]


def scaled(gap: Bins, scales: tuple[float, ...]) -> list[Bins]:
    """Gaps x · g."""
    return [x * gap for x in scales]


def shifted(gap: Bins, sd: Bins) -> list[Bins]:
    """Gaps sign(g) · max(|g| + t · s, 0)."""
    return [_side(gap) * np.maximum(np.abs(gap) + t * sd, 0) for t in STEPS]


def levelled(count: Bins, gap: Bins, sd: Bins) -> list[Bins]:
    """Gaps sign(g) · min(n|g|, m) / n, and for t > 0 the gap of one bin at m / n.

    That bin is the one that could be worst, with the largest n|g| + 2·n·s; s is its own.
    """
    n = np.maximum(count, 1)
    total, spread = n * np.abs(gap), n * sd
    worst = (total + 2 * spread).argmax(axis=-1)[..., None]
    step = np.take_along_axis(spread, worst, axis=-1)
    found = []
    for t in STEPS:
        m = np.maximum(total.max(axis=-1, keepdims=True) + t * step, 0)
        level = np.minimum(total, m)
        if t > 0:
            np.put_along_axis(level, worst, m, axis=-1)
        found.append(_side(gap) * level / n)
    return found


def alike(count: Bins, gap: Bins, error: Errors) -> list[Bins]:
    """The mean gap of all entries, and s away from it, in every bin that has entries."""
    total = np.maximum(count.sum(axis=-1, keepdims=True), 1)
    mean = (count * gap).sum(axis=-1, keepdims=True) / total
    means = (count[..., None, :] * error).sum(axis=-1) / total
    sd = np.sqrt(np.square(means).mean(axis=-1, keepdims=True))
    return [(count > 0) * (mean + t * _side(mean) * sd) for t in STEPS]


def _side(gap: Bins) -> Bins:
    """The sign of a gap, 1 for none."""
    return np.where(gap < 0, -1.0, 1.0)
