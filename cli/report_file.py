"""``--report``: a page of HTML beside the answer of a command."""

from collections.abc import Callable, Sequence
from pathlib import Path

import click

from .answer import check_output
from .options import PATH, Command

OPTION = "--report"


def report_option(command: Command) -> Command:
    """``--report``."""
    return click.option(
        OPTION, type=PATH, metavar="FILE.html",
        help="Also write a report to look at: one HTML file that needs no network.",
    )(command)  # fmt: skip


def check_report(
    report: Path | None, output: Path, overwrite: bool, inputs: Sequence[Path | None]
) -> None:
    """Refuse, before any work, a report that is no page, or would be written over a file."""
    from ccr_diag.errors import BadConfig

    if report is None:
        return
    if report.suffix not in (".html", ".htm"):
        raise BadConfig(f"The report must be a file named ….html, but got {report}; rename it.")
    if report.resolve() == output.resolve():
        raise BadConfig(f"The report needs a file of its own, but {report} is the --output.")
    check_output(report, overwrite, inputs, OPTION)


def report_lines(report: Path | None) -> list[str]:
    """What ``--dry-run`` says of it."""
    return [] if report is None else [f"Report: {report}"]


def write_report(report: Path | None, page: Callable[[], str]) -> None:
    """Write the page, if one is asked for, and say so on stderr."""
    from ccr_diag.runs import write_text

    if report is not None:
        write_text(report, page())
        click.echo(f"Written: {report}", err=True)
