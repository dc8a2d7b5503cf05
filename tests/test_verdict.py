"""The sentence on top of a report: no more than the numbers say."""

import copy

import numpy as np
import pytest
from made_results import COLUMNS

from ccr_diag.differences import differences_over_images
from ccr_diag.measuring import results_of
from ccr_diag.metrics import measure
from ccr_diag.predictions import Predictions
from ccr_diag.verdict import model_verdict, stretches, stretches_said, verdict


def entry(value, low=None, high=None):
    return {"value": value, "low": low, "high": high}


def pool(ece, signed=(0.0, -0.01, 0.01), n_positive=300, n_known=1000, **metrics):
    found = {"ece_positive": entry(*ece), "signed_error": entry(*signed)}
    found |= {key: entry(*value) for key, value in metrics.items()}
    return {"metrics": found, "n_positive": n_positive, "n_known": n_known}


# In two bins of five: fewer labels are positive than in a calibrated model, and more in another.
BINS = {
    "count": [9, 9, 0, 9, 9],
    "frequency": [0.3, 0.2, None, 0.1, 0.2],
    "low": [0.0, 0.1, None, 0.4, 0.7],
    "high": [0.2, 0.4, None, 0.9, 0.9],
}


def bins(**changes):
    return copy.deepcopy(BINS) | changes


WITHIN = bins(frequency=[0.1, 0.2, None, 0.5, 0.8])


def model(name, *args, groups=None, rule=None, where=WITHIN, findings=(), **kwargs):
    return {
        "name": name, "label": name.upper(), "map_rule": rule, "groups": groups or {},
        "reliability": {"positive": where}, "findings": findings, **pool(*args, **kwargs),
    }  # fmt: skip


def results(*models, differences=(), preset="textbook"):
    pairs = [
        {"a": a, "b": b, "rows": [
            {"metric": "map", "group": "all", "verdict": "better"},
            {"metric": "ece_positive", "group": "new", "verdict": "better"},
            {"metric": "ece_positive", "group": "all", "verdict": said},
        ]}
        for a, b, said in differences
    ]  # fmt: skip
    return {
        "models": list(models),
        "definitions": {"preset": preset},
        "differences": {"pairs": pairs} if pairs else {},
    }


# one model


@pytest.mark.parametrize(
    ("ece", "signed", "state", "said"),
    [
        ((0.05, 0.04, 0.06), (0.05, 0.04, 0.06), "off",
         "A is over-confident by 5.0 points [4.0, 6.0] on average: ECE 5.0 % [4.0, 6.0]."),
        ((0.05, 0.04, 0.06), (-0.05, -0.06, -0.04), "off",
         "A is under-confident by 5.0 points [4.0, 6.0] on average: ECE 5.0 % [4.0, 6.0]."),
        ((0.05, 0.04, 0.06), (0.01, -0.01, 0.03), "off",
         "A is off: ECE 5.0 % [4.0, 6.0]."),
        ((0.05, 0.04, 0.06), (0.01, 0.005, 0.015), "off",
         "A is over-confident by 1.0 points [0.5, 1.5] on average: ECE 5.0 % [4.0, 6.0]."),
        ((0.02, 0.0, 0.04), (0.0, -0.01, 0.01), "cannot tell",
         "A cannot be told from calibrated: ECE 2.0 % [0.0, 4.0]."),
        ((0.02, 2e-11, 0.04), (0.0, -0.01, 0.01), "cannot tell", "A cannot be told"),
        ((0.02, 0.0, 0.029), (0.0, -0.01, 0.01), "calibrated",
         "A is calibrated as far as these labels can tell: ECE 2.0 % [0.0, 2.9]."),
        ((0.02, None, None), (0.0, None, None), "cannot tell",
         "Whether A is calibrated cannot be told without an interval of its calibration error, "
         "2 %."),
        ((None, None, None), (None, None, None), "cannot tell", "A has no calibration error here"),
    ],
)  # fmt: skip
def test_one_model(ece, signed, state, said):
    found = verdict(results(model("a", ece, signed)))
    assert found.state == state
    assert found.text.startswith(said)
    assert found.evidence["value"] == ece[0]


def test_the_verdict_does_not_contradict_the_findings():
    def found(rule, ece=(0.02, 0.0, 0.04)):
        findings = [{"text": f"By {rule}.", "evidence": {"rule": rule}}]
        return model_verdict(model("a", ece, findings=findings))

    off = found("signed_error")
    assert off.state == off.evidence["state"] == "off"
    assert off.text == "A is off, though its ECE alone does not tell: 2.0 % [0.0, 4.0]."
    assert off.reasons == ("By signed_error.",)
    assert found("definitions").state == "cannot tell"
    assert found("slope", ece=(0.02, 0.0, 0.025)).state == "calibrated"  # so little matters not
    assert found("slope", ece=(0.02, None, None)).state == "cannot tell"


