"""``ccr-diag compare``: is one model's predictions better than another's, or can nobody tell?"""

from functools import partial
from pathlib import Path
from typing import Any, Literal

import click

from .answer import answer_options, check_output, line_width, output_line, write
from .command import command
from .options import PATH
from .prediction_files import input_options, measure_options, other_files, read_files
from .progress import Progress


def plan(a: Path, b: Path, output: Path, overwrite: bool, **options: Any) -> list[str]:
    """The files that are compared."""
    others = other_files(options)
    check_output(output, overwrite, [a, b, *others])

    from ccr_diag.plan import file_lines

    return [*file_lines([a, b], others), output_line(output)]


@command(plan)
@click.argument("a", type=PATH)
@click.argument("b", type=PATH)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    help="What is compared (repeatable).  [default: the columns of the preset]",
)
@click.option(
    "--by", type=click.Choice(["group", "class"]), help="One row a group or class, not one for all."
)
@input_options
@measure_options(least=2)
@answer_options
def compare(
    a: Path,
    b: Path,
    metrics: tuple[str, ...],
    by: Literal["group", "class"] | None,
    kind: str | None,
    scale: float | None,
    bias: float | None,
    labels: Path | None,
    class_names: Path | None,
    groups: Path | None,
    unlisted: str | None,
    preset: str,
    features: Path | None,
    form: str,
    output: Path,
    overwrite: bool,
    **options: Any,
) -> None:
    """Say whether B is better than A on the same images: better, worse, or cannot tell.

    \b
    ccr-diag compare bce.npz ccr.npz --metric ece_positive --metric map --by group
    """  # noqa: D301 (click wants the backspace itself)
    check_output(output, overwrite, [a, b, labels, class_names, groups, features])

    from ccr_diag.comparing import compare_predictions
    from ccr_diag.report_comparison import render_comparison

    first, second = read_files(
        (a, b), features, preset, kind=kind, scale=scale, bias=bias, labels=labels,
        class_names=class_names, groups=groups, unlisted=unlisted,
    )  # fmt: skip
    progress = partial(Progress(), "files")
    found = compare_predictions(first, second, metrics, by, progress, preset=preset, **options)
    write(render_comparison(found, form, line_width(output)), output)
