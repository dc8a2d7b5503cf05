"""Slow references for covariance and losses: plain loops over floats, written from the formulas."""

import math

import numpy as np


def absence(logit):
    return 1 / (1 + math.exp(logit)) if logit > 0 else 1 - 1 / (1 + math.exp(-logit))


def mean(values):
    return sum(values) / len(values) if values else 0.0


def residual_uncentred(z, y, b, c):
    if y[b][c] == -1:
        return mean([absence(z[k][c]) for k in range(len(z)) if y[k][c] != -1])
    return absence(z[b][c])


def residual_uncentred_inactive(z, y, b, c):
    return absence(z[b][c]) if y[b][c] == 0 else 0.0


def residual_centred_inactive(z, y, b, c):
    inactive = [absence(z[k][c]) for k in range(len(z)) if y[k][c] == 0]
    return absence(z[b][c]) - mean(inactive) if y[b][c] == 0 else 0.0


def residual_centred(z, y, b, c):
    known = [absence(z[k][c]) for k in range(len(z)) if y[k][c] != -1]
    return absence(z[b][c]) - mean(known) if y[b][c] != -1 else 0.0


RESIDUALS = {
    "uncentred": residual_uncentred,
    "uncentred_inactive": residual_uncentred_inactive,
    "centred_inactive": residual_centred_inactive,
    "centred": residual_centred,
}


def covariance(z, y, estimator):
    z, y = np.asarray(z).tolist(), np.asarray(y).tolist()
    residual, images, classes = RESIDUALS[estimator], len(z), len(z[0])
    out = np.zeros((classes, classes))
    for i in range(classes):
        for j in range(classes):
            for b in range(images):
                out[i, j] += residual(z, y, b, i) * residual(z, y, b, j) / images
    return out


def ccr(z, y, target, estimator, reduction):
    """‖C̃ − Σ‖_F² over classes with variance, both diagonals exactly 1; mean: over ordered pairs."""
    c = covariance(z, y, estimator)
    alive = [i for i in range(len(c)) if c[i, i] > 1e-15]
    total = 0.0
    for i in alive:
        for j in alive:
            if i != j:
                total += (c[i, j] / math.sqrt(c[i, i] * c[j, j]) - float(target[i][j])) ** 2
    if reduction == "mean":
        total /= max(1, len(alive) * (len(alive) - 1))
    return total


def bce(z, y, reduction, smoothing=0.0):
    """A smoothed label is half of ε the other label."""
    total, known = 0.0, 0
    for row_z, row_y in zip(np.asarray(z).tolist(), np.asarray(y).tolist(), strict=True):
        for logit, label in zip(row_z, row_y, strict=True):
            q = absence(logit)
            if label == 1:
                total -= (1 - smoothing / 2) * math.log(1 - q) + smoothing / 2 * math.log(q)
            if label == 0:
                total -= (1 - smoothing / 2) * math.log(q) + smoothing / 2 * math.log(1 - q)
            known += label != -1
    return total / (max(1, known) if reduction == "mean" else len(z))


def asl(z, y, gamma_present, gamma_absent, clip, reduction, weighted_at=None):
    """``weighted_at``: logits that the focusing weights are computed at, if not ``z``."""
    total, known = 0.0, 0
    z = np.asarray(z).tolist()
    at = z if weighted_at is None else np.asarray(weighted_at).tolist()
    for b, labels in enumerate(np.asarray(y).tolist()):
        for c, label in enumerate(labels):
            p, p_at = 1 - absence(z[b][c]), 1 - absence(at[b][c])
            if label == 1:
                total -= (1 - p_at) ** gamma_present * math.log(p)
            if label == 0:
                total -= max(p_at - clip, 0) ** gamma_absent * math.log(1 - max(p - clip, 0))
            known += label != -1
    return total / (max(1, known) if reduction == "mean" else len(z))


def cosine_distance(tuned, zero_shot):
    total = 0.0
    for t, u in zip(np.asarray(tuned).tolist(), np.asarray(zero_shot).tolist(), strict=True):
        dot = sum(a * b for a, b in zip(t, u, strict=True))
        total += dot / math.sqrt(sum(a * a for a in t)) / math.sqrt(sum(b * b for b in u))
    return 1 - total / len(tuned)


def ranking(z, y, margin=1.0):
    total = 0.0
    for row_z, row_y in zip(np.asarray(z).tolist(), np.asarray(y).tolist(), strict=True):
        for j, positive in enumerate(row_y):
            for i, negative in enumerate(row_y):
                if positive == 1 and negative == 0:
                    total += max(0.0, margin - row_z[j] + row_z[i])
    return total / len(z)
