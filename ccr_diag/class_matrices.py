"""What belongs to pairs of classes, of one model: text cosines and predicted correlation.

An analysis of checkpoints writes one file a model, of its first split, beside ``results.json``:

    matrices/STEM.npz   class_names (classes,); cosines, target, predicted (classes, classes) as
                        float32; estimator
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ccr_diag.covariance import CENTRED, predicted_correlation, text_correlation
from ccr_diag.errors import BadData
from ccr_diag.npy import Archive
from ccr_diag.predictions import Predictions
from ccr_diag.runs import write_atomically

ESTIMATOR = "centred_inactive"
"""The default of the CCR loss."""

Square = Float[np.ndarray, "classes classes"]
_ARRAYS = ("cosines", "target", "predicted")


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

    @classmethod
    def of(
        cls,
        texts: Float[Tensor, "classes dim"],
        predictions: Predictions,
        estimator: str = ESTIMATOR,
    ) -> "ClassMatrices":
        """The matrices of one model.

        Args:
            texts: its class text embeddings, in the order of the predictions' classes.
            predictions: what it says of the images.
            estimator: of C_pred.
        """
        matrix, alive = predicted_correlation(
            torch.from_numpy(predictions.logits),
            torch.from_numpy(np.array(predictions.labels)),
            estimator,
        )
        live = alive.numpy()
        return cls(
            predictions.class_names,
            text_correlation(texts, centre=False).numpy(),
            text_correlation(texts, centre=CENTRED[estimator]).numpy(),
            np.where(live[:, None] & live, matrix.numpy(), np.nan).astype(np.float32),
            estimator,
        )

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
        BadData: an array is missing or of another shape.
    """
    archive = Archive(path)
    missing = [key for key in ("class_names", "estimator", *_ARRAYS) if key not in archive]
    if missing:
        raise BadData(
            f"A file of class matrices must hold {missing[0]!r}, but {path} does not; write it "
            "anew with 'ccr-diag analyze checkpoint'."
        )
    names = tuple(archive.read("class_names").tolist())
    arrays = {name: archive.read(name) for name in _ARRAYS}
    for name, array in arrays.items():
        if array.shape != (len(names), len(names)):
            raise BadData(
                f"Class matrices must be (classes, classes), {len(names)} each, but {name!r} in "
                f"{path} is {array.shape}; write it anew with 'ccr-diag analyze checkpoint'."
            )
    return ClassMatrices(names, **arrays, estimator=str(archive.read("estimator")))
