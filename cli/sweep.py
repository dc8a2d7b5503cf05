"""``ccr-diag sweep``: every run of a grid, measured, in one table."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from .answer import line_width
from .command import command
from .options import existing_output, format_option, output_option, spread_option
from .progress import Progress

if TYPE_CHECKING:
    from ccr_diag.config import FinetuneConfig
    from ccr_diag.data.dataset import MultiLabelDataset
    from ccr_diag.grids import Grid

SHOWN = 3  # failures that are told in full


def plan(
    grid: str,
    sets: tuple[str, ...],
    output: Path,
    resume: bool,
    overwrite: bool,
    device: str,
    **options: Any,
) -> list[str]:
    """What a sweep runs, on which data."""
    from ccr_diag.grids import load_grid
    from ccr_diag.plan import backbone_lines, data_lines
    from ccr_diag.runs import check_output_folder

    found = load_grid(grid, sets)
    check_output_folder(output.resolve(), resume=resume, overwrite=overwrite)
    lines = _runs(found)
    n_images, n_classes = 0, 0
    for data in _data(found):
        lines += data_lines(data)
        n_images, n_classes = n_images + len(data), max(n_classes, len(data.class_names))
    for model, *how in dict.fromkeys((r.model, r.pretrained, r.precision) for r in found.runs):
        lines += backbone_lines(model, n_images, n_classes, device, how[0] or None, how[1])
    return [*lines, f"Writes: {output}"]


@command(plan)
@click.argument("grid", metavar="GRID")
@click.option(
    "--set",
    "sets",
    metavar="KEY=VALUE",
    multiple=True,
    help="A setting of every run, in place of the grid's (repeatable).",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Runs at a time, each in a process of its own; the numbers are the same.",
)
@format_option
@spread_option
@output_option("sweep")
@existing_output
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option(
    "--threads", type=click.IntRange(1, 1024), default=1, show_default=True,
    help="CPU threads of each worker.",
)  # fmt: skip
def sweep(
    grid: str,
    sets: tuple[str, ...],
    workers: int,
    form: str,
    spread: Literal["interval", "sd"],
    output: Path,
    resume: bool,
    overwrite: bool,
    device: str,
    threads: int,
) -> None:
    """Run every setting of a GRID on every split, and put all results into one table.

    A GRID is a TOML file, or the name of one that comes with the program: frameworks, rates,
    lambda, batch-size, estimators, few-shot, base-to-new, styles, calibrators, steps. It can be
    stopped at any moment; with --resume it goes on, and ends with the same numbers.

    \b
    ccr-diag sweep lambda --workers 2 --output sweeps/lambda
    ccr-diag sweep lambda --set data=manifest:photos.csv --set model=ViT-B-16-quickgelu \\
        --set pretrained=openai
    """  # noqa: D301 (click wants the backspace itself)
    from ccr_diag.grids import load_grid

    found = load_grid(grid, sets)

    from ccr_diag.report_sweep import render_sweep
    from ccr_diag.runs import output_folder
    from ccr_diag.sweep import require_idle
    from ccr_diag.sweep import sweep as run
    from ccr_diag.sweep_table import read_table

    require_idle(output)
    with output_folder(output, resume=resume, overwrite=overwrite) as folder:
        swept = run(
            found, folder, workers=workers, device=device, threads=threads, progress=Progress()
        )
    if swept.tables:
        table = read_table(swept.tables[0])
        click.echo(render_sweep(table, form, line_width(), spread), nl=False)
        click.echo(f"Written: {', '.join(map(str, swept.tables))}", err=True)
    for note in swept.notes:
        click.echo(f"Note: {note}", err=True)
    if swept.failed:
        _refuse(swept.failed, len(found.runs))


def _runs(grid: "Grid") -> list[str]:
    """What a grid runs, and measures."""
    from ccr_diag.grids import run_name

    runs = {run_name(config): config for config in grid.runs}
    splits = dict.fromkeys(str(config.seed) for config in grid.runs)
    data = grid.data or tuple(dict.fromkeys(config.data for config in grid.runs))
    return [
        f"{len(grid.runs)} runs: {len(runs)} settings, splits {', '.join(splits)}",
        f"Measured on: {', '.join(data)}, split {grid.split}",
        f"Calibrators: {', '.join(grid.calibrators)}",
        *(f"{name}: {_varied(grid, config)}" for name, config in runs.items()),
    ]


def _varied(grid: "Grid", config: "FinetuneConfig") -> str:
    """The settings of a run that others have otherwise."""
    return ", ".join(f"{name.strip('_')} {getattr(config, name)}" for name in grid.varied)


def _data(grid: "Grid") -> list["MultiLabelDataset"]:
    """What its runs are tuned, calibrated and measured on, each once."""
    from ccr_diag.evaluating import of_data
    from ccr_diag.run_data import run_dataset

    calibrated = [grid.calibration_split] * (len(grid.calibrators) > 1)
    asked = {
        (of_data(run), split, data): None
        for run in grid.runs
        for split, data in [
            (run.split, run.data),
            *((split, run.data) for split in calibrated),
            *((grid.split, data) for data in grid.data or [run.data]),
        ]
    }
    return [run_dataset(*one) for one in asked]


def _refuse(failed: dict[str, str], runs: int) -> None:
    """Say which runs could not be finished, and why."""
    from ccr_diag.errors import RunFailed

    told = "; ".join(f"{run}: {why}" for run, why in list(failed.items())[:SHOWN])
    more = ", …" if len(failed) > SHOWN else ""
    raise RunFailed(
        f"Of {runs} runs {len(failed)} could not be finished; what could is kept and in the table "
        f"({told}{more})"
    )
