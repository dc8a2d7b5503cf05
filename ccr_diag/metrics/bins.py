"""Reliability bins: what every calibration error is computed from.

Sums rather than means, so that the bins of two sets of entries add up to those of their union.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Num


@dataclass(frozen=True, eq=False)
class ReliabilityBins:
    """Sums over the entries of each bin, bins in order of confidence.

    Leading axes are free: classes, bootstrap replicates, or none. A bin may be empty.

    Args:
        count: n_b, entries.
        sum_confidence: Σ c over the entries, c the confidence.
        sum_outcome: Σ o, o = 1 where the outcome is true.
        sum_variance: Σ c(1 − c): the variance of Σ o if every c were right; NaN in replicates.
    """

    count: Num[np.ndarray, "*batch bins"]
    sum_confidence: Float64[np.ndarray, "*batch bins"]
    sum_outcome: Num[np.ndarray, "*batch bins"]
    sum_variance: Float64[np.ndarray, "*batch bins"]

    @classmethod
    def from_moments(
        cls,
        sums: Float64[np.ndarray, "*batch bins outcomes statistics"],
        outcome: Float64[np.ndarray, "*batch bins"],
    ) -> "ReliabilityBins":
        """From n, Σc and, if there, Σc² by label, and the number of true outcomes."""
        n, c, *c2 = np.moveaxis(sums.sum(axis=-2), -1, 0)
        variance = np.maximum(c - c2[0], 0) if c2 else np.full(c.shape, np.nan)
        return cls(n, c, outcome, variance)

    def __add__(self, other: "ReliabilityBins") -> "ReliabilityBins":
        """The bins of both sets of entries together."""
        return ReliabilityBins(
            self.count + other.count,
            self.sum_confidence + other.sum_confidence,
            self.sum_outcome + other.sum_outcome,
            self.sum_variance + other.sum_variance,
        )

    def __getitem__(self, index: Any) -> "ReliabilityBins":
        """A choice from the leading axes."""
        return ReliabilityBins(
            self.count[index],
            self.sum_confidence[index],
            self.sum_outcome[index],
            self.sum_variance[index],
        )

    def pooled(self, classes: Bool[np.ndarray, " classes"] | None = None) -> "ReliabilityBins":
        """The bins over all entries of the chosen classes; the first axis is that of classes."""
        chosen = self if classes is None else self[classes]
        return ReliabilityBins(
            chosen.count.sum(axis=0),
            chosen.sum_confidence.sum(axis=0),
            chosen.sum_outcome.sum(axis=0),
            chosen.sum_variance.sum(axis=0),
        )

    @property
    def confidence(self) -> Float64[np.ndarray, "*batch bins"]:
        """c_b, mean confidence; NaN where empty."""
        return np.asarray(self.sum_confidence / self._entries)

    @property
    def frequency(self) -> Float64[np.ndarray, "*batch bins"]:
        """f_b, share of true outcomes; NaN where empty."""
        return np.asarray(self.sum_outcome / self._entries)

    @property
    def _entries(self) -> Float64[np.ndarray, "*batch bins"]:
        return np.where(self.count > 0, self.count, np.nan)
