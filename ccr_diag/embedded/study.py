"""The numbers of the README, measured on the embedded default (development only).

    python -m ccr_diag.embedded.study OUT

Two tables: ``OUT/ccr.md``, CCR with each estimator, three λ and three bias rules beside BCE alone
and zero-shot, on the test split; and ``OUT/styles.md``, zero-shot in every drawing style. Finished
runs are kept, so an interrupted study goes on where it stood.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from ccr_diag import analysis
from ccr_diag.backbone import load_backbone
from ccr_diag.checkpoint import load_checkpoint
from ccr_diag.compared_models import load_runs
from ccr_diag.config import CHOICES, config_from_dict
from ccr_diag.data import load_dataset
from ccr_diag.data.scenes import STYLES
from ccr_diag.features import image_features
from ccr_diag.finetune import finetune
from ccr_diag.metrics.engine import measure_predictions
from ccr_diag.predict import predict, zero_shot_space
from ccr_diag.report_tables import percent, plain
from ccr_diag.results import Results
from ccr_diag.runs import write_text

SPLITS = (1, 2, 3)
BIASES = ("none", "mean", "prior")
LAMBDAS = (1.0, 10.0, 100.0)
SECONDS = "SECONDS"  # file of what a run took, one thread of two beside each other
Settings = dict[str, Any]


def ccr_grid() -> dict[str, Settings]:
    """Run name → settings: BCE alone, and with CCR by estimator and λ, for each bias rule."""
    grid: dict[str, Settings] = {}
    for bias in BIASES:
        grid[f"{bias} bce"] = {"bias": bias}
        for estimator in CHOICES["estimator"]:
            for lambda_ in LAMBDAS:
                grid[f"{bias} {estimator} {lambda_:g}"] = {
                    "bias": bias,
                    "regularizer": "ccr",
                    "estimator": estimator,
                    "lambda_": lambda_,
                }
    return grid


def run_all(root: Path, grid: dict[str, Settings], splits: Sequence[int]) -> list[Path]:
    """Finish every run of a grid, two at a time; returns the run folders."""
    jobs = [
        (root / name, settings | {"seed": seed})
        for name, settings in grid.items()
        for seed in splits
    ]
    with ProcessPoolExecutor(2) as pool:
        for done, folder in enumerate(pool.map(_run, *zip(*jobs, strict=True)), start=1):
            print(f"{done} of {len(jobs)}: {folder}", file=sys.stderr, flush=True)
    return [root / name for name in grid]


def _run(folder: Path, settings: Settings) -> Path:
    torch.set_num_threads(1)
    config = config_from_dict(settings)
    split = folder / f"split-{config.seed}"
    train, backbone = load_dataset(config.data, "train"), load_backbone(device="cpu")
    start = time.monotonic()
    finetune(config, split, backbone=backbone, train=train)
    if not (split / SECONDS).exists():
        write_text(split / SECONDS, f"{time.monotonic() - start:.1f}")
    return split


def compare(runs: Sequence[Path], out: Path) -> Results:
    """Analyse the runs on the test split, as ``ccr-diag analyze checkpoint`` does."""
    backbone, test = load_backbone(device="cpu"), load_dataset("scenes", "test")
    features = image_features(backbone, test)
    return analysis.analyse(load_runs(runs), backbone, test, features, out)


def ccr_table(results: Results) -> str:
    """One row a model: mAP and ECE of base and new classes, signed error by group, NP@5, ED."""
    columns = {
        **{f"mAP {g}": (g, "map") for g in ("base", "new")},
        **{f"ECE {g}": (g, "ece_positive") for g in ("base", "new")},
        **{f"signed {g}": (g, "signed_error") for g in ("head", "medium", "tail", "new")},
    }
    lines = [["model", *columns, "NP@5", "ED"]]
    for model in results["models"]:
        groups, geometry = model["groups"], model["geometry"]["summary"]
        shown = [percent(groups[group]["metrics"][metric]) for group, metric in columns.values()]
        lines.append([model["label"], *shown, *(plain(geometry[name]) for name in ("NP@5", "ED"))])
    return markdown(lines)


def markdown(lines: list[list[str]]) -> str:
    """Rows of text, the first being the header, as a Markdown table."""
    ruled = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "".join(f"| {' | '.join(line)} |\n" for line in ruled)


def zero_shot_by_style(run: Path) -> str:
    """Zero-shot on each style, read through the prior map of the tuning style's training images."""
    backbone = load_backbone(device="cpu")
    checkpoint = load_checkpoint(run)
    space = zero_shot_space(checkpoint, backbone, "prior")
    columns = ("all", "base", "new", "head", "medium", "tail")
    lines = [["style", *(f"mAP {c}" for c in columns), *(f"ECE {c}" for c in columns[1:])]]
    for style in STYLES:
        data = load_dataset(f"scenes:{style}", "test")
        features = image_features(backbone, data)
        said = predict(space, features, data, checkpoint.groups, {})
        found = measure_predictions(said, n_bootstrap=0).values
        shown = [found[c]["map"] for c in columns] + [found[c]["ece_positive"] for c in columns[1:]]
        lines.append([style, *(f"{100 * value:.1f}" for value in shown)])
    return markdown(lines)


def main() -> None:
    """Run both studies."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    runs = run_all(out / "runs", ccr_grid(), SPLITS)
    write_text(out / "ccr.md", ccr_table(compare(runs, out / "ccr")))
    write_text(out / "styles.md", zero_shot_by_style(runs[0] / "split-1"))


if __name__ == "__main__":
    main()
