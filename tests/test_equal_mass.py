"""Equal-mass bins against sorted copies, other libraries, and what must not matter."""

import calibration as uncertainty_calibration
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from netcal.metrics import ECE as NetcalECE
from sklearn.calibration import calibration_curve
from sklearn.preprocessing import KBinsDiscretizer

from ccr_diag.errors import BadConfig, BadData
from ccr_diag.metrics import entries as pooled
from ccr_diag.metrics.bins import ReliabilityBins
from ccr_diag.metrics.edge_bins import fill_bins, fill_replicates
from ccr_diag.metrics.entries import RowSource
from ccr_diag.metrics.equal_mass import METHODS, equal_mass_bins

CONVENTIONS = ["positive", "decision"]
FLOATS = [np.float16, np.float32, np.float64]
SUMS = ("count", "sum_confidence", "sum_outcome", "sum_variance")


def drawn(shape, dtype=np.float64, unknown=0.2, seed=0):
    rng = np.random.default_rng(seed)
    p = rng.beta(0.3, 1, shape).astype(dtype)
    y = (rng.random(shape) < p**1.3).astype(np.int8)
    y[rng.random(shape) < unknown] = -1
    return p, y


def column(p, y):
    return np.asarray(p)[:, None], np.asarray(y, dtype=np.int8)[:, None]


def everything(p):
    return np.arange(p.shape[1])


def ece(bins):
    return np.abs(bins.sum_confidence - bins.sum_outcome).sum() / bins.count.sum()


def entries(p, y, columns, convention):
    """Confidences in float64 and outcomes of the known entries."""
    p, y = p[:, columns], y[:, columns]
    p, y = p[y >= 0], y[y >= 0] == 1
    if convention == "decision":
        p, y = np.maximum(p, 1 - p), (p >= 0.5) == y
    return p.astype(np.float64), y


def slow_edges(c, n_bins, method):
    c = np.sort(c)
    if method == "ranks":
        parts = np.array_split(c, n_bins)
        edges = [np.nextafter(np.append(c[:1], part)[-1], 2) for part in parts[:-1]]
        return np.maximum.accumulate(np.array(edges))  # an empty part ends where the one before did
    quantiles = np.percentile(c, np.arange(n_bins + 1) * 100 / n_bins, method=method)
    if method == "linear":
        return np.nextafter(quantiles[1:-1], 2)
    keep = np.append(True, np.diff(quantiles) > 1e-8)
    return quantiles[keep][1:-1]


def slow_bins(c, o, edges, n_bins):
    index = np.array([sum(edge <= x for edge in edges) for x in c], dtype=int)
    return ReliabilityBins(
        np.bincount(index, minlength=n_bins),
        np.bincount(index, c, minlength=n_bins),
        np.bincount(index, o, minlength=n_bins).astype(np.int64),
        np.bincount(index, c * (1 - c), minlength=n_bins),
    )


def assert_same(got, expected):
    for name in SUMS:
        np.testing.assert_allclose(
            getattr(got, name), getattr(expected, name), rtol=1e-12, atol=1e-12, err_msg=name
        )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_bins_match_a_sorted_copy(dtype, convention, method):
    p, y = drawn((331, 7), dtype)
    columns = np.array([5, 0, 3])
    got, edges = equal_mass_bins(p, y, columns, 11, convention, method)
    c, o = entries(p, y, columns, convention)
    expected = slow_edges(c, 11, method)
    np.testing.assert_allclose(edges[np.isfinite(edges)], expected, rtol=1e-14)
    assert_same(got, slow_bins(c, o, expected, 11))


@pytest.mark.parametrize("n_bins", [1, 2, 10, 15, 300])
@pytest.mark.parametrize("n", [1, 2, 9, 103, 1000])
def test_without_ties_ranks_are_dealt_out_as_by_array_split(n, n_bins):
    p, y = column(np.random.default_rng(n).permutation(n) / n, np.zeros(n))
    bins, edges = equal_mass_bins(p, y, everything(p), n_bins)
    assert bins.count.tolist() == [len(part) for part in np.array_split(np.arange(n), n_bins)]
    assert len(edges) == n_bins - 1


