"""What relates pools of classes, or classes, to each other: values in, further values out."""

from typing import Any

import numpy as np
from jaxtyping import Float64, Int
from scipy.stats import rankdata

from ccr_diag.metrics.measurement import ALL
from ccr_diag.metrics.registry import HARMONIC, TREND


def with_derived(
    values: dict[str, dict[str, Any]],
    by_class: dict[str, Any],
    class_counts: Int[np.ndarray, " classes"] | None,
    groups: tuple[str, ...],
) -> dict[str, dict[str, Any]]:
    """With what relates pools, or classes, to each other."""
    trend = {} if class_counts is None else _trend(by_class["signed_error"], class_counts, groups)
    return values | {ALL: values[ALL] | _harmonic(values) | trend}


def _harmonic(values: dict[str, dict[str, Any]]) -> dict[str, Any]:
    if not {"base", "new"} <= values.keys():
        return {}
    found = {}
    for key in HARMONIC:
        base, new = (np.asarray(values[pool][key], dtype=np.float64) for pool in ("base", "new"))
        total = base + new
        found[f"{key}_harmonic"] = np.divide(
            2 * base * new, total, out=np.where(np.isnan(total), np.nan, 0.0), where=total > 0
        )
    return found


def _trend(
    signed: Float64[np.ndarray, " classes *batch"],
    class_counts: Int[np.ndarray, " classes"],
    groups: tuple[str, ...],
) -> dict[str, Any]:
    """Slope and Spearman correlation of signed error on log10 frequency, of supervised classes."""
    supervised = np.array([g != "new" for g in groups] or [True] * len(signed))
    rows = supervised & (class_counts > 0)
    error = signed[rows].reshape(rows.sum(), -1)
    x = np.log10(class_counts[rows])
    if len(x) < 3 or not np.ptp(x):
        shape = signed.shape[1:]
        return dict.fromkeys(TREND, np.full(shape, np.nan))
    x = x - x.mean()
    slope = np.array([_slope(x, column) for column in error.T])
    ranks = rankdata(x) - (len(x) + 1) / 2
    spearman = np.array([_correlation(ranks, rankdata(column)) for column in error.T])
    shape = signed.shape[1:]
    return dict(zip(TREND, (slope.reshape(shape), spearman.reshape(shape)), strict=True))


def _slope(x: Float64[np.ndarray, " classes"], y: Float64[np.ndarray, " classes"]) -> float:
    there = ~np.isnan(y)
    if there.sum() < 2:
        return np.nan
    centred = x[there] - x[there].mean()
    return float(centred @ y[there] / (centred @ centred)) if np.ptp(x[there]) else np.nan


def _correlation(x: Float64[np.ndarray, " classes"], y: Float64[np.ndarray, " classes"]) -> float:
    y = y - y.mean()
    norm = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / norm) if norm else np.nan
