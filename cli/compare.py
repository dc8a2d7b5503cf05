"""``ccr-diag compare``: is one model's predictions better than another's, or can nobody tell?"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from .answer import answer_options, check_output, line_width, output_line, write
from .command import command, command_line
from .options import PATH
from .prediction_files import input_options, measure_options, other_files, read_files
from .progress import Progress
from .report_file import check_report, report_lines, report_option, write_report

if TYPE_CHECKING:
    from ccr_diag.comparing import MeasuredPair


def plan(
    a: Path, b: Path, output: Path, overwrite: bool, report: Path | None, **options: Any
) -> list[str]:
    """The files that are compared."""
    others = other_files(options)
    check_output(output, overwrite, [a, b, *others])
    check_report(report, output, overwrite, [a, b, *others])

    from ccr_diag.plan import file_lines

    return [*file_lines([a, b], others), output_line(output), *report_lines(report)]


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
@report_option
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
    report: Path | None,
    **options: Any,
) -> None:
    """Say whether B is better than A on the same images: better, worse, or cannot tell.

    \b
    ccr-diag compare bce.npz ccr.npz --metric ece_positive --metric map --by group
    ccr-diag compare bce.npz ccr.npz --report comparison.html
    """  # noqa: D301 (click wants the backspace itself)
    others = [path for path in (labels, class_names, groups, features) if path is not None]
    check_output(output, overwrite, [a, b, *others])
    check_report(report, output, overwrite, [a, b, *others])

    from ccr_diag.comparing import measure_pair
    from ccr_diag.report_comparison import render_comparison

    first, second = read_files(
        (a, b), features, preset, kind=kind, scale=scale, bias=bias, labels=labels,
        class_names=class_names, groups=groups, unlisted=unlisted,
    )  # fmt: skip
    progress = partial(Progress(), "files")
    pair = measure_pair(first, second, metrics, by, progress, preset=preset, **options)
    write(render_comparison(pair.comparison(metrics, by), form, line_width(output)), output)
    write_report(report, lambda: _page(pair, metrics, [a, b, *others]))


def _page(pair: "MeasuredPair", metrics: tuple[str, ...], files: list[Path]) -> str:
    """What draws is loaded only if there is something to draw."""
    from ccr_diag.comparison_record import comparison_record
    from ccr_diag.figures.html_report import comparison_page
    from ccr_diag.provenance import provenance

    record = comparison_record(pair, metrics)
    record["provenance"] = provenance(command_line(), files)
    page: str = comparison_page(record)
    return page
