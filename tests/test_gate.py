"""The quality gate: what a condition means, which models fail it, and how it is said."""

import json
import operator
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccr_diag.data.groups import GROUPS as OF_CLASSES
from ccr_diag.errors import BadConfig
from ccr_diag.gate import GROUPS, Condition, read_conditions, violations
from ccr_diag.metrics.measurement import pools
from ccr_diag.metrics.registry import METRICS

COMPARED = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
SPACES = st.text(" ", max_size=2)
FRACTIONS = st.floats(-2, 2)


def one(text):
    (condition,) = read_conditions([text])
    return condition


@given(
    st.sampled_from(list(METRICS)), st.sampled_from(GROUPS), st.sampled_from(list(COMPARED)),
    FRACTIONS, SPACES,
)  # fmt: skip
def test_a_condition_is_read_as_it_was_written(metric, group, sign, limit, space):
    said = space.join(["", metric, "@", group, sign, repr(limit), ""])
    assert one(said) == Condition(metric, group, sign, limit)
    assert one(f"{metric}{sign}{limit!r}") == Condition(metric, "all", sign, limit)


def test_the_groups_are_those_that_are_measured():
    assert set(GROUPS) == set(pools(OF_CLASSES, len(OF_CLASSES))) == {"all", "base", *OF_CLASSES}


def test_a_name_without_its_view_is_the_positive_one_or_else_of_decisions():
    short = {
        "ece": "ece_positive", "ace": "ace_positive", "mce": "mce_positive",
        "mce_weighted": "mce_weighted_positive", "smece": "smece_positive",
        "piece": "piece_decision", "map": "map", "ece_decision": "ece_decision",
        "mAP": "map", "ECE": "ece_positive", "signed-error": "signed_error",
    }  # fmt: skip
    for name, meant in short.items():
        assert one(f"{name}>0.1").metric == meant


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ecce>0.1", "'ecce'; did you mean"),
        ("ece_possitive>0.1", "did you mean 'ece_positive'?"),
        ("ece@tial>0.1", "'tial'; did you mean 'tail'?"),
        ("ece", "must be METRIC[@GROUP] OP NUMBER"),
        ("ece=0.1", "must be METRIC[@GROUP] OP NUMBER"),
        ("ece==0.1", "must be METRIC[@GROUP] OP NUMBER"),
        ("ece>", "must be METRIC[@GROUP] OP NUMBER"),
        (">0.1", "must be METRIC[@GROUP] OP NUMBER"),
        ("", "must be METRIC[@GROUP] OP NUMBER"),
        ("ece@>0.1", "must be METRIC[@GROUP] OP NUMBER"),
        ("ece>0.1 0.2", "must be METRIC[@GROUP] OP NUMBER"),
        ("ece>10%", "finite, and a fraction (0.1 is 10 %), but got '10%'"),
        ("ece>nan", "but got 'nan'"),
        ("ece>inf", "but got 'inf'"),
        ("ece=>0.1", "must be METRIC"),
        ("ece>=>0.1", "but got '>0.1'"),
    ],
)
def test_what_is_no_condition_is_refused(text, said):
    with pytest.raises(BadConfig, match=re.escape(said)):
        read_conditions(["map<0.5", text])


@st.composite
def cases(draw):
    """Models with some groups, and conditions; few values, so that limits are met exactly."""
    number = st.sampled_from([0.0, 0.1, 0.25, 0.3, 1 / 3]) | FRACTIONS
    entry = st.none() | number.map(lambda value: {"value": value, "low": None, "high": None})
    entry |= st.just({"value": None, "low": None, "high": None})
    metrics = ("ece_positive", "map")
    pool = st.fixed_dictionaries({key: entry for key in metrics}).map(
        lambda found: {"metrics": {k: v for k, v in found.items() if v is not None}}
    )
    models = [
        draw(pool) | {"name": f"m{i}", "groups": draw(st.dictionaries(st.just("tail"), pool))}
        for i in range(draw(st.integers(0, 3)))
    ]
    condition = st.builds(
        Condition, st.sampled_from(metrics), st.sampled_from(["all", "tail"]),
        st.sampled_from(list(COMPARED)), number,
    )  # fmt: skip
    return draw(st.lists(condition, max_size=3)), models


@given(cases())
def test_every_model_that_fails_a_condition_is_named_once_a_condition(case):
    conditions, models = case
    said = list(violations(conditions, models))
    place = iter(said)
    for model in models:
        for condition in conditions:
            pool = model if condition.group == "all" else model["groups"].get("tail")
            value = ((pool or {"metrics": {}})["metrics"].get(condition.metric) or {}).get("value")
            if value is None:
                assert "could not be measured in model " + model["name"] in next(place)
            elif COMPARED[condition.sign](value, condition.limit):
                line = next(place)
                shape = r"Gate: (\w+) of (\w+) is (\S+) in model (\w+), which is (\S+) (\S+)"
                metric, group, shown, name, sign, _ = re.fullmatch(shape, line).groups()
                assert (metric, group, name, sign) == (
                    condition.metric, condition.group, model["name"], condition.sign,
                )  # fmt: skip
                assert COMPARED[condition.sign](float(shown), condition.limit)
                assert float(shown) == pytest.approx(value, rel=5e-3)
    assert next(place, None) is None


