"""Distances, neighbourhoods and the plane of the text space, against loops and closed forms."""

import numpy as np
import pytest
import reference

from ccr_diag.errors import BadConfig, BadData
from ccr_diag.metrics.geometry import (
    SvdBasis,
    embedding_divergence,
    modality_gap,
    neighbourhood_preservation,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def rotation(rng, dim):
    return np.linalg.qr(rng.normal(size=(dim, dim)))[0]


@pytest.mark.parametrize("k", [1, 3, 8])
def test_divergence_matches_a_loop(rng, k):
    text = rng.normal(size=(9, 6)).astype(np.float32)
    np.testing.assert_allclose(
        embedding_divergence(text, k), reference.embedding_divergence(text, k), rtol=1e-6
    )


def test_divergence_of_right_angles_is_one_and_of_equal_rows_zero():
    np.testing.assert_allclose(embedding_divergence(np.eye(4), 2), np.ones(4))
    np.testing.assert_allclose(embedding_divergence(np.ones((4, 3)), 2), np.zeros(4), atol=1e-12)


@pytest.mark.parametrize("k", [1, 3, 8])
def test_preservation_matches_a_loop(rng, k):
    before = rng.normal(size=(9, 6))
    after = before + rng.normal(size=before.shape)
    got = neighbourhood_preservation(before, after, k)
    assert got.tolist() == reference.neighbourhood_preservation(before, after, k)
    assert k == 8 or 0 < got.mean() < 1


def test_preservation_by_hand():
    angles = np.radians([0, 10, 25, 60])
    moved = np.radians([0, 31, 25, 60])  # the second class passes the third
    rows, tuned = (np.stack([np.cos(a), np.sin(a)], axis=1) for a in (angles, moved))
    assert neighbourhood_preservation(rows, tuned, 1).tolist() == [0, 0, 1, 0]
    assert neighbourhood_preservation(rows, tuned, 2).tolist() == [1, 0.5, 1, 1]


def test_length_and_rotation_of_a_space_do_not_matter(rng):
    text = rng.normal(size=(9, 6))
    turned = text @ rotation(rng, 6) * rng.uniform(0.1, 10, size=(9, 1))
    np.testing.assert_allclose(embedding_divergence(turned), embedding_divergence(text))
    assert neighbourhood_preservation(text, turned).tolist() == [1] * 9


def test_more_neighbours_than_classes_are_capped(rng):
    text = rng.normal(size=(4, 6))
    assert embedding_divergence(text, 50).tolist() == embedding_divergence(text, 3).tolist()
    assert neighbourhood_preservation(text, -text, 50).tolist() == [1] * 4


def test_ties_go_to_the_lower_index():
    square = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], dtype=float)
    cut = square.copy()
    cut[3] = [1, -0.1]  # now the fourth class, not the second, is nearest to the first
    # Before, class 1 has classes 2 and 4 at the same distance and keeps 2; afterwards it has 4.
    assert neighbourhood_preservation(square, cut, 1)[0] == 0
    assert neighbourhood_preservation(
        square, square @ rotation(np.random.default_rng(1), 2), 1
    ).all()


def test_gap_by_hand():
    images = np.array([[2.0, 0.0], [4.0, 0.0]])
    texts = np.array([[0.0, 3.0]])
    assert modality_gap(images, texts) == pytest.approx(2**0.5)
    assert modality_gap(images, -images) == pytest.approx(2)
    assert modality_gap(images, images) == 0


def test_coordinates_of_the_fitted_rows_are_u_times_s(rng):
    images, texts = rng.normal(size=(7, 5)) + 1, rng.normal(size=(4, 5))
    rows = np.concatenate([images, texts])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    u, s, vt = np.linalg.svd(rows, full_matrices=False)
    basis = SvdBasis.fit(images, texts)
    np.testing.assert_allclose(np.abs(basis.coordinates(rows)), np.abs(u[:, :2] * s[:2]))
    np.testing.assert_allclose(basis.directions @ basis.directions.T, np.eye(2), atol=1e-12)


def test_the_largest_loading_is_positive_whatever_the_sign_of_the_rows(rng):
    images, texts = rng.normal(size=(7, 5)) + 1, rng.normal(size=(4, 5))
    for sign in (1, -1):
        directions = SvdBasis.fit(sign * images, sign * texts).directions
        assert (directions.max(axis=1) == np.abs(directions).max(axis=1)).all()


def test_no_mean_is_taken_away():
    images = np.array([[1.0, 0.1], [1.0, -0.1]])
    np.testing.assert_allclose(SvdBasis.fit(images, images).directions, np.eye(2), atol=1e-12)


WIDTHS = r"^Embeddings must be \(rows, dim\) arrays of one width, but got shapes"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: embedding_divergence(np.ones((1, 3))), r"at least 2 classes, but got 1\.$"),
        (lambda: embedding_divergence(np.zeros((3, 3))), "finite and not zero, but row 0 is not"),
        (lambda: embedding_divergence(np.array([[1.0], [np.nan]])), "but row 1 is not"),
        (
            lambda: neighbourhood_preservation(np.eye(3), np.eye(4)),
            "same classes, but got 3 zero-shot and 4 tuned rows",
        ),
        (lambda: modality_gap(np.eye(3), np.eye(4)), WIDTHS),
        (lambda: modality_gap(np.ones((0, 3)), np.eye(3)), "at least 1 row, but got 0 and 3"),
        (lambda: SvdBasis.fit(np.eye(3), np.eye(4)), WIDTHS),
        (lambda: SvdBasis.fit(np.ones((2, 1)), np.ones((2, 1))), "at least 2 dimensions"),
        (lambda: SvdBasis.fit(np.eye(3), np.eye(3)).coordinates(np.eye(4)), WIDTHS),
    ],
)
def test_bad_shapes_are_refused(call, message):
    with pytest.raises(BadData, match=message):
        call()


def test_no_neighbours_are_refused():
    with pytest.raises(BadConfig, match=r"^The number of neighbours must be at least 1, but got 0"):
        embedding_divergence(np.eye(3), 0)
