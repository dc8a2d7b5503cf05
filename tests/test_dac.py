import math

import numpy as np
import pytest

from ccr_diag.calibrators.dac import dac, dac_factors, dac_top1
from ccr_diag.errors import BadConfig, BadData

CLASSES = 9
BASE = np.array([True] * 6 + [False] * 3)


def texts(seed=0, width=4):
    rng = np.random.default_rng(seed)
    before = rng.normal(size=(CLASSES, width))
    return before, before + 0.4 * rng.normal(size=before.shape)


def factors_by_hand(before, after, base, k):
    """Class by class, pair by pair."""

    def distances(rows, c):
        pairs = []
        for b in range(len(rows)):
            if base[b]:
                one = rows[c] / math.sqrt(sum(x * x for x in rows[c]))
                two = rows[b] / math.sqrt(sum(x * x for x in rows[b]))
                pairs.append(math.sqrt(sum((x - y) ** 2 for x, y in zip(one, two, strict=True))))
        return sorted(pairs)

    factors = []
    for c in range(len(before)):
        moved = distances(after, c)
        near = math.exp(-sum(moved[:k]) / k)
        was_near = math.exp(-sum(distances(before, c)[:k]) / k)
        factors.append(1.0 if moved[0] < 0.05 else near / was_near)
    return factors


@pytest.mark.parametrize("k", [1, 3, 5])
def test_factors_are_those_of_the_formula(k):
    before, after = texts()
    factors = dac_factors(before, after, BASE, k)
    np.testing.assert_allclose(factors, factors_by_hand(before, after, BASE, k), rtol=1e-12)
    assert (factors[BASE] == 1).all()
    assert (np.abs(factors[~BASE] - 1) > 0.001).all()


def test_five_neighbours_unless_told():
    np.testing.assert_array_equal(dac_factors(*texts(), BASE), dac_factors(*texts(), BASE, k=5))


def test_a_class_that_moved_away_is_cooled_and_one_that_came_near_is_heated():
    angles = np.radians([0, 2, 4, 6, 8, 40, 40])
    before = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    moved = np.radians([0, 2, 4, 6, 8, 60, 20])
    after = np.stack([np.cos(moved), np.sin(moved)], axis=1)
    factors = dac_factors(before, after, np.array([True] * 5 + [False] * 2))
    assert factors[5] < 1 < factors[6]


@pytest.mark.parametrize(("degrees", "same"), [(2.8, True), (2.95, False)])
def test_a_new_class_as_near_as_0_05_to_a_base_class_counts_as_it(degrees, same):
    angles = np.radians([0, 30, 60, 100])
    before = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    moved = np.radians([0, 30, 60, 60 + degrees])  # chords: 0.0489 and 0.0515
    after = np.stack([np.cos(moved), np.sin(moved)], axis=1)
    factor = dac_factors(before, after, np.array([True] * 3 + [False]), k=2)[3]
    assert (factor == 1) == same


def test_lengths_of_the_texts_play_no_part():
    before, after = texts()
    lengths = np.random.default_rng(1).uniform(0.1, 9, (CLASSES, 1))
    np.testing.assert_allclose(
        dac_factors(lengths * before, after / lengths, BASE),
        dac_factors(before, after, BASE),
        rtol=1e-12,
    )


def test_texts_that_stay_change_nothing():
    before, _ = texts()
    np.testing.assert_array_equal(dac_factors(before, before, BASE), np.ones(CLASSES))


def test_each_class_is_scaled_about_the_centre():
    logits = np.array([[2.0, -1.0], [0.5, 3.0]], dtype=np.float32)
    factors = np.array([0.5, 2.0])
    np.testing.assert_array_equal(dac(logits, factors), [[1.0, -2.0], [0.25, 6.0]])
    np.testing.assert_array_equal(dac(logits, factors, centre=-2.0), [[0.0, 0.0], [-0.75, 8.0]])
    assert dac(logits, factors).dtype == np.float64


def test_each_row_is_scaled_by_its_most_probable_class():
    logits = np.array([[2.0, -1.0], [0.5, 3.0], [-4.0, -6.0]], dtype=np.float32)
    factors = np.array([0.5, 2.0])
    np.testing.assert_array_equal(
        dac_top1(logits, factors), [[1.0, -0.5], [1.0, 6.0], [-2.0, -3.0]]
    )
    assert dac_top1(logits, factors).dtype == np.float64


def test_bad_texts_are_refused_in_one_sentence():
    before, after = texts()
    with pytest.raises(BadConfig, match="with 5 base classes, but there are 4; set k to 4"):
        dac_factors(before, after, np.arange(CLASSES) < 4)
    with pytest.raises(BadConfig, match="there are none"):
        dac_factors(before, after, np.zeros(CLASSES, dtype=bool))
    with pytest.raises(BadConfig, match="at least 1 neighbour, but k is 0"):
        dac_factors(before, after, BASE, k=0)
    after[2] = 0
    with pytest.raises(BadData, match="must not be 0, but number 2 is"):
        dac_factors(before, after, BASE)
