"""Correlations over classes, against scipy and a slow jackknife."""

import math

import numpy as np
import pytest
from scipy import stats

from ccr_diag.errors import BadConfig, BadData
from ccr_diag.metrics.association import correlate
from ccr_diag.metrics.neighbourhoods import BLOCK

FUNCTIONS = {"spearman": stats.spearmanr, "pearson": stats.pearsonr}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("method", ["spearman", "pearson"])
def test_correlation_matches_scipy(rng, method):
    x = np.round(rng.normal(size=40), 1)
    y = x + rng.normal(size=40)
    y[3], x[5] = np.nan, np.inf
    keep = np.isfinite(x) & np.isfinite(y)
    function = {"spearman": stats.spearmanr, "pearson": stats.pearsonr}[method]
    got = correlate(x, y, method)
    assert got.value == pytest.approx(function(x[keep], y[keep]).statistic)
    assert (got.n, got.method) == (38, method)
    assert -1 < got.low < got.value < got.high < 1
    again = correlate(y, x, method)
    assert (again.value, again.n) == (pytest.approx(got.value), 38)
    flipped = correlate(x, -y, method)
    assert (flipped.low, flipped.high) == (pytest.approx(-got.high), pytest.approx(-got.low))


def test_correlation_where_there_is_none_to_speak_of():
    line = np.arange(5.0)
    perfect = correlate(line, line**3)
    assert (perfect.value, perfect.low, perfect.high) == (pytest.approx(1), None, None)
    assert correlate(line, np.full(5, 0.1)).value is None
    assert correlate(np.full(10, 0.1), np.arange(10.0), "pearson").value is None
    assert correlate(line[:1], line[:1]).value is None
    few = correlate(np.array([1.0, 3, 2]), line[:3])
    assert (few.value, few.low, few.n) == (pytest.approx(0.5), None, 3)
    with pytest.raises(BadConfig, match="one of spearman, pearson, but got 'tau'"):
        correlate(line, line, "tau")
    with pytest.raises(BadData, match="but got 5 of one and 4 of the other"):
        correlate(line, line[:4])


def slow_interval(x, y, method):
    """The formula, one class left out after the other."""
    n = len(x)
    r = FUNCTIONS[method](x, y).statistic
    left = [FUNCTIONS[method](np.delete(x, i), np.delete(y, i)).statistic for i in range(n)]
    variance = (n - 1) / n * sum((one - np.mean(left)) ** 2 for one in left)
    half = stats.t.ppf(0.975, n - 2) * math.sqrt(variance) / (1 - r**2)
    return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)


@pytest.mark.parametrize("method", FUNCTIONS)
@pytest.mark.parametrize(("n", "decimals"), [(4, 3), (12, 0), (30, 0), (BLOCK + 5, 1)])
def test_the_interval_is_that_of_the_jackknife(rng, method, n, decimals):
    x = np.round(rng.normal(size=n), decimals)
    y = np.round(x + 0.5 * rng.normal(size=n), decimals)
    got = correlate(x, y, method)
    assert (got.low, got.high) == pytest.approx(slow_interval(x, y, method), abs=1e-9)


def test_one_class_that_disagrees_leaves_a_short_interval(rng):
    """Without it r is 1, where Fisher's scale ends."""
    x = np.arange(20.0)
    y = x.copy()
    y[[18, 19]] = y[[19, 18]]
    got = correlate(x, y)
    assert 0.95 < got.low < got.value < got.high < 1
    values = np.repeat([0.0, 1.0], 10)
    tied = correlate(values, np.where(np.arange(20) == 19, 0.0, values))
    assert tied.value == pytest.approx(0.9045, abs=1e-4)
    assert 0.3 < tied.low < tied.high < 1


def test_what_hangs_on_one_class_has_no_interval():
    alone = np.zeros(12)
    alone[7] = 1
    for method in FUNCTIONS:
        got = correlate(alone, np.arange(12.0), method)
        assert (got.low, got.high, got.n) == (None, None, 12)
        assert got.value is not None


def rounded(x):
    return np.round(x)


def as_is(x):
    return x


def covered(n, rho, method, change, files):
    """Share of drawn files whose interval holds the mean coefficient of all of them."""
    rng = np.random.default_rng(11)
    found = []
    for _ in range(files):
        x = rng.normal(size=n)
        y = rho * x + math.sqrt(1 - rho**2) * rng.normal(size=n)
        found.append(correlate(change(x), change(y), method))
    truth = np.mean([r.value for r in found]) if method == "spearman" else rho
    bounded = [r for r in found if r.low is not None]
    return np.mean([r.low <= truth <= r.high for r in bounded])


@pytest.mark.parametrize("method", FUNCTIONS)
@pytest.mark.parametrize(("n", "rho"), [(8, 0.0), (20, 0.5), (20, 0.99), (80, 0.9), (80, 0.999)])
def test_intervals_of_correlations_cover(method, n, rho):
    assert 0.92 <= covered(n, rho, method, as_is, 300) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("method", FUNCTIONS)
@pytest.mark.parametrize("n", [20, 80, 400])
@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, 0.99])
def test_intervals_cover_95_of_100(method, n, rho):
    assert 0.925 <= covered(n, rho, method, as_is, 1000) <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("n", [20, 80])
@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_intervals_cover_in_spite_of_heavy_ties(n, rho):
    assert 0.925 <= covered(n, rho, "spearman", rounded, 1000) <= 0.99