def test_the_sentence():
    models = [{
        "name": "X", "metrics": {}, "groups": {"tail": {"metrics": {"ece_positive": {
            "value": 0.13123, "low": None, "high": None}}}},
    }]  # fmt: skip
    assert list(violations([one("ece@tail>0.1")], models)) == [
        "Gate: ece_positive of tail is 0.131 in model X, which is > 0.1"
    ]
    assert list(violations([one("ece@tail>0.1312")], models)) == [
        "Gate: ece_positive of tail is 0.13123 in model X, which is > 0.1312"
    ]
    assert list(violations([one("ece<0.1")], models)) == [
        "Gate: ece_positive of all could not be measured in model X, so that it is not known "
        "whether it is < 0.1"
    ]
    assert list(violations([one("ece@tail<0.1")], models)) == []


@pytest.fixture
def files(tmp_path):
    """Predictions of a good and of a bad model."""
    rng = np.random.default_rng(0)
    probs = rng.random((400, 3))
    labels = (rng.random((400, 3)) < probs).astype(np.int8)
    names = {"class_names": ["a", "b", "c"], "labels": labels}
    np.savez(tmp_path / "good.npz", probs=probs, **names)
    np.savez(tmp_path / "bad.npz", probs=1 - probs, **names)
    return tmp_path


def measured(text):
    """All but the command line, which is another."""
    return {key: part for key, part in json.loads(text).items() if key != "provenance"}


def test_predictions_that_fail_end_with_3_and_all_is_written(ccr, files):
    call = ("analyze", "predictions", files / "good.npz", files / "bad.npz", "--bootstrap", 0)
    plain = ccr(*call, "--format", "json")
    assert plain.exit_code == 0
    gate = ("--fail-if", "ece>0.2", "--fail-if", "piece > 0.2", "--fail-if", "map@all<0.01")
    result = ccr(*call, *gate, "--format", "json")
    assert (result.exit_code, measured(result.stdout)) == (3, measured(plain.stdout))
    lines = [line for line in result.stderr.splitlines() if line.startswith("Gate")]
    assert [line.split(" in model ")[0].split(" is ")[0] for line in lines] == [
        "Gate: piece_decision of all could not be measured",
        "Gate: ece_positive of all",
        "Gate: piece_decision of all could not be measured",
    ]
    assert "in model bad" in lines[1]
    out = files / "out.json"
    kept = ccr(*call, *gate, "--format", "json", "-o", out)
    assert (kept.exit_code, kept.stdout) == (3, "")
    assert measured(out.read_text()) == measured(plain.stdout)
    assert f"Written: {out}" in kept.stderr
    values = [m["metrics"]["ece_positive"]["value"] for m in json.loads(plain.stdout)["models"]]
    passed = ccr(*call, "--fail-if", f"ece>{max(values)!r}", "--fail-if", "map<0")
    assert (passed.exit_code, "Gate" in passed.stderr) == (0, False)
    assert ccr(*call, "--fail-if", f"ece>={max(values)!r}").exit_code == 3


@pytest.mark.parametrize("call", [("predictions",), ("checkpoint",)])
@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_wrong_condition_is_refused_before_anything_is_read(ccr, tmp_path, call, more):
    result = ccr("analyze", *call, tmp_path / "none", "--fail-if", "ecce>0.1", *more)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "did you mean 'ece" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_checkpoints_are_gated_and_zero_shot_beside_them_is_not(
    ccr, tiny_clip, drawn_data, tmp_path
):
    own = ["--model", tiny_clip, "--data", drawn_data, "--shots", 4, "--epochs", 1]
    tuned = ccr("finetune", *own, "--loss", "ranking", "--device", "cpu", "-o", tmp_path / "run")
    assert tuned.exit_code == 0, tuned.output
    call = ("analyze", "checkpoint", tmp_path / "run", "--bootstrap", 0, "-o", tmp_path / "out")
    result = ccr(*call, "--fail-if", "ece>=0", "--fail-if", "ece@new>=0")
    assert result.exit_code == 3, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("Gate")]
    names = [
        m["name"] for m in json.loads((tmp_path / "out" / "results.json").read_text())["models"]
    ]
    given_names = [name for name in names if not name.startswith("zero-shot")]
    assert len(given_names) == 2 < len(names)
    for name, (of_all, of_new) in zip(
        given_names, zip(lines[::2], lines[1::2], strict=True), strict=True
    ):
        assert f"in model {name}, which is >= 0" in of_all
        assert f"ece_positive of new could not be measured in model {name}," in of_new
    assert (tmp_path / "out" / "tables.md").exists()
