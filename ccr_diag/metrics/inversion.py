"""Intervals of calibration errors: which true errors would show, by chance, the one that was seen?

A calibration error adds up gaps without their sign: chance alone makes it larger, and the more so
the smaller it is. Intervals around the value would not hold the truth. Here a true error is in the
interval if a population that has it shows the value seen, neither among the 2.5 % smallest nor the
2.5 % largest.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from ccr_diag.metrics.bins import ReliabilityBins
from ccr_diag.metrics.intervals import LEVEL
from ccr_diag.metrics.populations import COARSE, Errors, families, scaled

MANY = 1e15  # entries of a population for each one seen: chance has no part in it
AT_ONCE = 2**13  # gaps of samples: of few, those of many populations in one operation

Function = Callable[[ReliabilityBins], Float64[np.ndarray, "*batch"]]
Values = Float64[np.ndarray, "*batch"]


@dataclass(frozen=True, eq=False)
class Curve:
    """What a measure is in each population of a family, and what it is in samples from them.

    Args:
        truth: in the populations; the first one is calibrated.
        shown: in the samples.
    """

    truth: Float64[np.ndarray, "*batch populations"]
    shown: Float64[np.ndarray, "*batch populations replicates"]

    @classmethod
    def joined(cls, parts: Sequence["Curve"]) -> "Curve":
        """The curves of all classes, the first axis."""
        return cls(
            np.concatenate([part.truth for part in parts]),
            np.concatenate([part.shown for part in parts]),
        )

    def class_mean(self, classes: Bool[np.ndarray, " classes"]) -> "Curve":
        """Of the mean over classes, the first axis; a class without an entry is left out."""
        there = classes & ~np.isnan(self.truth).any(axis=-1)
        n = there.sum() or np.nan
        return Curve(self.truth[there].sum(axis=0) / n, self.shown[there].sum(axis=0) / n)


def curves(
    measures: Mapping[str, Function],
    bins: ReliabilityBins,
    drawn: ReliabilityBins,
    noise: Errors | None = None,
    of_samples: Mapping[str, Function] | None = None,
) -> dict[str, list[Curve]]:
    """The curves of measures of the same bins, one for each family of populations.

    Populations have the confidences of the sample's bins and gaps of their own
    (``populations.families``).

    A sample from a population is like the one at hand but for its gaps, which are the population's
    and an error. The gap sums of a half-sample, brought to as many entries, err around those of all
    images as these around the truth: their difference, divided by n, is the error. Where outcomes
    of probability q, the population's frequency, vary by more than the errors show (a bin without a
    positive shows next to nothing), noise is added that makes up for q (1 − q) / n less their
    variance.

    Args:
        measures: name → bins to value; each one a size of the gaps.
        bins: (…, bins) of all images.
        drawn: (…, replicates, bins) of the half-samples.
        noise: standard normal numbers; without, for many narrow bins, none is added, and the
            scaled family alone is computed, at fewer points; the measures must then be ones that
            correct for no sample size.
        of_samples: name → bins to value, for measures of which samples have a shorter way that
            lies above the value seen exactly where the measure does.
    """
    n = np.maximum(bins.count, 1)
    confidence, gap = bins.sum_confidence / n, (bins.sum_confidence - bins.sum_outcome) / n
    times = _total(bins)[..., None, :] / np.maximum(_total(drawn), 1)
    drawn_gap = times * (drawn.sum_confidence - drawn.sum_outcome) / n[..., None, :]
    error = drawn_gap - gap[..., None, :]
    variance = np.square(error).mean(axis=-2)
    if noise is None:
        all_gaps = [scaled(gap, COARSE)]
    else:
        binomial = np.maximum(confidence * (1 - confidence), 0) / n
        sd = np.sqrt(np.maximum(variance, binomial))
        all_gaps = families(np.asarray(bins.count, dtype=np.float64), gap, sd, error)
    shorter = of_samples or {}
    found: dict[str, list[Curve]] = {name: [] for name in measures}
    step = max(1, AT_ONCE // max(error.size, 1))
    for family in all_gaps:
        points: dict[str, list[tuple[Values, Values]]] = {name: [] for name in measures}
        for start in range(0, len(family), step):
            gaps = np.stack(family[start : start + step], axis=-2)[..., None, :]
            errors = error[..., None, :, :]
            if noise is not None:
                q = np.clip(confidence[..., None, None, :] - gaps, 0, 1)
                of_outcomes = q * (1 - q) / n[..., None, None, :]
                lacking = np.sqrt(np.maximum(of_outcomes - variance[..., None, None, :], 0))
                errors = errors + lacking * noise[..., None, :, :]
            samples = _with_gaps(bins, gaps + errors)
            population = _with_gaps(bins, gaps, 1.0 if noise is None else MANY)
            for name, measure in measures.items():
                shown = shorter.get(name, measure)(samples)
                points[name].append((measure(population)[..., 0], shown))
        for name, parts in points.items():
            of_truth, of_shown = zip(*parts, strict=True)
            curve = Curve(np.concatenate(of_truth, axis=-1), np.concatenate(of_shown, axis=-2))
            found[name].append(curve)
    return found


def inverted_interval(
    value: Values, found: Sequence[Curve], most: float
) -> Float64[np.ndarray, " ends *batch"]:
    """Ends of the true values whose samples show the value as often as 1 in 40, on either side.

    With q_{0.025} and q_{0.975} the quantiles of what samples show, linear between populations:
    from the least truth with q_{0.975} ≥ value to the largest one with q_{0.025} ≤ value, over all
    families together. A value below what half of the calibrated samples show is a lucky one: for
    the upper end it counts as that half's. Where no population is bad enough to shut the value out,
    the upper end is at least what a calibrated one hardly ever shows.

    Args:
        value: on all images.
        found: of ``curves``.
        most: the largest value of the measure; the ends lie between 0 and it.

    Returns:
        Lower and upper ends, NaN where the value is undefined.

    Source: test inversion, Carpenter 1999; the floor of the upper end, Cowan et al. 2011.
    """
    lows, highs = zip(*(_ends(np.asarray(value), curve) for curve in found), strict=True)
    low, high = np.min(lows, axis=0), np.max(highs, axis=0)
    ends = np.clip([low, np.maximum(high, low)], 0, most)
    return np.where(np.isnan(value), np.nan, ends)


def _ends(value: Values, curve: Curve) -> tuple[Values, Values]:
    few, half, many = _quantiles(curve.shown)
    truth = curve.truth
    last = truth.shape[-1] - 1
    reached = many >= value[..., None]
    first = np.where(reached.any(axis=-1), reached.argmax(axis=-1), last)
    low = _between(value, np.asarray(first - 1), many, truth)
    seen = np.maximum(value, half[..., 0])
    reaching = few <= seen[..., None]
    final = np.where(reaching.any(axis=-1), last - reaching[..., ::-1].argmax(axis=-1), 0)
    high = _between(np.asarray(seen), np.asarray(final), few, truth)
    high = np.where(final == last, np.maximum(truth[..., -1], many[..., 0]), high)
    return low, high


def _quantiles(
    shown: Float64[np.ndarray, "*batch replicates"],
) -> Float64[np.ndarray, " tails *batch"]:
    """q_{0.025}, q_{0.5}, q_{0.975} of the defined replicates; 0 where there is none.

    Beyond Weibull's quantile p of n samples lies, on average, a share p of what they are drawn
    from; beyond numpy's default, of 200, nearly 3 % at p = 2.5 %.
    """
    tails = [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2]
    undefined = np.isnan(shown)
    if not undefined.any():
        return np.asarray(np.quantile(shown, tails, axis=-1, method="weibull"))  # much faster
    none = undefined.all(axis=-1, keepdims=True)
    defined = np.where(none, 0.0, shown)
    return np.asarray(np.nanquantile(defined, tails, axis=-1, method="weibull"))


def _between(
    value: Values,
    before: Int64[np.ndarray, "*batch"],
    shown: Float64[np.ndarray, "*batch populations"],
    truth: Float64[np.ndarray, "*batch populations"],
) -> Values:
    """The truth at which the line from one population to the next shows the value."""
    last = truth.shape[-1] - 1
    index = np.stack([np.clip(before + step, 0, last) for step in range(2)], axis=-1)
    from_, to = np.moveaxis(np.take_along_axis(shown, index, axis=-1), -1, 0)
    start, end = np.moveaxis(np.take_along_axis(truth, index, axis=-1), -1, 0)
    share = np.divide(value - from_, to - from_, out=np.ones_like(value), where=to > from_)
    return np.asarray(start + np.clip(share, 0, 1) * (end - start))


def _total(bins: ReliabilityBins) -> Float64[np.ndarray, "*batch 1"]:
    return np.asarray(bins.count.sum(axis=-1, keepdims=True), dtype=np.float64)


def _with_gaps(
    bins: ReliabilityBins,
    gap: Float64[np.ndarray, "*batch populations samples bins"],
    times: float = 1.0,
) -> ReliabilityBins:
    """These bins with other outcomes, in each sample of each population; entries so many times."""
    count, confidence, variance = (
        np.broadcast_to(times * part[..., None, None, :], gap.shape)
        for part in (bins.count, bins.sum_confidence, bins.sum_variance)
    )
    return ReliabilityBins(count, confidence, confidence - count * gap, variance)


def standard_noise(
    seed: int, rows: Sequence[int], replicates: int, bins: int
) -> Float64[np.ndarray, "rows replicates bins"]:
    """Standard normal numbers; those of a row are the same whichever others are asked for."""
    streams = (np.random.default_rng((seed, row, 1)) for row in rows)
    return np.stack([stream.standard_normal((replicates, bins)) for stream in streams])
