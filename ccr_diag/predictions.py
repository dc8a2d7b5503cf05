"""The waist of the flow: scores and labels of images in, one file that explains itself out.

Everything after this file is numpy: no GPU, no weights, no images. A file is an ``.npz`` without
pickled content, so anybody's scores can enter here::

    schema                          1
    scores, labels                  (images, classes)
    class_names, groups, image_ids  arrays of text
    map                             JSON text {"scale": τ, "bias": b, "rule": ...}
    provenance                      JSON text {"model": display name, ...}
"""

import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int8

from ccr_diag.arrays import ABSENT, PRESENT, UNKNOWN, ProbabilityMap, Probs
from ccr_diag.data.groups import GROUPS
from ccr_diag.errors import BadConfig, BadPredictions
from ccr_diag.runs import write_atomically

SCHEMA = 1
KEYS = ("scores", "labels", "class_names", "groups", "image_ids", "map", "provenance")
LABELS = (PRESENT, ABSENT, UNKNOWN)
COSINE_SLACK = 1e-3  # a cosine from half precision may lie this far outside [-1, 1]


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model said about labelled images.

    Args:
        scores: (images, classes), float32 cosines.
        labels: (images, classes), int8: 1 present, 0 absent, -1 unknown.
        class_names: one per column, unique.
        groups: one per column, from ``GROUPS``.
        map: how scores become probabilities.
        image_ids: one per row, unique.
        provenance: JSON values about the origin; ``"model"`` is the display name.

    Raises:
        BadPredictions: any of these rules is broken.
    """

    scores: Float[np.ndarray, "..."]  # any shape: a wrong one is refused below, in words
    labels: Int8[np.ndarray, "..."]
    class_names: tuple[str, ...]
    groups: tuple[str, ...]
    map: ProbabilityMap
    image_ids: tuple[str, ...]
    provenance: dict[str, Any]

    def __post_init__(self) -> None:
        fault = next(self._faults(), None)
        if fault:
            raise BadPredictions(fault)

    @property
    def probabilities(self) -> Probs:
        """The map applied to the scores, in float64."""
        return self.map.probabilities(self.scores)

    def with_map(self, probability_map: ProbabilityMap) -> "Predictions":
        """The same scores under another probability map."""
        return replace(self, map=probability_map)

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            RunFailed: no space is left.
        """
        content = {
            "schema": np.array(SCHEMA),
            "scores": self.scores,
            "labels": self.labels,
            "class_names": np.array(self.class_names),
            "groups": np.array(self.groups),
            "image_ids": np.array(self.image_ids),
            "map": np.array(json.dumps(self.map.as_dict())),
            "provenance": np.array(json.dumps(self.provenance)),
        }

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:  # an open file: numpy would add .npz to a name
                np.savez(file, allow_pickle=False, **content)

        write_atomically(path, write)

    def _faults(self) -> Iterator[str]:
        """The broken rules, each looked for only when those before it hold."""
        yield from self._shape_faults()
        yield from _duplicates("Class names", self.class_names)
        yield from _duplicates("Image ids", self.image_ids)
        foreign = sorted(set(self.groups) - set(GROUPS))
        if foreign:
            yield f"Each group must be one of {', '.join(GROUPS)}, but got {foreign[0]!r}."
        wild = np.count_nonzero(~np.isfinite(self.scores))
        if wild:
            yield f"Scores must be finite, but {wild} are NaN or infinite; leave those images out."
        low, high = float(self.scores.min()), float(self.scores.max())
        if max(-low, high) > 1 + COSINE_SLACK:
            yield (
                f"Scores must be cosines in [-1, 1], but they span [{low:g}, {high:g}]; "
                "divide logits by their scale and put it into the probability map."
            )
        if not np.isin(self.labels, LABELS).all():
            yield _label_fault(self.labels)
        if not isinstance(self.provenance.get("model"), str):
            yield "The provenance must name its 'model' in text; add that key."

    def _shape_faults(self) -> Iterator[str]:
        shape = self.scores.shape
        if self.scores.dtype != np.float32:
            yield f"Scores must be float32, but got {self.scores.dtype}; convert them."
        if len(shape) != 2 or not self.scores.size:
            yield f"Scores must have shape (images, classes), neither 0, but got {shape}."
        if self.labels.shape != shape:
            yield f"Labels must have the shape {shape} of the scores, but got {self.labels.shape}."
        for field, axis in (("class_names", 1), ("groups", 1), ("image_ids", 0)):
            entries = len(getattr(self, field))
            if entries != shape[axis]:
                yield (
                    f"Scores of shape {shape} need {shape[axis]} {field}, but {entries} came; "
                    "check their number and order."
                )


