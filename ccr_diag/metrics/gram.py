"""The Gram matrix of the text space, Σ_ij = cos(t_i, t_j): how far it moved, how it spreads.

Uncentred, as the CCR loss aims at it. All in float64.
"""

import numpy as np
from jaxtyping import Float, Float64

from ccr_diag.metrics.neighbourhoods import row_blocks, same_classes, unit_rows


def class_drift(
    zero_shot: Float[np.ndarray, "classes dim"],
    tuned: Float[np.ndarray, "tuned_classes tuned_dim"],
) -> Float64[np.ndarray, " classes"]:
    """δ_i = √(Σ_j (Σ_ij tuned − Σ_ij zero-shot)²): how far one class moved against the others.

    The drift of the whole matrix is ‖Σ_tuned − Σ_zs‖_F = √(Σ_i δ_i²); its diagonal adds nothing.

    Raises:
        BadData: unequal numbers of classes, or a row of zero length or not finite.
    """
    same_classes(zero_shot, tuned)
    before, after = unit_rows(zero_shot), unit_rows(tuned)
    parts = [
        np.linalg.norm(after[rows] @ after.T - before[rows] @ before.T, axis=1)
        for rows in row_blocks(len(before))
    ]
    return np.concatenate(parts)


def spectrum(text: Float[np.ndarray, "classes dim"]) -> Float64[np.ndarray, " rank"]:
    """Eigenvalues of Σ, largest first: min(classes, dim) of them, the others are 0.

    They are at least 0 and add up to the number of classes.

    Raises:
        BadData: a row of zero length or not finite.
    """
    unit = unit_rows(text)
    smaller = unit @ unit.T if len(unit) <= unit.shape[1] else unit.T @ unit
    return np.maximum(np.linalg.eigvalsh(smaller)[::-1], 0)


def effective_rank(eigenvalues: Float64[np.ndarray, " rank"]) -> float:
    """exp(−Σ_i q_i log q_i), q_i = λ_i / Σ_j λ_j: 1 if all rows are one, n for n right angles.

    Source: Roy and Vetterli 2007, of the Gram matrix.
    """
    q = eigenvalues / eigenvalues.sum()
    q = q[q > 0]
    return float(np.exp(-(q * np.log(q)).sum()))
