"""Fine cells of [0, 1]: what measures that need the order of probabilities are computed from.

A cell is at most 1/2048 wide, and near 0 and 1 at most a sixty-fourth of the distance to them, so
that rare classes keep their resolution. Cells have a fixed number, and add up as bins do.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Float64, UInt16

from ccr_diag.metrics.bins import ReliabilityBins
from ccr_diag.metrics.compiled import compiled

_WIDTH = 2048  # cells per unit away from the ends
_OCTAVE_BITS = 6  # 64 cells per factor of two near the ends
_NEAR, _LEAST = 2.0**-5, 2.0**-20  # where the ends begin, and what is no longer told from them
_SHIFT = 23 - _OCTAVE_BITS
_FIRST = int(np.float32(_LEAST).view(np.int32)) >> _SHIFT
_END = (int(np.float32(_NEAR).view(np.int32)) >> _SHIFT) - _FIRST + 1  # cells of one end
_SKIPPED = int(_NEAR * _WIDTH)
CELLS = 2 * _END + _WIDTH - 2 * _SKIPPED


def cell_slots(p: Float[np.ndarray, "images classes"]) -> UInt16[np.ndarray, "images classes"]:
    """The cell of each probability, 0 … ``CELLS`` − 1, rising with p (float32 or float64)."""
    slot = np.empty(p.shape, dtype=np.uint16)
    single = p.astype(np.float32, copy=False)
    from_one = (1 - p).astype(np.float32, copy=False)  # small distances to 1 keep their digits
    _cells(
        single.reshape(-1), from_one.reshape(-1),
        np.ascontiguousarray(single).view(np.int32).reshape(-1),
        np.ascontiguousarray(from_one).view(np.int32).reshape(-1),
        slot.reshape(-1),
    )  # fmt: skip
    return slot


def as_bins(sums: Float64[np.ndarray, "*batch cells outcomes statistics"]) -> ReliabilityBins:
    """The sums of an ``Accumulator`` over ``cell_slots``, positive convention."""
    return ReliabilityBins.from_moments(sums, sums[..., 1, 0])


@compiled
def _cells(p: Any, q: Any, p_bits: Any, q_bits: Any, slot: Any) -> None:
    near = np.float32(_NEAR)
    for i in range(p.size):
        if p[i] < near:
            cell = max((p_bits[i] >> np.int32(_SHIFT)) - np.int32(_FIRST) + np.int32(1), 0)
        elif q[i] < near:
            above = max((q_bits[i] >> np.int32(_SHIFT)) - np.int32(_FIRST) + np.int32(1), 0)
            cell = np.int32(CELLS - 1) - above
        else:
            cell = np.int32(_END + int(p[i] * np.float32(_WIDTH)) - _SKIPPED)
        slot[i] = np.uint16(cell)
