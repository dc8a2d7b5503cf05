"""Uncertainty: values over splits, or a measure of chosen images, in; a 95 % interval out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from scipy.stats import t as student

from ccr_diag.errors import BadConfig

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A measure and the 95 % interval around it; None where it is undefined.

    Args:
        mean: mean over splits, or the value on all images.
        sd: standard deviation over splits (n − 1) or replicates.
        low: lower end.
        high: upper end.
        n: splits used, or images.
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


def bootstrap(
    statistic: Callable[[Int[np.ndarray, " rows"]], float],
    n_images: int,
    rng: np.random.Generator,
    replicates: int = 200,
) -> Interval:
    """Percentile interval from images drawn with replacement; entries of one image stay together.

    Args:
        statistic: the measure on the images with these row numbers; it may return NaN.
        n_images: how many images there are.
        rng: source of the draws; for a paired difference let ``statistic`` return the difference.
        replicates: how many draws; those with an undefined measure are left out.

    Raises:
        BadConfig: fewer than 1 image or 2 replicates.

    Source: Efron 1979.
    """
    if n_images < 1 or replicates < 2:
        raise BadConfig(
            "A bootstrap needs at least 1 image and 2 replicates, "
            f"but got {n_images} and {replicates}."
        )
    value = statistic(np.arange(n_images))
    centre = None if np.isnan(value) else float(value)
    draws = np.array([statistic(rng.integers(n_images, size=n_images)) for _ in range(replicates)])
    draws = draws[~np.isnan(draws)]
    if n_images < 2 or draws.size < 2:
        return Interval(centre, None, None, None, n_images)
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(centre, float(draws.std(ddof=1)), float(low), float(high), n_images)
