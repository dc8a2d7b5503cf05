"""Bins have the right edges, one pass sees every known entry once, and tables add up."""

from fractions import Fraction

import numpy as np
import pytest
import reference
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torchmetrics.functional.classification import binary_calibration_error

from ccr_diag.errors import BadConfig, BadData
from ccr_diag.metrics import calibration, tables
from ccr_diag.metrics.tables import SIDES, Tables, bin_index, uniform_slots

CONVENTIONS = ("positive", "decision")
DTYPES = [np.float16, np.float32, np.float64]


def random_case(seed, images=37, classes=4, unknown=0.2, dtype=np.float32):
    rng = np.random.default_rng(seed)
    p = rng.random((images, classes)).astype(dtype)
    p[rng.random(p.shape) < 0.2] = dtype(0.3)
    y = (rng.random(p.shape) < p).astype(np.int8)
    y[rng.random(p.shape) < unknown] = -1
    return p, y


def column(values, labels, dtype=np.float64):
    return np.array(values, dtype=dtype)[:, None], np.array(labels, dtype=np.int8)[:, None]


def repeated(values, counts, positives, dtype=np.float64):
    """Each value `counts` times, the first `positives` of them labelled 1."""
    y = np.concatenate([np.arange(n) < hits for n, hits in zip(counts, positives, strict=True)])
    return column(np.repeat(values, counts), y, dtype)


def errors(p, y, n_bins=10):
    bins = Tables.of(p, y, n_bins).positive.pooled()
    return [
        float(error(bins)) for error in (calibration.ece, calibration.mce, calibration.weighted_mce)
    ]


def exact_edges(dtype, n_bins):
    edges = np.array([dtype(Fraction(k, n_bins)) for k in range(n_bins + 1)])
    below, above = np.nextafter(edges, dtype(0)), np.nextafter(edges, dtype(1))
    return np.concatenate([edges, below, above])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_bins", [1, 2, 3, 7, 10, 15, 20, 49, 100])
