"""The command group: its table, and one line and one exit code an error."""

import errno
import sys
import types

import click
import pytest

import ccr_diag
from ccr_diag.cli import main
from ccr_diag.errors import BadData, RunFailed

BUG = "; run it again as `ccr-diag --debug …` to see where.\n"
ENOSPC = OSError(errno.ENOSPC, "No space left on device")
EACCES = PermissionError(errno.EACCES, "Permission denied", "runs/a")


@pytest.fixture
def failing(monkeypatch):
    """A function that makes ``ccr-diag boom`` raise what it is given."""

    def install(error):
        @click.command()
        def boom():
            raise error

        module = types.ModuleType("ccr_diag.cli.boom")
        module.boom = boom
        monkeypatch.setitem(main.COMMANDS, "boom", "Fails.")
        monkeypatch.setitem(sys.modules, "ccr_diag.cli.boom", module)

    return install


@pytest.mark.parametrize(
    ("error", "text", "exit_code"),
    [
        (
            BadData("Labels must be 1, 0 or -1, but got 7."),
            "Error: Labels must be 1, 0 or -1, but got 7.\n",
            2,
        ),
        (BadData("one\ntwo"), "Error: one two\n", 2),
        (RunFailed("The loss is not a number."), "Error: The loss is not a number.\n", 1),
        (
            KeyboardInterrupt(),
            "Interrupted; run the same command again to go on, with --resume if it has one.\n",
            130,
        ),
        (ENOSPC, "Error: No space left; free some space, then run the same command again.\n", 1),
        (
            EACCES,
            "Error: Permission denied at runs/a; choose another folder or ask for access, "
            "then run the same command again.\n",
            2,
        ),
        (ValueError("a\nb"), f"Error: this is a bug in ccr-diag (ValueError: a b){BUG}", 1),
        (
            FileNotFoundError(errno.ENOENT, "Gone", "x"),
            "Error: Gone at x; choose another path, then run the same command again.\n",
            2,
        ),
        (click.ClickException("No terminal."), "Error: No terminal.\n", 1),
        (click.Abort(), "Aborted!\n", 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_an_error_is_one_line_and_an_exit_code(ccr, failing, error, text, exit_code):
    failing(error)
    result = ccr("boom")
    assert (result.stdout, result.stderr, result.exit_code) == ("", text, exit_code)


def test_debug_shows_the_traceback_before_the_line(ccr, failing):
    failing(BadData("No images."))
    result = ccr("--debug", "boom")
    assert result.stderr.startswith("Traceback (most recent call last):\n")
    assert ", in boom\n" in result.stderr
    assert result.stderr.endswith("\nError: No images.\n")
    assert result.exit_code == 2


def test_a_command_that_works_exits_0(ccr, failing, monkeypatch):
    failing(None)
    monkeypatch.setattr(
        sys.modules["ccr_diag.cli.boom"],
        "boom",
        click.Command("boom", callback=lambda: click.echo("data")),
    )
    result = ccr("boom")
    assert (result.stdout, result.stderr, result.exit_code) == ("data\n", "", 0)


def test_no_arguments_give_the_help_on_stderr(ccr):
    result = ccr()
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == ccr("--help").stdout


def test_help_lists_the_table_without_importing(ccr, failing, monkeypatch):
    failing(None)
    monkeypatch.delitem(sys.modules, "ccr_diag.cli.boom")
    result = ccr("-h")
    assert result.exit_code == 0
    commands = result.stdout.split("Commands:\n")[1].split("\n\n")[0]
    listed = [line.split(maxsplit=1) for line in commands.splitlines()]
    assert listed == [[name, line] for name, line in main.COMMANDS.items()]
    assert ["boom", "Fails."] in listed


def test_unknown_command_is_refused(ccr):
    result = ccr("analyse-all")
    assert result.exit_code == 2
    assert "Error: No such command 'analyse-all'." in result.stderr


def test_version(ccr):
    assert ccr("--version").stdout == f"ccr-diag {ccr_diag.__version__}\n"


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_has_help(ccr, name):
    result = ccr(name, "--help")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith(f"Usage: ccr-diag {name} ")


def test_main_exits(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ccr-diag", "--version"])
    with pytest.raises(SystemExit) as stop:
        main.main()
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"ccr-diag {ccr_diag.__version__}\n"
