"""What belongs to pairs of classes, of one model: text cosines and predicted correlation.

An analysis of checkpoints writes one file a model, of its first split, beside ``results.json``:

    matrices/STEM.npz   class_names (classes,); cosines, target, predicted (classes, classes) as
                        float32; estimator
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ccr_diag.errors import BadData
from ccr_diag.metrics.association import coefficient
from ccr_diag.npy import Archive
from ccr_diag.runs import write_atomically

Square = Float[np.ndarray, "classes classes"]
_ARRAYS = ("cosines", "target", "predicted")
_ANEW = "write it anew with 'ccr-diag analyze checkpoint'."


@dataclass(frozen=True, eq=False)
class ClassMatrices:
    """Pairs of classes of one model.

    Args:
        class_names: of the rows and columns.
        cosines: cos(t_i, t_j) of the class text embeddings.
        target: Σ_text as CCR would take it from these embeddings for this estimator: cosines of
            centred embeddings for a centred one.
        predicted: C̃_pred over all images; NaN in the rows and columns of dead classes.
        estimator: of C_pred, a key of ``covariance.ESTIMATORS``.
    """

    class_names: tuple[str, ...]
    cosines: Square
    target: Square
    predicted: Square
    estimator: str

    def cosine_change(self, start: "ClassMatrices") -> Square:
        """What changed of each cosine since ``start``, Σ_tuned − Σ_zs: below 0 a pair parted.

        Args:
            start: zero-shot, of the same classes in the same order.
        """
        return np.asarray(self.cosines - start.cosines)

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            NoSpace: no space is left.
        """
        arrays: dict[str, Any] = {
            "class_names": np.array(self.class_names),
            "estimator": np.array(self.estimator),
        }
        for name in _ARRAYS:
            arrays[name] = np.asarray(getattr(self, name), dtype=np.float32)
        write_atomically(path, lambda partial: np.savez_compressed(partial, **arrays))


def load_class_matrices(path: Path) -> ClassMatrices:
    """Read a file of ``ClassMatrices.save``; nothing in it is unpickled.

    Raises:
        BadPredictions: the file is missing or damaged.
        BadData: an array is missing, of another shape or type, or not finite where it must be.
    """
    archive = Archive(path)
    missing = [key for key in ("class_names", "estimator", *_ARRAYS) if key not in archive]
    if missing:
        raise BadData(
            f"A file of class matrices must hold {missing[0]!r}, but {path} does not; {_ANEW}"
        )
    names = archive.read("class_names")
    if names.ndim != 1 or names.dtype.kind != "U":
        raise BadData(
            f"The class names of class matrices must be a list of text, but in {path} they are "
            f"{names.dtype} of shape {names.shape}; {_ANEW}"
        )
    arrays = {name: archive.read(name) for name in _ARRAYS}
    for name, array in arrays.items():
        _check(name, array, len(names), path)
    return ClassMatrices(tuple(names.tolist()), **arrays, estimator=str(archive.read("estimator")))


def _check(name: str, array: np.ndarray, classes: int, path: Path) -> None:
    if array.shape != (classes, classes) or array.dtype.kind != "f":
        raise BadData(
            f"Class matrices must be (classes, classes) numbers, {classes} each, but {name!r} in "
            f"{path} is {array.dtype} of shape {array.shape}; {_ANEW}"
        )
    if name != "predicted" and not np.isfinite(array).all():
        raise BadData(
            f"Class matrices must be finite but for dead classes in 'predicted', but {name!r} in "
            f"{path} is not; {_ANEW}"
        )


@dataclass(frozen=True)
class Agreement:
    """How near C̃_pred is to its target, over pairs i < j of live classes.

    Args:
        pairs: used.
        dead: classes left out: they have no correlation.
        r: Pearson's; None where fewer than two pairs, or constant values, leave it undefined.
        rms: √(mean (C̃_ij − Σ_ij)²); None without pairs.
    """

    pairs: int
    dead: int
    r: float | None
    rms: float | None


def agreement(target: Square, predicted: Square) -> Agreement:
    """Compare a predicted correlation with a target, the same classes in the same order.

    Args:
        target: Σ_text, of zero-shot.
        predicted: C̃_pred; NaN in the rows and columns of dead classes.
    """
    above = np.triu_indices(len(target), k=1)
    both = np.stack([target[above], predicted[above]]).astype(np.float64)
    both = both[:, np.isfinite(both[1])]
    dead, pairs = int(np.isnan(predicted.diagonal()).sum()), both.shape[1]
    if not pairs:
        return Agreement(pairs, dead, None, None)
    r = float(coefficient(both))
    rms = float(np.sqrt(np.square(both[1] - both[0]).mean()))
    return Agreement(pairs, dead, None if np.isnan(r) else r, rms)