def test_edges_and_their_float_neighbours_fall_in_the_exact_bin(dtype, n_bins):
    p = exact_edges(dtype, n_bins)
    expected = [reference.exact_bin(value, n_bins) for value in p]
    assert bin_index(p, n_bins).tolist() == expected
    assert (uniform_slots(p[:, None], n_bins)[:, 0] // SIDES).tolist() == expected


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_number_of_bins_moves_an_edge(dtype):
    for n_bins in range(1, 300):
        p = exact_edges(dtype, n_bins)
        edges = np.sort(p[: n_bins + 1])
        expected = np.clip(np.searchsorted(edges, p, side="right") - 1, 0, n_bins - 1)
        if len(np.unique(edges)) == len(edges):
            np.testing.assert_array_equal(bin_index(p, n_bins), expected)
            np.testing.assert_array_equal(uniform_slots(p[:, None], n_bins)[:, 0] // 4, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_bins", [1, 2, 5, 10, 15, 49])
def test_the_decision_bin_is_that_of_the_rounded_confidence(dtype, n_bins):
    p = np.concatenate([exact_edges(dtype, n_bins), (1 - exact_edges(dtype, n_bins))])
    for value in p:
        bins = Tables.of(*column([value], [1], dtype), n_bins).decision
        expected = reference.exact_bin(max(value, dtype(1) - value), n_bins)
        assert np.flatnonzero(bins.count[0]).tolist() == [expected], value
        assert bins.sum_outcome[0, expected] == (value >= 0.5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_decimals_a_user_types_open_their_bins(dtype):
    assert bin_index(np.arange(10).astype(dtype) / dtype(10), 10).tolist() == list(range(10))
    assert bin_index(np.array([0, 0.3, 1], dtype=dtype), 10).tolist() == [0, 3, 9]


@given(hnp.arrays(np.float64, 20, elements=st.floats(0, 1)), st.integers(1, 40))
def test_bins_partition_the_unit_interval(p, n_bins):
    assert bin_index(p, n_bins).tolist() == [reference.exact_bin(v, n_bins) for v in p]


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_bins", [1, 2, 9, 15])
def test_tables_match_a_loop_over_entries(convention, dtype, n_bins):
    p, y = random_case(0, dtype=dtype)
    bins = getattr(Tables.of(p, y, n_bins), convention)
    for c in range(p.shape[1]):
        one = bins[c]
        filled = one.count > 0
        got = list(
            zip(one.count[filled], one.confidence[filled], one.frequency[filled], strict=True)
        )
        confidence, outcome = reference.entries(p[:, [c]], y[:, [c]], convention)
        expected = reference.binned(confidence, outcome, n_bins)
        np.testing.assert_allclose(got, expected, rtol=max(float(np.finfo(dtype).eps), 1e-12))
        exact = [float(v) for v in p[y[:, c] != -1, c]]
        assert one.sum_variance.sum() == pytest.approx(sum(v * (1 - v) for v in exact))


def test_called_bins_and_confusion_match_loops():
    p, y = random_case(1)
    found = Tables.of(p, y, 15)
    yes = p >= 0.5
    for c in range(4):
        known = y[:, c] != -1
        assert found.called.count[c].sum() == (known & yes[:, c]).sum()
        assert found.called.sum_outcome[c].sum() == ((y[:, c] == 1) & yes[:, c]).sum()
        counts = found.confusion
        assert counts.true_positive[c] == ((y[:, c] == 1) & yes[:, c]).sum()
        assert counts.false_positive[c] == ((y[:, c] == 0) & yes[:, c]).sum()
        assert counts.false_negative[c] == ((y[:, c] == 1) & ~yes[:, c]).sum()
        assert counts.true_negative[c] == ((y[:, c] == 0) & ~yes[:, c]).sum()


def test_a_tie_at_one_half_decides_for_present():
    found = Tables.of(*column([0.5, 0.5, 0.5], [1, 1, 0]), 2)
    assert found.decision.sum_outcome.tolist() == [[0, 2]]
    assert found.confusion.true_positive.tolist() == [2]


def test_unknown_labels_are_in_no_bin():
    found = Tables.of(*column([0.2, 0.9, 0.9], [0, 1, -1]), 10)
    assert found.positive.count.sum() == found.decision.count.sum() == 2
    assert found.positive.sum_confidence.sum() == pytest.approx(1.1)


@pytest.mark.parametrize("unknown", [np.s_[:, 1], np.s_[:]])
def test_a_class_without_known_labels_has_empty_bins(unknown):
    p, y = random_case(2)
    y[unknown] = -1
    bins = Tables.of(p, y).positive[1]
    assert bins.count.tolist() == [0] * 15
    assert np.isnan(bins.confidence).all()
    assert np.isnan(bins.frequency).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [0.0, -0.0, 1.0])
def test_saturated_probabilities_stay_in_the_outer_bins(p, dtype):
    found = Tables.of(*column([p, p, p], [1, 1, 1], dtype), 10)
    assert found.positive.count[0, 9 if p else 0] == 3
    assert found.decision.count[0, 9] == 3


# Worked by hand: calibration.md §D, cases c to k.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nine_decimals_each_alone_in_its_bin(dtype):
    case = repeated(np.arange(1, 10) / 10, [4] * 9, [1, 0, 0, 2, 0, 3, 2, 1, 3], dtype)
    assert errors(*case) == pytest.approx([9.2 / 36, 0.55, 0.55 / 9], abs=1e-7)


def test_zero_and_one_count_in_full():
    case = repeated([0, 0.05, 0.95, 1], [2, 1, 1, 4], [0, 1, 1, 3])
    assert errors(*case)[0] == pytest.approx(0.2375)


def test_one_shares_the_last_bin():
    assert errors(*column([0.95, 1.0], [1, 0])) == pytest.approx([0.475] * 3)


def test_empty_bins_weigh_nothing():
    ece, mce, _ = errors(*column([0.02, 0.02, 0.02, 0.98], [0, 0, 0, 0]))
    assert (ece, mce) == pytest.approx((0.26, 0.98))


def test_a_constant_misses_by_its_distance_from_the_rate():
    assert errors(*repeated([0.3], [10], [2])) == pytest.approx([0.1] * 3)


def test_a_bin_of_one_entry_makes_the_two_mces_differ():
    # .05 ninety-nine times with 6 positives, .95 once, absent
    got = errors(*repeated([0.05, 0.95], [99, 1], [6, 0]))
    assert got == pytest.approx([0.02, 0.95, 0.0105])


def test_torchmetrics_agrees_where_nothing_saturates():
    rng = np.random.default_rng(3)
    p = rng.uniform(0.001, 0.999, (5000, 1)).astype(np.float32)
    y = (rng.random(p.shape) < p**2).astype(np.int8)
    for norm, got in zip(("l1", "max"), errors(p, y, 15)[:2], strict=True):
        theirs = binary_calibration_error(torch.tensor(p[:, 0]), torch.tensor(y[:, 0]), 15, norm)
        assert got == pytest.approx(float(theirs), abs=1e-6)


@pytest.mark.parametrize("cut", [0, 1, 20, 37])
def test_merged_parts_are_the_whole_in_either_order(cut):
    p, y = random_case(3)
    whole = Tables.of(p, y).sums
    first, second = Tables.of(p[:cut], y[:cut]), Tables.of(p[cut:], y[cut:])
    np.testing.assert_allclose((first + second).sums, whole, atol=1e-12)
    np.testing.assert_allclose((second + first).sums, whole, atol=1e-12)


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 37), max_size=6))
def test_any_split_in_any_order_adds_up(seed, cuts):
    p, y = random_case(5)
    mixed = np.random.default_rng(seed).permutation(len(p))
    merged = None
    for rows in np.split(mixed, sorted(cuts)):
        part = Tables.of(p[rows], y[rows])
        merged = part if merged is None else part + merged
    np.testing.assert_allclose(merged.sums, Tables.of(p, y).sums, rtol=0, atol=1e-12)


