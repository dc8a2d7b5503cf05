"""``ccr-diag predict``: what a checkpoint, ours or a public one, says of images → one file."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .answer import check_npz, check_output, say_notes
from .command import command
from .options import PATH, device_options, set_threads, unlisted_option
from .progress import Progress
from .public_files import (
    STATED,
    is_run,
    load_public,
    map_and_public_options,
    public_lines,
    require_rule,
    run_lines,
)

if TYPE_CHECKING:
    from torch import Tensor

    from ccr_diag.arrays import Unlisted
    from ccr_diag.backbone import Backbone
    from ccr_diag.checkpoint import Checkpoint
    from ccr_diag.data.dataset import MultiLabelDataset
    from ccr_diag.predict import TextSpace
    from ccr_diag.predictions import Predictions


def plan(
    checkpoint: Path,
    data: str | None,
    split: str,
    unlisted: "Unlisted",
    bias: str | float,
    output: Path,
    overwrite: bool,
    device: str,
    **options: Any,
) -> list[str]:
    """What is scored with what."""
    stated = {key: options[key] for key in STATED}
    check_npz(output)
    check_output(output, overwrite, [checkpoint, stated["class_names"]])
    if is_run(checkpoint):
        require_rule(checkpoint, bias, stated)
        lines = run_lines([one_split(checkpoint)], data, split, unlisted, device)
    else:
        lines = public_lines([checkpoint], data, split, unlisted, bias, device, stated)
    return [*lines, f"Writes: {output}"]


@command(plan)
@click.argument("checkpoint", type=PATH)
@click.option(
    "--data", default=None, help="Data set to score; needed by public files.  [default: the run's]"
)
@click.option("--split", default="test", show_default=True, help="Its split.")
@unlisted_option
@map_and_public_options
@click.option("-o", "--output", type=PATH, required=True, help="File to write to, .npz.")
@click.option("--overwrite", is_flag=True, help="Replace the output file.")
@device_options
def predict(
    checkpoint: Path,
    data: str | None,
    split: str,
    unlisted: "Unlisted",
    bias: str | float,
    output: Path,
    overwrite: bool,
    device: str,
    threads: int | None,
    **stated: Any,
) -> None:
    """Score images with a CHECKPOINT and write a file of predictions.

    CHECKPOINT is a finished run of finetune, or a public file (.pth.tar) of CoOp, KgCoOp,
    CoCoOp, TaI-DPT or DualCoOp, of which nothing is executed. What the public file does not hold
    is stated.

    \b
    ccr-diag predict runs/ccr -o ccr.npz
    ccr-diag predict model.pth.tar-50 --model ViT-B-16-quickgelu --pretrained openai \\
        --data manifest:photos.csv -o coop.npz
    """  # noqa: D301 (click wants the backspace itself)
    check_npz(output)
    check_output(output, overwrite, [checkpoint, stated["class_names"]])
    set_threads(threads)
    if is_run(checkpoint):
        rule = require_rule(checkpoint, bias, stated)
        predictions = _of_run(checkpoint, data, split, unlisted, rule, device)
    else:
        predictions = _of_public(checkpoint, data, split, unlisted, bias, device, **stated)
    predictions.save(output)
    images, classes = predictions.values.shape
    click.echo(f"Written: {output}, {images} images, {classes} classes", err=True)


def _of_run(
    path: Path, data: str | None, split: str, unlisted: "Unlisted", rule: str, device: str
) -> "Predictions":
    """Predictions of a run of our own."""
    from ccr_diag.backbone import load_backbone
    from ccr_diag.predict import tuned_space
    from ccr_diag.run_data import checkpoint_dataset
    from ccr_diag.run_predictions import run_predictions

    run = one_split(path)
    config = run.config
    dataset = checkpoint_dataset(run, split, data, unlisted, progress=Progress())
    say_notes(dataset)
    backbone = load_backbone(config.model, config.pretrained or None, device, config.precision)
    space = tuned_space(run, backbone, rule)
    features, seen, scoring = _features(space, backbone, dataset)
    found = run_predictions(run, space, seen, dataset, progress=scoring)
    return _with_proximity(found, features)


def one_split(path: Path) -> "Checkpoint":
    """The finished split of a run that has only one, or that is named."""
    from ccr_diag.compared_models import load_runs
    from ccr_diag.errors import BadCheckpoint

    (run,) = load_runs([path])
    if len(run.splits) > 1:
        raise BadCheckpoint(
            f"A file holds the predictions of one split, but {path} has {len(run.splits)}; give "
            f"one of them, such as {run.splits[0].path.parent}."
        )
    return run.splits[0]


def _of_public(
    path: Path,
    data: str | None,
    split: str,
    unlisted: "Unlisted",
    bias: str | float,
    device: str,
    **stated: Any,
) -> "Predictions":
    """Predictions of a checkpoint of other people."""
    from ccr_diag.predict import predict as predict_with

    public = load_public([path], data, split, unlisted, bias, device, **stated)
    ((space,), (facts,)) = public.spaces, public.facts
    say_notes(public.dataset)
    features, seen, scoring = _features(space, public.backbone, public.dataset)
    found = predict_with(space, seen, public.dataset, (), facts, progress=scoring)
    click.echo(_map_note(found), err=True, nl=False)
    return _with_proximity(found, features)


def _map_note(predictions: "Predictions") -> str:
    """A warning where the map of a public file is far, 2 logits, from the share of positives."""
    import numpy as np
    from scipy.special import logit

    from ccr_diag.arrays import PRESENT, UNKNOWN
    from ccr_diag.checks import blocks

    assert predictions.map is not None  # scores have one
    known = predictions.labels != UNKNOWN
    mapped = (predictions.map.probabilities(block).sum() for block in blocks(predictions.values))
    mean = sum(mapped) / predictions.values.size
    share = (predictions.labels == PRESENT).sum() / max(known.sum(), 1)
    ends = logit(np.clip([mean, share], 1e-9, 1 - 1e-9))
    if abs(ends[0] - ends[1]) < 2:
        return ""
    return (
        f"Note: through this map the probabilities average {mean:.2f}, but {share:.2f} of the "
        "known labels are positive. Scores are stored: analyze predictions reads them through "
        "another --scale and --bias.\n"
    )


def _features(
    space: "TextSpace", backbone: "Backbone", dataset: "MultiLabelDataset"
) -> tuple["Tensor", "Tensor", Callable[[int, int], None]]:
    """Unit features of the images, what the model sees of them, and what is told of scoring."""
    from ccr_diag.features import image_features, local_features

    progress = Progress()
    told = partial(progress, "features")
    local = local_features(backbone, dataset, progress=told) if space.local else None
    features = image_features(backbone, dataset, progress=told)
    return features, features if local is None else local, partial(progress, "images scored")


def _with_proximity(predictions: "Predictions", features: "Tensor") -> "Predictions":
    """How near each image is to others, which PIECE needs; a single image has no others."""
    from ccr_diag.measuring import with_proximity

    if len(features) < 2:
        return predictions
    return with_proximity([predictions], features.numpy())[0]
