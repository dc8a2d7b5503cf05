"""Bins between given edges: of all entries, and in many resamplings of the images."""

from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int8, Int64, UInt, UInt8

from ccr_diag.arrays import Labels, Probs
from ccr_diag.metrics.bins import ReliabilityBins
from ccr_diag.metrics.compiled import compiled
from ccr_diag.metrics.entries import Columns, Entries, RowSource
from ccr_diag.metrics.order_keys import Convention, Edges, Keys


def fill_bins(
    probs: RowSource,
    labels: Labels,
    columns: Columns,
    edges: Edges,
    convention: Convention = "positive",
) -> ReliabilityBins:
    """The bins of known entries between given edges: c is in the bin of the number of edges ≤ c.

    Args:
        probs: (images, classes), in [0, 1].
        labels: (images, classes) in {1, 0, -1}.
        columns: the classes to pool.
        edges: in ascending order; one bin more than these.
        convention: as for ``equal_mass_bins``.

    Raises:
        BadConfig: edges that are NaN or not in order, an unknown convention.
        BadData: a probability outside [0, 1] or NaN.
    """
    keys = Keys.of(probs.dtype, convention)
    cuts, first = keys.cuts(edges)
    count = np.zeros((len(edges) + 1, 3), dtype=np.int64)
    sums = np.zeros((len(edges) + 1, 3, 2))
    for c, o in Entries(probs, labels, columns, keys).blocks():
        _fill(c, keys.bits(c), o, keys.shift, first, cuts, count.reshape(-1), sums.reshape(-1, 2))
    known, known_sums = count[:, 1:].sum(axis=1), sums[:, 1:].sum(axis=1)
    return ReliabilityBins(known, known_sums[:, 0].copy(), count[:, 2], known_sums[:, 1].copy())


def fill_replicates(
    probs: Probs,
    labels: Labels,
    columns: Columns,
    edges: Edges,
    convention: Convention,
    weights: UInt8[np.ndarray, "images replicates"],
) -> ReliabilityBins:
    """The bins between given edges in many resamplings of these images, to be added up over blocks.

    Sums per image first, Σ_i w_ir · (sums of image i) as one matrix product then.

    Args:
        probs: (images, classes) of one block, in [0, 1].
        labels: (images, classes) in {1, 0, -1}.
        columns: the classes to pool.
        edges: in ascending order.
        convention: as for ``equal_mass_bins``.
        weights: w_ir, how often replicate r drew image i.

    Returns:
        (replicates, bins), counts as whole numbers in float64.

    Raises:
        BadConfig: as for ``fill_bins``.
        BadData: as for ``fill_bins``.
    """
    keys = Keys.of(probs.dtype, convention)
    cuts, first = keys.cuts(edges)
    images, bins = len(probs), len(edges) + 1
    c, o = Entries(probs, labels, columns, keys).rows(slice(None))
    count = np.zeros((images, bins * 3), dtype=np.int64)
    sums = np.zeros((images, bins * 3, 2))
    shape = (images, len(columns))
    _fill_images(
        c.reshape(shape),
        keys.bits(c).reshape(shape),
        o.reshape(shape),
        keys.shift,
        first,
        cuts,
        count,
        sums,
    )
    of_outcome = count.reshape(images, bins, 3)
    known = sums.reshape(images, bins, 3, 2)[:, :, 1:].sum(axis=2)
    per_image = np.stack(
        [of_outcome[:, :, 1:].sum(axis=2), known[:, :, 0], of_outcome[:, :, 2], known[:, :, 1]]
    )
    drawn = weights.T.astype(np.float64)
    return ReliabilityBins(*(drawn @ one for one in per_image))


@compiled
def _fill(
    c: Float[np.ndarray, " entries"],
    keys: UInt[np.ndarray, " entries"],
    o: Int8[np.ndarray, " entries"],
    coarse: np.unsignedinteger[Any],
    first: UInt[np.ndarray, " cells_and_end"],
    cuts: UInt[np.ndarray, " cuts_and_end"],
    count: Int64[np.ndarray, " slots"],
    sums: Float64[np.ndarray, "slots 2"],
) -> None:
    """Add n, Σc and Σc(1 − c) to the slot of bin and outcome (unknown, false, true)."""
    for i in range(np.uint64(keys.size)):
        b = np.uint64(first[np.uint64(keys[i] >> coarse)])
        while keys[i] >= cuts[b]:
            b += np.uint64(1)
        x = np.float64(c[i])
        slot = b * np.uint64(3) + np.uint64(o[i] + 1)
        count[slot] += 1
        sums[slot, 0] += x
        sums[slot, 1] += x * (1.0 - x)


@compiled
def _fill_images(
    c: Float[np.ndarray, "images chosen"],
    keys: UInt[np.ndarray, "images chosen"],
    o: Int8[np.ndarray, "images chosen"],
    coarse: np.unsignedinteger[Any],
    first: UInt[np.ndarray, " cells_and_end"],
    cuts: UInt[np.ndarray, " cuts_and_end"],
    count: Int64[np.ndarray, "images slots"],
    sums: Float64[np.ndarray, "images slots 2"],
) -> None:
    for i in range(c.shape[0]):
        _fill(c[i], keys[i], o[i], coarse, first, cuts, count[i], sums[i])
