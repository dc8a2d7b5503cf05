"""Each finding speaks on a case built for it and is silent on the neutral counterpart."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from ccr_diag.effects import (
    Effect,
    digits,
    of_correlation,
    of_difference,
    of_metric,
    percent,
    signed_errors_of_classes,
    told,
)
from ccr_diag.findings import TESTED, findings
from ccr_diag.metrics import measure
from ccr_diag.metrics.association import Correlation
from ccr_diag.metrics.geometry import TextGeometry

CLASSES = 12
GROUPS = ("head",) * 4 + ("medium",) * 4 + ("tail",) * 4
FOUR_GROUPS = ("head",) * 3 + ("medium",) * 3 + ("tail",) * 3 + ("new",) * 3
COUNTS = np.round(np.logspace(3, 1, CLASSES)).astype(np.int64)
IMAGES, DRAWS = 300, 40


def drawn(seed, shift=0.0, slope=1.0, spread=1.5, n=IMAGES):
    """Log odds of the truth are normal around those of each class; the model's are moved."""
    rng = np.random.default_rng(seed)
    truth = np.linspace(-1, -3, CLASSES) + spread * rng.normal(size=(n, CLASSES))
    labels = (rng.random(truth.shape) < expit(truth)).astype(np.int8)
    return expit(slope * truth + shift), labels


def measured(probs, labels, **options):
    options = {"n_bootstrap": DRAWS, "class_counts": COUNTS} | options
    return measure(probs, labels, None, options.pop("groups", GROUPS), **options)


@cache
def case(name):
    made = {
        "calibrated": {},
        "over": {"shift": 0.8},
        "under": {"shift": -0.8},
        "extreme": {"slope": 2.5},
        "timid": {"slope": 0.4},
    }
    return measured(*drawn(1, **made[name]))


def said(found):
    return {f.evidence["rule"]: f for f in reversed(found)}


def alarms(found):
    return [f for f in found if "distance" in f.evidence]


def test_nothing_is_tested_positive_on_a_calibrated_file():
    assert alarms(findings(case("calibrated"))) == []


@pytest.mark.parametrize("name", ["over", "under"])
def test_groups_are_said_to_lean_with_their_interval(name):
    m = case(name)
    found = [f for f in findings(m) if f.evidence["rule"] == "signed_error"]
    assert {f.evidence["group"] for f in found} == {"all", "head", "medium", "tail"}
    for f in found:
        group = f.evidence["group"]
        assert f"{name}-confident by" in f.text
        assert f.evidence["value"] == m.value("signed_error", group)
        assert (f.evidence["low"], f.evidence["high"]) == m.interval("signed_error", group)
        assert f.evidence["p"] < 0.05


def test_the_sentence_about_all_classes_reads_in_percent():
    m = case("over")
    first = next(f for f in findings(m) if f.evidence.get("group") == "all")
    mean_p = 100 * drawn(1, shift=0.8)[0].mean()
    low, high = (100 * end for end in m.interval("signed_error"))
    assert first.text.startswith("All classes together are over-confident by ")
    assert f"[{low:.1f}, {high:.1f}]" in first.text
    assert f"average {mean_p:.1f} %" in first.text
    positives = 100 * drawn(1)[1].mean()
    assert f"positives {positives:.1f} %, {mean_p / positives:.2g} times as much" in first.text


def test_a_single_group_that_leans_is_named_alone():
    shift = np.where(np.array(GROUPS) == "tail", 2.0, 0.0)
    found = findings(measured(*drawn(1, shift=shift)))
    groups = {f.evidence["group"] for f in found if f.evidence["rule"] == "signed_error"}
    assert "tail" in groups
    assert not groups & {"head", "medium"}


def test_the_base_classes_are_no_group_of_their_own():
    groups = ("head",) * 4 + ("medium",) * 4 + ("new",) * 4
    m = measured(*drawn(1, shift=0.8), groups=groups)
    assert "base" in m.values
    said_of = {f.evidence.get("group") for f in findings(m)}
    assert {"all", "head", "medium", "new"} <= said_of
    assert "base" not in said_of


def noise(seed=1, **moved):
    """Standard deviation of the mean signed error of a calibrated model."""
    p = drawn(seed, **moved)[0]
    return np.sqrt((p * (1 - p)).sum()) / p.size


