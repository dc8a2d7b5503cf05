"""Whether two quantities of the classes go together, and how surely: correlations over classes."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64
from scipy.stats import rankdata
from scipy.stats import t as student

from ccr_diag.errors import BadConfig, BadData
from ccr_diag.metrics.intervals import LEVEL
from ccr_diag.metrics.neighbourhoods import row_blocks

METHODS = ("spearman", "pearson")
FEWEST = 4  # classes that an interval needs
ROUNDING = 1e-12  # a coefficient this near to ±1 is ±1


@dataclass(frozen=True)
class Correlation:
    """A correlation coefficient and its 95 % interval; None where undefined.

    Args:
        method: ``spearman`` or ``pearson``.
        value: the coefficient; None for fewer than 2 classes or a constant quantity.
        low: lower end; None for fewer than 4 classes, a coefficient of exactly ±1, or a quantity
            that is constant but for one class.
        high: upper end.
        n: classes used.
    """

    method: str
    value: float | None
    low: float | None
    high: float | None
    n: int


def correlate(
    first: Float[np.ndarray, " classes"],
    second: Float[np.ndarray, " others"],
    method: str = "spearman",
) -> Correlation:
    """R = Σ x y / √(Σ x² · Σ y²) of centred values, or of centred mid-ranks for Spearman's.

    The interval is tanh(artanh r ± t_{0.975, n−2} · s), with s of the jackknife,
    s² = (n − 1)/n · Σ_i (r_(i) − r̄)² / (1 − r²)² and r_(i) the coefficient without class i. Classes
    are of unequal noise, for which the textbook s = 1/√(n − 3) is too short. The spread is taken of
    r, not of artanh r: without the one class that disagrees r may be ±1.

    Args:
        first: a quantity of each class; where either is not finite, the class is left out.
        second: another quantity of the same classes.
        method: ``spearman`` or ``pearson``.

    Raises:
        BadConfig: an unknown method.
        BadData: unequal numbers of classes.

    Source: Efron and Tibshirani 1993, chapter 11, on Fisher's scale.
    """
    if method not in METHODS:
        raise BadConfig(f"The correlation must be one of {', '.join(METHODS)}, but got {method!r}.")
    if len(first) != len(second):
        raise BadData(
            "A correlation needs two values a class, "
            f"but got {len(first)} of one and {len(second)} of the other."
        )
    both = np.stack([first, second]).astype(np.float64)
    both = both[:, np.isfinite(both).all(axis=0)]
    n = both.shape[1]
    ranked = method == "spearman"
    values = rankdata(both, axis=-1) if ranked else both
    r = float(coefficient(values)) if n > 1 else np.nan
    if np.isnan(r):
        return Correlation(method, None, None, None, n)
    if n < FEWEST or abs(r) > 1 - ROUNDING:
        return Correlation(method, r, None, None, n)
    left = _without_each(values, ranked)
    s = np.sqrt((n - 1) / n * np.square(left - left.mean()).sum()) / (1 - r * r)
    if np.isnan(s):
        return Correlation(method, r, None, None, n)
    half = student.ppf((1 + LEVEL) / 2, n - 2) * s
    low, high = np.tanh(np.arctanh(r) + np.array([-half, half]))
    return Correlation(method, r, float(low), float(high), n)


def coefficient(values: Float64[np.ndarray, "2 *batch classes"]) -> Float64[np.ndarray, "*batch"]:
    """Pearson's, of values or of ranks along the last axis; NaN where either is constant."""
    constant = (values == values[..., :1]).all(axis=-1).any(axis=0)
    x, y = values - values.mean(axis=-1, keepdims=True)
    size = np.sqrt(np.square(x).sum(axis=-1) * np.square(y).sum(axis=-1))
    defined = ~constant & (size > 0)
    r = np.divide((x * y).sum(axis=-1), size, out=np.full(size.shape, np.nan), where=defined)
    return np.asarray(np.clip(r, -1, 1))


def _without_each(
    values: Float64[np.ndarray, "2 classes"], ranked: bool
) -> Float64[np.ndarray, " classes"]:
    """r_(i), the coefficient without class i.

    Ranks need no sorting again: those above class i come down by 1, those tied with it by 1/2.
    """
    n = values.shape[1]
    found = []
    for rows in row_blocks(n):
        i = np.arange(n)[rows, None]
        others = np.arange(n - 1) + (np.arange(n - 1) >= i)
        left = values[:, others]
        if ranked:
            left -= (1 + np.sign(left - values[:, i])) / 2
        found.append(coefficient(left))
    return np.concatenate(found)
