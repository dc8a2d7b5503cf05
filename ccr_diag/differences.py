"""Measurements of several models in, what differs between them out: ``differences`` of results.

Each pair of models is compared on the same images: by the paired bootstrap where a model was
measured once, over splits where it was measured on several.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from ccr_diag.metrics import comparison, split_comparison
from ccr_diag.metrics.comparison import By, Difference
from ccr_diag.metrics.measurement import ALL, Measurement
from ccr_diag.metrics.presets import preset

Plain = dict[str, Any]
Compare = Callable[[str, By | None], list[Difference]]

ALWAYS = ("ece_positive", "ece_decision", "signed_error", "map", "nll", "brier")
"""Compared whatever the columns of the preset."""

MOST_MODELS = 12
"""More are not compared each with each other, but each with the first."""

ROW = ("metric", "group", "a", "b", "difference", "low", "high", "p", "p_holm", "verdict")
ROWS_SAID = (
    "Difference and verdict are of the second of a pair against the first. All classes are one row "
    "of a metric; base and the groups are corrected together; pairs are not."
)


def differences_over_images(measured: Mapping[str, Measurement]) -> Plain:
    """The differences of models that were measured once each.

    Args:
        measured: name → measurement; of the same images in one order, with the same seed.

    Returns:
        As in ``results``; nothing of one model, or without replicates.
    """
    names = list(measured)
    if len(names) < 2 or not measured[names[0]].drawn:
        return {}

    def rows(a: str, b: str) -> list[Plain]:
        return rows_over_images(
            measured[a], measured[b], compared_metrics(measured[a], measured[b])
        )

    found = [(a, b, rows(a, b)) for a, b in _pairs(names)]
    return _record([comparison.METHOD], len(names), found)


def differences_over_splits(measured: Mapping[str, Mapping[int, Measurement]]) -> Plain:
    """The differences of models that were measured on several splits, or on one each.

    Args:
        measured: name → number of the split → measurement, the first of each with replicates.

    Returns:
        As in ``results``; nothing of one model, or without replicates.
    """
    if all(len(splits) == 1 for splits in measured.values()):
        alone = {name: next(iter(splits.values())) for name, splits in measured.items()}
        return differences_over_images(alone)
    names = list(measured)
    if len(names) < 2 or not any(m.drawn for m in measured[names[0]].values()):
        return {}
    found, apart = [], []
    for a, b in _pairs(names):
        common = [number for number in measured[a] if number in measured[b]]
        if len(common) < 2:
            apart.append(f"{a} and {b}")
            continue
        first, second = ([measured[name][number] for number in common] for name in (a, b))
        found.append((a, b, _rows_over_splits(first, second)))
    method = [split_comparison.METHOD]
    if apart:
        method.append(f"Not compared, as they have no two splits in common: {', '.join(apart)}.")
    return _record(method, len(names), found)


def compared_metrics(a: Measurement, b: Measurement) -> list[str]:
    """The metrics that are compared in any case, of those that both have."""
    columns = preset(a.definitions["preset"]).columns
    there = a.values[ALL].keys() & b.values[ALL].keys()
    return [key for key in dict.fromkeys([*columns, *ALWAYS]) if key in there]


def rows_over_images(a: Measurement, b: Measurement, metrics: Sequence[str]) -> list[Plain]:
    """Of each metric the row of all classes, then those of base and the groups, if there are any.

    Args:
        a: the one.
        b: the other.
        metrics: keys of metrics.
    """
    return _rows(a, metrics, lambda metric, by: comparison.compare(a, b, metric, by))


def _rows_over_splits(a: Sequence[Measurement], b: Sequence[Measurement]) -> list[Plain]:
    return _rows(
        a[0],
        compared_metrics(a[0], b[0]),
        lambda metric, by: split_comparison.compare_splits(a, b, metric, by),
    )


def _rows(a: Measurement, metrics: Sequence[str], compare: Compare) -> list[Plain]:
    kinds: tuple[By | None, ...] = (None, "group") if len(a.values) > 1 else (None,)
    return [row_record(row) for m in metrics for by in kinds for row in compare(m, by)]


def _pairs(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    if len(names) > MOST_MODELS:
        return ((names[0], other) for other in names[1:])
    return combinations(names, 2)


def _record(
    method: list[str], n_models: int, found: Sequence[tuple[str, str, list[Plain]]]
) -> Plain:
    said = [*method, ROWS_SAID]
    if n_models > MOST_MODELS:
        said.append(
            f"Of {n_models} models, more than {MOST_MODELS}, each is compared with the first."
        )
    return {
        "method": " ".join(said),
        "pairs": [{"a": a, "b": b, "rows": rows} for a, b, rows in found],
    }


def row_record(row: Difference) -> Plain:
    """One row as results hold it; undefined numbers are None."""
    whole = row.to_json()
    return {key: whole[key] for key in ROW}
