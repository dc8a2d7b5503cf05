"""Sweeps: whole ones, killed ones and refused ones, through the command line and in process."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from filelock import FileLock
from tiny import write_drawn_images

from ccr_diag.checkpoint import load_checkpoint
from ccr_diag.errors import NoSpace, OutputExists
from ccr_diag.evaluating import Workbench, evaluate
from ccr_diag.grids import load_grid
from ccr_diag.predict import tuned_space
from ccr_diag.report_sweep import render_sweep
from ccr_diag.run_predictions import run_predictions
from ccr_diag.runs import CHECKPOINT, DONE, LOCK, MEASURED
from ccr_diag.sweep import left_over, sweep_jobs, table_rows
from ccr_diag.sweep_table import COLUMNS, read_table, write_table
from ccr_diag.sweep_worker import finish

GRID = """
splits = [1, 2]
[settings]
model = "{model}"
data = "{data}"
new_classes = ["grey square"]
shots = 4
epochs = {epochs}
batch_size = 8
bias = "prior"
[[grid]]
regularizer = ["none", "ccr"]
lambda = 2.0
[calibration]
split = "train"
calibrators = ["none", "temperature"]
"""
SECONDS = 120


@pytest.fixture(scope="module")
def grid_file(tiny_clip, drawn_data, tmp_path_factory):
    path = tmp_path_factory.mktemp("grid") / "grid.toml"
    path.write_text(GRID.format(model=tiny_clip, data=drawn_data, epochs=3))
    return path


@pytest.fixture(scope="module")
def swept(grid_file, tmp_path_factory):
    """A sweep that one process finished, run after run."""
    return _sweep_in_process(load_grid(str(grid_file)), tmp_path_factory.mktemp("swept"))


def _sweep_in_process(grid, folder):
    bench = Workbench(grid, "cpu")
    jobs = sweep_jobs(grid, folder)
    for job in jobs:
        finish(job, bench)
    write_table(table_rows(jobs, grid), folder)
    return folder


def _start(*args, cwd):
    """The command in a process group of its own, as a shell starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "ccr_diag.cli", "sweep", *map(str, args)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        cwd=cwd,
        start_new_session=True,
    )


def _wait_for(what, process):
    """Until it is there."""
    end = time.monotonic() + SECONDS
    while not what():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.01)


@pytest.mark.long
def test_a_sweep_that_is_killed_and_interrupted_ends_with_the_table_of_an_unbroken_one(
    grid_file, swept, ccr, tmp_path
):
    out = tmp_path / "out"
    options = (grid_file, "--workers", 2, "--output", out, "--resume")

    killed = _start(*options, cwd=tmp_path)  # in the midst of a run, or of two
    _wait_for(lambda: any(out.glob(f"runs/*/*/{CHECKPOINT}")), killed)
    os.kill(killed.pid, signal.SIGKILL)  # the workers alone, which must end too
    killed.communicate(timeout=SECONDS)

    interrupted = _start(*options, cwd=tmp_path)  # once a run is done
    _wait_for(lambda: any(out.glob(f"runs/*/*/{MEASURED}")), interrupted)
    os.killpg(interrupted.pid, signal.SIGINT)  # as a terminal does
    _, said = interrupted.communicate(timeout=SECONDS)
    assert interrupted.returncode == 130, said
    assert said.splitlines()[-1] == (
        "Interrupted; run the same command again to go on, with --resume if it has one."
    )
    assert "Traceback" not in said

    ended = ccr("sweep", *options, "--workers", 1)  # the last one counts
    assert ended.exit_code == 0, ended.output
    assert (out / "results.csv").read_bytes() == (swept / "results.csv").read_bytes()
    assert (out / "results.parquet").read_bytes() == (swept / "results.parquet").read_bytes()


def test_what_is_finished_is_left_as_it_is(grid_file, swept, tmp_path):
    folder = shutil.copytree(swept, tmp_path / "copy")
    grid = load_grid(str(grid_file))
    jobs = sweep_jobs(grid, folder)
    assert left_over(jobs, grid) == []
    (jobs[1].folder / DONE).unlink()  # the marker says so, not the folder
    (jobs[2].folder / MEASURED).unlink()
    (jobs[3].folder / MEASURED).write_text('{"schema_version": 1, "data"')
    assert left_over(jobs, grid) == jobs[1:]
    before = {path: path.stat().st_mtime_ns for path in jobs[0].folder.iterdir()}
    _sweep_in_process(grid, folder)
    assert {path: path.stat().st_mtime_ns for path in jobs[0].folder.iterdir()} == before
    assert (folder / "results.csv").read_bytes() == (swept / "results.csv").read_bytes()


