"""The only equal-width binning: probabilities and labels in, class × bin tables of fixed size out.

Two conventions, each always named: ``positive`` takes confidence p against outcome y, ``decision``
confidence max(p, 1 − p) against "the decision p ≥ 0.5 is right". One slot an entry serves both: the
positive bin, and on which side of 0.5 and beside which edge of the decision bins p lies.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int, Int8, UInt16

from ccr_diag.arrays import Labels, Source
from ccr_diag.errors import BadConfig, BadData
from ccr_diag.metrics.accumulate import Accumulator
from ccr_diag.metrics.bins import ReliabilityBins
from ccr_diag.metrics.compiled import compiled
from ccr_diag.metrics.discrimination import Confusion
from ccr_diag.npy import Archive
from ccr_diag.runs import write_atomically

BLOCK_ENTRIES = 2**16  # entries per step of a pass: they stay in the processor's cache
SIDES = 4  # p ≥ 0.5; p < 0.5 with the decision bin one below, at, or above the mirrored bin
MAX_BINS = 2**14


@dataclass(frozen=True, eq=False)
class Tables:
    """Sums over known entries by class, positive bin, side and label; the state that adds up.

    Replicates, if any, are an axis after the first.

    Args:
        sums: n, Σp, Σp² of each; n, Σp alone in replicates.
    """

    sums: Float64[np.ndarray, "classes *batch bins sides outcomes statistics"]

    @classmethod
    def of(
        cls,
        probs: Source,
        labels: Labels,
        n_bins: int = 15,
    ) -> "Tables":
        """One pass over blocks of images; the tables of batches add up to those of their union.

        Args:
            probs: (images, classes), in [0, 1]: an array, a memory map or a lazy source.
            labels: (images, classes) in {1, 0, -1}.
            n_bins: bins of equal width.

        Raises:
            BadConfig: fewer than 1 bin, or too many.
            BadData: a probability outside [0, 1] or NaN, a label that is none, unequal shapes.
        """
        n_classes = probs.shape[1]
        found = Accumulator(n_classes, SIDES * n_bins)
        for _, p, y in checked_blocks(probs, labels):
            found.add(plain(p), y, uniform_slots(p, n_bins), np.arange(n_classes))
        return cls.from_sums(found.sums)

    @classmethod
    def from_sums(
        cls, sums: Float64[np.ndarray, "classes *batch slots outcomes statistics"]
    ) -> "Tables":
        """The sums of an ``Accumulator`` over ``uniform_slots``."""
        *lead, slots, outcomes, statistics = sums.shape
        return cls(sums.reshape(*lead, slots // SIDES, SIDES, outcomes, statistics))

    def __add__(self, other: "Tables") -> "Tables":
        """The tables of both sets of images together."""
        if self.sums.shape != other.sums.shape:
            raise BadData(
                "Tables that are merged must have the same classes and bins, "
                f"but their shapes are {self.sums.shape[:2]} and {other.sums.shape[:2]}."
            )
        return Tables(self.sums + other.sums)

    def save(self, path: Path) -> None:
        """Write the sums as an ``.npz`` file."""

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.savez(file, allow_pickle=False, sums=self.sums)

        write_atomically(path, write)

    @classmethod
    def load(cls, path: Path) -> "Tables":
        """What ``save`` wrote."""
        return cls(Archive(path).read("sums"))

    @property
    def positive(self) -> ReliabilityBins:
        """(classes, bins): confidence p, outcome y."""
        both = self.sums.sum(axis=-3)
        return ReliabilityBins.from_moments(both, both[..., 1, 0])

    @property
    def decision(self) -> ReliabilityBins:
        """(classes, bins): confidence max(p, 1 − p), outcome "the decision is right"."""
        *_, n_bins, _, _, _ = self.sums.shape
        yes = self.sums[..., 0, :, :]
        n, p, *p2 = np.moveaxis(self.sums[..., 1:, :, :], -1, 0)
        # where c = 1 − p: Σc = n − Σp, Σc² = n − 2Σp + Σp²; right is label 0; bins in reverse
        mirrored = np.stack([n, n - p, *(n - 2 * p + square for square in p2)], axis=-1)
        no = mirrored[..., ::-1, :, ::-1, :]
        total = yes + no[..., :, 1, :, :]
        if n_bins > 1:
            total[..., :-1, :, :] += no[..., 1:, 0, :, :]
            total[..., 1:, :, :] += no[..., :-1, 2, :, :]
        return ReliabilityBins.from_moments(total, total[..., 1, 0])

    @property
    def called(self) -> ReliabilityBins:
        """(classes, bins) of the entries that are called positive, p ≥ 0.5."""
        yes = self.sums[..., 0, :, :]
        return ReliabilityBins.from_moments(yes, yes[..., 1, 0])

    @property
    def confusion(self) -> Confusion:
        """(classes) entries by label and decision p ≥ 0.5."""
        n = self.sums[..., 0].sum(axis=-3)
        no = n[..., 1:, :].sum(axis=-2)
        return Confusion(n[..., 0, 1], n[..., 0, 0], no[..., 1], no[..., 0])


def checked_blocks(
    probs: Source, labels: Labels, entries: int = BLOCK_ENTRIES
) -> Iterator[
    tuple[slice, Float[np.ndarray, "images classes"], Int8[np.ndarray, "images classes"]]
]:
    """Rows, probabilities and labels of blocks of images, with their rules checked.

    Raises:
        BadData: unequal shapes, a probability outside [0, 1] or NaN, a label that is none.
    """
    if len(probs.shape) != 2 or probs.shape != labels.shape:
        raise BadData(
            "Probabilities and labels must be (images, classes) arrays of one shape, "
            f"but have {probs.shape} and {labels.shape}."
        )
    n_images, n_classes = probs.shape
    step = max(1, entries // max(1, n_classes) // 4 * 4)
    for start in range(0, n_images, step):
        rows = slice(start, min(start + step, n_images))
        p, y = np.ascontiguousarray(probs[rows]), np.ascontiguousarray(labels[rows])
        if not p.size:
            continue
        if not (p.min() >= 0 and p.max() <= 1):  # NaN fails both
            raise BadData(
                "Probabilities must lie in [0, 1], but some do not; map the scores first."
            )
        if y.min() < -1 or y.max() > 1:
            raise BadData("Labels must be 1 (present), 0 (absent) or -1 (unknown); recode them.")
        yield rows, p, y


def plain(p: Float[np.ndarray, "*axes"]) -> Float[np.ndarray, "*axes"]:
    """The same numbers in a type that compiled loops read: half precision becomes single."""
    return p.astype(np.float32) if p.dtype == np.float16 else p


def bin_index(p: Float[np.ndarray, "*axes"], n_bins: int) -> Int[np.ndarray, "*axes"]:
    """Bin k with e_k ≤ p < e_{k+1} (the last one closed), e_k = k / n_bins rounded in p's own type.

    These edges equal the literals a user types, so 0.3 opens its bin in float32 as in float64.
    ``int(p · n_bins)`` errs at some edges; the nearest edge and one comparison do not.

    Args:
        p: probabilities or confidences in [0, 1], any shape.
        n_bins: bins of equal width.

    Returns:
        0 … n_bins − 1, in the shape of p.
    """
    edges = (np.arange(n_bins + 2) / n_bins).astype(p.dtype)
    nearest = (p * p.dtype.type(n_bins) + p.dtype.type(0.5)).astype(np.intp)
    return np.asarray(np.minimum(nearest - (p < edges[nearest]), n_bins - 1))


def check_bins(n_bins: int) -> None:
    """Is it a number of bins?

    Raises:
        BadConfig: fewer than 1 bin, or too many.
    """
    if not 1 <= n_bins < MAX_BINS:
        raise BadConfig(f"There must be 1 to {MAX_BINS - 1} bins, but got {n_bins}.")


def uniform_slots(
    p: Float[np.ndarray, "images classes"], n_bins: int
) -> UInt16[np.ndarray, "images classes"]:
    """4 · (positive bin) + side, by the rule of ``bin_index`` in p's own type.

    Raises:
        BadConfig: fewer than 1 bin, or too many.
    """
    check_bins(n_bins)
    if p.dtype == np.float16:
        return np.asarray(_half_slots(n_bins)[p.view(np.uint16) & 0x7FFF])  # −0 is 0
    slot = np.empty(p.shape, dtype=np.uint16)
    _slots(p.reshape(-1), p.dtype.type(n_bins), slot.reshape(-1))
    return slot


@cache
def _half_slots(n_bins: int) -> UInt16[np.ndarray, " numbers"]:
    """The slot of each of the few half-precision numbers in [0, 1], by their bits."""
    p = np.arange(0x3C00 + 1, dtype=np.uint16).view(np.float16)
    k, d = (bin_index(c, n_bins) for c in (p, np.float16(1) - p))
    side = np.where(p >= 0.5, 0, d + k - n_bins + 3)
    return (SIDES * k + side).astype(np.uint16)


@compiled
def _slots(p: Any, n_bins: Any, slot: Any) -> None:
    half, one = p.dtype.type(0.5), p.dtype.type(1)
    last = np.int32(n_bins) - np.int32(1)
    for i in range(p.size):
        x, q = p[i], one - p[i]
        j = np.int32(x * n_bins + half)
        k = min(j - np.int32(x < p.dtype.type(j) / n_bins), last)
        j = np.int32(q * n_bins + half)
        d = min(j - np.int32(q < p.dtype.type(j) / n_bins), last)
        side = np.int32(0) if x >= half else d + k - last + np.int32(2)
        slot[i] = np.uint16(np.int32(4) * k + side)
