"""``ccr-diag data convert``: any data set whose images are files, as one manifest."""

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .answer import check_output, output_line
from .command import command
from .options import PATH, unlisted_option
from .progress import Progress

if TYPE_CHECKING:
    from ccr_diag.arrays import Unlisted


def plan(
    spec: str,
    splits: tuple[str, ...],
    unlisted: "Unlisted",
    output: Path,
    skip_unreadable: bool,
    overwrite: bool,
) -> list[str]:
    """The splits that are read, and the file."""
    from ccr_diag.data import splits_of
    from ccr_diag.data.conversion import writer_of

    writer_of(output)
    check_output(output, overwrite, [])
    lines = [f"Reads: {spec}, split {split}" for split in splits or splits_of(spec)]
    return [*lines, *["Opens every image"] * skip_unreadable, output_line(output)]


@command(plan)
@click.argument("spec")
@click.option("--split", "splits", multiple=True, help="Only this split (repeatable).")
@unlisted_option
@click.option(
    "-o", "--output", type=PATH, required=True, help="Manifest to write: .parquet, .csv or .jsonl."
)
@click.option(
    "--skip-unreadable", is_flag=True, help="Open every image, and leave out those that fail."
)
@click.option("--overwrite", is_flag=True, help="Replace the output file.")
def convert(
    spec: str,
    splits: tuple[str, ...],
    unlisted: "Unlisted",
    output: Path,
    skip_unreadable: bool,
    overwrite: bool,
) -> None:
    """Write the data set SPEC as one manifest of all its splits.

    Read as manifest:FILE, a .parquet file gives the same data set; .csv and .jsonl hold no ids and
    no order of classes. Images stay where they are: those below the folder of the manifest are
    named relative to it, others by absolute paths.

    \b
    ccr-diag data convert coco:/data/coco --output coco.parquet
    ccr-diag data convert cvat:annotations.xml --unlisted negative --output photos.csv
    """  # noqa: D301 (click wants the backspace itself)
    from ccr_diag.data import load_dataset, splits_of
    from ccr_diag.data.conversion import readable, without_unions, write_manifest, writer_of

    writer_of(output)
    check_output(output, overwrite, [Path(spec.partition(":")[2])])
    asked = splits or splits_of(spec)
    with closing(Progress()) as progress:
        read = [load_dataset(spec, split, unlisted, progress) for split in asked]
    chosen = read if splits else without_unions(read)
    for data in read:
        if data.split not in [it.split for it in chosen]:
            _note(f"Split {data.split} is not written: its images are those of other splits.")
    if skip_unreadable:
        with closing(Progress(unit="images")) as progress:
            opened = [readable(it, partial(progress, f"images of {it.split}")) for it in chosen]
        chosen = [data for data, _ in opened]
        for reason in (reason for _, reasons in opened for reason in reasons):
            _note(f"Left out: {reason}")
    for note in write_manifest(output, chosen):
        _note(note)
    where = ", ".join(data.split for data in chosen)
    click.echo(f"Written: {output}, {sum(map(len, chosen)):,} images in {where}", err=True)


def _note(text: str) -> None:
    click.echo(f"Note: {text}", err=True)
