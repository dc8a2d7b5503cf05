"""``ccr-diag figures``: draw what an analysis, or a sweep, measured."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .command import command
from .options import PATH

if TYPE_CHECKING:
    import pandas as pd

    from ccr_diag.results import Results

FORMATS = ("png", "svg", "pdf")
TABLES = (".csv", ".parquet")


def plan(measured: Path, output: Path | None, formats: tuple[str, ...]) -> list[str]:
    """What is drawn, and where to."""
    numbers, path = _read(measured)
    models = len(numbers["models"]) if isinstance(numbers, dict) else None
    of = f"{len(numbers):,} rows of a sweep" if models is None else f"{models} models"
    return [f"Reads: {path}, {of}", f"Writes: {_folder(output, path)}/*.{{{','.join(formats)}}}"]


@command(plan)
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

    numbers, path = _read(measured)
    folder = _folder(output, path)
    if isinstance(numbers, dict):
        written = draw_all(numbers, folder, formats)
    else:
        from ccr_diag.figures.robustness import robustness_pages

        written = write_figures(robustness_pages(numbers), folder, formats)
    for path in written:
        click.echo(str(path))


def _folder(output: Path | None, read: Path) -> Path:
    """Where figures go."""
    return output or read.parent / "figures"


def _read(measured: Path) -> tuple["Results | pd.DataFrame", Path]:
    """The results of an analysis, or the table of a sweep, and the file that they stand in."""
    table = _table(measured)
    if table is not None:
        from ccr_diag.sweep_table import read_table

        return read_table(table), table
    from ccr_diag.results import load_results

    path = measured / "results.json" if measured.is_dir() else measured
    return load_results(path), path


def _table(path: Path) -> Path | None:
    """The results table of a sweep; None where the path is an analysis."""
    if path.suffix.lower() in TABLES:
        return path
    there = [path / f"results{suffix}" for suffix in TABLES if (path / f"results{suffix}").exists()]
    return there[0] if there else None
