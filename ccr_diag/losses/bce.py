"""Binary cross-entropy: logits and labels of a batch in, one number out.

    L = Σ_{(b,c) known} ℓ_bc / n,    ℓ_bc = −y_bc·log σ(z_bc) − (1 − y_bc)·log σ(−z_bc)

with n the number of known entries ("mean") or the number of images ("sum": summed over classes).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ccr_diag.arrays import PRESENT, UNKNOWN
from ccr_diag.errors import BadConfig, nearest

REDUCTIONS = ("mean", "sum")


def bce(
    logits: Float[Tensor, "images classes"],
    labels: Int[Tensor, "images classes"],
    reduction: str = "mean",
) -> Float[Tensor, ""]:
    """Binary cross-entropy over the known entries; 0 where none is known.

    Args:
        logits: (images, classes), z.
        labels: (images, classes), in {1, 0, −1 unknown}.
        reduction: "mean" over known entries, or "sum" over classes and mean over images.

    Raises:
        BadConfig: unknown reduction.
    """
    if reduction not in REDUCTIONS:
        raise BadConfig(
            f"The reduction must be a known one, but got {reduction!r}"
            f"{nearest(reduction, REDUCTIONS)}"
        )
    z = logits.to(torch.promote_types(logits.dtype, torch.float32))
    y = (labels == PRESENT).to(z.dtype)
    known = labels != UNKNOWN
    total = torch.nn.functional.binary_cross_entropy_with_logits(z, y, known, reduction="sum")
    return total / known.sum().clamp(min=1) if reduction == "mean" else total / len(labels)