TIED = st.sampled_from([0.0, -0.0, 5e-324, 1e-310, 1e-9, 0.1, 0.3, 0.5, 0.7, 1 - 2**-53, 1.0])
LOW_HALF = float(np.nextafter(0.5, 0))


@given(
    st.lists(st.tuples(TIED | st.floats(0, 1) | st.just(LOW_HALF), st.integers(-1, 1)), min_size=1),
    st.integers(1, 6),
    st.sampled_from(CONVENTIONS),
    st.sampled_from(["ranks", "linear"]),
    st.sampled_from(FLOATS),
)
def test_any_values_match_the_slow_bins(pairs, n_bins, convention, method, dtype):
    p, y = (np.array(side) for side in zip(*pairs, strict=True))
    p, y = column(p.astype(dtype), y)
    bins, edges = equal_mass_bins(p, y, everything(p), n_bins, convention, method)
    c, o = entries(p, y, everything(p), convention)
    if len(c) == 0:
        assert not bins.count.any()
        return
    assert_same(bins, slow_bins(c, o, edges, n_bins))
    if method == "ranks":
        expected = slow_edges(c, n_bins, method)
        assert_same(bins, slow_bins(c, o, expected, n_bins))


@pytest.mark.parametrize("n_bins", [10, 15])
def test_ranks_agree_with_uncertainty_calibration(n_bins):
    p, y = drawn((103, 1), unknown=0)
    p[20:60] = p[20]  # ties as well
    get_ece_em = uncertainty_calibration.get_ece_em
    bins, _ = equal_mass_bins(p, y, everything(p), n_bins)
    assert ece(bins) == pytest.approx(get_ece_em(p[:, 0], y[:, 0], num_bins=n_bins), abs=1e-12)


@pytest.mark.parametrize("tied", [0, 70])
def test_linear_agrees_with_scikit_learn(tied):
    p, y = drawn((101, 1), unknown=0)
    p[:tied] = p[0]
    bins, _ = equal_mass_bins(p, y, everything(p), 10, method="linear")
    filled = bins[bins.count > 0]
    frequency, confidence = calibration_curve(y[:, 0], p[:, 0], n_bins=10, strategy="quantile")
    np.testing.assert_allclose(filled.frequency, frequency)
    np.testing.assert_allclose(filled.confidence, confidence)


def test_linear_agrees_with_netcal():
    p, y = drawn((104, 1), unknown=0)
    bins, _ = equal_mass_bins(p, y, everything(p), 10, method="linear")
    theirs = NetcalECE(bins=10, equal_intervals=False).measure(p[:, 0], y[:, 0])
    assert ece(bins) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.filterwarnings("ignore:Bins whose width:UserWarning")
