"""``ccr-diag figures``: draw what an analysis, or a sweep, measured."""

from pathlib import Path

import click

from .options import PATH

FORMATS = ("png", "svg", "pdf")
TABLES = (".csv", ".parquet")


@click.command()
@click.argument("measured", type=PATH)
@click.option(
    "-o",
    "--output",
    type=PATH,
    default=None,
    help="Folder to write to.  [default: figures, beside the numbers]",
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
def figures(measured: Path, output: Path | None, formats: tuple[str, ...]) -> None:
    """Draw the figures of an analysis or a sweep.

    MEASURED is the folder of either, the results file of an analysis (JSON), or the results table
    of a sweep (CSV or Parquet). Figures that it holds no numbers for are left out, as the text
    geometry of bare predictions. Of a sweep there is one for each number that it varies.

    \b
    ccr-diag figures analysis
    ccr-diag figures sweep
    ccr-diag analyze predictions preds.npz --format json --output preds.json
    ccr-diag figures preds.json
    """  # noqa: D301 (click wants the backspace itself)
    from ccr_diag.figures.gallery import draw_all, write_figures

    table = _table(measured)
    if table is not None:
        from ccr_diag.figures.robustness import robustness_pages
        from ccr_diag.sweep_table import read_table

        folder = output or table.parent / "figures"
        written = write_figures(robustness_pages(read_table(table)), folder, formats)
    else:
        from ccr_diag.results import load_results

        path = measured / "results.json" if measured.is_dir() else measured
        written = draw_all(load_results(path), output or path.parent / "figures", formats)
    for path in written:
        click.echo(str(path))


def _table(path: Path) -> Path | None:
    """The results table of a sweep; None where the path is an analysis."""
    if path.suffix.lower() in TABLES:
        return path
    there = [path / f"results{suffix}" for suffix in TABLES if (path / f"results{suffix}").exists()]
    return there[0] if there else None
