"""One pass over the entries: sums by row and slot, on all images and in bootstrap replicates.

A *row* says whose entry it is (a class, a group, a group and a bin of proximity), a *slot* where in
[0, 1] its probability lies (a bin, a cell). Labels that are unknown enter no sum.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int8, Int64, UInt8, UInt16

from ccr_diag.metrics.compiled import compiled

OUTCOMES = 3  # label −1, 0, 1, in this order
STATISTICS = 3  # n, Σp, Σp²

Slots = UInt16[np.ndarray, "images classes"]


class Accumulator:
    """Sums n, Σp, Σp² (n, Σp in replicates) by row, slot and label.

    Args:
        rows: number of rows.
        slots: slots of each row.
        replicates: bootstrap replicates to keep besides, or 0.
    """

    def __init__(self, rows: int, slots: int, replicates: int = 0) -> None:
        self.rows, self.slots = rows, slots
        self._sums = np.zeros((rows * slots * OUTCOMES, STATISTICS + 1))  # one vector register each
        # apart, so that the compiler need not fear that a write to one changes the other
        self._drawn_n, self._drawn_p = np.zeros((2, rows * slots, OUTCOMES - 1, replicates))

    def add(
        self,
        p: Float[np.ndarray, "images classes"],
        y: Int8[np.ndarray, "images classes"],
        slot: Slots,
        row_of_class: Int64[np.ndarray, " classes"],
        row_of_image: Int64[np.ndarray, " images"] | None = None,
        weights: UInt8[np.ndarray, "images replicates"] | None = None,
    ) -> None:
        """Add a block of images; the row of an entry is the row of its class plus its image's.

        Args:
            p: probabilities, float32 or float64.
            y: labels in {1, 0, -1}; not checked here.
            slot: of each entry, below ``slots``.
            row_of_class: first part of the row.
            row_of_image: second part, 0 when left out.
            weights: how often each replicate drew each image.
        """
        of_image = np.zeros(len(p), dtype=np.int64) if row_of_image is None else row_of_image
        _add(p, y, slot, row_of_class * self.slots, of_image * self.slots, self._sums)
        if weights is not None and weights.shape[1]:
            _add_drawn(
                p, y, slot, row_of_class * self.slots, of_image * self.slots, weights,
                self._drawn_n, self._drawn_p,
            )  # fmt: skip

    @property
    def sums(self) -> Float64[np.ndarray, "rows slots outcomes statistics"]:
        """Over all images; outcomes: label 0, label 1."""
        shape = (self.rows, self.slots, OUTCOMES, STATISTICS + 1)
        return self._sums.reshape(shape)[:, :, 1:, :STATISTICS]

    @property
    def drawn(self) -> Float64[np.ndarray, "rows replicates slots outcomes statistics"]:
        """In each replicate."""
        drawn = np.stack([self._drawn_n, self._drawn_p], axis=2)
        shape = (self.rows, self.slots, OUTCOMES - 1, 2, drawn.shape[-1])
        return np.moveaxis(drawn.reshape(shape), -1, 1)


@compiled
def _add(p: Any, y: Any, slot: Any, of_class: Any, of_image: Any, sums: Any) -> None:
    for i in range(p.shape[0]):
        for c in range(p.shape[1]):
            x = np.float64(p[i, c])
            row = of_class[c] + of_image[i] + np.int64(slot[i, c])
            cell = np.uint64(row * 3 + y[i, c] + 1)
            sums[cell, 0] += 1.0
            sums[cell, 1] += x
            sums[cell, 2] += x * x
            sums[cell, 3] += 0.0  # four lanes: one load, one addition, one store


@compiled
def _add_drawn(
    p: Any,
    y: Any,
    slot: Any,
    of_class: Any,
    of_image: Any,
    weights: Any,
    drawn_n: Any,
    drawn_p: Any,
) -> None:
    for c in range(p.shape[1]):  # classes outside: their few busy slots stay near
        for i in range(p.shape[0]):
            if y[i, c] < 0:
                continue
            x = np.float64(p[i, c])
            cell = np.uint64(of_class[c] + of_image[i] + np.int64(slot[i, c]))
            n, first = drawn_n[cell, np.uint64(y[i, c])], drawn_p[cell, np.uint64(y[i, c])]
            for r in range(weights.shape[1]):
                w = np.float64(weights[i, r])
                n[r] += w
                first[r] += w * x
