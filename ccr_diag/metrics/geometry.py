"""What tuning did to the text space: embeddings in, distances and coordinates out.

Rows are brought to unit length first, so every distance is 1 − cosine. All in float64.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int

from ccr_diag.arrays import Embeddings
from ccr_diag.errors import BadConfig, BadData


def embedding_divergence(
    text: Float[np.ndarray, "classes dim"], k: int = 5
) -> Float64[np.ndarray, " classes"]:
    """Mean distance to the k nearest other classes, ED_i = Σ_{j ∈ N_k(i)} (1 − cos(t_i, t_j)) / k.

    Args:
        text: class text embeddings.
        k: neighbours, at most classes − 1 are used.

    Raises:
        BadConfig: k below 1.
        BadData: fewer than two classes, or a row of zero length or not finite.

    Source: the embedding divergence of the CCR paper, whose distance and k are unpublished.
    """
    cosine = _cosines(text)
    distance = 1 - np.take_along_axis(cosine, _nearest(cosine, k), axis=1)
    return np.asarray(distance.mean(axis=1))


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
    if len(zero_shot) != len(tuned):
        raise BadData(
            "Both spaces must hold the same classes, "
            f"but got {len(zero_shot)} zero-shot and {len(tuned)} tuned rows."
        )
    before, after = (_nearest(_cosines(space), k) for space in (zero_shot, tuned))
    kept = (before[:, :, None] == after[:, None, :]).any(axis=2)
    return np.asarray(kept.mean(axis=1))


def modality_gap(
    images: Float[np.ndarray, "images dim"], texts: Float[np.ndarray, "texts text_dim"]
) -> float:
    """‖mean unit image − mean unit text‖₂, in [0, 2].

    Raises:
        BadData: no rows, unequal widths, or a row of zero length or not finite.

    Source: Liang et al. 2022.
    """
    _same_width(images, texts)
    return float(np.linalg.norm(_unit(images).mean(axis=0) - _unit(texts).mean(axis=0)))


@dataclass(frozen=True, eq=False)
class SvdBasis:
    """Two directions of the zero-shot space, in which every model's rows can be drawn.

    Fitted once: a basis of its own for each model would turn the picture.

    Args:
        directions: orthonormal rows.
    """

    directions: Float64[np.ndarray, "2 dim"]

    @classmethod
    def fit(
        cls,
        images: Float[np.ndarray, "images dim"],
        texts: Float[np.ndarray, "texts text_dim"],
    ) -> "SvdBasis":
        """First two right singular vectors of the unit rows [images; texts], not centred.

        The loading of largest magnitude is made positive, so that the picture does not flip.

        Raises:
            BadData: as for ``modality_gap``, or less than two dimensions.

        Source: the figure code of the Modality Gap repository.
        """
        _same_width(images, texts)
        rows = np.concatenate([_unit(images), _unit(texts)])
        if rows.shape[1] < 2:
            raise BadData("A plane needs embeddings of at least 2 dimensions, but got 1.")
        directions = np.linalg.svd(rows, full_matrices=False)[2][:2]
        largest = np.argmax(np.abs(directions), axis=1)
        return cls(directions * np.sign(directions[[0, 1], largest])[:, None])

    def coordinates(self, rows: Embeddings) -> Float64[np.ndarray, "rows 2"]:
        """Unit rows projected on both directions; for the fitted rows this is U·S.

        Raises:
            BadData: another width, or a row of zero length or not finite.
        """
        _same_width(rows, self.directions)
        return np.asarray(_unit(rows) @ self.directions.T)


def _cosines(text: Embeddings) -> Float64[np.ndarray, "rows rows"]:
    if len(text) < 2:
        raise BadData(f"Neighbours need at least 2 classes, but got {len(text)}.")
    unit = _unit(text)
    return np.asarray(unit @ unit.T)


def _nearest(
    cosine: Float64[np.ndarray, "classes classes"], k: int
) -> Int[np.ndarray, "classes k"]:
    """The k other rows of largest cosine; ties go to the lower index."""
    if k < 1:
        raise BadConfig(f"The number of neighbours must be at least 1, but got {k}.")
    ranked = np.round(cosine, 12)  # equal rows may differ in the last bit of a matrix product
    np.fill_diagonal(ranked, -np.inf)
    return np.argsort(-ranked, axis=1, kind="stable")[:, : min(k, len(cosine) - 1)]


def _unit(rows: Embeddings) -> Embeddings:
    rows = np.asarray(rows, dtype=np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    bad = np.flatnonzero(~((length > 0) & np.isfinite(length)))
    if bad.size:
        raise BadData(f"An embedding must be finite and not zero, but row {bad[0]} is not.")
    return np.asarray(rows / length)


def _same_width(first: np.ndarray, second: np.ndarray) -> None:
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise BadData(
            "Embeddings must be (rows, dim) arrays of one width, "
            f"but got shapes {first.shape} and {second.shape}."
        )
    if not (len(first) and len(second)):
        raise BadData(f"Each kind needs at least 1 row, but got {len(first)} and {len(second)}.")
