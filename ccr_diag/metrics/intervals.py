"""Uncertainty: values over splits, or a measure in bootstrap replicates, in; 95 % intervals out.

Images are drawn, not entries: the labels of one image hang together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8
from scipy.stats import norm
from scipy.stats import t as student

LEVEL = 0.95
WORD = 64  # images per word of random bits


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
    """Whether each replicate drew the images start … stop − 1: each with chance ½, on its own.

    A replicate is a random half of the images. Twice its weights have mean 1 and variance 1, as the
    bootstrap's have, so it errs around the whole as the whole around the truth; and no image comes
    twice, which a ranking would show as a tie.

    A replicate is a stream of its own, entered at any image: the same whatever the blocks.

    Args:
        seed: of the whole bootstrap.
        replicates: number of columns.
        start: first image, a multiple of 64.
        stop: end.

    Source: half-samples, McCarthy 1969; as bootstrap weights, "double or nothing", Owen and Eckles
        2012.
    """
    words = -(-(stop - start) // WORD)
    weights = np.empty((stop - start, replicates), dtype=np.uint8)
    for replicate in range(replicates):
        stream = np.random.PCG64(np.random.SeedSequence((seed, replicate))).advance(start // WORD)
        bits = np.unpackbits(stream.random_raw(words).astype("<u8").view(np.uint8))
        weights[:, replicate] = bits[: stop - start]
    return weights


def normal_interval(
    value: Float64[np.ndarray, "*batch"],
    drawn: Float64[np.ndarray, "*batch replicates"],
    bounds: tuple[float, float],
) -> tuple[Float64[np.ndarray, "*batch"], Float64[np.ndarray, "*batch"]]:
    """Ends of v − (d̄ − v) ± z_{0.975} · sd(d), with d the replicates and d̄ their mean.

    A replicate errs from the value as the value errs from the truth; what the replicates show as
    bias is taken off.

    Args:
        value: v, on all images.
        drawn: d, in each replicate; undefined ones (NaN) are left out.
        bounds: of the measure; the ends are kept inside.

    Returns:
        Lower and upper ends, NaN where fewer than 2 replicates are defined.

    Source: Davison and Hinkley 1997, §5.2 (the normal interval, corrected for bias).
    """
    mean, sd = moments(drawn)
    half = norm.ppf((1 + LEVEL) / 2) * sd
    low, high = (np.clip(2 * value - mean + side, *bounds) for side in (-half, half))
    return np.asarray(low), np.asarray(high)


def moments(
    drawn: Float64[np.ndarray, "*batch replicates"],
) -> tuple[Float64[np.ndarray, "*batch"], Float64[np.ndarray, "*batch"]]:
    """Mean and standard deviation (n − 1) of the defined replicates, NaN for fewer than 2."""
    there = ~np.isnan(drawn)
    n = there.sum(axis=-1)
    mean = np.where(there, drawn, 0.0).sum(axis=-1) / np.maximum(n, 1)
    squares = np.square(np.where(there, drawn - mean[..., None], 0.0)).sum(axis=-1)
    sd = np.sqrt(squares / np.maximum(n - 1, 1))
    return np.where(n >= 2, mean, np.nan), np.where(n >= 2, sd, np.nan)
