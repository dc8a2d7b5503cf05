"""The waist of the flow: what a model said about labelled images, one file that explains itself.

Everything after this file is numpy: no GPU, no weights, no images. A file is an ``.npz`` without
pickled content; the name of its first array says what the numbers are::

    schema                          1
    scores | logits | probs         (images, classes): cosines, logits or probabilities
    labels                          (images, classes)
    class_names, groups, image_ids  arrays of text; the last two may be empty
    map                             JSON text {"scale": τ, "bias": b, "rule": ...}; not for probs
    provenance                      JSON text {"model": display name, ...}
    class_counts, proximity         optional, one number a class and one an image

Files come in through ``readers``, this one and other people's.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int, Int8
from scipy.special import logit

from ccr_diag.arrays import MappedBlocks, ProbabilityMap, Source, stored_source
from ccr_diag.checks import (
    blocks,
    count_where,
    duplicates,
    label_fault,
    not_a_label,
    not_finite,
    place,
)
from ccr_diag.data.groups import GROUPS
from ccr_diag.errors import BadConfig, BadPredictions
from ccr_diag.runs import write_atomically

SCHEMA = 1
KINDS = {"scores": "Scores", "logits": "Logits", "probs": "Probabilities"}
KEYS = ("labels", "class_names", "groups", "image_ids", "provenance")
FLOATS = ("float16", "float32", "float64")
OPTIONAL = ("class_counts", "proximity")
COSINE_SLACK = 1e-3  # a cosine from half precision may lie this far outside [-1, 1]
LIMITS = {
    "scores": (-1 - COSINE_SLACK, 1 + COSINE_SLACK),
    "logits": (-np.inf, np.inf),
    "probs": (0.0, 1.0),
}


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model said about labelled images.

    The arrays may be memory maps larger than memory.

    Args:
        values: (images, classes): float32 cosines, or logits or probabilities as float16, float32
            or float64.
        labels: (images, classes), int8: 1 present, 0 absent, -1 unknown.
        class_names: one per column, unique.
        groups: one per column, from ``GROUPS``; empty if there are none.
        map: how values become probabilities; None for probabilities.
        image_ids: one per row, unique; empty if the rows are only numbered.
        provenance: JSON values about the origin; ``"model"`` is the display name.
        kind: what the values are, a key of ``KINDS``.
        class_counts: in how many training images each class is present, if known.
        proximity: how near each image is to its neighbours among the features, if known.

    Raises:
        BadPredictions: any of these rules is broken.
    """

    values: Float[np.ndarray, "..."]  # any shape: a wrong one is refused below, in words
    labels: Int8[np.ndarray, "..."]
    class_names: tuple[str, ...]
    groups: tuple[str, ...]
    map: ProbabilityMap | None
    image_ids: tuple[str, ...]
    provenance: dict[str, Any]
    kind: str = "scores"
    class_counts: Int[np.ndarray, "..."] | None = None
    proximity: Float[np.ndarray, "..."] | None = None

    def __post_init__(self) -> None:
        fault = next(self._faults(), None)
        if fault:
            raise BadPredictions(fault)

    @property
    def probability_source(self) -> Source:
        """Probabilities to be read slice by slice.

        The stored array itself where it holds probabilities, else float64 made from the slice.
        """
        if self.map is None:
            return stored_source(self.values)
        return MappedBlocks(self.values, self.map)

    @property
    def probabilities(self) -> Float[np.ndarray, "images classes"]:
        """All of ``probability_source``."""
        return self.probability_source[:]

    @property
    def logits(self) -> Float64[np.ndarray, "images classes"]:
        """By the stored map; infinite for p = 0 and 1, of which σ makes 0 and 1 again."""
        if self.map is None:
            return np.asarray(logit(np.asarray(self.values, dtype=np.float64)))
        return np.asarray(self.map.logits(self.values), dtype=np.float64)

    @property
    def ranking(self) -> Source:
        """What orders images within a class, unrounded by any map: the stored values."""
        return stored_source(self.values)

    def with_map(self, probability_map: ProbabilityMap) -> "Predictions":
        """The same scores or logits under another probability map.

        Raises:
            BadConfig: these are probabilities, which no map applies to.
        """
        if self.map is None:
            raise BadConfig(
                "A scale or bias needs scores or logits, but these are probabilities; "
                "leave it out, or store the logits."
            )
        return replace(self, map=probability_map)

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            RunFailed: no space is left.
        """
        content = {
            "schema": np.array(SCHEMA),
            self.kind: self.values,
            "labels": self.labels,
            "class_names": np.array(self.class_names, dtype=np.str_),
            "groups": np.array(self.groups, dtype=np.str_),
            "image_ids": np.array(self.image_ids, dtype=np.str_),
            "provenance": np.array(json.dumps(self.provenance)),
        }
        if self.map is not None:
            content["map"] = np.array(json.dumps(self.map.as_dict()))
        optional = {"class_counts": self.class_counts, "proximity": self.proximity}
        content |= {key: array for key, array in optional.items() if array is not None}

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:  # an open file: numpy would add .npz to a name
                np.savez(file, allow_pickle=False, **content)

        write_atomically(path, write)

    def _faults(self) -> Iterator[str]:
        """The broken rules, each looked for only when those before it hold."""
        yield from self._kind_faults()
        yield from self._shape_faults()
        yield from duplicates("Class names", self.class_names)
        yield from duplicates("Image ids", self.image_ids)
        foreign = sorted(set(self.groups) - set(GROUPS))
        if foreign:
            yield f"Each group must be one of {', '.join(GROUPS)}, but got {foreign[0]!r}."
        yield from self._value_faults()
        if count := count_where(self.labels, not_a_label):
            yield label_fault(self.labels, count, self._place)
        if not isinstance(self.provenance.get("model"), str):
            yield "The provenance must name its 'model' in text; add that key."

    def _kind_faults(self) -> Iterator[str]:
        if self.kind not in KINDS:
            yield f"The kind must be one of {', '.join(KINDS)}, but got {self.kind!r}."
        if (self.map is None) != (self.kind == "probs"):
            need = "no probability map" if self.map else "a probability map"
            yield f"{KINDS[self.kind]} take {need}, but the map is {self.map}."
        allowed = ("float32",) if self.kind == "scores" else FLOATS
        if self.values.dtype.name not in allowed:
            yield (
                f"{KINDS[self.kind]} must be {' or '.join(allowed)}, "
                f"but got {self.values.dtype}; convert them."
            )

    def _shape_faults(self) -> Iterator[str]:
        what, shape = KINDS[self.kind], self.values.shape
        if len(shape) != 2 or not self.values.size:
            yield f"{what} must have shape (images, classes), neither 0, but got {shape}."
        if self.labels.shape != shape:
            yield (
                f"Labels must have the shape {shape} of the {what.lower()}, "
                f"but got {self.labels.shape}."
            )
        for field, axis, optional in FIELDS:
            column = getattr(self, field)
            entries = 0 if column is None else len(column)
            if entries != shape[axis] and not (optional and entries == 0):
                yield (
                    f"{what} of shape {shape} need {shape[axis]} {field}, but {entries} came; "
                    "check their number and order."
                )
        if self.class_counts is not None and (self.class_counts < 0).any():
            yield f"class_counts must be 0 or more, but got {self.class_counts.min()}."
        if self.proximity is not None and not np.isfinite(self.proximity).all():
            yield "proximity must be finite, but holds NaN or infinite values; leave it out."

    def _value_faults(self) -> Iterator[str]:
        what, (low, high) = KINDS[self.kind], LIMITS[self.kind]
        if wild := count_where(self.values, not_finite):
            yield (
                f"{what} must be finite, but {wild[0]} are NaN or infinite, the first at "
                f"{self._place(wild[1])}; leave those images out."
            )
        if outside := count_where(self.values, lambda v: (v < low) | (v > high)):
            ends = [(float(block.min()), float(block.max())) for block in blocks(self.values)]
            span = min(low for low, _ in ends), max(high for _, high in ends)
            yield (
                f"{what} must lie in [{'-1' if low else '0'}, 1], but {outside[0]} do not, the "
                f"first at {self._place(outside[1])}: they span [{span[0]:g}, {span[1]:g}]; "
                f"{_other_kind(self.kind, *span)}."
            )

    def _place(self, index: tuple[int, int]) -> str:
        return place(index, self.class_names, self.image_ids)


FIELDS = (
    ("class_names", 1, False),
    ("groups", 1, True),
    ("image_ids", 0, True),
    ("class_counts", 1, True),
    ("proximity", 0, True),
)  # field, the axis whose length it has, whether it may be empty


def _other_kind(kind: str, low: float, high: float) -> str:
    """What numbers outside the limits of their kind may be instead."""
    if kind == "probs" and low < 0 and max(-low, high) <= LIMITS["scores"][1]:
        return "they look like cosines: declare --scores, or --logits, and their map"
    return "if they are logits, declare --logits" + (
        "" if kind == "probs" else ", with the scale and bias that go with them"
    )
