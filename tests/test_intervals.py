"""Intervals against the textbook, and how often they hold the truth."""

import numpy as np
import pytest
from scipy import stats

from ccr_diag.errors import BadConfig
from ccr_diag.metrics.intervals import Interval, bootstrap, over_splits


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


def test_bootstrap_of_a_mean_matches_its_standard_error():
    values = np.random.default_rng(0).normal(size=400)
    got = bootstrap(lambda rows: values[rows].mean(), 400, np.random.default_rng(1), 2000)
    error = values.std() / 20
    assert got.mean == pytest.approx(values.mean())
    assert got.n == 400
    assert got.sd == pytest.approx(error, rel=0.1)
    assert got.low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert got.high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_bootstrap_intervals_hold_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(200):
        sample = rng.normal(size=60)
        found = bootstrap(lambda rows, sample=sample: sample[rows].mean(), 60, rng)
        hits += found.low <= 0 <= found.high
    assert 0.88 <= hits / 200 <= 0.98


def test_the_same_generator_gives_the_same_interval():
    values = np.arange(30.0)
    one, two = (
        bootstrap(lambda rows: values[rows].mean(), 30, np.random.default_rng(3)) for _ in range(2)
    )
    other = bootstrap(lambda rows: values[rows].mean(), 30, np.random.default_rng(4))
    assert one == two != other


def test_undefined_replicates_are_left_out():
    labels = np.array([1, 0, 0])

    def rate_of_positives(rows):  # undefined when no positive is drawn
        return 1.0 if labels[rows].any() else np.nan

    got = bootstrap(rate_of_positives, 3, np.random.default_rng(5))
    assert (got.mean, got.sd, got.low, got.high) == (1, 0, 1, 1)
    nothing = bootstrap(lambda rows: np.nan, 3, np.random.default_rng(5))
    assert nothing == Interval(None, None, None, None, 3)


def test_one_image_has_no_interval():
    assert bootstrap(lambda rows: 0.5, 1, np.random.default_rng(0)) == Interval(
        0.5, None, None, None, 1
    )


@pytest.mark.parametrize(("images", "replicates"), [(0, 200), (10, 1)])
def test_too_little_to_draw_from_is_refused(images, replicates):
    with pytest.raises(BadConfig, match=f"but got {images} and {replicates}"):
        bootstrap(lambda rows: 0.0, images, np.random.default_rng(0), replicates)