def test_the_noise_of_a_signed_error_is_at_least_that_of_independent_labels():
    m = case("over")
    value = m.value("signed_error")
    still = m.drawn["all"] | {"signed_error": np.full(DRAWS, value)}
    found = findings(replace(m, drawn=m.drawn | {"all": still}))
    f = next(f for f in found if f.evidence.get("group") == "all")
    assert f.evidence["distance"] == pytest.approx(value / noise(shift=0.8))


def test_p_is_adjusted_for_seven_kinds():
    probs, labels = drawn(1, slope=0.8)
    m = measured(probs, labels)
    alone = of_metric(m, "calibration_slope", "all", 1.0).p
    assert said(findings(m))["slope"].evidence["p"] == pytest.approx(7 * alone)


def test_a_difference_is_tested_on_paired_replicates():
    m = case("extreme")
    value = m.value("ece_positive") - m.value("ece_after_platt")
    pairs = m.drawn["all"]["ece_positive"] - m.drawn["all"]["ece_after_platt"]
    effect = of_difference(m, "ece_positive", "ece_after_platt")
    assert effect.distance == pytest.approx(abs(2 * value - pairs.mean()) / pairs.std(ddof=1))


def test_one_group_is_not_said_twice():
    found = findings(measured(*drawn(1, shift=0.8), groups=("head",) * CLASSES))
    assert [f.evidence["group"] for f in found if f.evidence["rule"] == "signed_error"] == ["all"]


@pytest.mark.parametrize(("sign", "which"), [(1, "over"), (-1, "under")])
def test_error_that_follows_class_frequency_is_told(sign, which):
    shift = sign * np.linspace(0, 2, CLASSES)
    f = said(findings(measured(*drawn(1, shift=shift))))["frequency_trend"]
    assert f"leans to {which}-confidence" in f.text
    assert f"signed error {'rises' if sign > 0 else 'falls'} by" in f.text
    assert f.evidence["value"] * sign < 0
    assert f.evidence["signed_error_spearman"] * sign < 0


def test_error_that_does_not_follow_class_frequency_is_not():
    probs, labels = drawn(1)
    moved = np.where(np.arange(CLASSES) % 3 == 1, probs + 0.2 * (1 - probs), probs)
    m = measured(moved, labels)
    assert "classes" in said(findings(m))
    assert "frequency_trend" not in said(findings(m))
    assert "frequency_trend" not in said(findings(measured(moved, labels, class_counts=None)))


def test_the_trend_needs_slope_and_rank_correlation_to_agree():
    m = measured(*drawn(1, shift=np.linspace(0, 2, CLASSES)))
    m.values["all"]["signed_error_spearman"] *= -1
    assert "frequency_trend" not in said(findings(m))


def test_what_platt_would_mend_is_told():
    m = case("extreme")
    f = said(findings(m))["platt"]
    assert f.evidence["value"] == m.value("ece_positive") - m.value("ece_after_platt")
    assert 0 < f.evidence["low"] < f.evidence["value"] < f.evidence["high"]
    assert f"to {percent(m.value('ece_after_platt'))} %" in f.text


def test_what_platt_would_not_mend_is_not():
    m = case("extreme")
    same = {"ece_after_platt": m.values["all"]["ece_positive"]}
    again = {"ece_after_platt": m.drawn["all"]["ece_positive"]}
    for worse in (0.0, 0.05):
        same["ece_after_platt"] += worse
        again["ece_after_platt"] = again["ece_after_platt"] + worse
        changed = replace(
            m,
            values=m.values | {"all": m.values["all"] | same},
            drawn=m.drawn | {"all": m.drawn["all"] | again},
        )
        assert "platt" not in said(findings(changed))


@pytest.mark.parametrize(("name", "which"), [("extreme", "extreme"), ("timid", "timid")])
def test_slope_is_told(name, which):
    f = said(findings(case(name)))["slope"]
    assert f"too {which}" in f.text
    assert (f.evidence["value"] < 1) == (name == "extreme")


def test_slope_is_silent_where_all_log_odds_are_moved_alike():
    assert "slope" not in said(findings(case("over")))


def test_saturation_is_added_to_the_slope():
    assert "outermost" not in said(findings(case("extreme")))["slope"].text
    f = said(findings(measured(*drawn(1, slope=20))))["slope"]
    assert "lie in the outermost bins" in f.text
    assert 0.9 < f.evidence["outermost_bins"] < 0.99


