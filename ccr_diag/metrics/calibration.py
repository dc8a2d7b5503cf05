"""Calibration errors of pooled bins: reliability bins in, one number out (NaN without an entry).

Bin b has n_b entries, mean confidence c_b and observed frequency f_b; n = Σ n_b. All are fractions,
not percent. Always weighted MCE ≤ ECE ≤ MCE.
"""

import numpy as np
from jaxtyping import Float64

from ccr_diag.metrics.binning import ReliabilityBins


def ece(bins: ReliabilityBins) -> float:
    """Expected calibration error, Σ_b (n_b / n) · |c_b − f_b|.

    Source: Naeini, Cooper and Hauskrecht 2015; Guo et al. 2017.
    """
    weight, gap = _filled(bins)
    return float(np.sum(weight * np.abs(gap))) if weight.size else np.nan


def mce(bins: ReliabilityBins) -> float:
    """Maximum calibration error, max_b |c_b − f_b| over non-empty bins.

    Source: Naeini, Cooper and Hauskrecht 2015.
    """
    _, gap = _filled(bins)
    return float(np.max(np.abs(gap))) if gap.size else np.nan


def weighted_mce(bins: ReliabilityBins) -> float:
    """The largest single term of the ECE, max_b (n_b / n) · |c_b − f_b|.

    Source: what the code of ProCal (Xiong et al. 2023) and DAC (Wang et al. 2024) prints as "MCE".
    """
    weight, gap = _filled(bins)
    return float(np.max(weight * np.abs(gap))) if weight.size else np.nan


def signed_error(bins: ReliabilityBins) -> float:
    """Σ_b (n_b / n) · (c_b − f_b) = mean confidence − mean outcome; above 0 is over-confident.

    Source: calibration in the large, Cox 1958; it does not depend on the bins.
    """
    weight, gap = _filled(bins)
    return float(np.sum(weight * gap)) if weight.size else np.nan


def _filled(
    bins: ReliabilityBins,
) -> tuple[Float64[np.ndarray, " filled"], Float64[np.ndarray, " filled"]]:
    """Weight n_b / n and gap c_b − f_b of the non-empty bins."""
    filled = bins.count > 0
    count = bins.count[filled]
    return count / count.sum(), (bins.confidence - bins.frequency)[filled]
