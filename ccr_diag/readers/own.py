"""Our own predictions file → predictions; nothing in it is ever executed."""

import json
from pathlib import Path
from typing import Any

from ccr_diag.arrays import ProbabilityMap
from ccr_diag.errors import BadConfig, BadPredictions
from ccr_diag.npy import Archive
from ccr_diag.predictions import KEYS, KINDS, OPTIONAL, SCHEMA, Predictions
from ccr_diag.readers.conversion import as_columns, as_labels, as_texts, as_values


def load_predictions(path: Path, mmap: bool = False) -> Predictions:
    """Read and check a predictions file.

    Scores of any float type become float32, labels of any number type int8; with ``mmap``, arrays
    that need no change stay in the file.

    Raises:
        BadPredictions: the file is missing, damaged, of another version, or breaks a rule.
    """
    archive = Archive(path)
    kind = _check_keys(archive)
    array = archive.map if mmap else archive.read
    optional = {key: archive.read(key) for key in OPTIONAL if key in archive}
    try:
        names = as_texts("class_names", archive.read("class_names"))
        return Predictions(
            values=as_values(kind, array(kind)),
            labels=as_labels(array("labels"), names),
            class_names=names,
            groups=as_texts("groups", archive.read("groups")),
            map=None if kind == "probs" else _probability_map(_json(archive, "map")),
            image_ids=as_texts("image_ids", archive.read("image_ids")),
            provenance=_json(archive, "provenance"),
            kind=kind,
            **as_columns(optional),
        )
    except BadPredictions as error:
        raise BadPredictions(f"{path}: {error}") from error


def _check_keys(archive: Archive) -> str:
    """The kind of a predictions file that has all it needs."""
    kinds = [kind for kind in KINDS if kind in archive]
    needed = ("schema", *KEYS) if kinds == ["probs"] else ("schema", *KEYS, "map")
    missing = [key for key in needed if key not in archive]
    if len(kinds) != 1 or missing:
        lacks = ", ".join(missing if len(kinds) == 1 else [" or ".join(KINDS), *missing])
        raise BadPredictions(
            f"{archive.path} lacks {lacks}; a predictions file holds one of {', '.join(KINDS)}, "
            f"and {', '.join(needed)}."
        )
    if (schema := archive.read("schema").tolist()) != SCHEMA:
        raise BadPredictions(
            f"{archive.path} must have schema {SCHEMA}, but has {schema}; "
            "read it with the version of ccr-diag that wrote it."
        )
    return kinds[0]


def _json(archive: Archive, key: str) -> dict[str, Any]:
    raw = archive.read(key)
    try:
        value = json.loads(str(raw))
    except json.JSONDecodeError as error:
        raise BadPredictions(f"{key} must be JSON, but it is not ({error}).") from error
    if not isinstance(value, dict):
        raise BadPredictions(f"{key} must be a JSON object, but got {value!r}.")
    return value


def _probability_map(fields: dict[str, Any]) -> ProbabilityMap:
    try:
        return ProbabilityMap(float(fields["scale"]), float(fields["bias"]), str(fields["rule"]))
    except (KeyError, TypeError, ValueError, BadConfig) as error:
        raise BadPredictions(
            f"map must hold a valid scale, bias and rule, but got {fields} ({error})."
        ) from error
