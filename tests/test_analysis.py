"""From finished runs to results and tables, on a random CLIP and drawn images."""

import csv
import dataclasses
import io
import json
import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from ccr_diag import report
from ccr_diag.analysis import _replicates, analyse, split_file
from ccr_diag.checkpoint import load_checkpoint
from ccr_diag.class_matrices import load_class_matrices
from ccr_diag.compared_models import _check_comparable, compared_models, load_runs
from ccr_diag.config import FinetuneConfig
from ccr_diag.covariance import predicted_correlation
from ccr_diag.data import load_dataset
from ccr_diag.errors import BadCheckpoint, BadConfig
from ccr_diag.features import image_features
from ccr_diag.finetune import finetune
from ccr_diag.metrics.engine import measure_predictions
from ccr_diag.metrics.geometry import TextGeometry
from ccr_diag.metrics.intervals import over_splits
from ccr_diag.metrics.proximity import proximity
from ccr_diag.prompts import zero_shot_embeddings
from ccr_diag.readers.own import load_predictions
from ccr_diag.results import load_results
from ccr_diag.runs import DONE, MATRICES, PREDICTIONS, RESULTS

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


@pytest.fixture(scope="module")
def drawn_test(drawn_data):
    return load_dataset(drawn_data, "test").with_new(["grey square"])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of the results."""
    return tmp_path_factory.mktemp("analysis")


@pytest.fixture(scope="module")
def results(folders, tiny_backbone, drawn_test, written):
    """The analysis of all runs; tests do not change it."""
    features = image_features(tiny_backbone, drawn_test)
    return analyse(load_runs(folders), tiny_backbone, drawn_test, features, written, n_bootstrap=20)


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


def values(metrics):
    return {key: entry["value"] for key, entry in metrics.items()}


def test_splits_are_the_measurements_of_the_saved_predictions(results, written):
    assert results == load_results(written / RESULTS)
    for model, stem in [(results["models"][0], "zero-shot"), (results["models"][-2], "bce-ccr")]:
        for split in model["splits"]:
            saved = load_predictions(written / "predictions" / f"{stem}-split-{split['split']}.npz")
            assert saved.map.as_dict() == split["map"]
            assert saved.provenance["model"] == model["name"]
            measured = measure_predictions(saved, n_bootstrap=0).to_json()
            assert split["metrics"] == values(measured["metrics"])
            assert split["reliability"] == measured["reliability"]
            for group, pool in measured["groups"].items():
                assert split["groups"][group]["metrics"] == values(pool["metrics"])
                assert split["groups"][group]["reliability"] == pool["reliability"]
            for ours, theirs in zip(split["classes"], measured["classes"], strict=True):
                assert ours == {"name": theirs["name"], "metrics": values(theirs["metrics"])}


def test_differences_are_of_all_pairs_over_splits(results):
    found = results["differences"]
    models = {model["name"]: model for model in results["models"]}
    assert {(p["a"], p["b"]) for p in found["pairs"]} == set(combinations(models, 2))
    assert "over splits" in found["method"]
    for pair in found["pairs"]:
        a, b = ([s["metrics"] for s in models[pair[side]]["splits"]] for side in ("a", "b"))
        row = next(row for row in pair["rows"] if row["metric"] == "brier")
        expected = over_splits([y["brier"] - x["brier"] for x, y in zip(a, b, strict=True)])
        assert row["difference"] == pytest.approx(expected.mean)
        assert row["group"] == "all"
        if row["low"] is not None:  # two readings of one text space may differ by a constant
            ends = np.clip([expected.low, expected.high], -1, 1)
            assert [row["low"], row["high"]] == pytest.approx(ends.tolist())


def test_one_split_has_the_bootstrap_interval(folders, tiny_backbone, drawn_test, tmp_path):
    runs = load_runs([folders[0] / "split-2"])
    features = image_features(tiny_backbone, drawn_test)
    options = {"preset": "paper", "n_bins": 4, "n_bootstrap": 10, "seed": 3}
    found = analyse(runs, tiny_backbone, drawn_test, features, tmp_path, **options)
    saved = load_predictions(tmp_path / "predictions" / "bce-split-2.npz")
    measured = measure_predictions(saved, **options).to_json()
    model = found["models"][2]
    assert {key: model[key] for key in measured} == measured
    assert model["metrics"]["brier"]["low"] < model["metrics"]["brier"]["high"]
    assert len(model["splits"]) == 1
    assert found["definitions"]["preset"] == "paper"
    assert found["definitions"]["n_bins"] == 4
    assert "bootstrap" in found["definitions"]["interval"]
    assert "over images" in found["differences"]["method"]
    assert len(found["differences"]["pairs"]) == len(list(combinations(found["models"], 2)))
    assert found == load_results(tmp_path / RESULTS)


def test_nothing_is_written_without_a_folder(folders, tiny_backbone, drawn_test, tmp_path):
    runs = load_runs([folders[0] / "split-1"])
    features = image_features(tiny_backbone, drawn_test)
    before = sorted(folders[0].rglob("*"))
    analyse(runs, tiny_backbone, drawn_test, features, None, n_bootstrap=0)
    assert list(tmp_path.iterdir()) == []
    assert sorted(folders[0].rglob("*")) == before


def test_predictions_hold_what_is_known_of_classes_and_images(
    results, folders, tiny_backbone, drawn_data, drawn_test, written
):
    saved = load_predictions(written / "predictions" / "bce-split-1.npz")
    train = load_dataset(drawn_data, "train")
    np.testing.assert_array_equal(saved.class_counts, (train.labels == 1).sum(axis=0))
    features = image_features(tiny_backbone, drawn_test).numpy()
    np.testing.assert_array_equal(saved.proximity, proximity(features, k=10))
    every = results["models"][2]["metrics"]
    assert {"piece_decision", "signed_error_slope"} <= every.keys()


def test_old_checkpoints_know_no_class_counts(folders, tiny_backbone, drawn_test, tmp_path):
    runs = load_runs([folders[0] / "split-1"])
    del runs[0].splits[0].facts["class_counts"]
    features = image_features(tiny_backbone, drawn_test)
    found = analyse(runs, tiny_backbone, drawn_test, features, tmp_path, n_bootstrap=0)
    assert "signed_error_slope" not in found["models"][0]["metrics"]
    assert load_checkpoint(folders[0] / "split-1").facts["class_counts"]


def test_only_the_first_of_several_splits_is_drawn_again():
    assert _replicates(1, 200) == [200]
    assert _replicates(3, 200) == [50, 0, 0]
    assert _replicates(2, 20) == [20, 0]


def test_scores_are_cosines_of_the_tuned_prompts(
    results, folders, tiny_backbone, drawn_test, written
):
    saved = load_predictions(written / "predictions" / "zero-shot-split-1.npz")
    features = image_features(tiny_backbone, drawn_test)
    expected = features @ zero_shot_embeddings(tiny_backbone, drawn_test.class_names).T
    np.testing.assert_allclose(saved.values, expected.numpy(), atol=1e-6)
    tuned = load_predictions(written / "predictions" / "bce-split-1.npz")
    assert np.abs(tuned.values - saved.values).max() > 1e-3
    np.testing.assert_array_equal(tuned.labels, drawn_test.labels)


def test_summaries_are_means_over_splits(results):
    for model in results["models"]:
        for group, metric in [("base", "ece_positive"), ("new", "map"), (None, "smece_positive")]:
            places = [s["groups"][group] if group else s for s in model["splits"]]
            expected = over_splits([place["metrics"][metric] for place in places])
            entry = (model["groups"][group] if group else model)["metrics"][metric]
            assert list(entry.values()) == [expected.mean, expected.low, expected.high]
            assert expected.n == 2
        for i, entry in enumerate(model["classes"]):
            of_class = [s["classes"][i]["metrics"]["brier"] for s in model["splits"]]
            assert entry["metrics"]["brier"]["value"] == pytest.approx(np.mean(of_class))
        assert model["reliability"] == model["splits"][0]["reliability"]
        assert model["map"] == model["splits"][0]["map"]
    assert "splits" in results["definitions"]["interval"]


def test_geometry_is_of_each_text_space(results, folders, tiny_backbone):
    runs = load_runs(folders)
    spaces = compared_models(runs, tiny_backbone)[2].spaces
    before = zero_shot_embeddings(tiny_backbone, runs[0].splits[0].class_names).numpy()
    for split, space in zip(results["models"][2]["splits"], spaces, strict=True):
        expected = TextGeometry.compare(
            before, space.embeddings.numpy(), runs[0].splits[0].class_names
        )
        assert split["geometry"]["text"] == expected.to_json()
        assert split["geometry"]["divergence"] == expected.divergence.tolist()
        assert split["geometry"]["preservation"] == expected.preservation.tolist()
    zero_shot, tuned = (results["models"][i]["geometry"]["summary"] for i in (0, 2))
    assert zero_shot["NP@5"]["value"] == 1
    assert tuned["gap"] != zero_shot["gap"]
    means = [np.mean(split["geometry"]["divergence"]) for split in results["models"][2]["splits"]]
    assert tuned["ED"]["value"] == pytest.approx(np.mean(means))


def test_matrices_are_of_the_first_split(results, written, drawn_test):
    saved = {path.name for path in (written / MATRICES).iterdir()}
    assert saved == {split_file(model["name"], 1) for model in results["models"]}
    found = load_class_matrices(written / MATRICES / split_file("bce+ccr", 1))
    said = load_predictions(written / PREDICTIONS / split_file("bce+ccr", 1))
    matrix, alive = predicted_correlation(
        torch.from_numpy(said.logits), torch.from_numpy(said.labels), found.estimator
    )
    assert found.class_names == said.class_names == drawn_test.class_names
    np.testing.assert_allclose(
        np.nan_to_num(found.predicted), matrix * torch.outer(alive, alive), atol=1e-6
    )


def test_the_mean_image_of_a_class_is_where_its_images_are(results, drawn_test):
    images = np.array(results["image_coordinates"])
    assert len(images) == len(drawn_test)  # few enough to be drawn all
    for mean, labels in zip(results["class_image_coordinates"], drawn_test.labels.T, strict=True):
        np.testing.assert_allclose(mean, images[labels == 1].mean(axis=0), atol=1e-9)


def test_tables_say_what_the_results_say(results):
    rows = list(csv.DictReader(io.StringIO(report.to_csv(results))))
    first = next(r for r in rows if (r["model"], r["group"], r["metric"]) == ("bce", "new", "map"))
    entry = results["models"][2]["groups"]["new"]["metrics"]["map"]
    assert float(first["value"]) == entry["value"]
    shown = f"{100 * entry['value']:.1f} ± {100 * (entry['high'] - entry['value']):.1f}"
    for text in (report.to_text(results), report.to_markdown(results)):
        line = [line for line in text.split("mAP by group")[1].splitlines() if "BCE " in line][0]
        assert shown in line
    assert json.loads(report.render(results, "json")) == results


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


@pytest.fixture
def single(drawn_data, tmp_path):
    """Data of one class: the red squares alone."""
    images = Path(drawn_data.removeprefix("manifest:"))
    rows = list(csv.DictReader(io.StringIO(images.read_text())))
    for row in rows:
        row["image"] = str(images.parent / row["image"])
        for column in ("labels", "negatives"):
            row[column] = "red square" if "red square" in row[column] else ""
    with (tmp_path / "red.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return f"manifest:{tmp_path / 'red.csv'}"


def test_a_single_class_is_analysed_without_text_geometry(
    ccr, single, tiny_clip, tiny_backbone, tmp_path
):
    train = load_dataset(single, "train")
    config = FinetuneConfig(model=tiny_clip, data=single, shots=4, epochs=1)
    for seed in (1, 2):
        run = tmp_path / "runs" / f"split-{seed}"
        finetune(config.replace(seed=seed), run, backbone=tiny_backbone, train=train)
    out = tmp_path / "analysis"
    for options in (("--bootstrap", 20, "--preset", "textbook"), ("--bootstrap", 0)):
        done = ccr(
            "analyze", "checkpoint", tmp_path / "runs", "--output", out, "--overwrite", *options
        )
        assert (done.exit_code, "Text geometry" in done.stdout) == (0, False), done.stderr
    found = load_results(out / RESULTS)
    assert "geometry" not in found["definitions"]
    for model in found["models"]:
        assert (model["n_classes"], model["geometry"]) == (1, {})
        assert [split["geometry"] for split in model["splits"]] == [{}, {}]
    for form in ("text", "markdown", "csv", "json", "latex"):
        assert "brier" in report.render(found, form).lower()
    drawn = ccr("figures", out, "--format", "png")
    assert drawn.exit_code == 0, drawn.stderr
    names = {path.stem for path in out.rglob("*.png")}
    assert "calibration_by_frequency" in names
    assert not names & {"text_geometry", "modality_gap"}


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
