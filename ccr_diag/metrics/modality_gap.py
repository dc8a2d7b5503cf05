"""How far images lie from texts, and the plane in which both can be drawn.

Rows are brought to unit length first. All in float64.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float64

from ccr_diag.arrays import Embeddings
from ccr_diag.errors import BadData
from ccr_diag.metrics.neighbourhoods import unit_rows

MAX_DRAWN_IMAGES = 500  # as the Modality Gap repository draws


def modality_gap(
    images: Float[np.ndarray, "images dim"], texts: Float[np.ndarray, "texts text_dim"]
) -> float:
    """‖mean unit image − mean unit text‖₂, in [0, 2].

    Raises:
        BadData: no rows, unequal widths, or a row of zero length or not finite.

    Source: Liang et al. 2022.
    """
    _same_width(images, texts)
    return float(np.linalg.norm(unit_rows(images).mean(axis=0) - unit_rows(texts).mean(axis=0)))


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
        rows = np.concatenate([unit_rows(images), unit_rows(texts)])
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
        return np.asarray(unit_rows(rows) @ self.directions.T)


@dataclass(frozen=True, eq=False)
class GapChange:
    """The modality gap before and after tuning, and both text spaces in one plane.

    Args:
        zero_shot: length of the gap vector before tuning, over all images.
        tuned: the same after tuning.
        images: coordinates of the first ``MAX_DRAWN_IMAGES`` images.
        texts_zero_shot: coordinates of the classes before tuning.
        texts_tuned: coordinates of the classes after tuning, in the same basis.
    """

    zero_shot: float
    tuned: float
    images: Float64[np.ndarray, "images 2"]
    texts_zero_shot: Float64[np.ndarray, "classes 2"]
    texts_tuned: Float64[np.ndarray, "classes 2"]

    @classmethod
    def between(
        cls,
        images: Float[np.ndarray, "images image_dim"],
        zero_shot: Float[np.ndarray, "classes dim"],
        tuned: Float[np.ndarray, "classes tuned_dim"],
    ) -> "GapChange":
        """Measure both gaps; the plane is that of the first images and the zero-shot texts.

        Raises:
            BadData: as for ``SvdBasis.fit``.
        """
        drawn = images[:MAX_DRAWN_IMAGES]
        basis = SvdBasis.fit(drawn, zero_shot)
        return cls(
            zero_shot=modality_gap(images, zero_shot),
            tuned=modality_gap(images, tuned),
            images=basis.coordinates(drawn),
            texts_zero_shot=basis.coordinates(zero_shot),
            texts_tuned=basis.coordinates(tuned),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "zero_shot": self.zero_shot,
            "tuned": self.tuned,
            "coordinates": {
                "images": self.images.tolist(),
                "texts_zero_shot": self.texts_zero_shot.tolist(),
                "texts_tuned": self.texts_tuned.tolist(),
            },
        }


def _same_width(first: np.ndarray, second: np.ndarray) -> None:
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise BadData(
            "Embeddings must be (rows, dim) arrays of one width, "
            f"but got shapes {first.shape} and {second.shape}."
        )
    if not (len(first) and len(second)):
        raise BadData(f"Each kind needs at least 1 row, but got {len(first)} and {len(second)}.")
