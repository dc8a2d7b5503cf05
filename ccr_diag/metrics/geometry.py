"""What tuning did to the text space: class embeddings before and after in, one record out.

    neighbourhoods.py   distances to the nearest classes (ED), which of them stay (NP@K, τ_b, RBO)
    gram.py             drift and spectrum of the matrix of all cosines
    modality_gap.py     how far the images are, and a plane to draw both in
    association.py      whether a quantity of the classes goes with another, such as their error

Rows are brought to unit length first. All in float64.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int

from ccr_diag.errors import BadConfig, BadData
from ccr_diag.metrics.association import Correlation, correlate
from ccr_diag.metrics.gram import class_drift, effective_rank, spectrum
from ccr_diag.metrics.modality_gap import GapChange, SvdBasis, modality_gap
from ccr_diag.metrics.neighbourhoods import (
    PERSISTENCE,
    embedding_divergence,
    kendall_tau_b,
    nearest_classes,
    neighbour_distances,
    neighbourhood_preservation,
    preserved,
    rank_biased_overlap,
    same_classes,
)

__all__ = [
    "SvdBasis",
    "TextGeometry",
    "embedding_divergence",
    "modality_gap",
    "neighbourhood_preservation",
]

SPACES = ("tuned", "zero-shot")
LISTED = 10  # classes whose neighbours are shown


@dataclass(frozen=True, eq=False)
class TextGeometry:
    """Two text spaces of the same classes, class by class.

    Args:
        class_names: one per class, unique.
        k: neighbours of a class, at most classes − 1.
        distance: ``cosine`` or ``euclidean``.
        neighbours: the space whose neighbours the tuned divergence looks at.
        divergence_zero_shot: ED before tuning, its neighbours found before tuning.
        divergence: ED after tuning.
        preservation: NP@K.
        kendall: τ_b of the distances to the zero-shot neighbours, before and after; NaN where k is
            1 or all of them tie.
        overlap: rank-biased overlap of both lists of neighbours.
        drift: δ_i, length of the change of the class's cosines with all others.
        nearest_zero_shot: indices of the neighbours before tuning, nearest first.
        nearest: the same after tuning.
        spectrum_zero_shot: eigenvalues of the Gram matrix before tuning, largest first.
        spectrum: the same after tuning.
        gap: the modality gap, where images were given.
    """

    class_names: tuple[str, ...]
    k: int
    distance: str
    neighbours: str
    divergence_zero_shot: Float64[np.ndarray, " classes"]
    divergence: Float64[np.ndarray, " classes"]
    preservation: Float64[np.ndarray, " classes"]
    kendall: Float64[np.ndarray, " classes"]
    overlap: Float64[np.ndarray, " classes"]
    drift: Float64[np.ndarray, " classes"]
    nearest_zero_shot: Int[np.ndarray, "classes k"]
    nearest: Int[np.ndarray, "classes k"]
    spectrum_zero_shot: Float64[np.ndarray, " rank"]
    spectrum: Float64[np.ndarray, " rank"]
    gap: GapChange | None

    @classmethod
    def compare(
        cls,
        zero_shot: Float[np.ndarray, "classes dim"],
        tuned: Float[np.ndarray, "tuned_classes tuned_dim"],
        class_names: Sequence[str] | None = None,
        images: Float[np.ndarray, "images image_dim"] | None = None,
        *,
        k: int = 5,
        distance: str = "cosine",
        neighbours: str = "tuned",
    ) -> "TextGeometry":
        """Measure everything.

        Args:
            zero_shot: class text embeddings before tuning.
            tuned: the same classes in the same order after tuning.
            class_names: one per row; numbers from 0 by default.
            images: image embeddings, for the modality gap.
            k: neighbours, at most classes − 1 are used.
            distance: ``cosine`` (1 − cos) or ``euclidean`` (‖t_i − t_j‖ of unit rows), for ED.
            neighbours: ``tuned`` or ``zero-shot``: where the neighbours of the tuned ED are found.

        Raises:
            BadConfig: k below 1, an unknown distance or space.
            BadData: unequal shapes, fewer than two classes, a row of zero length or not finite,
                wrong names, or images of another width.
        """
        if neighbours not in SPACES:
            raise BadConfig(
                f"Neighbours are found in one of {', '.join(SPACES)}, but got {neighbours!r}."
            )
        same_classes(zero_shot, tuned)
        if zero_shot.shape[1] != tuned.shape[1]:
            raise BadData(
                "Both spaces must have one width, "
                f"but got {zero_shot.shape[1]} zero-shot and {tuned.shape[1]} tuned columns."
            )
        names = _checked_names(class_names, len(zero_shot))
        before, after = nearest_classes(zero_shot, k), nearest_classes(tuned, k)
        chosen = after if neighbours == "tuned" else before
        return cls(
            class_names=names,
            k=before.shape[1],
            distance=distance,
            neighbours=neighbours,
            divergence_zero_shot=embedding_divergence(zero_shot, k, distance, before),
            divergence=embedding_divergence(tuned, k, distance, chosen),
            preservation=preserved(before, after),
            kendall=kendall_tau_b(
                neighbour_distances(zero_shot, before), neighbour_distances(tuned, before)
            ),
            overlap=rank_biased_overlap(before, after),
            drift=class_drift(zero_shot, tuned),
            nearest_zero_shot=before,
            nearest=after,
            spectrum_zero_shot=spectrum(zero_shot),
            spectrum=spectrum(tuned),
            gap=None if images is None else GapChange.between(images, zero_shot, tuned),
        )

    @property
    def divergence_change(self) -> Float64[np.ndarray, " classes"]:
        """ΔED, tuned minus zero-shot: above 0 the class moved away from its neighbours."""
        return np.asarray(self.divergence - self.divergence_zero_shot)

    @property
    def gram_drift(self) -> float:
        """‖Σ_tuned − Σ_zs‖_F."""
        return float(np.linalg.norm(self.drift))

    @property
    def pair_drift(self) -> float:
        """Root mean square change of a pair's cosine, ‖Σ_tuned − Σ_zs‖_F / √(C (C − 1))."""
        n = len(self.class_names)
        return self.gram_drift / math.sqrt(n * (n - 1))

    @property
    def summary(self) -> dict[str, float | None]:
        """One number a measure, means over classes; None where no class defines it."""
        gap = self.gap
        return {
            "ED_zero_shot": float(self.divergence_zero_shot.mean()),
            "ED": float(self.divergence.mean()),
            "delta_ED": float(self.divergence_change.mean()),
            "NP": float(self.preservation.mean()),
            "kendall": _mean(self.kendall),
            "RBO": float(self.overlap.mean()),
            "gram_drift": self.gram_drift,
            "pair_drift": self.pair_drift,
            "effective_rank_zero_shot": effective_rank(self.spectrum_zero_shot),
            "effective_rank": effective_rank(self.spectrum),
            "gap_zero_shot": None if gap is None else gap.zero_shot,
            "gap": None if gap is None else gap.tuned,
        }

    @property
    def class_values(self) -> dict[str, Float64[np.ndarray, " classes"]]:
        """Each measure that classes have, one value a class."""
        return {
            "ED_zero_shot": self.divergence_zero_shot,
            "ED": self.divergence,
            "delta_ED": self.divergence_change,
            "NP": self.preservation,
            "kendall": self.kendall,
            "RBO": self.overlap,
            "drift": self.drift,
        }

    def most_moved(self, n: int = LISTED) -> list[int]:
        """Indices of the n classes whose neighbours changed most.

        Lowest rank-biased overlap first, then the larger drift, then the lower index.
        """
        order = np.lexsort((-self.drift, np.round(self.overlap, 12)))
        return [int(i) for i in order[:n]]

    def correlations(
        self, error: Float[np.ndarray, " classes"], method: str = "spearman"
    ) -> dict[str, Correlation]:
        """Correlation of ED, ΔED and NP@K with a quantity of the classes, over the classes.

        Args:
            error: the signed calibration error of each class; NaN (undefined) is left out.
            method: ``spearman`` or ``pearson``.

        Raises:
            BadConfig: an unknown method.
            BadData: not one value a class.
        """
        values = self.class_values
        return {key: correlate(values[key], error, method) for key in ("ED", "delta_ED", "NP")}

    def to_json(self) -> dict[str, Any]:
        """Plain values in full precision; None where undefined."""
        values = {key: _plain(column) for key, column in self.class_values.items()}
        return {
            "n_classes": len(self.class_names),
            "k": self.k,
            "distance": self.distance,
            "neighbours": self.neighbours,
            "RBO_persistence": PERSISTENCE,
            "summary": self.summary,
            "classes": [
                {
                    "name": name,
                    **{key: column[i] for key, column in values.items()},
                    "neighbours_zero_shot": self._names(self.nearest_zero_shot[i]),
                    "neighbours": self._names(self.nearest[i]),
                }
                for i, name in enumerate(self.class_names)
            ],
            "most_moved": self._names(np.array(self.most_moved())),
            "spectrum": {
                "zero_shot": self.spectrum_zero_shot.tolist(),
                "tuned": self.spectrum.tolist(),
            },
            "modality_gap": None if self.gap is None else self.gap.to_json(),
        }

    def _names(self, indices: Int[np.ndarray, " n"]) -> list[str]:
        return [self.class_names[i] for i in indices]