def _duplicates(what: str, names: Sequence[str]) -> Iterator[str]:
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        yield f"{what} must be unique, but {name!r} comes {times} times; rename all but one."


def _label_fault(labels: np.ndarray) -> str:
    bad = labels[~np.isin(labels, LABELS)].flat[0]
    return f"Labels must be 1 (present), 0 (absent) or -1 (unknown), but got {bad}; recode them."


def load_predictions(path: Path) -> Predictions:
    """Read and check a predictions file; nothing in it is ever executed.

    Scores of any float type become float32, labels of any number type int8.

    Raises:
        BadPredictions: the file is missing, damaged, of another version, or breaks a rule.
    """
    content = _read(path)
    try:
        return Predictions(
            scores=_float_scores(content["scores"]),
            labels=_small_labels(content["labels"]),
            class_names=_texts("class_names", content["class_names"]),
            groups=_texts("groups", content["groups"]),
            map=_probability_map(_json("map", content["map"])),
            image_ids=_texts("image_ids", content["image_ids"]),
            provenance=_json("provenance", content["provenance"]),
        )
    except BadPredictions as error:
        raise BadPredictions(f"{path}: {error}") from error


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise BadPredictions(f"There is no predictions file at {path}; check the path.")
    if not zipfile.is_zipfile(path):
        raise BadPredictions(f"{path} must be an .npz archive, but is something else or cut short.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [key for key in ("schema", *KEYS) if key not in archive]
            if missing:
                raise BadPredictions(
                    f"{path} lacks {', '.join(missing)}; a predictions file holds schema, "
                    f"{', '.join(KEYS)}."
                )
            if archive["schema"].tolist() != SCHEMA:
                raise BadPredictions(
                    f"{path} must have schema {SCHEMA}, but has {archive['schema'].tolist()}; "
                    "read it with the version of ccr-diag that wrote it."
                )
            return {key: np.asarray(archive[key]) for key in KEYS}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BadPredictions(
            f"{path} must hold plain arrays, but is damaged or holds pickled objects ({error}); "
            "write it again."
        ) from error


def _float_scores(raw: np.ndarray) -> np.ndarray:
    if raw.dtype.kind != "f":
        raise BadPredictions(f"Scores must be floating-point cosines, but got {raw.dtype}.")
    with np.errstate(over="ignore"):  # too large becomes infinite, which is refused as such
        return raw.astype(np.float32)


def _small_labels(raw: np.ndarray) -> np.ndarray:
    if raw.dtype.kind not in "biuf":
        raise BadPredictions(f"Labels must be numbers, but got {raw.dtype}.")
    if not np.isin(raw, LABELS).all():
        raise BadPredictions(_label_fault(raw))  # before narrowing: 257 would become 1
    return raw.astype(np.int8)


def _texts(key: str, raw: np.ndarray) -> tuple[str, ...]:
    if raw.dtype.kind != "U" or raw.ndim != 1:
        raise BadPredictions(
            f"{key} must be a text array of one axis, but got {raw.dtype} of shape {raw.shape}."
        )
    return tuple(raw.tolist())


def _json(key: str, raw: np.ndarray) -> dict[str, Any]:
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
