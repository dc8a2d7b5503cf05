"""Options that several commands share, each defined once, and what they set up.

The command line imports nothing heavy to show its help: choices are written out here, and a test
holds them against the library's.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from ccr_diag.errors import nearest


class UserPath(click.Path):
    """A path, ``~`` being the home folder: no shell puts it there in a file, or after ``=``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path."""
        return Path(os.path.expanduser(os.fsdecode(super().convert(value, param, ctx))))


PATH = UserPath()
PRESETS = ("textbook", "procal", "paper")
UNLISTED = ("stated", "negative", "unknown")
SPREADS = ("interval", "sd")
FORMATS = ("text", "markdown", "csv", "json", "latex")

Command = Callable[..., Any]
Option = Callable[[Command], Command]


class NamedChoice(click.Choice[str]):
    """A choice that names the nearest word instead of all of them, as the settings file does."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The word itself."""
        if value not in self.choices and param is not None:
            known = f"must be one of {', '.join(self.choices)}, but got {value!r}"
            raise click.BadParameter(f"{known}{nearest(str(value), self.choices)}", ctx, param)
        return super().convert(value, param, ctx)


def stacked(options: Sequence[Option], command: Command) -> Command:
    """The command with these options, in this order."""
    for option in reversed(options):
        command = option(command)
    return command


def output_option(default: str, text: str = "Folder to write to.") -> Option:
    """``--output``."""
    return click.option(
        "-o", "--output", type=PATH, default=Path(default), show_default=True, help=text
    )


def overwrite_option(command: Command) -> Command:
    """``--overwrite``, for an output folder that is not empty."""
    return click.option("--overwrite", is_flag=True, help="Replace what the output folder holds.")(
        command
    )


def existing_output(command: Command) -> Command:
    """``--resume`` and ``--overwrite``, for an output folder that is not empty."""
    return click.option("--resume", is_flag=True, help="Go on with what the output folder holds.")(
        overwrite_option(command)
    )


def format_option(command: Command) -> Command:
    """``--format`` of the answer."""
    return click.option(
        "--format", "form", type=click.Choice(FORMATS), default="text", show_default=True,
        help="What is written.",
    )(command)  # fmt: skip


def spread_option(command: Command) -> Command:
    """``--spread`` of the means over splits."""
    return click.option(
        "--spread", type=click.Choice(SPREADS), default="interval", show_default=True,
        help="What stands after ± in tables: half of the 95 % interval, or the standard deviation.",
    )(command)  # fmt: skip


def unlisted_option(command: Command) -> Command:
    """``--unlisted``, of a data set."""
    return click.option(
        "--unlisted", type=click.Choice(UNLISTED), default="stated", show_default=True,
        help="What a class means that an image does not list, where the data do not state it.",
    )(command)  # fmt: skip


def class_names_option(command: Command) -> Command:
    """``--class-names``."""
    return click.option(
        "--class-names", type=PATH, help="One name a line, for files without names."
    )(command)


def preset_option(command: Command) -> Command:
    """``--preset``."""
    return click.option(
        "--preset", type=click.Choice(PRESETS), default="textbook", show_default=True,
        help="Definitions of the calibration errors: as textbooks, or as published code has them.",
    )(command)  # fmt: skip


def bins_option(command: Command) -> Command:
    """``--bins``."""
    return click.option(
        "--bins", "n_bins", type=click.IntRange(1, 10000),
        help="Bins of the calibration errors.  [default: the preset's]",
    )(command)  # fmt: skip


def bootstrap_options(least: int, more: str = "") -> Option:
    """``--bootstrap`` and ``--seed``.

    Args:
        least: replicates: 2 where intervals are needed, 0 where they can be left out.
        more: what else the help says.
    """
    text = "Replicates of the bootstrap over images" + ("." if least else "; 0 for none.")
    options = [
        click.option(
            "--bootstrap", "n_bootstrap", type=click.IntRange(min=least), default=200,
            show_default=True, callback=_not_one, help=f"{text} {more}".rstrip(),
        ),
        click.option(
            "--seed", type=click.IntRange(min=0), default=0, show_default=True,
            help="Seed of the bootstrap.",
        ),
    ]  # fmt: skip
    return lambda command: stacked(options, command)


def _not_one(context: click.Context, option: click.Parameter, value: int) -> int:
    """An interval needs two."""
    if value == 1:
        raise click.BadParameter("give 0 for none, or at least 2.")
    return value


def device_options(command: Command) -> Command:
    """``--device`` and ``--threads``."""
    options = [
        click.option(
            "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps."
        ),
        click.option(
            "--threads",
            type=click.IntRange(1, 1024),
            default=None,
            help="CPU threads of torch.  [default: torch's own]",
        ),
    ]
    return stacked(options, command)


def set_threads(threads: int | None) -> None:
    """Limit torch's threads, if a number was given."""
    if threads:
        import torch

        torch.set_num_threads(threads)
