"""Equal-mass bins, exact, of more entries than one would sort.

Numbers that are not negative stand in the order of their bits. A count of the leading bits finds
the few cells that hold a cut, a count of the following bits inside these cells finds the cut
itself, and a last pass fills the bins: all over blocks of images, so that memory stays small.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float64, Int8, Int64, Num, UInt, UInt8

from ccr_diag.arrays import Labels, Probs
from ccr_diag.errors import BadConfig, BadData
from ccr_diag.metrics.bins import ReliabilityBins
from ccr_diag.metrics.compiled import compiled

BLOCK_ENTRIES = 2**17
COARSE_BITS = 15  # a table of this many bits stays in the fast caches
FINE_BITS = 16

Convention = Literal["positive", "decision"]
Method = Literal["ranks", "linear", "averaged_inverted_cdf"]
Columns = Int64[np.ndarray, " chosen"]
Edges = Float64[np.ndarray, " edges"]
OrderStatistics = Callable[[Int64[np.ndarray, " ranks"]], Float64[np.ndarray, " ranks"]]


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


def equal_mass_bins(
    probs: RowSource,
    labels: Labels,
    columns: Columns,
    n_bins: int = 15,
    convention: Convention = "positive",
    method: Method = "ranks",
) -> tuple[ReliabilityBins, Edges]:
    """Bins that hold as equal numbers of the known entries of some classes as ties allow.

    The bin of confidence c is the number of edges ≤ c. Equal confidences share a bin, whatever the
    order of images; where a cut falls among them, some bins end up empty (count 0).

    Args:
        probs: (images, classes), in [0, 1].
        labels: (images, classes) in {1, 0, -1}.
        columns: the classes to pool.
        n_bins: bins, empty ones included.
        convention: ``positive`` takes p against y, ``decision`` takes max(p, 1 − p), rounded like
            p, against "p ≥ 0.5 is right".
        method: where the cuts lie. ``ranks``: sizes differ by at most one without ties;
            ``linear``: at interpolated quantiles; ``averaged_inverted_cdf``: at quantiles that are
            entries or midway between two, bins no wider than 1e-8 joined to a neighbour. With the
            first two, tied entries go to the lower side of a cut, with the last to the upper.

    Returns:
        The n_bins bins, and the n_bins − 1 edges between them (infinite where not needed).

    Raises:
        BadConfig: fewer than 1 bin, an unknown convention or method.
        BadData: a probability outside [0, 1] or NaN.

    Source: Nguyen and O'Connor 2015; ranks as in Kumar et al. 2019 and linear as in scikit-learn's
    calibration_curve; averaged_inverted_cdf is what the code of ProCal gives with scikit-learn 1.9.
    """
    if n_bins < 1:
        raise BadConfig(f"There must be at least 1 bin, but got {n_bins}.")
    if method not in METHODS:
        raise BadConfig(f"The method must be one of {', '.join(METHODS)}, but got {method!r}.")
    entries = _Entries(probs, labels, columns, _Keys.of(probs.dtype, convention))
    coarse = _count_coarse(entries)
    n = int(coarse.sum())
    edges = np.full(n_bins - 1, np.inf)
    if n and n_bins > 1:
        edges = METHODS[method](n, n_bins, lambda ranks: _order_statistics(entries, coarse, ranks))
    return fill_bins(probs, labels, columns, edges, convention), edges


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
    keys = _Keys.of(probs.dtype, convention)
    cuts, first = keys.cuts(edges)
    count = np.zeros((len(edges) + 1, 3), dtype=np.int64)
    sums = np.zeros((len(edges) + 1, 3, 2))
    for c, o in _Entries(probs, labels, columns, keys).blocks():
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
    keys = _Keys.of(probs.dtype, convention)
    cuts, first = keys.cuts(edges)
    images, bins = len(probs), len(edges) + 1
    c, o = _Entries(probs, labels, columns, keys).rows(slice(None))
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


@dataclass(frozen=True)
class _Keys:
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
    def of(cls, dtype: np.dtype[Any], convention: Convention) -> "_Keys":
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
        return keys, _first_at(keys[:-1] >> self.shift, self.cells)


@dataclass(frozen=True, eq=False)
class _Entries:
    """Confidence and outcome of the entries of some classes, block by block."""

    probs: RowSource
    labels: Labels
    columns: Columns
    keys: _Keys

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


def _count_coarse(entries: _Entries) -> Int64[np.ndarray, " cells"]:
    keys = entries.keys
    counts = np.zeros(keys.cells, dtype=np.int64)
    for c, o in entries.blocks():
        _count_cells(keys.bits(c), o, keys.shift, counts)
    return counts


def _order_statistics(
    entries: _Entries, coarse: Int64[np.ndarray, " cells"], ranks: Int64[np.ndarray, " ranks"]
) -> Float64[np.ndarray, " ranks"]:
    """Confidences of the given ranks, 0 the smallest: refined digit by digit."""
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
    entries: _Entries, active: UInt[np.ndarray, " active"], shift: int, bits: int
) -> Int64[np.ndarray, "active digits"]:
    """Known entries by their next digit, for the keys that begin with one of these prefixes."""
    keys, whole = entries.keys, entries.keys.whole.type
    coarse = active >> whole(int(keys.shift) - shift - bits)
    first = _first_at(coarse, keys.cells)
    counts = np.zeros((len(active), 2**bits), dtype=np.int64)
    for c, o in entries.blocks():
        near = np.empty(len(c) + 1, dtype=keys.whole)
        _count_fine(
            keys.bits(c), o, keys.shift, np.diff(first) > 0, first, active, whole(shift),
            whole(bits), near, counts,
        )  # fmt: skip
    return counts


def _first_at(coarse: UInt[np.ndarray, " keys"], cells: int) -> UInt[np.ndarray, " cells"]:
    """How many of the ascending keys lie below each coarse cell, and below the one past the end."""
    inside = np.bincount(np.minimum(coarse, cells).astype(np.int64), minlength=cells + 1)
    below = np.cumsum(inside) - inside
    return below.astype(np.min_scalar_type(len(coarse)))


def _rank_edges(n: int, n_bins: int, at: OrderStatistics) -> Edges:
    """Just above the last entry of every part when the sorted entries are dealt out in parts."""
    part = np.arange(1, n_bins)
    size, longer = divmod(n, n_bins)
    return _above(at(part * size + np.minimum(part, longer) - 1))


def _linear_edges(n: int, n_bins: int, at: OrderStatistics) -> Edges:
    """Just above the quantiles k / n_bins, interpolated between neighbouring entries."""
    low, rest = np.divmod((n - 1) * np.arange(1, n_bins), n_bins)
    below, above = at(np.concatenate([low, np.minimum(low + 1, n - 1)])).reshape(2, -1)
    return _above(below + (above - below) * (rest / n_bins))


def _averaged_edges(n: int, n_bins: int, at: OrderStatistics) -> Edges:
    """Entry number ⌈k·n / n_bins⌉, or the mean of it and the next where nothing is rounded."""
    entry, rest = np.divmod(n * np.arange(n_bins + 1), n_bins)
    lower = np.where(rest == 0, np.maximum(entry - 1, 0), entry)
    bounds = at(np.concatenate([lower, np.minimum(entry, n - 1)])).reshape(2, -1).mean(axis=0)
    inner = bounds[np.diff(bounds, prepend=-np.inf) > 1e-8][1:-1]
    return np.append(inner, np.full(n_bins - 1 - len(inner), np.inf))


def _above(values: Float64[np.ndarray, " edges"]) -> Edges:
    return np.asarray(np.nextafter(values, np.inf))


METHODS: dict[str, Callable[[int, int, OrderStatistics], Edges]] = {
    "ranks": _rank_edges,
    "linear": _linear_edges,
    "averaged_inverted_cdf": _averaged_edges,
}


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
