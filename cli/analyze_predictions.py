"""``ccr-diag analyze predictions``: what anybody's probabilities are worth, from plain files."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from .answer import answer_options, check_output, line_width, output_line, write
from .command import command, command_line
from .gate import fail_if_option, read_gate, require_passed
from .options import PATH
from .prediction_files import input_options, measure_options, other_files, read_files
from .progress import Progress
from .report_file import check_report, report_lines, report_option, write_report


def plan(
    files: tuple[Path, ...], output: Path, overwrite: bool, report: Path | None, **options: Any
) -> list[str]:
    """The files that are measured."""
    others = other_files(options)
    check_output(output, overwrite, [*files, *others])
    check_report(report, output, overwrite, [*files, *others])
    from ccr_diag.plan import file_lines

    return [*file_lines(files, others), output_line(output), *report_lines(report)]


@command(plan)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=PATH)
@input_options
@measure_options(least=0)
@fail_if_option
@answer_options
@report_option
def predictions(
    files: tuple[Path, ...],
    kind: str | None,
    scale: float | None,
    bias: float | None,
    labels: Path | None,
    class_names: Path | None,
    groups: Path | None,
    unlisted: str | None,
    preset: str,
    features: Path | None,
    fail_if: tuple[str, ...],
    form: str,
    output: Path,
    overwrite: bool,
    report: Path | None,
    **options: Any,
) -> None:
    """Measure the predictions in each FILE.

    A FILE is .npz (probs, logits or scores; labels; class_names), .npy, .parquet or .csv. What
    the numbers are is declared by the name of the array or by an option, never guessed.

    \b
    ccr-diag analyze predictions model.npz --report report.html
    ccr-diag analyze predictions a.npy --logits --labels y.npy --format json -o results.json
    """  # noqa: D301 (click wants the backspace itself)
    others = [path for path in (labels, class_names, groups, features) if path is not None]
    check_output(output, overwrite, [*files, *others])
    check_report(report, output, overwrite, [*files, *others])
    conditions = read_gate(fail_if)

    from ccr_diag.measuring import results_of
    from ccr_diag.provenance import provenance
    from ccr_diag.report import render

    read = read_files(
        files, features, preset, kind=kind, scale=scale, bias=bias, labels=labels,
        class_names=class_names, groups=groups, unlisted=unlisted,
    )  # fmt: skip
    results = results_of(read, partial(Progress(), "files"), preset=preset, **options)
    results["provenance"] = provenance(command_line(), [*files, *others])
    write(render(results, form, line_width(output)), output)
    write_report(report, lambda: _page(results))
    require_passed(conditions, results["models"])


def _page(results: dict[str, Any]) -> str:
    """What draws is loaded only if there is something to draw."""
    from ccr_diag.figures.html_report import results_page

    page: str = results_page(results)
    return page
