import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccr_diag.config import FinetuneConfig
from ccr_diag.data import load_dataset
from ccr_diag.data.fewshot import k_shot
from ccr_diag.data.groups import class_counts
from ccr_diag.errors import BadConfig
from ccr_diag.run_data import run_dataset


def long_tailed(seed=0, images=400, classes=12):
    rng = np.random.default_rng(seed)
    share = 0.5 * np.arange(1, classes + 1) ** -1.6
    labels = (rng.random((images, classes)) < share).astype(np.int8)
    labels[rng.random((images, classes)) < 0.1] = -1
    return labels


@pytest.mark.parametrize("k", [1, 4, 16, 1000])
def test_every_class_gets_k_or_all_it_has(k):
    labels = long_tailed()
    got, available = class_counts(labels[k_shot(labels, k, seed=1)]), class_counts(labels)
    assert available.min() < 16 < available.max()
    assert (got >= np.minimum(k, available)).all()
    assert (got <= available).all()


@given(st.integers(0, 10_000), st.integers(1, 20), st.integers(1, 8), st.integers(1, 30))
def test_guarantee_on_any_labels(seed, k, classes, images):
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, 2, (images, classes)).astype(np.int8)
    rows = k_shot(labels, k, seed)
    assert (class_counts(labels[rows]) >= np.minimum(k, class_counts(labels))).all()
    assert len(rows) <= k * classes
    assert (np.diff(rows) > 0).all()
    assert (labels[rows] == 1).any(axis=1).all()  # no image without a use


def test_same_seed_same_rows_and_other_seeds_other_rows():
    labels = long_tailed()
    first = k_shot(labels, 4, seed=3)
    np.testing.assert_array_equal(first, k_shot(labels, 4, seed=3))
    sets = {tuple(k_shot(labels, 4, seed=s)) for s in range(5)}
    assert len(sets) == 5


def test_the_rarest_class_is_served_first():
    # Class 1 stands only beside class 0: served first, its images are all that class 0 needs.
    labels = np.zeros((100, 2), dtype=np.int8)
    labels[:, 0] = 1
    labels[40:44, 1] = 1
    for seed in range(10):
        assert k_shot(labels, 4, seed).tolist() == [40, 41, 42, 43]


def test_images_are_drawn_evenly():
    labels = np.ones((20, 1), dtype=np.int8)
    times = sum(np.bincount(k_shot(labels, 5, seed), minlength=20) for seed in range(400))
    assert times.sum() == 2000
    assert abs(times - 100).max() < 40  # 4.6 standard deviations


def test_images_without_a_base_class_are_left_out():
    labels = np.array([[0, 0], [1, 0], [-1, 0], [0, 1]], dtype=np.int8)
    assert k_shot(labels, 16, seed=0).tolist() == [1, 3]
    assert k_shot(labels[[0, 2]], 16, seed=0).tolist() == []


def test_sixteen_shots_of_the_embedded_scenes():
    train = load_dataset("scenes", "train")
    base = train.labels[:, ~train.new]
    rows = k_shot(base, 16, seed=1)
    counts = class_counts(base[rows])
    assert (counts >= np.minimum(16, class_counts(base))).all()
    assert len(rows) == 524
    np.testing.assert_array_equal(train.subset(rows).labels, train.labels[rows])  # all labels kept


@pytest.mark.parametrize("class_split", ["", "first-half"])
def test_five_splits_of_the_embedded_scenes(class_split):
    config = FinetuneConfig(class_split=class_split)
    data = {split: run_dataset(config, split) for split in ("train", "calibration", "test")}
    train, held_out = data["train"], (data["calibration"], data["test"])
    base, held_ids = train.labels[:, ~train.new], {i for other in held_out for i in other.image_ids}
    available = class_counts(base)
    for k in (1, 2, 4, 8, 16, 10_000):
        splits = [k_shot(base, k, seed) for seed in range(1, 6)]
        for seed, rows in enumerate(splits, start=1):
            np.testing.assert_array_equal(rows, k_shot(base, k, seed))
            assert (class_counts(base[rows]) >= np.minimum(k, available)).all()
            assert held_ids.isdisjoint(train.subset(rows).image_ids)
        whole = k >= available.max()
        assert len({rows.tobytes() for rows in splits}) == (1 if whole else 5)
        if k <= 4:  # other images, not the same ones but for a few
            first, second = map(set, splits[:2])
            assert len(first & second) < 0.3 * len(first)
    shows_base = np.flatnonzero((base == 1).any(axis=1))
    np.testing.assert_array_equal(splits[0], shows_base)  # of the last k, which is all there are
    keys = {other.digest(i) for other in held_out for i in range(len(other))}
    assert keys.isdisjoint(train.digest(i) for i in range(len(train)))


def test_k_below_one():
    with pytest.raises(BadConfig) as error:
        k_shot(long_tailed(), 0, seed=1)
    assert str(error.value) == "A few-shot set needs k of at least 1 image a class, but got 0."
