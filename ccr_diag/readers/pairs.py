"""Long tables, one row an (image, class) pair, become arrays of (images, classes).

A table is gone through twice, piece by piece: once to number its images and classes, once to fill
arrays of their final size.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ccr_diag.arrays import UNKNOWN
from ccr_diag.checks import not_a_label
from ccr_diag.errors import BadPredictions

# Names that the column of values may have; "score" is used for anything, so it declares nothing.
VALUE_COLUMNS: dict[str, str | None] = {
    "prob": "probs",
    "probs": "probs",
    "logit": "logits",
    "logits": "logits",
    "score": None,
    "scores": "scores",
}
NOT_LISTED = -2  # stands in the labels while they are filled

Numbers = dict[str, int]  # name → its number, in order of appearance


@dataclass(frozen=True, eq=False)
class Piece:
    """Some rows of a long table.

    Args:
        images: number of each row's image.
        classes: number of each row's class.
        values: what the model said.
        labels: 1, 0 or -1; NaN where the cell is empty.
    """

    images: Int[np.ndarray, " rows"]
    classes: Int[np.ndarray, " rows"]
    values: Float[np.ndarray, " rows"]
    labels: Float[np.ndarray, " rows"]


@dataclass(frozen=True, eq=False)
class Filled:
    """A long table as arrays, with the names of their rows and columns."""

    values: Float[np.ndarray, "images classes"]
    labels: Int[np.ndarray, "images classes"]
    image_ids: tuple[str, ...]
    class_names: tuple[str, ...]


def fill(
    pieces: Callable[[Numbers, Numbers], Iterator[Piece]],
    names: tuple[str, ...] | None,
    unlisted: str | None,
) -> Filled:
    """All rows of a long table.

    Args:
        pieces: goes through the table; adds the names it meets to the numbers of images and of
            classes.
        names: the classes in their order; None for the order in which they appear.
        unlisted: ``"unknown"`` if empty labels and pairs that are not listed are unknown. Such a
            pair gets the lowest value of the table, so that it outranks no pair that is listed.

    Raises:
        BadPredictions: no rows, another class than those of ``names``, a pair that comes twice or
            is not listed, or a label that is none.
    """
    images: Numbers = {}
    classes: Numbers = {name: number for number, name in enumerate(names or ())}
    rows, dtype = 0, np.dtype(np.float64)
    for piece in pieces(images, classes):
        rows, dtype = rows + len(piece.values), piece.values.dtype
    shape = len(images), len(classes)
    _check_table(rows, shape, tuple(classes)[len(names) :] if names else (), unlisted)
    values = np.empty(shape, dtype)
    labels = np.full(shape, NOT_LISTED, np.int8)
    filled = Filled(values, labels, tuple(images), tuple(classes))
    for piece in pieces(images, classes):
        _enter(piece, filled, unlisted)
    missing = labels == NOT_LISTED
    values[missing] = values.min(where=~missing, initial=np.inf)
    labels[missing] = UNKNOWN
    return filled


def _check_table(
    rows: int, shape: tuple[int, int], foreign: tuple[str, ...], unlisted: str | None
) -> None:
    if not rows:
        raise BadPredictions("The table must have rows below its header, but has none.")
    if foreign:
        raise BadPredictions(
            f"The class names must name every class, but lack {foreign[0]!r} of the table."
        )
    pairs = shape[0] * shape[1]
    if rows < pairs and unlisted is None:
        raise BadPredictions(
            f"Every one of {shape[0]} images × {shape[1]} classes needs a row, which makes "
            f"{pairs:,}, but {rows:,} came; list the rest, or declare --unlisted unknown."
        )


def _enter(piece: Piece, filled: Filled, unlisted: str | None) -> None:
    """Write a piece where its pairs belong."""
    empty = np.isnan(piece.labels)

    def place(row: int) -> str:
        image, name = piece.images[row], piece.classes[row]
        return f"image {filled.image_ids[image]!r}, class {filled.class_names[name]!r}"

    if empty.any() and unlisted is None:
        raise BadPredictions(
            f"Every label must be 1, 0 or -1, but that of {place(int(empty.argmax()))} is empty; "
            "fill it in, or declare --unlisted unknown."
        )
    labels = np.where(empty, UNKNOWN, piece.labels)
    bad = not_a_label(labels[None])[0]
    if bad.any():
        row = int(bad.argmax())
        raise BadPredictions(
            "Labels must be 1 (present), 0 (absent) or -1 (unknown), "
            f"but that of {place(row)} is {labels[row]:g}; recode them."
        )
    pair = piece.images * len(filled.class_names) + piece.classes
    first = np.zeros(len(pair), dtype=bool)
    first[np.unique(pair, return_index=True)[1]] = True
    again = ~first | (filled.labels.reshape(-1)[pair] != NOT_LISTED)
    if again.any():
        raise BadPredictions(
            f"Every pair must come once, but {place(int(again.argmax()))} comes twice; "
            "remove all but one row."
        )
    filled.values.reshape(-1)[pair] = piece.values
    filled.labels.reshape(-1)[pair] = labels
