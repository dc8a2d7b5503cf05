"""Smooth ECE against its authors' package, an integral taken slowly, and known values."""

import numpy as np
import pytest
import relplot
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import trapezoid
from scipy.optimize import brentq
from scipy.stats import norm

from ccr_diag.metrics.bins import ReliabilityBins
from ccr_diag.metrics.smooth import smece, smece_at


def exact_cells(p, y):
    """One cell per distinct confidence."""
    value, index = np.unique(np.asarray(p, dtype=float), return_inverse=True)
    count = np.bincount(index).astype(float)
    hits = np.bincount(index, np.asarray(y, dtype=float))
    return ReliabilityBins(count, value * count, hits, value * (1 - value) * count)


def slow_smece(p, y):
    """The fixed point, with the kernel written out as a sum over mirror images."""
    t = np.linspace(0, 1, 2001)
    p, y = np.asarray(p, dtype=float), np.asarray(y, dtype=float)

    def error(sigma):
        smoothed = np.zeros_like(t)
        for c, o in zip(p, y, strict=True):
            for image in range(-6, 7):
                for mirrored in (c, -c):
                    smoothed += (c - o) * norm.pdf(t, 2 * image + mirrored, sigma)
        return trapezoid(np.abs(smoothed), t) / len(p)

    return brentq(lambda sigma: error(sigma) - sigma, 1e-3, 1.0, xtol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_fixed_point_of_the_formula(seed):
    rng = np.random.default_rng(seed)
    p = np.concatenate([rng.random(6), [0.0, 1.0]])
    y = rng.random(8) < 0.5
    assert smece(exact_cells(p, y)) == pytest.approx(slow_smece(p, y), abs=1e-5)


@pytest.mark.parametrize("power", [0.5, 1, 2, 4])
@pytest.mark.parametrize("n", [50, 500, 20_000])
@pytest.mark.parametrize(("margin", "tolerance"), [(0.02, 0.008), (0, 0.02)])
def test_it_agrees_with_its_authors(n, power, margin, tolerance):
    # They know the bandwidth to 2^-10, add 1e-4 to the density, take 200 points of [0, 1], and
    # reflect the first and last point of their grid once instead of twice: mass there counts half.
    rng = np.random.default_rng(n)
    p = margin + (1 - 2 * margin) * rng.beta(0.5, 1.5, n)
    y = rng.random(n) < p**power
    assert smece(exact_cells(p, y)) == pytest.approx(relplot.smECE(p, y), rel=tolerance, abs=1e-3)


def test_errors_of_one_sign_add_up_to_the_signed_error():
    rng = np.random.default_rng(1)
    p = rng.beta(0.5, 1.5, 5000)
    y = rng.random(5000) < p**2
    assert smece(exact_cells(p, y)) == pytest.approx(np.mean(p - y), abs=1e-6)


@pytest.mark.parametrize(("p", "rate"), [(0.3, 0.2), (0.0, 0.2), (1.0, 0.9), (0.5, 0.75)])
def test_a_constant_is_off_by_its_distance_from_the_rate(p, rate):
    y = np.arange(100) < round(100 * rate)
    assert smece(exact_cells(np.full(100, p), y)) == pytest.approx(abs(p - rate), abs=1e-6)


def test_everything_wrong_is_one():
    assert smece(exact_cells([1.0] * 5, [0] * 5)) == pytest.approx(1, abs=1e-6)


def test_a_perfect_predictor_has_no_error():
    assert smece(exact_cells([0.0, 1.0, 1.0], [0, 1, 1])) == 0


def test_neighbours_cancel_and_far_errors_do_not():
    near = exact_cells([0.5, 0.501], [1, 0])
    far = exact_cells([0.1, 0.9], [1, 0])
    assert smece(near) < 0.04  # |residuals| are 1/2 each, 0.001 apart
    assert smece(far) > 0.3


@pytest.mark.parametrize("each", [10, 100, 10_000])
def test_a_calibrated_model_shows_what_noise_shows(each):
    # Noise smoothed by σ has variance p(1 − p) / (2√π n σ), so that σ = E|noise| has a closed form.
    p = (np.arange(4000) + 0.5) / 4000
    count = np.full(4000, float(each))
    hits = np.random.default_rng(1).binomial(each, p).astype(float)
    noise = np.sqrt(2 / np.pi) * np.sqrt(p * (1 - p)).mean() / np.sqrt(2 * np.sqrt(np.pi))
    expected = (noise / np.sqrt(count.sum())) ** (2 / 3)
    got = smece(ReliabilityBins(count, count * p, hits, count * p * (1 - p)))
    assert got == pytest.approx(expected, rel=0.15)


def test_batches_are_measured_one_by_one():
    rng = np.random.default_rng(2)
    count = rng.integers(0, 9, (2, 3, 40)).astype(float)
    p = np.sort(rng.random((2, 3, 40)))
    hits = rng.binomial(count.astype(int), p**2).astype(float)
    cells = ReliabilityBins(count, count * p, hits, count * p * (1 - p))
    together = smece(cells)
    assert together.shape == (2, 3)
    for index in np.ndindex(2, 3):
        assert together[index] == smece(cells[index])


def test_no_entry_gives_nan():
    nothing = ReliabilityBins(*(np.zeros((2, 7)) for _ in range(4)))
    assert np.isnan(smece(nothing)).all()


entries = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30)


@given(entries)
def test_it_lies_between_the_signed_error_and_the_error_of_cells(pairs):
    p, y = np.array([c for c, _ in pairs]), np.array([o for _, o in pairs])
    cells = exact_cells(p, y)
    value = smece(cells)
    assert value >= abs(np.mean(p - y)) - 1e-6
    assert value <= np.abs(cells.sum_confidence - cells.sum_outcome).sum() / len(p) + 1e-6


@given(entries)
def test_mirroring_and_doubling_change_nothing(pairs):
    p, y = np.array([c for c, _ in pairs]), np.array([o for _, o in pairs])
    value = smece(exact_cells(p, y))
    assert smece(exact_cells(1 - p, ~y)) == pytest.approx(value, abs=1e-6)
    assert smece(exact_cells(np.tile(p, 2), np.tile(y, 2))) == pytest.approx(value, abs=1e-6)


def test_a_given_bandwidth_lies_below_its_error_exactly_where_smooth_ece_does():
    rng = np.random.default_rng(8)
    count = rng.integers(0, 30, (5, 400)).astype(float)
    c = np.sort(rng.random((5, 400)), axis=1)
    hits = rng.binomial(count.astype(int), c**1.3).astype(float)
    cells = ReliabilityBins(count, count * c, hits, count * c * (1 - c))
    error = smece(cells)
    for share in (0.5, 0.99, 1.01, 2.0):
        for row in range(5):
            sigma = float(share * error[row])
            assert (smece_at(cells[row], sigma) > sigma) == (share < 1)
            assert smece_at(cells[row], float(error[row])) == pytest.approx(error[row], abs=1e-6)
    empty = ReliabilityBins(*np.zeros((4, 400)))
    assert np.isnan(smece_at(empty, 0.1))
