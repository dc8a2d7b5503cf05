"""Trackers: what reaches them of a run, and what of them reaches a run (nothing)."""

import itertools
import json
import random
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ccr_diag import finetune as module
from ccr_diag import trackers
from ccr_diag.config import FinetuneConfig
from ccr_diag.data import load_dataset
from ccr_diag.errors import BadConfig, MissingExtra, RunFailed
from ccr_diag.finetune import finetune
from ccr_diag.runs import CONFIG, DONE, LOG, RUN_ID, prepare_output

CONFIG_OF_TEST = FinetuneConfig(shots=2, epochs=3, batch_size=8, seed=4, loss="ranking")
NAME = "ranking, split 4"


@pytest.fixture(scope="module")
def train(drawn_data):
    return load_dataset(drawn_data, "train")


@pytest.fixture
def tuned(tiny_backbone, train, tmp_path):
    """Run the config in a folder of this test, reporting to these."""

    def run(*report_to, folder="run", config=CONFIG_OF_TEST):
        return finetune(
            config, tmp_path / folder, backbone=tiny_backbone, train=train, report_to=report_to
        )

    return run


@pytest.fixture
def broken(tuned, monkeypatch):
    """Run as ``tuned`` does, but break off as the second epoch is about to be saved."""

    def run(*report_to):
        saves, save = [], module.save_checkpoint

        def save_then_break(*args):
            saves.append(args)
            if len(saves) == 2:
                raise KeyboardInterrupt
            save(*args)

        with monkeypatch.context() as patch:
            patch.setattr(module, "save_checkpoint", save_then_break)
            with pytest.raises(KeyboardInterrupt):
                tuned(*report_to)

    return run


@pytest.fixture
def installed(monkeypatch):
    """As if every tracker were installed."""
    monkeypatch.setattr(trackers, "distribution", lambda name: None)


class Recorder:
    """A tracker that keeps what it is told, and draws from every generator that is shared."""

    def __init__(self, told, fails=()):
        self.told, self.fails = told, fails

    def __call__(self, run):
        return self.tell("open", run.name, run.folder.name) or self

    def tell(self, what, *values):
        random.random(), np.random.rand(), torch.rand(1)  # noqa: B018, NPY002
        self.told.append((what, *values))
        if what in self.fails:
            raise ConnectionError(f"no {what}\nhere")

    def log(self, record):
        self.tell("log", dict(record))

    def close(self, failed):
        self.tell("close", failed)


@pytest.fixture
def recorded(monkeypatch, installed):
    """What a recorder in the place of wandb was told; it raises where it is asked to."""

    def install(*fails):
        told = []
        monkeypatch.setitem(trackers.TRACKERS, "wandb", Recorder(told, fails))
        return told

    return install


def metrics_of(folder):
    return [json.loads(line) for line in (folder / LOG).read_text().splitlines()]


def scalars_of(folder):
    """(epoch, value) of each tag in the event files of a folder."""
    events = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def test_tensorboard_holds_every_epoch_once_after_an_interruption(tuned, broken, tmp_path):
    broken("tensorboard")
    assert {
        tag: len(values) for tag, values in scalars_of(tmp_path / "run").items()
    } == dict.fromkeys(("loss", "regularizer", "dead", "rate", "bias", "NP@5"), 1)
    tuned("tensorboard")
    metrics = metrics_of(tmp_path / "run")
    assert [line["epoch"] for line in metrics] == [1, 2, 3]
    for tag, values in scalars_of(tmp_path / "run").items():
        expected = [(line["epoch"], pytest.approx(line[tag], rel=1e-6)) for line in metrics]
        assert values == expected
    text = EventAccumulator(str(tmp_path / "run")).Reload().Tensors("config/text_summary")
    (told,) = [event.tensor_proto.string_val[0].decode() for event in text]
    assert [line.strip() for line in told.splitlines()] == [
        NAME, "", *(tmp_path / "run" / CONFIG).read_text().splitlines()
    ]  # fmt: skip


def test_event_files_are_replaced_with_their_run(tuned, tmp_path):
    tuned("tensorboard")
    prepare_output(tmp_path / "run", overwrite=True)
    assert list((tmp_path / "run").iterdir()) == []