def test_both_directions_are_named_only_where_bins_show_both():
    def said(signed, where):
        found = model("a", (0.05, 0.04, 0.06), signed, where=where)
        return model_verdict(found).text.removesuffix(": ECE 5.0 % [4.0, 6.0].")

    undecided, small, large = (0.01, -0.01, 0.03), (0.01, 0.005, 0.015), (0.04, 0.035, 0.045)
    mixed = "A is off, too high in some places and too low in others"
    assert said(undecided, BINS) == mixed
    assert said(undecided, bins(frequency=[0.1, 0.0, None, 0.3, 0.8])) == "A is off"
    assert said(small, BINS) == f"{mixed}, and over-confident by 1.0 points [0.5, 1.5] on average"
    assert said(large, BINS) == "A is over-confident by 4.0 points [3.5, 4.5] on average"


@pytest.mark.parametrize("preset", ["procal", "paper"])
def test_the_calibration_error_is_the_one_that_the_preset_begins_with(preset):
    def pools(name, positive, decision):
        return model(
            name, positive, (0.05, 0.04, 0.06), ece_decision=decision, ece_after_platt=(0.0, 0, 0)
        )

    one = pools("a", (0.05, 0.04, 0.06), (0.02, 0.01, 0.03))
    found = verdict(results(one, preset=preset))
    assert found.text == "A is off: decision ECE 2.0 % [1.0, 3.0]."
    assert found.evidence["metric"] == "ece_decision"
    assert not found.reasons  # scale and bias are measured by the ECE of p
    other = pools("b", (0.01, 0.005, 0.015), (0.04, 0.03, 0.05))
    differences = [("a", "b", "worse")]
    pair = results(one, other, differences=differences, preset=preset)
    assert "cannot be told apart from B" in verdict(pair).text  # that of p does not count
    pair["differences"]["pairs"][0]["rows"][2]["metric"] = "ece_decision"
    assert verdict(pair).text.startswith("A is the best calibrated of 2 models, though itself off")


def test_over_splits_an_error_must_lie_above_what_chance_alone_makes():
    """That interval is not inverted: a calibrated model has one above 0."""
    chance = {"ece_expected_positive": (0.03, 0.02, 0.035)}
    at_chance = model("a", (0.03, 0.02, 0.04), **chance)
    (reason,) = model_verdict(at_chance).reasons
    assert reason == "By chance alone a calibrated model would show 3 % on these labels."
    assert model_verdict(at_chance).state == "cannot tell"
    assert model_verdict(model("a", (0.05, 0.036, 0.06), **chance)).state == "off"
    drawn = model("a", (0.03, 0.02, 0.04), ece_expected_positive=(0.03, None, None))
    assert model_verdict(drawn).state == "off"


def test_a_value_above_its_interval_is_explained():
    found = model("a", (0.03, 0.0, 0.029), ece_expected_positive=(0.031, None, None))
    assert model_verdict(found).reasons == (
        "By chance alone a calibrated model would show 3.1 % on these labels; the interval has "
        "that taken off.",
    )


def test_the_worst_group_is_one_that_is_surely_off():
    groups = {
        "base": pool((0.9, 0.8, 1.0)),
        "head": pool((0.04, 0.03, 0.05)),
        "tail": pool((0.30, 0.0, 0.5)),
        "new": pool((0.06, 0.05, 0.07)),
    }
    found = model_verdict(model("a", (0.05, 0.04, 0.06), groups=groups))
    assert found.text.endswith("worst for new classes (ECE 6.0 % [5.0, 7.0]).")
    assert found.evidence["worst_group"] == "new"
    alone = model_verdict(model("a", (0.05, 0.04, 0.06), groups={"head": groups["head"]}))
    assert "worst" not in alone.text


def test_what_scale_and_bias_would_repair():
    found = model_verdict(model("a", (0.05, 0.04, 0.06), ece_after_platt=(0.01, 0.0, 0.02)))
    assert found.reasons == (
        "A change of scale and bias alone, fitted on these images, would take the ECE from 5.0 % "
        "to 1.0 %.",
    )
    for after in (0.06, 0.0497):  # worse; the same as it is printed
        unrepaired = model("a", (0.05, 0.04, 0.06), ece_after_platt=(after, 0.0, 0.07))
        assert not model_verdict(unrepaired).reasons


# several models

A, B, C = (
    model("a", (0.10, 0.09, 0.11), (0.1, 0.09, 0.11)),
    model("b", (0.02, 0.01, 0.03), (-0.02, -0.03, -0.01)),
    model("c", (0.03, 0.02, 0.04)),
)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_best_is_named_only_if_every_difference_says_so(order):
    models = [(A, B, C)[i] for i in order]
    told = [("a", "b", "better"), ("b", "c", "worse"), ("a", "c", "better")]
    found = verdict(results(*models, differences=told))
    assert (
        found.text
        == "B is the best calibrated of 3 models, though itself off: ECE 2.0 % [1.0, 3.0]."
    )
    assert found.reasons[1].startswith("Furthest off: A is over-confident by 10.0 points")
    assert found.evidence["least"] == "b"
    close = [("a", "b", "better"), ("b", "c", "cannot tell"), ("a", "c", "better")]
    found = verdict(results(*models, differences=close))
    assert found.text == (
        "B shows the least calibration error, ECE 2.0 % [1.0, 3.0], but cannot be told "
        "apart from C."
    )
    assert found.evidence["not_told_apart"] == ["c"]


