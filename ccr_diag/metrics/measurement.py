"""``measure``: probabilities and labels in, every number with its interval out."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int64
from scipy.stats import rankdata

from ccr_diag.arrays import PRESENT, UNKNOWN, Labels, Source
from ccr_diag.checks import blocks
from ccr_diag.data.groups import GROUPS
from ccr_diag.errors import BadConfig, BadData, nearest
from ccr_diag.metrics.bins import ReliabilityBins
from ccr_diag.metrics.calibration import consistency_band, filled_bins
from ccr_diag.metrics.gather import THREADS, Gathered, Task, gather
from ccr_diag.metrics.intervals import basic_interval
from ccr_diag.metrics.presets import preset as find_preset
from ccr_diag.metrics.proximity import proximity_bins
from ccr_diag.metrics.registry import HARMONIC, METRICS, TREND, Evidence
from ccr_diag.metrics.tables import check_bins
from ccr_diag.predictions import Predictions

ALL = "all"
SMALL_BYTES = 2**27  # a lazy source up to this size is computed once and kept
Draws = Float64[np.ndarray, "*batch replicates"]


@dataclass(frozen=True, eq=False)
class Measurement:
    """Every number about one set of predictions; NaN where one is undefined.

    Args:
        class_names: of the columns.
        groups: group of each class; empty if there are none.
        n_images: rows.
        n_known: known labels of each class.
        n_positive: positive labels of each class.
        definitions: what was chosen: preset, bins, k, threshold, replicates, seed.
        values: pool (``all``, ``base``, a group) → metric → value.
        drawn: the same in the bootstrap replicates.
        class_values: metric → value of each class.
        class_drawn: the same in the replicates.
        reliability: pool → convention (``positive``, ``decision``) → equal-width bins.
    """

    class_names: tuple[str, ...]
    groups: tuple[str, ...]
    n_images: int
    n_known: Int64[np.ndarray, " classes"]
    n_positive: Int64[np.ndarray, " classes"]
    definitions: dict[str, Any]
    values: dict[str, dict[str, float]]
    drawn: dict[str, dict[str, Float64[np.ndarray, " replicates"]]]
    class_values: dict[str, Float64[np.ndarray, " classes"]]
    class_drawn: dict[str, Float64[np.ndarray, "classes replicates"]]
    reliability: dict[str, dict[str, ReliabilityBins]]

    def value(self, metric: str, group: str = ALL, class_: str | None = None) -> float:
        """One number.

        Args:
            metric: a key of ``METRICS`` (or ``…_harmonic``, ``signed_error_slope``, …).
            group: ``all``, ``base`` or a group.
            class_: a class, instead of a group.

        Raises:
            BadConfig: it was not measured.
        """
        if class_ is not None:
            return float(self._of(self.class_values, metric, "metric of a class")[self._at(class_)])
        return float(self._of(self._of(self.values, group, "group"), metric, "metric"))

    def replicates(
        self, metric: str, group: str = ALL, class_: str | None = None
    ) -> Float64[np.ndarray, " replicates"]:
        """That number in each bootstrap replicate; none where it has no interval."""
        self.value(metric, group, class_)
        if class_ is None:
            return self.drawn.get(group, {}).get(metric, np.zeros(0))
        drawn = self.class_drawn.get(metric)
        return np.zeros(0) if drawn is None else drawn[self._at(class_)]

    def interval(
        self, metric: str, group: str = ALL, class_: str | None = None
    ) -> tuple[float, float] | None:
        """Its 95 % interval (basic bootstrap over images), or None where there is none."""
        value, drawn = self.value(metric, group, class_), self.replicates(metric, group, class_)
        if not drawn.size:
            return None
        low, high = basic_interval(np.asarray(value), drawn, bounds(metric))
        return None if np.isnan(low) else (float(low), float(high))

    def of_pool(self, pool: str) -> Bool[np.ndarray, " classes"]:
        """Which classes a pool holds."""
        return pools(self.groups, len(self.class_names))[pool]

    def _at(self, class_: str) -> int:
        if class_ not in self.class_names:
            raise BadConfig(
                f"The class must be one of the predictions, but got {class_!r}"
                f"{nearest(class_, self.class_names)}"
            )
        return self.class_names.index(class_)

    @staticmethod
    def _of(found: dict[str, Any], key: str, what: str) -> Any:
        if key not in found:
            raise BadConfig(
                f"The {what} must be one that was measured, but got {key!r}{nearest(key, found)}"
            )
        return found[key]

    def to_json(self) -> dict[str, Any]:
        """Plain values in full precision; undefined ones are null.

        ``metrics`` are those of all classes, ``groups`` those of base and each group, ``classes``
        one entry a class, in the order of the predictions.
        """
        shown = {pool: self._pool_json(pool) for pool in self.values}
        every = shown.pop(ALL)
        return {
            "n_images": self.n_images,
            "n_classes": len(self.class_names),
            "n_unknown": int(self.n_images * len(self.class_names) - self.n_known.sum()),
            **every,
            "groups": shown,
            "classes": self._classes_json(),
        }

    def _pool_json(self, pool: str) -> dict[str, Any]:
        mask = self.of_pool(pool)
        return {
            "n_classes": int(mask.sum()),
            "n_known": int(self.n_known[mask].sum()),
            "n_positive": int(self.n_positive[mask].sum()),
            "effective_bins": int(filled_bins(self.reliability[pool]["positive"])),
            "metrics": {
                metric: _entry(value, self.interval(metric, pool))
                for metric, value in self.values[pool].items()
            },
            "reliability": {c: _bins_json(bins) for c, bins in self.reliability[pool].items()},
        }

    def _classes_json(self) -> list[dict[str, Any]]:
        ends = {
            metric: basic_interval(self.class_values[metric], drawn, bounds(metric))
            for metric, drawn in self.class_drawn.items()
        }
        return [
            {
                "name": name,
                "group": self.groups[i] if self.groups else None,
                "n_known": int(self.n_known[i]),
                "n_positive": int(self.n_positive[i]),
                "metrics": {
                    metric: _entry(
                        values[i],
                        (ends[metric][0][i], ends[metric][1][i]) if metric in ends else None,
                    )
                    for metric, values in self.class_values.items()
                },
            }
            for i, name in enumerate(self.class_names)
        ]


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
    found = list(gather(task))
    with ThreadPoolExecutor(THREADS) as threads:
        both = [threads.map(partial(_pool_values, part), task.pools) for part in found]
        values, *replicated = (dict(zip(task.pools, part, strict=True)) for part in both)
    drawn = replicated[0] if n_bootstrap else {}
    by_class = [part.per_class() for part in found]
    for i, pooled in enumerate([values, drawn] if n_bootstrap else [values]):
        pooled[ALL] |= _harmonic(pooled)
        if class_counts is not None:
            pooled[ALL] |= _trend(by_class[i]["signed_error"], class_counts, of_class)
    evidence = {pool: found[0].of_pool(pool) for pool in task.pools}
    return Measurement(
        names,
        of_class,
        probs.shape[0],
        known,
        positive,
        {
            "preset": preset,
            "n_bins": bins,
            "equal_mass": chosen.equal_mass,
            "top_k": top_k,
            "threshold": threshold,
            "n_bootstrap": n_bootstrap,
            "seed": seed,
        },
        {pool: {k: float(v) for k, v in row.items()} for pool, row in values.items()},
        drawn,
        by_class[0],
        {k: v for k, v in by_class[1].items() if METRICS[k].drawn} if n_bootstrap else {},
        {p: {"positive": e.positive, "decision": e.decision} for p, e in evidence.items()},
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


def pools(groups: Sequence[str], n_classes: int) -> dict[str, Bool[np.ndarray, " classes"]]:
    """``all``, ``base`` (all but new, where there is new) and each group, with their classes."""
    found = {ALL: np.ones(n_classes, dtype=bool)}
    of_class = np.array(groups)
    if "new" in groups and len(set(groups)) > 1:
        found["base"] = of_class != "new"
    order = [g for g in GROUPS if g in groups]
    order += [g for g in dict.fromkeys(groups) if g not in GROUPS]
    return found | {group: of_class == group for group in order}


def bounds(metric: str) -> tuple[float, float]:
    """Smallest and largest value of a metric, derived ones too."""
    if metric in METRICS:
        return METRICS[metric].bounds
    return (-np.inf, np.inf) if metric == "signed_error_slope" else (-1.0, 1.0)


def definitions(metrics: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Of each metric: its definition in words, which way is better, bounds, source."""
    found = {}
    for key in metrics:
        if key in METRICS:
            m = METRICS[key]
            low, high = (None if np.isinf(end) else end for end in m.bounds)
            found[key] = {
                "definition": m.definition,
                "better": m.better,
                "bounds": [low, high],
                "source": m.source,
            }
        elif key in TREND:
            found[key] = {"definition": TREND[key], "better": "zero", "source": "least squares"}
        else:
            of = key.removesuffix("_harmonic")
            found[key] = {
                "definition": f"harmonic mean of {of} of base and new classes",
                "better": METRICS[of].better,
                "source": "Xian et al. 2017",
            }
    return found


