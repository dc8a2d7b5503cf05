"""The only binning: probabilities and labels in, per-class × bin tables of fixed size out.

Two conventions, each always named: ``positive`` takes confidence p against outcome y, ``decision``
confidence max(p, 1 − p) against "the decision p ≥ 0.5 is right". Unknown labels are in no bin.
Tables add up: those of two sets of images, merged, are the table of their union.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int64

from ccr_diag.arrays import PRESENT, UNKNOWN, Labels, Probs
from ccr_diag.errors import BadConfig, BadData

BLOCK_ENTRIES = 2**16  # entries per step of the pass: a few MB of working memory

Truth = Bool[np.ndarray, "images classes"]

CONVENTIONS: dict[str, Callable[[Probs, Truth], tuple[Probs, Truth]]] = {
    "positive": lambda p, y: (p, y),
    "decision": lambda p, y: (np.maximum(p, 1 - p), (p >= 0.5) == y),
}


@dataclass(frozen=True, eq=False)
class ReliabilityBins:
    """All bins of one set of entries; an empty bin has count 0 and NaN means.

    Args:
        count: entries per bin.
        confidence: mean confidence per bin.
        frequency: share of entries per bin whose outcome is true.
    """

    count: Int64[np.ndarray, " bins"]
    confidence: Float64[np.ndarray, " bins"]
    frequency: Float64[np.ndarray, " bins"]


@dataclass(frozen=True, eq=False)
class ReliabilityTable:
    """Sums per class and bin under one convention.

    Args:
        count: known entries.
        sum_confidence: Σ confidence.
        sum_outcome: number of true outcomes.
    """

    count: Int64[np.ndarray, "classes bins"]
    sum_confidence: Float64[np.ndarray, "classes bins"]
    sum_outcome: Int64[np.ndarray, "classes bins"]

    def merge(self, other: "ReliabilityTable") -> "ReliabilityTable":
        """The table of both sets of images together."""
        return ReliabilityTable(
            self.count + other.count,
            self.sum_confidence + other.sum_confidence,
            self.sum_outcome + other.sum_outcome,
        )

    def pooled(self, classes: Bool[np.ndarray, " classes"]) -> ReliabilityBins:
        """The bins over all entries of the chosen classes."""
        count = self.count[classes].sum(axis=0)
        some = np.where(count > 0, count, np.nan)
        return ReliabilityBins(
            count,
            self.sum_confidence[classes].sum(axis=0) / some,
            self.sum_outcome[classes].sum(axis=0) / some,
        )


def bin_index(p: Float[np.ndarray, "*axes"], n_bins: int) -> Int[np.ndarray, "*axes"]:
    """Bin k with e_k ≤ p < e_{k+1} (the last one closed), e_k = k / n_bins rounded in p's own type.

    These edges equal the literals a user types, so 0.3 opens its bin in float32 as in float64.
    ``int(p · n_bins)`` errs at some edges; the nearest edge and one comparison do not.

    Args:
        p: probabilities or confidences in [0, 1], any shape.
        n_bins: bins of equal width.

    Returns:
        0 … n_bins − 1, in the shape of p.
    """
    edges = (np.arange(n_bins + 1) / n_bins).astype(p.dtype)
    nearest = (p * p.dtype.type(n_bins) + p.dtype.type(0.5)).astype(np.intp)
    return np.asarray(np.minimum(nearest - (p < edges[nearest]), n_bins - 1))


def reliability_tables(
    probabilities: Probs, labels: Labels, n_bins: int = 15
) -> dict[str, ReliabilityTable]:
    """One table per convention, from one pass over blocks of images.

    Args:
        probabilities: (images, classes), in [0, 1].
        labels: (images, classes) in {1, 0, -1}.
        n_bins: bins of equal width.

    Raises:
        BadConfig: fewer than 1 bin.
        BadData: a probability outside [0, 1] or NaN.
    """
    if n_bins < 1:
        raise BadConfig(f"There must be at least 1 bin, but got {n_bins}.")
    n_images, n_classes = probabilities.shape
    rows = max(BLOCK_ENTRIES // n_classes, 4 * n_bins)  # a block outweighs the table it fills
    nothing = np.zeros((n_classes, n_bins), dtype=np.int64)
    tables = dict.fromkeys(CONVENTIONS, ReliabilityTable(nothing, nothing.astype(float), nothing))
    for start in range(0, n_images, rows):
        p, y = probabilities[start : start + rows], labels[start : start + rows]
        if not (p.min() >= 0 and p.max() <= 1):  # NaN fails both
            raise BadData(
                "Probabilities must lie in [0, 1], but some do not; map the scores first."
            )
        for convention, view in CONVENTIONS.items():
            block = _fill(*view(p, y == PRESENT), y != UNKNOWN, n_bins)
            tables[convention] = tables[convention].merge(block)
    return tables


def _fill(confidence: Probs, outcome: Truth, known: Truth, n_bins: int) -> ReliabilityTable:
    shape = (confidence.shape[1], n_bins, 2)  # the last axis tells the outcomes apart
    cell = 2 * (bin_index(confidence, n_bins) + n_bins * np.arange(shape[0])) + outcome
    if not known.all():
        cell, confidence = cell[known], confidence[known]
    count = np.bincount(cell.ravel(), minlength=np.prod(shape)).reshape(shape).astype(np.int64)
    total = np.bincount(cell.ravel(), confidence.ravel(), minlength=np.prod(shape)).reshape(shape)
    # bincount forgets its weights, and their type, when there is no entry
    return ReliabilityTable(count.sum(axis=2), total.sum(axis=2, dtype=np.float64), count[:, :, 1])
