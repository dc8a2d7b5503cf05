"""``ccr-diag``: the group of commands, and what an error looks like to the user.

In: the command line. Out: an exit code, and at most one line about what went wrong on stderr.
A command is imported when it runs or when its own help is asked for: ``ccr-diag --help`` is quick.
"""

import errno
import importlib
import logging
import traceback
import warnings
from typing import Any, NoReturn

import click

from ccr_diag import __version__
from ccr_diag.errors import CcrDiagError, RunFailed

# Command → its line in `ccr-diag --help`. Command `x` is the object `x` of the module `x` here.
COMMANDS = {
    "data": "Check a data set, write it as a manifest, and share lists of it.",
    "finetune": "Fine-tune on images with many labels, with or without CCR.",
    "sweep": "Fine-tune and measure every setting of a grid, into one table.",
    "embed": "Make features of images ahead, for every command that needs them.",
    "predict": "Score images with a checkpoint, of a run or a public one.",
    "analyze": "Measure how far probabilities can be trusted, and where not.",
    "compare": "Say whether one model's predictions are better than another's.",
    "calibrate": "Fit a calibrator on other images, and say what it changed.",
    "figures": "Draw the figures and tables of analyses, sweeps and runs.",
    "demo": "Tune, analyze and draw the embedded example, offline.",
    "doctor": "Say what this machine offers: versions, devices, caches, weights.",
}

# What the machine refuses, rather than what this program does wrong.
REFUSED = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some of your quota",
    errno.EFBIG: "write to a place without such a limit",
    errno.EACCES: "choose another folder or ask for access",
    errno.EPERM: "choose another folder or ask for access",
    errno.EROFS: "choose another folder",
    errno.ENOTDIR: "choose another path",
    errno.EISDIR: "choose another path",
    errno.EEXIST: "choose another path",
    errno.ENOENT: "choose another path",
    errno.ENAMETOOLONG: "choose a shorter path",
}
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no fault of what was given

EXIT_CODES = (
    "Exit codes: 0 done; 1 failed at work (a full disk, a loss that is not a number, a bug); "
    "2 wrong usage, file or data; 3 a --fail-if condition holds; 130 interrupted."
)


class LazyGroup(click.Group):
    """A group whose commands are named in a table and imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f".{cmd_name}", __package__), cmd_name)
        assert isinstance(command, click.Command), f"{cmd_name}.{cmd_name} is not a command"
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error becomes one line on stderr and an exit code."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except BrokenPipeError:  # the reader of stdout has had enough; click ends quietly
            raise
        except (Exception, KeyboardInterrupt) as error:
            if ctx.params["debug"]:
                traceback.print_exception(error)
            text, exit_code = explain(error)
            click.echo(text, err=True)
            ctx.exit(exit_code)


def explain(error: BaseException) -> tuple[str, int]:
    """One line for the user, and an exit code: 2 for what they gave, 1 for what went wrong."""
    if isinstance(error, KeyboardInterrupt):
        return "Interrupted; run the same command again to go on, with --resume if it has one.", 130
    if isinstance(error, CcrDiagError):
        return f"Error: {one_line(error)}", 1 if isinstance(error, RunFailed) else 2
    if isinstance(error, OSError) and error.errno in REFUSED:
        what = "No space left" if error.errno == errno.ENOSPC else error.strerror
        where = f" at {error.filename}" if error.filename else ""
        text = f"Error: {what}{where}; {REFUSED[error.errno]}, then run the same command again."
        return text, 1 if error.errno in FULL else 2
    what = f"{type(error).__name__}: {one_line(error)}"
    remedy = "run it again as `ccr-diag --debug …` to see where"
    return f"Error: this is a bug in ccr-diag ({what}); {remedy}.", 1


def one_line(error: BaseException) -> str:
    """The error's text without line breaks."""
    return " ".join(str(error).splitlines())


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES
)
@click.version_option(__version__, prog_name="ccr-diag", message="%(prog)s %(version)s")
@click.option("--verbose", is_flag=True, help="Tell which way is taken, and where files go.")
@click.option("--debug", is_flag=True, help="Show where in the code an error comes from.")
def cli(verbose: bool, debug: bool) -> None:
    """Can the probabilities of a fine-tuned multi-label CLIP be trusted, and what fixes them?"""
    if verbose:
        _show_log()


def _show_log() -> None:
    """What the library logs goes to stderr, line by line, until the command ends."""
    log, show = logging.getLogger("ccr_diag"), logging.StreamHandler()
    log.addHandler(show)
    log.setLevel(logging.INFO)
    click.get_current_context().call_on_close(lambda: log.removeHandler(show))


def main() -> NoReturn:
    """The entry point of ``ccr-diag``."""
    warnings.filterwarnings("ignore", module="PIL")  # damaged images are errors or are shown
    cli.main(prog_name="ccr-diag")
    raise SystemExit(0)
