"""Penalised logistic regression with lower bounds: what all parametric calibrators minimise."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from ccr_diag.calibrators.maps import Entries

STEPS = 100
HALVINGS = 100  # saturated entries have next to no curvature: the first steps may be huge
ROUNDING = 1e-13  # of a sum, relative
ENOUGH = 1e-11  # relative fall of the loss after which one more step changes no digit that counts
BLOCK = 2**14  # entries looked at together: they stay in the processor's cache

Design = Float64[np.ndarray, "parameters entries"]
Vector = Float64[np.ndarray, " parameters"]
Matrix = Float64[np.ndarray, "parameters parameters"]


class Quadratic(NamedTuple):
    """The penalty ½ (θ − centre)ᵀ weight (θ − centre)."""

    centre: Vector
    weight: Matrix


def minimise(
    design: Design,
    offset: Entries,
    target: Entries,
    penalty: Quadratic,
    lower: Vector,
    start: Vector,
) -> tuple[Vector, Matrix]:
    """The θ ≥ lower with the least Σ [log(1 + e^z) − t z] + penalty, z = offset + Xᵀ θ.

    The loss is convex. Newton steps, halved until they improve. A parameter at its bound that the
    loss pulls further down is left out of the step (Bertsekas 1982), and each step ends at the
    bounds.

    Args:
        design: X, one row a parameter.
        offset: part of z that no parameter changes.
        target: t in [0, 1].
        penalty: of positive definite weight.
        lower: least value of each parameter; −inf for none.
        start: θ to step from, within the bounds.

    Returns:
        θ, and the matrix of second derivatives there of the first term alone.
    """
    theta = start
    loss, gradient, curvature = _terms(theta, design, offset, target, penalty)
    for _ in range(STEPS):
        free = (theta > lower) | (gradient < 0)
        hessian = curvature + penalty.weight
        step = np.zeros_like(theta)
        step[free] = np.linalg.solve(hessian[np.ix_(free, free)], gradient[free])
        promised = float(gradient @ step)
        size = 1.0
        for _ in range(HALVINGS):
            moved = np.maximum(theta - size * step, lower)
            terms = _terms(moved, design, offset, target, penalty)
            if terms[0] <= loss + ROUNDING * abs(loss):
                theta, (loss, gradient, curvature) = moved, terms
                break
            size /= 2
        else:
            break
        if promised <= ENOUGH * (1 + abs(loss)):
            break
    return theta, curvature


def start_of(design: Design, offset: Entries, target: Entries, lower: Vector) -> Vector:
    """The first step from the model that gives every entry the mean m of the targets.

    Least squares of logit m + (t − m)/(m (1 − m)) on z. There no entry is saturated, wherever the
    logits lie, which is where Newton steps are good.

    Args:
        design: X, one row a parameter.
        offset: part of z that no parameter changes.
        target: t in [0, 1], whose mean is neither.
        lower: least value of each parameter.
    """
    mean = float(target.mean())
    response = np.log(mean / (1 - mean)) + (target - mean) / (mean * (1 - mean)) - offset
    theta = np.linalg.lstsq(design @ design.T, design @ response, rcond=None)[0]
    return np.asarray(np.maximum(theta, lower))


def _terms(
    theta: Vector, design: Design, offset: Entries, target: Entries, penalty: Quadratic
) -> tuple[float, Vector, Matrix]:
    """The loss, its gradient, and the second derivatives of its first term."""
    away = theta - penalty.centre
    pull = penalty.weight @ away
    loss, gradient, curvature = float(away @ pull) / 2, pull, np.zeros_like(penalty.weight)
    for start in range(0, len(offset), BLOCK):
        part = slice(start, start + BLOCK)
        x, t = design[:, part], target[part]
        z = offset[part] + theta @ x
        small = np.exp(-np.abs(z))
        q = np.where(z >= 0, 1, small) / (1 + small)  # σ(z)
        loss += float((np.maximum(z, 0) + np.log1p(small)).sum() - t @ z)
        gradient = gradient + x @ (q - t)
        curvature = curvature + (x * (q * (1 - q))) @ x.T
    return loss, gradient, curvature
