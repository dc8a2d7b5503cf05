"""One table of metrics times one list of what must hold; groups, class rows, and the JSON form."""

import json
import math

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ccr_diag.arrays import ProbabilityMap
from ccr_diag.metrics.table import METRICS, Measurements, group_masks, measure
from ccr_diag.predictions import Predictions

GROUPS = ("head", "head", "tail", "new", "new")


def make(scores, labels, groups=GROUPS, scale=8.0, bias=-2.0):
    n, c = scores.shape
    return Predictions(
        scores.astype(np.float32),
        labels.astype(np.int8),
        tuple(f"class {i}" for i in range(c)),
        groups,
        ProbabilityMap(scale, bias, "none"),
        tuple(f"image {i}" for i in range(n)),
        {"model": "test"},
    )


@pytest.fixture
def predictions():
    rng = np.random.default_rng(0)
    labels = (rng.random((80, 5)) < [0.5, 0.4, 0.2, 0.3, 0.1]).astype(np.int8)
    scores = np.clip(0.4 * labels + rng.normal(0, 0.3, labels.shape), -1, 1)
    labels[rng.random(labels.shape) < 0.1] = -1
    return make(scores, labels)


def test_every_metric_is_measured_in_every_group(predictions):
    measured = measure(predictions)
    assert list(measured.values) == ["all", "base", "head", "tail", "new"]
    for values in measured.values.values():
        assert list(values) == list(METRICS)
        for name, value in values.items():
            low, high = METRICS[name].bounds
            assert low <= value <= high


def test_the_metric_names_are_fixed():
    assert list(METRICS) == [
        "ece_positive",
        "ece_decision",
        "mce",
        "mce_weighted",
        "signed_error",
        "mAP",
        "accuracy",
        "accuracy_balanced",
        "f1_macro",
        "f1_micro",
    ]


def test_groups_are_the_classes_they_name(predictions):
    masks = {name: mask.tolist() for name, mask in group_masks(GROUPS).items()}
    assert masks == {
        "all": [True, True, True, True, True],
        "base": [True, True, True, False, False],
        "head": [True, True, False, False, False],
        "tail": [False, False, True, False, False],
        "new": [False, False, False, True, True],
    }
    assert list(group_masks(("new",))) == ["all", "new"]


@pytest.mark.parametrize("group", ["all", "base", "head", "tail", "new"])
def test_a_group_is_measured_as_if_it_were_alone(predictions, group):
    mask = group_masks(GROUPS)[group]
    alone = make(
        predictions.scores[:, mask],
        predictions.labels[:, mask],
        tuple(np.array(GROUPS)[mask].tolist()),
    )
    assert measure(alone).values["all"] == pytest.approx(measure(predictions).values[group])


def test_values_match_the_slow_versions(predictions):
    p, y = predictions.probabilities, predictions.labels
    values = measure(predictions, 10).values["all"]
    positive = reference.calibration(p, y, 10, "positive")
    decision = reference.calibration(p, y, 10, "decision")
    assert values["ece_positive"] == pytest.approx(positive["ece"])
    assert values["ece_decision"] == pytest.approx(decision["ece"])
    assert values["mce"] == pytest.approx(positive["mce"])
    assert values["mce_weighted"] == pytest.approx(positive["weighted_mce"])
    assert values["signed_error"] == pytest.approx(positive["signed_error"])
    precision = [reference.average_precision(predictions.scores[:, c], y[:, c]) for c in range(5)]
    assert values["mAP"] == pytest.approx(np.mean(precision))


def test_class_rows_match_the_slow_versions(predictions):
    y = predictions.labels
    for c, row in enumerate(measure(predictions).per_class):
        slow = reference.calibration(predictions.probabilities[:, [c]], y[:, [c]], 15, "positive")
        assert (row.name, row.group) == (f"class {c}", GROUPS[c])
        assert (row.n_positive, row.n_known) == ((y[:, c] == 1).sum(), (y[:, c] != -1).sum())
        assert row.ece == pytest.approx(slow["ece"])
        assert row.signed_error == pytest.approx(slow["signed_error"])
        precision = reference.average_precision(predictions.scores[:, c], y[:, c])
        assert row.ap == pytest.approx(precision)


