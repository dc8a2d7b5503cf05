"""Histogram binning: in each of 15 equal bins of confidence, the share of positives.

Source: Zadrozny and Elkan 2001, “Obtaining calibrated probability estimates from decision trees
and naive Bayesian classifiers”, with bins of equal width, the ones in which the errors are counted.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64
from scipy.special import expit

from ccr_diag.calibrators.maps import Entries

N_BINS = 15


@dataclass(frozen=True, eq=False)
class Histogram:
    """One probability a bin; NaN in a bin without entries."""

    levels: Float64[np.ndarray, " bins"]

    def __call__(self, z: Entries) -> Entries:
        """Probabilities."""
        return np.asarray(self.levels[_bin(z)])

    def as_dict(self) -> dict[str, Any]:
        """The probability of each bin, None where it had no entry."""
        return {"levels": [None if np.isnan(level) else level for level in self.levels.tolist()]}


def histogram(z: Entries, y: Entries) -> Histogram:
    """The share of positives in each bin of σ(z).

    Args:
        z: logits.
        y: outcomes 0 and 1.
    """
    bins = _bin(z)
    count = np.bincount(bins, minlength=N_BINS)
    positives = np.bincount(bins, y, N_BINS)
    return Histogram(np.where(count > 0, positives / np.maximum(count, 1), np.nan))


def _bin(z: Entries) -> Int64[np.ndarray, " entries"]:
    return np.minimum((expit(z) * N_BINS).astype(np.int64), N_BINS - 1)
