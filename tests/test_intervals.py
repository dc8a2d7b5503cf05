"""Intervals against the textbook, and how often they hold the truth."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from ccr_diag.metrics import calibration
from ccr_diag.metrics.accumulate import Accumulator
from ccr_diag.metrics.discrimination import average_precision, mean_over_classes
from ccr_diag.metrics.intervals import Interval, basic_interval, image_weights, over_splits
from ccr_diag.metrics.tables import SIDES, Tables, uniform_slots

UNIT = (0.0, 1.0)
CLASSES, BINS = 8, 15


def test_splits_match_scipy():
    values = [0.1, 0.15, 0.11]
    got = over_splits(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (got.low, got.high) == pytest.approx((expected.low, expected.high))
    assert (got.mean, got.sd, got.n) == pytest.approx((0.12, np.std(values, ddof=1), 3))


def test_two_splits_by_hand():
    # sd = √2/2 · 2 = √2, t_{.975, 1} = 12.706: half width 12.706 · √2 / √2
    got = over_splits([1.0, 3.0])
    assert (got.low, got.high) == pytest.approx((2 - 12.7062, 2 + 12.7062), abs=1e-4)


def test_one_split_has_no_interval():
    assert over_splits([0.2]) == Interval(0.2, None, None, None, 1)


def test_undefined_splits_are_left_out():
    assert over_splits([1.0, np.nan, 3.0, None]) == over_splits([1.0, 3.0])
    assert over_splits([np.nan, None]) == Interval(None, None, None, None, 0)


def test_weights_are_independent_poisson_numbers():
    w = image_weights(0, 40, 0, 40_000).astype(float)
    n = w.size
    assert w.mean() == pytest.approx(1, abs=4 / n**0.5)
    assert w.var() == pytest.approx(1, abs=4 * (3 / n) ** 0.5)  # Var of (w − 1)²: 4 − 1
    for value in range(6):
        chance = stats.poisson.pmf(value, 1)
        tolerance = 4 * (chance * (1 - chance) / n) ** 0.5 + 2e-5  # draws have 16 bits
        assert (w == value).mean() == pytest.approx(chance, abs=tolerance)
    between = np.corrcoef(w.T)[np.triu_indices(40, 1)]
    assert np.abs(between).max() < 5 / 200
    for lag in range(1, 6):  # four draws come from one word
        r = np.corrcoef(w[:-lag].ravel(), w[lag:].ravel())[0, 1]
        assert abs(r) < 4 / n**0.5


def test_weights_do_not_depend_on_blocks():
    whole = image_weights(3, 5, 0, 103)
    parts = [image_weights(3, 5, a, b) for a, b in ((0, 4), (4, 60), (60, 103))]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(image_weights(3, 2, 0, 103), whole[:, :2])
    assert (image_weights(4, 5, 0, 103) != whole).any()
    assert image_weights(3, 0, 0, 103).shape == (103, 0)


def test_the_basic_interval_is_the_percentile_interval_mirrored_at_the_value():
    drawn = np.random.default_rng(0).gamma(2, 0.02, (3, 500))
    value = np.array([0.04, 0.05, 0.06])
    low, high = basic_interval(value, drawn, (-np.inf, np.inf))
    np.testing.assert_allclose(low, 2 * value - np.quantile(drawn, 0.975, axis=1))
    np.testing.assert_allclose(high, 2 * value - np.quantile(drawn, 0.025, axis=1))


def test_ends_stay_within_the_bounds_of_the_measure():
    low, high = basic_interval(np.array(0.01), np.linspace(0, 0.5, 100), UNIT)
    assert (low, high) == (0, pytest.approx(0.02 - 0.0125))
    low, high = basic_interval(np.array(0.9), np.full(5, 0.1), UNIT)
    assert (low, high) == (1, 1)


def test_undefined_replicates_are_left_out_and_two_must_remain():
    drawn = np.array([[np.nan, 0.2, 0.4], [np.nan, np.nan, 0.4], [np.nan] * 3, [0.1, 0.2, 0.3]])
    low, high = basic_interval(np.array([0.3, 0.3, 0.3, np.nan]), drawn, UNIT)
    np.testing.assert_allclose(low, [0.6 - 0.395, np.nan, np.nan, np.nan])
    np.testing.assert_allclose(high, [0.6 - 0.205, np.nan, np.nan, np.nan])


def predictions(rng, images, slope=1.8, lean=0.6, together=0.7):
    """p = σ(slope · z + lean), y drawn from σ(z + what the labels of an image share)."""
    z = rng.normal(-1, 1.5, (images, CLASSES)) + rng.normal(0, 0.7, (images, 1))
    shared = together * rng.normal(0, 1, (images, 1))
    y = rng.random(z.shape) < expit(z + shared)
    return expit(slope * z + lean), y.astype(np.int8)


def measures(p, y, weights):
    """Value and replicates of four metrics, by the parts that ``measure`` is made of."""
    found = Accumulator(CLASSES, SIDES * BINS, weights.shape[1])
    found.add(p, y, uniform_slots(p, BINS), np.arange(CLASSES), None, weights)
    bins = [Tables.from_sums(s).positive.pooled() for s in (found.sums, found.drawn)]
    loss = ((p - y) ** 2).mean(axis=1)
    ranked = [
        average_precision(p[:, c].copy(), np.ascontiguousarray(y[:, c]), weights)
        for c in range(CLASSES)
    ]
    ap, drawn_ap = (np.array(part) for part in zip(*ranked, strict=True))
    return {
        "signed_error": tuple(calibration.signed_error(b) for b in bins),
        "ece_positive": tuple(calibration.ece(b) for b in bins),
        "brier": (loss.mean(), loss @ weights / weights.sum(axis=0)),
        "map": (float(mean_over_classes(ap)), mean_over_classes(drawn_ap)),
    }


def coverage(seeds, images=400, replicates=200, interval=basic_interval, **model):
    """How often intervals hold the value that a hundred thousand images give, per metric."""
    huge = predictions(np.random.default_rng(10**6), 100_000, **model)
    truth = {k: float(v) for k, (v, _) in measures(*huge, np.zeros((100_000, 0), np.uint8)).items()}
    held = dict.fromkeys(truth, 0)
    for seed in range(seeds):
        sample = predictions(np.random.default_rng(seed), images, **model)
        weights = image_weights(seed, replicates, 0, images)
        for metric, (value, drawn) in measures(*sample, weights).items():
            low, high = interval(np.asarray(value), drawn, (-1.0, 1.0))
            held[metric] += bool(low <= truth[metric] <= high)
    return {metric: count / seeds for metric, count in held.items()}


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    for metric, share in coverage(150).items():  # three standard errors of a share: 5 %
        least = 0.83 if metric == "map" else 0.89
        assert least <= share <= 0.99, (metric, share)


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say():
    for metric, share in coverage(3000).items():
        least = 0.89 if metric == "map" else 0.92  # drawn images tie: AP varies less than it does
        assert least <= share <= 0.98, (metric, share)


def test_drawing_entries_instead_of_images_would_promise_too_much():
    p, y = predictions(np.random.default_rng(0), 2000, together=2.0)
    _, drawn = measures(p, y, image_weights(0, 200, 0, 2000))["signed_error"]
    as_if_independent = (p - y).std() / (2000 * CLASSES) ** 0.5
    assert drawn.std() > 1.3 * as_if_independent
