"""Probabilities and labels in, evidence out: for every pool of classes, every class, every draw.

Images come in blocks, so that arrays larger than memory are measured in bounded memory. What is
kept has a size of its own: rows × slots × replicates.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float64, Int8, Int64, UInt8

from ccr_diag.arrays import PRESENT, UNKNOWN, Labels, Source
from ccr_diag.metrics.accumulate import Accumulator
from ccr_diag.metrics.bins import ReliabilityBins
from ccr_diag.metrics.cells import CELLS, as_bins, cell_slots
from ccr_diag.metrics.discrimination import Confusion, average_precision, keep_top
from ccr_diag.metrics.edge_bins import fill_replicates
from ccr_diag.metrics.equal_mass import equal_mass_bins
from ccr_diag.metrics.evidence import Evidence
from ccr_diag.metrics.intervals import image_weights
from ccr_diag.metrics.inversion import Curve, curves, inverted_interval, standard_noise
from ccr_diag.metrics.order_keys import Convention
from ccr_diag.metrics.presets import Preset
from ccr_diag.metrics.registry import METRICS
from ccr_diag.metrics.scoring import ScoreSums
from ccr_diag.metrics.tables import SIDES, Tables, checked_blocks, plain, uniform_slots

CONVENTIONS: tuple[Convention, ...] = ("positive", "decision")
DRAWN_BYTES = 2**27  # of the replicates' tables that are kept at once
CLASSWISE = "ece_positive"  # of each class; their mean is classwise ECE
COLUMN_BYTES = 2**27  # of the columns that are ranked together
DRAWN_ENTRIES = 2**18  # entries per step of the equal-mass replicates
THREADS = 2  # at work at once; each holds tables of its own

Block = tuple[
    Float[np.ndarray, "images classes"],
    Int8[np.ndarray, "images classes"],
    UInt8[np.ndarray, "images replicates"],
]


@dataclass(frozen=True, eq=False)
class Task:
    """What is measured, and how.

    Args:
        probs: (images, classes) in [0, 1].
        labels: (images, classes) in {1, 0, -1}.
        ranking: (images, classes), what average precision ranks by.
        pools: name → its classes.
        group: number of each class's own group; pools are unions of groups.
        n_bins: bins.
        preset: the definitions.
        top_k: k of the measures over the most probable classes.
        threshold: of the thresholded ECE.
        proximity: bin of each image's proximity, if known.
        replicates: of the bootstrap, or 0.
        seed: of the bootstrap.
    """

    probs: Source
    labels: Labels
    ranking: Source
    pools: dict[str, Bool[np.ndarray, " classes"]]
    group: Int64[np.ndarray, " classes"]
    n_bins: int
    preset: Preset
    top_k: int
    threshold: float
    proximity: Int64[np.ndarray, " images"] | None
    replicates: int
    seed: int

    @cached_property
    def weights(self) -> UInt8[np.ndarray, "images replicates"]:
        """How often each replicate drew each image."""
        return image_weights(self.seed, self.replicates, 0, self.probs.shape[0])

    def blocks(self, columns: slice = slice(None)) -> Iterator[tuple[slice, Block]]:
        """Rows, and probabilities, labels and weights of these rows."""
        for rows, p, y in checked_blocks(self.probs, self.labels):
            yield rows, (np.ascontiguousarray(p[:, columns]), y[:, columns], self.weights[rows])

    def groups_of(self, pool: str) -> Bool[np.ndarray, " groups"]:
        """Which groups a pool is made of."""
        inside = np.zeros(self.group.max() + 1, dtype=bool)
        inside[self.group[self.pools[pool]]] = True
        return inside


@dataclass(frozen=True, eq=False)
class ByClass:
    """What the class tables give, on all images or in the replicates.

    Args:
        values: metric → value of each class.
        bins: ``positive``, ``decision``, ``called`` → bins of each group.
        counts: decisions of each class.
    """

    values: dict[str, Float64[np.ndarray, " classes *batch"]]
    bins: dict[str, ReliabilityBins]
    counts: Confusion


@dataclass(frozen=True, eq=False)
class ClassIntervals:
    """Intervals by inversion of each class's calibration errors.

    Args:
        ends: metric → lower and upper ends.
        ece: curves of ECE (positive), whose mean over classes is classwise ECE.
    """

    ends: dict[str, Float64[np.ndarray, "2 classes"]]
    ece: list[Curve]


@dataclass(frozen=True, eq=False)
class Shared:
    """What one more pass over all classes gives, on all images or in the replicates.

    Args:
        bins: ``top``, ``above``, ``cells``, ``proximity`` → bins of each group.
        called_top: entries among the k most probable by class, and how many are positive.
        losses: Σ (p − y)² and −Σ log likelihood of each class.
        subset: pool → images decided wholly right, images with a known label.
    """

    bins: dict[str, ReliabilityBins]
    called_top: tuple[
        Float64[np.ndarray, " classes *batch"], Float64[np.ndarray, " classes *batch"]
    ]
    losses: tuple[Float64[np.ndarray, " classes *batch"], Float64[np.ndarray, " classes *batch"]]
    subset: dict[str, tuple[Float64[np.ndarray, "*batch"], Float64[np.ndarray, "*batch"]]]


def gather(task: Task) -> tuple[list["Gathered"], ClassIntervals, ReliabilityBins]:
    """The evidence on all images and, if asked for, in the replicates; of classes also bins.

    Raises:
        BadData: a probability outside [0, 1] or NaN, a label that is none, unequal shapes.
    """
    shared = _shared(task)  # large tables, one after the other
    by_class, intervals, class_bins = _by_class(task)
    with ThreadPoolExecutor(THREADS) as threads:
        mass = {pool: threads.submit(_equal_mass, task, pool) for pool in task.pools}
        precision = threads.submit(_precision, task)
    found = [
        Gathered(
            task,
            by_class[drawn],
            shared[drawn],
            precision.result()[drawn],
            {pool: both.result()[drawn] for pool, both in mass.items()},
        )
        for drawn in range(2 if task.replicates else 1)
    ]
    return found, intervals, class_bins


@dataclass(frozen=True, eq=False)
class Gathered:
    """Evidence on all images, or in the replicates."""

    task: Task
    by_class: ByClass
    shared: Shared
    precision: Float64[np.ndarray, " classes *batch"]
    mass: dict[str, dict[str, ReliabilityBins]]

    def of_pool(self, pool: str) -> Evidence:
        """Of the classes of one pool."""
        mask, groups = self.task.pools[pool], self.task.groups_of(pool)
        bins = {
            name: found.pooled(groups)
            for name, found in (self.by_class.bins | self.shared.bins).items()
        }
        counts = self.by_class.counts.of(mask)
        return Evidence(
            **bins,
            mass_positive=self.mass[pool]["positive"],
            mass_decision=self.mass[pool]["decision"],
            counts=counts,
            top_counts=self._top_counts(mask, counts),
            scores=self._scores(mask),
            precision=self.precision[mask],
            classwise=self.by_class.values[CLASSWISE][mask],
            subset=self.shared.subset[pool],
        )

    def per_class(self) -> dict[str, Float64[np.ndarray, " classes *batch"]]:
        """Metric → the value of each class alone."""
        every = np.ones((1, len(self.precision)), dtype=bool)
        alone = {
            "counts": Confusion(*(c[None] for c in vars(self.by_class.counts).values())),
            "scores": ScoreSums(*(s[None] for s in vars(self._scores(every[0])).values())),
            "precision": self.precision[None],
        }
        found = {
            key: np.asarray(metric.function(alone[metric.needs]), dtype=np.float64)
            for key, metric in METRICS.items()
            if metric.per_class and metric.needs in alone
        }
        return self.by_class.values | found

    def _scores(self, mask: Bool[np.ndarray, " all_classes"]) -> ScoreSums:
        c = self.by_class.counts.of(mask)
        positives = c.true_positive + c.false_negative
        n = positives + c.true_negative + c.false_positive
        return ScoreSums(n, positives, *(loss[mask] for loss in self.shared.losses))

    def _top_counts(self, mask: Bool[np.ndarray, " all_classes"], counts: Confusion) -> Confusion:
        called, hit = (part[mask] for part in self.shared.called_top)
        positives = counts.true_positive + counts.false_negative
        negatives = counts.true_negative + counts.false_positive
        return Confusion(hit, called - hit, positives - hit, negatives - (called - hit))


def _by_class(task: Task) -> tuple[list[ByClass], ClassIntervals, ReliabilityBins]:
    """Class tables, for as many classes at once as fit; the replicates' are reduced at once."""
    n_classes = task.probs.shape[1]
    per_class = SIDES * task.n_bins * 4 * max(task.replicates, 1) * 8
    step = max(1, DRAWN_BYTES // per_class)
    parts: list[list[ByClass]] = []
    alone: list[ReliabilityBins] = []
    intervals: list[ClassIntervals] = []
    for start in range(0, n_classes, step):
        columns = slice(start, min(start + step, n_classes))
        width = columns.stop - start
        found = Accumulator(width, SIDES * task.n_bins, task.replicates)
        for _, (p, y, weights) in task.blocks(columns):
            slot = uniform_slots(p, task.n_bins)
            found.add(plain(p), y, slot, np.arange(width), None, weights)
        both = (found.sums, found.drawn) if task.replicates else (found.sums,)
        tables = [Tables.from_sums(sums) for sums in both]
        parts.append([_reduced(part, task.group[columns], task) for part in tables])
        alone.append(tables[0].positive)
        if task.replicates:
            intervals.append(_class_intervals(tables[0], tables[1], columns, task))
    by_class = [_joined(list(part)) for part in zip(*parts, strict=True)]
    joined = _joined_intervals(intervals) if intervals else ClassIntervals({}, [])
    return by_class, joined, _concatenated(alone)


def _class_intervals(tables: Tables, drawn: Tables, columns: slice, task: Task) -> ClassIntervals:
    classes = range(columns.start, columns.stop)
    noise = standard_noise(task.seed, classes, task.replicates, task.n_bins)
    ends, ece = {}, list[Curve]()
    for needs in CONVENTIONS:
        bins, of_drawn = getattr(tables, needs), getattr(drawn, needs)
        metrics = {
            key: metric
            for key, metric in METRICS.items()
            if metric.distance and metric.per_class and metric.needs == needs
        }
        found = curves({k: m.function for k, m in metrics.items()}, bins, of_drawn, noise)
        for key, metric in metrics.items():
            value = np.asarray(metric.function(bins), dtype=np.float64)
            ends[key] = inverted_interval(value, found[key], metric.bounds[1])
        ece = found.get(CLASSWISE, ece)
    return ClassIntervals(ends, ece)


def _joined_intervals(parts: list[ClassIntervals]) -> ClassIntervals:
    families = zip(*(part.ece for part in parts), strict=True)
    return ClassIntervals(
        {key: np.concatenate([part.ends[key] for part in parts], axis=1) for key in parts[0].ends},
        [Curve.joined(family) for family in families],
    )


def _reduced(tables: Tables, group: Int64[np.ndarray, " classes"], task: Task) -> ByClass:
    bins = {name: getattr(tables, name) for name in ("positive", "decision", "called")}
    values = {
        key: np.asarray(metric.function(bins[metric.needs]), dtype=np.float64)
        for key, metric in METRICS.items()
        if metric.per_class and metric.needs in bins
    }
    groups = range(task.group.max() + 1)
    return ByClass(
        values,
        {name: _stacked([b.pooled(group == g) for g in groups]) for name, b in bins.items()},
        tables.confusion,
    )


def _stacked(bins: list[ReliabilityBins]) -> ReliabilityBins:
    return ReliabilityBins(
        *(np.stack(part) for part in zip(*(vars(b).values() for b in bins), strict=True))
    )


def _concatenated(bins: list[ReliabilityBins]) -> ReliabilityBins:
    return ReliabilityBins(
        *(np.concatenate(part) for part in zip(*(vars(b).values() for b in bins), strict=True))
    )


def _joined(parts: list[ByClass]) -> ByClass:
    counts = zip(*(vars(part.counts).values() for part in parts), strict=True)
    bins = parts[0].bins
    for part in parts[1:]:
        bins = {name: bins[name] + part.bins[name] for name in bins}
    return ByClass(
        {key: np.concatenate([part.values[key] for part in parts]) for key in parts[0].values},
        bins,
        Confusion(*(np.concatenate(count) for count in counts)),
    )


def _shared(task: Task) -> list[Shared]:
    """Cells, views of some entries, joint bins of proximity, losses, and whole images."""
    n_classes, replicates = task.probs.shape[1], task.replicates
    groups, slots = int(task.group.max()) + 1, SIDES * task.n_bins
    near = 1 if task.proximity is None else int(task.proximity.max()) + 1
    cells = Accumulator(groups, CELLS, replicates)
    top, above = (Accumulator(groups, slots, replicates) for _ in range(2))
    called = Accumulator(n_classes, 1, replicates)
    joint = Accumulator(groups * near, slots, replicates)
    losses = np.zeros((2, n_classes)), np.zeros((2, n_classes, replicates))
    subset = np.zeros((2, len(task.pools))), np.zeros((2, len(task.pools), replicates))
    for rows, (p, y, weights) in task.blocks():
        slot, p = uniform_slots(p, task.n_bins), plain(p)
        kept = np.empty_like(y)
        keep_top(p, y, task.top_k, kept)
        cells.add(p, y, cell_slots(p), task.group, None, weights)
        top.add(p, kept, slot, task.group, None, weights)
        above.add(p, np.where(p >= task.threshold, y, UNKNOWN), slot, task.group, None, weights)
        called.add(p, kept, np.zeros_like(slot), np.arange(n_classes), None, weights)
        if task.proximity is not None:
            joint.add(p, y, slot, task.group * near, task.proximity[rows], weights)
        for sums, parts in ((losses, _losses(p, y)), (subset, _whole_images(task, p, y))):
            for i, part in enumerate(parts):
                sums[0][i] += part.sum(axis=0)
                sums[1][i] += part.T @ weights.astype(np.float64)
    cell_sums = [_sums(cells, drawn) for drawn in range(2 if replicates else 1)]
    del cells  # the largest of all, and copied by now
    found = []
    for drawn in range(2 if replicates else 1):
        bins = {name: _positive(_sums(a, drawn)) for name, a in (("top", top), ("above", above))}
        bins["cells"] = _compact(as_bins(cell_sums.pop(0)))
        if task.proximity is not None:
            bins["proximity"] = _compact(_joint(_sums(joint, drawn), groups))
        calls = _sums(called, drawn)[..., 0, :, 0]
        right, some = subset[drawn]
        whole = {pool: (right[i, ...], some[i, ...]) for i, pool in enumerate(task.pools)}
        squared, log = losses[drawn]
        found.append(Shared(bins, (calls.sum(axis=-1), calls[..., 1]), (squared, log), whole))
    return found


def _compact(bins: ReliabilityBins) -> ReliabilityBins:
    """In arrays of its own, without the larger ones they may be views of."""
    return ReliabilityBins(*(np.array(part, order="C") for part in vars(bins).values()))


def _sums(found: Accumulator, drawn: int) -> Float64[np.ndarray, "..."]:
    return found.drawn if drawn else found.sums


def _positive(sums: Float64[np.ndarray, "..."]) -> ReliabilityBins:
    return Tables.from_sums(sums).positive


def _joint(sums: Float64[np.ndarray, "..."], groups: int) -> ReliabilityBins:
    """(groups, [replicates,] proximity bins × bins) of the decision convention."""
    bins = Tables.from_sums(sums).decision
    return ReliabilityBins(*(_flat(part, groups) for part in vars(bins).values()))


def _flat(part: Float64[np.ndarray, "..."], groups: int) -> Float64[np.ndarray, "..."]:
    by_group = part.reshape(groups, -1, *part.shape[1:])
    last = np.moveaxis(by_group, 1, -2)
    return last.reshape(*last.shape[:-2], -1)


def _losses(
    p: Float[np.ndarray, "images classes"], y: Int8[np.ndarray, "images classes"]
) -> tuple[Float64[np.ndarray, "images classes"], Float64[np.ndarray, "images classes"]]:
    """(p − y)² and −log of the probability given to the label that holds; 0 where unknown."""
    known = y != UNKNOWN
    likely = np.where(y == PRESENT, p, 1 - p).astype(np.float64)
    least = float(np.finfo(p.dtype).eps)
    return (
        np.where(known, np.square(1 - likely), 0.0),
        np.where(known, -np.log(np.maximum(likely, least)), 0.0),
    )


def _whole_images(
    task: Task, p: Float[np.ndarray, "images classes"], y: Int8[np.ndarray, "images classes"]
) -> tuple[Float64[np.ndarray, "images pools"], Float64[np.ndarray, "images pools"]]:
    """Per pool, whether all known labels are decided right, and whether there is one."""
    member = np.stack(list(task.pools.values())).astype(np.float32).T
    known = (y != UNKNOWN).astype(np.float32)
    wrong = known * ((p >= 0.5) != (y == PRESENT))
    some = (known @ member) > 0
    return (some & ((wrong @ member) == 0)).astype(np.float64), some.astype(np.float64)


def _precision(task: Task) -> list[Float64[np.ndarray, " classes *batch"]]:
    """Average precision of each class, on all images and in the replicates."""
    n_images, n_classes = task.probs.shape
    step = max(1, COLUMN_BYTES // (8 * n_images))  # a file is read once for many classes
    parts = [_precision_of(task, slice(start, start + step)) for start in range(0, n_classes, step)]
    return [np.concatenate(both) for both in zip(*parts, strict=True)]


def _precision_of(
    task: Task, columns: slice
) -> tuple[Float64[np.ndarray, " classes"], Float64[np.ndarray, "classes replicates"]]:
    ranking = np.ascontiguousarray(plain(task.ranking[:, columns]).T)
    labels = np.ascontiguousarray(task.labels[:, columns].T)
    found = [average_precision(s, y, task.weights) for s, y in zip(ranking, labels, strict=True)]
    values, drawn = zip(*found, strict=True)
    return np.array(values), np.stack(drawn)


def _equal_mass(task: Task, pool: str) -> list[dict[str, ReliabilityBins]]:
    """Equal-mass bins of both conventions; the replicates keep the edges of all images."""
    columns = np.flatnonzero(task.pools[pool])
    found: list[dict[str, ReliabilityBins]] = [{}, {}]
    for convention in CONVENTIONS:
        found[0][convention], edges = equal_mass_bins(
            task.probs, task.labels, columns, task.n_bins, convention, task.preset.equal_mass
        )
        if not task.replicates:
            continue
        for rows, p, y in checked_blocks(task.probs, task.labels, DRAWN_ENTRIES):
            bins = fill_replicates(p, y, columns, edges, convention, task.weights[rows])
            before = found[1].get(convention)
            found[1][convention] = bins if before is None else before + bins
    return found