def test_the_table_says_all_of_every_run_and_zero_shot_once(swept):
    table = read_table(swept)
    tuned = table[table.framework == "coop"]
    assert set(zip(tuned.regularizer, tuned["lambda"], strict=True)) == {("none", 0), ("ccr", 2)}
    assert set(table.split) == {1, 2}
    assert set(table.calibrator) == {"none", "temperature"}
    assert set(table.group) == {"all", "base", "new", "tail"}
    assert {"ece_positive", "ece_decision", "map", "piece_decision", "NP@5", "gap"} <= set(
        table.metric
    )
    zero_shot = table[table.framework == "zero-shot"]
    assert set(zero_shot.model) == {"zero-shot (prior bias)"}
    cell = ["split", "calibrator", "group", "metric"]
    assert not zero_shot.duplicated(cell).any()
    np5 = zero_shot[zero_shot.metric == "NP@5"].value
    assert (np5 == 1).all()


def test_the_numbers_are_those_of_analyze(swept, grid_file, ccr, tmp_path):
    runs = sorted((swept / "runs").iterdir())
    options = ("--format", "json", "--bootstrap", 0, "--output", "-")
    shown = ccr("analyze", "checkpoint", *runs, *options)
    assert shown.exit_code == 0, shown.output
    models = {model["name"]: model for model in json.loads(shown.stdout)["models"]}
    table = read_table(swept)
    table = table[table.calibrator == "none"]
    for name in ("bce (prior bias)", "bce+ccr (prior bias)", "zero-shot (prior bias)"):
        for split in models[name]["splits"]:
            rows = table[(table.model == name) & (table.split == split["split"])]
            for group, metrics in {"all": split, **split["groups"]}.items():
                found = rows[rows.group == group].set_index("metric").value
                for metric in ("map", "ece_positive", "piece_decision"):
                    expected = metrics["metrics"][metric]
                    assert found[metric] == pytest.approx(expected, abs=0, nan_ok=True)


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: record | {"measured": None},
        lambda record: record | {"measured": []},
        lambda record: record | {"measured": [{**record["measured"][0], "values": 1}]},
        lambda record: {key: value for key, value in record.items() if key != "measured"},
    ],
)
def test_damaged_numbers_of_a_run_count_as_none(swept, grid_file, tmp_path, damage):
    folder = shutil.copytree(swept, tmp_path / "copy")
    grid = load_grid(str(grid_file))
    jobs = sweep_jobs(grid, folder)
    path = jobs[2].folder / MEASURED
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    assert left_over(jobs, grid) == [jobs[2]]
    assert set(table_rows(jobs, grid).run) == {
        jobs[0].folder.parent.name,
        jobs[3].folder.parent.name,
    }
    path.write_text("[" * 100_000)
    assert left_over(jobs, grid) == [jobs[2]]


def test_calibration_images_are_scored_once_a_model(swept, grid_file, monkeypatch):
    grid = load_grid(str(grid_file), ['calibration.calibrators=["temperature", "bias"]'])
    scored = []

    def counted(checkpoint, space, features, dataset, **others):
        scored.append((space.name, dataset.split))
        return run_predictions(checkpoint, space, features, dataset, **others)

    monkeypatch.setattr("ccr_diag.evaluating.run_predictions", counted)
    checkpoint = load_checkpoint(sweep_jobs(grid, swept)[0].folder)
    found = list(evaluate(checkpoint, Workbench(grid, "cpu"), ("prior",)))
    assert len(found) == 2 * len(grid.calibrators)
    names = "zero-shot (prior bias)", "bce (prior bias)"
    assert sorted(scored) == sorted((name, split) for name in names for split in ("train", "test"))


