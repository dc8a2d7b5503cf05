"""A least-squares line through two quantities of the classes, with its band and correlations."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import t as student

from ccr_diag.metrics.association import Correlation, correlate
from ccr_diag.metrics.intervals import LEVEL

PLACES = 41  # where the band is given; it is curved


@dataclass(frozen=True)
class LineFit:
    """A line and how surely it is known; None and empty where undefined.

    Args:
        n: classes used.
        slope: of the line; None for fewer than 2 classes or a constant x.
        slope_low: lower end of its 95 % interval; None for fewer than 3 classes.
        slope_high: upper end.
        intercept: height of the line at x = 0.
        x: ``PLACES`` places, from the smallest to the largest x.
        y: the line there.
        low: lower end of its pointwise 95 % band there; empty for fewer than 3 classes.
        high: upper end.
        pearson: correlation, with its interval.
        spearman: correlation of the ranks, with its interval.
    """

    n: int
    slope: float | None
    slope_low: float | None
    slope_high: float | None
    intercept: float | None
    x: list[float]
    y: list[float]
    low: list[float]
    high: list[float]
    pearson: Correlation
    spearman: Correlation

    def to_json(self) -> dict[str, Any]:
        """All fields, the correlations as dictionaries."""
        return asdict(self)


def fit_line(x: Float[np.ndarray, " classes"], y: Float[np.ndarray, " others"]) -> LineFit:
    """Y ≈ a + b x by least squares.

    ::

        b = Σ (x − x̄)(y − ȳ) / S        S = Σ (x − x̄)²        a = ȳ − b x̄
        s² = Σ (y − a − b x)² / (n − 2)
        slope:  b ± t_{0.975, n−2} · s / √S
        band:   a + b x₀ ± t_{0.975, n−2} · s · √(1/n + (x₀ − x̄)² / S)

    The band is of the mean y at x₀, not of single classes, and holds at each x₀ alone. It takes the
    classes as equally noisy; the intervals of the correlations do not.

    Args:
        x: a quantity of each class; where either is not finite, the class is left out.
        y: another quantity of the same classes.

    Raises:
        BadData: unequal numbers of classes.

    Source: Draper and Smith 1998, chapter 1.
    """
    pearson, spearman = (correlate(x, y, method) for method in ("pearson", "spearman"))
    both = np.stack([x, y]).astype(np.float64)
    x, y = both[:, np.isfinite(both).all(axis=0)]
    n = len(x)
    if n < 2 or not np.ptp(x):
        return LineFit(n, None, None, None, None, [], [], [], [], pearson, spearman)
    spread = float(np.square(x - x.mean()).sum())
    slope = float((x - x.mean()) @ (y - y.mean())) / spread
    intercept = float(y.mean() - slope * x.mean())
    at = np.linspace(x.min(), x.max(), PLACES)
    line = intercept + slope * at
    if n < 3:
        places, heights = at.tolist(), line.tolist()
        return LineFit(n, slope, None, None, intercept, places, heights, [], [], pearson, spearman)
    t = float(student.ppf((1 + LEVEL) / 2, n - 2))
    left = np.square(y - intercept - slope * x).sum()
    around_slope = t * float(np.sqrt(left / (n - 2) / spread))
    half = around_slope * np.sqrt(spread / n + np.square(at - x.mean()))
    return LineFit(
        n=n,
        slope=slope,
        slope_low=slope - around_slope,
        slope_high=slope + around_slope,
        intercept=intercept,
        x=at.tolist(),
        y=line.tolist(),
        low=(line - half).tolist(),
        high=(line + half).tolist(),
        pearson=pearson,
        spearman=spearman,
    )
