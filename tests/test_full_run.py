"""Images to findings through the installed command, on other people's layouts."""

import json
import subprocess
import sys
from pathlib import Path

import formats
import pytest
import torch
from safetensors.torch import load_file

COMMAND = Path(sys.executable).with_name("ccr-diag")


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    """A folder with a split to tune on and one to measure on."""
    folder = tmp_path_factory.mktemp("full")
    for seed, split in enumerate(("train", "val")):
        drawn = formats.draw(folder / f"drawn {split}", 40, seed=seed)
        spec = formats.write_coco(folder / "coco", drawn, split)
    return spec


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache that is empty before the first test of this file."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CCR_DIAG_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def embedded(coco, cache, tiny_clip):
    """What the installed command says when a folder of COCO is embedded, a process of its own."""
    words = ["embed", "--data", coco, "--split", "train", "--model", tiny_clip, "--device", "cpu"]
    done = subprocess.run([COMMAND, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def tuned_and_measured(ccr, spec, clip, folder):
    """Finetune → analyze; the tensors learned and the results, without when and of what."""
    flags = ["--data", spec, "--model", clip, "--device", "cpu", "--class-split", "first-half"]
    done = ccr("finetune", *flags, "--shots", 4, "--epochs", 2, "-o", folder / "run")
    assert done.exit_code == 0, done.output
    said = ccr(
        "analyze", "checkpoint", folder / "run", "--split", "val", "--bootstrap", 0,
        "--device", "cpu", "-o", folder / "analysis",
    )  # fmt: skip
    assert said.exit_code == 0, said.output
    assert "ECE, positive" in said.stdout
    results = json.loads((folder / "analysis" / "results.json").read_text())
    return load_file(folder / "run" / "split-1" / "checkpoint.safetensors"), results


def test_a_folder_of_coco_and_its_manifest_give_one_run(
    ccr, coco, embedded, cache, tiny_clip, tmp_path
):
    assert (embedded.stdout, "Encoded: 40 images" in embedded.stderr) == ("", True)
    of_folder, results = tuned_and_measured(ccr, coco, tiny_clip, tmp_path / "coco")
    assert {model["name"] for model in results["models"]} >= {"zero-shot", "bce"}

    manifest = tmp_path / "all.parquet"
    assert ccr("data", "convert", coco, "-o", manifest).exit_code == 0
    spec, model = f"manifest:{manifest}", ["--model", tiny_clip, "--device", "cpu"]
    for split in ("train", "val"):  # features are found by what images hold, not by their names
        again = ccr("embed", "--data", spec, "--split", split, *model)
        assert "Encoded: 0 images" in again.stderr
        assert "In the cache already: 40 images" in again.stderr
    of_manifest, same = tuned_and_measured(ccr, spec, tiny_clip, tmp_path / "manifest")
    assert of_folder.keys() == of_manifest.keys()
    assert all(torch.equal(of_folder[key], of_manifest[key]) for key in of_folder)
    for model in [*results["models"], *same["models"]]:
        del model["provenance"]  # names the data
    assert same["models"] == results["models"]
