"""The README's commands run, and it names every command there is."""

import re
import shlex
import shutil
from pathlib import Path

import click
import pytest

from ccr_diag import analysis
from ccr_diag.cli.main import COMMANDS, cli
from ccr_diag.data import scenes
from ccr_diag.figures import gallery
from ccr_diag.grids import READY, load_grid
from ccr_diag.pretrained import usable_tags

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAIR = r"model[ =]\"?(ViT[\w-]+)\"?[\s\\]*(?:--set |--)?pretrained[ =]+\"?(\w+)"


def commands_of(heading):
    """The lines of the first shell block below a heading."""
    block = re.search(rf"^#+ {heading}\n.*?^```sh\n(.*?)^```", README, re.M | re.S)
    return [
        line for line in block[1].replace("\\\n", " ").splitlines() if line.startswith("ccr-diag")
    ]


def all_commands():
    """(words, command) of every command and command of a group."""
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        yield (name,), command
        if isinstance(command, click.Group):
            yield from (((name, sub), c) for sub, c in command.commands.items())


@pytest.mark.parametrize(("words", "command"), list(all_commands()), ids=lambda x: str(x))
def test_every_command_has_help_and_is_in_the_readme(ccr, words, command):
    result = ccr(*words, "--help")
    assert result.exit_code == 0
    assert command.help
    assert f"ccr-diag {' '.join(words)}" in README
    assert all(
        parameter.help for parameter in command.params if isinstance(parameter, click.Option)
    )


def test_every_flag_that_the_readme_names_exists():
    known = {o for _, c in all_commands() for p in c.params for o in [*p.opts, *p.secondary_opts]}
    known |= {o for p in cli.params for o in p.opts} | {"--help"}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README))
    foreign = {"--extra", "--steps", "--decay", "--peers"}  # of scripts beside the command
    assert named - foreign <= known


def test_the_two_lines_of_the_readme_are_what_a_stranger_needs():
    lines = README.splitlines()
    assert "python3 -m venv .venv && .venv/bin/pip install -e . && .venv/bin/ccr-diag demo" in lines
    assert ".venv/bin/pip install -e '.[test]' && .venv/bin/pytest -n auto" in lines


@pytest.fixture
def few(monkeypatch):
    """Little of what takes long, everywhere: test images, replicates, files of figures."""
    monkeypatch.setitem(scenes.SPLITS, "test", 300)
    measure, write = analysis.measure_predictions, gallery.write_pictures
    monkeypatch.setattr(
        analysis,
        "measure_predictions",
        lambda predictions, n_bootstrap, **chosen: measure(
            predictions, n_bootstrap=min(n_bootstrap, 20), **chosen
        ),
    )
    monkeypatch.setattr(
        gallery,
        "write_pictures",
        lambda pictures, folder, formats, progress: write(
            pictures[:3], folder, formats[-1:], progress
        ),
    )


@pytest.mark.long
def test_the_steps_of_the_readme_run_as_they_stand(few, ccr, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    steps = commands_of("Step by step")
    assert [shlex.split(step)[1] for step in steps] == [
        "finetune",
        "finetune",
        "finetune",
        "analyze",
        "figures",
    ]
    for step in steps:
        result = ccr(*shlex.split(step)[1:])
        assert result.exit_code == 0, f"{step}\n{result.output}"
    assert (tmp_path / "analysis" / "figures" / "modality_gap.png").stat().st_size > 10_000
    made = tmp_path / "analysis" / "predictions"
    shutil.copy(made / "bce-mean-bias-split-1.npz", tmp_path / "a.npz")
    shutil.copy(made / "bce-ccr-mean-bias-split-1.npz", tmp_path / "b.npz")
    steps = commands_of("Anybody's predictions")
    assert len(steps) == 2
    for step in steps:
        result = ccr(*shlex.split(step)[1:])
        assert result.exit_code == 0, f"{step}\n{result.output}"
        assert "bce+ccr (mean bias)" in result.stdout


def test_models_of_the_readme_and_of_the_help_have_the_activation_of_their_weights():
    told = [README, *(path.read_text() for path in (ROOT / "cli").glob("*.py"))]
    asked = {pair for text in told for pair in re.findall(PAIR, text)}
    assert asked
    for model, tag in asked:
        assert tag in usable_tags(model), f"{model} with {tag}"


def test_the_grid_of_the_readme_is_one(tmp_path):
    (block,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "grid.toml").write_text(block)
    grid = load_grid(str(tmp_path / "grid.toml"))
    assert {config.framework for config in grid.runs} == {"coop", "kgcoop"}
    assert len(grid.calibrators) == 4


def test_the_readme_and_the_help_name_every_ready_grid():
    said = cli.get_command(click.Context(cli), "sweep").help
    for name in READY:
        assert f"`{name}`" in README
        assert name in re.findall(r"[a-z-]+", said)
