"""The predictions file: it comes back as it went in, and nothing broken comes in."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccr_diag.arrays import ProbabilityMap
from ccr_diag.errors import BadPredictions
from ccr_diag.predictions import Predictions, load_predictions

FIELDS = ("class_names", "groups", "map", "image_ids", "provenance")


def predictions(**changes):
    fields = {
        "scores": np.array([[0.1, -0.2], [0.3, 1.0], [0.25, 0.0]], dtype=np.float32),
        "labels": np.array([[1, 0], [-1, 1], [0, 0]], dtype=np.int8),
        "class_names": ("dog", "Zürich 🐱"),
        "groups": ("head", "new"),
        "map": ProbabilityMap(100.0, -25.5, "prior"),
        "image_ids": ("a", "b", "c"),
        "provenance": {"model": "BCE", "seed": 1, "nested": {"x": [1.5, None]}},
    }
    return Predictions(**(fields | changes))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out" / "predictions.npz"


@pytest.fixture
def rewrite(path):
    """Save good predictions, then replace or drop (None) arrays of the file."""

    def change(**arrays):
        predictions().save(path)
        with np.load(path) as archive:
            content = dict(archive) | arrays
        np.savez(path, **{key: value for key, value in content.items() if value is not None})

    return change


def assert_same(one, other):
    np.testing.assert_array_equal(one.scores, other.scores)
    np.testing.assert_array_equal(one.labels, other.labels)
    assert one.scores.dtype == other.scores.dtype
    for field in FIELDS:
        assert getattr(one, field) == getattr(other, field)


def test_a_file_comes_back_as_it_went_in(path):
    predictions().save(path)
    assert_same(load_predictions(path), predictions())
    assert [file.name for file in path.parent.iterdir()] == ["predictions.npz"]


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\0", codec="utf-8")),
        min_size=2,
        max_size=2,
        unique=True,
    ),
    st.dictionaries(st.text(), st.integers() | st.text() | st.none()),
)
def test_any_names_and_provenance_survive(tmp_path_factory, names, extra):
    path = tmp_path_factory.mktemp("names") / "p.npz"
    original = predictions(class_names=tuple(names), provenance=extra | {"model": "m"})
    original.save(path)
    assert_same(load_predictions(path), original)


def test_saving_over_a_file_replaces_it_whole(path):
    predictions().save(path)
    predictions(provenance={"model": "CCR"}).save(path)
    assert load_predictions(path).provenance == {"model": "CCR"}


def test_a_name_without_suffix_is_kept(tmp_path):
    predictions().save(tmp_path / "plain")
    assert_same(load_predictions(tmp_path / "plain"), predictions())


def test_probabilities_follow_the_map():
    p = predictions().with_map(ProbabilityMap(2.0, 0.0, "none"))
    np.testing.assert_allclose(p.probabilities, 1 / (1 + np.exp(-2.0 * p.scores.astype(float))))
    assert p.map.rule == "none"
    assert_same(p.with_map(predictions().map), predictions())


def test_other_number_types_are_taken_in(rewrite, path):
    good = predictions()
    rewrite(scores=good.scores.astype(np.float64), labels=good.labels.astype(np.int64))
    assert_same(load_predictions(path), good)


SHAPE = np.zeros((3, 2), dtype=np.float32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"scores": SHAPE.astype(np.float64)},
            "Scores must be float32, but got float64; convert them.",
        ),
        (
            {"scores": SHAPE[:0]},
            "Scores must have shape (images, classes), neither 0, but got (0, 2).",
        ),
        (
            {"labels": np.zeros((2, 2), dtype=np.int8)},
            "Labels must have the shape (3, 2) of the scores, but got (2, 2).",
        ),
        (
            {"class_names": ("dog",)},
            "Scores of shape (3, 2) need 2 class_names, but 1 came; check their number and order.",
        ),
        (
            {"groups": ("head", "new", "new")},
            "Scores of shape (3, 2) need 2 groups, but 3 came; check their number and order.",
        ),
        (
            {"image_ids": ("a", "b")},
            "Scores of shape (3, 2) need 3 image_ids, but 2 came; check their number and order.",
        ),
        (
            {"class_names": ("dog", "dog")},
            "Class names must be unique, but 'dog' comes 2 times; rename all but one.",
        ),
        (
            {"image_ids": ("a", "b", "a")},
            "Image ids must be unique, but 'a' comes 2 times; rename all but one.",
        ),
        (
            {"groups": ("head", "novel")},
            "Each group must be one of head, medium, tail, new, but got 'novel'.",
        ),
        (
            {"scores": np.array([[np.nan, np.inf], [0, 0], [0, 0]], dtype=np.float32)},
            "Scores must be finite, but 2 are NaN or infinite; leave those images out.",
        ),
        (
            {"scores": SHAPE + np.float32(1.002)},
            "Scores must be cosines in [-1, 1], but they span [1.002, 1.002]; "
            "divide logits by their scale and put it into the probability map.",
        ),
        (
            {"scores": SHAPE - np.float32(1.002)},
            "Scores must be cosines in [-1, 1], but they span [-1.002, -1.002]; "
            "divide logits by their scale and put it into the probability map.",
        ),
        (
            {"labels": np.full((3, 2), 2, dtype=np.int8)},
            "Labels must be 1 (present), 0 (absent) or -1 (unknown), but got 2; recode them.",
        ),
        (
            {"provenance": {"seed": 1}},
            "The provenance must name its 'model' in text; add that key.",
        ),
    ],
)
def test_broken_rules_are_named(changes, message):
    with pytest.raises(BadPredictions) as caught:
        predictions(**changes)
    assert str(caught.value) == message


def test_half_precision_cosines_just_outside_are_fine():
    assert predictions(scores=SHAPE + np.float32(1.0005)).scores.max() > 1


@pytest.mark.parametrize("key", ["schema", "scores", "map", "image_ids"])
def test_a_missing_key_is_named(rewrite, path, key):
    rewrite(**{key: None})
    with pytest.raises(BadPredictions, match=f"^{path} lacks {key}; a predictions file holds"):
        load_predictions(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"schema": np.array(2)}, "must have schema 1, but has 2; read it with the version"),
        ({"scores": np.zeros((3, 2), int)}, "Scores must be floating-point cosines, but got int64"),
        ({"scores": np.full((3, 2), 1e300)}, "Scores must be finite, but 6 are"),
        ({"scores": np.zeros((2, 2))}, r"Labels must have the shape \(2, 2\) of the scores"),
        ({"scores": np.zeros(3)}, r"Scores must have shape \(images, classes\)"),
        ({"labels": np.full((3, 2), 257)}, r"Labels must be 1 \(present\).* but got 257"),
        ({"labels": np.full((3, 2), np.nan)}, r"Labels must be 1 \(present\).* but got nan"),
        ({"labels": np.full((3, 2), "1")}, "Labels must be numbers, but got <U1"),
        ({"class_names": np.array([b"x", b"y"])}, "class_names must be a text array of one axis"),
        (
            {"class_names": np.array(["x", "x"])},
            "Class names must be unique, but 'x' comes 2 times",
        ),
        ({"map": np.array("{")}, "map must be JSON, but it is not"),
        ({"map": np.array("[1]")}, r"map must be a JSON object, but got \[1\]"),
        ({"map": np.array("{}")}, "map must hold a valid scale, bias and rule, but got {}"),
        (
            {"map": np.array(json.dumps({"scale": -1, "bias": 0, "rule": "none"}))},
            "map must hold a valid scale, bias and rule.*finite scale above 0",
        ),
        ({"provenance": np.array("{}")}, "The provenance must name its 'model'"),
    ],
)
def test_a_broken_file_is_refused_by_name(rewrite, path, arrays, message):
    rewrite(**arrays)
    with pytest.raises(BadPredictions, match=f"^{path}:? .*{message}"):
        load_predictions(path)


class Trap:
    """Unpickling this would leave a mark."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


