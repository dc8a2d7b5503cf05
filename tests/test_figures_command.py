"""``ccr-diag figures``: what it takes, what it writes, and what it refuses, on real files."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from made_results import without_splits
from sweep_frames import lambda_study

from ccr_diag.cli import figures as command
from ccr_diag.figure_inputs import read_inputs
from ccr_diag.results import load_results
from ccr_diag.runs import OWN_NAMES
from ccr_diag.sweep_table import write_table

Made = dict[str, Any]
ACCEPTED = "Error: Figures are drawn of analyses (the folder, or JSON of 'ccr-diag analyze')"
RECORD = {
    "schema_version": 1,
    "definitions": {
        "statistics": {}, "measures": {}, "fair": [], "interval": "", "batch_sizes": [8],
        "n_batches": 2, "seed": 0,
    },
    "models": [],
}  # fmt: skip


@pytest.fixture(scope="module")
def bare(shared_results: Made) -> Made:
    """One model as ``analyze predictions`` writes it."""
    return without_splits(copy.deepcopy(shared_results | {"models": shared_results["models"][2:3]}))


@pytest.fixture(scope="module")
def given(bare: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an input of each kind, and what is none."""
    folder = tmp_path_factory.mktemp("given")
    (folder / "analysis").mkdir()
    (folder / "analysis" / "results.json").write_text(json.dumps(bare))
    # Named as something else, to be known by what is in it.
    (folder / "sweep.json").write_text(json.dumps(bare))
    write_table(lambda_study(groups=["all"], metrics=["map"]), folder / "sweep")
    (folder / "sweep" / "results.parquet").unlink()
    shutil.copy(folder / "sweep" / "results.csv", folder / "numbers.csv")
    (folder / "record.npz").write_text(json.dumps(RECORD))
    (folder / "empty").mkdir()
    (folder / "both").mkdir()
    shutil.copy(folder / "analysis" / "results.json", folder / "both")
    shutil.copy(folder / "sweep" / "results.csv", folder / "both")
    (folder / "begun").mkdir()
    (folder / "begun" / "grid.toml").write_text("")
    (folder / "mine").mkdir()
    (folder / "mine" / "notes.txt").write_text("a,b\n")
    (folder / "other.json").write_text("{}")
    (folder / "cut.json").write_text('{"models": [')
    (folder / "old.json").write_text('{"schema_version": 1, "models": []}')
    (folder / "list.json").write_text("[]")
    (folder / "record2.json").write_text(json.dumps(RECORD | {"schema_version": 2}))
    other = copy.deepcopy(bare)
    other["models"][0].update(name="mine", n_images=7)
    (folder / "few.json").write_text(json.dumps(other))
    return folder


def test_inputs_are_known_by_what_is_in_them(given: Path):
    names = ("analysis", "sweep.json", "sweep", "numbers.csv", "record.npz", "analysis")
    found = read_inputs([given / name for name in names])
    assert [path for path, _ in found.analyses] == [
        given / "analysis" / "results.json", given / "sweep.json",
    ]  # fmt: skip
    assert found.tables == [given / "sweep", given / "numbers.csv"]
    assert [path for path, _ in found.records] == [given / "record.npz"]
    assert found.runs == []


def test_all_that_is_given_goes_to_one_folder(ccr, given: Path, tmp_path: Path):
    out = tmp_path / "out"
    result = ccr("figures", given / "analysis", given / "sweep", "--format", "svg", "-o", out)
    assert result.exit_code == 0, result.output
    written = result.stdout.split()
    assert len(written) == len(set(written))
    assert sorted(written) == sorted(str(p) for p in out.rglob("*") if p.is_file())
    assert all(OWN_NAMES.fullmatch(Path(path).name) for path in written)
    names = {str(Path(path).relative_to(out)) for path in written}
    assert {
        "calibration_by_frequency.svg", "calibration_by_frequency.csv", "robustness_lambda.svg",
        "tables/models.md", "tables/models.csv", "tables/models.tex", "tables/sweep.md",
    } <= names  # fmt: skip
    assert {Path(name).with_suffix(".csv").name for name in names if name.endswith(".svg")} <= names
    lines = [line for line in result.stderr.splitlines() if line.startswith("Left out")]
    assert any(line.startswith("Left out: modality_gap (it needs class texts") for line in lines)
    assert any(line.startswith("Left out: estimators (it needs") for line in lines)
    assert r"\toprule" in (out / "tables" / "models.tex").read_text()


def test_one_input_has_its_figures_beside_it(given: Path):
    for name, folder in (("analysis", "analysis"), ("sweep.json", ""), ("sweep", "sweep")):
        _, found = command._read((given / name,), None, False)
        assert found == given / folder / "figures"


