"""From finished runs to results and tables, on a random CLIP and drawn images."""

import csv
import dataclasses
import io
import json
import shutil

import numpy as np
import pytest
import torch

from ccr_diag import report
from ccr_diag.analysis import _check_comparable, analyse, compared_models, load_runs
from ccr_diag.config import FinetuneConfig
from ccr_diag.data import load_dataset
from ccr_diag.errors import BadCheckpoint, BadConfig
from ccr_diag.features import image_features
from ccr_diag.finetune import finetune
from ccr_diag.metrics.table import METRICS, measure
from ccr_diag.predictions import load_predictions
from ccr_diag.prompts import zero_shot_embeddings
from ccr_diag.results import load_results
from ccr_diag.runs import DONE, RESULTS

SETTINGS = {
    "bce": {},
    "ranking": {"loss": "ranking"},
    "ccr": {"regularizer": "ccr"},
    "learned": {"bias": "learned"},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory, tiny_backbone, drawn_data):
    """Two splits of four runs."""
    root = tmp_path_factory.mktemp("runs")
    train = load_dataset(drawn_data, "train").with_new(["grey square"])
    for name, changes in SETTINGS.items():
        for seed in (1, 2):
            config = FinetuneConfig(
                shots=4,
                epochs=2,
                learning_rate=0.5,
                new_classes=("grey square",),
                seed=seed,
                **changes,
            )
            finetune(config, root / name / f"split-{seed}", backbone=tiny_backbone, train=train)
    return [root / name for name in SETTINGS]


@pytest.fixture
def drawn_test(drawn_data):
    return load_dataset(drawn_data, "test").with_new(["grey square"])


@pytest.fixture
def results(folders, tiny_backbone, drawn_test, tmp_path):
    features = image_features(tiny_backbone, drawn_test)
    return analyse(load_runs(folders), tiny_backbone, drawn_test, features, tmp_path)


def test_each_model_is_read_through_a_map_that_its_name_tells(folders, tiny_backbone):
    models = compared_models(load_runs(folders), tiny_backbone)
    assert [(m.name, m.spaces[0].map.rule) for m in models] == [
        ("zero-shot", "none"),
        ("zero-shot (prior bias)", "prior"),
        ("bce", "none"),
        ("ranking", "none"),
        ("ranking (prior bias)", "prior"),
        ("bce+ccr", "none"),
        ("bce (learned bias)", "learned"),
    ]
    assert all(len(m.spaces) == 2 for m in models)
    one_rule = compared_models(load_runs(folders), tiny_backbone, "mean")
    assert {m.spaces[0].map.rule for m in one_rule} == {"mean"}
    with pytest.raises(BadConfig, match=r"but got 'prio'; did you mean 'prior'\?"):
        compared_models(load_runs(folders), tiny_backbone, "prio")


def test_results_are_the_measurements_of_the_saved_predictions(results, tmp_path):
    assert results == load_results(tmp_path / RESULTS)
    for model, stem in [(results["models"][0], "zero-shot"), (results["models"][-2], "bce-ccr")]:
        for split in model["splits"]:
            saved = load_predictions(
                tmp_path / "predictions" / f"{stem}-split-{split['split']}.npz"
            )
            assert saved.map.as_dict() == split["map"]
            assert measure(saved).to_json() == split["measurements"]
            assert saved.provenance["model"] == model["name"]


def test_scores_are_cosines_of_the_tuned_prompts(
    results, folders, tiny_backbone, drawn_test, tmp_path
):
    saved = load_predictions(tmp_path / "predictions" / "zero-shot-split-1.npz")
    features = image_features(tiny_backbone, drawn_test)
    expected = features @ zero_shot_embeddings(tiny_backbone, drawn_test.class_names).T
    np.testing.assert_allclose(saved.scores, expected.numpy(), atol=1e-6)
    tuned = load_predictions(tmp_path / "predictions" / "bce-split-1.npz")
    assert np.abs(tuned.scores - saved.scores).max() > 1e-3
    np.testing.assert_array_equal(tuned.labels, drawn_test.labels)


