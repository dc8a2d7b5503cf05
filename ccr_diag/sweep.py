"""A grid of runs in, one table of results out; it can be stopped at any moment and gone on with.

grid ──► jobs (a split of a run each) ──workers──► run folders ──► results.csv, results.parquet

grid.toml               the grid, as it was given
runs/NAME/split-N/      a run folder, with what was measured of it in measured.json
results.csv, .parquet   every number, see ``sweep_table``
.lock                   held while a sweep is at work
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

from ccr_diag.config import IMAGES_OF_CAPTIONS, FinetuneConfig
from ccr_diag.errors import CcrDiagError, NoSpace, OutputExists, RunFailed
from ccr_diag.evaluating import PRIOR, Workbench, check_calibrators, evaluated, of_data
from ccr_diag.frameworks import FRAMEWORKS
from ccr_diag.grids import Grid, run_name
from ccr_diag.metrics.presets import preset as find_preset
from ccr_diag.progress import Progress, silent
from ccr_diag.runs import GRID, LOCK, RUNS, is_done, write_text
from ccr_diag.sweep_table import COLUMN_OF, SCHEMA_VERSION, SETTINGS, ZERO_SHOT, write_table
from ccr_diag.sweep_worker import Job, is_measured, measured, start, work


@dataclass(frozen=True)
class Swept:
    """What a sweep left.

    Args:
        tables: files of the results.
        failed: run and split → why it could not be finished.
        notes: sentences about images that were left out.
    """

    tables: tuple[Path, ...]
    failed: dict[str, str]
    notes: tuple[str, ...]


def sweep(
    grid: Grid,
    folder: Path,
    *,
    workers: int = 1,
    device: str = "cpu",
    threads: int = 1,
    progress: Progress = silent,
) -> Swept:
    """Finish every run of a grid, measure it, and put all numbers into one table.

    Runs that are finished and measured are left as they are. Whatever stops the sweep, they are
    kept, and the table of all that is finished is written.

    Args:
        grid: the runs, and what is measured of them.
        folder: where they are, new or of an earlier sweep of these runs or some of them.
        workers: runs at a time, each in a process of its own.
        device: of the backbones.
        threads: CPU threads of each worker. The numbers do not depend on the workers, but may on
            these.
        progress: told the stage, the runs done and the runs in all.

    Raises:
        OutputExists: the folder holds other runs, or another sweep is at work in it.
        NoSpace: the disk is full.
        RunFailed: a worker was killed.
        CcrDiagError: data or a backbone is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _alone_in(folder):
        jobs = sweep_jobs(grid, folder)
        _check_runs(jobs, folder)
        left = left_over(jobs, grid)
        prepare(left, Workbench(grid, device, progress))
        write_text(folder / GRID, grid.text)
        try:
            failed = _finish(jobs, left, grid, workers, device, threads, progress)
        finally:
            rows = table_rows(jobs, grid)
            tables = [] if rows.empty else write_table(rows, folder)
        return Swept(tuple(tables), failed, tuple(left_out_notes(jobs, grid)))


