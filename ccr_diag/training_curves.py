"""Run folders → one table of their epochs, as tuning logged them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ccr_diag.config import FinetuneConfig, load_config
from ccr_diag.epoch_log import PRESERVATION, EpochRecord, read_epochs
from ccr_diag.errors import BadData
from ccr_diag.runs import CONFIG, LOG, is_done

COLUMNS = (
    *("run", "model", "split", "minimised", "added", "lambda"),
    *("epoch", "loss", "regularizer", "dead", "rate", "bias", PRESERVATION),
)

_TASK = ("model", "pretrained", "data", "split", "unlisted", "new_classes", "class_split")
"""Settings that runs whose losses stand in one figure share."""


def read_training(folders: Sequence[Path]) -> pd.DataFrame:
    """The epochs of runs, in the order given.

    Args:
        folders: runs, each a folder of ``split-…`` folders or one such folder; a run that is not
            finished has the epochs that it has.

    Returns:
        A row an epoch. Columns: run (the folder), model (the method and its bias rule), split (the
        seed), minimised (the loss's name), added (the regularizer's), lambda (0 without one),
        then what was logged: epoch, loss, regularizer (without its λ), dead, rate, bias, and NP@5,
        NaN where there is none.

    Raises:
        BadData: no run or no log, a line that is no epoch, epochs that are missing, a split twice,
            splits that differ in more than the seed, or runs of different tasks.
        BadConfig: a config that cannot be read.
    """
    rows: list[dict[str, Any]] = []
    first: tuple[Path, FinetuneConfig] | None = None
    for folder in folders:
        configs = {path: load_config(path / CONFIG) for path in _splits(folder)}
        first = first or next(iter(configs.items()))
        _check_run(folder, configs)
        _check_same_task(first, next(iter(configs.items())))
        for path, config in configs.items():
            rows += [_row(folder, config, record) for record in _whole_log(path, config)]
    if not rows:
        raise BadData("Training curves need the folder of at least one run that has an epoch.")
    frame = pd.DataFrame(rows, columns=COLUMNS)
    if frame.duplicated(["run", "split", "epoch"]).any():
        raise BadData("Each run is drawn once, but a folder is given twice; leave one out.")
    return frame


def _splits(folder: Path) -> list[Path]:
    """The folders of its splits, in their order, or itself."""
    found = [path.parent for path in folder.glob(f"split-*/{CONFIG}")]
    if not found and not (folder / CONFIG).exists():
        raise BadData(
            f"Training curves need the folder of a run of 'ccr-diag finetune', but {folder} holds "
            f"no {CONFIG}, and nor does a split-… folder in it."
        )
    return sorted(found, key=lambda path: (len(path.name), path.name)) or [folder]


def _check_run(folder: Path, configs: dict[Path, FinetuneConfig]) -> None:
    """Every split once, and of one method."""
    first, *others = configs.values()
    seeds = [config.seed for config in configs.values()]
    if len(set(seeds)) < len(seeds):
        raise BadData(f"The splits of a run have a seed each, but those of {folder} are {seeds}.")
    if any(config.replace(seed=first.seed) != first for config in others):
        raise BadData(
            f"The splits of a run must differ in their seed alone, but those of {folder} differ in "
            "other settings; keep them in folders apart."
        )


def _check_same_task(
    first: tuple[Path, FinetuneConfig], other: tuple[Path, FinetuneConfig]
) -> None:
    """Losses of one figure are of the same classes, examples and CLIP."""
    for name in _TASK:
        values = [getattr(config, name) for _, config in (first, other)]
        if values[0] != values[1]:
            raise BadData(
                f"Runs in one figure of training must have the same {name}, but {first[0]} has "
                f"{values[0]!r} and {other[0]} has {values[1]!r}; draw them apart."
            )


def _whole_log(folder: Path, config: FinetuneConfig) -> list[EpochRecord]:
    """The epochs from 1 without a hole, to the last one if the run is finished."""
    records = read_epochs(folder)
    found = [record.epoch for record in records]
    there = config.epochs if is_done(folder) else min(len(found), config.epochs)
    if found != list(range(1, there + 1)):
        raise BadData(
            f"A log has one line for each epoch from 1 to {there}, but {folder / LOG} has "
            f"{', '.join(map(str, found)) or 'none'}; tune the run anew."
        )
    return records


def _row(folder: Path, config: FinetuneConfig, record: EpochRecord) -> dict[str, Any]:
    return {
        "run": str(folder),
        "model": config.name,
        "split": config.seed,
        "minimised": config.loss,
        "added": config.regularizer,
        "lambda": 0.0 if config.regularizer == "none" else config.lambda_,
        **record.as_dict(),
    }
