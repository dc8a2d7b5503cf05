"""``ccr-diag figures``: draw what an analysis measured."""

from pathlib import Path

import click

from .options import PATH


@click.command()
@click.argument("analysis", type=PATH)
@click.option(
    "-o",
    "--output",
    type=PATH,
    default=None,
    help="Folder to write to.  [default: ANALYSIS/figures]",
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    default=("png", "svg"),
    show_default=True,
    help="png, svg or pdf (repeatable).",
)
def figures(analysis: Path, output: Path | None, formats: tuple[str, ...]) -> None:
    """Draw the figures of an ANALYSIS folder (or of a results.json).

    \b
    ccr-diag figures analysis
    """  # noqa: D301 (click wants the backspace itself)
    from ccr_diag.figures.gallery import draw_all
    from ccr_diag.results import load_results

    path = analysis / "results.json" if analysis.is_dir() else analysis
    for written in draw_all(load_results(path), output or path.parent / "figures", formats):
        click.echo(str(written))
