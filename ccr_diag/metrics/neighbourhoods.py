"""Who is near to whom in the text space, and what tuning left of it.

Rows are brought to unit length first: both distances, 1 − cos and ‖t_i − t_j‖ = √(2 − 2 cos), rank
neighbours alike. All in float64. Cosines that differ by less than ``TIE`` are ties, and ties go to
the lower index, so that equal rows do not depend on the last bit of a matrix product.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Float64, Int

from ccr_diag.arrays import Embeddings
from ccr_diag.errors import BadConfig, BadData

TIE = 1e-12
PERSISTENCE = 0.9
DISTANCES = ("cosine", "euclidean")
BLOCK = 256  # rows of the cosine matrix that are held at a time

Neighbours = Int[np.ndarray, "classes k"]


def embedding_divergence(
    text: Float[np.ndarray, "classes dim"],
    k: int = 5,
    distance: str = "cosine",
    neighbours: Int[np.ndarray, "classes given_k"] | None = None,
) -> Float64[np.ndarray, " classes"]:
    """Mean distance to the k nearest other classes, ED_i = Σ_{j ∈ N_k(i)} d(t_i, t_j) / k.

    Args:
        text: class text embeddings.
        k: neighbours, at most classes − 1 are used.
        distance: ``cosine``, d = 1 − cos(t_i, t_j), or ``euclidean``, ‖t_i − t_j‖ of unit rows.
        neighbours: N_k(i) as ``nearest_classes`` found them in another space; ``k`` is then unused.

    Raises:
        BadConfig: k below 1, or an unknown distance.
        BadData: fewer than two classes, or a row of zero length or not finite.

    Source: the embedding divergence of the CCR paper, whose distance and k are unpublished.
    """
    chosen = nearest_classes(text, k) if neighbours is None else neighbours
    return np.asarray(neighbour_distances(text, chosen, distance).mean(axis=1))


def neighbourhood_preservation(
    zero_shot: Float[np.ndarray, "classes dim"],
    tuned: Float[np.ndarray, "tuned_classes tuned_dim"],
    k: int = 5,
) -> Float64[np.ndarray, " classes"]:
    """NP@k_i = |N_k(i) in the zero-shot space ∩ N_k(i) in the tuned space| / k.

    Args:
        zero_shot: class text embeddings before tuning.
        tuned: the same classes after tuning.
        k: neighbours, at most classes − 1 are used.

    Raises:
        BadConfig: k below 1.
        BadData: as for ``embedding_divergence``, or unequal numbers of classes.

    Source: the neighbourhood preservation of the CCR paper, read as overlap of sets.
    """
    same_classes(zero_shot, tuned)
    return preserved(nearest_classes(zero_shot, k), nearest_classes(tuned, k))


def preserved(before: Neighbours, after: Neighbours) -> Float64[np.ndarray, " classes"]:
    """NP@k_i of neighbours that are found already."""
    return np.asarray(shared_by_depth(before, after)[:, -1] / before.shape[1])


def rank_biased_overlap(
    before: Neighbours, after: Neighbours, persistence: float = PERSISTENCE
) -> Float64[np.ndarray, " classes"]:
    """Agreement of two rankings of neighbours, extrapolated beyond depth k, in [0, 1].

    RBO_i = (X_k / k) p^k + ((1 − p) / p) Σ_{d=1}^{k} (X_d / d) p^d, with X_d the number of
    neighbours that the first d of both rankings share. The agreement at depth k is taken to go on
    for ever (Webber's RBO_ext, not the truncated sum): equal rankings have 1 at any k.

    Args:
        before: neighbours, nearest first.
        after: the same in another space.
        persistence: p, the weight of one more rank; 1 / (1 − p) ranks are looked at on average.

    Raises:
        BadConfig: p not between 0 and 1.

    Source: Webber, Moffat and Zobel 2010, equation 32 for lists of equal length.
    """
    p = persistence
    if not 0 < p < 1:
        raise BadConfig(f"The persistence of RBO must lie between 0 and 1, but got {p:g}.")
    k = before.shape[1]
    d = np.arange(1, k + 1)
    agreement = shared_by_depth(before, after) / d
    return np.asarray(agreement[:, -1] * p**k + (1 - p) / p * (agreement @ p**d))


def kendall_tau_b(
    first: Float[np.ndarray, "rows items"], second: Float[np.ndarray, "rows items"]
) -> Float64[np.ndarray, " rows"]:
    """Row by row, τ_b = Σ_{i<j} s_ij r_ij / √(Σ_{i<j} s_ij² · Σ_{i<j} r_ij²).

    s_ij and r_ij are the signs of the differences of items i and j in the first and the second
    array, 0 within ``TIE``. NaN where all items of a row are tied in one of them.

    Source: Kendall 1945.
    """
    x, y = tie_ranks(first), tie_ranks(second)
    agree, tied_x, tied_y = np.zeros((3, len(x)))
    for lag in range(1, x.shape[1]):
        s = np.sign(x[:, lag:] - x[:, :-lag])
        r = np.sign(y[:, lag:] - y[:, :-lag])
        agree += (s * r).sum(axis=1)
        tied_x += (s != 0).sum(axis=1)
        tied_y += (r != 0).sum(axis=1)
    pairs = np.sqrt(tied_x * tied_y)
    return np.asarray(np.divide(agree, pairs, out=np.full(len(x), np.nan), where=pairs > 0))


def tie_ranks(values: Float[np.ndarray, "rows items"]) -> Int[np.ndarray, "rows items"]:
    """Ranks from 0 in each row; values that follow each other within ``TIE`` share one."""
    order = np.argsort(values, axis=1)
    ranks = np.empty(values.shape, dtype=np.int64)
    np.put_along_axis(ranks, order, _levels(np.take_along_axis(values, order, axis=1)), axis=1)
    return ranks


def nearest_classes(text: Float[np.ndarray, "classes dim"], k: int) -> Int[np.ndarray, "classes k"]:
    """The k other classes of largest cosine, nearest first; k is capped at classes − 1.

    Raises:
        BadConfig: k below 1.
        BadData: fewer than two classes, or a row of zero length or not finite.
    """
    if k < 1:
        raise BadConfig(f"The number of neighbours must be at least 1, but got {k}.")
    n = len(text)
    if n < 2:
        raise BadData(
            f"Neighbours need at least 2 classes, but got {n}; the geometry of a text space is "
            "between its classes, so give more of them."
        )
    unit = unit_rows(text)
    return np.concatenate([_nearest(unit, rows, min(k, n - 1)) for rows in row_blocks(n)])


def _nearest(unit: Embeddings, rows: slice, k: int) -> Int[np.ndarray, "block k"]:
    remoteness = -(unit[rows] @ unit.T)
    own = np.arange(len(unit))[rows]
    remoteness[np.arange(len(own)), own] = np.inf
    order = np.argsort(remoteness, axis=1)
    levels = _levels(np.take_along_axis(remoteness, order, axis=1))
    # One key a class: its level, then its index. Already nearly in order.
    return np.sort(levels * len(unit) + order, axis=1, kind="stable")[:, :k] % len(unit)


def _levels(ascending: Float64[np.ndarray, "rows items"]) -> Int[np.ndarray, "rows items"]:
    levels = np.zeros(ascending.shape, dtype=np.int64)
    np.cumsum(np.diff(ascending, axis=1) > TIE, axis=1, out=levels[:, 1:])
    return levels


def neighbour_distances(
    text: Float[np.ndarray, "classes dim"],
    neighbours: Int[np.ndarray, "classes k"],
    distance: str = "cosine",
) -> Float64[np.ndarray, "classes k"]:
    """Distance of each class to each of its neighbours.

    From the differences of unit rows, 1 − cos = ‖t_i − t_j‖² / 2: equal rows are exactly 0 apart.

    Raises:
        BadConfig: an unknown distance.
        BadData: a row of zero length or not finite.
    """
    if distance not in DISTANCES:
        raise BadConfig(
            f"The distance must be one of {', '.join(DISTANCES)}, but got {distance!r}."
        )
    unit = unit_rows(text)
    squared = np.stack(
        [np.square(unit - unit[column]).sum(axis=1) for column in neighbours.T], axis=1
    )
    return np.asarray(squared / 2 if distance == "cosine" else np.sqrt(squared))


def shared_by_depth(before: Neighbours, after: Neighbours) -> Int[np.ndarray, "classes k"]:
    """X_d: how many of the first d neighbours before are among the first d after, d = 1 … k."""
    return np.concatenate([_shared(before[rows], after[rows]) for rows in row_blocks(len(before))])


def _shared(before: Neighbours, after: Neighbours) -> Int[np.ndarray, "classes k"]:
    n, k = before.shape
    depth = np.full((n, int(max(before.max(), after.max())) + 1), k)  # k: not among them
    np.put_along_axis(depth, after, np.arange(k)[None], axis=1)
    met = np.maximum(np.take_along_axis(depth, before, axis=1), np.arange(k))
    cells = met + (k + 1) * np.arange(n)[:, None]
    counts = np.bincount(cells.ravel(), minlength=n * (k + 1)).reshape(n, k + 1)
    return np.cumsum(counts[:, :k], axis=1)


def row_blocks(n: int) -> Iterator[slice]:
    """Slices that cover n rows."""
    return (slice(start, start + BLOCK) for start in range(0, n, BLOCK))


def unit_rows(rows: Embeddings) -> Embeddings:
    """Rows over their lengths, in float64.

    Raises:
        BadData: a row of zero length or not finite.
    """
    rows = np.asarray(rows, dtype=np.float64)
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0)
    bad = np.flatnonzero(~((largest > 0) & np.isfinite(largest)))
    if bad.size:
        raise BadData(f"An embedding must be finite and not zero, but row {bad[0]} is not.")
    rows = rows / largest  # no length overflows or vanishes
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def same_classes(zero_shot: np.ndarray, tuned: np.ndarray) -> None:
    """Check that both spaces have as many rows.

    Raises:
        BadData: they have not.
    """
    if len(zero_shot) != len(tuned):
        raise BadData(
            "Both spaces must hold the same classes, "
            f"but got {len(zero_shot)} zero-shot and {len(tuned)} tuned rows."
        )
