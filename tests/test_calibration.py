"""Calibration errors against hand-worked cases, a slow loop, other libraries, and invariances."""

import calibration as uncertainty_calibration
import numpy as np
import pytest
import reference
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import binom, poisson
from sklearn.calibration import calibration_curve
from torchmetrics.functional.classification import binary_calibration_error

from ccr_diag.errors import BadConfig
from ccr_diag.metrics import calibration
from ccr_diag.metrics.bins import ReliabilityBins

ERRORS = {
    "ece": calibration.ece,
    "mce": calibration.mce,
    "weighted_mce": calibration.weighted_mce,
    "signed_error": calibration.signed_error,
}
OTHERS = {
    "rmsce": calibration.rmsce,
    "squared_l2_debiased": calibration.squared_l2_debiased,
    "l2_debiased": calibration.l2_debiased,
    "expected_ece": calibration.expected_ece,
    "expected_rmsce": calibration.expected_rmsce,
}
CONVENTIONS = {
    "positive": lambda p, y: (p, y == 1),
    "decision": lambda p, y: (np.maximum(p, 1 - p), (p >= 0.5) == (y == 1)),
}


def pooled(p, y, n_bins=10, convention="positive"):
    """Bins of equal width over all known entries."""
    p, y = np.ravel(p), np.ravel(np.asarray(y, dtype=np.int8))
    c, o = CONVENTIONS[convention](p[y != -1], y[y != -1])
    edges = (np.arange(1, n_bins) / n_bins).astype(c.dtype)
    index = np.searchsorted(edges, c, side="right")
    c = c.astype(np.float64)

    def sums(w):
        return np.bincount(index, w, n_bins).astype(np.float64)

    return ReliabilityBins(
        np.bincount(index, minlength=n_bins), sums(c), sums(o.astype(float)), sums(c * (1 - c))
    )


def errors(bins):
    return {name: float(error(bins)) for name, error in ERRORS.items()}


