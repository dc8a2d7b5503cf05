"""ECE-sweep against its loop written plainly, and against another library without remainders."""

import numpy as np
import probcal.metrics
import pytest

from ccr_diag.metrics.bins import ReliabilityBins
from ccr_diag.metrics.sweep import ece_sweep


def exact_cells(p, y):
    """One cell per distinct confidence."""
    value, index = np.unique(np.asarray(p, dtype=float), return_inverse=True)
    count = np.bincount(index).astype(float)
    hits = np.bincount(index, np.asarray(y, dtype=float))
    return ReliabilityBins(count, value * count, hits, value * (1 - value) * count)


def slow_sweep(p, y):
    """Equal values go to the upper of the bins that array_split puts them in."""
    order = np.argsort(p)
    p, y = np.asarray(p, dtype=float)[order], np.asarray(y, dtype=float)[order]
    kept = [(p, y)]
    for n_bins in range(2, min(len(p), 200) + 1):
        home = {}
        for number, part in enumerate(np.array_split(p, n_bins)):
            home |= dict.fromkeys(part.tolist(), number)
        index = np.array([home[value] for value in p.tolist()])
        bins = [(p[index == k], y[index == k]) for k in np.unique(index)]
        rates = [outcome.mean() for _, outcome in bins]
        if rates != sorted(rates):
            break
        kept = bins
    return sum(len(c) * abs(c.mean() - o.mean()) for c, o in kept) / len(p)


@pytest.mark.parametrize("seed", range(20))
def test_it_matches_the_plain_loop(seed):
    rng = np.random.default_rng(seed)
    p = rng.random(rng.integers(1, 300))
    if seed % 2:
        p = np.round(p, 1 + seed % 3)
    y = rng.random(p.size) < p ** (1 + seed % 4)
    assert ece_sweep(exact_cells(p, y)) == pytest.approx(slow_sweep(p, y), abs=1e-12)


def test_it_matches_probcal_where_no_bin_has_one_more():
    # 2520 = 2³·3²·5·7 divides evenly into up to ten bins; a fall from bin 1 to 2 of 5 ends it.
    n = 2520
    p = (np.arange(n) + 0.5) / n
    y = np.zeros(n, dtype=int)
    y[: n // 5 : 3], y[n // 5 : 2 * n // 5 : 5], y[2 * n // 5 :: 2] = 1, 1, 1
    expected = probcal.metrics.ece_sweep(y, p)
    assert ece_sweep(exact_cells(p, y)) == pytest.approx(expected, abs=1e-12)
    assert expected != pytest.approx(abs(p.mean() - y.mean()), abs=1e-3)


def test_increasing_outcomes_are_swept_to_the_last_bin_of_all():
    p = np.linspace(0, 1, 40)
    y = p > 0.6  # monotone in every partition: each entry ends alone
    assert ece_sweep(exact_cells(p, y)) == pytest.approx(np.abs(p - y).mean())


def test_a_constant_is_one_bin():
    assert ece_sweep(exact_cells([0.3] * 10, [1, 1] + [0] * 8)) == pytest.approx(0.1)


def test_falling_outcomes_stay_one_bin():
    assert ece_sweep(exact_cells([0.1, 0.9], [1, 0])) == pytest.approx(0)


def test_batches_are_measured_one_by_one_and_no_entry_gives_nan():
    rng = np.random.default_rng(3)
    count = rng.integers(0, 5, (2, 3, 50)).astype(float)
    count[1, 2] = 0
    p = np.sort(rng.random((2, 3, 50)))
    hits = rng.binomial(count.astype(int), p).astype(float)
    cells = ReliabilityBins(count, count * p, hits, count * p * (1 - p))
    together = ece_sweep(cells)
    assert together.shape == (2, 3)
    assert np.isnan(together[1, 2])
    for index in np.ndindex(2, 3):
        assert together[index] == pytest.approx(float(ece_sweep(cells[index])), nan_ok=True)


def test_at_most_200_bins_are_tried():
    # Frequencies rise through 400 cells; errors of 3, −1, −3, 1 half-thousandths leave 1 per pair.
    frequency = np.arange(400) / 400
    count = np.full(400, 400.0)
    c = frequency + np.tile([3, -1, -3, 1], 100) * 5e-4
    cells = ReliabilityBins(count, count * c, count * frequency, count * c * (1 - c))
    assert ece_sweep(cells) == pytest.approx(5e-4)
