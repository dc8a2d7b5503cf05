"""Equal-mass bins, exact, of more entries than one would sort.

The cuts lie at entries of known rank, or between two (``order_statistics``); one more pass then
fills the bins between them (``edge_bins``).
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64

from ccr_diag.arrays import Labels
from ccr_diag.errors import BadConfig
from ccr_diag.metrics.bins import ReliabilityBins
from ccr_diag.metrics.edge_bins import fill_bins
from ccr_diag.metrics.entries import Columns, Entries, RowSource
from ccr_diag.metrics.order_keys import Convention, Edges, Keys
from ccr_diag.metrics.order_statistics import count_coarse, order_statistics

Method = Literal["ranks", "linear", "averaged_inverted_cdf"]
OrderStatistics = Callable[[Int64[np.ndarray, " ranks"]], Float64[np.ndarray, " ranks"]]


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
    entries = Entries(probs, labels, columns, Keys.of(probs.dtype, convention))
    coarse = count_coarse(entries)
    n = int(coarse.sum())
    edges = np.full(n_bins - 1, np.inf)
    if n and n_bins > 1:
        edges = METHODS[method](n, n_bins, lambda ranks: order_statistics(entries, coarse, ranks))
    return fill_bins(probs, labels, columns, edges, convention), edges


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
