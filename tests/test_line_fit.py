"""Lines through classes, against the normal equations and scipy; and the record of them."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from ccr_diag.associations import FREQUENCY, associations
from ccr_diag.errors import BadData
from ccr_diag.metrics.association import correlate
from ccr_diag.metrics.line_fit import PLACES, fit_line


def slow_band(x, y, at):
    """The design matrix, one place after the other."""
    design = np.stack([np.ones_like(x), x], axis=1)
    inverse = np.linalg.inv(design.T @ design)
    beta = inverse @ design.T @ y
    variance = sum((y - design @ beta) ** 2) / (len(x) - 2)
    t = stats.t.ppf(0.975, len(x) - 2)
    for place in at:
        row = np.array([1.0, place])
        half = t * math.sqrt(variance * (row @ inverse @ row))
        yield row @ beta - half, row @ beta, row @ beta + half


@pytest.mark.parametrize("n", [3, 12, 200])
def test_a_line_and_its_band(n):
    rng = np.random.default_rng(n)
    x = rng.uniform(-3, 2, n)
    y = 0.7 - 0.2 * x + rng.normal(0, 0.3, n)
    got = fit_line(x, y)
    assert got.n == n
    assert len(got.x) == PLACES
    assert (got.x[0], got.x[-1]) == (x.min(), x.max())
    low, line, high = zip(*slow_band(x, y, got.x), strict=True)
    np.testing.assert_allclose(got.low, low, atol=1e-9)
    np.testing.assert_allclose(got.y, line, atol=1e-9)
    np.testing.assert_allclose(got.high, high, atol=1e-9)
    known = stats.linregress(x, y)
    t = stats.t.ppf(0.975, n - 2)
    ends = (known.slope - t * known.stderr, known.slope + t * known.stderr)
    assert (got.slope_low, got.slope_high) == pytest.approx(ends)
    assert (got.slope, got.intercept) == pytest.approx((known.slope, known.intercept))
    assert got.pearson == correlate(x, y, "pearson")
    assert got.spearman == correlate(x, y, "spearman")


def test_classes_without_a_number_are_left_out():
    x = np.array([0.0, 1, np.nan, 2, 3, 9])
    y = np.array([1.0, 2, 50, 3.5, 4, np.inf])
    assert fit_line(x, y) == fit_line(x[[0, 1, 3, 4]], y[[0, 1, 3, 4]])
    assert fit_line(x, y).n == 4


def test_a_constant_error_is_a_line_known_without_doubt():
    got = fit_line(np.arange(5.0), np.zeros(5))
    assert (got.slope, got.slope_low, got.slope_high, got.intercept) == (0, 0, 0, 0)
    assert got.low == got.y == got.high == [0.0] * PLACES
    assert got.pearson.value is None


def test_where_there_is_no_line_or_no_band():
    for x in (np.array([]), np.array([1.0]), np.full(5, 0.1)):
        got = fit_line(x, np.arange(len(x)) * 1.0)
        assert (got.slope, got.slope_low, got.intercept, got.x, got.low) == (
            None,
            None,
            None,
            [],
            [],
        )
    two = fit_line(np.array([1.0, 3]), np.array([2.0, 6]))
    assert (two.slope, two.intercept, two.slope_low, two.low) == (2, 0, None, [])
    assert (two.y[0], two.y[-1]) == (2, 6)
    exact = fit_line(np.arange(5.0), 2 * np.arange(5.0))
    np.testing.assert_allclose(exact.low, exact.high, atol=1e-9)
    with pytest.raises(BadData, match="but got 2 of one and 3 of the other"):
        fit_line(np.zeros(2), np.zeros(3))


def test_a_band_covers_95_of_100():
    rng = np.random.default_rng(5)
    x = rng.uniform(0, 1, 12)
    inside = []
    for _ in range(200):
        got = fit_line(x, 1 + 2 * x + rng.normal(size=12))
        inside.append(got.low[3] <= 1 + 2 * got.x[3] <= got.high[3])
    assert 0.9 <= np.mean(inside) <= 0.99


def test_the_record_is_of_means_over_splits(results: dict[str, Any]):
    model = results["models"][2]
    found = associations(model)
    assert list(found) == [FREQUENCY, "ED", "NP@5"]
    spaces = [split["geometry"] for split in model["splits"]]
    divergence = np.mean([space["divergence"] for space in spaces], axis=0)
    np.testing.assert_allclose(found["ED"]["x"], divergence)
    kept = np.mean([space["preservation"] for space in spaces], axis=0)
    np.testing.assert_allclose(found["NP@5"]["x"], kept)
    error = np.array([entry["metrics"]["signed_error"]["value"] for entry in model["classes"]])
    assert found["ED"]["fit"]["slope"] == pytest.approx(stats.linregress(divergence, error).slope)
    assert found["NP@5"]["fit"]["slope"] == pytest.approx(stats.linregress(kept, error).slope)


def test_the_trend_is_of_supervised_classes(results: dict[str, Any]):
    model = results["models"][0]
    model["classes"][70]["n_training"] = 400  # new: in the images, but never supervised
    model["classes"][3]["n_training"] = 0
    found = associations(model)[FREQUENCY]
    supervised = [c for c in range(66) if c != 3]
    assert [c for c, x in enumerate(found["x"]) if x is not None] == supervised
    counts = [model["classes"][c]["n_training"] for c in supervised]
    error = [model["classes"][c]["metrics"]["signed_error"]["value"] for c in supervised]
    known = stats.linregress(np.log10(counts), error)
    assert found["fit"]["slope"] == pytest.approx(known.slope)
    assert found["fit"]["n"] == 65


def test_without_counts_there_is_no_trend(results: dict[str, Any]):
    model = results["models"][0]
    for entry in model["classes"]:
        entry["n_training"] = None
    assert list(associations(model)) == ["ED", "NP@5"]
    model.update(splits=[], geometry={})
    assert associations(model) == {}


def test_an_undefined_number_of_a_class_is_no_place(results: dict[str, Any]):
    model = results["models"][0]
    model["classes"][0]["metrics"]["signed_error"]["value"] = None
    for split in model["splits"]:
        split["geometry"]["divergence"][5] = None
    found = associations(model)["ED"]
    assert found["x"][5] is None
    assert found["fit"]["n"] == 84