def repeated(values, counts, positives):
    """Each value `counts` times, the first `positives` of them labelled 1."""
    p = np.repeat(values, counts)
    y = np.concatenate([np.arange(n) < hits for n, hits in zip(counts, positives, strict=True)])
    return p, y.astype(np.int8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_decimals_on_the_edges(dtype):
    # Nine decimals k/10, four entries each, every one alone in its bin.
    p, y = repeated(np.arange(1, 10) / 10, [4] * 9, [1, 0, 0, 2, 0, 3, 2, 1, 3])
    got = errors(pooled(p.astype(dtype), y))
    assert got["ece"] == pytest.approx(9.2 / 36, abs=1e-7)
    assert got["mce"] == pytest.approx(0.55, abs=1e-7)
    assert got["weighted_mce"] == pytest.approx(0.55 / 9, abs=1e-7)


def test_zero_and_one_are_in_the_outer_bins():
    # lower bin: mean .05/3, one positive of 3; upper bin: mean 4.95/5, 4 of 5.
    got = errors(pooled(*repeated([0, 0.05, 0.95, 1], [2, 1, 1, 4], [0, 1, 1, 3])))
    assert got["ece"] == pytest.approx(0.2375)
    assert got["signed_error"] == pytest.approx(0)


def test_one_shares_the_last_bin():
    assert errors(pooled([0.95, 1.0], [1, 0])) == pytest.approx(dict.fromkeys(ERRORS, 0.475))


def test_empty_bins_weigh_nothing():
    # .02 three times, none positive; .98 once, absent: (3 · .02 + 1 · .98) / 4
    got = errors(pooled([0.02, 0.02, 0.02, 0.98], [0, 0, 0, 0]))
    assert got["ece"] == pytest.approx(0.26)
    assert got["mce"] == pytest.approx(0.98)


def test_a_constant_prediction_misses_by_its_distance_from_the_rate():
    bins = pooled(*repeated([0.3], [10], [2]))
    assert errors(bins) == pytest.approx(dict.fromkeys(ERRORS, 0.1))
    assert calibration.rmsce(bins) == pytest.approx(0.1)
    # .01 less .2 · .8 / 9
    assert calibration.squared_l2_debiased(bins) == pytest.approx(0.01 - 0.16 / 9)
    assert calibration.l2_debiased(bins) == pytest.approx(-np.sqrt(0.16 / 9 - 0.01))


def test_a_bin_of_one_entry_makes_the_two_mces_differ():
    # 99 entries at .05 with 6 positives (gap 1.05/99) and one absent entry at .95.
    bins = pooled(*repeated([0.05, 0.95], [99, 1], [6, 0]))
    got = errors(bins)
    assert got["ece"] == pytest.approx(0.02)
    assert got["mce"] == pytest.approx(0.95)
    assert got["weighted_mce"] == pytest.approx(0.0105)
    assert calibration.rmsce(bins) == pytest.approx(
        np.sqrt(0.99 * (1.05 / 99) ** 2 + 0.01 * 0.9025)
    )
    assert calibration.filled_bins(bins) == 2


def test_over_confidence_is_above_zero():
    assert calibration.signed_error(pooled([0.9, 0.9], [1, 0])) == pytest.approx(0.4)
    assert calibration.signed_error(pooled([0.1, 0.1], [1, 0])) == pytest.approx(-0.4)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("n_bins", [1, 10, 15])
def test_errors_match_a_loop_over_entries(convention, n_bins):
    rng = np.random.default_rng(5)
    p = rng.random((50, 4))
    y = (rng.random(p.shape) < p**2).astype(np.int8)
    y[rng.random(p.shape) < 0.25] = -1
    got = errors(pooled(p, y, n_bins, convention))
    assert got == pytest.approx(reference.calibration(p, y, n_bins, convention), abs=1e-12)


def interior(seed=6, n=500):
    """Values away from every edge of 10 bins, where all conventions agree."""
    rng = np.random.default_rng(seed)
    p = (rng.integers(10, size=n) + rng.uniform(0.05, 0.95, size=n)) / 10
    return p, (rng.random(n) < p**2).astype(np.int8)


@pytest.mark.parametrize(("norm", "error"), [("l1", "ece"), ("l2", "rmsce"), ("max", "mce")])
def test_errors_match_torchmetrics(norm, error):
    p, y = interior()
    theirs = binary_calibration_error(
        torch.tensor(p), torch.tensor(y).long(), n_bins=10, norm=norm, ignore_index=-1
    )
    ours = (ERRORS | OTHERS)[error](pooled(p, y))
    assert ours == pytest.approx(float(theirs), abs=1e-6)


def test_bins_match_scikit_learn():
    p, y = interior()
    frequency, confidence = calibration_curve(y, p, n_bins=10)
    bins = pooled(p, y)
    np.testing.assert_allclose(bins.frequency, frequency)
    np.testing.assert_allclose(bins.confidence, confidence)


@pytest.mark.parametrize("power", [1, 2, 4])
@pytest.mark.parametrize("n", [30, 500])
def test_debiased_error_matches_uncertainty_calibration_above_zero(power, n):
    p, _ = interior(n=n)
    y = (np.random.default_rng(power).random(n) < p**power).astype(int)
    theirs = uncertainty_calibration.lower_bound_scaling_ce(
        p, y, p=2, debias=True, num_bins=10, binning_scheme=lambda _, num_bins: edges_up(num_bins)
    )
    assert max(calibration.l2_debiased(pooled(p, y)), 0) == pytest.approx(theirs, abs=1e-12)


def edges_up(n_bins):
    """Upper edges of bins of equal width."""
    return [(k + 1) / n_bins for k in range(n_bins)]


def calibrated(rng, p, replicates, n_bins):
    """Bins of many data sets whose outcomes follow p."""
    index = np.minimum((p * n_bins).astype(int), n_bins - 1)
    count, confidence, variance = (
        np.bincount(index, w, n_bins) for w in (np.ones_like(p), p, p * (1 - p))
    )
    hits = np.stack([np.bincount(index, rng.random(p.size) < p, n_bins) for _ in range(replicates)])
    shape = (replicates, n_bins)
    return ReliabilityBins(
        np.broadcast_to(count, shape),
        np.broadcast_to(confidence, shape),
        hits,
        np.broadcast_to(variance, shape),
    )


MODELS = {
    "rare": lambda rng: rng.beta(0.3, 6, 400),
    "even": lambda rng: rng.random(150),
    "sure": lambda rng: 1 - rng.beta(0.3, 3, 300),
    "few": lambda rng: rng.random(12),
    "very rare": lambda rng: rng.random(1000) * 2e-3,
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("n_bins", [10, 15])
def test_expected_errors_are_those_of_calibrated_models(model, n_bins):
    rng = np.random.default_rng(1)
    bins = calibrated(rng, MODELS[model](rng), 4000, n_bins)
    seen = calibration.ece(bins)
    noise = 4 * seen.std() / np.sqrt(seen.size)
    assert calibration.expected_ece(bins[0]) == pytest.approx(seen.mean(), rel=0.01, abs=noise)
    squares = calibration.rmsce(bins) ** 2
    noise = 4 * squares.std() / np.sqrt(seen.size)
    assert calibration.expected_rmsce(bins[0]) ** 2 == pytest.approx(squares.mean(), abs=noise)


@pytest.mark.parametrize("model", MODELS)
def test_the_debiased_square_is_0_on_average_for_calibrated_models(model):
    # Exactly so for one confidence a bin; elsewhere the noise of a bin is a little over-stated.
    rng = np.random.default_rng(2)
    p = np.round(MODELS[model](rng), 1) * 0.98 + 0.01
    debiased = calibration.squared_l2_debiased(calibrated(rng, np.tile(p, 2), 4000, 10))
    assert debiased.mean() == pytest.approx(0, abs=4 * debiased.std() / np.sqrt(debiased.size))
    assert 0.3 < np.mean(debiased < 0) < 0.9


def one_bin(n, c):
    return ReliabilityBins(
        np.array([n]), np.array([n * c]), np.array([0.0]), np.array([n * c * (1 - c)])
    )


@pytest.mark.parametrize("n", [1, 2, 7, 100])
@pytest.mark.parametrize("c", [0.0, 1e-9, 0.01, 0.3, 0.5, 0.77, 0.99, 1.0])
def test_expected_ece_of_one_confidence_is_exact(n, c):
    k = np.arange(n + 1)
    exact = (binom.pmf(k, n, c) * np.abs(k - n * c)).sum() / n
    assert calibration.expected_ece(one_bin(n, c)) == pytest.approx(exact, rel=1e-6, abs=1e-15)


@pytest.mark.parametrize("c", [1e-15, 1e-12, 1e-9])
def test_expected_ece_of_rare_outcomes_is_that_of_a_poisson_count(c):
    n = round(2.5 / c)
    k = np.arange(60)
    exact = (poisson.pmf(k, 2.5) * np.abs(k - 2.5)).sum() / n
    assert calibration.expected_ece(one_bin(n, c)) == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("odd", [[1.0, 1e-300], [1 - 2**-53] * 3, [1.0, 0.0, 0.0], [1.0, 1e-17]])
def test_near_certain_outcomes_are_expected_to_err_by_nothing(odd):
    bins = pooled(odd, [0] * len(odd), n_bins=1)
    assert 0 <= calibration.expected_ece(bins) < 1e-11


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("level", [0.5, 0.95])
def test_calibrated_models_stay_in_their_band(model, level):
    rng = np.random.default_rng(3)
    bins = calibrated(rng, MODELS[model](rng), 2000, 10)
    low, high = calibration.consistency_band(bins[0], level)
    filled = bins[0].count > 0
    inside = ((bins.frequency >= low - 1e-12) & (bins.frequency <= high + 1e-12))[:, filled]
    assert inside.mean(axis=0).min() > level - 4 * np.sqrt(level * (1 - level) / 2000)
    assert np.isnan(low[~filled]).all()
    assert np.isnan(high[~filled]).all()


@pytest.mark.parametrize("c", [0.02, 0.3, 0.5, 0.9])
def test_the_band_of_one_confidence_is_binomial(c):
    low, high = calibration.consistency_band(one_bin(50, c))
    inside = binom.interval(0.95, 50, c)
    # from the upper side the lower tail is met at the same whole number or the next
    assert low[0] * 50 == pytest.approx(inside[0], abs=1.001 if c > 0.5 else 1e-9)
    assert high[0] * 50 == pytest.approx(inside[1], abs=1.001 if c > 0.5 else 1e-9)


@pytest.mark.parametrize("level", [0.0, 1.0, 1.5, float("nan")])
def test_a_level_outside_0_and_1_is_refused(level):
    with pytest.raises(BadConfig, match="between 0 and 1"):
        calibration.consistency_band(one_bin(5, 0.5), level)


@pytest.mark.parametrize("name", ERRORS | OTHERS)
def test_batches_are_measured_one_by_one(name):
    rng = np.random.default_rng(4)
    count = rng.integers(0, 6, (2, 3, 8)).astype(np.float64)
    count[1, 1] = 0
    p = rng.random((2, 3, 8))
    hits = rng.binomial(count.astype(int), p).astype(np.float64)
    bins = ReliabilityBins(count, count * p, hits, count * p * (1 - p))
    error = (ERRORS | OTHERS)[name]
    together = error(bins)
    assert together.shape == (2, 3)
    assert np.isnan(together[1, 1])
    for index in np.ndindex(2, 3):
        assert together[index] == pytest.approx(float(error(bins[index])), nan_ok=True)


def test_bins_without_entries_have_no_band_and_none_filled():
    nothing = ReliabilityBins(*(np.zeros((2, 5)) for _ in range(4)))
    assert np.isnan(calibration.consistency_band(nothing)).all()
    np.testing.assert_array_equal(calibration.filled_bins(nothing), [0, 0])


matrices = st.integers(1, 30).flatmap(
    lambda n: st.tuples(
        hnp.arrays(np.float64, (n, 3), elements=st.floats(0, 1)),
        hnp.arrays(np.int8, (n, 3), elements=st.sampled_from([1, 0, -1])),
    )
)


@given(matrices, st.integers(1, 20), st.sampled_from(sorted(CONVENTIONS)))
def test_errors_are_ordered(case, n_bins, convention):
    p, y = case
    bins = pooled(p, y, n_bins, convention)
    got = errors(bins)
    if (y == -1).all():
        assert all(np.isnan(value) for value in got.values())
        return
    slack = 1e-12
    assert 0 <= got["weighted_mce"] <= got["ece"] + slack
    assert got["ece"] <= calibration.rmsce(bins) + slack <= got["mce"] + 2 * slack <= 1 + 3 * slack
    assert abs(got["signed_error"]) <= got["ece"] + slack
    assert calibration.l2_debiased(bins) <= calibration.rmsce(bins) + slack
    expected = calibration.expected_ece(bins)
    assert -slack <= expected <= calibration.expected_rmsce(bins) * (1 + 1e-6) + slack


@given(matrices, st.integers(1, 20))
def test_signed_error_is_mean_probability_minus_mean_label(case, n_bins):
    p, y = case
    known = y != -1
    if known.any():
        expected = p[known].mean() - y[known].mean()
        got = calibration.signed_error(pooled(p, y, n_bins))
        assert got == pytest.approx(expected, abs=1e-12)


CHANGES = {
    "image order": lambda p, y: (p[::-1], y[::-1]),
    "class order": lambda p, y: (p[:, ::-1], y[:, ::-1]),
    "every image twice": lambda p, y: (np.repeat(p, 2, axis=0), np.repeat(y, 2, axis=0)),
    "an unknown image more": lambda p, y: (
        np.vstack([p, p[:1]]),
        np.vstack([y, np.full_like(y[:1], -1)]),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_what_must_not_matter_does_not(change, convention):
    rng = np.random.default_rng(7)
    p = rng.random((40, 5))
    y = (rng.random(p.shape) < 0.3).astype(np.int8)
    before = errors(pooled(p, y, 15, convention))
    after = errors(pooled(*CHANGES[change](p, y), 15, convention))
    assert after == pytest.approx(before, abs=1e-12)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_perfect_predictor_has_no_error(convention):
    y = np.random.default_rng(8).integers(2, size=(30, 3)).astype(np.int8)
    bins = pooled(y.astype(np.float64), y, 15, convention)
    assert errors(bins) == dict.fromkeys(ERRORS, 0.0)
    assert [float(other(bins)) for other in OTHERS.values()] == [0.0] * len(OTHERS)


def test_folding_into_decisions_cannot_raise_the_ece_of_an_even_number_of_bins():
    p, y = interior(9)
    assert calibration.ece(pooled(p, y, 10, "decision")) <= calibration.ece(pooled(p, y)) + 1e-12
