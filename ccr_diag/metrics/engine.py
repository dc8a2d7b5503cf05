"""``measure``: probabilities and labels in, every number with its interval out."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Int64

from ccr_diag.arrays import PRESENT, UNKNOWN, Labels, Source
from ccr_diag.checks import blocks
from ccr_diag.errors import BadConfig, BadData
from ccr_diag.metrics.bins import ReliabilityBins
from ccr_diag.metrics.derived import with_derived
from ccr_diag.metrics.evidence import Evidence
from ccr_diag.metrics.gather import THREADS, ClassIntervals, Gathered, Task, gather
from ccr_diag.metrics.intervals import normal_interval
from ccr_diag.metrics.inversion import curves, inverted_interval, standard_noise
from ccr_diag.metrics.measurement import ALL, Measurement, pools
from ccr_diag.metrics.presets import preset as find_preset
from ccr_diag.metrics.proximity import proximity_bins
from ccr_diag.metrics.registry import METRICS, bounds
from ccr_diag.metrics.smooth import smece_at
from ccr_diag.metrics.tables import check_bins
from ccr_diag.predictions import Predictions

SMECE = "smece_positive"
SMALL_BYTES = 2**27  # a lazy source up to this size is computed once and kept


def measure(
    probs: Source,
    labels: Labels,
    class_names: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    n_bins: int | None = None,
    preset: str = "textbook",
    n_bootstrap: int = 200,
    seed: int = 0,
    *,
    ranking: Source | None = None,
    class_counts: Int[np.ndarray, " classes"] | None = None,
    proximity: Float[np.ndarray, " images"] | None = None,
    top_k: int = 3,
    threshold: float = 0.01,
) -> Measurement:
    """Every metric, for all classes, every group and every class.

    Args:
        probs: (images, classes) in [0, 1]: an array, a memory map or a lazy source.
        labels: (images, classes) in {1, 0, -1}; -1 is in no metric.
        class_names: of the columns; numbered when left out.
        groups: group of each class, e.g. head, medium, tail, new; ``base`` is all but ``new``.
        n_bins: bins of equal width or mass; the preset's when left out (15 for ``textbook``).
        preset: a key of ``PRESETS``.
        n_bootstrap: replicates of the bootstrap over images; 0 for no intervals.
        seed: of the bootstrap.
        ranking: what average precision ranks by, e.g. logits; the probabilities when left out.
        class_counts: training images of each class, for the trend of the signed error.
        proximity: of each image, for PIECE.
        top_k: k of the measures over the most probable classes of each image.
        threshold: p from which on entries count for the thresholded ECE.

    Raises:
        BadData: no image or class, no known label, unequal shapes, a probability outside [0, 1] or
            NaN, a label that is none, names that repeat.
        BadConfig: an unknown preset, a number of bins, replicates, k or a threshold out of range.
    """
    chosen = find_preset(preset)
    names = tuple(str(i) for i in range(probs.shape[1])) if class_names is None else class_names
    names, of_class = tuple(names), tuple(groups or ())
    _check(probs, labels, names, of_class, n_bootstrap, top_k, threshold)
    bins = chosen.n_bins if n_bins is None else n_bins
    check_bins(bins)
    known, positive = _label_counts(labels)
    distinct = list(dict.fromkeys(of_class)) or [ALL]
    task = Task(
        _at_hand(probs),
        labels,
        probs if ranking is None else ranking,
        pools(of_class, len(names)),
        np.array([distinct.index(g) for g in of_class] or [0] * len(names), dtype=np.int64),
        bins,
        chosen,
        top_k,
        threshold,
        None if proximity is None else proximity_bins(proximity, bins),
        n_bootstrap,
        seed,
    )
    chosen_values = {
        "preset": preset,
        "n_bins": bins,
        "equal_mass": chosen.equal_mass,
        "top_k": top_k,
        "threshold": threshold,
        "n_bootstrap": n_bootstrap,
        "seed": seed,
    }
    numbers = _numbers(task, class_counts, of_class)
    return Measurement(
        names, of_class, probs.shape[0], known, positive, class_counts, chosen_values, **numbers
    )


def measure_predictions(predictions: Predictions, **options: Any) -> Measurement:
    """``measure`` of what a predictions record holds; the options are those of ``measure``."""
    return measure(
        predictions.probability_source,
        predictions.labels,
        predictions.class_names,
        predictions.groups,
        ranking=predictions.ranking,
        class_counts=predictions.class_counts,
        proximity=predictions.proximity,
        **options,
    )


def _at_hand(probs: Source) -> Source:
    """Probabilities that are made from scores slice by slice, made once if they are few."""
    few = math.prod(probs.shape) * probs.dtype.itemsize <= SMALL_BYTES
    return probs[:] if few and not isinstance(probs, np.ndarray) else probs


def _numbers(
    task: Task, class_counts: Int[np.ndarray, " classes"] | None, groups: tuple[str, ...]
) -> dict[str, Any]:
    """Values, replicates and intervals of pools and classes, and the pools' bins."""
    found, class_inverted, class_bins = gather(task)
    with ThreadPoolExecutor(THREADS) as threads:
        each = threads.map(partial(_measured, found, class_inverted), task.pools)
        of_pool = dict(zip(task.pools, each, strict=True))
    by_class = [part.per_class() for part in found]
    values, *drawn = (
        with_derived({p: m.values[i] for p, m in of_pool.items()}, of, class_counts, groups)
        for i, of in enumerate(by_class)
    )
    class_drawn = {k: v for k, v in by_class[1].items() if METRICS[k].drawn} if drawn else {}
    ends, class_ends = {}, {}
    if drawn and task.probs.shape[0] > 1:  # one image shows no spread
        ends = {p: _ends(values[p], drawn[0][p], m.inverted) for p, m in of_pool.items()}
        class_ends = _ends(by_class[0], class_drawn, class_inverted.ends)
    return {
        "values": {p: {k: float(v) for k, v in row.items()} for p, row in values.items()},
        "drawn": drawn[0] if drawn else {},
        "ends": ends,
        "class_values": by_class[0],
        "class_drawn": class_drawn,
        "class_ends": class_ends,
        "reliability": {pool: measured.bins for pool, measured in of_pool.items()},
        "class_reliability": class_bins,
    }


