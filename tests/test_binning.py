"""Bins have the right edges, one pass sees every known entry once, and tables add up."""

from fractions import Fraction

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ccr_diag.errors import BadConfig, BadData
from ccr_diag.metrics import binning
from ccr_diag.metrics.binning import CONVENTIONS, bin_index, reliability_tables


def random_case(rng, images=37, classes=4, unknown=0.2, dtype=np.float32):
    p = rng.random((images, classes)).astype(dtype)
    p[rng.random(p.shape) < 0.2] = dtype(0.3)
    y = (rng.random(p.shape) < p).astype(np.int8)
    y[rng.random(p.shape) < unknown] = -1
    return p, y


def assert_same_table(one, other):
    np.testing.assert_array_equal(one.count, other.count)
    np.testing.assert_array_equal(one.sum_outcome, other.sum_outcome)
    np.testing.assert_allclose(one.sum_confidence, other.sum_confidence, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("n_bins", [1, 2, 3, 7, 10, 15, 20, 49, 100])
def test_edges_and_their_float_neighbours_fall_in_the_exact_bin(dtype, n_bins):
    edges = np.array([dtype(Fraction(k, n_bins)) for k in range(n_bins + 1)])
    below, above = np.nextafter(edges, dtype(0)), np.nextafter(edges, dtype(1))
    p = np.concatenate([edges, below, above])
    expected = [reference.exact_bin(value, n_bins) for value in p]
    assert bin_index(p, n_bins).tolist() == expected


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_decimals_a_user_types_open_their_bins(dtype):
    assert bin_index(np.arange(10).astype(dtype) / dtype(10), 10).tolist() == list(range(10))
    assert bin_index(np.array([0, 0.3, 1], dtype=dtype), 10).tolist() == [0, 3, 9]


@given(
    hnp.arrays(np.float64, 20, elements=st.floats(0, 1)),
    st.integers(1, 40),
)
def test_bins_partition_the_unit_interval(p, n_bins):
    assert bin_index(p, n_bins).tolist() == [reference.exact_bin(v, n_bins) for v in p]


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tables_match_a_loop_over_entries(convention, dtype):
    p, y = random_case(np.random.default_rng(0), dtype=dtype)
    table = reliability_tables(p, y, 15)[convention]
    for c in range(p.shape[1]):
        bins = table.pooled(np.arange(p.shape[1]) == c)
        filled = bins.count > 0
        got = list(
            zip(bins.count[filled], bins.confidence[filled], bins.frequency[filled], strict=True)
        )
        confidence, outcome = reference.entries(p[:, [c]], y[:, [c]], convention)
        np.testing.assert_allclose(got, reference.binned(confidence, outcome, 15), rtol=1e-6)


def test_decision_confidence_is_never_below_one_half():
    p, y = random_case(np.random.default_rng(1))
    table = reliability_tables(p, y, 10)["decision"]
    assert table.count[:, :5].sum() == 0
    assert table.count.sum() == (y != -1).sum()


def test_a_tie_at_one_half_decides_for_present():
    p = np.array([[0.5], [0.5], [0.5]])
    table = reliability_tables(p, np.array([[1], [1], [0]], dtype=np.int8), 2)
    assert table["decision"].sum_outcome.tolist() == [[0, 2]]


def test_unknown_labels_are_in_no_bin():
    p = np.array([[0.2], [0.9], [0.9]])
    y = np.array([[0], [1], [-1]], dtype=np.int8)
    for table in reliability_tables(p, y, 10).values():
        assert table.count.sum() == 2
    assert reliability_tables(p, y, 10)["positive"].sum_confidence.sum() == pytest.approx(1.1)


@pytest.mark.parametrize("unknown", [np.s_[:, 1], np.s_[:]])
def test_a_class_without_known_labels_has_empty_bins(unknown):
    p, y = random_case(np.random.default_rng(2))
    y[unknown] = -1
    bins = reliability_tables(p, y)["positive"].pooled(np.arange(4) == 1)
    assert bins.count.tolist() == [0] * 15
    assert np.isnan(bins.confidence).all()
    assert np.isnan(bins.frequency).all()


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_saturated_probabilities_stay_in_the_outer_bins(p):
    table = reliability_tables(np.full((3, 1), p), np.ones((3, 1), dtype=np.int8), 10)
    assert table["positive"].count[0, 0 if p == 0 else 9] == 3
    assert table["decision"].count[0, 9] == 3


@pytest.mark.parametrize("cut", [0, 1, 20, 37])
def test_merged_parts_are_the_whole(cut):
    p, y = random_case(np.random.default_rng(3))
    whole = reliability_tables(p, y)
    first, second = reliability_tables(p[:cut], y[:cut]), reliability_tables(p[cut:], y[cut:])
    for convention, table in whole.items():
        assert_same_table(first[convention].merge(second[convention]), table)


def test_many_blocks_give_the_table_of_one(monkeypatch):
    p, y = random_case(np.random.default_rng(4), images=1000)
    one = reliability_tables(p, y, 3)
    monkeypatch.setattr(binning, "BLOCK_ENTRIES", 1)  # 12 rows a block
    for convention, table in reliability_tables(p, y, 3).items():
        assert_same_table(table, one[convention])


def test_counts_stay_exact_beyond_float32():
    table = reliability_tables(np.full((2, 1), 0.1, np.float32), np.zeros((2, 1), np.int8), 10)
    table = table["positive"]
    for _ in range(25):  # 2^26 entries; float32 counters stop at 2^24
        table = table.merge(table)
    assert table.count.sum() == 2**26
    assert table.sum_confidence.sum() / 2**26 == pytest.approx(float(np.float32(0.1)), rel=1e-12)


@pytest.mark.parametrize("bad", [-1e-9, 1 + 1e-9, np.nan, np.inf])
def test_a_value_that_is_no_probability_is_refused(bad):
    with pytest.raises(BadData, match=r"^Probabilities must lie in \[0, 1\]"):
        reliability_tables(np.array([[0.5], [bad]]), np.zeros((2, 1), dtype=np.int8))


def test_no_bins_are_refused():
    with pytest.raises(BadConfig, match=r"^There must be at least 1 bin, but got 0\.$"):
        reliability_tables(np.array([[0.5]]), np.zeros((1, 1), dtype=np.int8), 0)
