"""What is understood of a data set, and what is found to be wrong with it."""

import numpy as np
import pytest
from test_dataset import dataset

from ccr_diag.data.class_names import name_problems
from ccr_diag.data.content import content_of
from ccr_diag.data.summary import as_dict, class_rows, notes, summarize, tables
from ccr_diag.errors import BadData
from ccr_diag.report_layout import as_json


def split(name, ids="abcd", **changes):
    """Some rows of the toy data set as a split."""
    labels = dataset().labels[[ord(i) % 4 for i in ids]]
    return dataset(split=name, image_ids=tuple(ids), labels=labels, **changes)


def problems(*splits, unread=(), contents=(), too_long=()):
    by_name = {data.split: data for data in splits}
    found = summarize("toy", by_name, dict(unread), dict(contents), too_long)
    return [(problem.text, problem.stops) for problem in found.problems]


def keyed(*keys):
    """A way to know images by these keys; None for one that cannot be read."""

    def digest(i):
        if keys[i] is None:
            raise BadData(f"Image {i} cannot be read (it is empty); replace it.")
        return keys[i]

    return digest


def test_counts_are_those_of_the_labels():
    train, test = dataset(split="train"), split("test", "xy")
    summary = summarize("toy", {"train": train, "test": test}, {}, {})
    said = as_dict(summary)
    for c, facts in enumerate(said["classes"]):
        assert facts["name"] == facts["id"] == train.class_names[c]
        for data in (train, test):
            column = data.labels[:, c].tolist()
            expected = {"present": column.count(1), "absent": column.count(0)}
            assert facts["counts"][data.split] == expected | {"unknown": column.count(-1)}
    assert [facts["group"] for facts in said["classes"]] == ["tail", "new", "tail"]
    first = said["splits"][0]
    assert (first["images"], first["classes"], first["new"]) == (4, 3, 1)
    assert (first["present"], first["absent"], first["unknown"]) == (6, 5, 1)
    assert (first["present_per_image"], first["without_present"]) == (1.5, 1)
    assert first["unreadable"] is None  # images were not opened
    assert said["usable"]
    assert as_json(said)
    rows = class_rows(summary)
    assert rows[0] == ["train", "cat", "cat", "cat", "tail", 2, 2, 0]
    assert len(rows) == 6


def test_groups_are_those_of_the_training_split():
    labels = np.ones((150, 3), dtype=np.int8)
    labels[30:, 1:] = 0
    ids = tuple(map(str, range(150)))
    many = dataset(split="train2017", labels=labels, image_ids=ids, new=np.zeros(3, dtype=bool))
    few = dataset(split="val2017")
    found = summarize("toy", {"v": few, "train2017": many}, {}, {}).groups
    assert found == {"cat": "head", "dog": "medium", "horse": "medium"}
    assert summarize("toy", {"val2017": few}, {}, {}).groups == {}
    known = as_dict(summarize("toy", {"val2017": few}, {}, {}))["classes"]
    assert [facts["group"] for facts in known] == [None, "new", None]


def test_images_in_two_splits_are_told_but_not_of_splits_made_of_others():
    assert problems(split("train", "ab"), split("test", "bcd"))[0] == (
        "1 image of test is also in train: b.",
        False,
    )
    train, val, both = split("train", "ab"), split("val", "cd"), split("trainval", "abcd")
    texts = [text for text, _ in problems(train, val, both)]
    assert not [text for text in texts if "also" in text]
    # Without val, trainval is not known to be made of others.
    texts = [text for text, _ in problems(train, both)]
    assert "2 images of trainval are also in train: a, b." in texts
    five = split("big", "abcdefg"), split("small", "fabcdexyz")
    assert problems(*five)[0][0] == "6 images of small are also in big: f, a, b, …."


def test_same_content_is_told_within_and_across_splits():
    train = split("train", "abc", digest=keyed("1", "2", "1"))
    test = split("test", "xyb", digest=keyed("9", "2", "2"))
    contents = {"train": content_of(train), "test": content_of(test)}
    texts = [text for text, _ in problems(train, test, contents=contents)]
    assert texts[:4] == [
        "1 image of test is also in train: b.",
        "1 image of train is there before, with the same content: c.",
        "1 image of test is there before, with the same content: b.",
        "1 image of test is also in train, by other names: y.",
    ]
    summary = summarize("toy", {"train": train, "test": test}, {}, contents)
    assert [
        [(it["split"], it["image"]) for it in same] for same in as_dict(summary)["same_content"]
    ] == [[("train", "a"), ("train", "c")], [("train", "b"), ("test", "y"), ("test", "b")]]


def test_what_cannot_be_opened_stops_a_run_and_comes_first():
    train = split("train", "abc", digest=keyed("1", None, "1"))
    told = []
    content = content_of(train, lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]
    found = problems(train, contents={"train": content}, unread={"val": "There is no val."})
    assert found[:2] == [
        ("There is no val.", True),
        (
            "1 of 3 images of train cannot be opened: b (Image 1 cannot be read (it is empty); "
            "replace it.)",
            True,
        ),
    ]
    assert found[2][0].startswith("1 image of train is there before")
    summary = summarize("toy", {"train": train}, {}, {"train": content})
    assert not summary.usable
    assert summary.verdict == ("Not usable as it is: 2 problems, 1 to be mended before any run.")
    assert as_dict(summary)["splits"][0]["unreadable"].keys() == {"b"}


