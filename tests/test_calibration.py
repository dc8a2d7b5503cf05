"""Calibration errors against hand-worked cases, a slow loop, other libraries, and invariances."""

import numpy as np
import pytest
import reference
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.calibration import calibration_curve
from torchmetrics.functional.classification import binary_calibration_error

from ccr_diag.metrics import calibration
from ccr_diag.metrics.binning import CONVENTIONS, reliability_tables

ERRORS = {
    "ece": calibration.ece,
    "mce": calibration.mce,
    "weighted_mce": calibration.weighted_mce,
    "signed_error": calibration.signed_error,
}


def pooled(p, y, n_bins=10, convention="positive"):
    """Bins over all entries; flat lists are one class."""
    p = np.asarray(p)
    y = np.asarray(y, dtype=np.int8)
    if p.ndim == 1:
        p, y = p[:, None], y[:, None]
    return reliability_tables(p, y, n_bins)[convention].pooled(np.ones(p.shape[1], dtype=bool))


def errors(bins):
    return {name: error(bins) for name, error in ERRORS.items()}


def repeated(values, counts, positives):
    """Each value `counts` times, the first `positives` of them labelled 1."""
    p = np.repeat(values, counts)
    y = np.concatenate([np.arange(n) < hits for n, hits in zip(counts, positives, strict=True)])
    return p, y.astype(np.int8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_decimals_on_the_edges_bin_alike_in_both_precisions(dtype):
    # Nine decimals k/10, four entries each. Every one is alone in its bin, so ECE = 9.2/36; edges
    # that are not rounded like p would pair some of them and give 8/36.
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
    assert errors(pooled([0.95, 1.0], [1, 0])) == pytest.approx(
        {"ece": 0.475, "mce": 0.475, "weighted_mce": 0.475, "signed_error": 0.475}
    )


def test_empty_bins_weigh_nothing():
    # .02 three times, none positive; .98 once, absent: (3 · .02 + 1 · .98) / 4
    got = errors(pooled([0.02, 0.02, 0.02, 0.98], [0, 0, 0, 0]))
    assert got["ece"] == pytest.approx(0.26)
    assert got["mce"] == pytest.approx(0.98)


def test_a_constant_prediction_misses_by_its_distance_from_the_rate():
    got = errors(pooled(*repeated([0.3], [10], [2])))
    assert got == pytest.approx(dict.fromkeys(ERRORS, 0.1))


def test_a_bin_of_one_entry_makes_the_two_mces_differ():
    # 99 entries at .05 with 6 positives (gap 1.05/99) and one absent entry at .95.
    got = errors(pooled(*repeated([0.05, 0.95], [99, 1], [6, 0])))
    assert got["ece"] == pytest.approx(0.02)
    assert got["mce"] == pytest.approx(0.95)
    assert got["weighted_mce"] == pytest.approx(0.0105)


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


@pytest.mark.parametrize(("norm", "error"), [("l1", "ece"), ("max", "mce")])
def test_errors_match_torchmetrics(norm, error):
    p, y = interior()
    theirs = binary_calibration_error(
        torch.tensor(p), torch.tensor(y).long(), n_bins=10, norm=norm, ignore_index=-1
    )
    assert ERRORS[error](pooled(p, y)) == pytest.approx(float(theirs), abs=1e-6)


def test_bins_match_scikit_learn():
    p, y = interior()
    frequency, confidence = calibration_curve(y, p, n_bins=10)
    bins = pooled(p, y)
    np.testing.assert_allclose(bins.frequency, frequency)
    np.testing.assert_allclose(bins.confidence, confidence)


matrices = st.integers(1, 30).flatmap(
    lambda n: st.tuples(
        hnp.arrays(np.float64, (n, 3), elements=st.floats(0, 1)),
        hnp.arrays(np.int8, (n, 3), elements=st.sampled_from([1, 0, -1])),
    )
)


@given(matrices, st.integers(1, 20), st.sampled_from(sorted(CONVENTIONS)))
def test_weighted_mce_is_at_most_ece_is_at_most_mce(case, n_bins, convention):
    p, y = case
    got = errors(pooled(p, y, n_bins, convention))
    if (y == -1).all():
        assert all(np.isnan(value) for value in got.values())
        return
    slack = 1e-12
    assert 0 <= got["weighted_mce"] <= got["ece"] + slack
    assert got["ece"] <= got["mce"] + slack <= 1 + 2 * slack
    assert abs(got["signed_error"]) <= got["ece"] + slack


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
    got = errors(pooled(y.astype(np.float64), y, 15, convention))
    assert got == dict.fromkeys(ERRORS, 0.0)


def test_folding_into_decisions_cannot_raise_the_ece_of_an_even_number_of_bins():
    p, y = interior(9)
    assert calibration.ece(pooled(p, y, 10, "decision")) <= calibration.ece(pooled(p, y)) + 1e-12
