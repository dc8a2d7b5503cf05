"""Proximity against all distances and scikit-learn; its bins; the joint error as a slow loop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.neighbors import NearestNeighbors

from ccr_diag.errors import BadConfig, BadData
from ccr_diag.metrics import proximity as module
from ccr_diag.metrics.proximity import VARIANTS, proximity, proximity_bins


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def slow(d, variant):
    return np.exp(-(d**2)).mean(axis=1) if variant == "original" else np.exp(-d.mean(axis=1))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_nearness_to_a_reference_matches_scikit_learn(rng, variant, dtype):
    x, other = rng.normal(size=(40, 6)).astype(dtype), rng.normal(size=(30, 6)).astype(dtype)
    found = NearestNeighbors(n_neighbors=5, algorithm="brute").fit(unit(other.astype(float)))
    distance, _ = found.kneighbors(unit(x.astype(float)))
    got = proximity(x, other, 5, variant)
    np.testing.assert_allclose(got, slow(distance, variant), rtol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_image_is_not_its_own_neighbour(rng, variant):
    x = rng.normal(size=(40, 6))
    distance, _ = NearestNeighbors(n_neighbors=3).fit(unit(x)).kneighbors()
    np.testing.assert_allclose(proximity(x, k=3, variant=variant), slow(distance, variant), 1e-6)


def test_by_hand():
    x = np.array([[2.0, 0], [0, 1], [-3, 0]])  # squared distances 2, 4, 2 between directions
    near, far = np.exp(-2), np.exp(-4)
    middle = (near + far) / 2
    np.testing.assert_allclose(proximity(x, k=2), [middle, near, middle])
    np.testing.assert_allclose(proximity(x, k=1), [near] * 3)
    root = np.exp(-np.sqrt(2))
    np.testing.assert_allclose(proximity(x, k=1, variant="clip_calibration"), [root] * 3)


def test_copies_coincide(rng):
    x = np.repeat(rng.normal(size=(1, 512)), 12, axis=0) * rng.uniform(0.1, 9, size=(12, 1))
    np.testing.assert_allclose(proximity(x, variant="clip_calibration"), 1, atol=1e-6)


def test_all_others_are_used_where_there_are_fewer_than_k(rng):
    x = rng.normal(size=(5, 4))
    np.testing.assert_array_equal(proximity(x, k=99), proximity(x, k=4))
    np.testing.assert_array_equal(proximity(x, x[:2], k=99), proximity(x, x[:2], k=2))


def test_blocks_do_not_matter(rng, monkeypatch):
    x = rng.normal(size=(50, 8)).astype(np.float32)
    expected = proximity(x, k=4), proximity(x, x[:9], k=4)
    monkeypatch.setattr(module, "BLOCK_PAIRS", 350)
    np.testing.assert_allclose(proximity(x, k=4), expected[0], rtol=1e-6)
    np.testing.assert_allclose(proximity(x, x[:9], k=4), expected[1], rtol=1e-6)


def test_lengths_rotations_and_order_do_not_matter(rng):
    x = rng.normal(size=(30, 6))
    turned = x @ np.linalg.qr(rng.normal(size=(6, 6)))[0] * rng.uniform(0.1, 9, size=(30, 1))
    np.testing.assert_allclose(proximity(turned), proximity(x), rtol=1e-6)
    order = rng.permutation(30)
    np.testing.assert_allclose(proximity(x[order]), proximity(x)[order], rtol=1e-6)


def test_no_image_has_no_proximity(rng):
    assert proximity(np.empty((0, 3))).shape == (0,)


@pytest.mark.parametrize(
    ("features", "reference", "text"),
    [
        (np.ones((1, 3)), None, "at least 1 other"),
        (np.ones((2, 3)), np.ones((0, 3)), "at least 1 other"),
        (np.ones((2, 3)), np.ones((2, 4)), "one width"),
        (np.array([[1.0, 0], [0, 0]]), None, "row 1"),
        (np.array([[np.nan, 0], [1, 0]]), None, "row 0"),
    ],
)
def test_features_without_a_direction_or_a_neighbour_are_refused(features, reference, text):
    with pytest.raises(BadData, match=text):
        proximity(features, reference)


def test_no_neighbour_is_refused():
    with pytest.raises(BadConfig, match="at least 1"):
        proximity(np.eye(3), k=0)


def test_without_ties_bins_are_dealt_out_as_by_array_split(rng):
    value = rng.permutation(103) / 103
    sizes = np.bincount(proximity_bins(value, 10))
    assert sizes.tolist() == [len(part) for part in np.array_split(np.arange(103), 10)]
    assert (np.diff(proximity_bins(np.sort(value), 10)) >= 0).all()


@given(
    hnp.arrays(np.float64, st.integers(0, 30), elements=st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0])),
    st.integers(1, 8),
)
def test_ties_share_the_bin_of_their_first(value, n_bins):
    got = proximity_bins(value, n_bins)
    ranks = np.arange(len(value))
    part = np.concatenate([np.full(len(r), b) for b, r in enumerate(np.array_split(ranks, n_bins))])
    ordered = np.sort(value)
    assert got.tolist() == [part[np.searchsorted(ordered, v)] for v in value]


def test_bad_bins_are_refused():
    with pytest.raises(BadConfig, match="at least 1 bin"):
        proximity_bins(np.ones(3), 0)
    with pytest.raises(BadData, match="image 1"):
        proximity_bins(np.array([0.1, np.nan]), 2)


def test_cutting_by_proximity_as_well_cannot_lower_the_error(rng):
    c, near = rng.random(400), rng.random(400)
    o = rng.random(400) < c + 0.4 * (0.5 - near)  # right on average over the images

    def error(cell):
        return sum(abs((c - o)[cell == one].sum()) for one in np.unique(cell)) / len(c)

    confidence_bin = np.minimum((c * 10).astype(int), 9)
    joint = proximity_bins(near, 5) * 10 + confidence_bin
    assert error(joint) > 1.5 * error(confidence_bin)
