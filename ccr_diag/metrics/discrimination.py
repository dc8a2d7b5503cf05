"""How well positives are told from negatives: scores or probabilities and labels in, numbers out.

Accuracies come from per-class counts of decisions p ≥ 0.5, average precision from the ranking of
scores (which no map changes, while saturated probabilities tie). Unknown labels are left out.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64
from sklearn.metrics import average_precision_score

from ccr_diag.arrays import ABSENT, PRESENT, UNKNOWN, Labels, Probs, Scores

Counts = Int64[np.ndarray, " classes"]


@dataclass(frozen=True, eq=False)
class Confusion:
    """Known entries per class, by label and decision p ≥ 0.5."""

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


def count_decisions(probabilities: Probs, labels: Labels) -> Confusion:
    """Count the decisions p ≥ 0.5 per class."""
    yes = probabilities >= 0.5

    def count(label: int, decided: Bool[np.ndarray, "images classes"]) -> Counts:
        counts: Counts = ((labels == label) & decided).sum(axis=0, dtype=np.int64)
        return counts

    return Confusion(
        count(PRESENT, yes), count(ABSENT, yes), count(PRESENT, ~yes), count(ABSENT, ~yes)
    )


def accuracy(counts: Confusion) -> float:
    """Share of right decisions over all known entries, (TP + TN) / n, pooled over classes.

    Source: element-wise (Hamming) accuracy; easy negatives dominate it.
    """
    right = counts.true_positive.sum() + counts.true_negative.sum()
    return _ratio(right, right + counts.false_positive.sum() + counts.false_negative.sum())


def balanced_accuracy(counts: Confusion) -> float:
    """½ (TP / (TP + FN) + TN / (TN + FP)), pooled over classes; NaN without positives or negatives.

    Source: Brodersen et al. 2010.
    """
    tp, tn = counts.true_positive.sum(), counts.true_negative.sum()
    return (
        _ratio(tp, tp + counts.false_negative.sum()) + _ratio(tn, tn + counts.false_positive.sum())
    ) / 2


def f1_macro(counts: Confusion) -> float:
    """Mean of 2TP / (2TP + FP + FN) over classes with a known positive (NaN when there is none).

    This is the mean-of-F1 reading of CF1, not the F1 of mean precision and mean recall.
    Source: Opitz and Burst 2019.
    """
    has_positive = counts.true_positive + counts.false_negative > 0
    per_class = [f1_micro(counts.of(one)) for one in np.diag(has_positive)[has_positive]]
    return float(np.mean(per_class)) if per_class else np.nan


def f1_micro(counts: Confusion) -> float:
    """2TP / (2TP + FP + FN) pooled over classes: OF1; NaN when nothing is or is called positive."""
    twice = 2 * counts.true_positive.sum()
    return _ratio(twice, twice + counts.false_positive.sum() + counts.false_negative.sum())


def average_precision(scores: Scores, labels: Labels) -> Float64[np.ndarray, " classes"]:
    """AP = Σ_n (R_n − R_{n−1}) P_n per class; NaN where positives or negatives are missing.

    Source: scikit-learn's ``average_precision_score`` (not interpolated).
    """
    result = np.full(scores.shape[1], np.nan)
    for column, (s, y) in enumerate(zip(scores.T, labels.T, strict=True)):
        known = y != UNKNOWN
        if np.unique(y[known]).size == 2:
            result[column] = average_precision_score(y[known], s[known])
    return result


def mean_average_precision(per_class: Float64[np.ndarray, " classes"]) -> float:
    """Mean AP over the classes where it is defined (NaN when there is none)."""
    defined = per_class[~np.isnan(per_class)]
    return float(defined.mean()) if defined.size else np.nan


def _ratio(part: np.integer, whole: np.integer) -> float:
    return float(part / whole) if whole else np.nan
