"""Fine cells rise with p, are as narrow as promised, and hold what they stand for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ccr_diag.metrics.accumulate import Accumulator
from ccr_diag.metrics.cells import CELLS, as_bins, cell_slots

RANDOM = np.random.default_rng(0)


def dense(dtype):
    """Values all over [0, 1], many of them near the ends."""
    near = 2.0 ** -RANDOM.uniform(0, 30, 40_000)
    values = np.concatenate([RANDOM.random(100_000), near, 1 - near, [0, 1]])
    return np.sort(values.astype(dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cells_rise_with_p_from_the_first_to_the_last(dtype):
    slot = cell_slots(dense(dtype)[None])[0].astype(int)
    assert (np.diff(slot) >= 0).all()
    assert (slot[0], slot[-1]) == (0, CELLS - 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cells_are_narrow_and_narrower_near_the_ends(dtype):
    p = dense(dtype)
    slot = cell_slots(p[None])[0]
    first = np.flatnonzero(np.diff(slot, prepend=-1))
    low, high = p[first].astype(float), p[np.append(first[1:], len(p)) - 1].astype(float)
    nearest_end = np.minimum(low, 1 - high)
    assert (high - low <= 1 / 2048 + 1e-7).all()
    near = (nearest_end >= 2.0**-20) & (nearest_end < 2.0**-5)
    assert near.sum() > 1000
    assert (high - low <= nearest_end / 64 * 1.01 + np.finfo(dtype).eps)[near].all()


@given(hnp.arrays(np.float64, (1, 12), elements=st.floats(0, 1)))
def test_every_probability_has_a_cell_and_order_is_kept(p):
    slot = cell_slots(p)[0].astype(int)
    assert ((slot >= 0) & (slot < CELLS)).all()
    for i in range(12):
        assert (slot[i] <= slot[p[0] >= p[0, i]]).all()


def test_the_ends_mirror_each_other():
    p = 2.0 ** -np.arange(6, 20, dtype=np.float64)
    low, high = (cell_slots(v[None])[0].astype(int) for v in (p, 1 - p))
    np.testing.assert_array_equal(low + high, CELLS - 1)


def test_bins_of_cells_hold_counts_means_and_outcomes():
    p = np.array([[0.25, 0.75], [0.25, 1.0], [0.25, 0.0]])
    y = np.array([[1, 0], [0, 1], [-1, 0]], np.int8)
    found = Accumulator(1, CELLS)
    found.add(p, y, cell_slots(p), np.zeros(2, np.int64))
    bins = as_bins(found.sums[0])
    filled = bins.count > 0
    assert bins.count[filled].tolist() == [1, 2, 1, 1]
    assert bins.confidence[filled].tolist() == [0, 0.25, 0.75, 1]
    assert bins.frequency[filled].tolist() == [0, 0.5, 0, 1]
    assert bins.sum_variance[filled].tolist() == [0, 2 * 0.1875, 0.1875, 0]
