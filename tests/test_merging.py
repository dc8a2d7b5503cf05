"""Several analyses as one, and what is refused."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_results import without_splits

from ccr_diag.class_matrices import ClassMatrices
from ccr_diag.errors import BadData
from ccr_diag.merging import merge_matrices, merge_results, merge_stability
from ccr_diag.results import check_results

A, B = Path("a/results.json"), Path("b/results.json")
Made = dict[str, Any]


@pytest.fixture(scope="module")
def few(shared_results: Made) -> Made:
    """Zero-shot, zero-shot with the prior's bias, BCE and Ranking; not to be changed."""
    return shared_results | {"models": shared_results["models"][:4]}


@pytest.fixture
def pair(few: Made) -> tuple[Made, Made]:
    """One analysis with BCE, and one with Ranking, each with both zero-shots; to be changed."""
    models = few["models"]
    halves = [models[:3], [*models[:2], models[3]]]
    a, b = (few | {"models": copy.deepcopy(half)} for half in halves)
    return a, b | {"definitions": copy.deepcopy(few["definitions"])}


def test_models_of_all_stand_side_by_side_and_those_of_both_once(few: Made, pair):
    assert merge_results([(A, pair[0]), (B, pair[1])]) == few
    assert check_results(merge_results([(A, pair[0]), (B, pair[1])]), A)


def test_one_analysis_is_left_as_it_is(few: Made):
    assert merge_results([(A, few)]) is few


def test_the_same_analysis_twice_is_one(few: Made):
    assert merge_results([(A, few), (B, copy.deepcopy(few))]) == few


def test_where_a_model_is_from_and_what_was_found_do_not_set_it_apart(pair):
    pair[1]["models"][0].update(provenance={"by": "hand"}, findings=[])
    assert len(merge_results([(A, pair[0]), (B, pair[1])])["models"]) == 4


def test_bare_predictions_go_beside_checkpoints_on_the_same_labels(few: Made):
    bare = without_splits(copy.deepcopy(few))
    bare["models"] = [bare["models"][3] | {"name": "mine"}]
    merged = merge_results([(B, bare), (A, few)])
    assert [model["name"] for model in merged["models"]][0] == "mine"
    assert merged["data"] == few["data"]
    assert merged["image_coordinates"] == few["image_coordinates"]


def test_intervals_are_said_to_be_over_splits_if_any_are(pair):
    assert merge_results([(A, pair[0])])["definitions"]["interval"] == "95 % over splits"
    pair[0]["definitions"] = pair[0]["definitions"] | {"interval": "seed 0"}
    pair[1]["definitions"]["interval"] = "seed 1"
    said = merge_results([(A, pair[0]), (B, pair[1])])["definitions"]["interval"]
    assert said == "seed 0; or seed 1"
    pair[1]["definitions"]["interval"] = over = "95 % intervals: Student's t over splits"
    assert merge_results([(A, pair[0]), (B, pair[1])])["definitions"]["interval"] == over


def test_metrics_of_either_are_defined(pair):
    known = pair[1]["definitions"]["metrics"]
    known["nll"] = {"description": "new"}
    del known["map"]
    merged = merge_results([(A, pair[0]), (B, pair[1])])["definitions"]["metrics"]
    assert set(merged) == {*pair[0]["definitions"]["metrics"], "nll"}


def test_compared_pairs_are_put_together(pair):
    def compared(*pairs: tuple[str, str]) -> Made:
        return {"method": "paired", "pairs": [{"a": a, "b": b, "rows": []} for a, b in pairs]}

    a, b = pair
    a["differences"] = compared(("zero-shot", "bce"), ("zero-shot", "zero-shot (prior bias)"))
    b["differences"] = compared(("zero-shot", "zero-shot (prior bias)"), ("zero-shot", "ranking"))
    merged = merge_results([(A, a), (B, b)])["differences"]
    assert merged["method"] == "paired"
    assert sorted(pair["b"] for pair in merged["pairs"]) == [
        "bce", "ranking", "zero-shot (prior bias)",
    ]  # fmt: skip
    a["differences"] = {}
    assert merge_results([(A, a), (B, b)])["differences"] == b["differences"]


def changed(path: str, value: Any):
    """A function that puts a value at a path in results: ``models.0.n_images``."""

    def change(results: Made) -> None:
        *where, last = [int(key) if key.isdigit() else key for key in path.split(".")]
        part: Any = results
        for key in where:
            part = part[key]
        part[last] = value

    return change


def other_class(results: Made) -> None:
    for model in results["models"]:
        model["classes"][5]["name"] = "yak"


def other_order(results: Made) -> None:
    for model in results["models"]:
        model["classes"][0], model["classes"][1] = model["classes"][1], model["classes"][0]


