"""Every framework with BCE, and with BCE and CCR, on the embedded default (development only).

    python -m ccr_diag.embedded.framework_study OUT

One table, ``OUT/frameworks.md``: mAP and ECE of base and new classes, seconds of tuning, numbers
learned. Each framework has the settings of its paper but for its loss, and

- the bias rule ``prior``; TaI-DPT, whose examples are captions, ``learned``
- CoCoOp: batches of 32, as CCR needs several images
- of the learning rates in ``RATES`` the one with the best mAP of base classes on the calibration
  split, chosen with and without CCR apart

Finished runs are kept, so an interrupted study goes on where it stood.
"""

import argparse
import sys
from pathlib import Path

from ccr_diag.backbone import load_backbone
from ccr_diag.checkpoint import load_checkpoint
from ccr_diag.data import load_dataset
from ccr_diag.embedded.study import SECONDS, SPLITS, Settings, compare, markdown, run_all
from ccr_diag.features import image_features, local_features
from ccr_diag.frameworks import FRAMEWORKS
from ccr_diag.metrics.engine import measure_predictions
from ccr_diag.predict import predict, tuned_space
from ccr_diag.records import label
from ccr_diag.report_tables import percent
from ccr_diag.results import Results
from ccr_diag.runs import write_text

RATES = (0.002, 0.02, 0.2, 2.0, 20.0)


def settings_of(framework: str, rate: float, ccr: bool) -> Settings:
    """Of one run."""
    found: Settings = {"framework": framework, "loss": "bce", "learning_rate": rate}
    found["bias"] = "learned" if FRAMEWORKS[framework].TRAINED_ON == "captions" else "prior"
    if framework == "cocoop":
        found["batch_size"] = 32
    return found | ({"regularizer": "ccr"} if ccr else {})


def best_rates(root: Path) -> dict[tuple[str, bool], float]:
    """(framework, with CCR) → the rate with the best mAP of base classes on the calibration split.

    Of one split of the shots each.
    """
    tried = {
        (framework, ccr, rate): f"{framework}{' ccr' * ccr} {rate:g}"
        for framework in FRAMEWORKS
        for ccr in (False, True)
        for rate in RATES
    }
    grid = {name: settings_of(f, rate, ccr) for (f, ccr, rate), name in tried.items()}
    run_all(root, grid, SPLITS[:1])
    backbone, data = load_backbone(device="cpu"), load_dataset("scenes", "calibration")
    seen = {False: image_features(backbone, data), True: local_features(backbone, data)}
    best: dict[tuple[str, bool], tuple[float, float]] = {}
    for (framework, ccr, rate), name in tried.items():
        checkpoint = load_checkpoint(root / name / f"split-{SPLITS[0]}")
        space = tuned_space(checkpoint, backbone)
        said = predict(space, seen[space.local], data, checkpoint.groups, {})
        found = measure_predictions(said, n_bootstrap=0).values["base"]["map"]
        print(f"{name}: mAP {100 * found:.1f}", file=sys.stderr, flush=True)
        best[framework, ccr] = max(best.get((framework, ccr), (0.0, 0.0)), (found, rate))
    return {key: rate for key, (_, rate) in best.items()}


def framework_table(results: Results, runs: dict[str, tuple[Path, float]]) -> str:
    """One row a model, zero-shot first.

    Args:
        results: of ``compare``, the models in the order of the runs.
        runs: label → folder and learning rate.
    """
    metrics = {"mAP": "map", "ECE": "ece_positive", "ECE decision": "ece_decision"}
    columns = [(name, group) for name in metrics for group in ("base", "new")]
    lines = [
        ["model", "rate", *(f"{n} {g}" for n, g in columns), "seconds", "learned"],
    ]
    tuned = iter(runs.items())
    for model in results["models"]:
        label, rate, seconds, learned = model["label"], "", "", ""
        if not model["name"].startswith("zero-shot"):
            label, (folder, found) = next(tuned)
            rate, seconds, learned = f"{found:g}", _seconds(folder), f"{_learned(folder):,}"
        shown = [percent(model["groups"][g]["metrics"][metrics[n]]) for n, g in columns]
        lines.append([label, rate, *shown, seconds, learned])
    return markdown(lines)


def _seconds(run: Path) -> str:
    """Mean over splits."""
    found = [float(path.read_text()) for path in run.glob(f"split-*/{SECONDS}")]
    return f"{sum(found) / len(found):.0f}"


def _learned(run: Path) -> int:
    """How many numbers the framework learns."""
    checkpoint = load_checkpoint(run / f"split-{SPLITS[0]}")
    return sum(tensor.numel() for tensor in checkpoint.learned.values())


def main() -> None:
    """Choose the rates, run every framework twice, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    rates = best_rates(out / "rates")
    grid: dict[str, Settings] = {}
    for (framework, ccr), rate in rates.items():
        grid[f"{framework} bce{'+ccr' * ccr}"] = settings_of(framework, rate, ccr)
    folders = run_all(out / "runs", grid, SPLITS)
    named = zip(grid.items(), folders, strict=True)
    runs = {label(n): (folder, float(s["learning_rate"])) for (n, s), folder in named}
    write_text(out / "frameworks.md", framework_table(compare(folders, out / "compared"), runs))


if __name__ == "__main__":
    main()