@pytest.mark.parametrize("tied", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("n", [100, 103])
def test_averaged_agrees_with_the_discretizer(n, tied):
    p, _ = drawn((n, 1), unknown=0)
    p[: int(tied * n)] = np.median(p)
    p[-30:] = p.max() - 1e-9 * np.arange(30)[:, None]  # bins too narrow to be kept
    bins, _ = equal_mass_bins(
        p, np.zeros(p.shape, np.int8), everything(p), 10, method="averaged_inverted_cdf"
    )
    theirs = KBinsDiscretizer(10, encode="ordinal", quantile_method="averaged_inverted_cdf")
    index = theirs.fit_transform(p).astype(int)[:, 0]
    assert bins.count.tolist() == np.bincount(index, minlength=10).tolist()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("order", [1, -1])
def test_a_constant_is_one_bin_and_misses_by_its_distance_from_the_rate(method, order):
    p, y = column(np.full(10, 0.3), np.arange(10)[::order] < 2)
    bins, _ = equal_mass_bins(p, y, everything(p), 5, method=method)
    assert (bins.count > 0).sum() == 1
    assert ece(bins) == pytest.approx(0.1)


def test_ties_by_hand():
    # sorted .1 .2 .2 .2 | .2 .3 .4 .5: the cut falls among the .2, all of which go below
    p, y = column([0.2, 0.4, 0.2, 0.1, 0.5, 0.2, 0.3, 0.2], [1, 1, 0, 0, 1, 0, 0, 0])
    bins, edges = equal_mass_bins(p, y, everything(p), 2)
    assert bins.count.tolist() == [5, 3]
    assert bins.sum_outcome.tolist() == [1, 2]
    np.testing.assert_allclose(bins.sum_confidence, [0.9, 1.2])
    np.testing.assert_allclose(bins.sum_variance, [0.09 + 4 * 0.16, 0.21 + 0.24 + 0.25])
    assert edges.tolist() == [np.nextafter(0.2, 1)]
    upper, _ = equal_mass_bins(p, y, everything(p), 2, method="averaged_inverted_cdf")
    assert upper.count.tolist() == [1, 7]


def test_the_decision_is_taken_before_the_confidence_is_rounded():
    # 1 − p rounds to 0.5, yet p < 0.5: the decision is "absent", and it is right
    for dtype in FLOATS:
        p, y = column(np.nextafter(dtype([0.5]), dtype(0)), [0])
        bins, _ = equal_mass_bins(p, y, everything(p), 1, "decision")
        assert bins.sum_outcome.tolist() == [1]
        assert bins.sum_confidence.tolist() == [float(dtype(1) - p[0, 0])]


@pytest.mark.parametrize("dtype", FLOATS)
def test_decision_confidence_is_rounded_like_the_probabilities(dtype):
    p, y = drawn((200, 2), dtype)
    bins, _ = equal_mass_bins(p, y, everything(p), 1, "decision")
    c, _ = entries(p, y, everything(p), "decision")
    np.testing.assert_allclose(bins.sum_confidence, [c.sum()], rtol=1e-14)


def test_half_precision_gives_the_bins_of_the_same_numbers_in_double():
    p, y = drawn((500, 3), np.float16)
    half, edges = equal_mass_bins(p, y, everything(p))
    double, wide_edges = equal_mass_bins(p.astype(np.float64), y, everything(p))
    assert_same(half, double)
    assert edges.tolist() == wide_edges.tolist()


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_order_of_images_and_classes_does_not_matter(convention):
    p, y = drawn((200, 4), np.float16)  # many ties
    rng = np.random.default_rng(1)
    rows, columns = rng.permutation(200), rng.permutation(4)
    got, edges = equal_mass_bins(p[rows][:, columns], y[rows][:, columns], np.arange(4), 9)
    expected, same = equal_mass_bins(p, y, columns, 9)
    assert_same(got, expected)
    assert edges.tolist() == same.tolist()


@pytest.mark.parametrize("dtype", FLOATS)
def test_negative_zero_is_zero(dtype):
    p, y = column(np.array([0.5, -0.0, 0.5, -0.0], dtype), [0, 1, 0, 1])
    bins, edges = equal_mass_bins(p, y, everything(p), 2)
    assert edges.tolist() == [np.nextafter(0, 1)]
    assert bins.sum_outcome.tolist() == [2, 0]


def test_a_class_chosen_twice_counts_twice():
    p, y = drawn((50, 2))
    once, edges = equal_mass_bins(p, y, np.array([1]), 4)
    twice = fill_bins(p, y, np.array([1, 1]), edges)
    assert_same(twice, once + once)


def test_blocks_do_not_matter(monkeypatch):
    p, y = drawn((300, 5), np.float32)
    expected, edges = equal_mass_bins(p, y, everything(p))
    monkeypatch.setattr(pooled, "BLOCK_ENTRIES", 35)
    got, same = equal_mass_bins(p, y, everything(p))
    assert_same(got, expected)
    assert edges.tolist() == same.tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_entries_that_differ_in_the_last_bits_are_told_apart(dtype):
    p = np.full(40, 0.3, dtype=dtype)
    for i in range(39):
        p[i + 1] = np.nextafter(p[i], dtype(1))
    p, y = column(np.random.default_rng(0).permutation(p), np.zeros(40))
    bins, edges = equal_mass_bins(p, y, everything(p), 4)
    assert bins.count.tolist() == [10] * 4
    np.testing.assert_array_equal(edges, np.nextafter(np.sort(p[:, 0])[9:-1:10], 1, dtype=float))


def test_memory_maps_and_lazy_sources_are_read_in_slices(tmp_path, monkeypatch):
    monkeypatch.setattr(pooled, "BLOCK_ENTRIES", 64)
    p, y = drawn((100, 4), np.float32)
    np.save(tmp_path / "p.npy", p)
    np.save(tmp_path / "y.npy", y)
    mapped = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "py")

    class Lazy:
        shape, dtype = p.shape, p.dtype

        def __getitem__(self, rows):
            assert len(p[rows]) <= 16
            return p[rows]

    assert isinstance(Lazy(), RowSource)
    expected, _ = equal_mass_bins(p, y, everything(p))
    assert_same(equal_mass_bins(*mapped, everything(p))[0], expected)
    assert_same(equal_mass_bins(Lazy(), y, everything(p))[0], expected)


