"""The results file, read back and checked."""

import json
from pathlib import Path
from typing import Any

import pytest

from ccr_diag.errors import BadData
from ccr_diag.results import load_results


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_results_are_read_back_with_undefined_as_none(results: dict[str, Any], tmp_path: Path):
    entry = results["models"][0]["groups"]["head"]["metrics"]["map"]
    entry["value"] = float("nan")
    loaded = load_results(write(tmp_path / "results.json", results))
    entry["value"] = None
    assert loaded == results


def test_a_missing_file_is_named(tmp_path: Path):
    path = tmp_path / "results.json"
    with pytest.raises(BadData) as error:
        load_results(path)
    assert str(error.value) == (
        f"The results file must be readable, but {path} is not (No such file or directory); "
        "write it with 'ccr-diag analyze'."
    )


def test_a_file_that_is_not_json_is_named(tmp_path: Path):
    path = tmp_path / "results.json"
    path.write_text("{")
    with pytest.raises(
        BadData, match=r"^A results file must be JSON, but .* is not \(.*\); write it"
    ):
        load_results(path)


@pytest.mark.parametrize("content", [{}, {"schema_version": 1}, {"schema": 1}, [], None])
def test_another_schema_is_refused(content: object, tmp_path: Path):
    path = write(tmp_path / "results.json", content)
    found = content.get("schema_version") if isinstance(content, dict) else None
    with pytest.raises(BadData) as error:
        load_results(path)
    assert str(error.value) == (
        f"A results file must have schema_version 2, but {path} has {found!r}; "
        "write it anew with 'ccr-diag analyze'."
    )


def drop(*keys: Any) -> Any:
    def change(results: dict[str, Any]) -> None:
        part: Any = results
        for key in keys[:-1]:
            part = part[key]
        del part[keys[-1]]

    return change


def set_to(value: object, *keys: Any) -> Any:
    def change(results: dict[str, Any]) -> None:
        part: Any = results
        for key in keys[:-1]:
            part = part[key]
        part[keys[-1]] = value

    return change


def paired(**row: Any) -> Any:
    """One pair of models, with a row."""
    return {"method": "", "pairs": [{"a": "zero-shot", "b": "bce", "rows": [row]}]}


SPLIT = ("models", 1, "splits", 0)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (drop("models"), "A results file needs 'definitions', 'provenance', 'differences', "
         "'models' in the file, but 'models' is missing"),
        (drop("definitions", "n_bins"), "A results file needs 'preset', 'n_bins', 'interval', "
         "'metrics' in 'definitions', but 'n_bins' is missing"),
        (drop("models", 1, "classes", 0), "A results file needs 86 entries in 'classes' of model "
         "'zero-shot (prior bias)', but has 85"),
        (set_to([], "models"),
         "A results file must hold at least one model, but 'models' is empty"),
        (drop("models", 0, "label"), "A results file needs 'name', 'label', 'map_rule', "
         "'n_images', 'n_classes', 'n_known', 'n_positive', 'effective_bins', 'metrics', "
         "'reliability', 'groups', 'classes', 'provenance', 'geometry', 'findings', 'splits' in "
         "a model, but 'label' is missing"),
        (set_to("bce", "models", 3, "name"), "Model names must differ, but they are zero-shot, "
         "zero-shot (prior bias), bce, bce, bce+ccr, bce (learned bias), ranking (prior bias)"),
        (drop(*SPLIT, "geometry", "coordinates_text", 0), "A results file needs 86 entries in "
         "'coordinates_text' of model 'zero-shot (prior bias)', but has 85"),
        (set_to(None, *SPLIT, "geometry", "divergence"), "A results file needs 86 entries in "
         "'divergence' of model 'zero-shot (prior bias)', but has NoneType"),
        (drop(*SPLIT, "groups", "tail", "reliability", "positive", "count", 0),
         "A results file needs 15 entries in 'count' of 'reliability', positive, of group 'tail' "
         "of a split of model 'zero-shot (prior bias)', but has 14"),
        (set_to({"metrics": {}}, *SPLIT, "groups", "tail"), "A results file needs 'metrics', "
         "'reliability' in group 'tail' of a split of model 'zero-shot (prior bias)', "
         "but 'reliability' is missing"),
        (set_to({"pairs": []}, "differences"), "A results file needs 'method', 'pairs' in "
         "'differences', but 'method' is missing"),
        (set_to({"method": "", "pairs": [{"a": "bce", "b": "dac", "rows": []}]}, "differences"),
         "Differences must be between models of the file, but 'dac' is none"),
        (set_to(paired(metric="map", group="all", a=0, b=1, difference=1, low=0, high=2, p=0,
                       p_holm=0), "differences"),
         "A results file needs 'metric', 'group', 'a', 'b', 'difference', 'low', 'high', 'p', "
         "'p_holm', 'verdict' in a difference of 'zero-shot' and 'bce', but 'verdict' is missing"),
    ],
)  # fmt: skip
def test_a_broken_layout_is_named(change: Any, rule: str, results: dict[str, Any], tmp_path: Path):
    results = json.loads(json.dumps(results))  # no parts in common
    change(results)
    path = write(tmp_path / "results.json", results)
    with pytest.raises(BadData) as error:
        load_results(path)
    assert str(error.value) == f"{rule} (in {path}); write it anew with 'ccr-diag analyze'."


@pytest.mark.parametrize(
    "change",
    [
        {"definitions": None},
        {"definitions": {"preset": "textbook", "n_bins": "x", "interval": "", "metrics": {}}},
        {"models": [{"name": "bce", "label": None}]},
        {"models": 3},
    ],
    ids=str,
)
def test_an_edited_results_file_is_one_clear_error(results, tmp_path, change):
    models = change.get("models")
    if isinstance(models, list):
        change = {"models": [{**results["models"][0], **models[0]}]}
    path = tmp_path / "results.json"
    path.write_text(json.dumps({**results, **change}))
    with pytest.raises(BadData, match="results.json"):
        load_results(path)
