"""Two predictions of the same images, brought into one order so that they can be compared."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ccr_diag.checks import count_where, place
from ccr_diag.errors import BadPredictions
from ccr_diag.predictions import Predictions


def align(a: Predictions, b: Predictions) -> Predictions:
    """``b`` with its rows and columns in the order of ``a``, matched by image id and class name.

    Raises:
        BadPredictions: the images or classes are not the same, or are labelled differently; or
            one has image ids and the other has none.
    """
    if bool(a.image_ids) != bool(b.image_ids):
        raise BadPredictions(
            "Rows are matched by image id, but only one of the two files has ids; add them to the "
            "other, or remove them from both if the rows are in the same order."
        )
    if len(a.values) != len(b.values) and not a.image_ids:
        raise BadPredictions(
            "Two files without image ids must have the same images in the same order, but have "
            f"{len(a.values)} and {len(b.values)} rows."
        )
    columns = _places("classes", a.class_names, b.class_names)
    rows = _places("images", a.image_ids, b.image_ids)
    moved = b if rows is None and columns is None else _moved(b, rows, columns)
    if (found := _differing(a, moved)) is not None:
        raise BadPredictions(
            "Two files can only be compared on the same labels, but theirs differ at "
            f"{found[0]} entries, the first at {place(found[1], a.class_names, a.image_ids)}: "
            f"{a.labels[found[1]]} and {moved.labels[found[1]]}."
        )
    return moved


def in_class_order(b: Predictions, class_names: tuple[str, ...]) -> Predictions:
    """``b`` with its columns in the order of these classes.

    Raises:
        BadPredictions: its classes are not these.
    """
    columns = _places("classes", class_names, b.class_names)
    return b if columns is None else _moved(b, None, columns)


def _places(what: str, wanted: Sequence[str], names: Sequence[str]) -> list[int] | None:
    """Where each wanted name stands; None if they are in the same order."""
    if wanted == names:
        return None
    place = {name: i for i, name in enumerate(names)}
    ours = set(wanted)
    lost = [name for name in wanted if name not in place]
    extra = [name for name in names if name not in ours]
    if lost or extra:
        raise BadPredictions(
            f"Both files must have the same {what}, but "
            f"{(lost or extra)[0]!r} is only in the {'first' if lost else 'second'}."
        )
    return [place[name] for name in wanted]


def _moved(b: Predictions, rows: list[int] | None, columns: list[int] | None) -> Predictions:
    row = np.arange(len(b.values)) if rows is None else np.array(rows)
    column = np.arange(len(b.class_names)) if columns is None else np.array(columns)
    grid = np.ix_(row, column)
    return replace(
        b,
        values=np.asarray(b.values)[grid],
        labels=np.asarray(b.labels)[grid],
        class_names=tuple(b.class_names[i] for i in column),
        groups=tuple(b.groups[i] for i in column) if b.groups else (),
        image_ids=tuple(b.image_ids[i] for i in row) if b.image_ids else (),
        class_counts=None if b.class_counts is None else b.class_counts[column],
        proximity=None if b.proximity is None else b.proximity[row],
    )


def _differing(a: Predictions, b: Predictions) -> tuple[int, tuple[int, int]] | None:
    """How many labels differ, and the first of them."""
    row = 0

    def differs(block: np.ndarray) -> np.ndarray:
        nonlocal row
        other = b.labels[row : row + len(block)]
        row += len(block)
        return np.asarray(block != other, dtype=np.bool_)

    return count_where(a.labels, differs)
