"""Calibrators on predictions: what they are fitted on, what they may not see, what they refuse."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from ccr_diag.arrays import GIVEN, ProbabilityMap
from ccr_diag.calibrating import CHOICES, Choice, TextPair, calibrate, cross_calibrate
from ccr_diag.calibration_split import CALIBRATOR
from ccr_diag.calibrators.fitting import fold_of
from ccr_diag.errors import BadConfig, BadPredictions
from ccr_diag.predictions import Predictions
from ccr_diag.readers import read_predictions

NAMES = tuple("abcdef")
GROUPS = ("head", "head", "tail", "tail", "new", "new")
BASE, NEW = slice(0, 4), slice(4, 6)


def made(images, seed, name="test", **changed):
    """A model too sure of itself and too sure that classes are present; the truth is σ(z)."""
    rng = np.random.default_rng(seed)
    z = rng.normal(-1, 1, size=(images, 6))
    labels = (rng.uniform(size=z.shape) < expit(z)).astype(np.int8)
    fields = {
        "values": 3 * z + 2,
        "labels": labels,
        "class_names": NAMES,
        "groups": GROUPS,
        "map": ProbabilityMap(1.0, 0.0, GIVEN),
        "image_ids": tuple(f"{name} {i}" for i in range(images)),
        "provenance": {"model": "clip", "data": "drawings", "split": name},
        "kind": "logits",
    }
    return Predictions(**(fields | changed))


STILL = TextPair(NAMES, np.eye(6), np.eye(6))
"""Texts that tuning left where they were: all factors are 1."""


@pytest.fixture(scope="module")
def test():
    return made(120, 1)


@pytest.fixture(scope="module")
def calibration():
    return made(400, 2, "calibration")


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(3)
    before = rng.normal(size=(6, 8))
    return TextPair(NAMES, before, before + rng.normal(size=(6, 8)))


def moved(p, order):
    """The same predictions with their columns in another order."""
    return replace(
        p, values=p.values[:, order], labels=p.labels[:, order],
        class_names=tuple(p.class_names[i] for i in order),
        groups=tuple(p.groups[i] for i in order) if p.groups else (),
    )  # fmt: skip


def relabelled(p, rows, columns):
    """The opposite labels there."""
    labels = p.labels.copy()
    labels[rows, columns] = 1 - labels[rows, columns]
    return replace(p, labels=labels)


def test_a_line_is_the_one_that_scikit_learn_fits_to_the_base_classes(test, calibration):
    found = calibrate(test, calibration, Choice("temperature_bias"))
    base = calibration.values[:, BASE].reshape(-1, 1), calibration.labels[:, BASE].ravel()
    line = LogisticRegression(C=np.inf, tol=1e-10).fit(*base)
    expected = line.coef_[0, 0] * test.values + line.intercept_[0]
    np.testing.assert_allclose(found.values, expected, atol=1e-4)
    assert (found.kind, found.map) == ("logits", ProbabilityMap(1.0, 0.0, GIVEN))


def test_the_result_is_the_same_file_with_other_numbers(test, calibration):
    extra = {"class_counts": np.arange(6), "proximity": np.linspace(0, 1, 120)}
    source = replace(test, **extra)
    found = calibrate(source, calibration, Choice("platt", scope="group", unseen="shared"))
    for field in ("labels", "class_names", "groups", "image_ids", *extra):
        assert getattr(found, field) is getattr(source, field)
    assert found.provenance["model"] == "clip + platt, by group"
    assert found.provenance["split"] == "test"
    assert source.provenance == test.provenance  # the record is the result's alone


@pytest.mark.parametrize("method", ["platt", "isotonic"])
@pytest.mark.parametrize("scope", ["shared", "group", "class"])
def test_labels_of_new_classes_and_of_test_images_play_no_part(test, calibration, method, scope):
    choice = Choice(method, scope, "shared")
    found = calibrate(test, calibration, choice)
    for new in (relabelled(calibration, slice(None), NEW), replace(calibration)):
        assert np.array_equal(calibrate(test, new, choice).values, found.values)
    other = calibrate(relabelled(test, slice(None), BASE), calibration, choice)
    assert np.array_equal(other.values, found.values)
    base = calibrate(test, relabelled(calibration, slice(None), BASE), choice)
    assert not np.allclose(base.values, found.values)


@pytest.mark.parametrize("choice", [Choice("beta"), Choice("platt", "class", "keep", strength=1.0)])
def test_classes_of_the_two_files_are_matched_by_name(test, calibration, choice):
    found = calibrate(test, moved(calibration, [3, 5, 0, 1, 4, 2]), choice)
    np.testing.assert_allclose(found.values, calibrate(test, calibration, choice).values, rtol=1e-6)


def test_groups_hold_for_both_files(test, calibration):
    choice = Choice("bias", "group", "shared", strength=0.0)
    both = calibrate(test, calibration, choice)
    for a, b in [
        (replace(test, groups=()), calibration),
        (test, replace(calibration, groups=())),
        (replace(test, groups=()), moved(calibration, [3, 5, 0, 1, 4, 2])),
    ]:
        found = calibrate(a, b, choice)
        assert found.groups == GROUPS
        np.testing.assert_allclose(found.values, both.values, rtol=1e-6)


def test_scores_logits_and_probabilities_are_calibrated_alike(test, calibration):
    scores, logits, probs = (
        {"kind": "scores", "map": ProbabilityMap(20.0, 2.0, "prior")},
        {"kind": "logits", "map": ProbabilityMap(2.0, -1.0, GIVEN)},
        {"kind": "probs", "map": None},
    )
    found = []
    for as_ in (scores, logits, probs):
        pair = []
        for p in (test, calibration):
            z = p.values.clip(-10, 10)
            stored = expit(z) if as_["map"] is None else (z - as_["map"].bias) / as_["map"].scale
            type_ = np.float32 if as_ is scores else np.float64
            pair.append(replace(p, values=stored.astype(type_), **as_))
        found.append(calibrate(*pair, Choice("platt")).values)
    np.testing.assert_allclose(found[1], found[2], atol=1e-6)
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)


def test_probabilities_of_0_and_1_count_as_the_nearest_that_are_not(test, calibration):
    p = expit(calibration.values).astype(np.float32)
    p[0, :3] = [0, 1, 1e-9]
    as_probs = {"kind": "probs", "map": None}
    there = replace(calibration, values=p, **as_probs)
    here = replace(test, values=expit(test.values).astype(np.float32), **as_probs)
    record = calibrate(here, there, Choice("temperature")).provenance[CALIBRATOR]
    assert record["clipped"] == {"calibration": 3, "calibrated": 0}
    kept = cross_calibrate(there, Choice("dac_top1", k=3), STILL).values[0, :3]
    np.testing.assert_allclose(kept, logit([2.0**-24, 1 - 2.0**-24, 2.0**-24]), rtol=1e-6)


@pytest.mark.parametrize(("type_", "least"), [("float16", 2.0**-24), ("float64", 2.0**-53)])
def test_half_and_double_precision_keep_their_small_probabilities(type_, least):
    values = np.array([[least, 2 * least], [0.0, 0.5]], dtype=type_)
    p = Predictions(
        values, np.eye(2, dtype=np.int8), ("a", "b"), ("head", "new"), None, (), {"model": "m"},
        "probs",
    )  # fmt: skip
    pair = TextPair(("a", "b"), np.eye(2), np.eye(2))
    found = cross_calibrate(p, Choice("dac_top1", k=1, folds=2), pair)
    np.testing.assert_allclose(found.values, logit([[least, 2 * least], [least, 0.5]]))
    assert found.provenance[CALIBRATOR]["clipped"] == {"calibrated": 1}


class TestClassesNeverSeen:
    @pytest.mark.parametrize(("scope", "method"), [("group", "platt"), ("class", "histogram")])
    def test_are_refused_unless_told_otherwise(self, test, calibration, scope, method):
        message = f"{method} has never seen 2 \\('e', 'f'\\); --unseen shared"
        for call in (
            lambda choice: calibrate(test, calibration, choice),
            lambda choice: cross_calibrate(test, choice),
        ):
            with pytest.raises(BadConfig, match=message):
                call(Choice(method, scope))

    @pytest.mark.parametrize("scope", ["group", "class"])
    @pytest.mark.parametrize("method", ["platt", "beta", "isotonic"])
    def test_take_the_shared_map(self, test, calibration, scope, method):
        found = calibrate(test, calibration, Choice(method, scope, "shared", strength=0.0))
        shared = calibrate(test, calibration, Choice(method))
        np.testing.assert_allclose(found.values[:, NEW], shared.values[:, NEW], rtol=1e-9)
        assert not np.allclose(found.values[:, BASE], shared.values[:, BASE])
        said = {"classes": ["e", "f"], "map": "shared"}
        assert found.provenance[CALIBRATOR]["never_seen"] == said
        assert shared.provenance[CALIBRATOR]["never_seen"] == said

    @pytest.mark.parametrize("scope", ["shared", "group", "class"])
    def test_are_kept_as_they_are(self, test, calibration, scope):
        lines = calibrate(test, calibration, Choice("platt", scope, "keep"))
        assert np.array_equal(lines.values[:, NEW], test.values[:, NEW])
        steps = calibrate(test, calibration, Choice("isotonic", scope, "keep"))
        np.testing.assert_allclose(steps.values[:, NEW], expit(test.values[:, NEW]), rtol=1e-12)
        assert (steps.kind, steps.map) == ("probs", None)
        assert steps.provenance[CALIBRATOR]["never_seen"]["map"] == "none"

    @pytest.mark.parametrize(
        "call", [calibrate, lambda test, _, choice: cross_calibrate(test, choice)]
    )
    def test_are_refused_by_a_shared_map_too_if_told_so(self, test, calibration, call):
        with pytest.raises(BadConfig, match="A calibrator can only .* platt has never seen 2"):
            call(test, calibration, Choice("platt", unseen="refuse"))
        base = [replace(p, groups=()) for p in (test, calibration)]
        call(*base, Choice("platt", unseen="refuse"))

    def test_may_be_of_any_group(self, test, calibration):
        """A class of no known label has the map of its group; by class it was never seen."""
        labels = calibration.labels.copy()
        labels[:, 2] = -1
        there = replace(calibration, labels=labels)
        base = {"groups": ("head", "head", "tail", "tail", "tail", "tail")}
        here, there = replace(test, **base), replace(there, **base)
        with pytest.raises(BadConfig, match="never seen 1 \\('c'\\)"):
            calibrate(here, there, Choice("platt", "class"))
        found = calibrate(here, there, Choice("bias", "group", strength=0.0))
        shift = found.values - here.values
        np.testing.assert_allclose(shift[:, 2], shift[0, 3])
        assert "never_seen" not in found.provenance[CALIBRATOR]

    def test_groups_are_needed_for_a_scope_of_groups(self, test, calibration):
        with pytest.raises(BadConfig, match="needs groups, but neither file has them"):
            calibrate(replace(test, groups=()), replace(calibration, groups=()),
                      Choice("platt", "group"))  # fmt: skip


class TestCalibrationImagesThatAreTestImages:
    def test_are_known_by_their_ids(self, test, calibration):
        ids = ("test 7", "test 3", *calibration.image_ids[2:])
        with pytest.raises(BadPredictions, match="holds 2 of them, the first being 'test 3'"):
            calibrate(test, replace(calibration, image_ids=ids), Choice("platt"))

    def test_are_known_by_their_values_where_there_are_no_ids(self, test, calibration):
        values = calibration.values.copy()
        values[5] = test.values[9]
        there = replace(calibration, values=values, image_ids=())
        for here in (test, replace(test, image_ids=())):
            for other in (there, moved(there, [1, 0, 2, 5, 4, 3])):
                with pytest.raises(
                    BadPredictions, match="holds 1 of them, .* row 9 by its values; .* add image"
                ):
                    calibrate(here, other, Choice("platt"))

    def test_are_known_by_their_ids_unless_both_files_name_other_data(self, test, calibration):
        named = replace(calibration, image_ids=(*test.image_ids, *calibration.image_ids[120:]))
        bare = [replace(p, provenance={"model": "clip"}) for p in (test, named)]
        for here, there in ((bare[0], named), (test, bare[1]), bare):
            with pytest.raises(BadPredictions, match="holds 120 of them, the first being 'test 0'"):
                calibrate(here, there, Choice("platt"))

    @pytest.mark.parametrize("short", ["float32", "float16"])
    def test_are_known_in_another_precision(self, test, short):
        bare = replace(test, image_ids=())
        other = replace(bare, values=test.values[::-1].astype(short), labels=test.labels[::-1])
        for here, there in ((bare, other), (other, bare)):
            with pytest.raises(BadPredictions, match="holds 120 of them, the first being row 0"):
                calibrate(here, there, Choice("platt"))

    def test_are_known_under_other_names(self, test, calibration):
        """A few equal rows are believed to be other images, as their ids say; most are not."""
        for equal, refused in ((60, False), (61, True)):
            values = calibration.values.copy()
            values[:equal] = test.values[:equal]
            there = replace(calibration, values=values)
            if refused:
                with pytest.raises(
                    BadPredictions, match="holds 61 of them, .* row 0 by .*cross-fit"
                ):
                    calibrate(test, there, Choice("platt"))
            else:
                calibrate(test, there, Choice("platt"))

    def test_are_not_rows_that_are_equal_by_chance(self, test, calibration):
        """As they are with few classes and rounded numbers."""

        def rounded(p):
            """Two classes: the one a hundredth exact, the other always sure."""
            values = np.stack([p.values[:, 0].round(2), np.full(len(p.values), 4.0)], axis=1)
            return replace(
                p, values=values, labels=p.labels[:, :2], class_names=("a", "b"),
                groups=("head", "head"), image_ids=(),
            )  # fmt: skip

        here, there = rounded(test), rounded(calibration)
        assert set(here.values[:, 0]) & set(there.values[:, 0])
        calibrate(here, there, Choice("platt"))
        with pytest.raises(BadPredictions, match="may never see the test images"):
            calibrate(here, here, Choice("platt"))

    def test_are_rows_beyond_twice_what_repeats_within_the_files(self, test, calibration):
        values = calibration.values.copy()
        values[1] = values[0]
        values[2:4] = test.values[:2]
        calibrate(test, replace(calibration, values=values, image_ids=()), Choice("platt"))
        values[4] = test.values[2]
        with pytest.raises(BadPredictions, match="holds 3 of them"):
            calibrate(test, replace(calibration, values=values, image_ids=()), Choice("platt"))

    def test_are_not_images_of_other_data_with_the_same_ids(self, test, calibration):
        other = replace(
            calibration, image_ids=(*test.image_ids, *calibration.image_ids[120:]),
            provenance=calibration.provenance | {"data": "photographs"},
        )  # fmt: skip
        calibrate(test, other, Choice("platt"))
        with pytest.raises(BadPredictions, match="holds 120 of them"):
            calibrate(test, replace(other, values=np.vstack([test.values, other.values[120:]]),
                                    labels=np.vstack([test.labels, other.labels[120:]])),
                      Choice("platt"))  # fmt: skip


OF_RUN = {"backbone": {"name": "tiny"}, "split_number": 1}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"class_names": ("a", "b", "c", "d", "e", "g")}, "'f' is only in the first"),
        ({"map": ProbabilityMap(1.0, 0.5, GIVEN)}, r"are \(1.0, 0.0\) in the .* \(1.0, 0.5\)"),
        ({"kind": "probs", "map": None}, "holds logits and the calibration file probs"),
        ({"groups": (*GROUPS[:3], "head", "new", "new")}, "'d' is 'tail' in the test file and 'h"),
        ({"provenance": {"model": "b"} | OF_RUN}, "the model of the test file is clip and .* b;"),
        ({"provenance": {"model": "clip"} | OF_RUN | {"split_number": 2}}, "split number of the"),
        ({"provenance": {"model": "clip"} | OF_RUN | {"backbone": {}}}, "the backbone of the test"),
        (
            {"provenance": {"model": "c", CALIBRATOR: {"method": "dac", "before": None}}},
            "the test file went through none and the calibration file through dac",
        ),
    ],
)  # fmt: skip
def test_files_that_do_not_go_together_are_refused(test, calibration, changed, message):
    here = replace(test, provenance=test.provenance | OF_RUN)
    values = expit(calibration.values) if "kind" in changed else calibration.values
    with pytest.raises(BadPredictions, match=message):
        calibrate(here, replace(calibration, values=values, **changed), Choice("platt"))


@pytest.mark.parametrize(
    "choice",
    [
        Choice("platt"),
        Choice("isotonic", "class", "shared", strength=1.0),
        Choice("temperature", "group", "keep", folds=3, seed=4),
    ],
    ids=lambda choice: choice.name,
)
def test_cross_fitting_is_fitting_to_the_other_folds(test, choice):
    found = cross_calibrate(test, choice)
    fold = fold_of(120, choice.folds, choice.seed)
    for part in range(choice.folds):
        here, there = (
            replace(
                test, values=test.values[rows], labels=test.labels[rows],
                image_ids=tuple(np.array(test.image_ids)[rows]),
            )
            for rows in (fold == part, fold != part)
        )  # fmt: skip
        expected = calibrate(here, there, choice).values
        np.testing.assert_allclose(found.values[fold == part], expected, rtol=1e-12)


@pytest.mark.parametrize(
    "choice",
    [Choice("platt"), Choice("isotonic", "class", "shared", folds=2), Choice("dac", k=3)],
    ids=lambda choice: choice.name,
)
def test_an_image_is_never_calibrated_by_its_own_labels(test, texts, choice):
    found = cross_calibrate(test, choice, texts).values
    for row in (0, 50):
        other = cross_calibrate(relabelled(test, row, slice(0, 6)), choice, texts).values
        assert np.array_equal(other[row], found[row])
        assert not np.array_equal(other, found)


def test_more_folds_than_images_are_refused(test):
    with pytest.raises(BadConfig, match="121 folds for 120 images"):
        cross_calibrate(test, Choice("platt", folds=121))


def factors_by_hand(texts, k):
    """exp(mean distance to the k nearest base classes before − after), 1 of base classes."""
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True)
            for rows in (texts.zero_shot, texts.tuned)]  # fmt: skip
    factors = np.ones(6)
    for c in (4, 5):
        before, after = (
            np.sort([np.linalg.norm(rows[c] - rows[b]) for b in range(4)])[:k] for rows in unit
        )
        factors[c] = np.exp(before.mean() - after.mean())
    return factors


@pytest.mark.parametrize("centre", ["prior", "zero"])
def test_dac_scales_new_classes_about_the_centre(test, calibration, texts, centre):
    order = [5, 1, 0, 4, 2, 3]
    shuffled = TextPair(tuple(NAMES[i] for i in order), texts.zero_shot[order], texts.tuned[order])
    found = calibrate(test, calibration, Choice("dac", k=3, centre=centre), shuffled)
    m = 0.0 if centre == "zero" else logit(calibration.labels[:, BASE].mean())
    factors = factors_by_hand(texts, 3)
    np.testing.assert_allclose(found.values, m + factors * (test.values - m), rtol=1e-10)
    record = found.provenance[CALIBRATOR]
    assert list(record["factors"]) == list(NAMES)
    assert record["centre_logits"] == pytest.approx([m])
    assert ("fitted_on" in record) == (centre == "prior")
    assert found.provenance["model"] == "clip + dac"


def test_parts_of_cross_fitting_can_be_made_again_from_the_record(test, texts):
    for choice in (Choice("dac", k=3, folds=4, seed=9), Choice("platt", folds=4, seed=9)):
        record = cross_calibrate(test, choice, texts).provenance[CALIBRATOR]
        assert (record["folds"], record["seed"], record["cross_fitted"]) == (4, 9, True)


def test_the_published_dac_scales_a_row_by_its_top_class(test, texts):
    found = cross_calibrate(test, Choice("dac_top1", k=3), texts)
    row_factors = factors_by_hand(texts, 3)[test.values.argmax(axis=1)]
    assert len(set(row_factors)) == 3
    np.testing.assert_allclose(found.values, test.values * row_factors[:, None], rtol=1e-10)
    assert found.provenance[CALIBRATOR]["cross_fitted"] is False


def test_dac_says_what_it_lacks(test, calibration, texts):
    with pytest.raises(BadConfig, match="but none came; give --zero-shot and --tuned"):
        calibrate(test, calibration, Choice("dac", k=3))
    bare = [replace(p, groups=()) for p in (test, calibration)]
    with pytest.raises(BadConfig, match="changes only classes of group 'new'"):
        calibrate(*bare, Choice("dac", k=3), texts)
    with pytest.raises(BadConfig, match="set k to 4 or less"):
        calibrate(test, calibration, Choice("dac"), texts)
    few = TextPair(NAMES[:5], texts.zero_shot[:5], texts.tuned[:5])
    with pytest.raises(BadConfig, match="'f' has none; add its row"):
        calibrate(test, calibration, Choice("dac_top1", k=3), few)
    with pytest.raises(BadConfig, match="each of 5 class names, but have 6 before and 5 after"):
        TextPair(NAMES[:5], texts.zero_shot, texts.tuned[:5])
    unknown = np.full_like(calibration.labels, -1)
    unknown[:, NEW] = 1
    silent = replace(calibration, labels=unknown)
    with pytest.raises(BadPredictions, match="of 0 known ones 0 are positive; take --centre zero"):
        calibrate(test, silent, Choice("dac", k=3), texts)
    calibrate(test, silent, Choice("dac", k=3, centre="zero"), texts)
    with pytest.raises(BadPredictions, match="0 known labels"):
        calibrate(test, silent, Choice("platt"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "plat"}, "method must be one of .*; did you mean 'platt'"),
        ({"method": "platt", "scope": "groups"}, "scope must be .* did you mean 'group'"),
        ({"method": "platt", "unseen": "drop"}, "unseen must be one of refuse, keep, shared"),
        ({"method": "dac", "centre": "one"}, "centre must be one of prior, zero"),
        ({"method": "platt", "folds": 1}, "folds >= 2 and k >= 1, but got folds=1"),
        ({"method": "dac", "k": 0}, "k=0"),
        ({"method": "platt", "strength": -1.0}, "strength must be 0 or more, but got -1"),
        ({"method": "platt", "strength": float("nan")}, "but got nan"),
        ({"method": "platt", "strength": 4.0}, "choose a scope, or leave it out"),
        ({"method": "dac", "strength": 0.0}, "choose a scope, or leave it out"),
        ({"method": "dac_top1", "scope": "class"}, "takes no scope, but got 'class'"),
    ],
)
def test_a_choice_that_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(BadConfig, match=message):
        Choice(**arguments)


@pytest.mark.parametrize("method", CHOICES["method"])
def test_files_keep_the_record(test, calibration, texts, tmp_path, method):
    choice = Choice(method, k=3)
    of_run = replace(calibration, provenance=calibration.provenance | {"split_number": 2})
    found = calibrate(test, of_run, choice, texts)
    found.save(tmp_path / "found.npz")
    back = read_predictions(tmp_path / "found.npz")
    assert np.array_equal(back.values, found.values)
    record = back.provenance[CALIBRATOR]
    assert record == found.provenance[CALIBRATOR] == json.loads(json.dumps(record))
    assert record["method"] == method
    if choice.from_labels:
        assert record["fitted_on"] == {
            "model": "clip", "data": "drawings", "split": "calibration", "images": 400,
            "labels": 1600, "positives": int(calibration.labels[:, BASE].sum()),
            "split_number": 2,
        }  # fmt: skip


def test_a_second_calibrator_keeps_the_record_of_the_first(test, calibration, texts):
    first = Choice("dac", k=3, centre="zero")
    here, there = (cross_calibrate(p, first, texts) for p in (test, calibration))
    with pytest.raises(BadPredictions, match="through dac and the calibration file through none"):
        calibrate(here, calibration, Choice("platt"))
    found = calibrate(here, there, Choice("platt"))
    assert found.provenance["model"] == "clip + dac + platt"
    assert found.provenance[CALIBRATOR]["before"] == here.provenance[CALIBRATOR]
    once = cross_calibrate(calibration, Choice("platt"))
    with pytest.raises(BadPredictions, match="platt and dac and the calibration file .* platt\\."):
        calibrate(found, once, Choice("bias"))


def test_what_is_calibrated_is_nearer_to_the_truth(test, calibration):
    """The truth of ``made`` is known: σ((value − 2) / 3)."""
    truth = expit((test.values - 2) / 3)
    for method in CHOICES["method"][:7]:
        found = calibrate(test, calibration, Choice(method)).probabilities
        before = expit(test.values)
        share = np.abs(found - truth).mean() / np.abs(before - truth).mean()
        assert share < (0.9 if method in ("temperature", "bias") else 0.3)
