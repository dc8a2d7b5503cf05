"""Proper scores: what calibration and discrimination cost together, and how the cost divides."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Num
from scipy.optimize import isotonic_regression

from ccr_diag.metrics.bins import ReliabilityBins

Values = Float64[np.ndarray, "*batch"]


@dataclass(frozen=True, eq=False)
class ScoreSums:
    """Sums over known entries, the first axis that of classes if there is one.

    Args:
        n: entries.
        positives: Σ y.
        sum_squared_error: Σ (p − y)².
        sum_log_loss: −Σ log of the probability given to the label that holds.
    """

    n: Num[np.ndarray, "*batch"]
    positives: Num[np.ndarray, "*batch"]
    sum_squared_error: Float64[np.ndarray, "*batch"]
    sum_log_loss: Float64[np.ndarray, "*batch"]

    def __add__(self, other: "ScoreSums") -> "ScoreSums":
        """The sums over both sets of entries together."""
        return ScoreSums(
            self.n + other.n,
            self.positives + other.positives,
            self.sum_squared_error + other.sum_squared_error,
            self.sum_log_loss + other.sum_log_loss,
        )

    def of(self, classes: Bool[np.ndarray, " classes"]) -> "ScoreSums":
        """The chosen classes."""
        return ScoreSums(
            self.n[classes],
            self.positives[classes],
            self.sum_squared_error[classes],
            self.sum_log_loss[classes],
        )

    def pooled(self) -> "ScoreSums":
        """All classes together."""
        return ScoreSums(
            np.asarray(self.n.sum(axis=0)),
            np.asarray(self.positives.sum(axis=0)),
            np.asarray(self.sum_squared_error.sum(axis=0)),
            np.asarray(self.sum_log_loss.sum(axis=0)),
        )


@dataclass(frozen=True, eq=False)
class BrierParts:
    """Brier score = miscalibration − discrimination + uncertainty; none is below 0.

    Args:
        miscalibration: MCB, what the best increasing map of the confidences would save.
        discrimination: DSC, what the confidences so mapped save over the constant frequency.
        uncertainty: UNC = f(1 − f), the Brier score of the constant frequency f.
    """

    miscalibration: Float64[np.ndarray, "*batch"]
    discrimination: Float64[np.ndarray, "*batch"]
    uncertainty: Float64[np.ndarray, "*batch"]


def brier(sums: ScoreSums) -> Values:
    """Brier score, Σ (p − y)² / n; NaN without an entry.

    Source: Brier 1950, the half that belongs to one of two outcomes.
    """
    return np.asarray(sums.sum_squared_error / _some(sums.n))


def nll(sums: ScoreSums) -> Values:
    """Negative log-likelihood per entry, −Σ [y log p + (1 − y) log(1 − p)] / n, in nats.

    Source: Good 1952.
    """
    return np.asarray(sums.sum_log_loss / _some(sums.n))


def brier_skill(per_class: ScoreSums) -> Values:
    """1 − Σ_c SSE_c / Σ_c n_c π_c (1 − π_c), SSE_c = Σ (p − y)²; classes are the first axis.

    π_c is the share of positives of class c among the entries measured: what is beaten is telling
    every image each class's own frequency. 1 is perfect, 0 no better than that, below 0 worse. NaN
    where every class has one kind of label only.

    Source: the Brier skill score (Murphy 1973) against the frequency of each class.
    """
    share = per_class.positives / np.maximum(per_class.n, 1)
    of_prior = (per_class.n * share * (1 - share)).sum(axis=0)
    error = per_class.sum_squared_error.sum(axis=0)
    return np.asarray(1 - error / _some(np.asarray(of_prior)))


def decompose(cells: ReliabilityBins) -> BrierParts:
    """The Brier score S = Σ_k n_k [(c_k − f_k)² + f_k (1 − f_k)] / n of the cells, in three parts.

    With g the isotonic regression of f_k on c_k (weights n_k) and S_g its score:
    MCB = S − S_g, DSC = UNC − S_g, UNC = f(1 − f), f = Σ n_k f_k / n.

    A cell stands for one confidence, its mean c_k. S differs from the score of the entries by the
    variance of c within cells less twice its covariance with the outcome there: at most w in cells
    of width w, in practice far less. DSC and MCB know no order within a cell.

    Args:
        cells: fine reliability bins in order of confidence.

    Source: Dimitriadis, Gneiting and Jordan 2021 (CORP).
    """
    batch, width = cells.count.shape[:-1], cells.count.shape[-1]
    count, outcome = cells.count.reshape(-1, width), cells.sum_outcome.reshape(-1, width)
    n = _some(count.sum(axis=1))
    weight = count / n[:, None]
    frequency = outcome / np.maximum(count, 1)
    confidence = cells.sum_confidence.reshape(-1, width) / np.maximum(count, 1)
    best = np.zeros_like(confidence)
    for row, used in enumerate(count > 0):
        if used.any():
            fit = isotonic_regression(frequency[row, used], weights=count[row, used])
            best[row, used] = fit.x
    missed = (weight * (confidence - frequency) ** 2).sum(axis=1)
    missed_at_best = (weight * (best - frequency) ** 2).sum(axis=1)
    overall = (weight * frequency).sum(axis=1)
    spread = (weight * (frequency - overall[:, None]) ** 2).sum(axis=1)
    return BrierParts(
        np.maximum(missed - missed_at_best, 0).reshape(batch),
        np.maximum(spread - missed_at_best, 0).reshape(batch),
        (overall * (1 - overall)).reshape(batch),
    )


def _some(count: Num[np.ndarray, "*batch"]) -> Values:
    """The count; NaN instead of 0."""
    return np.where(count > 0, count, np.nan)
