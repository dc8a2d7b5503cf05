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


def bce(z, y, reduction):
    total, known = 0.0, 0
    for row_z, row_y in zip(np.asarray(z).tolist(), np.asarray(y).tolist(), strict=True):
        for logit, label in zip(row_z, row_y, strict=True):
            if label == 1:
                total -= math.log(1 - absence(logit))
            if label == 0:
                total -= math.log(absence(logit))
            known += label != -1
    return total / (max(1, known) if reduction == "mean" else len(z))


def ranking(z, y, margin=1.0):
    total = 0.0
    for row_z, row_y in zip(np.asarray(z).tolist(), np.asarray(y).tolist(), strict=True):
        for j, positive in enumerate(row_y):
            for i, negative in enumerate(row_y):
                if positive == 1 and negative == 0:
                    total += max(0.0, margin - row_z[j] + row_z[i])
    return total / len(z)
