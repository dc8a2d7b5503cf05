"""Whether predictions of other images may calibrate those of the test images, and both made alike.

The same model read through the same map; the same classes, in any order, in the same groups; and
not one image in common.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from ccr_diag.alignment import in_class_order
from ccr_diag.errors import BadPredictions
from ccr_diag.predictions import Predictions

CALIBRATOR = "calibrator"
"""Key of the provenance under which a calibrator is recorded."""


def bring_together(test: Predictions, calibration: Predictions) -> tuple[Predictions, Predictions]:
    """Both, with the columns of the calibration file in the order of the test file.

    Groups hold for both where only one file has them.

    Raises:
        BadPredictions: the two share images, or differ in classes, groups, map or model.
    """
    calibration = in_class_order(calibration, test.class_names)
    _check_same_map(test, calibration)
    _check_same_model(test, calibration)
    _check_apart(test, calibration)
    groups = _one_grouping(test, calibration)
    return replace(test, groups=groups), replace(calibration, groups=groups)


def _check_same_map(test: Predictions, calibration: Predictions) -> None:
    """A calibrator is fitted on numbers that mean what those of the test file mean."""
    if test.kind != calibration.kind:
        raise BadPredictions(
            "A calibrator must be fitted on the same kind of numbers, but the test file holds "
            f"{test.kind} and the calibration file {calibration.kind}."
        )
    ours, theirs = (
        None if p.map is None else (p.map.scale, p.map.bias) for p in (test, calibration)
    )
    if ours != theirs:
        raise BadPredictions(
            "A calibrator must be fitted under the same probability map, but the scale and bias "
            f"are {ours} in the test file and {theirs} in the calibration file; predict both alike."
        )


def _check_same_model(test: Predictions, calibration: Predictions) -> None:
    """As far as the files say: those that other people wrote are only named after themselves."""
    ours, theirs = test.provenance, calibration.provenance
    if "backbone" in ours and "backbone" in theirs:
        for key in ("model", "split_number", "backbone"):
            if ours.get(key) != theirs.get(key):
                raise BadPredictions(
                    "A calibrator must be fitted on the same model, but the "
                    f"{key.replace('_', ' ')} of the test file is {ours.get(key)} and that of the "
                    f"calibration file {theirs.get(key)}; predict both with one."
                )
    before = _calibrators(ours), _calibrators(theirs)
    if before[0] != before[1]:
        said = [" and ".join(chain) or "none" for chain in before]
        raise BadPredictions(
            "Both files must have gone through the same calibrators before, but the test file went "
            f"through {said[0]} and the calibration file through {said[1]}."
        )


def _calibrators(provenance: dict[str, Any]) -> list[str]:
    """The methods that made a file what it is, the last first."""
    found, record = [], provenance.get(CALIBRATOR)
    while record:
        found.append(str(record["method"]))
        record = record.get("before")
    return found


def _one_grouping(test: Predictions, calibration: Predictions) -> tuple[str, ...]:
    """The groups, which hold for both files where only one has them."""
    groups = test.groups or calibration.groups
    theirs = calibration.groups or groups
    for name, a, b in zip(test.class_names, groups, theirs, strict=False):
        if a != b:
            raise BadPredictions(
                f"Both files must put each class into one group, but {name!r} is {a!r} in the test "
                f"file and {b!r} in the calibration file; state them by --groups."
            )
    return groups


def _check_apart(test: Predictions, calibration: Predictions) -> None:
    """Refuse calibration images that are test images.

    Images are known by their ids; where these say nothing, as a file has none or the two are of
    different data sets, by rows of equal values. Ids are believed over a few equal rows, but not
    over most: those are the same images under other names.
    """
    by_id = test.image_ids and calibration.image_ids and _one_data_set(test, calibration)
    shared = _shared_ids(test, calibration) if by_id else []
    if not shared:
        rows = _shared_rows(test, calibration)
        believed = min(len(test.values), len(calibration.values)) / 2 if by_id else 0
        shared = rows if len(rows) > believed else []
    if shared:
        other = "" if by_id else ", or add image ids if they are other images"
        raise BadPredictions(
            "A calibrator may never see the test images, but the calibration file holds "
            f"{len(shared)} of them, the first being {shared[0]}; choose another split, or "
            f"cross-fit{other}."
        )


def _shared_ids(test: Predictions, calibration: Predictions) -> list[str]:
    held = set(calibration.image_ids)
    return [repr(name) for name in test.image_ids if name in held]


def _shared_rows(test: Predictions, calibration: Predictions) -> list[str]:
    """Test rows whose values the calibration file holds, if they are more than chance makes.

    With few classes and rounded numbers, rows of different images are equal by chance: in two
    files together about as often as within the two.
    """
    shorter = min(test.values.dtype, calibration.values.dtype, key=lambda dtype: dtype.itemsize)
    ours, theirs = _rows(test, shorter), _rows(calibration, shorter)
    repeated = len(test.values) + len(calibration.values) - len(ours) - len(theirs)
    shared = sorted(ours[content] for content in ours.keys() & theirs.keys())
    return [f"row {row} by its values" for row in shared] if len(shared) > 2 * repeated else []


def _one_data_set(test: Predictions, calibration: Predictions) -> bool:
    first, second = (p.provenance.get("data") for p in (test, calibration))
    return first is None or second is None or first == second


def _rows(predictions: Predictions, dtype: "np.dtype[Any]") -> dict[bytes, int]:
    """Each row of values in this precision, as bytes, and where it stands."""
    with np.errstate(over="ignore"):  # beyond half precision: infinite in both files
        values = np.ascontiguousarray(predictions.values, dtype=dtype)
    return {row.tobytes(): i for i, row in enumerate(values)}
