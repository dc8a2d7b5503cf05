"""Binary cross-entropy: logits and labels of a batch in, one number out.

    L = Σ_{(b,c) known} ℓ_bc / n,    ℓ_bc = −y'_bc·log σ(z_bc) − (1 − y'_bc)·log σ(−z_bc)

with n the number of known entries ("mean") or the number of images ("sum": summed over classes).
Label smoothing ε draws both labels of the binary problem together: y' = (1 − ε)·y + ε/2.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ccr_diag.arrays import PRESENT
from ccr_diag.errors import BadConfig
from ccr_diag.losses.reduction import reduce_entries


def bce(
    logits: Float[Tensor, "images classes"],
    labels: Int[Tensor, "images classes"],
    reduction: str = "mean",
    smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Binary cross-entropy over the known entries; 0 where none is known.

    Args:
        logits: (images, classes), z.
        labels: (images, classes), in {1, 0, −1 unknown}.
        reduction: "mean" over known entries, or "sum" over classes and mean over images.
        smoothing: ε of label smoothing, 0 ≤ ε < 1.

    Raises:
        BadConfig: unknown reduction, or a smoothing out of range.

    Source of the smoothing: Szegedy et al., 2016, arXiv:1512.00567, with two classes.
    """
    if not 0 <= smoothing < 1:
        raise BadConfig(
            f"Label smoothing must be 0 or more and below 1, but got {smoothing}; 0 leaves the "
            "labels as they are."
        )
    z = logits.to(torch.promote_types(logits.dtype, torch.float32))
    y = (1 - smoothing) * (labels == PRESENT).to(z.dtype) + smoothing / 2
    entries = torch.nn.functional.binary_cross_entropy_with_logits(z, y, reduction="none")
    return reduce_entries(entries, labels, reduction)
