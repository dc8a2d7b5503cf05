"""Two predictions files in, the differences between them out, ready for people and programs.

A, B ──align──► one order ──measure, same draws──► compare ──► Comparison
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ccr_diag.alignment import align
from ccr_diag.errors import BadConfig
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


def compare_predictions(
    a: Predictions,
    b: Predictions,
    metrics: Sequence[str] = (),
    by: By | None = None,
    progress: UnitProgress = silent,
    **options: Any,
) -> Comparison:
    """The difference B − A in every metric asked for.

    Args:
        a: the one.
        b: the other, of the same images, classes and labels in any order.
        metrics: keys of metrics; the columns of the preset when left out.
        by: ``group`` or ``class`` for one row each.
        progress: called with the measurements done and in all.
        **options: of ``measure``.

    Raises:
        BadConfig: a metric that cannot be compared, no groups or no replicates, or options out of
            range.
        BadPredictions: the two are not of the same images, classes, groups or labels.
    """
    for metric in metrics:
        direction(metric)
    a, b = _one_order(a, b)
    if by == "group" and not a.groups:
        raise BadConfig(
            "A comparison by group needs groups, but neither file has them; add --groups."
        )
    measured = []
    for done, predictions in enumerate((a, b), start=1):
        measured.append(measure_predictions(predictions, **options))
        progress(done, 2)
    chosen = dict.fromkeys(metrics or _columns(measured[0], by))
    return Comparison(
        *_names(a, b),
        len(a.values),
        measured[0].definitions,
        tuple(row for m in chosen for row in compare(measured[0], measured[1], m, by)),
    )


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


def _names(a: Predictions, b: Predictions) -> tuple[str, str]:
    first, second = (str(p.provenance["model"]) for p in (a, b))
    return (first, second) if first != second else (f"{first} (A)", f"{second} (B)")
