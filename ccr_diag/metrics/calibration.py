"""Calibration errors of reliability bins: bins in, one number per batch out (NaN without an entry).

Bin b has n_b entries, mean confidence c_b and observed frequency f_b; n = Σ n_b. All errors are
fractions, not percent. Always weighted MCE ≤ ECE ≤ RMSCE ≤ MCE and |signed error| ≤ ECE.

A calibrated model is one whose entries have independent outcomes, true with probability c. It too
shows errors on finite data: ``expected_ece``, ``expected_rmsce`` and ``consistency_band`` say
which.
"""

import numpy as np
from jaxtyping import Float64, Int64
from scipy.stats import beta, binom

from ccr_diag.errors import BadConfig
from ccr_diag.metrics.bins import ReliabilityBins

TINY = 1e-12  # a chance below it makes a Poisson count, one this near to 1 a certain one

Values = Float64[np.ndarray, "*batch"]
PerBin = Float64[np.ndarray, "*batch bins"]


def ece(bins: ReliabilityBins) -> Values:
    """Expected calibration error, Σ_b (n_b / n) · |c_b − f_b|.

    Source: Naeini, Cooper and Hauskrecht 2015; Guo et al. 2017.
    """
    return np.asarray(np.abs(_weighted_gap(bins)).sum(axis=-1))


def mce(bins: ReliabilityBins) -> Values:
    """Maximum calibration error, max_b |c_b − f_b| over non-empty bins.

    Source: Naeini, Cooper and Hauskrecht 2015.
    """
    largest = np.abs(_gap(bins)).max(axis=-1, initial=0.0)
    return np.where(bins.count.any(axis=-1), largest, np.nan)


def weighted_mce(bins: ReliabilityBins) -> Values:
    """The largest single term of the ECE, max_b (n_b / n) · |c_b − f_b|.

    Source: what the code of ProCal (Xiong et al. 2023) and DAC (Wang et al. 2024) prints as "MCE".
    """
    return np.asarray(np.abs(_weighted_gap(bins)).max(axis=-1, initial=0.0))


def rmsce(bins: ReliabilityBins) -> Values:
    """Root mean square calibration error, √(Σ_b (n_b / n) · (c_b − f_b)²).

    Source: Nguyen and O'Connor 2015; Kumar, Liang and Ma 2019 (the plug-in ℓ2 error).
    """
    return np.asarray(np.sqrt((_weighted_gap(bins) * _gap(bins)).sum(axis=-1)))


def signed_error(bins: ReliabilityBins) -> Values:
    """Σ_b (n_b / n) · (c_b − f_b) = mean confidence − mean outcome; above 0 is over-confident.

    Source: calibration in the large, Cox 1958; it does not depend on the bins.
    """
    return np.asarray(_weighted_gap(bins).sum(axis=-1))


def squared_l2_debiased(bins: ReliabilityBins) -> Values:
    """Σ_b (n_b / n) · [(c_b − f_b)² − f_b (1 − f_b) / (n_b − 1)], below 0 about as often as above.

    What is taken off is an unbiased estimate of the noise in f_b, so the mean over data sets is the
    squared error of the bins themselves; 0 for a calibrated model. A bin of one entry tells nothing
    and adds 0.

    Source: Bröcker 2012; Ferro and Fricker 2012; Kumar, Liang and Ma 2019.
    """
    frequency = bins.sum_outcome / np.maximum(bins.count, 1)
    noise = frequency * (1 - frequency) / np.maximum(bins.count - 1, 1)
    squares = np.where(bins.count >= 2, bins.count * (_gap(bins) ** 2 - noise), 0.0)
    return np.asarray(squares.sum(axis=-1) / _entries(bins))


def l2_debiased(bins: ReliabilityBins) -> Values:
    """sign(d) · √|d| with d the debiased squared ℓ2 error: on the scale of the ECE, around 0.

    A value below 0 says that the bins miss by less than chance alone would make them. Cutting it
    off at 0, as the authors do, would again show an error where there is none.

    Source: Kumar, Liang and Ma 2019, with the sign kept.
    """
    squared = squared_l2_debiased(bins)
    return np.asarray(np.sign(squared) * np.sqrt(np.abs(squared)))


def filled_bins(bins: ReliabilityBins) -> Int64[np.ndarray, "*batch"]:
    """Number of bins with an entry."""
    return np.asarray(np.count_nonzero(bins.count, axis=-1), dtype=np.int64)


