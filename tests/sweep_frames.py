"""Made-up results tables of sweeps."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

GROUPS = ("all", "base", "head", "tail", "new")
METRICS = ("map", "ece_positive", "ece_decision", "signed_error")
ROW: dict[str, Any] = {
    "schema": 1, "run": "bce+ccr-3f2a91c0", "model": "bce+ccr (prior bias)", "split": 1,
    "framework": "coop", "loss": "bce", "regularizer": "ccr", "lambda": 10.0, "bias": "prior",
    "batch_size": 32, "shots": 16, "data": "scenes", "test_split": "test", "calibrator": "none",
    "preset": "textbook", "n_bins": 15, "map_scale": 100.0, "map_bias": -1.5,
    "group": "all", "metric": "map", "value": 0.5,
}  # fmt: skip


def value(split: int, lambda_: float, group: str, metric: str) -> float:
    """Another for each row, negative for the signed error."""
    size = 0.1 + 0.01 * split**2 + lambda_ / 1000 + 0.002 * GROUPS.index(group)
    return -size if metric == "signed_error" else size + 0.1 * (metric == "map")


def rows(
    lambda_: float,
    splits: Sequence[int] = (1, 2, 3),
    groups: Sequence[str] = GROUPS,
    metrics: Sequence[str] = METRICS,
    valued: Callable[[int, float, str, str], float] = value,
    **changes: Any,
) -> list[dict[str, Any]]:
    """The rows of one setting, BCE alone at λ = 0."""
    about = ROW | {"lambda": lambda_, "run": f"bce+ccr-{lambda_}-{changes}"}
    if lambda_ == 0:
        about |= {"regularizer": "none", "model": "bce (prior bias)"}
    return [
        about | changes | {"split": s, "group": g, "metric": m, "value": valued(s, lambda_, g, m)}
        for s in splits
        for g in groups
        for m in metrics
    ]


def zero_shot(**changes: Any) -> list[dict[str, Any]]:
    """The rows of the untuned model."""
    about = {
        "framework": "zero-shot", "loss": "none", "regularizer": "none", "batch_size": 0,
        "model": "zero-shot (prior bias)",
    }  # fmt: skip
    return rows(0.0, **(about | changes))


def lambda_study(**changes: Any) -> pd.DataFrame:
    """Zero-shot, BCE, and CCR with three λ."""
    tuned = [row for lambda_ in (0.0, 1.0, 10.0, 100.0) for row in rows(lambda_, **changes)]
    return pd.DataFrame(zero_shot(**changes) + tuned)
