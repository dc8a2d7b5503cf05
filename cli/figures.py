"""``ccr-diag figures``: draw what analyses, sweeps and runs hold, and lay out their tables."""

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from .answer import write_for_people
from .command import command
from .options import PATH, device_options, set_threads, spread_option
from .progress import Progress

if TYPE_CHECKING:
    from ccr_diag.figure_inputs import Inputs
    from ccr_diag.figures.picture import Picture
    from ccr_diag.paper.tables import PaperTable
    from ccr_diag.report_sweep import Spread

FORMATS = ("pdf", "svg", "png")
FIGURES, ANALYSIS, TABLES = "figures", "analysis", "tables"  # folders


def plan(
    inputs: tuple[Path, ...],
    output: Path | None,
    formats: tuple[str, ...],
    with_paper: bool,
    device: str,
    **options: object,
) -> list[str]:
    """What is drawn, and where to."""
    found, folder = _read(inputs, output, with_paper)
    lines = [f"Reads: {path}, {len(r['models'])} models" for path, r in found.analyses]
    if found.tables:
        read = ", ".join(map(str, found.tables))
        lines.append(f"Reads: {read}, {len(found.table):,} rows of a sweep")
    lines += [f"Reads: {path}, {len(r['models'])} models" for path, r in found.records]
    if found.runs:
        from ccr_diag.compared_models import load_runs

        from .public_files import run_lines

        splits = [split for run in load_runs(found.runs) for split in run.splits]
        lines += run_lines(splits, None, "test", "stated", device)
        lines.append(f"Writes: {folder / ANALYSIS}")
    endings = ",".join([*formats, "csv"])
    return [*lines, f"Writes: {folder}/*.{{{endings}}}, {TABLES}/"]


@command(plan)
@click.argument("inputs", nargs=-1, required=True, type=PATH)
@click.option(
    "-o",
    "--output",
    type=PATH,
    default=None,
    help="Folder to write to.  [default: figures, beside the numbers, if of one input]",
)
@click.option(
    "--format",
    "formats",
    type=click.Choice(FORMATS),
    multiple=True,
    default=FORMATS,
    show_default=True,
    help="Of each figure (repeatable).",
)
@click.option(
    "--class-pages",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Pages of the diagrams of each class, the worst first, for each model; 0 for all.",
)
@click.option(
    "--with-paper",
    is_flag=True,
    help="Tables of a sweep: show the paper's printed values in a column of their own.",
)
@spread_option
@device_options
def figures(
    inputs: tuple[Path, ...],
    output: Path | None,
    formats: tuple[str, ...],
    class_pages: int,
    with_paper: bool,
    spread: Literal["interval", "sd"],
    device: str,
    threads: int | None,
) -> None:
    """Draw the figures and lay out the tables of INPUTS.

    Each is an analysis (its folder, or the JSON of analyze), a sweep (its folder, or its results
    table), the folder of a finished run, or the JSON of analyze correlation; runs are measured
    first, as analyze checkpoint does. Analyses are drawn together, and so are sweeps. Every figure
    stands beside the table of what it shows (CSV); what there are no numbers for is left out.

    \b
    ccr-diag figures analysis
    ccr-diag figures runs/bce runs/ranking runs/ccr --output figures
    ccr-diag figures sweep --with-paper
    """  # noqa: D301 (click wants the backspace itself)
    found, folder = _read(inputs, output, with_paper)
    if found.runs:
        set_threads(threads)
        _measure(found, inputs, folder / ANALYSIS, device)

    from ccr_diag.figures.gallery import write_pictures
    from ccr_diag.paper.tables import write_tables
    from ccr_diag.runs import write_text

    pictures = _pictures(found, class_pages or None)
    files, papers = _tables(found, with_paper, spread)
    written = write_pictures(pictures, folder, formats, partial(Progress(), "figures drawn"))
    for name, text in files.items():
        write_text(folder / TABLES / name, text)
        written.append(folder / TABLES / name)
    written += write_tables(papers, folder / TABLES)
    for path in written:
        click.echo(str(path))


def _read(inputs: tuple[Path, ...], output: Path | None, with_paper: bool) -> tuple["Inputs", Path]:
    """What was given, and where figures go; all that can be refused at once is."""
    from ccr_diag.errors import BadConfig
    from ccr_diag.figure_inputs import read_inputs
    from ccr_diag.runs import check_output_folder

    found = read_inputs(inputs)
    if with_paper and not found.tables:
        raise BadConfig(
            "--with-paper adds the paper's values to the tables of a sweep, but none was given; "
            "leave it out, or add the folder of a sweep."
        )
    if output is None and len(inputs) > 1:
        raise BadConfig(
            f"Figures of several inputs need a folder to go to, but there are {len(inputs)} "
            "inputs and no --output; add it."
        )
    folder = output or _beside(inputs[0])
    check_output_folder(folder, resume=True)
    found.check()
    return found, folder


def _beside(path: Path) -> Path:
    """Where the figures of one input go."""
    return (path if path.is_dir() else path.parent) / FIGURES


def _measure(found: "Inputs", inputs: tuple[Path, ...], folder: Path, device: str) -> None:
    """Make the runs an analysis, which takes the place of an older one."""
    from ccr_diag.predict import OWN
    from ccr_diag.runs import RESULTS, check_output_folder, output_folder

    from .analyze import results_of_runs

    check_output_folder(folder, overwrite=True, keep=inputs)
    with ExitStack() as stack:
        results = results_of_runs(
            found.runs, None, "test", "stated", OWN, device,
            lambda: stack.enter_context(output_folder(folder, overwrite=True)), {},
        )  # fmt: skip
        write_for_people(results, folder)
    found.analyses.append((folder / RESULTS, results))


def _pictures(found: "Inputs", class_pages: int | None) -> list["Picture"]:
    """All that can be drawn; on stderr, what cannot."""
    from ccr_diag.figures import gallery
    from ccr_diag.sweep_table import missing_splits

    pictures: list[Picture] = []
    if found.analyses:
        pictures += gallery.pictures_of_results(
            found.results(), found.matrices(), _say_left_out, class_pages=class_pages
        )
    if found.tables:
        for run, split in missing_splits(found.table):
            _say_left_out(f"split {split} of run {run} (the table has no numbers of it)")
        pictures += gallery.pictures_of_sweep(found.table, _say_left_out)
    if found.records:
        pictures += gallery.pictures_of_stability(found.record, _say_left_out)
    if found.runs:
        pictures += gallery.pictures_of_training(found.training, _say_left_out)
    return pictures


def _tables(
    found: "Inputs", with_paper: bool, spread: "Spread"
) -> tuple[dict[str, str], list["PaperTable"]]:
    """Name of each file of tables and what stands in it, and the tables as the paper has them."""
    from ccr_diag.paper.tables import paper_tables
    from ccr_diag.table_files import record_tables, results_tables, sweep_tables

    files: dict[str, str] = {}
    papers: list[PaperTable] = []
    if found.analyses:
        files |= results_tables(found.results())
    if found.tables:
        frame = found.table
        files |= sweep_tables(frame, spread)
        papers = paper_tables(frame, with_paper=with_paper, spread=spread)
        if not papers:
            _say_left_out("tables of the paper (they need two methods of its tables)")
    if found.records:
        files |= record_tables(found.record)
    return files, papers


def _say_left_out(what: str) -> None:
    click.echo(f"Left out: {what}", err=True)
