"""How well positives are told from negatives: counts of decisions, or a ranking, in; numbers out.

Accuracies come from counts of decisions, average precision from the ranking of what the model
stored (which no map changes, while saturated probabilities tie). Unknown labels are left out.
Classes are the first axis; further axes (bootstrap replicates) are free.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int8, Num, UInt8

from ccr_diag.arrays import UNKNOWN
from ccr_diag.metrics.compiled import compiled

Counts = Num[np.ndarray, " classes *batch"]
Values = Float64[np.ndarray, "*batch"]


@dataclass(frozen=True, eq=False)
class Confusion:
    """Known entries per class, by label and decision."""

    true_positive: Counts
    false_positive: Counts
    false_negative: Counts
    true_negative: Counts

    def of(self, classes: Bool[np.ndarray, " all_classes"]) -> "Confusion":
        """The counts of the chosen classes."""
        return Confusion(
            self.true_positive[classes],
            self.false_positive[classes],
            self.false_negative[classes],
            self.true_negative[classes],
        )

    @property
    def pooled(self) -> "Confusion":
        """All classes as one."""
        return Confusion(
            self.true_positive.sum(axis=0, keepdims=True),
            self.false_positive.sum(axis=0, keepdims=True),
            self.false_negative.sum(axis=0, keepdims=True),
            self.true_negative.sum(axis=0, keepdims=True),
        )


def accuracy(counts: Confusion) -> Values:
    """Share of right decisions over all known entries, (TP + TN) / n, pooled over classes.

    Source: element-wise (Hamming) accuracy; easy negatives dominate it.
    """
    right = counts.true_positive + counts.true_negative
    wrong = counts.false_positive + counts.false_negative
    return _ratio(right.sum(axis=0), (right + wrong).sum(axis=0))


def balanced_accuracy(counts: Confusion) -> Values:
    """½ (TP / (TP + FN) + TN / (TN + FP)), pooled over classes; NaN without positives or negatives.

    Source: Brodersen et al. 2010.
    """
    tp, tn = counts.true_positive.sum(axis=0), counts.true_negative.sum(axis=0)
    recall = _ratio(tp, tp + counts.false_negative.sum(axis=0))
    return np.asarray((recall + _ratio(tn, tn + counts.false_positive.sum(axis=0))) / 2)


def macro_recall(counts: Confusion) -> Values:
    """CR: mean of TP / (TP + FN) over classes with a known positive (NaN when there is none)."""
    return mean_over_classes(
        _ratio(counts.true_positive, counts.true_positive + counts.false_negative)
    )


def f1_macro(counts: Confusion) -> Values:
    """Mean of 2TP / (2TP + FP + FN) over classes with a known positive (NaN when there is none).

    Source: Opitz and Burst 2019.
    """
    return mean_over_classes(np.where(_positives(counts) > 0, _f1(counts), np.nan))


def cf1(counts: Confusion) -> Values:
    """2·CP·CR / (CP + CR), CP and CR the mean precision and recall of classes with a positive.

    A class that is never called positive has precision 0.

    Source: the CF1 of the multi-label literature (Wang et al., CNN-RNN, 2016).
    """
    called = counts.true_positive + counts.false_positive
    precision = counts.true_positive / np.maximum(called, 1)
    cp = mean_over_classes(np.where(_positives(counts) > 0, precision, np.nan))
    cr = macro_recall(counts)
    return _ratio(2 * cp * cr, cp + cr, empty=0.0)


def of1(counts: Confusion) -> Values:
    """2TP / (2TP + FP + FN) pooled over classes; NaN when nothing is or is called positive.

    Source: the OF1 of the multi-label literature, micro F1.
    """
    return np.asarray(_f1(counts.pooled)[0])


def average_precision(
    ranking: Float[np.ndarray, " images"],
    labels: Int8[np.ndarray, " images"],
    weights: UInt8[np.ndarray, "images replicates"],
) -> tuple[float, Float64[np.ndarray, " replicates"]]:
    """AP = Σ_n (R_n − R_{n−1}) P_n of one class, n over distinct values; on all images and drawn.

    Args:
        ranking: larger is more positive; equal values are one threshold.
        labels: in {1, 0, -1}.
        weights: how often each replicate drew each image.

    Returns:
        The value and that of each replicate; NaN where positives or negatives are missing.

    Source: the step-wise area of scikit-learn's ``average_precision_score``.
    """
    images = np.flatnonzero(labels != UNKNOWN)
    ranked = ranking[images]
    order = np.argsort(-ranked, kind="stable")
    last = np.append(np.diff(ranked[order]) != 0, True)[: len(order)]
    order = images[order]
    once = np.ones((1, 1), dtype=np.uint8)
    value = _average_precision(order, last, labels, once, True)[0]
    if not weights.shape[1]:
        return float(value), np.zeros(0)
    return float(value), _average_precision(order, last, labels, weights, False)


@compiled
def _average_precision(order: Any, last: Any, labels: Any, weights: Any, same: bool) -> Any:
    """``last`` marks the end of each run of equal values; ``same``: one row of weights for all."""
    replicates = weights.shape[1]
    n, tp = np.zeros(replicates, np.int64), np.zeros(replicates, np.int64)
    before, area = np.zeros(replicates, np.int64), np.zeros(replicates)
    hit = False
    for k in range(order.size):
        i = np.uint64(order[k])
        w = weights[np.uint64(0) if same else i]
        for r in range(replicates):
            n[r] += np.int64(w[r])
        if labels[i] == 1:
            hit = True
            for r in range(replicates):
                tp[r] += np.int64(w[r])
        if last[k] and hit:
            for r in range(replicates):
                if tp[r] > before[r]:
                    area[r] += (tp[r] - before[r]) * (tp[r] / n[r])
                    before[r] = tp[r]
            hit = False
    for r in range(replicates):
        area[r] = area[r] / tp[r] if 0 < tp[r] < n[r] else np.nan
    return area


def mean_over_classes(per_class: Float64[np.ndarray, " classes *batch"]) -> Values:
    """Mean over the classes where the value is defined (NaN when there is none)."""
    defined = ~np.isnan(per_class)
    return _ratio(np.where(defined, per_class, 0).sum(axis=0), defined.sum(axis=0))


@compiled
def keep_top(p: Any, y: Any, k: int, kept: Any) -> None:
    """Copy the labels of each image's k most probable classes, the others become unknown.

    Equal probabilities: the class that comes first.
    """
    for i in range(p.shape[0]):
        for c in range(p.shape[1]):
            kept[i, c] = np.int8(-2)
        for _ in range(k):
            best = -1
            for c in range(p.shape[1]):
                if kept[i, c] == -2 and (best < 0 or p[i, c] > p[i, best]):
                    best = c
            if best >= 0:
                kept[i, best] = y[i, best]
        for c in range(p.shape[1]):
            if kept[i, c] == -2:
                kept[i, c] = np.int8(-1)


def _positives(counts: Confusion) -> Counts:
    return np.asarray(counts.true_positive + counts.false_negative)


def _f1(counts: Confusion) -> Float64[np.ndarray, " classes *batch"]:
    twice = 2 * counts.true_positive
    return _ratio(twice, twice + counts.false_positive + counts.false_negative)


def _ratio(part: Any, whole: Any, empty: float = np.nan) -> Float64[np.ndarray, "*axes"]:
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    return np.asarray(np.divide(part, whole, out=np.full(part.shape, empty), where=whole != 0))