def test_the_calibrated_numbers_are_those_of_calibrate(swept, grid_file, ccr, tmp_path):
    run = sorted((swept / "runs").iterdir())[0] / "split-1"
    for split in ("test", "train"):
        ccr("predict", run, "--split", split, "-o", tmp_path / f"{split}.npz")
    on = ("--on", tmp_path / "train.npz", "--method", "temperature", "-o", tmp_path / "out.npz")
    said = ccr("calibrate", tmp_path / "test.npz", *on, "--bootstrap", 0, "--format", "json")
    assert said.exit_code == 0, said.output
    after = json.loads(said.stdout)["models"][1]
    table = read_table(swept)
    rows = table[(table.run == run.parent.name) & (table.split == 1)]
    rows = rows[(rows.calibrator == "temperature") & (rows.framework == "coop")]
    for group, pool in {"all": after, **after["groups"]}.items():
        found = rows[rows.group == group].set_index("metric").value
        for metric in ("ece_positive", "nll", "signed_error"):
            assert found[metric] == pytest.approx(pool["metrics"][metric]["value"], rel=1e-9)


def test_each_model_is_calibrated_with_its_own_texts_and_map(swept, grid_file, monkeypatch):
    grid = load_grid(str(grid_file))
    job = sweep_jobs(grid, swept)[2]  # with CCR, and so beside no zero-shot
    checkpoint, bench = load_checkpoint(job.folder), Workbench(grid, "cpu")
    seen = []

    def calibrate(test, held, choice, texts):
        seen.append((test, held, choice, texts))
        return test

    monkeypatch.setattr("ccr_diag.evaluating.calibrate", calibrate)
    found = list(evaluate(checkpoint, bench, ("prior",)))
    assert [each.framework for each in found] == ["zero-shot"] * 2 + ["coop"] * 2
    assert {each.map_bias for each in found[2:]} == {checkpoint.map.bias}
    (_, _, _, untouched), (test, held, choice, texts) = seen
    assert (untouched.zero_shot == untouched.tuned).all()
    backbone = bench.backbone(checkpoint.config)
    tuned = tuned_space(checkpoint, backbone).embeddings.numpy()
    assert (texts.zero_shot == untouched.zero_shot).all()
    assert (texts.tuned == tuned).all()
    assert abs(tuned - texts.zero_shot).max() > 1e-3
    assert (choice.method, choice.scope, choice.unseen) == ("temperature", "shared", "shared")
    assert (test.provenance["split"], held.provenance["split"]) == ("test", "train")


def test_a_grid_may_grow_but_not_change(swept, grid_file, tmp_path, ccr):
    folder = shutil.copytree(swept, tmp_path / "copy")
    other = tmp_path / "other.toml"
    text = grid_file.read_text()
    other.write_text(text.replace("lambda = 2.0", "lambda = [2.0, 4.0]"))
    grid = load_grid(str(other))
    assert len(left_over(sweep_jobs(grid, folder), grid)) == 2
    other.write_text(text.replace("shots = 4", "shots = 5"))
    before = (folder / "results.csv").read_bytes()
    said = ccr("sweep", other, "--output", folder, "--resume")
    assert said.exit_code == 2
    assert "holds 4 that this grid does not have, such as runs/bce" in said.stderr
    assert (folder / "results.csv").read_bytes() == before


def test_runs_are_measured_anew_where_the_definitions_differ(swept, grid_file, tmp_path):
    folder = shutil.copytree(swept, tmp_path / "copy")
    other = tmp_path / "other.toml"
    other.write_text("n_bins = 7\n" + grid_file.read_text())
    grid = load_grid(str(other))
    jobs = sweep_jobs(grid, folder)
    assert left_over(jobs, grid) == jobs
    assert table_rows(jobs, grid).empty  # never numbers of two definitions in one table
    _sweep_in_process(grid, folder)
    found, before = read_table(folder), read_table(swept)
    assert set(found.n_bins) == {7}
    assert (found.value != before.value)[found.metric == "ece_positive"].any()
    other.write_text(other.read_text().replace('"temperature"]', '"bias"]'))
    assert len(left_over(jobs, load_grid(str(other)))) == len(jobs)


def test_two_sweeps_never_work_in_one_folder(swept, grid_file, tmp_path, ccr):
    folder = shutil.copytree(swept, tmp_path / "copy")
    before = (folder / "results.csv").read_bytes()
    with FileLock(folder / LOCK):
        for how in ("--resume", "--overwrite"):
            said = ccr("sweep", grid_file, "--output", folder, how)
            assert said.exit_code == 2
            assert "another is at work in" in said.stderr
    assert (folder / "results.csv").read_bytes() == before
    assert ccr("sweep", grid_file, "--output", folder, "--resume").exit_code == 0


