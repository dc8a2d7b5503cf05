import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.errors import BadData


def key(i):
    return f"key {i}"


def picture(i):
    return Image.new("RGB", (4, 4), (i, 0, 0))


def dataset(**changes):
    fields = {
        "name": "toy",
        "split": "test",
        "class_names": ("cat", "dog", "horse"),
        "new": np.array([False, True, False]),
        "labels": np.array([[1, 0, -1], [0, 1, 1], [0, 0, 0], [1, 1, 1]], dtype=np.int8),
        "image_ids": ("a", "b", "c", "d"),
        "digest": key,
        "open_image": picture,
    }
    return MultiLabelDataset(**(fields | changes))


@pytest.mark.parametrize("rows", [np.array([3, 1]), np.array([False, True, False, True])])
def test_subset_keeps_rows_together(rows):
    chosen = dataset().subset(rows)
    numbers = np.arange(4)[rows].tolist()
    assert len(chosen) == 2
    assert chosen.image_ids == tuple("abcd"[i] for i in numbers)
    np.testing.assert_array_equal(chosen.labels, dataset().labels[numbers])
    assert [chosen.digest(i) for i in range(2)] == [f"key {i}" for i in numbers]
    assert [chosen.open_image(i).getpixel((0, 0))[0] for i in range(2)] == numbers
    assert chosen.class_names == dataset().class_names


def test_captions_stay_with_their_images():
    assert dataset().captions is None
    assert dataset().subset(np.array([3, 1])).captions is None
    told = dataset(captions=("a cat", "", "nothing", "all"))
    assert told.subset(np.array([3, 1])).captions == ("all", "")
    assert told.subset(np.array([True, False, True, False])).captions == ("a cat", "nothing")
    assert told.with_new(["cat"]).captions == told.captions


def test_subset_of_a_subset_and_pickled():
    twice = pickle.loads(pickle.dumps(dataset().subset(np.array([3, 1, 0])).subset(np.array([2]))))
    assert (twice.image_ids, twice.digest(0)) == (("a",), "key 0")


def test_with_new_replaces_the_flags():
    marked = dataset().with_new(["horse", "cat"])
    assert marked.new.tolist() == [True, False, True]
    assert dataset().with_new([]).new.tolist() == [False] * 3


def test_in_order_moves_and_drops_classes():
    told = dataset(
        captions=("a", "b", "c", "d"), synonyms={"cat": ("kitten",), "horse": ("mare", "foal")}
    )
    moved = told.in_order(["dog", "cat"])
    assert moved.class_names == ("dog", "cat")
    assert (moved.new.tolist(), moved.new_names) == ([True, False], ("dog",))
    assert moved.labels.tolist() == [[0, 1], [1, 0], [0, 0], [1, 1]]
    assert moved.labels.flags.c_contiguous
    assert moved.synonyms == {"cat": ("kitten",)}
    assert (moved.captions, moved.image_ids) == (told.captions, told.image_ids)
    assert dataset().in_order(["dog", "cat"]).synonyms is None
    back = told.in_order(["horse", "dog", "cat"]).in_order(told.class_names)
    np.testing.assert_array_equal(back.labels, told.labels)


def test_in_order_needs_every_class():
    with pytest.raises(BadData) as error:
        dataset().in_order(["cat", "dogs", *"abcde"])
    assert str(error.value) == (
        "Data set toy must have the 7 classes of the run, by the same names, but lacks 6 (dogs, a, "
        "b, c, d, …); rename its classes, or use data that has them."
    )


def test_fields_cannot_be_changed():
    with pytest.raises(AttributeError):
        dataset().name = "other"
    assert replace(dataset(), name="other").name == "other"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["dogs"], "New classes must be classes of toy, but 'dogs' is none; did you mean 'dog'?"),
        (
            ["dog", "violin"],
            "New classes must be classes of toy, but 'violin' is none; known are cat, dog, horse.",
        ),
        (
            ["cat", "dog", "horse"],
            "At least one class of toy must stay a base class to tune on, but all 3 are named as "
            "new; name fewer.",
        ),
    ],
)
def test_bad_new_classes(names, message):
    with pytest.raises(BadData) as error:
        dataset().with_new(names)
    assert str(error.value) == message


def labels_with(value):
    return np.array([[1, 0, value]] * 4, dtype=np.int8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"labels": np.zeros((0, 3), dtype=np.int8), "image_ids": ()},
            "needs at least one image and one class, but has 0 images and 3 classes.",
        ),
        (
            {
                "labels": np.zeros((4, 0), dtype=np.int8),
                "class_names": (),
                "new": np.zeros(0, dtype=bool),
            },
            "needs at least one image and one class, but has 4 images and 0 classes.",
        ),
        (
            {"class_names": ("cat", "dog")},
            "needs one name and one new flag for each of its 3 label columns, but has 2 names and "
            "3 flags.",
        ),
        (
            {"image_ids": ("a", "b")},
            "needs one id for each of its 4 label rows, but has 2 ids.",
        ),
        (
            {"captions": ("a cat",)},
            "needs one caption for each of its 4 label rows, but has 1 captions.",
        ),
        (
            {"labels": labels_with(2)},
            "needs labels 1 (present), 0 (absent) or -1 (unknown), but holds 2.",
        ),
        (
            {"labels": labels_with(-2)},
            "needs labels 1 (present), 0 (absent) or -1 (unknown), but holds -2.",
        ),
        (
            {"class_names": ("cat", "dog", "cat")},
            "needs every class name once, but has 'cat' 2 times.",
        ),
        (
            {"image_ids": ("a", "b", "b", "b")},
            "needs every image id once, but has 'b' 3 times.",
        ),
    ],
)
def test_rules_at_birth(changes, message):
    with pytest.raises(BadData) as error:
        dataset(**changes)
    assert str(error.value) == f"Data set toy, split test {message}"


def test_adapters_are_named_in_one_dict():
    from ccr_diag.data import DATASETS, load_dataset

    assert {"scenes", "manifest", "coco", "coco-lt", "voc2007"} <= set(DATASETS)
    assert load_dataset("scenes:noto", "test").name == "scenes:noto"
    with pytest.raises(BadData, match="labels:x.csv"):  # a second colon belongs to the argument
        load_dataset(f"manifest:{Path('labels:x.csv')}", "test")