def require_idle(folder: Path) -> None:
    """Refuse a folder in which a sweep is at work.

    Raises:
        OutputExists: there is one.
    """
    if (folder / LOCK).exists():
        with _alone_in(folder):
            pass


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which a killed process holds no more."""
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise OutputExists(
            f"One sweep works in a folder at a time, but another is at work in {folder}; wait "
            "for it, or choose another --output."
        ) from error
    try:
        yield
    finally:
        lock.release()


def sweep_jobs(grid: Grid, folder: Path) -> list[Job]:
    """One job a split of a run, in the grid's order.

    Zero-shot depends on few settings: it is measured once for each choice of them and each bias
    rule, with the first run that can tell best.
    """
    tellers = _tellers(grid.runs)
    jobs: list[Job] = []
    for config in grid.runs:
        rules = dict.fromkeys((config.bias, PRIOR))
        told = tuple(rule for rule in rules if tellers.get(_zero_shot(config, rule)) == config)
        split = folder / RUNS / run_name(config) / f"split-{config.seed}"
        jobs.append(Job(config, split, told))
    return jobs


def _tellers(runs: Sequence[FinetuneConfig]) -> dict[FinetuneConfig, FinetuneConfig]:
    """Zero-shot of each kind → the run it is measured with.

    Its bias is fitted on that run's training images, so those of the data set go before images that
    were made of captions; captions themselves have scores that are no images'.
    """
    found: dict[FinetuneConfig, FinetuneConfig] = {}
    for wanted in ("images", IMAGES_OF_CAPTIONS):
        for config in runs:
            if wanted == FRAMEWORKS[config.framework].TRAINED_ON:
                for rule in (config.bias, PRIOR):
                    found.setdefault(_zero_shot(config, rule), config)
    return found


def _zero_shot(config: FinetuneConfig, rule: str) -> FinetuneConfig:
    """The settings that zero-shot depends on, read through a bias rule; the rest at defaults."""
    return FinetuneConfig(
        model=config.model,
        pretrained=config.pretrained,
        precision=config.precision,
        data=config.data,
        split=config.split,
        new_classes=config.new_classes,
        class_split=config.class_split,
        shots=config.shots,
        seed=config.seed,
        scale=config.scale,
        bias=rule,
    )


def left_over(jobs: Sequence[Job], grid: Grid) -> list[Job]:
    """The jobs that are not both finished and measured."""
    return [job for job in jobs if not (is_done(job.folder) and is_measured(job, grid))]


def _check_runs(jobs: Sequence[Job], folder: Path) -> None:
    """Refuse a folder that holds runs of other settings: they would be of no table."""
    known = {job.folder for job in jobs}
    foreign = sorted(set((folder / RUNS).glob("*/split-*")) - known)
    if foreign:
        raise OutputExists(
            f"A sweep goes on with the runs that it began with, and may add some, but {folder} "
            f"holds {len(foreign)} that this grid does not have, such as "
            f"{foreign[0].relative_to(folder)}; choose another --output."
        )


def prepare(jobs: Sequence[Job], bench: Workbench) -> None:
    """Load what the jobs need, so that what is wrong with it is said once, and before any work.

    Features of the images that are measured come to lie in the cache, for all workers.
    """
    for job in jobs:
        bench.train(job.config)
        local = FRAMEWORKS[job.config.framework].LOCAL
        for data, split in evaluated(job.config, bench.grid):
            bench.images(job.config, split, data, local)
    for config in {of_data(job.config): job.config for job in jobs}.values():
        check_calibrators(config, bench)


def _finish(
    jobs: Sequence[Job],
    left: Sequence[Job],
    grid: Grid,
    workers: int,
    device: str,
    threads: int,
    progress: Progress,
) -> dict[str, str]:
    """Work until no job is left; returns why runs failed."""
    failed: dict[str, str] = {}
    done = len(jobs) - len(left)
    progress("runs", done, len(jobs))
    if not left:
        return failed
    for job, error in _worked(left, grid, workers, device, threads):
        if isinstance(error, NoSpace):
            raise error
        if error is not None:
            failed[f"{job.folder.parent.name}, split {job.config.seed}"] = str(error)
        done += 1
        progress("runs", done, len(jobs))
    return failed


def _worked(
    jobs: Sequence[Job], grid: Grid, workers: int, device: str, threads: int
) -> Iterator[tuple[Job, CcrDiagError | None]]:
    """Each job as it comes to its end, and why it failed if it did."""
    with _processes(min(workers, len(jobs)), grid, device, threads) as pool:
        try:
            futures = {pool.submit(work, job): job for job in jobs}
            for future in as_completed(futures):
                error = future.exception()
                if error is not None and not isinstance(error, CcrDiagError):
                    raise error
                yield futures[future], error
        except BrokenProcessPool as error:
            raise RunFailed(
                "A worker process ended before its run, perhaps for lack of memory; take fewer "
                "--workers, and run the command again with --resume."
            ) from error


@contextmanager
def _processes(
    workers: int, grid: Grid, device: str, threads: int
) -> Iterator[ProcessPoolExecutor]:
    """Worker processes, which do not outlive what they work for."""
    others = set(active_children())
    pool = ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=start, initargs=(grid, device, threads)
    )
    try:
        yield pool
    except BaseException:  # Ctrl-C too: a run that is broken off is gone on with next time
        for process in set(active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def table_rows(jobs: Sequence[Job], grid: Grid) -> pd.DataFrame:
    """The results table, in the order of the jobs, whichever came to its end first."""
    columns: defaultdict[str, list[Any]] = defaultdict(list)  # a dict a row would take much memory
    for job in jobs:
        for found in measured(job) if is_measured(job, grid) else []:
            about = _about(job, found, grid)
            for group, metrics in found["values"].items():
                for name, value in (about | {"group": group}).items():
                    columns[name] += [value] * len(metrics)
                columns["metric"] += metrics
                columns["value"] += [np.nan if v is None else v for v in metrics.values()]
    return pd.DataFrame(columns)


def left_out_notes(jobs: Sequence[Job], grid: Grid) -> Iterator[str]:
    """One sentence a data set of which runs are not measured on all images."""
    most: defaultdict[str, int] = defaultdict(int)
    for job in jobs:
        for found in measured(job) if is_measured(job, grid) else []:
            most[found["data"]] = max(most[found["data"]], found.get("left_out", 0))
    for data, number in most.items():
        if number:
            yield (
                f"Each run is measured on {data}, split {grid.split}, without the images that it "
                f"was tuned on, {number:,} of them at most."
            )


def _about(job: Job, found: dict[str, Any], grid: Grid) -> dict[str, Any]:
    """What all rows of one measurement share; zero-shot has no loss, λ or batches."""
    tuned = found["framework"] != ZERO_SHOT
    config = job.config if tuned else _zero_shot(job.config, found["bias"])
    return {
        **{column: _word(getattr(config, name)) for column, name in _columns(grid).items()},
        "schema": SCHEMA_VERSION,
        "run": job.folder.parent.name,
        "model": found["model"],
        "split": config.seed,
        "framework": found["framework"],
        "loss": config.loss if tuned else "none",
        "regularizer": config.regularizer if tuned else "none",
        "lambda": config.lambda_ if tuned and config.regularizer != "none" else 0.0,
        "bias": found["bias"],
        "batch_size": config.batch_size if tuned else 0,
        "shots": config.shots,
        "data": found["data"],
        "test_split": grid.split,
        "calibrator": found["calibrator"],
        "preset": grid.preset,
        "n_bins": grid.n_bins or find_preset(grid.preset).n_bins,
        "map_scale": found["map_scale"],
        "map_bias": found["map_bias"],
    }


def _columns(grid: Grid) -> dict[str, str]:
    """Column → setting, of those that are varied and that not every table holds.

    Runs that are tested on their own data need no column for what they were tuned on.
    """
    columns = {COLUMN_OF.get(name, name): name for name in grid.varied}
    if not grid.data:
        columns.pop("train_data", None)
    return {column: name for column, name in columns.items() if column in SETTINGS}


def _word(value: Any) -> Any:
    """A list as one word."""
    return ",".join(value) if isinstance(value, tuple) else value