def test_no_tracker_changes_the_run(tuned, recorded, tmp_path):
    told = recorded()
    (tmp_path / "nouns.txt").write_text("cat\ndog\nsea\nsky\nroad\n")
    nouns = {"outliers": str(tmp_path / "nouns.txt"), "top_outliers": 0, "n_outliers": 2}
    config = CONFIG_OF_TEST.replace(context_init="", loss="bce", regularizer="dor", **nouns)
    first = load_file(tuned(folder="plain", config=config))
    second = load_file(tuned("wandb", "tensorboard", folder="tracked", config=config))
    assert len(told) == 5
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    plain, tracked = tmp_path / "plain", tmp_path / "tracked"
    assert [(plain / name).read_text() for name in (CONFIG, LOG)] == [
        (tracked / name).read_text() for name in (CONFIG, LOG)
    ]


def test_a_tracker_is_opened_told_and_closed(tuned, recorded, tmp_path):
    told = recorded()
    tuned("wandb")
    logs = [("log", line) for line in metrics_of(tmp_path / "run")]
    assert told == [("open", NAME, "run"), *logs, ("close", False)]
    tuned("wandb")  # a finished run is none
    assert len(told) == 5


def test_an_epoch_is_told_once_and_a_broken_run_is_closed_as_one(tuned, broken, recorded, tmp_path):
    told = recorded()
    broken("wandb")
    first = metrics_of(tmp_path / "run")[0]
    assert told == [("open", NAME, "run"), ("log", first), ("close", True)]
    tuned("wandb")
    logs = [values[0]["epoch"] for what, *values in told if what == "log"]
    assert logs == [1, 2, 3]
    assert told[-1] == ("close", False)


@pytest.mark.parametrize(
    ("fails", "calls", "result"),
    [
        ("open", ["open"], "the run goes on without it"),
        ("log", ["open", "log", "close"], "it gets no more epochs"),
        ("close", ["open", "log", "log", "log", "close"], "its last epochs may be missing there"),
    ],
)
def test_a_tracker_that_fails_is_warned_of_once_and_ends_alone(
    tuned, recorded, tmp_path, caplog, fails, calls, result
):
    told = recorded(fails)
    tuned("wandb", "tensorboard")
    assert (tmp_path / "run" / DONE).exists()
    assert [what for what, *_ in told] == calls
    assert caplog.messages == [f"Reporting to wandb failed (no {fails} here); {result}."]
    assert len(scalars_of(tmp_path / "run")["loss"]) == 3


def test_a_tracker_that_fails_in_log_and_in_close_is_warned_of_once(tuned, recorded, caplog):
    told = recorded("log", "close")
    tuned("wandb")
    assert [what for what, *_ in told] == ["open", "log", "close"]
    assert told[-1] == ("close", True)
    assert len(caplog.messages) == 1


def test_a_run_that_fails_is_closed_as_failed(tuned, recorded, monkeypatch):
    from ccr_diag import tune

    told = recorded()
    step = tune._step
    monkeypatch.setattr(tune, "_step", lambda *args: step(*args) * torch.nan)
    with pytest.raises(RunFailed):
        tuned("wandb")
    assert told[1:] == [("close", True)]


def test_unknown_and_missing_trackers_are_refused_before_anything(tuned, tmp_path, monkeypatch):
    with pytest.raises(BadConfig, match="but got 'tensorbord'; did you mean 'tensorboard'"):
        tuned("tensorbord")
    monkeypatch.setitem(trackers.TRACKERS, "no-such-tracker", trackers.WandB)
    with pytest.raises(MissingExtra, match=r"run pip install 'ccr-diag\[no-such-tracker\]', or"):
        tuned("tensorboard", "no-such-tracker")
    assert list(tmp_path.iterdir()) == []


def test_every_tracker_is_an_extra_of_its_name():
    setup = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    extras = setup["project"]["optional-dependencies"]
    for name in trackers.TRACKERS:
        assert [line.split(">=")[0] for line in extras[name]] == [name]


def library(name, **functions):
    """A module in the place of a tracker's own; keeps what is called."""
    calls = []

    def finish(**how):
        calls.append(("finish", how))

    run = SimpleNamespace(
        log=lambda values, step: calls.append(("log", values, step)), finish=finish
    )

    def init(**how):
        print("hello from", name)
        calls.append(("init", how))
        return run

    made = ModuleType(name)
    made.__dict__.update(init=init, finish=finish, **functions)
    return made, calls


