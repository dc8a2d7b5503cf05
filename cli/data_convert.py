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
    from ccr_diag.data.dataset import MultiLabelDataset


def plan(
    spec: str,
    splits: tuple[str, ...],
    unlisted: "Unlisted",
    output: Path,
    skip_unreadable: bool,
    overwrite: bool,
) -> list[str]:
    """The splits that are read, and the file."""
    from ccr_diag.plan import data_lines

    chosen, doubled = _read(spec, splits, unlisted, output, overwrite)
    lines = [line for data in chosen for line in data_lines(data)]
    lines += [f"Note: {_not_written(data)}" for data in doubled]
    return [*lines, *["Opens: every image"] * skip_unreadable, output_line(output)]


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
    from ccr_diag.data.conversion import readable, write_manifest
    from ccr_diag.data.summary import notes

    chosen, doubled = _read(spec, splits, unlisted, output, overwrite)
    for data in doubled:
        _note(_not_written(data))
    for note in notes(chosen):
        _note(note)
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


def _read(
    spec: str, splits: tuple[str, ...], unlisted: "Unlisted", output: Path, overwrite: bool
) -> tuple[list["MultiLabelDataset"], list["MultiLabelDataset"]]:
    """The splits that are written, and those whose images are those of others."""
    from ccr_diag.data import load_dataset, splits_of
    from ccr_diag.data.conversion import without_unions, writer_of

    writer_of(output)
    check_output(output, overwrite, [Path(spec.partition(":")[2])])
    with closing(Progress()) as progress:
        read = [
            load_dataset(spec, split, unlisted, progress)
            for split in dict.fromkeys(splits or splits_of(spec))
        ]
    chosen = read if splits else without_unions(read)
    names = {data.split for data in chosen}
    return chosen, [data for data in read if data.split not in names]


def _not_written(data: "MultiLabelDataset") -> str:
    return f"Split {data.split} is not written: its images are those of other splits."


def _note(text: str) -> None:
    click.echo(f"Note: {text}", err=True)
