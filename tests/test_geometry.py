"""Distances, neighbourhoods and the plane of the text space, against loops and closed forms."""

import json
import time

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ccr_diag.errors import BadConfig, BadData
from ccr_diag.metrics.association import correlate
from ccr_diag.metrics.geometry import (
    SvdBasis,
    TextGeometry,
    embedding_divergence,
    modality_gap,
    neighbourhood_preservation,
)
from ccr_diag.metrics.gram import class_drift, effective_rank, spectrum
from ccr_diag.metrics.modality_gap import GapChange
from ccr_diag.metrics.neighbourhoods import (
    kendall_tau_b,
    nearest_classes,
    neighbour_distances,
    rank_biased_overlap,
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
        (
            lambda: embedding_divergence(np.ones((1, 3))),
            "but got 1; .* give more of them",
        ),
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


# neighbours


def spaces(n=12, dim=5, noise=0.6, seed=3):
    """Two spaces in which some neighbours stay and some go."""
    rng = np.random.default_rng(seed)
    before = rng.normal(size=(n, dim)) + 0.5
    return before, before + noise * rng.normal(size=before.shape)


@pytest.mark.parametrize("k", [1, 4, 11])
def test_euclidean_divergence_is_the_length_between_unit_rows(k):
    text, _ = spaces()
    unit = text / np.linalg.norm(text, axis=1, keepdims=True)
    expected = [
        np.mean([np.linalg.norm(unit[i] - unit[j]) for j in reference.neighbours(text, i, k)])
        for i in range(len(text))
    ]
    np.testing.assert_allclose(embedding_divergence(text, k, "euclidean"), expected)


def test_distances_of_close_rows_keep_their_digits():
    apart = 1e-9
    rows = np.array([[1.0, 0.0], [1.0, apart], [0.0, 1.0]])
    neighbours = np.array([[1], [0], [1]])
    assert neighbour_distances(rows, neighbours, "euclidean")[0, 0] == pytest.approx(apart)
    assert neighbour_distances(rows, neighbours)[0, 0] == pytest.approx(apart**2 / 2)


def test_equal_rows_go_by_index_wherever_they_stand():
    rng = np.random.default_rng(5)
    rows = np.repeat(rng.normal(size=(60, 64)), 5, axis=0)
    rows *= rng.uniform(0.1, 10, size=(300, 1))
    found = nearest_classes(rows, 9)
    for i in range(300):
        twins = [j for j in range(i - i % 5, i - i % 5 + 5) if j != i]
        assert found[i, :4].tolist() == twins
        assert found[i, 4:].tolist() == list(range(found[i, 4], found[i, 4] + 5))
        assert found[i, 4] % 5 == 0
    np.testing.assert_allclose(embedding_divergence(rows, 4), 0, atol=1e-12)


def test_many_classes_are_taken_in_blocks():
    rows = np.random.default_rng(6).normal(size=(600, 8))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -2)
    expected = np.argsort(-cosine, axis=1, kind="stable")[:, :6]
    assert (nearest_classes(rows, 6) == expected).all()
    np.fill_diagonal(cosine, 1)
    tuned = np.roll(rows, 1, axis=1) ** 3
    after = tuned / np.linalg.norm(tuned, axis=1, keepdims=True)
    assert np.linalg.norm(class_drift(rows, tuned)) == pytest.approx(
        np.linalg.norm(after @ after.T - cosine)
    )


def test_lengths_at_the_ends_of_the_float_range_do_not_matter():
    text, _ = spaces()
    scale = np.geomspace(1e-305, 1e305, len(text))[:, None]
    np.testing.assert_allclose(embedding_divergence(text * scale), embedding_divergence(text))


# agreement of rankings


def rbo_by_prefixes(first, second, p):
    """RBO_ext of two lists of equal length, prefix by prefix."""
    k = len(first)
    shared = [len(set(first[:d]) & set(second[:d])) for d in range(1, k + 1)]
    total = sum(x / d * p**d for d, x in enumerate(shared, start=1))
    return shared[-1] / k * p**k + (1 - p) / p * total


@given(
    st.integers(1, 8).flatmap(
        lambda k: st.tuples(
            st.permutations(range(10)).map(lambda x: x[:k]),
            st.permutations(range(10)).map(lambda x: x[:k]),
        )
    ),
    st.floats(0.05, 0.95),
)
def test_rbo_matches_its_prefixes(lists, p):
    first, second = (np.array([x]) for x in lists)
    got = rank_biased_overlap(first, second, p)
    assert got[0] == pytest.approx(rbo_by_prefixes(*lists, p))
    assert -1e-12 <= got[0] <= 1 + 1e-12
    assert got[0] == pytest.approx(rank_biased_overlap(second, first, p)[0])
    assert rank_biased_overlap(first, first, p)[0] == pytest.approx(1)


