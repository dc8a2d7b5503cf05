"""``ccr-diag embed``: images → features in the cache, where every other command finds them."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ccr_diag.config import CHOICES

from .answer import check_npz, check_output, say_notes
from .command import command
from .options import PATH, NamedChoice, device_options, set_threads, unlisted_option
from .progress import Progress

if TYPE_CHECKING:
    from ccr_diag.arrays import Unlisted
    from ccr_diag.backbone import Backbone
    from ccr_diag.data.dataset import MultiLabelDataset
    from ccr_diag.features import Embedded, Floats

FLOATS = ("float32", "float16")


def plan(
    data: str,
    split: str,
    unlisted: "Unlisted",
    model: str,
    pretrained: str | None,
    precision: str,
    device: str,
    local: bool,
    output: Path | None,
    overwrite: bool,
    **options: object,
) -> list[str]:
    """Which images go through which model."""
    from ccr_diag.plan import OF_POSITIONS, backbone_lines, data_lines
    from ccr_diag.runs import cache_folder

    _check_output(output, overwrite)
    dataset = _dataset(data, split, unlisted)
    to = [str(cache_folder() / "features"), *([] if output is None else [str(output)])]
    return [
        *data_lines(dataset),
        *backbone_lines(
            model, len(dataset), len(dataset.class_names), device, pretrained, precision
        ),
        *[OF_POSITIONS] * local,
        f"Writes: {', '.join(to)}",
    ]


@command(plan)
@click.option("--data", required=True, help="Data set, as KIND:PLACE: coco:DIR, manifest:FILE, …")
@click.option("--split", default="train", show_default=True, help="Its split.")
@unlisted_option
@click.option("--model", default="embedded", show_default=True, help="CLIP in open_clip's words.")
@click.option("--pretrained", help="Weights of a built-in model: a tag or a file.")
@click.option(
    "--precision",
    type=NamedChoice(CHOICES["precision"]),
    default="fp32",
    show_default=True,
    help="Of the image tower.",
)
@click.option("--local", is_flag=True, help="Features of positions, too, as DualCoOp needs them.")
@click.option(
    "--dtype",
    type=NamedChoice(FLOATS),
    default="float32",
    show_default=True,
    help="What features of whole images are kept as; other commands read float32.",
)
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=128, show_default=True,
    help="Images a forward pass.",
)  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(1, 256),
    help="Threads that open images.  [default: CPUs, at most 8]",
)  # fmt: skip
@click.option("--skip-unreadable", is_flag=True, help="List images that cannot be read, and go on.")
@click.option("-o", "--output", type=PATH, help="Also write them to this file, .npz.")
@click.option("--overwrite", is_flag=True, help="Replace the output file.")
@device_options
def embed(
    data: str,
    split: str,
    unlisted: "Unlisted",
    model: str,
    pretrained: str | None,
    precision: str,
    local: bool,
    dtype: "Floats",
    batch_size: int,
    workers: int | None,
    skip_unreadable: bool,
    output: Path | None,
    overwrite: bool,
    device: str,
    threads: int | None,
) -> None:
    """Make features of images ahead, once, for every command that needs them.

    What is in the cache is not made again: interrupted, the same command goes on, and a part of
    the data set, or one that shares images with it, finds what is there.

    \b
    ccr-diag embed --data coco:/data/coco --split val2017 --model ViT-B-16-quickgelu \\
        --pretrained openai
    ccr-diag embed --data manifest:photos.csv -o features.npz
    """  # noqa: D301 (click wants the backspace itself)
    _check_output(output, overwrite)
    set_threads(threads)

    from ccr_diag.backbone import load_backbone
    from ccr_diag.features import WORKERS, content_digests
    from ccr_diag.features import embed as make

    dataset = _dataset(data, split, unlisted)
    say_notes(dataset)
    backbone = load_backbone(model, pretrained, device, precision)
    reading, progress, workers = Progress(), Progress(unit="images"), workers or WORKERS
    try:
        content_digests(dataset, workers, skip_unreadable, partial(reading, "files read"))
        found = make(
            backbone, dataset, local=local, dtype=dtype, skip_unreadable=skip_unreadable,
            batch_size=batch_size, workers=workers, progress=partial(progress, "features"),
        )  # fmt: skip
    finally:
        reading.close()
        progress.close()
    _report(found, dataset)
    if output is not None:
        _write(output, found, dataset, backbone, dtype)


def _check_output(output: Path | None, overwrite: bool) -> None:
    if output is not None:
        check_npz(output)
        check_output(output, overwrite, [])


def _dataset(data: str, split: str, unlisted: "Unlisted") -> "MultiLabelDataset":
    """The data set; its labels are not looked at, so nobody has to declare what they mean."""
    from ccr_diag.data import load_declared

    progress = Progress()
    try:
        return load_declared(data, split, unlisted, "unknown", progress)
    finally:
        progress.close()


def _report(found: "Embedded", dataset: "MultiLabelDataset") -> None:
    """What was done, and what was left out."""
    from ccr_diag.plan import size

    for i, reason in found.unreadable.items():
        click.echo(f"Left out: {dataset.image_ids[i]}: {reason}", err=True)
    if found.unreadable:
        click.echo(f"Left out: {len(found.unreadable):,} of {len(dataset):,} images", err=True)
    speed = ""
    if found.encoded:
        rate = found.encoded / max(found.seconds, 1e-3)
        speed = f" in {found.seconds:,.1f} s, {rate:,.1f} images/s"
    in_cache = len(found.rows) - found.encoded
    click.echo(f"Encoded: {found.encoded:,} images{speed}", err=True)
    click.echo(f"In the cache already: {in_cache:,} images", err=True)
    n_bytes = sum(path.stat().st_size for path in found.folder.rglob("*") if path.is_file())
    click.echo(f"Cache of this model: {found.folder}, {size(n_bytes)}", err=True)


def _write(
    output: Path, found: "Embedded", dataset: "MultiLabelDataset", backbone: "Backbone", dtype: str
) -> None:
    """An archive of the features, which ``--features`` of other commands takes."""
    import numpy as np

    from ccr_diag.runs import write_atomically

    arrays = {
        "embeddings": found.features.numpy().astype(dtype),
        "image_ids": np.array([dataset.image_ids[i] for i in found.rows]),
        "model": np.array(backbone.name),
        "fingerprint": np.array(backbone.fingerprint),
    }
    write_atomically(output, lambda partial: np.savez(partial, **arrays))  # type: ignore[arg-type]
    n, dim = found.features.shape
    click.echo(f"Written: {output}, {n:,} images, {dim:,} numbers each", err=True)
