"""The record of every number about one set of predictions, with intervals and replicates."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int, Int64

from ccr_diag.data.groups import GROUPS
from ccr_diag.errors import BadConfig, nearest
from ccr_diag.metrics.bins import ReliabilityBins
from ccr_diag.metrics.calibration import consistency_band, filled_bins

ALL = "all"


@dataclass(frozen=True, eq=False)
class Measurement:
    """Every number about one set of predictions; NaN where one is undefined.

    Args:
        class_names: of the columns.
        groups: group of each class; empty if there are none.
        n_images: rows.
        n_known: known labels of each class.
        n_positive: positive labels of each class.
        class_counts: training images of each class, if known.
        definitions: what was chosen: preset, bins, k, threshold, replicates, seed.
        values: pool (``all``, ``base``, a group) → metric → value.
        drawn: the same in the bootstrap replicates.
        ends: pool → metric → ends of its 95 % interval, NaN where it has none.
        class_values: metric → value of each class.
        class_drawn: the same in the replicates.
        class_ends: metric → ends of the interval of each class.
        reliability: pool → ``positive``, ``decision`` (bins of equal width) and ``mass_positive``
            (of equal mass).
        class_reliability: bins of equal width of each class, positive.
    """

    class_names: tuple[str, ...]
    groups: tuple[str, ...]
    n_images: int
    n_known: Int64[np.ndarray, " classes"]
    n_positive: Int64[np.ndarray, " classes"]
    class_counts: Int[np.ndarray, " classes"] | None
    definitions: dict[str, Any]
    values: dict[str, dict[str, float]]
    drawn: dict[str, dict[str, Float64[np.ndarray, " replicates"]]]
    ends: dict[str, dict[str, Float64[np.ndarray, " 2"]]]
    class_values: dict[str, Float64[np.ndarray, " classes"]]
    class_drawn: dict[str, Float64[np.ndarray, "classes replicates"]]
    class_ends: dict[str, Float64[np.ndarray, "2 classes"]]
    reliability: dict[str, dict[str, ReliabilityBins]]
    class_reliability: ReliabilityBins

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
        """Its 95 % interval, or None where there is none.

        Of calibration errors by inversion (``inversion.py``), else normal and corrected for bias.
        """
        self.value(metric, group, class_)
        if class_ is None:
            ends = self.ends.get(group, {}).get(metric)
        else:
            ends = (
                self.class_ends[metric][:, self._at(class_)] if metric in self.class_ends else None
            )
        return None if ends is None or np.isnan(ends).any() else (float(ends[0]), float(ends[1]))

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
        mask, values = self.of_pool(pool), self.values[pool]
        ends = [self.ends.get(pool, {}).get(metric, (np.nan, np.nan)) for metric in values]
        metrics = _entries(np.array(list(values.values())), np.array(ends).T)
        return {
            "n_classes": int(mask.sum()),
            "n_known": int(self.n_known[mask].sum()),
            "n_positive": int(self.n_positive[mask].sum()),
            "effective_bins": int(filled_bins(self.reliability[pool]["positive"])),
            "metrics": dict(zip(values, metrics, strict=True)),
            "reliability": {c: _bins_json(bins) for c, bins in self.reliability[pool].items()},
        }

    def _classes_json(self) -> list[dict[str, Any]]:
        columns = {
            metric: _entries(values, self.class_ends.get(metric))
            for metric, values in self.class_values.items()
        }
        bins = _filled_bins_json(self.class_reliability)
        return [
            {
                "name": name,
                "group": self.groups[i] if self.groups else None,
                "n_known": int(self.n_known[i]),
                "n_positive": int(self.n_positive[i]),
                "n_training": None if self.class_counts is None else int(self.class_counts[i]),
                "reliability": bins[i],
                "metrics": {metric: column[i] for metric, column in columns.items()},
            }
            for i, name in enumerate(self.class_names)
        ]


def pools(groups: Sequence[str], n_classes: int) -> dict[str, Bool[np.ndarray, " classes"]]:
    """``all``, ``base`` (all but new, where there is new) and each group, with their classes."""
    found = {ALL: np.ones(n_classes, dtype=bool)}
    of_class = np.array(groups)
    if "new" in groups and len(set(groups)) > 1:
        found["base"] = of_class != "new"
    order = [g for g in GROUPS if g in groups]
    order += [g for g in dict.fromkeys(groups) if g not in GROUPS]
    return found | {group: of_class == group for group in order}


def _entries(
    values: Float64[np.ndarray, " values"], ends: Float64[np.ndarray, "2 values"] | None
) -> list[dict[str, float | None]]:
    """Each value with its interval; none where an end is undefined."""
    both = np.full((2, len(values)), np.nan) if ends is None else ends
    low, high = np.where(np.isnan(both).any(axis=0), np.nan, both)
    columns = (_plain(part) for part in (values, low, high))
    return [{"value": v, "low": a, "high": b} for v, a, b in zip(*columns, strict=True)]


def _bins_json(bins: ReliabilityBins) -> dict[str, list[Any]]:
    """Count, means, and the frequencies a calibrated model would show in 95 of 100 cases."""
    low, high = consistency_band(bins)
    columns = {"confidence": bins.confidence, "frequency": bins.frequency, "low": low, "high": high}
    count = bins.count.astype(np.int64).tolist()
    return {"count": count} | {k: _plain(c) for k, c in columns.items()}


def _filled_bins_json(bins: ReliabilityBins) -> list[dict[str, list[Any]]]:
    """Of each class the bins that hold any entry, by their number from 0."""
    whole = _bins_json(bins)
    found = []
    for i, counts in enumerate(whole["count"]):
        filled = [b for b, count in enumerate(counts) if count]
        found.append({"bin": filled} | {k: [c[i][b] for b in filled] for k, c in whole.items()})
    return found


def _plain(values: Float64[np.ndarray, "*batch values"]) -> list[Any]:
    if values.ndim > 1:
        return [_plain(row) for row in values]
    return [None if v != v else v for v in values.tolist()]  # NaN alone is unlike itself
