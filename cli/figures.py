"""``ccr-diag figures``: draw what an analysis measured."""

from pathlib import Path

import click

from .options import PATH

FORMATS = ("png", "svg", "pdf")


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
    type=click.Choice(FORMATS),
    multiple=True,
    default=("png", "svg"),
    show_default=True,
    help="Of each figure (repeatable).",
)
def figures(analysis: Path, output: Path | None, formats: tuple[str, ...]) -> None:
    """Draw the figures of an ANALYSIS: its folder, or a results file (JSON).

    Those that it holds no numbers for are left out, as the text geometry of bare predictions.

    \b
    ccr-diag figures analysis
    ccr-diag analyze predictions preds.npz --format json --output preds.json
    ccr-diag figures preds.json
    """  # noqa: D301 (click wants the backspace itself)
    from ccr_diag.figures.gallery import draw_all
    from ccr_diag.results import load_results

    path = analysis / "results.json" if analysis.is_dir() else analysis
    for written in draw_all(load_results(path), output or path.parent / "figures", formats):
        click.echo(str(written))
