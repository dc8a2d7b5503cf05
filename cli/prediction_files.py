"""What the commands that read predictions files share: how files are read and measured."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import (
    PATH,
    Command,
    Option,
    bins_option,
    bootstrap_options,
    class_names_option,
    preset_option,
    stacked,
)

if TYPE_CHECKING:
    from ccr_diag.predictions import Predictions


def input_options(command: Command) -> Command:
    """How files are read."""
    options: list[Option] = [
        click.option(
            "--scores", "kind", flag_value="scores", help="The numbers are cosines; needs a map."
        ),
        click.option("--logits", "kind", flag_value="logits", help="The numbers are logits."),
        click.option("--probs", "kind", flag_value="probs", help="The numbers are probabilities."),
        click.option(
            "--scale", type=float, help="τ of p = σ(τ·value + b).  [default: 1 for logits]"
        ),
        click.option("--bias", type=float, help="b of that map.  [default: 0 for logits]"),
        click.option("--labels", type=PATH, help="Labels, where they have a file of their own."),
        class_names_option,
        click.option(
            "--groups", type=PATH, help="CSV file class,group: head, medium, tail or new."
        ),
        click.option(
            "--unlisted",
            type=click.Choice(["unknown"]),
            help="Labels that are left out are unknown, instead of an error.",
        ),
    ]
    return stacked(options, command)


def measure_options(least: int) -> Option:
    """How files are measured, with at least so many replicates."""
    options: list[Option] = [
        preset_option,
        bins_option,
        click.option(
            "--top-k", type=click.IntRange(min=1), default=3, show_default=True,
            help="k of the measures over the most probable classes.",
        ),
        click.option(
            "--threshold", type=float, default=0.01, show_default=True,
            help="p from which on entries count for the thresholded ECE.",
        ),
        click.option(
            "--features", type=PATH,
            help=".npy of image features (images, dim), or .npz of embed, for PIECE.",
        ),
        bootstrap_options(least),
    ]  # fmt: skip
    return lambda command: stacked(options, command)


def other_files(options: dict[str, Any]) -> list[Path]:
    """The files that are read beside those of predictions."""
    found = (options.get(key) for key in ("labels", "class_names", "groups", "features"))
    return [path for path in found if path is not None]


def read_files(
    files: Sequence[Path], features: Path | None, preset: str, **declared: Any
) -> list["Predictions"]:
    """The predictions in all files, read alike, with the proximity of their images if asked for."""
    from ccr_diag.measuring import read_features, with_proximity
    from ccr_diag.readers import read_predictions

    predictions = [read_predictions(path, **declared) for path in files]
    if features is None:
        return predictions
    return with_proximity(predictions, read_features(features, predictions[0].image_ids), preset)
