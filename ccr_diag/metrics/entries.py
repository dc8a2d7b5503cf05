"""The pooled entries of some classes as confidences and outcomes, block by block of images."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int8, Int64

from ccr_diag.arrays import Labels
from ccr_diag.errors import BadData
from ccr_diag.metrics.compiled import compiled
from ccr_diag.metrics.order_keys import Keys

BLOCK_ENTRIES = 2**17

Columns = Int64[np.ndarray, " chosen"]


@runtime_checkable
class RowSource(Protocol):
    """Probabilities (images, classes) that come in slices of images: array, memory map, or lazy."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Images and classes."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the numbers."""

    def __getitem__(self, rows: slice, /) -> np.ndarray:
        """The rows of some images."""


@dataclass(frozen=True, eq=False)
class Entries:
    """Confidence and outcome of the entries of some classes, block by block."""

    probs: RowSource
    labels: Labels
    columns: Columns
    keys: Keys

    def blocks(
        self,
    ) -> Iterator[tuple[Float[np.ndarray, " entries"], Int8[np.ndarray, " entries"]]]:
        """All entries."""
        step = max(1, BLOCK_ENTRIES // max(1, self.probs.shape[1]))
        for start in range(0, self.probs.shape[0], step):
            yield self.rows(slice(start, start + step))

    def rows(
        self, rows: slice
    ) -> tuple[Float[np.ndarray, " entries"], Int8[np.ndarray, " entries"]]:
        """The entries of some images; outcome −1 where the label is unknown."""
        p, y = np.asarray(self.probs[rows]), self.labels[rows]
        if not np.array_equal(self.columns, np.arange(p.shape[1])):
            p, y = p.take(self.columns, axis=1), y.take(self.columns, axis=1)
        p = p.astype(self.keys.real, copy=False)
        c, o = np.empty(p.size, dtype=p.dtype), np.empty(p.size, dtype=np.int8)
        decision = self.keys.convention == "decision"
        if _view(p.reshape(-1), np.asarray(y).reshape(-1), decision, c, o):
            raise BadData(
                "Probabilities must lie in [0, 1], but some do not; map the scores first."
            )
        if decision and self.keys.source == np.float16:
            c = c.astype(np.float16).astype(np.float32)
        return c, o


@compiled
def _view(
    p: Float[np.ndarray, " entries"],
    y: Int8[np.ndarray, " entries"],
    decision: bool,
    c: Float[np.ndarray, " entries"],
    o: Int8[np.ndarray, " entries"],
) -> bool:
    """Write confidence and outcome; is any probability outside [0, 1]?"""
    half, one, zero = p.dtype.type(0.5), p.dtype.type(1), p.dtype.type(0)
    bad = False
    if decision:
        for i in range(p.size):
            bad |= not (p[i] >= zero and p[i] <= one)
            c[i] = max(p[i], one - p[i])
            right = np.int8((p[i] >= half) == (y[i] == 1))
            o[i] = np.int8(-1) if y[i] < 0 else right
    else:
        for i in range(p.size):
            bad |= not (p[i] >= zero and p[i] <= one)
            c[i] = abs(p[i])  # no negative zero: its bits would be the largest
            o[i] = np.int8(-1) if y[i] < 0 else np.int8(y[i] == 1)
    return bad
