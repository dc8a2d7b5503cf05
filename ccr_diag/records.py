"""Measurements and text geometry → the parts of a results file; its layout is in ``results``."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from ccr_diag.arrays import ProbabilityMap
from ccr_diag.associations import associations
from ccr_diag.findings import findings
from ccr_diag.metrics.geometry import TextGeometry
from ccr_diag.metrics.intervals import over_splits
from ccr_diag.metrics.measurement import Measurement
from ccr_diag.metrics.registry import definitions

OVER_SPLITS = "95 % intervals: Student's t over splits"

WRITTEN = {
    "bce": "BCE",
    "asl": "ASL",
    "ccr": "CCR",
    "dor": "DOR",
    "coop": "CoOp",
    "cocoop": "CoCoOp",
    "kgcoop": "KgCoOp",
    "dualcoop": "DualCoOp",
    "clip_adapter": "CLIP-Adapter",
    "tai_dpt": "TaI-DPT",
    "t2i_pal": "T2I-PAL",
}
"""How the words of a method's name are written for readers."""

Plain = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Split:
    """What was measured on one split of one model.

    Args:
        number: of the split.
        map: from scores to probabilities.
        measurement: of the predictions.
        geometry: of the text space, against zero-shot; None of a single class.
        gap: modality gap.
        coordinates: of the classes, in the plane that all models share.
        provenance: where its predictions come from.
    """

    number: int
    map: ProbabilityMap
    measurement: Measurement
    geometry: TextGeometry | None
    gap: float
    coordinates: Float[np.ndarray, "classes 2"]
    provenance: Plain


def interval_said(n_bootstrap: int, seed: int) -> str:
    """What the intervals of a measurement are, in words."""
    if not n_bootstrap:
        return "no intervals, as there were no replicates"
    return (
        f"95 % bootstrap intervals over images ({n_bootstrap} half-samples, seed {seed}): of "
        "calibration errors by test inversion, else normal and corrected for bias"
    )


def definitions_record(measurement: Measurement, *, several_splits: bool = False) -> Plain:
    """What was chosen, how intervals were made, and what each metric is."""
    chosen = measurement.definitions
    drawn = interval_said(chosen["n_bootstrap"], chosen["seed"])
    return chosen | {
        "interval": OVER_SPLITS if several_splits else drawn,
        "metrics": definitions(list(measurement.values["all"])),
    }


def model_record(
    name: str,
    map_: ProbabilityMap | None,
    measurement: Measurement,
    geometry: TextGeometry | None = None,
    provenance: Plain | None = None,
) -> Plain:
    """One model of one measurement.

    Args:
        name: unique among the models.
        map_: how its scores became probabilities, if they did.
        measurement: of its predictions.
        geometry: of its text space, if there is one.
        provenance: where its predictions come from.
    """
    record = {
        "name": name,
        "label": label(name),
        "provenance": provenance or {},
        "map": None if map_ is None else map_.as_dict(),
        "map_rule": None if map_ is None else map_.rule,
        **measurement.to_json(),
        "geometry": {},
        "findings": [_with_nulls(asdict(found)) for found in findings(measurement, geometry)],
        "splits": [],
    }
    return record | {"associations": associations(record)}


def split_model_record(name: str, splits: Sequence[Split]) -> Plain:
    """One model of one or more splits: means over them where there are several."""
    first = splits[0]
    record = model_record(name, first.map, first.measurement, first.geometry, first.provenance)
    whole = [split.measurement.to_json() for split in splits]
    if len(splits) > 1:
        record |= _mean_record(whole)
    summaries = [_geometry_summary(s.geometry, s.gap) for s in splits if s.geometry is not None]
    if summaries:
        means = {key: _mean([summary[key] for summary in summaries]) for key in summaries[0]}
        record["geometry"] = {"summary": means}
    record["splits"] = [_split_record(*pair) for pair in zip(splits, whole, strict=True)]
    return record | {"associations": associations(record)}


def label(name: str) -> str:
    """A model's name as tables and figures show it: ``cocoop bce+ccr`` is “CoCoOp BCE + CCR”."""
    shown = re.sub(r"\w+", lambda word: WRITTEN.get(word[0], word[0]), name.replace("+", " + "))
    return shown[0].upper() + shown[1:]


def _with_nulls(content: Any) -> Any:
    """Undefined numbers at any depth as None."""
    if isinstance(content, dict):
        return {key: _with_nulls(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_with_nulls(value) for value in content]
    return None if isinstance(content, float) and np.isnan(content) else content


def _mean_record(whole: Sequence[Plain]) -> Plain:
    """The numbers of all, each group and each class, averaged over splits."""
    first = whole[0]
    groups = {
        group: pool | {"metrics": _means([split["groups"][group]["metrics"] for split in whole])}
        for group, pool in first["groups"].items()
    }
    classes = [
        entry | {"metrics": _means([split["classes"][i]["metrics"] for split in whole])}
        for i, entry in enumerate(first["classes"])
    ]
    means = _means([split["metrics"] for split in whole])
    return {"metrics": means, "groups": groups, "classes": classes}


def _means(metrics: Sequence[dict[str, Plain]]) -> dict[str, Plain]:
    return {key: _mean([found[key]["value"] for found in metrics]) for key in metrics[0]}


def _mean(values: Sequence[float | None]) -> Plain:
    interval = over_splits(values)
    return {"value": interval.mean, "low": interval.low, "high": interval.high}


def _geometry_summary(geometry: TextGeometry, gap: float) -> dict[str, float | None]:
    found = geometry.summary
    return {
        "ED": found["ED"],
        "NP@5": found["NP"],
        "gap": gap,
        "RBO": found["RBO"],
        "kendall": found["kendall"],
        "delta_ED": found["delta_ED"],
        "pair_drift": found["pair_drift"],
        "effective_rank": found["effective_rank"],
    }


def _split_record(split: Split, measured: Plain) -> Plain:
    return {
        "split": split.number,
        "map": split.map.as_dict(),
        "metrics": _values(measured["metrics"]),
        "reliability": measured["reliability"],
        "groups": {
            group: {"metrics": _values(pool["metrics"]), "reliability": pool["reliability"]}
            for group, pool in measured["groups"].items()
        },
        "classes": [
            {"name": entry["name"], "metrics": _values(entry["metrics"])}
            for entry in measured["classes"]
        ],
        "geometry": {}
        if split.geometry is None
        else {
            "divergence": split.geometry.divergence.tolist(),
            "preservation": split.geometry.preservation.tolist(),
            "gap": split.gap,
            "coordinates_text": split.coordinates.tolist(),
            "text": split.geometry.to_json(),
        },
    }


def _values(metrics: dict[str, Plain]) -> dict[str, float | None]:
    return {key: entry["value"] for key, entry in metrics.items()}