def test_rbo_by_hand():
    lists = np.array([[0, 1], [0, 1], [0, 1]]), np.array([[0, 2], [1, 0], [2, 3]])
    # X_d/d: (1, 1/2), (0, 1), (0, 0); p = 1/2: X_k/k · 1/4 + 1 · (X_1/2 + X_2/2 · 1/4)
    assert rank_biased_overlap(*lists, 0.5).tolist() == [0.75, 0.5, 0]
    with pytest.raises(BadConfig, match="between 0 and 1, but got 1"):
        rank_biased_overlap(*lists, 1.0)


@given(
    st.integers(1, 9).flatmap(
        lambda n: st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=n, max_size=n)
    )
)
def test_kendall_matches_scipy(pairs):
    x, y = np.array(pairs, dtype=float).T
    got = kendall_tau_b(np.stack([x, -x]), np.stack([y, y]))
    expected = stats.kendalltau(x, y).statistic if len(pairs) > 1 else np.nan
    np.testing.assert_allclose(got, [expected, -expected], atol=1e-12)


def test_kendall_ties_within_rounding():
    noisy = np.array([[1.0, 1.0 + 3e-13, 2.0, 3.0]])
    assert kendall_tau_b(noisy, np.array([[1.0, 1.0, 2.0, 3.0]]))[0] == pytest.approx(1)


# the Gram matrix


def test_drift_of_classes_adds_up_to_that_of_the_matrix():
    before, after = spaces()
    a, b = (reference_gram(x) for x in (before, after))
    drift = class_drift(before, after)
    np.testing.assert_allclose(drift, np.sqrt(((b - a) ** 2).sum(axis=1)))
    geometry = TextGeometry.compare(before, after)
    assert geometry.gram_drift == pytest.approx(np.linalg.norm(b - a))
    pairs = (b - a)[~np.eye(len(a), dtype=bool)]
    assert geometry.pair_drift == pytest.approx(np.sqrt(np.mean(pairs**2)))


def reference_gram(rows):
    return np.array([[reference.cosine(x, y) for y in rows] for x in rows])


def test_drift_by_hand():
    before, after = np.array([[1.0, 0], [0, 1]]), np.array([[1.0, 0], [1, 0]])
    geometry = TextGeometry.compare(before, after)
    assert class_drift(before, after).tolist() == [1, 1]
    assert geometry.gram_drift == pytest.approx(2**0.5)
    assert geometry.pair_drift == pytest.approx(1)


@pytest.mark.parametrize(("n", "dim"), [(4, 9), (9, 4), (6, 6)])
def test_spectrum_is_that_of_the_gram_matrix(n, dim):
    rows, _ = spaces(n, dim)
    expected = np.linalg.eigvalsh(reference_gram(rows))[::-1][: min(n, dim)]
    np.testing.assert_allclose(spectrum(rows), expected, atol=1e-12)
    assert spectrum(rows).sum() == pytest.approx(n)


def test_effective_rank_by_hand():
    assert effective_rank(spectrum(np.eye(5))) == pytest.approx(5)
    assert effective_rank(spectrum(np.ones((5, 3)))) == pytest.approx(1)
    assert effective_rank(np.array([3.0, 1.0, 0.0])) == pytest.approx(4 / 3**0.75)


# the gap


def test_the_gap_before_and_after_lies_in_one_plane(rng):
    images = rng.normal(size=(700, 5)) + 1
    before, after = spaces()
    change = GapChange.between(images, before, after)
    basis = SvdBasis.fit(images[:500], before)
    assert (change.zero_shot, change.tuned) == (
        modality_gap(images, before),
        modality_gap(images, after),
    )
    np.testing.assert_array_equal(change.images, basis.coordinates(images[:500]))
    np.testing.assert_array_equal(change.texts_zero_shot, basis.coordinates(before))
    np.testing.assert_array_equal(change.texts_tuned, basis.coordinates(after))


# the record


def test_the_record_holds_what_the_functions_give():
    before, after = spaces()
    for neighbours in ("tuned", "zero-shot"):
        for distance in ("cosine", "euclidean"):
            got = TextGeometry.compare(before, after, k=4, distance=distance, neighbours=neighbours)
            near = nearest_classes(before if neighbours == "zero-shot" else after, 4)
            np.testing.assert_array_equal(
                got.divergence, neighbour_distances(after, near, distance).mean(axis=1)
            )
            np.testing.assert_array_equal(
                got.divergence_zero_shot, embedding_divergence(before, 4, distance)
            )
            np.testing.assert_array_equal(
                got.divergence_change, got.divergence - got.divergence_zero_shot
            )
    np.testing.assert_array_equal(got.preservation, neighbourhood_preservation(before, after, 4))
    for i in range(len(before)):
        near = reference.neighbours(before, i, 4)
        taus = stats.kendalltau(
            [reference.cosine(before[i], before[j]) for j in near],
            [reference.cosine(after[i], after[j]) for j in near],
        )
        assert got.kendall[i] == pytest.approx(taus.statistic)
        assert got.overlap[i] == pytest.approx(
            rbo_by_prefixes(near, reference.neighbours(after, i, 4), 0.9)
        )


