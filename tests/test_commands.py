"""The command line step by step, on a model and images of the user's own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ccr_diag.arrays import BIAS_RULES
from ccr_diag.cli import figures, options, public_files
from ccr_diag.cli.finetune import start_note
from ccr_diag.config import CHOICES
from ccr_diag.figures import gallery
from ccr_diag.figures.html_report import results_page
from ccr_diag.metrics import presets
from ccr_diag.report_layout import FORMATS
from ccr_diag.report_sweep import SPREADS
from ccr_diag.results import load_results


def test_the_choices_are_what_the_library_offers():
    """They are written out in the command line, which imports nothing heavy for its help."""
    assert tuple(presets.PRESETS) == options.PRESETS
    assert options.FORMATS == FORMATS
    assert tuple(SPREADS) == options.SPREADS
    assert figures.FORMATS == gallery.FORMATS
    assert CHOICES["position"] == public_files.POSITIONS
    assert set(public_files.RULES) == {"own", *BIAS_RULES} - {"learned"}


@pytest.fixture
def own(tiny_clip, drawn_data):
    """Flags of a small run."""
    return [
        "--model", tiny_clip, "--data", drawn_data, "--new-class", "grey square",
        "--shots", 4, "--epochs", 2, "--device", "cpu",
    ]  # fmt: skip


def test_step_by_step_on_your_own_model_and_images(ccr, own, tmp_path):
    for name, flags in {"bce": [], "ccr": ["--regularizer", "ccr", "--lambda", 2]}.items():
        result = ccr("finetune", *own, *flags, "--splits", 2, "-o", tmp_path / name)
        assert (result.exit_code, result.stdout) == (0, ""), result.output
        assert "2 splits in" in result.stderr
    out = tmp_path / "analysis"
    result = ccr("analyze", "checkpoint", tmp_path / "bce", tmp_path / "ccr", "-o", out)
    assert result.exit_code == 0, result.output
    assert "ECE, positive" in result.stdout
    assert "Definitions: textbook" in result.stdout
    assert "BCE + CCR" in result.stdout
    assert "±" in result.stdout
    assert "Written:" in result.stderr
    results = load_results(out / "results.json")
    names = [model["name"] for model in results["models"]]
    assert names == ["zero-shot", "zero-shot (prior bias)", "bce", "bce+ccr"]
    made = results["provenance"]
    assert made["command"].startswith("ccr-diag analyze checkpoint ")
    assert [file["config"]["seed"] for file in made["inputs"]] == [1, 2, 1, 2]
    assert (out / "report.html").read_text(encoding="utf-8") == results_page(results)
    result = ccr("figures", out, "--format", "png")
    assert result.exit_code == 0, result.output
    written = result.stdout.split()
    there = [path for path in (out / "figures").rglob("*") if path.is_file()]
    assert sorted(written) == sorted(map(str, there))
    assert len(there) >= 8


def test_a_start_far_from_the_prior_is_said(ccr, own, tmp_path, biased_clip):
    level = ccr("finetune", *own, "--bias", "prior", "-o", tmp_path / "level")
    assert "Note" not in level.stderr
    far = ccr("finetune", *own, "--bias", "model", "--model", biased_clip, "-o", tmp_path / "far")
    assert "Note: under bias rule 'model' the zero-shot probabilities" in far.stderr
    said = start_note(
        {"start_probability": 0.98, "prior": 0.03, "config": {"bias": "none", "loss": "bce"}}
    )
    assert said == (
        "Note: under bias rule 'none' the zero-shot probabilities of the training images average "
        "0.98, but 0.03 of their labels are positive. BCE then mostly moves all classes alike; "
        "--bias prior or learned starts level.\n"
    )


@pytest.mark.parametrize("loss", ["bce", "ranking"])
def test_labels_that_are_all_positive_are_said(loss):
    config = {"bias": "none", "loss": loss}
    said = start_note({"start_probability": 0.98, "prior": 1.0, "config": config})
    assert said == (
        "Note: no class is known to be absent from any of the training images, so nothing teaches "
        "what absence is; if every class was looked for in each, say --unlisted negative.\n"
    )


def test_a_manifest_without_splits_is_tuned_on_whole(ccr, own, tmp_path, drawn_data):
    source = Path(drawn_data.removeprefix("manifest:"))
    rows = [line.rsplit(",", 1)[0] for line in source.read_text().splitlines()]
    (source.parent / "whole.csv").write_text("\n".join(rows))
    flags = [*own, "--data", f"manifest:{source.parent / 'whole.csv'}"]
    for more in ([], ["--split", "all", "--overwrite"]):
        result = ccr("finetune", *flags, "--shots", 0, *more, "-o", tmp_path / "run")
        assert result.exit_code == 0, result.output
        examples = (tmp_path / "run" / "split-1" / "examples.txt").read_text().splitlines()
        assert len(examples) == len(rows) - 1
    refused = ccr("analyze", "checkpoint", tmp_path / "run", "-o", tmp_path / "a")
    assert refused.exit_code == 2
    assert "for split 'test' to be chosen, but has none; add it, or ask for 'all'" in refused.stderr


def test_json_on_stdout_is_the_results_file(ccr, own, tmp_path):
    ccr("finetune", *own, "-o", tmp_path / "run")
    flags = ["--format", "json", "--bias", "mean", "--bootstrap", 10]
    result = ccr("analyze", "checkpoint", tmp_path / "run", "-o", tmp_path / "a", *flags)
    assert json.loads(result.stdout) == json.loads((tmp_path / "a" / "results.json").read_text())
    assert {m["map_rule"] for m in json.loads(result.stdout)["models"]} == {"mean"}


def test_definitions_are_chosen_and_a_dash_writes_nothing(ccr, own, tmp_path, monkeypatch):
    ccr("finetune", *own, "-o", tmp_path / "run")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    flags = ["--preset", "paper", "--bins", 4, "--bootstrap", 10, "--seed", 5, "-o", "-"]
    command = ["analyze", "checkpoint", tmp_path / "run", *flags, "--format"]
    found = json.loads(ccr(*command, "json").stdout)
    chosen = {"preset": "paper", "n_bins": 4, "n_bootstrap": 10, "seed": 5}
    assert found["definitions"] | chosen == found["definitions"]
    for form, text in {
        "text": "Definitions: paper:",
        "markdown": "| model | ECE | ACE | MCE (weighted) | PIECE |",
        "csv": "model,map_rule,group,class,metric,value,low,high",
        "latex": r"\toprule",
    }.items():
        result = ccr(*command, form, "--bootstrap", 0)
        assert text in result.stdout
        assert "Written" not in result.stderr
    assert list(elsewhere.iterdir()) == []
    default = json.loads(ccr(*command[:3], "--format", "json", "-o", "-").stdout)["definitions"]
    chosen = {"preset": "textbook", "n_bins": 15, "n_bootstrap": 200, "seed": 0}
    assert default | chosen == default


def test_a_config_file_gives_the_run_it_came_from(ccr, own, tmp_path):
    assert ccr("finetune", *own, "-o", tmp_path / "a").exit_code == 0
    config = tmp_path / "a" / "split-1" / "config.toml"
    assert (
        ccr("finetune", "--config", config, "-o", tmp_path / "b", "--device", "cpu").exit_code == 0
    )
    first, second = (tmp_path / x / "split-1" / "checkpoint.safetensors" for x in "ab")
    assert first.read_bytes() == second.read_bytes()
    assert ccr("finetune", "--config", config, "--lambda", 9, "-o", tmp_path / "c").exit_code == 0
    assert "lambda_ = 9.0" in (tmp_path / "c" / "split-1" / "config.toml").read_text()


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (
            ["finetune", "--data", "manifest:none.csv"],
            "Error: A manifest must be a file, but none.csv is not there",
        ),
        (["finetune", "--data", "scene"], "did you mean 'scenes'?"),
        (["finetune", "--new-class", "dgo"], "'dgo' is none; did you mean"),
        (["finetune", "--lambda", "-1"], "Error: lambda must be a finite number"),
        (["finetune", "--model", "VIT"], "Error: The model must be"),
        (["finetune", "--config", "none.toml"], "Error: The config must be a TOML file"),
        (["finetune", "--loss", "bse"], "'bse'; did you mean 'bce'?"),
        (["finetune", "--framework", "t2ipal"], "'t2ipal'; did you mean 't2i_pal'?"),
        (["finetune", "--regularizer", "x"], "but got 'x'; known are ccr, dor, kgcoop, none."),
        (["analyze", "checkpoint", "none"], "Error: A checkpoint must be a file or a run folder"),
        (["analyze", "checkpoint"], "Missing argument 'RUNS...'"),
        (["analyze", "checkpoint", "x", "--bootstrap", "1"], "give 0 for none, or at least 2"),
        (["analyze", "checkpoint", "x", "--preset", "book"], "Invalid value for '--preset'"),
        (["analyze", "checkpoint", "x", "--bias", "learned"], "Invalid value for '--bias'"),
        (["analyze", "checkpoint", "x", "--bins", "0"], "Invalid value for '--bins'"),
        (["figures", "none.json", "--format", "gif"], "Invalid value for '--format'"),
        (["figures", "none.json"], "but there is no none.json; check the path."),
        (["figures", "none"], "Error: Figures are drawn of analyses"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(ccr, args, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = ccr(*args)
    assert result.exit_code == 2
    assert text in result.stderr
    assert "Traceback" not in result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert len(errors) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_output_folder_is_not_touched_unasked(ccr, own, tmp_path):
    assert ccr("finetune", *own, "-o", tmp_path / "run").exit_code == 0
    file = tmp_path / "run" / "split-1" / "checkpoint.safetensors"
    before = file.stat().st_mtime_ns
    result = ccr("finetune", *own, "-o", tmp_path / "run")
    assert result.exit_code == 2
    assert "add --resume to go on with it, --overwrite to replace it" in result.stderr
    result = ccr("finetune", *own, "-o", tmp_path / "run", "--overwrite", "--captions", "no.txt",
                 "--framework", "tai_dpt")  # fmt: skip
    assert (result.exit_code, "no.txt: No such file" in result.stderr) == (2, True)
    assert ccr("finetune", *own, "-o", tmp_path / "run", "--resume").exit_code == 0
    assert file.stat().st_mtime_ns == before
    assert ccr("finetune", *own, "-o", tmp_path / "run", "--overwrite").exit_code == 0
    assert file.stat().st_mtime_ns != before


def test_the_current_folder_can_be_the_output_and_be_replaced(ccr, own, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    for more in ([], ["--overwrite"]):
        monkeypatch.chdir(tmp_path / "run")
        result = ccr("finetune", *own, *more, "-o", ".")
        assert result.exit_code == 0, result.output
        assert (tmp_path / "run" / "split-1" / "DONE").exists()
        assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_verbose_tells_which_way_is_taken_and_only_then(ccr, own, tmp_path):
    said = [
        ccr(*flag, "finetune", *own, "-o", tmp_path / name).stderr
        for flag, name in ((["--verbose"], "a"), ([], "b"))
    ]
    assert ["prompts are encoded up to their pooled token" in text for text in said] == [
        True,
        False,
    ]


INTERRUPTED = """
import os, signal, sys
import ccr_diag.finetune
from ccr_diag.cli.main import main