def test_reliability_keeps_every_bin(predictions):
    measured = measure(predictions, 12)
    known = predictions.labels != -1
    assert measured.reliability["all"].count.sum() == known.sum()
    assert measured.reliability["new"].count.sum() == known[:, 3:].sum()
    assert all(len(bins.count) == 12 for bins in measured.reliability.values())


def test_no_positives_leave_gaps_not_errors():
    labels = np.zeros((4, 2))
    labels[:, 1] = -1
    measured = measure(make(np.full((4, 2), 0.1), labels, ("head", "new")))
    undefined = {name for name, value in measured.values["head"].items() if math.isnan(value)}
    assert undefined == {"mAP", "accuracy_balanced", "f1_macro", "f1_micro"}
    assert all(math.isnan(value) for value in measured.values["new"].values())
    assert measured.per_class[1].n_known == 0
    assert math.isnan(measured.per_class[1].ece)


def test_average_precision_ranks_scores_that_saturate_as_probabilities():
    scores, labels = np.array([[0.8], [0.9]]), np.array([[0], [1]])
    measured = measure(make(scores, labels, ("head",), scale=1000.0))
    assert measured.values["all"]["mAP"] == 1


def same_json(one, other):
    assert json.dumps(one.to_json(), allow_nan=False) == json.dumps(
        other.to_json(), allow_nan=False
    )


@given(
    hnp.arrays(np.float32, (6, 5), elements=st.floats(-1, 1, width=32)),
    hnp.arrays(np.int8, (6, 5), elements=st.sampled_from([1, 0, -1])),
)
def test_json_comes_back_as_it_went_in(scores, labels):
    measured = measure(make(scores, labels))
    back = Measurements.from_json(json.loads(json.dumps(measured.to_json(), allow_nan=False)))
    same_json(back, measured)
    np.testing.assert_equal(back.values, measured.values)
    for group, bins in measured.reliability.items():
        np.testing.assert_equal(vars(back.reliability[group]), vars(bins))


def test_json_has_the_layout_that_the_results_file_names(predictions):
    plain = measure(predictions, 3).to_json()
    assert list(plain) == ["values", "reliability", "per_class"]
    assert list(plain["reliability"]["all"]) == ["count", "confidence", "frequency"]
    assert list(plain["per_class"][0]) == [
        "name",
        "group",
        "n_positive",
        "n_known",
        "ece",
        "signed_error",
        "ap",
    ]


def perfect(labels):
    return make(np.where(labels == 1, 0.9, -0.9), labels, scale=1000.0, bias=0.0)


def test_a_perfect_predictor_reaches_the_best_value_of_every_metric(predictions):
    values = measure(perfect(predictions.labels)).values["all"]
    for name, metric in METRICS.items():
        best = {"lower": metric.bounds[0], "higher": metric.bounds[1], "zero": 0}[metric.better]
        assert values[name] == best, name


REORDERINGS = {
    "image order": (np.s_[::-1], np.s_[:]),
    "class order": (np.s_[:], np.s_[::-1]),
    "duplicate images": (np.repeat(np.arange(80), 3), np.s_[:]),
}


@pytest.mark.parametrize("change", REORDERINGS)
def test_what_must_not_matter_does_not(predictions, change):
    rows, columns = REORDERINGS[change]
    changed = make(
        predictions.scores[rows][:, columns],
        predictions.labels[rows][:, columns],
        tuple(np.array(GROUPS)[columns].tolist()),
    )
    before, after = measure(predictions).values, measure(changed).values
    for group, values in before.items():
        assert after[group] == pytest.approx(values), group