def test_an_unchanged_space_has_not_moved(rng):
    text, _ = spaces()
    turned = text @ rotation(rng, 5) * rng.uniform(0.1, 10, size=(12, 1))
    summary = TextGeometry.compare(text, turned).summary
    assert summary["NP"] == summary["kendall"] == 1
    assert summary["RBO"] == pytest.approx(1)
    for key in ("delta_ED", "gram_drift", "pair_drift"):
        assert summary[key] == pytest.approx(0, abs=1e-12)
    assert summary["effective_rank"] == pytest.approx(summary["effective_rank_zero_shot"])


def test_the_order_of_classes_does_not_matter(rng):
    before, after = spaces()
    order = rng.permutation(12)
    names = [f"c{i}" for i in range(12)]
    first = TextGeometry.compare(before, after, names)
    second = TextGeometry.compare(before[order], after[order], [names[i] for i in order])
    for key, values in first.class_values.items():
        np.testing.assert_allclose(second.class_values[key], values[order], atol=1e-12)
    rows = {row["name"]: row for row in second.to_json()["classes"]}
    for row in first.to_json()["classes"]:
        for key in ("neighbours", "neighbours_zero_shot"):
            assert rows[row["name"]][key] == row[key]
    assert first.to_json()["most_moved"] == second.to_json()["most_moved"]


def test_classes_that_moved_most_come_first():
    before = np.eye(6) + 0.1 * np.arange(36).reshape(6, 6) % 0.7
    after = before.copy()
    after[2] = before[5] + 0.01
    got = TextGeometry.compare(before, after, k=2)
    order = got.most_moved(6)
    keys = [(round(got.overlap[i], 9), -got.drift[i]) for i in order]
    assert keys == sorted(keys)
    assert sorted(order) == list(range(6))
    still = TextGeometry.compare(before, before, k=2)
    assert still.most_moved(3) == [0, 1, 2]


def test_json_is_plain_and_says_none_where_nothing_is_defined():
    before, after = spaces(4)
    names = ["a", "b", "c", "d"]
    content = TextGeometry.compare(before, after, names, k=1).to_json()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["summary"]["kendall"] is None
    assert content["classes"][0]["kendall"] is None
    assert content["modality_gap"] is None
    assert (content["k"], content["n_classes"]) == (1, 4)
    assert TextGeometry.compare(before, after, k=50).to_json()["k"] == 3
    with_images = TextGeometry.compare(before, after, names, before[:2]).to_json()
    assert with_images["modality_gap"]["tuned"] == with_images["summary"]["gap"]
    assert len(with_images["modality_gap"]["coordinates"]["images"]) == 2


def test_correlations_of_the_record_are_over_its_classes():
    before, after = spaces()
    got = TextGeometry.compare(before, after)
    error = np.linspace(-0.2, 0.3, 12)
    found = got.correlations(error, "pearson")
    assert list(found) == ["ED", "delta_ED", "NP"]
    for key, entry in found.items():
        assert entry == correlate(got.class_values[key], error, "pearson")


@pytest.mark.parametrize(
    ("args", "settings", "kind", "message"),
    [
        ((np.eye(3), np.eye(4)), {}, BadData, "same classes, but got 3 zero-shot and 4 tuned"),
        ((np.eye(3), np.ones((3, 2))), {}, BadData, "one width, but got 3 zero-shot and 2 tuned"),
        ((np.eye(1), np.eye(1)), {}, BadData, "at least 2 classes, but got 1"),
        ((np.eye(3), np.diag([1.0, 0, 1])), {}, BadData, "but row 1 is not"),
        ((np.eye(3), np.eye(3), ["a", "b"]), {}, BadData, "got 2 names for 3 rows"),
        ((np.eye(3), np.eye(3), ["a", "b", "a"]), {}, BadData, "'a' comes twice"),
        ((np.eye(3), np.eye(3), None, np.eye(4)), {}, BadData, "arrays of one width"),
        ((np.eye(3), np.eye(3)), {"k": 0}, BadConfig, "at least 1, but got 0"),
        ((np.eye(3), np.eye(3)), {"distance": "l2"}, BadConfig, "cosine, euclidean, but got 'l2'"),
        ((np.eye(3), np.eye(3)), {"neighbours": "old"}, BadConfig, "zero-shot, but got 'old'"),
    ],
)
def test_what_cannot_be_compared_is_refused(args, settings, kind, message):
    with pytest.raises(kind, match=message):
        TextGeometry.compare(*args, **settings)


def test_a_thousand_classes_take_less_than_a_second():
    rng = np.random.default_rng(0)
    before = rng.normal(size=(1203, 512)).astype(np.float32) + 1
    after = before + 0.3 * rng.normal(size=before.shape).astype(np.float32)
    start = time.process_time()
    TextGeometry.compare(before, after)
    assert time.process_time() - start < 1