def test_splits_have_the_same_classes():
    train, test = split("train"), split("test", "wxyz", class_names=("cat", "dog", "cow"))
    found = problems(train, test)
    assert found[0] == ("Splits train and test have not the same classes: cow, horse.", True)
    turned = test.in_order(("cow", "cat", "dog"))
    same = split("train", class_names=("cat", "dog", "cow"))
    assert problems(same, turned)[0] == (
        "Splits train and test have the same classes in another order.", True,
    )  # fmt: skip
    assert len(class_rows(summarize("toy", {"train": train, "test": test}, {}, {}))) == 5
    assert any(
        "–" in row for row in tables(summarize("toy", {"a": train, "b": test}, {}, {}))[1][2]
    )


def test_classes_that_nothing_shows_and_names_too_long():
    empty = dataset(labels=np.zeros((4, 3), dtype=np.int8))
    assert problems(empty, too_long=["horse"]) == [
        ("Class 'horse' is too long for the text tower's prompt.", True),
        ("3 classes of 3 are in no image of test: cat, dog, horse.", False),
    ]


def test_positives_alone_are_a_problem():
    """As ``--unlisted unknown`` leaves them."""
    labels = np.where(dataset().labels == 1, 1, -1).astype(np.int8)
    assert problems(dataset(labels=labels)) == [
        ("No class is known to be absent from any image of test.", False)
    ]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("cat", "dog", "hot dog"), []),
        (("hot dog", "hot_dog"), ["Classes have the same prompt: 'hot dog' and 'hot_dog'."]),
        (
            ("Cat", "dog", "cat", "CAT"),
            [
                "Classes differ only in upper and lower case or in spaces: 'Cat' and 'cat' and "
                "'CAT'."
            ],
        ),
        (
            ("STRASSE", "straße", "hot  dog", "Hot_dog"),
            [
                "Classes differ only in upper and lower case or in spaces: 'STRASSE' and 'straße'; "
                "'hot  dog' and 'Hot_dog'.",
            ],
        ),
        (
            [f"{i}{between}x" for i in range(4) for between in " _"],
            [
                "Classes have the same prompt: '0 x' and '0_x'; '1 x' and '1_x'; '2 x' and '2_x'; "
                "and so on, 4 times."
            ],
        ),
        ((" ", "cat"), ["A class has an empty name, ' ', which no prompt can say."]),
    ],
)
def test_class_names(names, expected):
    assert list(name_problems(names)) == expected


def test_notes_stand_once_with_their_splits():
    train, test = split("train", notes=("a", "b")), split("test", notes=("b",))
    assert notes([train, test]) == ["train: a", "train, test: b"]


def test_columns_that_repeat_the_names_are_left_out():
    _, header, rows = tables(summarize("toy", {"test": dataset(new=np.zeros(3, bool))}, {}, {}))[1]
    assert header == ["class", "test +", "test -", "test ?"]
    assert rows[0] == ["cat", "2", "2", "0"]
    keyed_classes = dataset(class_ids=("17", "18", "19"), class_names=("cat", "hot_dog", "horse"))
    _, header, rows = tables(summarize("toy", {"test": keyed_classes}, {}, {}))[1]
    assert header[:4] == ["class", "id", "prompt", "group"]
    assert rows[1][:4] == ["hot_dog", "18", "hot dog", "new"]
    known = dataset(labels=np.ones((4, 3), dtype=np.int8), split="b")
    header = tables(summarize("toy", {"test": dataset(), "b": known}, {}, {}))[1][1]
    assert header == ["class", "group", "test +", "test -", "test ?", "b +", "b -"]


def test_of_many_classes_the_ends_are_shown():
    labels = (np.arange(9)[:, None] < [5, 0, 9, 3, 5, 1]).astype(np.int8)
    data = dataset(
        split="train",
        image_ids=tuple("abcdefghi"),
        labels=labels,
        class_names=tuple("uvwxyz"),
        new=np.zeros(6, dtype=bool),
    )
    val = dataset(
        split="val",
        class_names=tuple("uvwxyz"),
        labels=np.ones((4, 6), np.int8),
        new=np.zeros(6, dtype=bool),
    )
    summary = summarize("toy", {"val": val, "train": data}, {}, {})
    title, _, rows = tables(summary, 2)[1]
    assert title.endswith(": the 2 that are most and the 2 that are least often present in train")
    assert [row[0] for row in rows] == ["w", "u", "z", "v"]
    assert [row[0] for row in tables(summary, 3)[1][2]] == list("uvwxyz")
    assert tables(summary, 3) == tables(summary)


def test_sizes_of_groups_are_told():
    labels = (np.arange(100)[:, None] < [100, 99, 20, 19, 0]).astype(np.int8)
    data = dataset(
        split="train",
        image_ids=tuple(map(str, range(100))),
        labels=labels,
        class_names=tuple("abcde"),
        new=np.zeros(5, dtype=bool),
    )
    summary = summarize("toy", {"train": data}, {}, {})
    assert as_dict(summary)["groups"] == {"head": 1, "medium": 2, "tail": 2, "new": 0}
    title = tables(summary)[0][0]
    assert title == "toy: 5 classes: 1 head, 2 medium, 2 tail, by their images in train"
    assert (
        tables(summarize("toy", {"val": dataset()}, {}, {}))[0][0]
        == "toy: 3 classes, 1 of them new"
    )
    assert as_dict(summarize("toy", {"val": dataset()}, {}, {}))["groups"] == {}
