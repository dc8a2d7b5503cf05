"""Entries of given ranks among more entries than one would sort.

A count of the leading bits finds the few cells that hold a wanted rank, a count of the following
bits inside these cells the entry itself: each a pass over blocks, so that memory stays small.
"""

from typing import Any

import numpy as np
from jaxtyping import Float64, Int8, Int64, Num, UInt

from ccr_diag.metrics.compiled import compiled
from ccr_diag.metrics.entries import Entries
from ccr_diag.metrics.order_keys import first_at

FINE_BITS = 16


def count_coarse(entries: Entries) -> Int64[np.ndarray, " cells"]:
    """Known entries by the leading bits of their keys."""
    keys = entries.keys
    counts = np.zeros(keys.cells, dtype=np.int64)
    for c, o in entries.blocks():
        _count_cells(keys.bits(c), o, keys.shift, counts)
    return counts


def order_statistics(
    entries: Entries, coarse: Int64[np.ndarray, " cells"], ranks: Int64[np.ndarray, " ranks"]
) -> Float64[np.ndarray, " ranks"]:
    """Confidences of the given ranks, refined digit by digit.

    Args:
        entries: of which only the known ones count.
        coarse: what ``count_coarse`` found.
        ranks: 0 the smallest; below the number of known entries.
    """
    keys = entries.keys
    ends = np.cumsum(coarse)
    prefix = np.searchsorted(ends, ranks, side="right")
    rank = ranks - (ends - coarse)[prefix]
    prefix, shift = prefix.astype(keys.whole), int(keys.shift)
    while shift > 0:
        bits = min(shift, FINE_BITS)
        shift -= bits
        active, row = np.unique(prefix, return_inverse=True)
        ends = np.cumsum(_count_digits(entries, active, shift, bits), axis=1)
        digit = np.array(
            [np.searchsorted(ends[i], r, side="right") for i, r in zip(row, rank, strict=True)]
        )
        rank = rank - np.where(digit > 0, ends[row, np.maximum(digit - 1, 0)], 0)
        prefix = (prefix << keys.whole.type(bits)) | digit.astype(keys.whole)
    return keys.values(prefix)


def _count_digits(
    entries: Entries, active: UInt[np.ndarray, " active"], shift: int, bits: int
) -> Int64[np.ndarray, "active digits"]:
    """Known entries by their next digit, for the keys that begin with one of these prefixes."""
    keys, whole = entries.keys, entries.keys.whole.type
    coarse = active >> whole(int(keys.shift) - shift - bits)
    first = first_at(coarse, keys.cells)
    counts = np.zeros((len(active), 2**bits), dtype=np.int64)
    for c, o in entries.blocks():
        near = np.empty(len(c) + 1, dtype=keys.whole)
        _count_fine(
            keys.bits(c), o, keys.shift, np.diff(first) > 0, first, active, whole(shift),
            whole(bits), near, counts,
        )  # fmt: skip
    return counts


@compiled
def _count_cells(
    keys: UInt[np.ndarray, " entries"],
    o: Int8[np.ndarray, " entries"],
    shift: np.unsignedinteger[Any],
    counts: Int64[np.ndarray, " cells"],
) -> None:
    for i in range(np.uint64(keys.size)):
        counts[np.uint64(keys[i] >> shift)] += np.int64(o[i] >= 0)


@compiled
def _count_fine(
    keys: UInt[np.ndarray, " entries"],
    o: Int8[np.ndarray, " entries"],
    coarse: np.unsignedinteger[Any],
    wanted: Num[np.ndarray, " cells"],
    first: UInt[np.ndarray, " cells_and_end"],
    prefixes: UInt[np.ndarray, " active"],
    shift: np.unsignedinteger[Any],
    bits: np.unsignedinteger[Any],
    near: UInt[np.ndarray, " room"],
    counts: Int64[np.ndarray, "active digits"],
) -> None:
    """Set aside the few entries in a wanted coarse cell, without a branch; then look closely."""
    found = np.uint64(0)
    for i in range(np.uint64(keys.size)):
        near[found] = keys[i]
        found += np.uint64(wanted[np.uint64(keys[i] >> coarse)]) & np.uint64(o[i] >= 0)
    last = np.uint64(counts.shape[1] - 1)
    for i in range(found):
        cell = np.uint64(near[i] >> coarse)
        for b in range(np.uint64(first[cell]), np.uint64(first[cell + np.uint64(1)])):
            if prefixes[b] == near[i] >> shift >> bits:
                counts[b, np.uint64(near[i] >> shift) & last] += 1
