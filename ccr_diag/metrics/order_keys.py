"""Confidences as whole numbers: numbers that are not negative stand in the order of their bits."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Float64, UInt

from ccr_diag.errors import BadConfig

COARSE_BITS = 15  # a table of this many bits stays in the fast caches

Convention = Literal["positive", "decision"]
Edges = Float64[np.ndarray, " edges"]


@dataclass(frozen=True)
class Keys:
    """Confidences as whole numbers in the same order, 0 for the smallest possible confidence.

    Args:
        source: type of the probabilities.
        real: type the confidences are held in.
        whole: unsigned type of the same width.
        convention: which entries are looked at.
        base: bits of the smallest possible confidence.
        shift: bits below the coarse cell.
    """

    source: np.dtype[Any]
    real: np.dtype[Any]
    whole: np.dtype[Any]
    convention: Convention
    base: np.unsignedinteger[Any]
    shift: np.unsignedinteger[Any]

    @classmethod
    def of(cls, dtype: np.dtype[Any], convention: Convention) -> "Keys":
        """The keys of probabilities of one type; half precision is held in single."""
        if convention not in ("positive", "decision"):
            raise BadConfig(
                f"The convention must be 'positive' or 'decision', but got {convention!r}."
            )
        narrow = dtype in (np.float16, np.float32)
        real, whole = (np.float32, np.uint32) if narrow else (np.float64, np.uint64)
        smallest = 0.5 if convention == "decision" else 0.0
        base, top = np.array([smallest, 1], dtype=real).view(whole)
        shift = whole(max(int(top - base).bit_length() - COARSE_BITS, 0))
        return cls(np.dtype(dtype), np.dtype(real), np.dtype(whole), convention, base, shift)

    @property
    def cells(self) -> int:
        """Number of coarse cells."""
        return int(self.bits(np.ones(1, dtype=self.real))[0] >> self.shift) + 1

    def bits(self, c: Float[np.ndarray, "*axes"]) -> UInt[np.ndarray, "*axes"]:
        """Key of each confidence."""
        bits: UInt[np.ndarray, "*axes"] = c.view(self.whole)
        return bits - self.base if self.base else bits

    def values(self, keys: UInt[np.ndarray, " keys"]) -> Float64[np.ndarray, " keys"]:
        """Confidence of each key."""
        return np.asarray((keys + self.base).view(self.real), dtype=np.float64)

    def cuts(self, edges: Edges) -> tuple[UInt[np.ndarray, " cuts"], UInt[np.ndarray, " cells"]]:
        """Smallest key on the upper side of each edge, an end mark, and the first cut per cell."""
        if not (edges[:-1] <= edges[1:]).all() or np.isnan(edges).any():
            raise BadConfig("Edges must be numbers in ascending order, but some are not.")
        exact = np.clip(edges, float(self.base.view(self.real)), 2)
        rounded = exact.astype(self.real)
        up = np.where(rounded < exact, np.nextafter(rounded, self.real.type(2)), rounded)
        keys = np.append(self.bits(up), np.iinfo(self.whole).max).astype(self.whole)
        return keys, first_at(keys[:-1] >> self.shift, self.cells)


def first_at(coarse: UInt[np.ndarray, " keys"], cells: int) -> UInt[np.ndarray, " cells"]:
    """How many of the ascending keys lie below each coarse cell, and below the one past the end."""
    inside = np.bincount(np.minimum(coarse, cells).astype(np.int64), minlength=cells + 1)
    below = np.cumsum(inside) - inside
    return below.astype(np.min_scalar_type(len(coarse)))
