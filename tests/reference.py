"""Slow, plain versions of the metrics, written as loops from their formulas.

They take plain arrays and share no code with the package.
"""

from fractions import Fraction

import numpy as np


def exact_bin(p: np.floating, n_bins: int) -> int:
    """The last edge not above p, edges being the decimals k/B as p's own type rounds them."""
    kind = type(p)
    k = 0
    for edge in range(1, n_bins):
        if p >= kind(Fraction(edge, n_bins)):
            k = edge
    return k


def binned(confidence, outcome, n_bins):
    """[(count, mean confidence, frequency)] of the non-empty bins of a list of entries."""
    filled = []
    for b in range(n_bins):
        inside = [i for i, c in enumerate(confidence) if exact_bin(c, n_bins) == b]
        if inside:
            n = len(inside)
            mean = sum(float(confidence[i]) for i in inside) / n
            filled.append((n, mean, sum(int(outcome[i]) for i in inside) / n))
    return filled


def entries(p, y, convention):
    """Known (confidence, outcome) pairs of a matrix, as two lists."""
    confidence, outcome = [], []
    for row, labels in zip(p, y, strict=True):
        for value, label in zip(row, labels, strict=True):
            if label == -1:
                continue
            if convention == "positive":
                confidence.append(value)
                outcome.append(label == 1)
            else:
                confidence.append(max(value, 1 - value))
                outcome.append((value >= 0.5) == (label == 1))
    return confidence, outcome


def calibration(p, y, n_bins, convention):
    """ECE, MCE, weighted MCE and signed error of all entries."""
    filled = binned(*entries(p, y, convention), n_bins)
    n = sum(count for count, _, _ in filled)
    gaps = [(count / n, confidence - frequency) for count, confidence, frequency in filled]
    return {
        "ece": sum(w * abs(gap) for w, gap in gaps),
        "mce": max(abs(gap) for _, gap in gaps),
        "weighted_mce": max(w * abs(gap) for w, gap in gaps),
        "signed_error": sum(w * gap for w, gap in gaps),
    }


def average_precision(scores, labels):
    """Area under the steps of precision against recall; tied scores enter together."""
    pairs = [(s, y) for s, y in zip(scores, labels, strict=True) if y != -1]
    positives = sum(y == 1 for _, y in pairs)
    area, recall_before = 0.0, 0.0
    for threshold in sorted({s for s, _ in pairs}, reverse=True):
        taken = [y for s, y in pairs if s >= threshold]
        hits = sum(y == 1 for y in taken)
        area += (hits / positives - recall_before) * hits / len(taken)
        recall_before = hits / positives
    return area


def cosine(a, b):
    """Cosine of two vectors."""
    dot = sum(float(x) * float(y) for x, y in zip(a, b, strict=True))
    return dot / (sum(float(x) ** 2 for x in a) * sum(float(y) ** 2 for y in b)) ** 0.5


def neighbours(rows, i, k):
    """The k rows nearest to row i by cosine, the lower index first on a tie."""
    others = [j for j in range(len(rows)) if j != i]
    return sorted(others, key=lambda j: (-round(cosine(rows[i], rows[j]), 12), j))[:k]


def embedding_divergence(rows, k):
    """Mean of 1 − cosine to the k nearest other rows, per row."""
    return [
        np.mean([1 - cosine(rows[i], rows[j]) for j in neighbours(rows, i, k)])
        for i in range(len(rows))
    ]


def neighbourhood_preservation(before, after, k):
    """Share of the k nearest rows before that are still among them after, per row."""
    return [
        len(set(neighbours(before, i, k)) & set(neighbours(after, i, k))) / k
        for i in range(len(before))
    ]