module = sys.modules["ccr_diag.finetune"]
save = module.save_checkpoint

def save_and_interrupt(*args):
    save(*args)
    os.kill(os.getpid(), signal.SIGINT)

module.save_checkpoint = save_and_interrupt
main()
"""  # as by Ctrl-C, but on no machine too late


def test_ctrl_c_leaves_a_run_that_resumes_to_the_same_numbers(ccr, own, tmp_path):
    long = [*own, "--epochs", 5]
    command = [sys.executable, "-c", INTERRUPTED, "finetune", *map(str, long)]
    process = subprocess.run(
        [*command, "-o", tmp_path / "run"], capture_output=True, text=True, check=False
    )
    checkpoint, stderr = tmp_path / "run" / "split-1" / "checkpoint.safetensors", process.stderr
    assert process.returncode == 130, stderr
    assert stderr.splitlines()[-1] == (
        "Interrupted; run the same command again to go on, with --resume if it has one."
    )
    assert "Traceback" not in stderr
    assert checkpoint.exists()
    assert not (tmp_path / "run" / "split-1" / "DONE").exists()
    assert ccr("finetune", *long, "-o", tmp_path / "run", "--resume").exit_code == 0
    assert ccr("finetune", *long, "-o", tmp_path / "whole").exit_code == 0
    assert (
        checkpoint.read_bytes()
        == (tmp_path / "whole" / "split-1" / "checkpoint.safetensors").read_bytes()
    )
