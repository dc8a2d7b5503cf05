"""One process of a sweep: a job in, its run tuned and measured.

Light to import, so that a worker answers to its parent from its first moment on.
"""

import json
import os
import signal
import threading
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ccr_diag.runs import MEASURED, write_text

if TYPE_CHECKING:
    from ccr_diag.config import FinetuneConfig
    from ccr_diag.evaluating import Workbench
    from ccr_diag.grids import Grid

SCHEMA_VERSION = 1

_bench: "Workbench | None" = None  # of this process


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Args:
        config: its settings, split included.
        folder: its run folder.
        zero_shot: bias rules through which zero-shot is measured with it.
    """

    config: "FinetuneConfig"
    folder: Path
    zero_shot: tuple[str, ...]


def start(grid: "Grid", device: str, threads: int) -> None:
    """Make this process a worker of a sweep."""
    attach()

    import torch

    from ccr_diag.evaluating import Workbench

    global _bench
    torch.set_num_threads(threads)
    _bench = Workbench(grid, device)


def attach() -> None:
    """Leave Ctrl-C to the parent process, and end when it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None, "a worker is somebody's"
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    """An orphan would go on writing into a folder that a new sweep has taken over."""
    wait([sentinel])
    os._exit(1)


def work(job: Job) -> None:
    """Tune the run of a job, or what is left of it, and measure it.

    Raises:
        CcrDiagError: the run was refused or failed.
    """
    assert _bench is not None, "start comes first"
    finish(job, _bench)


def finish(job: Job, bench: "Workbench") -> None:
    """As ``work``, with what the runs of the sweep share."""
    from ccr_diag.checkpoint import load_checkpoint
    from ccr_diag.evaluating import evaluate
    from ccr_diag.finetune import finetune

    path = finetune(
        job.config,
        job.folder,
        backbone=bench.backbone(job.config),
        train=bench.train(job.config),
    )
    if is_measured(job, bench.grid):
        return
    found = [each.as_dict() for each in evaluate(load_checkpoint(path), bench, job.zero_shot)]
    record = _asked(job, bench.grid) | {"measured": found}
    write_text(job.folder / MEASURED, json.dumps(record))


def is_measured(job: Job, grid: "Grid") -> bool:
    """Whether the run was measured as this grid asks."""
    record = _read(job)
    return {key: record.get(key) for key in _asked(job, grid)} == _asked(job, grid)


def measured(job: Job) -> list[dict[str, Any]]:
    """What was measured of a run, an empty list if nothing was."""
    found: list[dict[str, Any]] = _read(job).get("measured", [])
    return found


def _asked(job: Job, grid: "Grid") -> dict[str, Any]:
    """What decides the numbers, beside the run itself; JSON values."""
    return {
        "schema_version": SCHEMA_VERSION,
        "data": list(grid.data),
        "split": grid.split,
        "calibration_split": grid.calibration_split,
        "calibrators": list(grid.calibrators),
        "preset": grid.preset,
        "n_bins": grid.n_bins,
        "zero_shot": list(job.zero_shot),
    }


def _read(job: Job) -> dict[str, Any]:
    """The record in a run folder; a damaged one counts as none, and is made anew."""
    try:
        record = json.loads((job.folder / MEASURED).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) and _holds_numbers(record) else {}


def _holds_numbers(record: dict[str, Any]) -> bool:
    """Whether something was measured, the tuned model at the least."""
    found = record.get("measured")
    return (
        isinstance(found, list)
        and bool(found)
        and all(isinstance(each, dict) and isinstance(each.get("values"), dict) for each in found)
    )
