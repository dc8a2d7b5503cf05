"""Where the answer of a command goes: the terminal, or one file that nothing is lost by writing."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import Command, Option, format_option, output_option, stacked

if TYPE_CHECKING:
    from ccr_diag.data.dataset import MultiLabelDataset
    from ccr_diag.results import Results

TERMINAL = Path("-")
UNKNOWN_WIDTH = 100
"""Characters a line where no terminal says: in files and pipes."""


def answer_options(command: Command) -> Command:
    """``--format``, ``--output`` and ``--overwrite``."""
    options: list[Option] = [
        format_option,
        output_option(str(TERMINAL), "File to write to; - is the terminal."),
        click.option("--overwrite", is_flag=True, help="Replace the output file."),
    ]
    return stacked(options, command)


def check_output(
    output: Path, overwrite: bool, inputs: Sequence[Path | None], option: str = "--output"
) -> None:
    """Refuse, before any work, to write over what exists or is read; ``option`` names the file."""
    from ccr_diag.errors import OutputExists

    if output == TERMINAL or not output.exists():
        return
    if not overwrite:
        raise OutputExists(
            f"The output must be new, but {output} exists; add --overwrite to replace it, or "
            f"choose another {option}."
        )
    read = [path for path in inputs if path is not None and path.exists()]
    if not output.is_file() or any(path.samefile(output) for path in read):
        raise OutputExists(
            f"--overwrite only replaces a file that is not read, but {output} is a folder or "
            f"one of the inputs; choose another {option}."
        )


def output_line(output: Path) -> str:
    """What ``--dry-run`` says of it."""
    return f"Writes: {'to the terminal' if output == TERMINAL else output}"


def check_npz(output: Path) -> None:
    """Refuse a name by which the commands that read predictions would not know the file."""
    from ccr_diag.errors import BadConfig

    if output.suffix != ".npz":
        raise BadConfig(f"The output must be a file named ….npz, but got {output}; rename it.")


def write(text: str, output: Path) -> None:
    """To the terminal, or to a file and say so on stderr."""
    from ccr_diag.runs import write_text

    if output == TERMINAL:
        click.echo(text, nl=False)
    else:
        write_text(output, text)
        click.echo(f"Written: {output}", err=True)


def write_for_people(results: "Results", folder: Path) -> None:
    """The tables and the report of an analysis, into the folder of its numbers."""
    from ccr_diag.figures.html_report import results_page
    from ccr_diag.report import write_tables
    from ccr_diag.runs import REPORT, write_text

    write_tables(results, folder)
    write_text(folder / REPORT, results_page(results))


def line_width(output: Path = TERMINAL) -> int:
    """Characters a line of the terminal, or of any file."""
    if output != TERMINAL:
        return UNKNOWN_WIDTH
    return shutil.get_terminal_size((UNKNOWN_WIDTH, 24)).columns


def say_notes(data: "MultiLabelDataset") -> None:
    """What was met in the files of a data set, on stderr."""
    for note in data.notes:
        click.echo(f"Note: {note}", err=True)