def test_probabilities_below_the_class_prior_are_told():
    _, labels = drawn(1)
    noise = np.random.default_rng(0).uniform(size=labels.shape)
    f = said(findings(measured(noise, labels)))["less_than_prior"]
    assert f.evidence["high"] < 0


def test_a_group_below_its_prior_is_told_though_the_rest_is_better():
    probs, labels = drawn(1, spread=3.0)
    probs[:, 8:] = np.random.default_rng(0).uniform(size=probs[:, 8:].shape)
    f = said(findings(measured(probs, labels)))["less_than_prior"]
    assert f.evidence["group"] == "tail"


def test_the_class_prior_itself_shows_no_skill_but_is_not_said_to_be_worse():
    _, labels = drawn(1)
    prior = np.broadcast_to(labels.mean(axis=0), labels.shape).copy()
    found = said(findings(measured(prior, labels)))
    assert "less_than_prior" not in found
    assert "all" in {entry["group"] for entry in found["no_skill_shown"].evidence["groups"]}
    assert "no_skill_shown" not in said(findings(case("calibrated")))


def test_classes_are_named_by_the_size_of_their_error():
    probs, labels = drawn(1)
    probs[:, 3] = np.minimum(probs[:, 3] + 0.3, 1)
    probs[:, 7] *= 0.1
    m = measured(probs, labels)
    f = said(findings(m))["classes"]
    assert [entry["class"] for entry in f.evidence["classes"]] == ["3", "7"]
    assert "2 of 12 classes" in f.text
    assert f.text.index("'3' (over-confident") < f.text.index("'7' (under-confident")


def test_a_class_without_positives_is_no_proof_where_few_were_due():
    """Its replicates never vary in the labels: the bootstrap alone would be sure."""
    probs, labels = drawn(1)
    labels[:, 5] = 0
    few, many = probs.copy(), probs.copy()
    few[:, 5], many[:, 5] = 2 / IMAGES, 60 / IMAGES
    m = measured(few, labels)
    assert "classes" not in said(findings(m))
    effect = signed_errors_of_classes(m)[5]
    assert effect.p == pytest.approx(2 * (1 - 2 / IMAGES) ** IMAGES, rel=1e-6)
    named = said(findings(measured(many, labels)))["classes"].evidence["classes"]
    assert [entry["class"] for entry in named] == ["5"]


def test_one_weak_class_of_many_is_left_to_chance():
    """A single class at p ≈ 0.01 counts alone, not as the worst of 60."""
    effects = [Effect("it", 0.1, 0.02, 0.18, 0.0, 2.6, 0.01)]
    others = [Effect(str(i), 0.0, -0.1, 0.1, 0.0, 0.5, 0.6) for i in range(59)]
    assert [e.name for e in told(effects, 1)] == ["it"]
    assert told(effects, 7) == []
    assert told(effects + others, 1) == []


def test_holm_by_hand():
    # .001 · 3 · 2 = .006, .01 · 2 · 2 = .04, .02 · 1 · 2 = .04
    effects = [Effect(str(p), 1.0, 0.5, 1.5, 0.0, -p, p) for p in (0.02, 0.001, 0.01)]
    untested = Effect("untested", 1.0, 0.5, 1.5, 0.0, 9.0, np.nan)
    found = {e.name: e.p for e in told([*effects, untested], 2)}
    assert found == pytest.approx({"0.001": 0.006, "0.01": 0.04, "0.02": 0.04})
    assert [e.name for e in told(effects, 2)] == ["0.001", "0.01", "0.02"]
    further = [replace(effect, distance=effect.p) for effect in effects]
    assert [e.name for e in told(further, 2)] == ["0.02", "0.01", "0.001"]


def test_an_interval_around_neutral_is_silent_whatever_p():
    assert told([Effect("it", 0.1, -0.01, 0.2, 0.0, 9.0, 1e-9)], 1) == []
    assert told([Effect("it", 0.9, 0.8, 1.1, 1.0, 9.0, 1e-9)], 1) == []
    assert len(told([Effect("it", 0.9, 0.8, 0.95, 1.0, 9.0, 1e-9)], 1)) == 1