TOGETHER = "; analyse the runs together with one 'ccr-diag analyze checkpoint'"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (other_class, "on the same classes, but 'class 5' is a class of a/results.json and none "
         "of b/results.json; draw them apart, or analyse both on one list of classes."),
        (other_order, "on the same classes, but they stand in another order in b/results.json"),
        (changed("models.0.classes.3.group", "new"), "with the same class groups, but 'class 3' "
         "is 'head' in a/results.json and 'new' in b/results.json; analyse both with"),
        (changed("models.0.classes.3.group", None), "'head' in a/results.json and of no group in"),
        (changed("models.0.n_images", 399), "on the same images, but there are 400 in "
         "a/results.json and 399 in b/results.json; analyse both on the same images and labels."),
        (changed("models.0.classes.7.n_positive", 99), "on the same labels, but class 'class 7' "
         "has 12 positive labels in a/results.json and 99 in b/results.json"),
        (changed("models.0.classes.7.n_known", 1), "has 400 known labels in a/results.json and 1"),
        (changed("definitions.preset", "procal"), "by the same definitions, but preset is "
         "'textbook' in a/results.json and 'procal' in b/results.json; measure them alike"),
        (changed("definitions.n_bins", 10), "n_bins is 15 in a/results.json and 10 in"),
        (changed("definitions.threshold", 0.1), "threshold is None in a/results.json and 0.1 in"),
        (changed("definitions.metrics.map", {}), "map is defined otherwise in a/results.json"),
        (changed("data", {"name": "coco", "split": "val"}), "on the same data, but it is made-up, "
         "split test and coco, split val in a/results.json and b/results.json" + TOGETHER),
        (changed("image_coordinates", [[9, 9]]), "images and zero-shot texts lie elsewhere in"),
        (changed("models.1.map", {"scale": 100.0, "bias": -1.0, "rule": "prior"}),
         "'zero-shot (prior bias)' has another probability map, fitted on other training images "
         "or by another rule, in b/results.json than in a/results.json" + TOGETHER),
        (changed("models.0.splits", []), "'zero-shot' has another probability map"),
        (changed("models.0.metrics.map.value", 0.1), "under names of their own, but 'zero-shot' "
         "has other numbers in b/results.json than in a/results.json" + TOGETHER),
    ],
)  # fmt: skip
def test_what_does_not_compare_is_refused(pair, change, text: str):
    change(pair[1])
    with pytest.raises(BadData) as error:
        merge_results([(A, pair[0]), (B, pair[1])])
    said = str(error.value)
    assert said.startswith("Analyses go into one figure if measured ")
    assert text in said
    assert said.endswith(".")
    assert said.count("; ") >= 1


def test_another_scale_of_the_text_space_is_refused(pair):
    a, b = pair
    a["models"], b["models"] = [a["models"][0]], [b["models"][1]]
    b["models"][0]["map"] = b["models"][0]["map"] | {"scale": 50.0}
    with pytest.raises(BadData) as error:
        merge_results([(A, a), (B, b)])
    assert "zero-shot's is 100 in a/results.json and 50 in b/results.json" in str(error.value)


def test_coordinates_may_differ_in_rounding(pair):
    points = [[x + 1e-6, y] for x, y in pair[1]["image_coordinates"]]
    pair[1]["image_coordinates"] = points
    assert len(merge_results([(A, pair[0]), (B, pair[1])])["models"]) == 4


def test_matrices_of_all_models_are_kept():
    def matrices(name: str) -> ClassMatrices:
        return ClassMatrices(("a", "b"), *(np.eye(2, dtype=np.float32),) * 3, estimator=name)

    a, again, b = matrices("uncentred"), matrices("centred"), matrices("uncentred")
    merged = merge_matrices([{"zero-shot": a}, {}, {"zero-shot": again, "bce": b}])
    assert merged["zero-shot"] is a
    assert merged["bce"] is b
    assert len(merged) == 2


def record(*names: str, **definitions: Any) -> Made:
    models = [{"name": name, "whole": [], "batches": []} for name in names]
    return {"schema_version": 1, "definitions": {"seed": 0} | definitions, "models": models}


def test_records_of_correlations_are_put_together():
    merged = merge_stability([(A, record("x", "y")), (B, record("y", "z"))])
    assert [model["name"] for model in merged["models"]] == ["x", "y", "z"]
    assert merged["definitions"] == {"seed": 0}


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (record("z", seed=1), "a/results.json and b/results.json differ in 'seed'"),
        (record("x") | {"models": [{"name": "x"}]}, "'x' has others in b/results.json"),
    ],
)
def test_records_drawn_otherwise_are_refused(other: Made, text: str):
    with pytest.raises(BadData) as error:
        merge_stability([(A, record("x")), (B, other)])
    assert text in str(error.value)
    assert str(error.value).endswith("run one 'ccr-diag analyze correlation' on all files.")
