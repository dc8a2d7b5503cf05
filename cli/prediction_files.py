"""What the commands that read predictions files share: their options, reading, and one output."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import PATH, Command

if TYPE_CHECKING:
    from ccr_diag.predictions import Predictions

PRESETS = ("textbook", "procal", "paper")
FORMATS = ("text", "markdown", "csv", "json", "latex")
TERMINAL = Path("-")

_INPUT = [
    click.option(
        "--scores", "kind", flag_value="scores", help="The numbers are cosines; needs a map."
    ),
    click.option("--logits", "kind", flag_value="logits", help="The numbers are logits."),
    click.option("--probs", "kind", flag_value="probs", help="The numbers are probabilities."),
    click.option("--scale", type=float, help="τ of p = σ(τ·value + b).  [default: 1 for logits]"),
    click.option("--bias", type=float, help="b of that map.  [default: 0 for logits]"),
    click.option("--labels", type=PATH, help="Labels, where they have a file of their own."),
    click.option("--class-names", type=PATH, help="One name a line, for files without names."),
    click.option("--groups", type=PATH, help="CSV file class,group: head, medium, tail or new."),
    click.option(
        "--unlisted",
        type=click.Choice(["unknown"]),
        help="Labels that are left out are unknown, instead of an error.",
    ),
]
_MEASURE = [
    click.option(
        "--preset", type=click.Choice(PRESETS), default="textbook", show_default=True,
        help="Definitions of the calibration errors: as textbooks, or as published code has them.",
    ),
    click.option(
        "--bins", "n_bins", type=click.IntRange(1, 10000), help="Bins.  [default: the preset's]"
    ),
    click.option(
        "--top-k", type=click.IntRange(min=1), default=3, show_default=True,
        help="k of the measures over the most probable classes.",
    ),
    click.option(
        "--threshold", type=float, default=0.01, show_default=True,
        help="p from which on entries count for the thresholded ECE.",
    ),
    click.option(
        "--seed", type=click.IntRange(min=0), default=0, show_default=True,
        help="Of the bootstrap.",
    ),
    click.option("--features", type=PATH, help=".npy of image features (images, dim), for PIECE."),
]  # fmt: skip
_OUTPUT = [
    click.option(
        "--format", "form", type=click.Choice(FORMATS), default="text", show_default=True,
        help="What is written.",
    ),
    click.option(
        "-o", "--output", type=PATH, default=TERMINAL, show_default=True,
        help="File to write to; - is the terminal.",
    ),
    click.option("--overwrite", is_flag=True, help="Replace the output file."),
]  # fmt: skip


def input_options(command: Command) -> Command:
    """How files are read."""
    return _stacked(_INPUT, command)


def measure_options(command: Command) -> Command:
    """How they are measured, but for the number of replicates."""
    return _stacked(_MEASURE, command)


def output_options(command: Command) -> Command:
    """Where the answer goes: the terminal, or one file."""
    return _stacked(_OUTPUT, command)


def bootstrap_option(default: int, least: int) -> Callable[[Command], Command]:
    """``--bootstrap``."""
    return click.option(
        "--bootstrap",
        "n_bootstrap",
        type=click.IntRange(min=least),
        default=default,
        show_default=True,
        help="Replicates of the bootstrap over images" + ("." if least else "; 0: no intervals."),
    )


def read_files(
    files: Sequence[Path], features: Path | None, preset: str, **declared: Any
) -> list["Predictions"]:
    """The predictions in all files, read alike, with the proximity of their images if asked for."""
    from ccr_diag.measuring import read_features, with_proximity
    from ccr_diag.readers import read_predictions

    predictions = [read_predictions(path, **declared) for path in files]
    if features is None:
        return predictions
    return with_proximity(predictions, read_features(features), preset)


def check_output(output: Path, overwrite: bool, inputs: Sequence[Path | None]) -> None:
    """Refuse, before any work, to write over what exists or is read."""
    from ccr_diag.errors import OutputExists

    if output == TERMINAL or not output.exists():
        return
    if not overwrite:
        raise OutputExists(
            f"The output must be new, but {output} exists; add --overwrite to replace it, or "
            "choose another --output."
        )
    read = [path for path in inputs if path is not None and path.exists()]
    if not output.is_file() or any(path.samefile(output) for path in read):
        raise OutputExists(
            f"--overwrite only replaces a file that is not read, but {output} is a folder or "
            "one of the inputs; choose another --output."
        )


def write(text: str, output: Path) -> None:
    """To the terminal, or to a file and say so on stderr."""
    from ccr_diag.runs import write_text

    if output == TERMINAL:
        click.echo(text, nl=False)
    else:
        write_text(output, text)
        click.echo(f"Written: {output}", err=True)


def _stacked(options: Sequence[Callable[[Command], Command]], command: Command) -> Command:
    for option in reversed(options):
        command = option(command)
    return command
