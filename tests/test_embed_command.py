"""``ccr-diag embed``: what it says, what it leaves in the cache, and what finds it there."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ccr_diag.backbone import Backbone
from ccr_diag.config import CHOICES
from ccr_diag.data import load_dataset
from ccr_diag.errors import BadData
from ccr_diag.features import FLOATS, image_features, local_features
from ccr_diag.measuring import read_features


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CCR_DIAG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def embed(ccr, tiny_clip, drawn_data, cache):
    def run(*args, data=drawn_data):
        return ccr("embed", "--data", data, "--model", tiny_clip, "--device", "cpu", *args)

    return run


@pytest.fixture
def encoded(monkeypatch):
    """How many images each forward pass had."""
    passes = []
    for name in ("encode_images", "encode_positions"):
        whole = getattr(Backbone, name)
        monkeypatch.setattr(
            Backbone, name, lambda self, x, whole=whole: passes.append(len(x)) or whole(self, x)
        )
    return passes


@pytest.fixture
def copied(drawn_data, tmp_path):
    """The data set in a place where it can be spoilt."""
    shutil.copytree(Path(drawn_data.removeprefix("manifest:")).parent, tmp_path / "drawn")
    return tmp_path / "drawn"


def test_it_says_what_it_encoded_what_was_there_and_where_it_is(embed, cache):
    first = embed("--split", "test", "--batch-size", 10)
    assert first.exit_code == 0
    assert first.stdout == ""
    lines = first.stderr.splitlines()
    assert lines[-4:-3] == [line for line in lines if line.startswith("features: 24 of 24, ")]
    assert re.fullmatch(r"features: 24 of 24, [0-9,.]+ images/s, 00:00 left", lines[-4])
    assert re.fullmatch(r"Encoded: 24 images in [0-9.]+ s, [0-9,.]+ images/s", lines[-3])
    assert lines[-2] == "In the cache already: 0 images"
    assert re.fullmatch(rf"Cache of this model: {cache}/features/\w+-fp32-1, 2\.\d KiB", lines[-1])
    again = embed("--split", "test").stderr.splitlines()
    assert again[-3:-1] == ["Encoded: 0 images", "In the cache already: 24 images"]
    assert "features" not in again[-4]


def test_other_commands_and_parts_of_the_data_find_it(
    embed, ccr, encoded, tiny_backbone, drawn_data, tiny_clip, tmp_path
):
    assert embed("--split", "all", "--local").exit_code == 0
    assert sum(encoded) == 72
    test = load_dataset(drawn_data, "test")
    local_features(tiny_backbone, test)
    done = ccr(
        "finetune", "--data", drawn_data, "--model", tiny_clip, "--device", "cpu", "--epochs", 1,
        "--shots", 2, "--output", tmp_path / "run",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert sum(encoded) == 72


def test_only_what_a_smaller_request_did_not_leave_is_encoded(embed, encoded, drawn_data):
    embed("--split", "test")
    found = embed("--split", "all").stderr
    assert sum(encoded) == 72
    assert "Encoded: 48 images" in found
    assert "In the cache already: 24 images" in found


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_file_has_features_ids_and_whose_they_are(
    dtype, embed, tiny_backbone, drawn_data, tmp_path
):
    output = tmp_path / "f.npz"
    done = embed("--split", "test", "--dtype", dtype, "-o", output)
    assert done.stderr.splitlines()[-1] == f"Written: {output}, 24 images, 16 numbers each"
    data = load_dataset(drawn_data, "test")
    with np.load(output) as found:
        assert found["embeddings"].dtype == dtype
        expected = image_features(tiny_backbone, data).numpy()
        np.testing.assert_allclose(found["embeddings"], expected, atol=1e-3)
        assert tuple(found["image_ids"]) == data.image_ids
        assert str(found["fingerprint"]) == tiny_backbone.fingerprint
        assert str(found["model"]) == tiny_backbone.name
    content = output.read_bytes()
    refused = embed("--split", "test", "-o", output)
    assert (refused.exit_code, output.read_bytes()) == (2, content)
    assert embed("--split", "test", "-o", output, "--overwrite").exit_code == 0
    assert embed("--split", "test", "-o", tmp_path / "f.npy").exit_code == 2


def test_analyze_takes_the_file_and_matches_images_by_id(embed, ccr, drawn_data, tmp_path):
    rng = np.random.default_rng(0)
    ids = load_dataset(drawn_data, "test").image_ids
    part = rng.permutation(24)[:20]
    values, labels = rng.random((24, 4)), (rng.random((24, 4)) < 0.5).astype(np.int8)
    names = np.array(["a", "b", "c", "d"])
    tables = {}
    for key, rows in {"whole": np.arange(24), "part": part}.items():
        np.savez(
            tmp_path / f"{key}.npz", probs=values[rows], labels=labels[rows], class_names=names,
            image_ids=np.array(ids)[rows],
        )  # fmt: skip
    embed("--split", "test", "-o", tmp_path / "f.npz")
    embeddings = np.load(tmp_path / "f.npz")["embeddings"]
    np.save(tmp_path / "part.npy", embeddings[part])
    for features in ("f.npz", "part.npy"):
        done = ccr(
            "analyze", "predictions", tmp_path / "part.npz", "--features", tmp_path / features,
            "--bootstrap", 0, "--format", "json",
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        tables[features] = json.loads(done.stdout)
        assert features in tables[features].pop("provenance")["command"]
    assert "piece_decision" in tables["f.npz"]["models"][0]["metrics"]
    assert tables["f.npz"] == tables["part.npy"]
    np.savez(tmp_path / "few.npz", embeddings=embeddings[:9], image_ids=np.array(ids)[:9])
    done = ccr("analyze", "predictions", tmp_path / "whole.npz", "--features", tmp_path / "few.npz")
    assert done.exit_code == 2
    assert f"lacks {ids[9]}; make it of the same images." in done.stderr


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", "b"], r"must name each of its 3 rows in 'image_ids', but has an .* shape \(2,\)"),
        ([["a"], ["b"], ["c"]], r"must name each of its 3 rows .* shape \(3, 1\) there"),
        (["a", "b", "b"], r"must have every image id once, but has 'b' 2 times; make it anew"),
    ],
)
def test_ids_that_do_not_name_rows_are_refused(ids, message, tmp_path):
    np.savez(tmp_path / "f.npz", embeddings=np.eye(3), image_ids=np.array(ids))
    with pytest.raises(BadData, match=message):
        read_features(tmp_path / "f.npz", ["a"])


def test_nobody_has_to_say_what_unlisted_classes_mean(embed, copied):
    with (copied / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    with (copied / "plain.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "labels"])
        writer.writerows([row["image"], row["labels"]] for row in rows[:5])
    done = embed("--split", "train", data=f"manifest:{copied / 'plain.csv'}")
    assert done.exit_code == 0, done.output
    assert "Encoded: 5 images" in done.stderr


def test_an_unreadable_image_is_one_error_that_names_it(embed, copied, encoded):
    (copied / "60.png").write_bytes(b"")
    data = f"manifest:{copied / 'images.csv'}"
    done = embed("--split", "test", "--batch-size", 4, data=data)
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1] == (
        f"Error: Image {copied / '60.png'} cannot be read (it is empty); replace it, or leave "
        "out all such images by `ccr-diag data convert --skip-unreadable`."
    )
    assert sum(encoded) == 12  # those before it, which are kept
    shutil.copy(copied / "61.png", copied / "60.png")
    done = embed("--split", "test", "--batch-size", 4, data=data)
    assert "In the cache already: 12 images" in done.stderr


def test_unreadable_images_are_listed_and_left_out_if_asked_for(embed, copied, tmp_path):
    (copied / "60.png").write_bytes(b"")
    (copied / "70.png").write_text("no image")
    output = tmp_path / "f.npz"
    done = embed(
        "--split", "test", "--skip-unreadable", "-o", output,
        data=f"manifest:{copied / 'images.csv'}",
    )  # fmt: skip
    assert done.exit_code == 0
    listed = [line for line in done.stderr.splitlines() if line.startswith("Left out: ")]
    assert [line.split("(")[1].split(")")[0] for line in listed[:2]] == [
        "it is empty",
        "it is no image of a known format",
    ]
    assert [line.split(": ")[1] for line in listed[:2]] == ["60.png", "70.png"]
    assert listed[2:] == ["Left out: 2 of 24 images"]
    with np.load(output) as found:
        assert len(found["embeddings"]) == 22
        assert "60.png" not in found["image_ids"]


def test_a_dry_run_reads_the_data_and_writes_nothing(embed, cache):
    done = embed("--split", "test", "--dry-run")
    assert done.exit_code == 0, done.output
    assert "24 images" in done.stdout
    assert done.stdout.splitlines()[-1] == f"Writes: {cache / 'features'}"
    assert not (cache / "features").exists()


def test_the_choices_are_those_of_the_library():
    from ccr_diag.cli.embed import FLOATS as SHOWN

    assert tuple(FLOATS) == SHOWN
    assert "fp32" in CHOICES["precision"]


@pytest.mark.slow
def test_control_c_keeps_what_is_done(cache, drawn_data, tiny_clip, tmp_path, embed):
    """Of the installed command, in a process of its own, as a terminal stops it."""
    folder = Path(drawn_data.removeprefix("manifest:")).parent
    many = tmp_path / "many.csv"
    names = [f"{i}.png" for i in range(72)]
    (tmp_path / "copies").mkdir()
    with many.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "labels", "negatives"])
        for k in range(100):
            for name in names:
                link = tmp_path / "copies" / f"{k}-{name}"
                os.link(folder / name, link)
                writer.writerow([f"copies/{link.name}", "a", ""])
    command = [
        sys.executable, "-m", "ccr_diag.cli", "embed", "--data", f"manifest:{many}", "--model",
        tiny_clip, "--device", "cpu", "--batch-size", "8",
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("features: "):
            break
    files = cache / "features"
    while sum(len(path.read_bytes()) for path in files.glob("*/*/*.digests")) < 32 * 40:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert said.splitlines()[-1].startswith("Interrupted; run the same command again to go on")
    (rows,) = files.glob("*/*/*.npy")
    done = len(np.load(rows))
    assert 40 <= done < 7200
    assert done % 8 == 0
    again = embed("--batch-size", 8, data=f"manifest:{many}")
    assert f"In the cache already: {done:,} images" in again.stderr