@pytest.fixture
def wandb_calls(monkeypatch, installed, tmp_path):
    """What wandb is called with, in an environment that knows no account."""
    for key in ("WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    settings = SimpleNamespace(
        mode="online", api_key=None, identity_token_file=None, base_url="https://api.wandb.ai"
    )
    made, calls = library("wandb", setup=lambda: SimpleNamespace(settings=settings))
    monkeypatch.setitem(sys.modules, "wandb", made)
    return SimpleNamespace(calls=calls, settings=settings)


def test_wandb_finds_a_broken_run_again(tuned, broken, wandb_calls, tmp_path):
    broken("wandb")
    tuned("wandb")
    calls = wandb_calls.calls
    first, second = (how for what, how, *_ in calls if what == "init")
    assert first == second
    assert first == {
        "project": "ccr-diag",
        "id": (tmp_path / "run" / RUN_ID).read_text(),
        "name": NAME,
        "group": "ranking",
        "config": CONFIG_OF_TEST.as_dict(),
        "resume": "allow",
        "mode": "offline",
    }
    metrics = metrics_of(tmp_path / "run")
    logs = [("log", {k: v for k, v in m.items() if k != "epoch"}, m["epoch"]) for m in metrics]
    assert [call for call in calls if call[0] == "log"] == logs
    assert [how for what, how, *_ in calls if what == "finish"] == [
        {"exit_code": 1},
        {"exit_code": 0},
    ]
    tuned("wandb", folder="other")
    assert wandb_calls.calls[-5][1]["id"] != first["id"]


def test_wandb_follows_its_environment(tuned, wandb_calls, monkeypatch, tmp_path):
    runs = (f"run-{i}" for i in itertools.count())

    def mode():
        wandb_calls.calls.clear()
        tuned("wandb", folder=next(runs))
        return wandb_calls.calls[0][1]["mode"]

    (tmp_path / "netrc").write_text("machine api.other.ai login user password x\n")
    assert mode() == "offline"
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password x\n")
    assert mode() is None
    (tmp_path / "netrc").unlink()
    wandb_calls.settings.api_key = "k"
    assert mode() is None
    wandb_calls.settings.api_key = None
    wandb_calls.settings.mode = "disabled"
    assert mode() is None
    wandb_calls.settings.mode = "online"
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    assert mode() is None
    assert wandb_calls.calls[0][1]["project"] == "mine"


def test_trackio_finds_a_broken_run_again_and_leaves_stdout(
    tuned, broken, installed, monkeypatch, tmp_path, capsys
):
    made, calls = library("trackio")
    monkeypatch.setitem(sys.modules, "trackio", made)
    monkeypatch.delenv("TRACKIO_PROJECT", raising=False)
    broken("trackio")
    tuned("trackio")
    first, second = (how for what, how, *_ in calls if what == "init")
    assert first == second
    assert first == {
        "project": "ccr-diag",
        "name": f"{NAME} ({(tmp_path / 'run' / RUN_ID).read_text()})",
        "group": "ranking",
        "config": CONFIG_OF_TEST.as_dict(),
        "resume": "allow",
    }
    assert [step for what, _, *step in calls if what == "log"] == [[1], [2], [3]]
    assert [what for what, *_ in calls if what == "finish"] == ["finish"] * 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "hello from trackio\n" * 2


def test_the_command_takes_lists_and_repeats(ccr, tiny_clip, drawn_data, recorded, tmp_path):
    told = recorded()
    settings = ["--model", tiny_clip, "--data", drawn_data, "--shots", 2, "--epochs", 1]
    flags = ["--report-to", "tensorboard, wandb", "--report-to", "wandb", "--splits", 2]
    done = ccr("finetune", *settings, *flags, "-o", tmp_path / "runs")
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    assert [values for what, *values in told if what == "open"] == [
        ["bce, split 1", "split-1"],
        ["bce, split 2", "split-2"],
    ]
    for split in ("split-1", "split-2"):
        assert len(scalars_of(tmp_path / "runs" / split)["loss"]) == 1


def test_the_command_refuses_a_tracker_at_once(ccr, tmp_path):
    done = ccr("finetune", "--report-to", "wandbb", "-o", tmp_path / "runs")
    assert done.exit_code == 2
    assert done.stderr.startswith(
        "Error: A tracker must be one of tensorboard, wandb, trackio, but"
    )
    assert not (tmp_path / "runs").exists()