def test_summaries_are_means_over_splits(results):
    for model in results["models"]:
        values = [s["measurements"]["values"]["base"]["ece_positive"] for s in model["splits"]]
        assert model["summary"]["base"]["ece_positive"]["mean"] == pytest.approx(np.mean(values))
        assert model["summary"]["base"]["ece_positive"]["n"] == 2
    assert results["models"][0]["geometry_summary"]["NP@5"]["mean"] == 1
    assert (
        results["models"][2]["geometry_summary"]["gap"]
        != results["models"][0]["geometry_summary"]["gap"]
    )


def test_tables_say_what_the_results_say(results):
    rows = list(csv.DictReader(io.StringIO(report.to_csv(results))))
    assert len(rows) == 7 * (len(results["models"][0]["summary"]) * len(METRICS) + 3)
    first = next(r for r in rows if (r["model"], r["group"], r["metric"]) == ("bce", "new", "mAP"))
    interval = results["models"][2]["summary"]["new"]["mAP"]
    assert float(first["mean"]) == interval["mean"]
    shown = f"{100 * interval['mean']:.1f} ± {100 * (interval['high'] - interval['mean']):.1f}"
    for text in (report.to_text(results), report.to_markdown(results)):
        line = [line for line in text.split("mAP (%")[1].splitlines() if "BCE " in line][0]
        assert shown in line
    assert json.loads(report.render(results, "json")) == results


def test_a_missing_interval_and_a_missing_value_are_not_made_up():
    assert report.percent({"mean": 0.1234, "high": None}) == "12.3"
    assert report.percent({"mean": None, "high": None}) == "–"


def test_unfinished_missing_and_foreign_runs(folders, tiny_backbone, drawn_test, tmp_path):
    with pytest.raises(BadCheckpoint, match="there is no"):
        load_runs([tmp_path / "nowhere"])
    runs = load_runs(folders[:1])
    done = folders[0] / "split-1" / DONE
    done.unlink()
    try:
        with pytest.raises(
            BadCheckpoint, match="stands at epoch 2 of 2; go on with finetune --resume"
        ):
            load_runs(folders[:1])
    finally:
        done.touch()
    features = torch.zeros(len(drawn_test), 16)
    other = dataclasses.replace(tiny_backbone, fingerprint="0" * 64)
    with pytest.raises(BadCheckpoint, match="must be read with the backbone"):
        analyse(runs, other, drawn_test, features, tmp_path / "out")
    renamed = dataclasses.replace(drawn_test, class_names=("a", "b", "c", "d"))
    with pytest.raises(BadCheckpoint, match="the sets differ in"):
        analyse(runs, tiny_backbone, renamed, features, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_models_of_the_same_name_are_told_apart_by_folder(folders, tiny_backbone):
    bce, ranking, _, learned = folders
    pair = [model.name for model in compared_models(load_runs([bce, learned]), tiny_backbone)]
    assert pair == ["zero-shot", "zero-shot (prior bias)", "bce", "bce (learned bias)"]
    pair = [
        model.name for model in compared_models(load_runs([bce, learned]), tiny_backbone, "mean")
    ]
    assert pair[1:] == ["bce (mean bias) [bce]", "bce (mean bias) [learned]"]
    again = load_runs([bce / "split-1", ranking / "split-1"])
    names = [model.name for model in compared_models(again, tiny_backbone, "mean")]
    assert len(set(names)) == 3
    runs = load_runs([ranking / "split-1", ranking / "split-2"])
    names = [model.name for model in compared_models(runs, tiny_backbone)]
    assert len(set(names)) == len(names) == 6


def test_what_cannot_be_compared_is_refused(folders, tmp_path):
    bce, ranking, *_ = folders
    for again in (bce, bce / "split-1"):
        with pytest.raises(BadCheckpoint, match="compared once, but .* is named twice"):
            load_runs([bce, again])
    shutil.copytree(bce / "split-1", tmp_path / "mixed" / "split-1")
    shutil.copytree(ranking / "split-2", tmp_path / "mixed" / "split-2")
    with pytest.raises(BadCheckpoint, match="must differ in their seed alone, but .*split-2 has"):
        load_runs([tmp_path / "mixed"])
    run = load_runs([bce])[0]
    other = dataclasses.replace(run.splits[0], groups=("new",) * 4, path=tmp_path / "other")
    with pytest.raises(BadCheckpoint, match="same head, medium, tail and new classes"):
        _check_comparable([run, dataclasses.replace(run, splits=(other,))])
