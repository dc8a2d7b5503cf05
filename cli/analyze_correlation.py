"""``ccr-diag analyze correlation``: does a batch show how classes hang together?"""

from functools import partial
from pathlib import Path
from typing import Any

import click

from .answer import answer_options, check_output, line_width, output_line, write
from .command import command
from .options import PATH, set_threads
from .prediction_files import input_options, other_files, read_files
from .progress import Progress


def plan(files: tuple[Path, ...], output: Path, overwrite: bool, **options: Any) -> list[str]:
    """The files whose batches are drawn."""
    others = other_files(options)
    check_output(output, overwrite, [*files, *others])

    from ccr_diag.plan import file_lines

    return [*file_lines(files, others), output_line(output)]


@command(plan)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=PATH)
@click.option(
    "--batch-size",
    "batch_sizes",
    type=click.IntRange(min=2),
    multiple=True,
    help="Images a batch (repeatable).  [default: 8, 16, 32, 64, 128]",
)
@click.option(
    "--batches",
    "n_batches",
    type=click.IntRange(min=2),
    default=100,
    show_default=True,
    help="Batches drawn of each size.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the draws."
)
@input_options
@answer_options
def correlation(
    files: tuple[Path, ...],
    batch_sizes: tuple[int, ...],
    n_batches: int,
    seed: int,
    kind: str | None,
    scale: float | None,
    bias: float | None,
    labels: Path | None,
    class_names: Path | None,
    groups: Path | None,
    unlisted: str | None,
    form: str,
    output: Path,
    overwrite: bool,
) -> None:
    """Measure how steady the class correlations of batches are.

    Random batches are drawn from each FILE of predictions. Their correlations between classes, of
    joint absence as CCR estimates it and of joint presence, are compared with those of all images.

    \b
    ccr-diag analyze correlation bce.npz --batch-size 32 --batch-size 128
    """  # noqa: D301 (click wants the backspace itself)
    set_threads(1)  # products this small are slower in several
    check_output(output, overwrite, [*files, labels, class_names, groups])

    from ccr_diag.report_stability import render_stability
    from ccr_diag.stability import stability_of

    read = read_files(
        files, None, "textbook", kind=kind, scale=scale, bias=bias, labels=labels,
        class_names=class_names, groups=groups, unlisted=unlisted,
    )  # fmt: skip
    record = stability_of(
        read, partial(Progress(), "batch sizes"), batch_sizes=batch_sizes, n_batches=n_batches,
        seed=seed,
    )  # fmt: skip
    write(render_stability(record, form, line_width(output)), output)