def test_pickled_arrays_are_refused_unopened(rewrite, path):
    rewrite(class_names=np.array([Trap(), Trap()], dtype=object))
    with pytest.raises(BadPredictions, match="is damaged or holds pickled objects"):
        load_predictions(path)


def test_a_plain_pickle_is_refused_unopened(path):
    path.parent.mkdir()
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(BadPredictions, match=r"must be an \.npz archive"):
        load_predictions(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for nothing in (tmp_path / "no.npz", tmp_path):
        with pytest.raises(BadPredictions, match=f"^There is no predictions file at {nothing}; "):
            load_predictions(nothing)


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b"x" * 99])
def test_a_file_that_is_no_archive_is_refused(path, damage):
    predictions().save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BadPredictions, match=r"must be an \.npz archive, but is something else"):
        load_predictions(path)


def test_a_flipped_bit_is_noticed(path):
    good = predictions()
    good.save(path)
    content = path.read_bytes()
    where = content.index(good.scores.tobytes())
    path.write_bytes(content[:where] + b"\xff" + content[where + 1 :])
    with pytest.raises(BadPredictions, match="is damaged"):
        load_predictions(path)


def test_a_failed_save_keeps_the_old_file(path, monkeypatch):
    predictions().save(path)
    monkeypatch.setattr(np, "savez", lambda file, **_: file.write(b"half") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        replace(predictions(), provenance={"model": "new"}).save(path)
    assert load_predictions(path).provenance["model"] == "BCE"
    assert len(list(path.parent.iterdir())) == 1