def test_a_run_that_fails_is_named_and_the_others_are_kept(
    swept, grid_file, tmp_path, ccr, monkeypatch
):
    folder = shutil.copytree(swept, tmp_path / "copy")
    jobs = sweep_jobs(load_grid(str(grid_file)), folder)
    (jobs[0].folder / MEASURED).unlink()
    (jobs[0].folder / CHECKPOINT).write_bytes(b"damaged")
    said = ccr("sweep", grid_file, "--output", folder, "--resume")
    assert said.exit_code == 1, said.output
    assert "Of 4 runs 1 could not be finished" in said.stderr
    assert f"{jobs[0].folder.parent.name}, split 1: A checkpoint must be" in said.stderr
    assert set(read_table(folder).split) == {1, 2}


def test_what_no_run_can_do_without_is_refused_before_any_run(grid_file, tmp_path, ccr):
    other = tmp_path / "other.toml"
    other.write_text(grid_file.read_text().replace("grey square", "grey sqare"))
    said = ccr("sweep", other, "--output", tmp_path / "out")
    assert said.exit_code == 2
    assert "did you mean 'grey square'?" in said.stderr
    assert not (tmp_path / "out").exists()


def _refused(grid_file, tmp_path, ccr, *changes):
    """What a sweep of a changed grid says when it is refused before any run."""
    text = grid_file.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "other.toml").write_text(text)
    said = ccr("sweep", tmp_path / "other.toml", "--output", tmp_path / "out")
    assert said.exit_code == 2, said.output
    assert not (tmp_path / "out").exists()
    return said.stderr


def test_a_calibrator_that_no_run_allows_is_refused_before_any_run(grid_file, tmp_path, ccr):
    refused = partial(_refused, grid_file, tmp_path, ccr)
    assert "may never see the test images" in refused(('split = "train"', 'split = "all"'))
    assert "'dac' cannot be fitted: DAC compares" in refused(('"temperature"]', '"dac"]'))
    said = refused(('"temperature"]', '"dac"]'), ('new_classes = ["grey square"]\n', ""))
    assert "'dac' cannot be fitted: dac changes only classes of group 'new'" in said


def test_calibration_images_are_compared_with_those_of_every_data_set(
    grid_file, drawn_data, tmp_path, ccr
):
    other = write_drawn_images(tmp_path / "other", n_test=0, seed=5)
    test = f'[test]\nsplit = "train"\ndata = ["{other}", "{drawn_data}"]\n'
    said = _refused(grid_file, tmp_path, ccr, ("[calibration]", f"{test}[calibration]"))
    assert "may never see the test images" in said


def test_other_data_need_no_split_called_train_beside_the_runs_own(tiny_clip, drawn_data, tmp_path):
    source = Path(drawn_data.removeprefix("manifest:"))
    own = source.with_name("trainval.csv")
    own.write_text(source.read_text().replace(",train\n", ",trainval\n"))
    path = tmp_path / "grid.toml"
    path.write_text(
        f'[settings]\nmodel = "{tiny_clip}"\ndata = "manifest:{own}"\nsplit = "trainval"\n'
        f'[test]\ndata = "{drawn_data}"\n'
    )
    grid = load_grid(str(path))
    bench = Workbench(grid, "cpu")
    seen = bench.images(grid.runs[0], "test", drawn_data, local=False)
    assert seen.dataset.class_names == bench.train(grid.runs[0]).class_names


def _measured_alike(text, tmp_path, monkeypatch):
    """The table of a grid of whose runs each was found to have the same mAP."""
    path = tmp_path / "grid.toml"
    path.write_text(text)
    grid = load_grid(str(path))
    jobs = sweep_jobs(grid, tmp_path)
    about = {"bias": "none", "map_scale": 1.0, "map_bias": 0.0, "data": "scenes"}
    about |= {"calibrator": "none", "values": {"all": {"map": 0.5}}}
    tuned = about | {"framework": "coop", "model": "bce"}
    untuned = about | {"framework": "zero-shot", "model": "zero-shot"}
    monkeypatch.setattr("ccr_diag.sweep.is_measured", lambda job, grid: True)
    monkeypatch.setattr(
        "ccr_diag.sweep.measured", lambda job: [untuned, tuned] if job.zero_shot else [tuned]
    )
    return write_table(table_rows(jobs, grid), tmp_path)[0]