@pytest.mark.parametrize("layout", [np.asfortranarray, lambda p: np.repeat(p, 2, axis=0)[::2]])
@pytest.mark.parametrize("byte_order", ["<f4", ">f4"])
def test_the_layout_in_memory_does_not_matter(layout, byte_order):
    p, y = drawn((60, 4), np.float32)
    expected, _ = equal_mass_bins(p, y, everything(p))
    assert_same(equal_mass_bins(layout(p.astype(byte_order)), layout(y), np.arange(4))[0], expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(0, 3), (5, 3), (5, 0)])
def test_no_known_entry_gives_empty_bins(shape, method):
    p, y = np.full(shape, 0.5), np.full(shape, -1, dtype=np.int8)
    bins, edges = equal_mass_bins(p, y, np.arange(shape[1]), 4, method=method)
    assert bins.count.tolist() == [0] * 4
    assert np.isnan(bins.frequency).all()
    assert edges.tolist() == [np.inf] * 3


@given(
    hnp.arrays(np.float64, st.integers(0, 5), elements=st.floats(-1, 3)).map(np.sort),
    st.sampled_from(CONVENTIONS),
    st.sampled_from(FLOATS),
)
def test_given_edges_are_compared_exactly(edges, convention, dtype):
    p, y = drawn((40, 2), dtype)
    p[: len(edges), 0] = np.clip(edges, 0, 1)  # entries on the edges, or where they round to
    c, o = entries(p, y, everything(p), convention)
    got = fill_bins(p, y, everything(p), edges, convention)
    assert_same(got, slow_bins(c, o, edges, len(edges) + 1))


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_replicates_are_the_bins_of_the_drawn_images(dtype, convention):
    p, y = drawn((50, 6), dtype)
    columns = np.array([4, 1, 2])
    _, edges = equal_mass_bins(p, y, columns, 7, convention)
    weights = np.random.default_rng(0).poisson(1, (50, 5)).astype(np.uint8)
    got = fill_replicates(p, y, columns, edges, convention, weights)
    assert got.count.shape == (5, 7)
    for replicate, often in enumerate(weights.T):
        rows = np.repeat(np.arange(50), often)
        assert_same(got[replicate], fill_bins(p[rows], y[rows], columns, edges, convention))


def test_replicates_of_blocks_add_up():
    p, y = drawn((40, 3), np.float32)
    weights = np.random.default_rng(0).poisson(1, (40, 4)).astype(np.uint8)
    _, edges = equal_mass_bins(p, y, everything(p))
    halves = [
        fill_replicates(p[half], y[half], everything(p), edges, "positive", weights[half])
        for half in (slice(0, 13), slice(13, None))
    ]
    whole = fill_replicates(p, y, everything(p), edges, "positive", weights)
    assert_same(halves[0] + halves[1], whole)


@pytest.mark.parametrize("wrong", [np.nan, -0.01, 1.01, np.inf])
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_values_that_are_no_probabilities_are_refused(wrong, convention):
    p, y = drawn((9, 2), np.float32)
    p[3, 1] = wrong
    with pytest.raises(BadData, match=r"\[0, 1\]"):
        equal_mass_bins(p, y, everything(p), 3, convention)
    with pytest.raises(BadData, match=r"\[0, 1\]"):
        fill_bins(p, y, everything(p), np.array([0.5]), convention)


def test_bad_settings_are_refused():
    p, y = drawn((9, 2))
    with pytest.raises(BadConfig, match="at least 1 bin"):
        equal_mass_bins(p, y, everything(p), 0)
    for edges in ([0.5, 0.2], [np.nan], [0.1, np.nan]):
        with pytest.raises(BadConfig, match="ascending"):
            fill_bins(p, y, everything(p), np.array(edges))
