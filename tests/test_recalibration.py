"""The logistic map against scikit-learn and its formula, and where it has no single answer."""

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from ccr_diag.metrics.bins import ReliabilityBins
from ccr_diag.metrics.calibration import ece
from ccr_diag.metrics.recalibration import mapped, platt


def exact_cells(p, y):
    """One cell per distinct confidence."""
    value, index = np.unique(np.asarray(p, dtype=float), return_inverse=True)
    count = np.bincount(index).astype(float)
    hits = np.bincount(index, np.asarray(y, dtype=float))
    return ReliabilityBins(count, value * count, hits, value * (1 - value) * count)


def distorted(slope, intercept, n=3000, seed=0):
    """Confidences whose true map is σ(slope · logit c + intercept)."""
    rng = np.random.default_rng(seed)
    p = expit(rng.normal(-1, 2, n))
    return p, (rng.random(n) < expit(slope * logit(p) + intercept)).astype(int)


def after_platt(cells, n_bins=15):
    return mapped(cells, *platt(cells), n_bins)


CASES = [(1, 0), (0.4, -2), (2.5, 1), (-0.5, 0), (0.05, -4)]


@pytest.mark.parametrize("case", CASES)
def test_the_map_is_that_of_scikit_learn(case):
    p, y = distorted(*case)
    theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logit(p)[:, None], y)
    slope, intercept = platt(exact_cells(p, y))
    assert slope == pytest.approx(theirs.coef_[0, 0], abs=1e-5)
    assert intercept == pytest.approx(theirs.intercept_[0], abs=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_the_likelihood_has_no_slope_left(case):
    # at the maximum, residuals sum to 0, weighted by 1 and by logit c
    p, y = distorted(*case)
    slope, intercept = platt(exact_cells(p, y))
    missed = expit(slope * logit(p) + intercept) - y
    assert missed.sum() == pytest.approx(0, abs=1e-4)
    assert missed @ logit(p) == pytest.approx(0, abs=1e-4)


def test_the_map_that_made_the_outcomes_is_found():
    x = np.linspace(-6, 6, 101)
    count = np.full(101, 1e5)
    c = expit(x)
    cells = ReliabilityBins(count, count * c, count * expit(0.3 * x - 1), count * c * (1 - c))
    slope, intercept = platt(cells)
    assert (slope, intercept) == (pytest.approx(0.3, abs=1e-6), pytest.approx(-1, abs=1e-6))
    assert ece(after_platt(cells)) == pytest.approx(0, abs=1e-6)


def test_certain_and_wrong_confidences_are_fitted():
    p = np.array([0.0] * 10 + [1.0] * 10)
    y = np.array([1] + [0] * 9 + [1] * 8 + [0] * 2)
    slope, intercept = platt(exact_cells(p, y))
    for c, rate in ((1e-7, 0.1), (1 - 1e-7, 0.8)):
        assert expit(slope * logit(c) + intercept) == pytest.approx(rate, abs=1e-6)


@pytest.mark.parametrize(("gap", "left"), [(1e-4, 0.3), (0.01, 0.01), (0.4, 1e-3)])
def test_separable_outcomes_have_a_finite_map(gap, left):
    cells = exact_cells([0.2, 0.5 - gap, 0.5 + gap, 0.7], [0, 0, 1, 1])
    slope, intercept = platt(cells)
    assert np.isfinite([slope, intercept]).all()
    assert slope > 1
    assert ece(after_platt(cells)) < left


def test_equal_confidences_have_no_slope():
    cells = exact_cells([0.3] * 10, [1] * 2 + [0] * 8)
    assert np.isnan(platt(cells)).all()
    empty = after_platt(cells)
    assert not empty.count.any()
    assert np.isnan(ece(empty))


@pytest.mark.parametrize("y", [[0, 0, 0], [1, 1, 1]])
def test_outcomes_that_are_all_alike_have_no_map(y):
    cells = exact_cells([0.1, 0.5, 0.9], y)
    assert np.isnan(platt(cells)).all()
    assert np.isnan(ece(after_platt(cells)))


def test_far_off_confidences_do_not_upset_the_steps():
    # every confidence within 1e-5 of 0 while half the outcomes are true
    rng = np.random.default_rng(4)
    x = rng.normal(-14, 0.5, 500)
    y = rng.random(500) < expit(3 * (x + 14))
    slope, intercept = platt(exact_cells(expit(x), y))
    missed = expit(slope * x + intercept) - y
    assert missed.sum() == pytest.approx(0, abs=1e-3)
    assert slope == pytest.approx(3, abs=1)


def test_what_is_left_is_the_ece_of_the_mapped_entries():
    p, y = distorted(0.5, -1)
    slope, intercept = platt(exact_cells(p, y))
    moved = expit(slope * logit(p) + intercept)
    index = np.minimum((moved * 10).astype(int), 9)
    gaps = [abs((moved - y)[index == b].sum()) for b in range(10)]
    bins = after_platt(exact_cells(p, y), 10)
    for b in range(10):
        here = moved[index == b]
        assert bins.count[b] == len(here)
        assert bins.sum_confidence[b] == pytest.approx(here.sum())
        assert bins.sum_outcome[b] == y[index == b].sum()
        assert bins.sum_variance[b] == pytest.approx((here * (1 - here)).sum())
    assert ece(after_platt(exact_cells(p, y), 10)) == pytest.approx(sum(gaps) / len(y), abs=1e-9)


def test_batches_are_fitted_one_by_one():
    rng = np.random.default_rng(3)
    p = np.sort(rng.random((2, 3, 40)))
    count = rng.integers(0, 20, p.shape).astype(float)
    hits = rng.binomial(count.astype(int), p**2).astype(float)
    count[0, 1] = hits[0, 1] = 0
    hits[1, 2] = 0
    cells = ReliabilityBins(count, count * p, hits, count * p * (1 - p))
    slope, intercept = platt(cells)
    left = ece(after_platt(cells))
    assert slope.shape == intercept.shape == left.shape == (2, 3)
    assert np.isnan([slope[0, 1], slope[1, 2], left[0, 1], left[1, 2]]).all()
    for index in np.ndindex(2, 3):
        alone = [*platt(cells[index]), ece(after_platt(cells[index]))]
        together = [slope[index], intercept[index], left[index]]
        np.testing.assert_allclose(together, alone, rtol=1e-6)


@pytest.mark.parametrize(
    ("x", "count", "hits"),
    [
        ([-6.77, 2.76], [2111, 72154], [208, 499]),
        ([-9.9, -7.04], [150556, 2434], [1947, 1283]),
        ([8.24, 10.78], [14048, 300500], [5297, 55]),
    ],
)
def test_two_cells_are_met_exactly_where_full_steps_overshoot(x, count, hits):
    n, c, o = np.array(count, dtype=float), expit(np.array(x)), np.array(hits, dtype=float)
    slope, intercept = platt(ReliabilityBins(n, n * c, o, n * c * (1 - c)))
    np.testing.assert_allclose(slope * np.array(x) + intercept, logit(o / n), atol=1e-5)
