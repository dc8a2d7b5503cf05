"""Uncertainty: values over splits, or a measure in bootstrap replicates, in; 95 % intervals out.

Images are drawn, not entries: the labels of one image hang together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8
from scipy.stats import poisson
from scipy.stats import t as student

LEVEL = 0.95
_STEPS = 2**16  # how finely a draw is resolved


@dataclass(frozen=True)
class Interval:
    """A measure and the 95 % interval around it; None where it is undefined.

    Args:
        mean: mean over splits.
        sd: standard deviation over splits (n − 1).
        low: lower end.
        high: upper end.
        n: splits used.
    """

    mean: float | None
    sd: float | None
    low: float | None
    high: float | None
    n: int


def over_splits(values: Sequence[float | None]) -> Interval:
    """Student's interval, mean ± t_{0.975, n−1} · sd / √n.

    Args:
        values: the measure on each split; NaN and None (undefined there) are left out.

    Returns:
        The interval; of one value a mean alone, of none nothing.
    """
    defined = np.array([value for value in values if value is not None], dtype=np.float64)
    defined = defined[~np.isnan(defined)]
    n = defined.size
    if n < 2:
        return Interval(float(defined[0]) if n else None, None, None, None, n)
    mean, sd = float(defined.mean()), float(defined.std(ddof=1))
    half = float(student.ppf((1 + LEVEL) / 2, n - 1)) * sd / n**0.5
    return Interval(mean, sd, mean - half, mean + half, n)


def image_weights(
    seed: int, replicates: int, start: int, stop: int
) -> UInt8[np.ndarray, "images replicates"]:
    """How often each replicate drew the images start … stop − 1: independent Poisson(1) numbers.

    A replicate is a stream of its own, entered at any image: the same whatever the blocks.

    Args:
        seed: of the whole bootstrap.
        replicates: number of columns.
        start: first image, a multiple of 4.
        stop: end.

    Source: the Poisson bootstrap, Hanley and MacGibbon 2006.
    """
    count = poisson.cdf(np.arange(12), 1.0) * _STEPS
    times = np.searchsorted(count, np.arange(_STEPS) + 0.5).astype(np.uint8)
    words = -(-(stop - start) // 4)  # four draws of 16 bits a word
    weights = np.empty((stop - start, replicates), dtype=np.uint8)
    for replicate in range(replicates):
        stream = np.random.PCG64(np.random.SeedSequence((seed, replicate))).advance(start // 4)
        draws = stream.random_raw(words).view(np.uint16)
        weights[:, replicate] = times[draws[: stop - start]]
    return weights


def basic_interval(
    value: Float64[np.ndarray, "*batch"],
    drawn: Float64[np.ndarray, "*batch replicates"],
    bounds: tuple[float, float],
) -> tuple[Float64[np.ndarray, "*batch"], Float64[np.ndarray, "*batch"]]:
    """Ends of the basic (reverse percentile) interval, [2v − q_{0.975}, 2v − q_{0.025}].

    A replicate errs from the value as the value errs from the truth. Calibration errors are biased
    upwards, and replicates twice; the basic interval takes that back, the percentile interval keeps
    it. It may therefore lie below the value itself.

    Args:
        value: on all images.
        drawn: in each replicate; undefined ones (NaN) are left out.
        bounds: of the measure; the ends are kept inside.

    Returns:
        Lower and upper ends, NaN where fewer than 2 replicates are defined.

    Source: Davison and Hinkley 1997, §5.2.
    """
    enough = (~np.isnan(drawn)).sum(axis=-1) >= 2
    tails = ((1 + LEVEL) / 2, (1 - LEVEL) / 2)
    filled = np.where(enough[..., None], drawn, 0.0)  # all-NaN slices would warn
    low, high = (2 * value - np.nanquantile(filled, tail, axis=-1) for tail in tails)
    ends = np.clip([low, high], *bounds)
    low_high = np.where(enough & ~np.isnan(value), ends, np.nan)
    return low_high[0, ...], low_high[1, ...]
