"""Sums by row, slot and label equal those of a plain loop, also in replicates."""

import numpy as np
import pytest

from ccr_diag.metrics.accumulate import Accumulator


def case(dtype=np.float32, images=50, classes=4, replicates=3):
    rng = np.random.default_rng(0)
    p = rng.random((images, classes)).astype(dtype)
    y = rng.integers(-1, 2, p.shape).astype(np.int8)
    slot = rng.integers(0, 6, p.shape).astype(np.uint16)
    of_class, of_image = rng.integers(0, 2, classes), 2 * rng.integers(0, 3, images)
    weights = rng.poisson(1, (images, replicates)).astype(np.uint8)
    return p, y, slot, of_class, of_image, weights


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_match_a_loop(dtype):
    p, y, slot, of_class, of_image, weights = case(dtype)
    found = Accumulator(6, 6, 3)
    found.add(p, y, slot, of_class, of_image, weights)
    sums, drawn = np.zeros((6, 6, 2, 3)), np.zeros((6, 3, 6, 2, 2))
    for i in range(50):
        for c in range(4):
            if y[i, c] == -1:
                continue
            x, row = float(p[i, c]), of_class[c] + of_image[i]
            sums[row, slot[i, c], y[i, c]] += [1, x, x**2]
            for r in range(3):
                drawn[row, r, slot[i, c], y[i, c]] += [weights[i, r], weights[i, r] * x]
    np.testing.assert_allclose(found.sums, sums, rtol=1e-13)
    np.testing.assert_allclose(found.drawn, drawn, rtol=1e-13)


def test_rows_of_images_and_weights_may_be_left_out():
    p, y, slot, of_class, _, _ = case()
    found = Accumulator(2, 6)
    found.add(p, y, slot, of_class)
    assert found.sums[..., 0].sum() == (y != -1).sum()
    assert found.drawn.shape == (2, 0, 6, 2, 2)


def test_blocks_add_up():
    p, y, slot, of_class, of_image, weights = case()
    whole, parts = Accumulator(6, 6, 3), Accumulator(6, 6, 3)
    whole.add(p, y, slot, of_class, of_image, weights)
    for rows in (slice(30, 50), slice(0, 30)):
        parts.add(p[rows], y[rows], slot[rows], of_class, of_image[rows], weights[rows])
    np.testing.assert_allclose(parts.sums, whole.sums, rtol=1e-13)
    np.testing.assert_allclose(parts.drawn, whole.drawn, rtol=1e-13)


def test_a_replicate_that_draws_every_image_once_is_all_images():
    p, y, slot, of_class, of_image, _ = case()
    found = Accumulator(6, 6, 1)
    found.add(p, y, slot, of_class, of_image, np.ones((50, 1), np.uint8))
    np.testing.assert_allclose(found.drawn[:, 0], found.sums[..., :2], rtol=1e-13)


def test_the_largest_weight_is_not_cut():
    found = Accumulator(1, 1, 1)
    zeros = np.zeros((1, 1), np.uint16)
    one = np.ones((1, 1), np.int8)
    found.add(
        np.full((1, 1), 0.5),
        one,
        zeros,
        np.zeros(1, np.int64),
        None,
        np.full((1, 1), 255, np.uint8),
    )
    assert found.drawn.ravel().tolist() == [0, 0, 255, 127.5]
