"""The table of metrics: predictions in, every number for every group of classes out, as one record.

``METRICS`` says of each what it is computed from, which way is better, its bounds and its source;
tables, figures and tests read it from there.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool

from ccr_diag.arrays import PRESENT, UNKNOWN
from ccr_diag.data.groups import GROUPS
from ccr_diag.metrics import calibration, discrimination
from ccr_diag.metrics.binning import ReliabilityBins, reliability_tables
from ccr_diag.predictions import Predictions


@dataclass(frozen=True)
class Metric:
    """One number about a group of classes.

    Args:
        function: what it needs → value; NaN where undefined.
        needs: ``positive`` or ``decision`` (the pooled bins of that convention), ``confusion``
            (counts of decisions) or ``precision`` (average precision per class).
        better: which way is good.
        bounds: smallest and largest value.
        source: where the definition comes from.
    """

    function: Callable[[Any], float]
    needs: Literal["positive", "decision", "confusion", "precision"]
    better: Literal["lower", "higher", "zero"]
    bounds: tuple[float, float]
    source: str


_NAEINI = "Naeini et al. 2015"

METRICS = {
    "ece_positive": Metric(calibration.ece, "positive", "lower", (0.0, 1.0), _NAEINI),
    "ece_decision": Metric(calibration.ece, "decision", "lower", (0.0, 1.0), "Guo et al. 2017"),
    "mce": Metric(calibration.mce, "positive", "lower", (0.0, 1.0), _NAEINI),
    "mce_weighted": Metric(
        calibration.weighted_mce, "positive", "lower", (0.0, 1.0), "code of ProCal and DAC"
    ),
    "signed_error": Metric(calibration.signed_error, "positive", "zero", (-1.0, 1.0), "Cox 1958"),
    "mAP": Metric(
        discrimination.mean_average_precision, "precision", "higher", (0.0, 1.0), "scikit-learn"
    ),
    "accuracy": Metric(
        discrimination.accuracy, "confusion", "higher", (0.0, 1.0), "element-wise at p ≥ 0.5"
    ),
    "accuracy_balanced": Metric(
        discrimination.balanced_accuracy, "confusion", "higher", (0.0, 1.0), "Brodersen et al. 2010"
    ),
    "f1_macro": Metric(
        discrimination.f1_macro, "confusion", "higher", (0.0, 1.0), "CF1 as mean of per-class F1"
    ),
    "f1_micro": Metric(discrimination.f1_micro, "confusion", "higher", (0.0, 1.0), "OF1"),
}


@dataclass(frozen=True)
class ClassRow:
    """One class: its labels and its own numbers (positive convention; NaN where undefined)."""

    name: str
    group: str
    n_positive: int
    n_known: int
    ece: float
    signed_error: float
    ap: float


@dataclass(frozen=True, eq=False)
class Measurements:
    """Every number about one set of predictions.

    Args:
        values: group → metric → value; groups without classes are left out, NaN means undefined.
        reliability: group → all bins, positive convention.
        per_class: one row per class, in the order of the predictions.
    """

    values: dict[str, dict[str, float]]
    reliability: dict[str, ReliabilityBins]
    per_class: tuple[ClassRow, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values; undefined becomes null."""
        bins = {
            group: {name: column.tolist() for name, column in vars(pooled).items()}
            for group, pooled in self.reliability.items()
        }
        rows = [asdict(row) for row in self.per_class]
        plain: dict[str, Any] = _nan_to_none(
            {"values": self.values, "reliability": bins, "per_class": rows}
        )
        return plain

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Measurements":
        """The record that ``to_json`` wrote."""
        content = _none_to_nan(content)
        return cls(
            content["values"],
            {
                group: ReliabilityBins(
                    np.array(bins["count"], dtype=np.int64),
                    np.array(bins["confidence"], dtype=np.float64),
                    np.array(bins["frequency"], dtype=np.float64),
                )
                for group, bins in content["reliability"].items()
            },
            tuple(ClassRow(**row) for row in content["per_class"]),
        )


def group_masks(groups: tuple[str, ...]) -> dict[str, Bool[np.ndarray, " classes"]]:
    """Which classes are in all, base (not new), head, medium, tail, new; empty groups left out."""
    of_class = np.array(groups)
    masks = {"all": of_class != "", "base": of_class != "new"}
    masks |= {group: of_class == group for group in GROUPS}
    return {group: mask for group, mask in masks.items() if mask.any()}


def measure(predictions: Predictions, n_bins: int = 15) -> Measurements:
    """Every metric for every group of classes.

    Args:
        predictions: scores, labels and their probability map.
        n_bins: bins of equal width for the calibration errors.

    Raises:
        BadConfig: fewer than 1 bin.
    """
    probabilities, labels = predictions.probabilities, predictions.labels
    tables = reliability_tables(probabilities, labels, n_bins)
    confusion = discrimination.count_decisions(probabilities, labels)
    precision = discrimination.average_precision(predictions.scores, labels)

    def evidence(classes: Bool[np.ndarray, " classes"]) -> dict[str, Any]:
        pooled = {convention: table.pooled(classes) for convention, table in tables.items()}
        return pooled | {"confusion": confusion.of(classes), "precision": precision[classes]}

    groups = {name: evidence(mask) for name, mask in group_masks(predictions.groups).items()}
    single = [tables["positive"].pooled(one) for one in np.eye(labels.shape[1], dtype=bool)]
    rows = zip(
        predictions.class_names, predictions.groups, labels.T, single, precision, strict=True
    )
    return Measurements(
        {
            name: {metric: m.function(found[m.needs]) for metric, m in METRICS.items()}
            for name, found in groups.items()
        },
        {name: found["positive"] for name, found in groups.items()},
        tuple(
            ClassRow(
                name,
                group,
                int(np.count_nonzero(y == PRESENT)),
                int(np.count_nonzero(y != UNKNOWN)),
                calibration.ece(bins),
                calibration.signed_error(bins),
                float(ap),
            )
            for name, group, y, bins, ap in rows
        ),
    )


def _nan_to_none(value: Any) -> Any:
    return _replace(value, lambda leaf: isinstance(leaf, float) and math.isnan(leaf), None)


def _none_to_nan(value: Any) -> Any:
    return _replace(value, lambda leaf: leaf is None, math.nan)


def _replace(value: Any, chosen: Callable[[Any], bool], new: float | None) -> Any:
    """Nested plain values with the chosen leaves replaced."""
    if isinstance(value, dict):
        return {key: _replace(entry, chosen, new) for key, entry in value.items()}
    if isinstance(value, list):
        return [_replace(entry, chosen, new) for entry in value]
    return new if chosen(value) else value
