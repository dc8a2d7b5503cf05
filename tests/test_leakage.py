"""Images of COCO that a run was tuned on are left out wherever the run is measured."""

import json
import shutil

import numpy as np
import pytest
from coco_files import write_coco

from ccr_diag.checkpoint import load_checkpoint
from ccr_diag.data import load_dataset
from ccr_diag.data.leakage import without_tuned
from ccr_diag.errors import BadCheckpoint, BadData
from ccr_diag.evaluating import Workbench
from ccr_diag.grids import load_grid
from ccr_diag.readers.own import load_predictions
from ccr_diag.run_data import checkpoint_dataset
from ccr_diag.runs import EXAMPLES, MEASURED
from ccr_diag.sweep import left_out_notes, sweep_jobs
from ccr_diag.sweep_worker import finish

IDS = {"cat": 17, "dog": 18, "person": 1}
SHARED = (0, 3, 4, 5, 6)  # of both years
LEFT_OUT = "left out because they were tuned on, by COCO's numbers: {} of 11"


def of_numbers(numbers, form="{:012d}.jpg"):
    """Images with these numbers, every class in some of them."""
    names = [*IDS]
    return {form.format(i): {names[i % 3], names[i % 2]} for i in numbers}


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    """The 2017 edition, and that of 2014 with 5 of its training images."""
    root = tmp_path_factory.mktemp("editions")
    write_coco(root / "new", "train2017", of_numbers(range(8)), IDS)
    write_coco(root / "new", "val2017", of_numbers(range(20, 26)), IDS)
    write_coco(root / "new", "held", of_numbers(range(30, 37)), IDS)
    old = of_numbers([*SHARED, *range(20, 26)], "COCO_val2014_{:012d}.jpg")
    write_coco(root / "old", "val2014", old, IDS)
    rest = [*old.items()][len(SHARED) :]  # the same without those
    shutil.copytree(root / "old" / "val2014", root / "rest" / "val2014")
    write_coco(root / "rest", "val2014", dict(rest), IDS)
    return root


@pytest.fixture(scope="module")
def runs(coco, tmp_path_factory, tiny_clip):
    """A run on all 8 images of training, and one of two splits on few of them."""
    from click.testing import CliRunner

    from ccr_diag.cli.main import cli

    root = tmp_path_factory.mktemp("runs")
    own = ["--model", tiny_clip, "--data", f"coco:{coco / 'new'}", "--epochs", "1"]
    for name, flags in {"all": ["--shots", "0"], "few": ["--shots", "1", "--splits", "2"]}.items():
        done = CliRunner().invoke(
            cli, ["finetune", *own, *flags, "--device", "cpu", "-o", str(root / name)]
        )
        assert done.exit_code == 0, done.output
    return root


def examples(run):
    return {line for path in run.glob(f"**/{EXAMPLES}") for line in path.read_text().split()}


def test_shared_images_are_left_out(coco, runs):
    checkpoint = load_checkpoint(runs / "all" / "split-1")
    data = checkpoint_dataset(checkpoint, "val2014", f"coco:{coco / 'old'}")
    whole = load_dataset(f"coco:{coco / 'old'}", "val2014")
    assert examples(runs / "all") == {f"{i:012d}" for i in range(8)}
    assert data.image_ids == tuple(f"{i:012d}" for i in range(20, 26))
    rows = [whole.image_ids.index(name) for name in data.image_ids]
    assert np.array_equal(data.in_order(whole.class_names).labels, whole.labels[rows])
    assert [data.digest(i) for i in range(6)] == [whole.digest(i) for i in rows]
    assert LEFT_OUT.format(5) in data.notes[-1]


def test_nothing_is_said_where_nothing_is_shared(coco, runs):
    checkpoint = load_checkpoint(runs / "all" / "split-1")
    data = checkpoint_dataset(checkpoint, "val2017")
    assert (len(data), data.notes) == (6, ())


def test_all_shared(coco, runs):
    checkpoint = load_checkpoint(runs / "all" / "split-1")
    with pytest.raises(BadData, match="all 8 of coco:new, split train2017, are among"):
        checkpoint_dataset(checkpoint, "train")