def expected_ece(bins: ReliabilityBins) -> Values:
    """Mean ECE of a calibrated model with these confidences, Σ_b E|X_b − μ_b| / n.

    X_b counts the true outcomes of bin b, a sum of independent draws with mean μ = Σ c and variance
    σ² = Σ c(1 − c). It is taken as binomial with that mean and variance: chance p = 1 − σ²/μ and
    μ/p draws, also where that is no whole number. Of true and false outcomes the rarer are counted.
    With m = ⌊μ⌋ + 1, E|X − μ| = 2p(1 − p) · B(p), B the density of Beta(m, μ/p − m + 1).

    Exact where all c of a bin are equal; within 1 % in bins of width 1/10 (measured).

    Source: De Moivre 1730 (Diaconis and Zabell 1991), its binomial coefficient in Γ functions.
    """
    mean, chance = _rarer_outcome(bins)
    m = np.floor(mean) + 1
    density = beta.pdf(chance, m, np.maximum(mean / chance - m + 1, TINY))
    deviation = np.where(bins.sum_variance > 0, 2 * chance * (1 - chance) * density, 0.0)
    return np.asarray(deviation.sum(axis=-1) / _entries(bins))


def expected_rmsce(bins: ReliabilityBins) -> Values:
    """√E[RMSCE²] of a calibrated model with these confidences, √(Σ_b σ²_b / (n_b n)).

    σ²_b = Σ c(1 − c) over the bin; a little more than E[RMSCE].

    Source: Var(f_b) = σ²_b / n_b² for independent outcomes.
    """
    spread = bins.sum_variance / np.maximum(bins.count, 1)
    return np.asarray(np.sqrt(spread.sum(axis=-1) / _entries(bins)))


def consistency_band(bins: ReliabilityBins, level: float = 0.95) -> tuple[PerBin, PerBin]:
    """Lowest and highest frequency that each bin of a calibrated model shows.

    The binomial quantiles at (1 ∓ level) / 2 of the count in ``expected_ece``, its number of draws
    rounded up, divided by n_b. Conservative: counts being whole, f_b lies inside at least as often
    as ``level``. It holds for each bin alone, not for all at once.

    Args:
        bins: reliability bins.
        level: how often a bin of a calibrated model lies in its band.

    Returns:
        Two arrays of frequencies, NaN where the bin is empty.

    Raises:
        BadConfig: a level outside (0, 1).

    Source: Bröcker and Smith 2007 (consistency bars).
    """
    if not 0 < level < 1:
        raise BadConfig(f"The level of a band must lie between 0 and 1, but got {level}.")
    mean, chance = _rarer_outcome(bins)
    draws = np.maximum(np.ceil(mean / chance - 1e-6), 1)
    few = binom.ppf((1 - level) / 2, draws, np.minimum(mean / draws, 1))
    many = binom.ppf((1 + level) / 2, draws, np.minimum(mean / draws, 1))
    count = np.where(bins.count > 0, bins.count, np.nan)
    flipped = bins.sum_confidence > bins.count / 2
    low = np.where(flipped, count - many, few) / count
    high = np.where(flipped, count - few, many) / count
    return np.clip(low, 0, 1), np.clip(high, 0, 1)


def _entries(bins: ReliabilityBins) -> Values:
    """n; NaN instead of 0."""
    n = bins.count.sum(axis=-1)
    return np.where(n > 0, n, np.nan)


def _gap(bins: ReliabilityBins) -> PerBin:
    """c_b − f_b; 0 where empty."""
    return np.asarray((bins.sum_confidence - bins.sum_outcome) / np.maximum(bins.count, 1))


def _weighted_gap(bins: ReliabilityBins) -> PerBin:
    """(n_b / n) · (c_b − f_b)."""
    return np.asarray((bins.sum_confidence - bins.sum_outcome) / _entries(bins)[..., None])


def _rarer_outcome(bins: ReliabilityBins) -> tuple[PerBin, PerBin]:
    """Mean and chance per draw of the binomial count of true or of false outcomes."""
    mean = np.clip(np.minimum(bins.sum_confidence, bins.count - bins.sum_confidence), 0, None)
    spread = bins.sum_variance / np.where(mean > 0, mean, 1)
    return mean, np.clip(1 - spread, TINY, 1 - TINY)
