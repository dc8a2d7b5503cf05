"""What two numbers could mend: the logistic map of the confidences that fits the outcomes best."""

import math

import numpy as np
from jaxtyping import Float64, Num
from scipy.special import expit, logit

from ccr_diag.metrics.bins import ReliabilityBins

CLIP = 1e-7  # confidences nearer to 0 or 1 count as this near
PULL = 1e-6  # towards slope 1 and intercept 0, in entries; decides only what the data leave open
STEPS = 100
HALVINGS = 30
ROUNDING = 1e-13  # of a sum, relative
ENOUGH = 1e-10  # relative fall of the loss after which one more step changes no digit that counts

Values = Float64[np.ndarray, "*batch"]
PerRow = Float64[np.ndarray, " batch"]
PerCell = Num[np.ndarray, "batch cells"]


def platt(cells: ReliabilityBins) -> tuple[Values, Values]:
    """Slope a and intercept b of σ(a · logit c + b), the most likely map from c to the outcome.

    A calibrated model has a = 1 and b = 0; a < 1 says its confidences are too extreme, a > 1 too
    timid, and b which way they lean. The cells' mean confidences c_k are kept within
    [1e-7, 1 − 1e-7]. Minimised by Newton steps, halved until they improve:
    Σ_k [n_k log(1 + e^{z_k}) − o_k z_k] + 5e-7 · [(a − 1)² + b²], z_k = a · logit c_k + b.
    The last term keeps a and b finite where confidence separates the outcomes; elsewhere it is far
    below the noise.

    Args:
        cells: fine reliability bins.

    Returns:
        a and b, NaN where all outcomes or all confidences are alike, or there is no entry.

    Source: Cox 1958 (calibration slope and intercept); Platt 1999, without his smoothed targets.
    """
    batch, width = cells.count.shape[:-1], cells.count.shape[-1]
    count, outcome = cells.count.reshape(-1, width), cells.sum_outcome.reshape(-1, width)
    used = count.any(axis=0)
    x, count, outcome = (
        _log_odds(cells).reshape(-1, width)[:, used],
        count[:, used],
        outcome[:, used],
    )
    positives, n = outcome.sum(axis=1), count.sum(axis=1)
    there = count > 0
    highest = np.where(there, x, -np.inf).max(axis=1, initial=-np.inf)
    differ = np.where(there, x, np.inf).min(axis=1, initial=np.inf) < highest
    both = (positives > 0) & (positives < n) & differ
    slope, intercept = np.full(len(x), np.nan), np.full(len(x), np.nan)
    if both.any():
        slope[both], intercept[both] = _fit(x[both], count[both], outcome[both])
    return slope.reshape(batch), intercept.reshape(batch)


def mapped(
    cells: ReliabilityBins, slope: Values, intercept: Values, n_bins: int
) -> ReliabilityBins:
    """Equal-width bins of the cells, each cell moved to σ(slope · logit c + intercept).

    Args:
        cells: fine reliability bins.
        slope: of ``platt``; where it is NaN, the bins are empty.
        intercept: of ``platt``.
        n_bins: bins.
    """
    confidence = expit(slope[..., None] * _log_odds(cells) + intercept[..., None])
    there = ~np.isnan(confidence)
    index = np.minimum((np.where(there, confidence, 0) * n_bins).astype(np.int64), n_bins - 1)
    rows = index.reshape(-1, index.shape[-1])
    rows = rows + n_bins * np.arange(len(rows))[:, None]
    shape = (*index.shape[:-1], n_bins)
    count = np.where(there, cells.count, 0)
    sums = (
        np.bincount(rows.ravel(), np.nan_to_num(part).ravel(), math.prod(shape)).reshape(shape)
        for part in (
            count,
            count * confidence,
            np.where(there, cells.sum_outcome, 0),
            count * confidence * (1 - confidence),
        )
    )
    return ReliabilityBins(*sums)


def _log_odds(cells: ReliabilityBins) -> Float64[np.ndarray, "*batch cells"]:
    """Log-odds of c_k; those of 1/2 where a cell is empty."""
    confidence = np.where(cells.count > 0, cells.sum_confidence / np.maximum(cells.count, 1), 0.5)
    return np.asarray(logit(np.clip(confidence, CLIP, 1 - CLIP)))


def _fit(x: PerCell, count: PerCell, outcome: PerCell) -> tuple[PerRow, PerRow]:
    a = np.zeros(len(x))
    b = logit(outcome.sum(axis=1) / count.sum(axis=1))
    loss = _loss(a, b, x, count, outcome)
    for _ in range(STEPS):
        step_a, step_b, promised = _newton(a, b, x, count, outcome)
        size = np.ones(len(x))
        for _ in range(HALVINGS):
            new_loss = _loss(a - size * step_a, b - size * step_b, x, count, outcome)
            worse = new_loss > loss + ROUNDING * loss
            if not worse.any():
                break
            size = np.where(worse, size / 2, size)
        size, new_loss = np.where(worse, 0, size), np.where(worse, loss, new_loss)
        a, b, loss = a - size * step_a, b - size * step_b, new_loss
        if np.all(promised <= ENOUGH * (1 + loss)):
            break
    return a, b


def _loss(a: PerRow, b: PerRow, x: PerCell, count: PerCell, outcome: PerCell) -> PerRow:
    z = a[:, None] * x + b[:, None]
    softplus = np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))
    pull = PULL / 2 * ((a - 1) ** 2 + b**2)
    return np.asarray((count * softplus - outcome * z).sum(axis=1) + pull)


def _newton(
    a: PerRow, b: PerRow, x: PerCell, count: PerCell, outcome: PerCell
) -> tuple[PerRow, PerRow, PerRow]:
    """Steps of a and b, H⁻¹ ∇, and the fall of the loss they promise, ∇ᵀ H⁻¹ ∇."""
    q = expit(a[:, None] * x + b[:, None])
    missed, weight = count * q - outcome, count * q * (1 - q)
    in_a = (missed * x).sum(axis=1) + PULL * (a - 1)
    in_b = missed.sum(axis=1) + PULL * b
    total = weight.sum(axis=1) + PULL
    centre = (weight * x).sum(axis=1) / total
    spread = (weight * (x - centre[:, None]) ** 2).sum(axis=1) + PULL * (1 + centre**2)
    step_a = (in_a - centre * in_b) / spread
    step_b = in_b / total - centre * step_a
    return step_a, step_b, in_a * step_a + in_b * step_b
