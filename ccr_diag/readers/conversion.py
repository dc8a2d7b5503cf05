"""Arrays as they lie in a file → arrays as the predictions record keeps them, or why not."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int8

from ccr_diag.arrays import UNKNOWN
from ccr_diag.checks import count_where, label_fault, not_a_label, place
from ccr_diag.errors import BadPredictions
from ccr_diag.predictions import FLOATS, KINDS


def as_values(kind: str, raw: np.ndarray) -> Float[np.ndarray, "..."]:
    """Values as the record keeps them: cosines in float32, others as they are.

    Raises:
        BadPredictions: they are no floating-point numbers.
    """
    if raw.dtype.name not in FLOATS:
        raise BadPredictions(
            f"{KINDS[kind]} must be floating-point ({', '.join(FLOATS)}), but got {raw.dtype}."
        )
    if kind != "scores":
        return raw
    with np.errstate(over="ignore"):  # too large becomes infinite, which is refused as such
        return raw.astype(np.float32, copy=False)


def as_labels(
    raw: np.ndarray, class_names: Sequence[str] = (), unlisted: str | None = None
) -> Int8[np.ndarray, "..."]:
    """Labels as the record keeps them, int8; what is int8, uint8 or bool is not copied.

    Args:
        raw: labels of any number type.
        class_names: for the text of an error.
        unlisted: ``"unknown"`` if NaN means unknown.

    Raises:
        BadPredictions: they are no numbers, or not all 1, 0 or -1.
    """
    if raw.dtype.kind not in "biuf":
        raise BadPredictions(f"Labels must be numbers, but got {raw.dtype}.")
    if raw.dtype.kind == "f" and unlisted == "unknown":
        raw = np.where(np.isnan(raw), UNKNOWN, raw)
    matrix = raw if raw.ndim == 2 else raw.reshape(1, -1)
    if found := count_where(matrix, not_a_label):  # before narrowing: 257 would become 1
        fault = label_fault(matrix, found, lambda index: place(index, class_names))
        raise BadPredictions(fault)
    if raw.dtype in (np.bool_, np.uint8):
        return raw.view(np.int8)
    return raw.astype(np.int8, copy=False)


def as_texts(key: str, raw: np.ndarray) -> tuple[str, ...]:
    """Names as the record keeps them.

    Raises:
        BadPredictions: they are no text, or have more than one axis.
    """
    if raw.dtype.kind != "U" or raw.ndim != 1:
        raise BadPredictions(
            f"{key} must be a text array of one axis, but got {raw.dtype} of shape {raw.shape}."
        )
    try:
        return tuple(raw.tolist())
    except ValueError as error:  # a number that is no character
        raise BadPredictions(f"{key} must be text, but is damaged ({error}).") from error


def as_columns(raw: dict[str, np.ndarray]) -> dict[str, Any]:
    """``class_counts`` and ``proximity`` as the record keeps them.

    Raises:
        BadPredictions: counts are no whole numbers, or proximities no floating-point ones.
    """
    for key, array in raw.items():
        needed = "iu" if key == "class_counts" else "f"
        if array.dtype.kind not in needed or array.ndim != 1:
            words = "whole" if key == "class_counts" else "floating-point"
            raise BadPredictions(
                f"{key} must be {words} numbers along one axis, "
                f"but got {array.dtype} of shape {array.shape}."
            )
    return dict(raw)
