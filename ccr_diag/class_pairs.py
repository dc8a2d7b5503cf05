"""Class texts and predictions in, class × class matrices out: the side of them that needs torch."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ccr_diag.class_matrices import ClassMatrices
from ccr_diag.covariance import CENTRED, predicted_correlation, text_correlation
from ccr_diag.predictions import Predictions

ESTIMATOR = "centred_inactive"
"""The default of the CCR loss."""


def class_matrices(
    texts: Float[Tensor, "classes dim"], predictions: Predictions, estimator: str = ESTIMATOR
) -> ClassMatrices:
    """The matrices of one model.

    Args:
        texts: its class text embeddings, in the order of the predictions' classes.
        predictions: what it says of the images.
        estimator: of C_pred, a key of ``covariance.ESTIMATORS``.

    Raises:
        BadConfig: unknown estimator.
    """
    matrix, alive = predicted_correlation(
        # As precise as what is kept of it, in half the memory: it takes several copies.
        torch.from_numpy(predictions.logits.astype(np.float32)),
        torch.from_numpy(np.array(predictions.labels)),
        estimator,
    )
    live = alive[:, None] & alive
    return ClassMatrices(
        predictions.class_names,
        text_correlation(texts, centre=False).float().numpy(),
        text_correlation(texts, centre=CENTRED[estimator]).float().numpy(),
        torch.where(live, matrix, torch.nan).float().numpy(),
        estimator,
    )
