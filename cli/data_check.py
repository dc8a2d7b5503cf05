"""``ccr-diag data check``: what is understood of a data set, and what is wrong with it."""

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .answer import TERMINAL, answer_options, check_output, line_width, output_line, write
from .command import command
from .options import unlisted_option
from .progress import Progress

if TYPE_CHECKING:
    from ccr_diag.arrays import Unlisted
    from ccr_diag.data.dataset import MultiLabelDataset
    from ccr_diag.data.summary import Summary

UNUSABLE = 2
"""Exit code where no run is possible."""

ENDS = 50
"""Of more than twice as many classes, so many of the most and of the least frequent are shown."""


def plan(
    spec: str,
    splits: tuple[str, ...],
    unlisted: "Unlisted",
    images: bool,
    model: str | None,
    pretrained: str | None,
    form: str,
    output: Path,
    overwrite: bool,
) -> list[str]:
    """The splits that are read."""
    check_output(output, overwrite, [])

    from ccr_diag.plan import data_lines

    read, unread = _read(spec, splits, unlisted)
    lines = [line for data in read.values() for line in data_lines(data)]
    lines += [f"Not read: split {split}: {reason}" for split, reason in unread.items()]
    if images:
        lines.append("Opens: every image")
    if model:
        lines.append(f"Model: {model}, for its tokenizer")
    return [*lines, output_line(output)]


@command(plan)
@click.argument("spec")
@click.option("--split", "splits", multiple=True, help="Only this split (repeatable).")
@unlisted_option
@click.option("--images", is_flag=True, help="Open every image: unreadable ones, and duplicates.")
@click.option("--model", help="Whose prompts must hold the class names, such as ViT-B-16.")
@click.option("--pretrained", help="Its weights: a tag or a file.")
@answer_options
def check(
    spec: str,
    splits: tuple[str, ...],
    unlisted: "Unlisted",
    images: bool,
    model: str | None,
    pretrained: str | None,
    form: str,
    output: Path,
    overwrite: bool,
) -> None:
    """Say what is understood of the data set SPEC, problems first.

    SPEC is KIND:PLACE, as --data of finetune takes it. Groups are those of its training split.
    The exit code is 2 where something stops any run.

    \b
    ccr-diag data check coco:/data/coco
    ccr-diag data check manifest:photos.csv --unlisted negative --images
    """  # noqa: D301 (click wants the backspace itself)
    check_output(output, overwrite, [])

    from ccr_diag.data.content import content_of
    from ccr_diag.data.summary import summarize

    read, unread = _read(spec, splits, unlisted)
    too_long = _over_long(model, pretrained, next(iter(read.values())).class_names)
    with closing(Progress(unit="images")) as progress:
        contents = {
            split: content_of(data, partial(progress, f"images of {split}"))
            for split, data in (read if images else {}).items()
        }
    summary = summarize(spec, read, unread, contents, too_long)
    write(_rendered(summary, form, line_width(output)), output)
    if form == "csv" or output != TERMINAL:
        said = [*_problems(summary), *_notes(summary), summary.verdict]
        click.echo(_block(said, ""), err=True, nl=False)
    if not summary.usable:
        raise click.exceptions.Exit(UNUSABLE)


def _read(
    spec: str, splits: tuple[str, ...], unlisted: "Unlisted"
) -> tuple[dict[str, "MultiLabelDataset"], dict[str, str]]:
    """The splits by their names, and why some could not be read; an error where none could."""
    from ccr_diag.data import load_dataset, splits_of
    from ccr_diag.errors import BadData

    read, unread = {}, {}
    with closing(Progress()) as progress:
        for split in dict.fromkeys(splits or splits_of(spec)):
            try:
                read[split] = load_dataset(spec, split, unlisted, progress)
            except BadData as error:
                unread[split] = error
    if not read:
        raise next(iter(unread.values()))
    return read, {split: str(error) for split, error in unread.items()}


def _over_long(
    model: str | None, pretrained: str | None, class_names: tuple[str, ...]
) -> tuple[str, ...]:
    """The classes whose prompts a model would cut; none where none is named."""
    if model is None:
        return ()
    from ccr_diag.backbone import load_backbone
    from ccr_diag.prompts import over_long

    return over_long(load_backbone(model, pretrained, "cpu"), class_names)


def _rendered(summary: "Summary", form: str, width: int) -> str:
    """The whole answer."""
    from ccr_diag.data.summary import CLASS_COLUMNS, as_dict, class_rows, tables
    from ccr_diag.report_layout import as_csv, as_json, lay_out

    if form == "json":
        return as_json(as_dict(summary))
    if form == "csv":
        return as_csv([CLASS_COLUMNS, *class_rows(summary)])
    before = _problems(summary)
    said = _notes(summary)
    ends = ENDS if form == "text" else None  # read by people; the others hold every class
    n_classes = len(next(iter(summary.splits.values())).class_names)
    if ends is not None and n_classes > 2 * ends:
        said.insert(0, f"{2 * ends} of {n_classes:,} classes are shown; --format csv has all.")
    start = {"text": "", "markdown": "- ", "latex": "% "}[form]
    parts = [
        _block(before, start),
        lay_out(tables(summary, ends), form, width),
        _block([*said, summary.verdict], start),
    ]
    return "\n".join(part for part in parts if part)


def _problems(summary: "Summary") -> list[str]:
    """One line each."""
    return [
        f"{'Stops any run' if problem.stops else 'Problem'}: {' '.join(problem.text.splitlines())}"
        for problem in summary.problems
    ]


def _notes(summary: "Summary") -> list[str]:
    """One line each."""
    from ccr_diag.data.summary import notes

    return [f"Note: {note}" for note in notes(summary.splits.values())]


def _block(lines: list[str], start: str) -> str:
    return "".join(f"{start}{line}\n" for line in lines)