def test_unlike_tables_are_not_merged():
    p, y = random_case(4)
    with pytest.raises(BadData, match=r"shapes are \(4, 15\) and \(4, 10\)"):
        Tables.of(p, y, 15) + Tables.of(p, y, 10)


def test_saved_tables_come_back(tmp_path):
    found = Tables.of(*random_case(6))
    found.save(tmp_path / "part.npz")
    np.testing.assert_array_equal(Tables.load(tmp_path / "part.npz").sums, found.sums)


def test_many_blocks_give_the_tables_of_one(monkeypatch):
    p, y = random_case(4, images=1000)
    one = Tables.of(p, y, 3)
    monkeypatch.setattr(tables.checked_blocks, "__defaults__", (1,))  # one image a block
    np.testing.assert_allclose(Tables.of(p, y, 3).sums, one.sums, rtol=1e-12)


def test_strides_and_byte_order_of_blocks_do_not_matter():
    p, y = random_case(7)
    other = Tables.of(np.asfortranarray(p), np.asfortranarray(y))
    np.testing.assert_array_equal(other.sums, Tables.of(p, y).sums)


def test_counts_stay_exact_beyond_float32():
    images = 2**24 + 2**21  # one bin, more entries than a float32 counter holds
    p = np.broadcast_to(np.float32(0.1), (images, 1))
    y = np.broadcast_to(np.int8(1), (images, 1))
    bins = Tables.of(p, y, 10).positive
    assert bins.count.tolist() == [[0, images] + [0] * 8]
    assert bins.sum_outcome.sum() == images
    assert bins.sum_confidence.sum() / images == pytest.approx(float(np.float32(0.1)), rel=1e-9)


@pytest.mark.parametrize("bad", [-1e-9, 1 + 1e-9, np.nan, np.inf])
def test_a_value_that_is_no_probability_is_refused(bad):
    with pytest.raises(BadData, match=r"^Probabilities must lie in \[0, 1\]"):
        Tables.of(*column([0.5, bad], [0, 0]))


@pytest.mark.parametrize("bad", [-2, 2])
def test_a_value_that_is_no_label_is_refused(bad):
    with pytest.raises(BadData, match=r"^Labels must be 1"):
        Tables.of(*column([0.5, 0.5], [0, bad]))


@pytest.mark.parametrize("n_bins", [0, -1, 2**14])
def test_too_few_or_too_many_bins_are_refused(n_bins):
    with pytest.raises(BadConfig, match=rf"^There must be 1 to 16383 bins, but got {n_bins}\.$"):
        uniform_slots(np.array([[0.5]]), n_bins)
