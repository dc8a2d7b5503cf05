"""Options that several commands share, and what they set up."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

PATH = click.Path(path_type=Path)

Command = Callable[..., Any]


def output_option(default: str, text: str = "Folder to write to.") -> Callable[[Command], Command]:
    """``--output``."""
    return click.option(
        "-o",
        "--output",
        type=PATH,
        default=Path(default),
        show_default=True,
        help=text,
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


def device_options(command: Command) -> Command:
    """``--device`` and ``--threads``."""
    command = click.option(
        "--threads",
        type=click.IntRange(1, 1024),
        default=None,
        help="CPU threads of torch.  [default: torch's own]",
    )(command)
    return click.option(
        "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps."
    )(command)


def set_threads(threads: int | None) -> None:
    """Limit torch's threads, if a number was given."""
    if threads:
        import torch

        torch.set_num_threads(threads)
