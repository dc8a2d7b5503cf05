"""The predictions file: it comes back as it went in, and nothing broken comes in."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccr_diag.arrays import ProbabilityMap
from ccr_diag.errors import BadConfig, BadPredictions
from ccr_diag.predictions import Predictions
from ccr_diag.readers.own import load_predictions

FIELDS = ("class_names", "groups", "map", "image_ids", "provenance", "kind")


def predictions(**changes):
    fields = {
        "values": np.array([[0.1, -0.2], [0.3, 1.0], [0.25, 0.0]], dtype=np.float32),
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
    for array in ("values", "labels", "class_counts", "proximity"):
        np.testing.assert_array_equal(getattr(one, array), getattr(other, array), strict=True)
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
    np.testing.assert_allclose(p.probabilities, 1 / (1 + np.exp(-2.0 * p.values.astype(float))))
    assert p.map.rule == "none"
    assert_same(p.with_map(predictions().map), predictions())


def test_other_number_types_are_taken_in(rewrite, path):
    good = predictions()
    rewrite(scores=good.values.astype(np.float64), labels=good.labels.astype(np.int64))
    assert_same(load_predictions(path), good)


SHAPE = np.zeros((3, 2), dtype=np.float32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"values": SHAPE.astype(np.float64)},
            "Scores must be float32, but got float64; convert them.",
        ),
        (
            {"values": SHAPE[:0]},
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
            {"values": np.array([[np.nan, np.inf], [0, 0], [0, 0]], dtype=np.float32)},
            "Scores must be finite, but 2 are NaN or infinite, the first at row 0 ('a'), "
            "class 'dog'; leave those images out.",
        ),
        (
            {"values": SHAPE + np.float32(1.002)},
            "Scores must lie in [-1, 1], but 6 do not, the first at row 0 ('a'), class 'dog': they "
            "span [1.002, 1.002]; if they are logits, declare --logits, with the scale and "
            "bias that go with them.",
        ),
        (
            {"values": SHAPE - np.float32(1.002)},
            "Scores must lie in [-1, 1], but 6 do not, the first at row 0 ('a'), class 'dog': they "
            "span [-1.002, -1.002]; if they are logits, declare --logits, with the scale and "
            "bias that go with them.",
        ),
        (
            {"labels": np.full((3, 2), 2, dtype=np.int8)},
            "Labels must be 1 (present), 0 (absent) or -1 (unknown), but 6 are not, the first at "
            "row 0 ('a'), class 'dog': 2; recode them.",
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


def of_kind(kind, values, **changes):
    """Predictions of another kind than cosines."""
    if kind == "probs":
        changes = {"map": None} | changes
    return predictions(kind=kind, values=values, **changes)


P = np.array([[0.0, 0.25], [1.0, 0.5], [0.75, 0.125]])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_probabilities_are_kept_as_they_are(path, dtype):
    given = of_kind("probs", P.astype(dtype), class_counts=np.array([7, 0]), proximity=P[:, 0])
    given.save(path)
    with np.load(path) as archive:
        assert {"probs", "class_counts", "proximity"} <= set(archive)
        assert not {"scores", "map"} & set(archive)
    for found in (load_predictions(path), load_predictions(path, mmap=True)):
        assert_same(found, given)
        np.testing.assert_array_equal(found.probabilities, P.astype(dtype), strict=True)
        np.testing.assert_array_equal(found.ranking[:], P.astype(dtype), strict=True)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_logits_go_through_their_map(path, dtype):
    logits = (20 * P - 10).astype(dtype)
    of_kind("logits", logits, map=ProbabilityMap(2.0, 1.0, "given"), groups=()).save(path)
    found = load_predictions(path)
    expected = 1 / (1 + np.exp(-(2 * logits.astype(np.float64) + 1)))
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-15)
    np.testing.assert_array_equal(found.ranking[:], logits, strict=True)
    assert found.groups == ()


def test_a_source_gives_any_slice_of_the_probabilities():
    some = predictions()
    source, whole = some.probability_source, some.probabilities
    assert (source.shape, source.dtype) == (whole.shape, np.float64)
    for index in (slice(1, 3), (slice(None), 1), (slice(0, 2), [1, 0]), np.array([2, 0])):
        np.testing.assert_array_equal(source[index], whole[index], strict=True)
    plain = of_kind("probs", P)
    assert plain.probability_source is plain.values


@pytest.mark.parametrize("change", [np.asfortranarray, lambda p: p.astype(">f4")])
def test_a_source_hides_how_an_array_is_stored(change):
    p = P.astype(np.float32)
    for source in (
        of_kind("probs", change(p)).probability_source,
        of_kind("probs", change(p)).ranking,
    ):
        assert source.dtype.isnative
        block = source[1:]
        assert block.flags.c_contiguous
        assert block.dtype.isnative
        np.testing.assert_array_equal(block, p[1:], strict=True)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("odds", P, "The kind must be one of scores, logits, probs, but got 'odds'."),
        (
            "probs",
            P - 0.5,
            "Probabilities must lie in [0, 1], but 3 do not, the first at row 0 ('a'), class "
            "'dog': they span [-0.5, 0.5]; they look like cosines: declare --scores, or --logits, "
            "and their map.",
        ),
        (
            "probs",
            9 * P,
            "Probabilities must lie in [0, 1], but 5 do not, the first at row 0 ('a'), class "
            "'Zürich 🐱': they span [0, 9]; if they are logits, declare --logits.",
        ),
        ("logits", np.full_like(P, np.inf), "Logits must be finite, but 6 are NaN or infinite"),
    ],
)
def test_other_kinds_have_their_own_rules(kind, values, message):
    with pytest.raises(BadPredictions) as caught:
        of_kind(kind, values)
    assert message in str(caught.value)


def test_only_probabilities_have_no_map():
    with pytest.raises(BadPredictions, match="^Probabilities take no probability map, but"):
        of_kind("probs", P, map=predictions().map)
    with pytest.raises(BadPredictions, match="^Logits take a probability map, but the map is None"):
        of_kind("logits", P, map=None)
    with pytest.raises(BadConfig, match="^A scale or bias needs scores or logits"):
        of_kind("probs", P).with_map(predictions().map)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_counts": np.array([1])}, "need 2 class_counts, but 1 came"),
        ({"class_counts": np.array([1, -1])}, "class_counts must be 0 or more, but got -1"),
        ({"proximity": np.zeros(2)}, "need 3 proximity, but 2 came"),
        ({"proximity": np.full(3, np.nan)}, "proximity must be finite"),
    ],
)
def test_what_is_optional_has_rules_too(changes, message):
    with pytest.raises(BadPredictions, match=message):
        predictions(**changes)


def test_faults_are_counted_and_placed_across_blocks(monkeypatch):
    monkeypatch.setattr("ccr_diag.checks.BLOCK_ENTRIES", 3)
    values = np.full((7, 2), 0.5)
    values[4, 1] = values[6, 0] = np.nan
    names = {"image_ids": (), "labels": np.zeros((7, 2), np.int8)}
    with pytest.raises(BadPredictions, match="but 2 are NaN .* first at row 4, class 'Zürich 🐱'"):
        of_kind("probs", values, **names)
    labels = np.zeros((7, 2), np.int8)
    labels[5] = 3
    with pytest.raises(BadPredictions, match="but 2 are not, the first at row 5, class 'dog': 3"):
        of_kind("probs", np.full((7, 2), 0.5), **names | {"labels": labels})


def test_half_precision_cosines_just_outside_are_fine():
    assert predictions(values=SHAPE + np.float32(1.0005)).values.max() > 1


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("schema", "schema"),
        ("scores", "scores or logits or probs"),
        ("map", "map"),
        ("image_ids", "image_ids"),
    ],
)
def test_a_missing_key_is_named(rewrite, path, key, named):
    rewrite(**{key: None})
    with pytest.raises(BadPredictions, match=f"^{path} lacks {named}; a predictions file holds"):
        load_predictions(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"schema": np.array(2)}, "must have schema 1, but has 2; read it with the version"),
        ({"scores": np.zeros((3, 2), int)}, "Scores must be floating-point .*, but got int64"),
        ({"scores": np.full((3, 2), 1e300)}, "Scores must be finite, but 6 are"),
        ({"scores": np.zeros((2, 2))}, r"Labels must have the shape \(2, 2\) of the scores"),
        ({"scores": np.zeros(3)}, r"Scores must have shape \(images, classes\)"),
        ({"labels": np.full((3, 2), 257)}, r"Labels must be 1 \(present\).* class 'dog': 257"),
        ({"labels": np.full((3, 2), np.nan)}, r"Labels must be 1 \(present\).* class 'dog': nan"),
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
        with pytest.raises(BadPredictions, match=f"^There is no file at {nothing}; "):
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
    where = content.index(good.values.tobytes())
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