def test_without_differences_none_is_best():
    found = verdict(results(A, B, C))
    assert found.text.startswith("Which of 3 models is best calibrated cannot be told without")
    missing = verdict(results(A, B, C, differences=[("a", "b", "better")]))
    assert "cannot be told apart from C" in missing.text


def test_the_other_direction_of_a_difference_does_not_count():
    found = verdict(results(A, B, differences=[("a", "b", "worse")]))
    assert "cannot be told apart from A" in found.text


def test_many_rivals_are_counted():
    others = [model(f"m{i}", (0.03 + i / 1000, 0.0, 0.5)) for i in range(6)]
    pairs = [("b", other["name"], "cannot tell") for other in others]
    found = verdict(results(B, *others, differences=pairs))
    assert "apart from M0, M1, M2 and 3 more." in found.text


def test_the_bias_is_named_where_the_same_scores_are_read_twice():
    def pair(map_prior=0.6, rule="prior", low=0.02):
        return results(
            model("z (mean bias)", (0.4, 0.39, 0.41), rule="mean", map=(0.6,)),
            model(f"z ({rule} bias)", (low, low, low), rule=rule, map=(map_prior,)),
        )  # fmt: skip

    found = verdict(pair())
    assert found.text.endswith(
        "; much is a matter of the bias: the same scores have 40 % as Z (MEAN BIAS) and 2 % as "
        "Z (PRIOR BIAS)."
    )
    assert found.evidence["bias"] == {"worse": "z (mean bias)", "better": "z (prior bias)"}
    for other in (pair(map_prior=0.61), pair(rule="learned"), pair(low=0.3)):
        assert verdict(other).evidence["bias"] is None


# where


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (bins(), "under-confident below 0.2, over-confident above 0.6"),
        (bins(frequency=[0.1, 0.2, None, 0.5, 0.8]), "within what a calibrated model would show"),
        (bins(frequency=[0.1, 0.0, None, 0.3, 0.8]), "over-confident from 0.2 to 0.8"),
        (bins(frequency=[-0.1, 0.0, None, 0.3, 0.1]), "over-confident everywhere"),
        (bins(low=[None] * 5), "within what a calibrated model"),
        ({"count": [0] * 5, **dict.fromkeys(COLUMNS, [None] * 5)}, "no labels"),
    ],
)
def test_where_it_is_off(found, said):
    assert stretches_said(found).startswith(said)


def test_an_empty_bin_does_not_break_a_stretch():
    (found,) = stretches(bins(frequency=[0.1, 0.0, None, 0.3, 0.8]))
    assert (found.low, found.high, found.side, found.last) == (0.2, 0.8, "over", False)


# on real measurements


@pytest.fixture(scope="module")
def measured():
    """Probabilities that hold, those that are too high, and constant ones, on the same labels."""
    rng = np.random.default_rng(3)
    p = rng.beta(1, 3, (400, 5))
    labels = (rng.uniform(size=p.shape) < p).astype(np.int8)
    names = tuple("abcde")
    made = {"good": p, "high": np.minimum(1.4 * p + 0.05, 1), "same": p[:, ::-1] * 0 + p}
    return results_of(
        [
            Predictions(values, labels, names, (), None, (), {"model": name}, "probs")
            for name, values in made.items()
        ],
        n_bootstrap=40,
    )


def test_measured_models(measured):
    good, high, same = (model_verdict(m) for m in measured["models"])
    assert good.state != "off"
    assert high.state == "off"
    assert "over-confident by" in high.text
    whole = verdict(measured)
    assert whole.evidence["least"] in ("good", "same")
    assert whole.evidence["not_told_apart"] in (["same"], ["good"])
    assert same.text == good.text.replace("good", "same")
    assert "Furthest off: high" in whole.reasons[1]


def test_verdicts_are_read_from_the_differences_that_are_written():
    rng = np.random.default_rng(5)
    p = rng.beta(1, 3, (300, 4))
    labels = (rng.uniform(size=p.shape) < p).astype(np.int8)
    both = {
        name: measure(values, labels, tuple("abcd"), n_bootstrap=30)
        for name, values in {"off": np.minimum(2 * p, 1), "good": p}.items()
    }
    record = {
        "models": [
            {"name": name, "label": name, "map_rule": None, "findings": [], **m.to_json()}
            for name, m in both.items()
        ],
        "differences": differences_over_images(both),
        "definitions": {"preset": "textbook"},
    }
    assert verdict(record).text.startswith("good is the best calibrated of 2 models: ECE")