@dataclass(frozen=True, eq=False)
class _Pool:
    """One pool of classes.

    Args:
        values: metric → value on all images, and in the replicates.
        inverted: metric → ends of the intervals that are found by inversion.
        bins: convention → equal-width bins, and ``mass_positive``.
    """

    values: list[dict[str, Any]]
    inverted: dict[str, Any]
    bins: dict[str, ReliabilityBins]


def _measured(found: list[Gathered], class_inverted: ClassIntervals, pool: str) -> _Pool:
    whole, *drawn = (part.of_pool(pool) for part in found)
    values = [_values(part, drawn=part is not whole) for part in [whole, *drawn]]
    inverted: dict[str, Any] = {}
    if drawn:
        inverted = _inverted(whole, drawn[0], found[0].task.seed, values[0])
        classes = found[0].task.pools[pool]
        mean = [curve.class_mean(classes) for curve in class_inverted.ece]
        key = "ece_classwise"
        inverted[key] = inverted_interval(values[0][key], mean, METRICS[key].bounds[1])
    bins = {name: getattr(whole, name) for name in ("positive", "decision", "mass_positive")}
    return _Pool(values, inverted, bins)


def _values(evidence: Evidence, *, drawn: bool) -> dict[str, Any]:
    found = {k: m.value(evidence) for k, m in METRICS.items() if m.drawn or not drawn}
    return {key: value for key, value in found.items() if value is not None}


def _inverted(
    evidence: Evidence, drawn: Evidence, seed: int, values: dict[str, Any]
) -> dict[str, Any]:
    """Ends of the intervals of the calibration errors."""
    by_needs: dict[str, dict[str, Any]] = {}
    for key, metric in METRICS.items():
        if metric.distance and isinstance(getattr(evidence, metric.needs), ReliabilityBins):
            by_needs.setdefault(metric.needs, {})[key] = metric.function
    shorter = {SMECE: partial(smece_at, bandwidth=float(values[SMECE]))} if SMECE in values else {}
    ends = {}
    for needs, measures in by_needs.items():
        bins, replicates = getattr(evidence, needs), getattr(drawn, needs)
        noise = None
        if needs != "cells":  # too narrow to tell their own spread
            noise = standard_noise(seed, [0], *replicates.count.shape[-2:])[0]
        for key, found in curves(measures, bins, replicates, noise, shorter).items():
            ends[key] = inverted_interval(values[key], found, METRICS[key].bounds[1])
    return ends


def _ends(
    values: dict[str, Any], drawn: dict[str, Any], inverted: dict[str, Any]
) -> dict[str, Any]:
    """Ends of all intervals: by inversion where they are given, else from the replicates."""
    normal = {
        key: np.stack(normal_interval(np.asarray(values[key]), replicates, bounds(key)))
        for key, replicates in drawn.items()
        if key not in inverted
    }
    return normal | inverted


def _label_counts(
    labels: Labels,
) -> tuple[Int64[np.ndarray, " classes"], Int64[np.ndarray, " classes"]]:
    known, positive = np.zeros((2, labels.shape[1]), dtype=np.int64)
    for y in blocks(labels):
        known += (y != UNKNOWN).sum(axis=0)
        positive += (y == PRESENT).sum(axis=0)
    if not known.any():
        raise BadData("At least one label must be known, but all are unknown (-1).")
    return known, positive


def _check(
    probs: Source,
    labels: Labels,
    names: tuple[str, ...],
    groups: tuple[str, ...],
    n_bootstrap: int,
    top_k: int,
    threshold: float,
) -> None:
    if len(probs.shape) != 2 or probs.shape != labels.shape or 0 in probs.shape:
        raise BadData(
            "Probabilities and labels must be (images, classes) arrays of one shape, "
            f"neither 0, but have {probs.shape} and {labels.shape}."
        )
    for what, given in (("class name", names), ("group", groups)):
        if len(given) != probs.shape[1] and (given or what != "group"):
            raise BadData(
                f"There must be one {what} per column, {probs.shape[1]}, but {len(given)} came."
            )
    if len(set(names)) < len(names):
        raise BadData("Class names must be unique, but one comes twice; rename all but one.")
    for reserved in (ALL, "base"):
        if reserved in groups:
            raise BadData(f"No group may be called {reserved!r}, which stands for more than one.")
    if n_bootstrap < 0 or n_bootstrap == 1:
        raise BadConfig(f"Replicates must be 0 or at least 2, but got {n_bootstrap}.")
    if top_k < 1 or not 0 <= threshold < 1:
        raise BadConfig(f"Need k ≥ 1 and 0 ≤ threshold < 1, but got {top_k} and {threshold:g}.")
