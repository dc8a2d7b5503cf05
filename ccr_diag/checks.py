"""Looking through arrays that may be larger than memory, and saying where a rule is broken."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Shaped

from ccr_diag.arrays import ABSENT, PRESENT, UNKNOWN

BLOCK_ENTRIES = 2**20  # looked at together

Matrix = Shaped[np.ndarray, "images classes"]
Found = Bool[np.ndarray, "images classes"]


def place(
    index: tuple[int, int], class_names: Sequence[str] = (), image_ids: Sequence[str] = ()
) -> str:
    """Where an entry is, in words; rows count from 0."""
    row, column = index
    image = f" ({image_ids[row]!r})" if row < len(image_ids) else ""
    name = repr(class_names[column]) if column < len(class_names) else f"number {column}"
    return f"row {row}{image}, class {name}"


def blocks(array: Matrix) -> Iterator[Matrix]:
    """The rows of an array in turn, a bounded number of entries at a time."""
    rows = max(1, BLOCK_ENTRIES // max(1, array.shape[1]))
    yield from (array[start : start + rows] for start in range(0, len(array), rows))


def count_where(
    array: Matrix, bad: Callable[[Matrix], Found]
) -> tuple[int, tuple[int, int]] | None:
    """How many entries are bad, and the first of them; None if none is."""
    count, row, first = 0, 0, (0, 0)
    for block in blocks(array):
        found = bad(block)
        here = int(np.count_nonzero(found))
        if here and not count:
            r, c = np.unravel_index(int(np.argmax(found)), found.shape)
            first = (row + int(r), int(c))
        count, row = count + here, row + len(block)
    return (count, first) if count else None


def label_fault(
    labels: Matrix,
    found: tuple[int, tuple[int, int]],
    where: Callable[[tuple[int, int]], str],
) -> str:
    """The sentence about labels that break the rule."""
    count, first = found
    return (
        f"Labels must be 1 (present), 0 (absent) or -1 (unknown), but {count} are not, the first "
        f"at {where(first)}: {labels[first]}; recode them."
    )


def not_finite(values: Matrix) -> Found:
    """Where values are NaN or infinite."""
    return np.asarray(~np.isfinite(values), dtype=np.bool_)


def not_a_label(labels: Matrix) -> Found:
    """Where labels are none of 1, 0 and -1."""
    fine = (labels == PRESENT) | (labels == ABSENT) | (labels == UNKNOWN)
    return np.asarray(~fine, dtype=np.bool_)


def duplicates(what: str, names: Sequence[str]) -> Iterator[str]:
    """The sentence about names that come twice, if any does."""
    if len(set(names)) < len(names):
        name, times = Counter(names).most_common(1)[0]
        yield f"{what} must be unique, but {name!r} comes {times} times; rename all but one."