def definitions(geometry: TextGeometry) -> dict[str, str]:
    """What each measure of this record means, in one line."""
    k = geometry.k
    distance = "1 − cos" if geometry.distance == "cosine" else "‖t_i − t_j‖ of unit rows"
    where = geometry.neighbours
    return {
        "ED_zero_shot": f"mean distance ({distance}) to the {k} nearest other classes before "
        "tuning",
        "ED": f"mean distance ({distance}) after tuning to the {k} classes that are nearest in the "
        f"{where} space",
        "delta_ED": "ED − ED_zero_shot",
        "NP": f"share of the {k} nearest classes before tuning that are among the {k} nearest "
        "after it",
        "kendall": f"Kendall's τ_b of the distances, before and after tuning, to the {k} classes "
        "that were nearest before; the mean leaves out classes where all of them tie",
        "RBO": f"rank-biased overlap of the {k} nearest classes before and after, extrapolated, "
        f"p = {PERSISTENCE:g}",
        "drift": "√ of the sum over other classes of the squared change of the cosine",
        "gram_drift": "Frobenius norm of the change of the matrix of cosines",
        "pair_drift": "root mean square change of the cosine of a pair of classes",
        "spectrum": "eigenvalues of the matrix of cosines, not centred; those left out are 0",
        "effective_rank": "exp of the entropy of the eigenvalues over their sum",
        "modality_gap": "‖mean unit image − mean unit text‖; coordinates on the first two right "
        "singular vectors of the unit rows of images and zero-shot texts, not centred",
        "ties": "cosines closer than 1e-12 tie; the class that comes first is the nearer one",
    }


def _checked_names(class_names: Sequence[str] | None, n: int) -> tuple[str, ...]:
    if class_names is None:
        return tuple(map(str, range(n)))
    names = tuple(class_names)
    if len(names) != n:
        raise BadData(f"Each class needs one name, but got {len(names)} names for {n} rows.")
    if len(set(names)) < n:
        again = next(name for i, name in enumerate(names) if name in names[:i])
        raise BadData(f"Class names must be unique, but {again!r} comes twice; rename one.")
    return names


def _mean(values: Float64[np.ndarray, " classes"]) -> float | None:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else None


def _plain(values: Float64[np.ndarray, " classes"]) -> list[float | None]:
    return [None if math.isnan(value) else float(value) for value in values]
