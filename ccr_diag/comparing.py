"""Two predictions files in, the differences between them out, ready for people and programs.

A, B ──align──► one order ──measure, same draws──► compare ──► Comparison
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ccr_diag.alignment import align
from ccr_diag.errors import BadConfig
from ccr_diag.measuring import unique_names
from ccr_diag.metrics.comparison import METHOD, By, Difference, compare, direction
from ccr_diag.metrics.engine import measure_predictions
from ccr_diag.metrics.measurement import Measurement
from ccr_diag.metrics.presets import preset
from ccr_diag.metrics.registry import definitions
from ccr_diag.predictions import Predictions
from ccr_diag.progress import UnitProgress, silent

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Comparison:
    """B against A.

    Args:
        a: display name of the one.
        b: display name of the other.
        n_images: images of both.
        options: how both were measured.
        differences: one a metric and row.
    """

    a: str
    b: str
    n_images: int
    options: dict[str, Any]
    differences: tuple[Difference, ...]

    def to_json(self) -> dict[str, Any]:
        """Schema version, what was measured how, and every number."""
        metrics = list(dict.fromkeys(row.metric for row in self.differences))
        return {
            "schema_version": SCHEMA_VERSION,
            "definitions": {
                **self.options,
                "method": METHOD,
                "metrics": definitions(metrics),
            },
            "a": self.a,
            "b": self.b,
            "n_images": self.n_images,
            "differences": [row.to_json() for row in self.differences],
        }


@dataclass(frozen=True, eq=False)
class MeasuredPair:
    """Two predictions of the same images, measured alike.

    Args:
        names: of A and B.
        predictions: in one order of images and classes.
        measured: with the same seed.
    """

    names: tuple[str, str]
    predictions: tuple[Predictions, Predictions]
    measured: tuple[Measurement, Measurement]

    def comparison(self, metrics: Sequence[str] = (), by: By | None = None) -> Comparison:
        """B against A, in the metrics asked for; the columns of the preset when left out.

        Raises:
            BadConfig: a metric that was not measured, no groups or no replicates.
        """
        chosen = dict.fromkeys(metrics or _columns(self.measured[0], by))
        return Comparison(
            *self.names,
            self.measured[0].n_images,
            self.measured[0].definitions,
            tuple(row for m in chosen for row in compare(*self.measured, m, by)),
        )


def measure_pair(
    a: Predictions,
    b: Predictions,
    metrics: Sequence[str] = (),
    by: By | None = None,
    progress: UnitProgress = silent,
    **options: Any,
) -> MeasuredPair:
    """Both, in one order, with the same draws.

    Args:
        a: the one.
        b: the other, of the same images, classes and labels in any order.
        metrics: that will be compared, to refuse what cannot be before the work.
        by: what they will be compared by, for the same reason.
        progress: called with the measurements done and in all.
        **options: of ``measure``.

    Raises:
        BadConfig: a metric that cannot be compared, no groups, or options out of range.
        BadPredictions: the two are not of the same images, classes, groups or labels.
    """
    for metric in metrics:
        direction(metric)
    a, b = _one_order(a, b)
    if by == "group" and not a.groups:
        raise BadConfig(
            "A comparison by group needs groups, but neither file has them; add --groups."
        )
    first = measure_predictions(a, **options)
    progress(1, 2)
    second = measure_predictions(b, **options)
    progress(2, 2)
    name_a, name_b = unique_names([str(p.provenance["model"]) for p in (a, b)])
    return MeasuredPair((name_a, name_b), (a, b), (first, second))


def compare_predictions(
    a: Predictions,
    b: Predictions,
    metrics: Sequence[str] = (),
    by: By | None = None,
    progress: UnitProgress = silent,
    **options: Any,
) -> Comparison:
    """The difference B − A in every metric asked for; see ``measure_pair``.

    Args:
        a: the one.
        b: the other.
        metrics: keys of metrics; the columns of the preset when left out.
        by: ``group`` or ``class`` for one row each.
        progress: called with the measurements done and in all.
        **options: of ``measure``.
    """
    return measure_pair(a, b, metrics, by, progress, **options).comparison(metrics, by)


def _one_order(a: Predictions, b: Predictions) -> tuple[Predictions, Predictions]:
    """Both in the order of ``a``; groups and class counts hold for both where only one has them."""
    b = align(a, b)
    groups = a.groups or b.groups
    for name, first, second in zip(a.class_names, groups, b.groups or groups, strict=False):
        if first != second:
            raise BadConfig(
                f"Both files must put each class into one group, but {name!r} is {first!r} in the "
                f"first and {second!r} in the second; state them by --groups."
            )
    counts = b.class_counts if a.class_counts is None else a.class_counts
    shared: dict[str, Any] = {"groups": groups, "class_counts": counts}
    return replace(a, **shared), replace(b, **shared)


def _columns(measured: Measurement, by: By | None) -> list[str]:
    there = measured.class_values if by == "class" else measured.values["all"]
    return [key for key in preset(measured.definitions["preset"]).columns if key in there]
