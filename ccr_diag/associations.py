"""What the signed error of the classes goes with, in each model: frequency, and text geometry.

A model's record flows in; out flow, for each quantity, its value x of every class (null where
there is none) and the line of the signed error on it::

    {"log10_n_training": {"x": […], "fit": {"n", "slope", "slope_low", "slope_high", "intercept",
                                            "x", "y", "low", "high", "pearson", "spearman"}},
     "ED": …, "NP@K": …}

Of several splits, x and signed error are means over them. Classes that were never supervised have
no place in the trend over training images.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ccr_diag.metrics.intervals import over_splits
from ccr_diag.metrics.line_fit import fit_line

FREQUENCY = "log10_n_training"


def associations(model: Mapping[str, Any]) -> dict[str, Any]:
    """The lines of one model.

    Args:
        model: its record, see ``results``.

    Returns:
        Quantity → its values and the fit; only what the model has numbers for.
    """
    error = [entry["metrics"]["signed_error"]["value"] for entry in model["classes"]]
    found = _frequency(model["classes"]) | _geometry(model)
    return {
        name: {"x": x, "fit": fit_line(_array(x), _array(error)).to_json()}
        for name, x in found.items()
    }


def _frequency(classes: Sequence[Mapping[str, Any]]) -> dict[str, list[float | None]]:
    if any(entry["n_training"] is None for entry in classes):
        return {}
    supervised = [entry["group"] != "new" and entry["n_training"] > 0 for entry in classes]
    logs = [
        float(np.log10(entry["n_training"])) if use else None
        for entry, use in zip(classes, supervised, strict=True)
    ]
    return {FREQUENCY: logs}


def _geometry(model: Mapping[str, Any]) -> dict[str, list[float | None]]:
    spaces = [split["geometry"] for split in model["splits"] if split["geometry"]]
    if not spaces:
        return {}
    preserved = next(name for name in model["geometry"]["summary"] if name.startswith("NP@"))
    keys = {"ED": "divergence", preserved: "preservation"}
    return {
        name: [over_splits(values).mean for values in zip(*(s[key] for s in spaces), strict=True)]
        for name, key in keys.items()
    }


def _array(values: Sequence[float | None]) -> Any:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