def test_what_any_of_the_compared_was_tuned_on(coco, runs):
    splits = [load_checkpoint(runs / "few" / f"split-{seed}") for seed in (1, 2)]
    one = checkpoint_dataset(splits[0], "val2014", f"coco:{coco / 'old'}")
    both = checkpoint_dataset(splits[0], "val2014", f"coco:{coco / 'old'}", others=splits)
    tuned = [examples(runs / "few" / f"split-{seed}") for seed in (1, 2)]
    assert tuned[0] != tuned[1]
    shared = {f"{i:012d}" for i in SHARED}
    assert len(one) == 11 - len(shared & tuned[0])
    assert len(both) == 11 - len(shared & (tuned[0] | tuned[1])) < len(one)


def test_the_command_line_says_and_records_it(coco, runs, ccr, tmp_path):
    old = ["--data", f"coco:{coco / 'old'}", "--split", "val2014", "--device", "cpu"]
    done = ccr("predict", runs / "all", *old, "-o", tmp_path / "a.npz")
    assert done.exit_code == 0, done.output
    assert "Note: Images of coco:old, split val2014, left" in done.stderr
    saved = load_predictions(tmp_path / "a.npz")
    assert LEFT_OUT.format(5) in saved.provenance["notes"][-1]
    assert len(saved.labels) == 6

    done = ccr(
        "analyze", "checkpoint", runs / "few", *old, "--bootstrap", "0", "-o", tmp_path / "found"
    )
    assert done.exit_code == 0, done.output
    n = len({f"{i:012d}" for i in SHARED} & examples(runs / "few"))
    assert LEFT_OUT.format(n) in done.stderr
    for path in (tmp_path / "found" / "predictions").iterdir():
        saved = load_predictions(path)
        assert len(saved.labels) == 11 - n
        assert LEFT_OUT.format(n) in saved.provenance["notes"][-1]


def test_a_run_that_does_not_say_its_examples(coco, runs):
    folder = runs / "few" / "split-2"
    checkpoint = load_checkpoint(folder)
    (folder / EXAMPLES).rename(folder / "away")
    try:
        with pytest.raises(BadCheckpoint, match=f"{EXAMPLES} cannot be read"):
            checkpoint_dataset(checkpoint, "val2017")
    finally:
        (folder / "away").rename(folder / EXAMPLES)


GRID = """
splits = [1]
[settings]
model = "{model}"
data = "coco:{data}/new"
shots = 0
epochs = 1
[[grid]]
regularizer = "none"
[test]
data = ["coco:{data}/new", "coco:{data}/old", "coco:{data}/rest"]
split = "val"
[calibration]
split = "{calibration}"
calibrators = ["none", "temperature"]
"""


@pytest.mark.parametrize("kind", ["coco", "coco-lt"])
def test_ids_of_other_kinds_mean_nothing(coco, kind):
    data = load_dataset(f"coco:{coco / 'old'}", "val2014")
    tuned = frozenset(data.image_ids[:3])
    assert len(without_tuned(data, f"{kind}:x", tuned)) == 8
    assert without_tuned(data, "manifest:x", tuned) is data
    assert without_tuned(data, "openimages:x", tuned) is data
    assert without_tuned(data, f"{kind}:x", frozenset()) is data


def swept(folder, **settings):
    """The grid, its one job done, and what was measured."""
    folder.mkdir()
    (folder / "grid.toml").write_text(GRID.format(**settings))
    grid = load_grid(str(folder / "grid.toml"))
    (job,) = sweep_jobs(grid, folder)
    finish(job, Workbench(grid, "cpu"))
    return grid, job, json.loads((job.folder / MEASURED).read_text())["measured"]


def test_sweep(coco, tiny_clip, tmp_path):
    grid, job, measured = swept(tmp_path / "s", model=tiny_clip, data=coco, calibration="held")
    found = {}
    for each in measured:
        name = each["data"].rpartition("/")[2]
        assert each["left_out"] == {"new": 0, "old": 5, "rest": 0}[name]
        found[name, each["model"], each["calibrator"]] = each["values"]
    assert {calibrator for _, _, calibrator in found} == {"none", "temperature"}
    for (name, *other), values in found.items():
        if name == "old":
            assert values == found[("rest", *other)]
    (note,) = left_out_notes([job], grid)
    assert note.startswith(f"Each run is measured on coco:{coco}/old, split val, without")
    assert "5 of them" in note


def test_sweep_is_not_calibrated_on_what_was_tuned_on(coco, tiny_clip, tmp_path):
    with pytest.raises(BadData, match="all 8 of coco:new"):
        swept(tmp_path / "s", model=tiny_clip, data=coco, calibration="train")
