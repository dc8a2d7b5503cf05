"""Predictions of any number of models in, the results that tables and figures show out.

Predictions ──measure──► Measurement ──findings──► one record a model ──► results (see ``results``)
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ccr_diag.alignment import align
from ccr_diag.differences import differences_over_images
from ccr_diag.embeddings import EMBEDDINGS
from ccr_diag.errors import BadConfig, BadData, BadPredictions
from ccr_diag.metrics.engine import measure_predictions
from ccr_diag.metrics.measurement import Measurement
from ccr_diag.metrics.presets import preset as find_preset
from ccr_diag.metrics.proximity import proximity
from ccr_diag.metrics.registry import definitions
from ccr_diag.npy import Archive, open_npy
from ccr_diag.predictions import Predictions
from ccr_diag.progress import UnitProgress, silent
from ccr_diag.records import definitions_record, model_record
from ccr_diag.results import SCHEMA_VERSION, Results

UNPAIRED = "No differences, as these are not of the same images and labels."


def results_of(
    predictions: Sequence[Predictions],
    progress: UnitProgress = silent,
    **options: Any,
) -> Results:
    """Every number about each of them and of the differences, in the layout of ``results``.

    Images and classes are in the order of the first; where their images or labels are not the same
    there are no differences. Models of the same name are numbered.

    Args:
        predictions: at least one.
        progress: called with the models done and in all.
        **options: of ``measure``.

    Raises:
        BadConfig: an option is out of range.
        BadData: they are not about the same classes in the same groups.
    """
    _check_classes(predictions)
    names = unique_names([str(p.provenance["model"]) for p in predictions])
    ordered, why_not = _in_one_order(predictions)
    measured = []
    for p in ordered:
        measured.append(measure_predictions(p, **options))
        progress(len(measured), len(predictions))
    results = record_of(names, ordered, measured)
    if why_not:
        results["differences"] = {"method": f"{UNPAIRED} {why_not}", "pairs": []}
    else:
        results["differences"] = differences_over_images(dict(zip(names, measured, strict=True)))
    return results


def record_of(
    names: Sequence[str], predictions: Sequence[Predictions], measured: Sequence[Measurement]
) -> Results:
    """What was measured of each, in the layout of ``results``, without differences.

    Args:
        names: of the models, each another.
        predictions: of each.
        measured: of each.
    """
    order = predictions[0].class_names
    metrics = dict.fromkeys(key for m in measured for key in m.values["all"])
    said = definitions_record(measured[0]) | {"metrics": definitions(list(metrics))}
    parts = zip(names, predictions, measured, strict=True)
    return {
        "schema_version": SCHEMA_VERSION,
        "definitions": said,
        "provenance": {},
        "differences": {},
        "models": [_model(*part, order) for part in parts],
    }


def read_features(
    path: Path, image_ids: Sequence[str] | None = None
) -> Float[np.ndarray, "images dim"]:
    """Image features from a ``.npy`` file, or from the ``embeddings`` of an ``.npz`` archive.

    Args:
        path: the file.
        image_ids: of the images that are asked for; where the archive has ids too, its rows are
            taken by them, and else they must be in that order.

    Raises:
        BadPredictions: the file is missing or damaged.
        BadData: it holds no (images, dim) array of floating-point numbers, does not name each row,
            names an image twice, or lacks one.
    """
    ids = None
    if path.suffix == ".npz":
        archive = Archive(path)
        if EMBEDDINGS not in archive:
            raise BadData(f"{path} must hold features as 'embeddings', but does not.")
        features = archive.read(EMBEDDINGS)
        ids = archive.read("image_ids") if "image_ids" in archive else None
    else:
        features = open_npy(path)
    if features.ndim != 2 or features.dtype.kind != "f":
        raise BadData(
            f"{path} must hold floating-point features of shape (images, dim), "
            f"but holds {features.dtype} of shape {features.shape}."
        )
    if ids is None or not image_ids:  # rows that are only numbered
        return features
    if ids.shape != features.shape[:1]:
        raise BadData(
            f"{path} must name each of its {len(features)} rows in 'image_ids', but has an array "
            f"of shape {ids.shape} there; make it anew."
        )
    row = {name: i for i, name in enumerate(ids.tolist())}
    if len(row) < len(ids):
        name, times = Counter(ids.tolist()).most_common(1)[0]
        raise BadData(
            f"{path} must have every image id once, but has {name!r} {times} times; make it anew."
        )
    lacking = [name for name in image_ids if name not in row]
    if lacking:
        raise BadData(
            f"{path} must hold features of every image by its id, but lacks {lacking[0]}; make it "
            "of the same images."
        )
    return features[[row[name] for name in image_ids]]


def with_proximity(
    predictions: Sequence[Predictions],
    features: Float[np.ndarray, "rows dim"],
    preset: str = "textbook",
) -> list[Predictions]:
    """The same predictions with the proximity of each image, which PIECE needs.

    Args:
        predictions: of the same images in the same order.
        features: of these images.
        preset: whose variant of proximity is taken.

    Raises:
        BadConfig: an unknown preset; predictions whose images differ or are in another order.
        BadData: the number of rows, or the features, are wrong.
    """
    chosen = find_preset(preset)
    for p in predictions:
        if len(p.values) != len(features):
            raise BadData(
                f"Features need a row for each of the {len(p.values)} images, "
                f"but there are {len(features)}."
            )
        if p.image_ids != predictions[0].image_ids:
            raise BadConfig(
                "Features belong to images in one order, but the image ids of the predictions "
                "differ; measure those files one by one, each with its own features."
            )
    near = proximity(features, None, chosen.neighbours, chosen.proximity)
    return [replace(p, proximity=near) for p in predictions]


def _model(
    name: str, predictions: Predictions, measured: Measurement, order: tuple[str, ...]
) -> dict[str, Any]:
    record = model_record(name, predictions.map, measured, provenance=predictions.provenance)
    of_class = {entry["name"]: entry for entry in record["classes"]}
    return record | {"label": name, "classes": [of_class[class_] for class_ in order]}


def _in_one_order(predictions: Sequence[Predictions]) -> tuple[list[Predictions], str]:
    """All in the order of the first; as they are, and why, if they cannot be."""
    first, *others = predictions
    try:
        return [first, *(align(first, other) for other in others)], ""
    except BadPredictions as reason:
        return list(predictions), str(reason)


def _check_classes(predictions: Sequence[Predictions]) -> None:
    """The same classes in the same groups, in any order."""
    first, *others = predictions
    group_of = _group_of(first)
    for i, other in enumerate(others, start=2):
        theirs = _group_of(other)
        lost = [name for name in group_of if name not in theirs]
        extra = [name for name in theirs if name not in group_of]
        if lost or extra:
            where = "only in file 1" if lost else f"only in file {i}"
            raise BadData(
                "Files can only be shown side by side if they have the same classes, but "
                f"{(lost or extra)[0]!r} is {where}; measure them one by one."
            )
        moved = [name for name in group_of if group_of[name] != theirs[name]]
        if moved:
            raise BadData(
                "Files can only be shown side by side if each class is in one group, but "
                f"{moved[0]!r} is in {group_of[moved[0]] or 'none'} in file 1 and in "
                f"{theirs[moved[0]] or 'none'} in file {i}; state the groups by --groups."
            )


def _group_of(predictions: Predictions) -> dict[str, str | None]:
    groups = predictions.groups or (None,) * len(predictions.class_names)
    return dict(zip(predictions.class_names, groups, strict=True))


def unique_names(names: Sequence[str]) -> list[str]:
    """The second of a name becomes “name (2)”, and so on."""
    found: list[str] = []
    for name in names:
        tries = (name if i == 1 else f"{name} ({i})" for i in range(1, len(names) + 2))
        found.append(next(t for t in tries if t not in found))
    return found