def _at_hand(probs: Source) -> Source:
    """Probabilities that are made from scores slice by slice, made once if they are few."""
    few = math.prod(probs.shape) * probs.dtype.itemsize <= SMALL_BYTES
    return probs[:] if few and not isinstance(probs, np.ndarray) else probs


def _pool_values(gathered: Gathered, pool: str) -> dict[str, Any]:
    evidence: Evidence = gathered.of_pool(pool)
    drawn = gathered.precision.ndim > 1
    found = {k: m.value(evidence) for k, m in METRICS.items() if m.drawn or not drawn}
    return {key: value for key, value in found.items() if value is not None}


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


def _entry(value: float, ends: tuple[float, float] | None) -> dict[str, float | None]:
    low, high = ends or (np.nan, np.nan)
    return {"value": _plain(value), "low": _plain(low), "high": _plain(high)}


def _bins_json(bins: ReliabilityBins) -> dict[str, list[Any]]:
    """Count, means, and the frequencies a calibrated model would show in 95 of 100 cases."""
    low, high = consistency_band(bins)
    columns = {"confidence": bins.confidence, "frequency": bins.frequency, "low": low, "high": high}
    count = bins.count.astype(np.int64).tolist()
    return {"count": count} | {k: [_plain(v) for v in c] for k, c in columns.items()}


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
