"""Whether two quantities of the classes go together, and how surely: correlations over classes."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64
from scipy.stats import norm, rankdata

from ccr_diag.errors import BadConfig, BadData
from ccr_diag.metrics.intervals import LEVEL

METHODS = ("spearman", "pearson")
FEWEST = 4  # classes that an interval needs
REPLICATES = 400
LARGEST = 1 - 1e-7  # a replicate of few classes may be exactly ±1


@dataclass(frozen=True)
class Correlation:
    """A correlation coefficient and its 95 % interval; None where undefined.

    Args:
        method: ``spearman`` or ``pearson``.
        value: the coefficient; None for fewer than 2 classes or a constant quantity.
        low: lower end; None for fewer than 4 classes or a coefficient of exactly ±1.
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
    seed: int = 0,
) -> Correlation:
    """R = Σ x y / √(Σ x² · Σ y²) of centred values, or of centred mid-ranks for Spearman's.

    The interval is tanh(artanh r ± z_{0.975} · s), s the standard deviation of artanh r over 400
    draws of the classes with replacement: classes are of unequal noise, for which the textbook
    s = 1/√(n − 3) is too short.

    Args:
        first: a quantity of each class; where either is not finite, the class is left out.
        second: another quantity of the same classes.
        method: ``spearman`` or ``pearson``.
        seed: of the draws.

    Raises:
        BadConfig: an unknown method.
        BadData: unequal numbers of classes.

    Source: Efron and Tibshirani 1993, chapter 12, on Fisher's scale.
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
    value = float(_coefficient(both, method)) if n > 1 else np.nan
    if np.isnan(value):
        return Correlation(method, None, None, None, n)
    if n < FEWEST or abs(value) > LARGEST:
        return Correlation(method, value, None, None, n)
    draws = np.random.default_rng(seed).integers(n, size=(REPLICATES, n))
    replicates = _coefficient(both[:, draws], method)
    z = np.arctanh(np.clip(replicates[~np.isnan(replicates)], -LARGEST, LARGEST))
    half = norm.ppf((1 + LEVEL) / 2) * z.std(ddof=1)
    low, high = np.tanh(np.arctanh(value) + np.array([-half, half]))
    return Correlation(method, value, float(low), float(high), n)


def _coefficient(
    both: Float64[np.ndarray, "2 *draws classes"], method: str
) -> Float64[np.ndarray, "*draws"]:
    values = rankdata(both, axis=-1) if method == "spearman" else both
    constant = (values == values[..., :1]).all(axis=-1).any(axis=0)
    x, y = values - values.mean(axis=-1, keepdims=True)
    size = np.sqrt(np.square(x).sum(axis=-1) * np.square(y).sum(axis=-1))
    defined = ~constant & (size > 0)
    r = np.divide((x * y).sum(axis=-1), size, out=np.full(size.shape, np.nan), where=defined)
    return np.asarray(np.clip(r, -1, 1))