@pytest.mark.parametrize(
    ("varied", "test", "said"),
    [
        ('model = ["embedded", "ViT-B-32"]', "", "bce, backbone ViT-B-32"),
        ('split = ["train", "calibration"]', "", "bce, train split calibration"),
        ('data = ["scenes", "manifest:a.csv"]', '[test]\ndata = "scenes"', "train data scenes"),
    ],
)
def test_runs_are_told_apart_by_settings_whose_names_the_table_has_for_other_things(
    varied, test, said, tmp_path, monkeypatch
):
    written = _measured_alike(f"[grid]\n{varied}\n{test}", tmp_path, monkeypatch)
    shown = render_sweep(read_table(written), "markdown")
    assert said.lower() in shown.lower()


def test_tests_on_the_own_data_need_no_second_column_of_it(tmp_path, monkeypatch):
    text = '[grid]\ndata = ["scenes", "manifest:a.csv"]'
    table = read_table(_measured_alike(text, tmp_path, monkeypatch))
    assert list(table.columns) == list(COLUMNS)


@pytest.mark.parametrize("order", [("t2i_pal", "coop"), ("coop", "t2i_pal")])
def test_zero_shot_is_fitted_on_images_of_the_data_set_where_a_run_has_them(order, tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text(f'splits = 1\n[grid]\nshots = 4\nframework = {list(order)}\nbias = "prior"\n')
    told = {
        job.config.framework: job.zero_shot for job in sweep_jobs(load_grid(str(path)), tmp_path)
    }
    assert told == {"coop": ("prior",), "t2i_pal": ()}


def test_a_dry_run_says_what_would_be_run_and_writes_nothing(grid_file, tmp_path, ccr, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = ccr("sweep", grid_file, "--dry-run")
    assert said.exit_code == 0
    lines = said.stdout.splitlines()
    assert lines[0] == "4 runs: 2 settings, splits 1, 2"
    runs = [line.partition("-")[0] for line in lines if line.startswith("bce")]
    assert runs == ["bce", "bce+ccr"]
    assert sum("regularizer ccr" in line for line in lines) == 1
    assert lines[-1] == "Writes: sweep"
    assert list(tmp_path.iterdir()) == []


def test_the_worker_that_runs_out_of_disk_stops_the_sweep(
    swept, grid_file, tmp_path, monkeypatch, ccr
):
    folder = shutil.copytree(swept, tmp_path / "copy")
    jobs = sweep_jobs(load_grid(str(grid_file)), folder)
    for job in jobs[1:]:
        (job.folder / MEASURED).unlink()
    monkeypatch.setattr(
        "ccr_diag.sweep._worked",
        lambda left, *_: iter([(left[0], NoSpace("Writing needs free space."))]),
    )
    said = ccr("sweep", grid_file, "--output", folder, "--resume")
    assert said.exit_code == 1
    assert "Writing needs free space" in said.stderr
    assert set(read_table(folder).split) == {1}  # what was finished stays


def test_workers_end_with_their_sweep(tmp_path):
    code = (
        "import os, time\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from multiprocessing import get_context\n"
        "from ccr_diag import sweep_worker\n"
        "if __name__ == '__main__':\n"
        "    pool = ProcessPoolExecutor(1, get_context('spawn'), sweep_worker.attach)\n"
        "    print(pool.submit(os.getpid).result(), flush=True)\n"
        "    pool.submit(time.sleep, 600)\n"
        "    time.sleep(600)\n"
    )
    script = tmp_path / "parent.py"
    script.write_text(code)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        worker = int(parent.stdout.readline())
        os.kill(parent.pid, signal.SIGKILL)
    end = time.monotonic() + SECONDS
    while Path(f"/proc/{worker}").exists():
        assert time.monotonic() < end, "the worker outlives its parent"
        time.sleep(0.05)


def test_a_refusal_says_one_sentence(grid_file, tmp_path, ccr):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    said = ccr("sweep", grid_file, "--output", tmp_path / "out")
    assert said.exit_code == 2
    assert isinstance(said.exception, SystemExit)
    assert OutputExists.__doc__
    assert "must be new or empty" in said.stderr
