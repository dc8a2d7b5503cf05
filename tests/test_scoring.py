"""Proper scores against scikit-learn, and the parts of the Brier score against their definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import brier_score_loss, log_loss

from ccr_diag.metrics.bins import ReliabilityBins
from ccr_diag.metrics.scoring import ScoreSums, brier, brier_skill, decompose, nll


def exact_cells(p, y):
    """One cell per distinct confidence."""
    value, index = np.unique(np.asarray(p, dtype=float), return_inverse=True)
    count = np.bincount(index).astype(float)
    hits = np.bincount(index, np.asarray(y, dtype=float))
    return ReliabilityBins(count, value * count, hits, value * (1 - value) * count)


def sums_of(p, y):
    """Per class, from (images, classes)."""
    loss = -np.log(np.where(y == 1, p, 1 - p))
    n = np.full(p.shape[1], len(p))
    return ScoreSums(n, y.sum(axis=0), ((p - y) ** 2).sum(axis=0), loss.sum(axis=0))


@pytest.fixture
def drawn():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.01, 0.99, (300, 4))
    return p, (rng.random(p.shape) < p**2).astype(int)


def test_brier_and_nll_match_scikit_learn(drawn):
    p, y = drawn
    for column in range(4):
        sums = sums_of(p, y).of(np.arange(4) == column).pooled()
        assert brier(sums) == pytest.approx(brier_score_loss(y[:, column], p[:, column]))
        assert nll(sums) == pytest.approx(log_loss(y[:, column], p[:, column]))
    flat = sums_of(p, y).pooled()
    assert brier(flat) == pytest.approx(brier_score_loss(y.ravel(), p.ravel()))
    assert nll(flat) == pytest.approx(log_loss(y.ravel(), p.ravel()))


def test_sums_add_up(drawn):
    p, y = drawn
    both = sums_of(p[:100], y[:100]) + sums_of(p[100:], y[100:])
    np.testing.assert_allclose(brier(both), brier(sums_of(p, y)), rtol=1e-13)
    np.testing.assert_allclose(nll(both), nll(sums_of(p, y)), rtol=1e-13)
    assert brier_skill(both) == pytest.approx(float(brier_skill(sums_of(p, y))))


def test_telling_each_class_its_frequency_has_no_skill(drawn):
    p, y = drawn
    prior = np.broadcast_to(y.mean(axis=0), y.shape)
    assert brier_skill(sums_of(prior, y)) == pytest.approx(0, abs=1e-12)
    overall = np.full(y.shape, y.mean())
    assert brier_skill(sums_of(overall, y)) < 0


def test_skill_of_one_class_by_hand():
    # Squared errors .09 + .04 + .01 + .01 = .15 against 4 · ¼ · ¾ = .75
    sums = sums_of(np.array([[0.7], [0.2], [0.1], [0.1]]), np.array([[1], [0], [0], [0]]))
    assert brier_skill(sums) == pytest.approx(1 - 0.15 / 0.75)


def test_nothing_known_gives_nan_and_does_not_spoil_other_classes(drawn):
    p, y = drawn
    none = ScoreSums(np.zeros(1), np.zeros(1), np.zeros(1), np.zeros(1))
    for score in (brier, nll):
        assert np.isnan(score(none)).all()
    assert np.isnan(brier_skill(none))
    known = sums_of(p, y)
    padded = ScoreSums(*(np.append(a, 0) for a in vars(known).values()))
    assert brier_skill(padded) == pytest.approx(float(brier_skill(known)))


def test_skill_of_replicates_is_that_of_each(drawn):
    p, y = drawn
    a, b = sums_of(p, y), sums_of(p[:50], y[:50])
    stacked = ScoreSums(
        *(np.stack(pair, axis=1) for pair in zip(vars(a).values(), vars(b).values(), strict=True))
    )
    np.testing.assert_allclose(brier_skill(stacked), [brier_skill(a), brier_skill(b)])


@pytest.mark.parametrize("decimals", [1, 2, 9])
def test_parts_are_scores_of_the_isotonic_map(decimals):
    rng = np.random.default_rng(decimals)
    p = np.round(rng.random(400), decimals)
    y = (rng.random(400) < p**2).astype(int)
    parts = decompose(exact_cells(p, y))
    mapped = IsotonicRegression(y_min=0, y_max=1).fit_transform(p, y)
    score, best = brier_score_loss(y, p), np.mean((mapped - y) ** 2)
    assert parts.miscalibration == pytest.approx(score - best, abs=1e-10)
    assert parts.discrimination == pytest.approx(y.var() - best, abs=1e-10)
    assert parts.uncertainty == pytest.approx(y.var())


def test_parts_by_hand():
    # .4 meets 1 of 2, .2 meets 1 of 1: isotonic pools them at 2/3.
    parts = decompose(exact_cells([0.2, 0.4, 0.4], [1, 1, 0]))
    score = (0.64 + 0.36 + 0.16) / 3
    assert parts.uncertainty == pytest.approx(2 / 9)
    assert parts.discrimination == pytest.approx(0)
    assert parts.miscalibration == pytest.approx(score - 2 / 9)


def test_a_perfect_predictor_and_its_opposite():
    right = decompose(exact_cells([0.0, 1.0], [0, 1]))
    assert (right.miscalibration, right.discrimination) == (0, pytest.approx(0.25))
    wrong = decompose(exact_cells([0.0, 1.0], [1, 0]))
    assert (wrong.miscalibration, wrong.discrimination) == (pytest.approx(0.75), 0)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=25))
def test_parts_are_at_least_0_and_make_up_the_score(pairs):
    p, y = np.array([c for c, _ in pairs]), np.array([o for _, o in pairs])
    parts = decompose(exact_cells(p, y))
    assert parts.miscalibration >= 0
    assert 0 <= parts.discrimination <= parts.uncertainty + 1e-12
    total = parts.miscalibration - parts.discrimination + parts.uncertainty
    assert total == pytest.approx(np.mean((p - y) ** 2), abs=1e-9)


def test_cells_of_finite_width_cost_little():
    rng = np.random.default_rng(5)
    p = rng.random(20_000)
    y = (rng.random(p.size) < p).astype(float)
    index = (p * 1000).astype(int)
    cells = ReliabilityBins(
        *(np.bincount(index, w, 1000) for w in (np.ones_like(p), p, y, p * (1 - p)))
    )
    parts = decompose(cells)
    total = parts.miscalibration - parts.discrimination + parts.uncertainty
    assert total == pytest.approx(np.mean((p - y) ** 2), abs=2e-5)


def test_batches_are_measured_one_by_one_and_no_entry_gives_nan():
    rng = np.random.default_rng(3)
    count = rng.integers(0, 5, (2, 3, 30)).astype(float)
    count[0, 1] = 0
    p = np.sort(rng.random((2, 3, 30)))
    hits = rng.binomial(count.astype(int), p).astype(float)
    cells = ReliabilityBins(count, count * p, hits, count * p * (1 - p))
    together = decompose(cells)
    for index in np.ndindex(2, 3):
        for part, value in vars(decompose(cells[index])).items():
            assert getattr(together, part)[index] == pytest.approx(float(value), nan_ok=True)
    assert np.isnan([part[0, 1] for part in vars(together).values()]).all()