REFUSED = {
    ("none",): f"{ACCEPTED}, sweeps",
    ("empty",): "/empty is an empty folder.",
    ("mine",): "/mine is none of these.",
    ("mine/notes.txt",): "/notes.txt is none of these.",
    ("both",): "/both holds both results.json and results.csv; name the one to draw.",
    ("begun",): "/begun is a sweep without its table; go on with 'ccr-diag sweep --resume'.",
    ("other.json",): "/other.json holds other JSON.",
    ("list.json",): "/list.json is none of these.",
    ("cut.json",): "Error: A results file must be JSON",
    ("old.json",): "Error: A results file must have schema_version 2",
    ("record2.json",): "has schema_version 2 instead of 1; write it anew.",
    ("analysis", "sweep"): "there are 2 inputs and no --output; add it.",
    ("analysis", "--with-paper"): "Error: --with-paper adds the paper's values",
    ("analysis", "-o", "mine/notes.txt"): "Error: The output must be a folder, but ",
    ("sweep", "numbers.csv", "-o", "out"): "Error: Each number must stand in a table once",
    ("analysis", "few.json", "-o", "out"): "Error: Analyses go into one figure if measured on the "
    "same images, but there are 400 in ",
}  # fmt: skip


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["", "dry"])
def test_what_is_no_input_is_one_line(ccr, given: Path, tmp_path: Path, words, dry, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(given.rglob("*"))
    args = [given / word if (given / word.split("/")[0]).exists() else word for word in words]
    result = ccr("figures", *args, *dry)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.startswith("Error: ")
    assert REFUSED[words] in result.stderr
    assert sorted(given.rglob("*")) == before
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_says_what_is_read_and_written(ccr, given: Path):
    inputs = [given / name for name in ("analysis", "sweep", "record.npz")]
    result = ccr("figures", *inputs, "-o", "out", "--format", "pdf", "--dry-run")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        f"Reads: {given / 'analysis' / 'results.json'}, 1 models",
        f"Reads: {given / 'sweep'}, {len(lambda_study(groups=['all'], metrics=['map']))} rows of "
        "a sweep",
        f"Reads: {given / 'record.npz'}, 0 models",
        "Writes: out/*.{pdf,csv}, tables/",
    ]


@pytest.fixture(scope="module")
def tuned(
    tmp_path_factory: pytest.TempPathFactory, tiny_backbone, tiny_clip: str, drawn_data: str
) -> Path:
    """Two splits of BCE."""
    from ccr_diag.config import FinetuneConfig
    from ccr_diag.data import load_dataset
    from ccr_diag.finetune import finetune

    config = FinetuneConfig(model=tiny_clip, data=drawn_data, shots=2, epochs=1)
    train = load_dataset(drawn_data, "train")
    folder: Path = tmp_path_factory.mktemp("runs") / "bce"
    for seed in (1, 2):
        run = folder / f"split-{seed}"
        finetune(config.replace(seed=seed), run, backbone=tiny_backbone, train=train)
    return folder


@pytest.fixture
def runs(tuned: Path, tmp_path: Path) -> Path:
    """A copy, to be changed."""
    return Path(shutil.copytree(tuned, tmp_path / "bce"))


def test_runs_are_measured_as_analyze_does(ccr, runs: Path, tmp_path: Path, monkeypatch):
    seen: list[tuple[Made, Made]] = []

    def pictures(results: Made, matrices: Made, *_: object, **__: object) -> list[Any]:
        seen.append((results, matrices))
        return []

    monkeypatch.setattr("ccr_diag.figures.gallery.pictures_of_results", pictures)
    monkeypatch.setattr("ccr_diag.figures.gallery.pictures_of_training", lambda *_: [])
    done = ccr("analyze", "checkpoint", runs, "-o", tmp_path / "own", "--device", "cpu")
    assert done.exit_code == 0, done.output
    out = tmp_path / "drawn"
    shutil.copytree(tmp_path / "own", out / "analysis")  # an older one, which is replaced
    (out / "analysis" / "events.out.tfevents.1").touch()
    # Beside the analysis of itself it changes nothing.
    result = ccr("figures", runs, tmp_path / "own", "-o", out, "--device", "cpu")
    assert result.exit_code == 0, result.output
    own, made = (load_results(f / "results.json") for f in (tmp_path / "own", out / "analysis"))
    assert {**made, "provenance": {}} == {**own, "provenance": {}}
    assert sorted(p.name for p in (out / "analysis").iterdir()) == sorted(
        p.name for p in (tmp_path / "own").iterdir()
    )
    ((results, matrices),) = seen
    assert [m["name"] for m in results["models"]] == [m["name"] for m in own["models"]]
    assert set(matrices) == {m["name"] for m in own["models"]}


def test_an_unfinished_run_is_refused_as_by_analyze(ccr, runs: Path, tmp_path: Path):
    (runs / "split-2" / "DONE").unlink()
    said = [
        ccr(*words, runs, "-o", tmp_path / "out", "--device", "cpu")
        for words in (["figures"], ["analyze", "checkpoint"])
    ]
    assert [result.exit_code for result in said] == [2, 2]
    assert said[0].stderr == said[1].stderr
    assert not (tmp_path / "out").exists()


def test_what_is_read_is_not_replaced(ccr, runs: Path, bare: Made, tmp_path: Path):
    out = tmp_path / "out"
    (out / "analysis").mkdir(parents=True)
    (out / "analysis" / "results.json").write_text(json.dumps(bare))
    result = ccr("figures", runs, out / "analysis", "-o", out)
    assert result.exit_code == 2
    assert "--overwrite would delete" in result.stderr
    assert (out / "analysis" / "results.json").exists()
    (out / "analysis" / "mine.txt").write_text("mine")
    assert "also holds 'mine.txt'" in ccr("figures", runs, "-o", out).stderr


def test_a_sweep_without_some_runs_says_which(ccr, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("ccr_diag.figures.gallery.pictures_of_sweep", lambda *_: [])
    frame = lambda_study(groups=["all"], metrics=["map"])
    run = frame["run"].iloc[-1]
    part = frame[(frame["run"] != run) | (frame["split"] != 2)]
    write_table(pd.DataFrame(part), tmp_path)
    result = ccr("figures", tmp_path, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert f"Left out: split 2 of run {run} (the table has no numbers of it)" in result.stderr