def test_definitions_that_disagree_are_told_and_others_not():
    m = case("over")
    found = [f for f in findings(m) if f.evidence["rule"] == "definitions"]
    assert [("ECE" in f.text, "MCE" in f.text) for f in found] == [(True, False), (False, True)]
    values = found[0].evidence["metrics"]
    assert values["ece_positive"] == m.value("ece_positive")
    assert values[found[0].evidence["lowest"]] == min(values.values())
    assert values[found[0].evidence["highest"]] == max(values.values())
    row = m.values["all"]
    alike = row | {k: 0.05 for k in row if k.startswith(("ece", "ace", "smece", "mce"))}
    even = replace(m, values=m.values | {"all": alike | {"ece_called": 0.0999}})
    assert "definitions" not in said(findings(even))
    twice = replace(m, values=m.values | {"all": alike | {"ece_called": 0.1001}})
    assert said(findings(twice))["definitions"].evidence["highest"] == "ece_called"


def test_a_perfect_predictor_is_left_in_peace():
    _, labels = drawn(1)
    found = findings(measured(labels.astype(np.float64), labels))
    assert {f.evidence["rule"] for f in found} <= {"as_calibrated"}


def test_an_error_of_the_size_of_chance_cannot_be_told_from_none():
    f = said(findings(case("calibrated")))["as_calibrated"]
    m = case("calibrated")
    assert {"all", "tail"} <= {entry["group"] for entry in f.evidence["groups"]}
    for entry in f.evidence["groups"]:
        assert entry["ece_positive"] == m.value("ece_positive", entry["group"])
    assert "as_calibrated" not in said(findings(case("over")))
    assert "as_calibrated" not in said(findings(measured(*drawn(1, shift=0.8), n_bootstrap=0)))


@pytest.mark.parametrize(("deviations", "by_chance"), [(1.6, True), (1.7, False)])
def test_an_error_of_chance_is_one_that_19_of_20_calibrated_files_stay_below(deviations, by_chance):
    m = case("calibrated")
    s = np.sqrt(1 - 2 / np.pi) * noise()
    ece = m.value("ece_expected_positive") + deviations * s
    row = m.values["all"] | {"ece_positive": ece}
    f = said(findings(replace(m, values=m.values | {"all": row})))["as_calibrated"]
    assert ("all" in {entry["group"] for entry in f.evidence["groups"]}) == by_chance


def test_what_is_found_to_lean_is_not_called_calibrated():
    m = case("over")
    values = {pool: row | {"ece_expected_positive": 1.0} for pool, row in m.values.items()}
    found = said(findings(replace(m, values=values)))
    assert "signed_error" in found
    assert "as_calibrated" not in found


def test_classes_without_positives_are_counted_and_three_named():
    probs, labels = drawn(1)
    labels[:, [2, 4, 6, 8]] = 0
    f = said(findings(measured(probs, labels)))["without_positives"]
    assert f.evidence["n_classes"] == 4
    assert "4 of 12 classes have no positive label ('2', '4', '6' and 1 more)" in f.text
    assert "without_positives" not in said(findings(case("calibrated")))
    labels[0, [2, 4, 6]] = 1
    assert (
        "1 of 12 classes has no"
        in said(findings(measured(probs, labels)))["without_positives"].text
    )


