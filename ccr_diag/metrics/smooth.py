"""Smooth calibration error: no bins to choose, the width of the smoothing follows from the data.

"Cells" are reliability bins fine enough (thousands) that a cell stands for one confidence.
"""

import numpy as np
from jaxtyping import Float64
from scipy.fft import dct

from ccr_diag.metrics.bins import ReliabilityBins

STEPS = 4096  # of the grid over [0, 1]; smoothing narrower than a step is not told apart
FINEST = 2.0**-24  # the bandwidth is known to it

Mass = Float64[np.ndarray, "batch points"]


def smece(cells: ReliabilityBins) -> Float64[np.ndarray, "*batch"]:
    """Smooth ECE: the bandwidth σ at which the error smoothed by σ equals σ itself.

    Residuals r = Σ_i (c_i − o_i) δ(c_i) / n are smoothed by a Gaussian of width σ that is reflected
    at 0 and 1, K_σ; smECE_σ = ∫₀¹ |K_σ r| dt falls as σ grows, so one σ* solves smECE_σ = σ.
    It lies between |signed error| and the ECE of cells; 0 where every cell is met exactly.

    The mass of a cell is shared by the two points of the grid around its mean confidence.

    Args:
        cells: fine reliability bins.

    Source: Błasiok and Nakkiran 2024.
    """
    batch = cells.count.shape[:-1]
    n = cells.count.sum(axis=-1)
    waves = _waves(_residual_mass(cells))
    return np.where(n > 0, _fixed_point(waves).reshape(batch), np.nan)


def smece_at(cells: ReliabilityBins, bandwidth: float) -> Float64[np.ndarray, "*batch"]:
    """smECE_σ of a bandwidth that is given; it exceeds σ exactly where smooth ECE does.

    Args:
        cells: fine reliability bins.
        bandwidth: σ.
    """
    waves = _waves(_residual_mass(cells))
    error = _smoothed_error(waves, np.full((len(waves), 1), bandwidth))[:, 0]
    return np.where(cells.count.sum(axis=-1) > 0, error.reshape(cells.count.shape[:-1]), np.nan)


def _fixed_point(waves: Mass) -> Float64[np.ndarray, " batch"]:
    """The last multiple σ of ``FINEST`` with smECE_σ − σ above 0, by false position (Illinois)."""
    low, high = np.zeros(len(waves)), np.full(len(waves), 1 / FINEST)
    above = _smoothed_error(waves, low[:, None])[:, 0]
    below = _smoothed_error(waves, high[:, None] * FINEST)[:, 0] - 1
    moved_low = np.zeros(len(waves), dtype=bool)
    moved_high = moved_low.copy()
    while (open_ := np.flatnonzero(high - low > 1)).size:
        a, b, f, g = low[open_], high[open_], above[open_], below[open_]
        guess = np.floor(a + (b - a) * f / np.maximum(f - g, FINEST))
        at = np.clip(guess, a + 1, b - 1)
        excess = _smoothed_error(waves[open_], at[:, None] * FINEST)[:, 0] - at * FINEST
        up = excess > 0
        # an end that stays twice is pulled in: its value counts half
        below[open_] = np.where(up, np.where(moved_low[open_], g / 2, g), excess)
        above[open_] = np.where(up, excess, np.where(moved_high[open_], f / 2, f))
        low[open_], high[open_] = np.where(up, at, a), np.where(up, b, at)
        moved_low[open_], moved_high[open_] = up, ~up
    return np.asarray(low * FINEST)


def _residual_mass(cells: ReliabilityBins) -> Mass:
    """Σ (c − o) / n on the points of the grid."""
    shape = (-1, cells.count.shape[-1])
    count, confidence = cells.count.reshape(shape), cells.sum_confidence.reshape(shape)
    n = np.maximum(count.sum(axis=1, keepdims=True), 1)
    mass = (confidence - cells.sum_outcome.reshape(shape)) / n
    place = np.clip(STEPS * confidence / np.maximum(count, 1), 0, STEPS)
    left = np.minimum(place.astype(np.int64), STEPS - 1)
    point = left + (STEPS + 1) * np.arange(len(left))[:, None]
    right_share = place - left
    points = len(left) * (STEPS + 1)
    on_grid = np.bincount(point.ravel(), (mass * (1 - right_share)).ravel(), points)
    on_grid += np.bincount(point.ravel() + 1, (mass * right_share).ravel(), points)
    return on_grid.reshape(-1, STEPS + 1)


def _waves(mass: Mass) -> Mass:
    """a_k = Σ_j m_j cos(π k t_j), t_j = j / STEPS."""
    both_sides = mass.copy()
    both_sides[:, [0, -1]] *= 2  # the reflection of an end lies on the end
    return np.asarray(dct(both_sides, type=1) / 2)


def _smoothed_error(
    waves: Mass, sigma: Float64[np.ndarray, "batch 1"]
) -> Float64[np.ndarray, "batch 1"]:
    """∫ |a_0 + 2 Σ_k a_k exp(−(π k σ)² / 2) cos(π k t)| dt, by trapezoids."""
    k = np.arange(STEPS + 1)
    height = np.abs(dct(waves * np.exp(-((np.pi * k * sigma) ** 2) / 2), type=1))
    ends = (height[:, :1] + height[:, -1:]) / 2
    return np.asarray((height.sum(axis=1, keepdims=True) - ends) / STEPS)