def spaces(moved, seed=0):
    """Orthogonal texts, each pushed off their common direction by as much as it is to move."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(CLASSES + 1, CLASSES + 1)))[0]
    before = axes[0] + 0.3 * axes[1:]
    after = axes[0] + (0.3 + moved[:, None]) * axes[1:]
    return before, after


def test_classes_that_moved_apart_and_err_are_told():
    order = np.random.default_rng(3).permutation(CLASSES)
    shift = np.linspace(-1.5, 1.5, CLASSES)[order]
    m = measured(*drawn(1, shift=shift, n=600))
    swapped = np.argsort(np.argsort(shift))
    swapped = np.array([3, 0, 1, 4, 2, 6, 5, 9, 7, 10, 8, 11])[swapped]
    with_error = TextGeometry.compare(*spaces(swapped * 0.05))
    f = said(findings(m, with_error))["geometry"]
    found = with_error.correlations(m.class_values["signed_error"])
    assert f.evidence["value"] == found[f.evidence["geometry"]].value > 0
    assert "are more over-confident" in f.text
    against = TextGeometry.compare(*spaces((11 - swapped) * 0.05))
    assert "are more under-confident" in said(findings(m, against))["geometry"].text


def test_geometry_that_has_nothing_to_do_with_the_error_is_silent():
    m = case("calibrated")
    moved = np.random.default_rng(5).permutation(CLASSES) * 0.05
    assert "geometry" not in said(findings(m, TextGeometry.compare(*spaces(moved))))
    assert "geometry" not in said(findings(m))


def test_few_classes_prove_no_correlation():
    strong = {"method": "spearman", "value": 0.95, "low": 0.9, "high": 0.97}
    assert told([of_correlation("ED", Correlation(**strong, n=12))], 7)
    assert told([of_correlation("ED", Correlation(**strong, n=6))], 7) == []
    half = 0.2 * stats.t.ppf(0.975, 10)
    ends = {"low": np.tanh(np.arctanh(0.5) - half), "high": np.tanh(np.arctanh(0.5) + half)}
    effect = of_correlation("ED", Correlation("spearman", 0.5, **ends, n=12))
    assert effect.distance == pytest.approx(np.arctanh(0.5) / 0.2)
    assert effect.p == pytest.approx(2 * stats.t.sf(effect.distance, 10))
    undefined = Correlation("spearman", None, None, None, 12)
    assert told([of_correlation("ED", undefined)], 7) == []


def test_a_rearranged_text_space_is_told():
    rng = np.random.default_rng(0)
    before, after = rng.normal(size=(2, CLASSES, 40))
    f = said(findings(case("calibrated"), TextGeometry.compare(before, after)))["rearranged"]
    geometry = TextGeometry.compare(before, after)
    assert f.evidence["value"] == geometry.preservation.mean() < 0.5
    assert f.evidence["by_chance"] == 5 / 11
    same = TextGeometry.compare(before, before)
    assert "rearranged" not in said(findings(case("calibrated"), same))


def test_without_replicates_nothing_is_tested():
    probs, labels = drawn(1, shift=0.8)
    found = findings(measured(probs, labels, n_bootstrap=0))
    assert alarms(found) == []
    assert "definitions" in said(found)


def test_a_handful_of_images_tests_nothing():
    probs, labels = drawn(1, shift=2.0)
    assert alarms(findings(measured(probs[:19], labels[:19]))) == []
    assert alarms(findings(measured(probs[:40], labels[:40])))
    findings(measured(probs[:1], labels[:1], class_counts=None))


def test_undefined_numbers_are_passed_over():
    probs, labels = drawn(1, shift=0.8)
    labels[:, 8:] = -1
    labels[:, 4:8] = 0
    found = findings(measured(probs, labels))
    assert not any("nan" in f.text for f in found)
    assert "tail" not in {f.evidence.get("group") for f in found}


def test_constant_probabilities_are_judged_by_their_level_alone():
    _, labels = drawn(1)
    found = said(findings(measured(np.full(labels.shape, 0.9), labels)))
    assert "over-confident" in found["signed_error"].text
    assert "slope" not in found


def test_the_strongest_of_each_kind_come_first_then_the_others_then_what_needs_no_test():
    probs, labels = drawn(1, shift=0.8 + np.linspace(0, 1, CLASSES))
    labels[:, 11] = 0
    found = findings(measured(probs, labels))
    of_test = alarms(found)
    assert found[: len(of_test)] == of_test
    rules = [f.evidence["rule"] for f in of_test]
    firsts = len(set(rules))
    assert len(set(rules[:firsts])) == firsts
    distances = [f.evidence["distance"] for f in of_test]
    assert distances[:firsts] == sorted(distances[:firsts], reverse=True)
    assert distances[firsts:] == sorted(distances[firsts:], reverse=True)
    assert len(rules) > firsts


def test_at_most_ten_and_what_needs_no_test_stays():
    probs, labels = drawn(1, shift=0.8 + np.linspace(0, 2, CLASSES), slope=2.0)
    labels[:, [3, 11]] = 0
    rng = np.random.default_rng(0)
    geometry = TextGeometry.compare(*rng.normal(size=(2, CLASSES, 40)))
    found = findings(measured(probs, labels), geometry)
    assert len(found) == 10
    rules = {f.evidence["rule"] for f in found}
    assert {"signed_error", "definitions", "without_positives", "rearranged"} <= rules


@pytest.mark.parametrize("name", ["calibrated", "over", "extreme"])
def test_evidence_is_plain(name):
    geometry = TextGeometry.compare(*spaces(np.arange(CLASSES) * 0.05))
    for f in findings(case(name), geometry):
        assert json.loads(json.dumps(f.evidence, allow_nan=False)) == f.evidence
        assert f.text.endswith(".")


def test_findings_are_the_same_again():
    assert findings(measured(*drawn(1, shift=0.8))) == findings(case("over"))


def test_the_bias_of_the_replicates_is_taken_off():
    """Replicates that sit at 0.03 for a value of 0.02 speak for 0.01, one deviation from 0."""
    m = case("over")
    around = 0.03 + 0.01 * np.array([-1.0, 1.0] * 50) * np.sqrt(0.99)
    moved = replace(
        m,
        values=m.values | {"all": m.values["all"] | {"brier": 0.02}},
        drawn=m.drawn | {"all": m.drawn["all"] | {"brier": around}},
    )
    assert of_metric(moved, "brier").distance == pytest.approx(1.0)
    assert of_metric(moved, "brier").p == pytest.approx(2 * stats.t.sf(1, 99))
    assert of_metric(moved, "brier", neutral=0.04).distance == pytest.approx(3.0)
    assert of_metric(moved, "brier", least_sd=0.02).distance == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("low", "high", "n"),
    [
        (2.7, 3.4, 1),
        (2.87, 3.37, 2),
        (9.0, 16.0, 0),
        (8.0, 9.5, 1),
        (0.02, 9.0, 2),
        (5.0, 5.0, 1),
        (0.0, 80.0, 0),
    ],
)
def test_digits_are_those_that_the_interval_supports(low, high, n):
    assert digits(low, high) == n


def test_printed_numbers():
    effect = Effect("it", -0.0312, -0.0343, -0.028, 0.0, 9.0, 0.0)
    assert effect.points == "3.1 points [2.8, 3.4]"
    assert effect.plain == "−0.031 [−0.034, −0.028]"
    assert [percent(v) for v in (1.0, 0.0996, 0.0312, 0.00314, 0.0)] == [
        "100", "10", "3.1", "0.31", "0",
    ]  # fmt: skip


def false_alarms(seeds, make, n, replicates, groups=GROUPS):
    files = (
        measured(*make(seed, n), n_bootstrap=replicates, groups=groups) for seed in range(seeds)
    )
    return sum(bool(alarms(findings(m))) for m in files)


def calibrated(seed, n):
    return drawn(seed, n=n)


def class_prior(seed, n):
    probs = np.broadcast_to(expit(np.linspace(-1, -5, CLASSES)), (n, CLASSES)).copy()
    rng = np.random.default_rng(seed)
    return probs, (rng.random(probs.shape) < probs).astype(np.int8)


def hanging_together(share):
    """Calibrated entry by entry, with a random effect that all classes of an image share.

    Labels are the signs of normal variables; ``share`` is their correlation within an image.
    """

    def make(seed, n):
        probs = drawn(seed, n=n)[0]
        rng = np.random.default_rng((seed, 1))
        common, own = rng.normal(size=(n, 1)), rng.normal(size=probs.shape)
        latent = np.sqrt(share) * common + np.sqrt(1 - share) * own
        return probs, (stats.norm.cdf(latent) < probs).astype(np.int8)

    return make


def test_calibrated_files_whose_labels_hang_together_hardly_ever_raise_an_alarm():
    assert false_alarms(8, hanging_together(0.5), 60, 50) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_labels_that_hang_together_raise_alarms_in_at_most_6_of_100_files(share):
    """Of 200 files in four groups."""
    assert false_alarms(200, hanging_together(share), 150, 200, FOUR_GROUPS) <= 12


def test_calibrated_files_hardly_ever_raise_an_alarm():
    assert false_alarms(8, calibrated, 60, 50) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("make", [calibrated, class_prior])
def test_at_most_5_of_100_calibrated_files_raise_an_alarm(make):
    assert false_alarms(100, make, 300, 200) <= 5


def test_there_are_as_many_kinds_as_the_correction_counts():
    assert len(set(TESTED)) == 7
