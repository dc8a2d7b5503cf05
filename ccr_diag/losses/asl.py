"""Asymmetric loss: logits and labels of a batch in, one number out.

    ℓ_bc = −(1 − p)^γ₊ · log p            where y_bc = 1,    p = σ(z_bc)
    ℓ_bc = −(p_m)^γ₋ · log(1 − p_m)       where y_bc = 0,    p_m = max(p − m, 0)

An absence that is predicted with p ≤ m costs nothing, an easier one less than a harder one, and an
absence less than a presence. The powers are weights: they carry no gradient, as in the public code
of all three sources. With γ₊ = γ₋ = m = 0 this is binary cross-entropy.

The sources differ in γ₋ (4 in Ridnik et al.; 2 in DualCoOp and TaI-DPT, taken here) and in the
reduction: sum over everything (Ridnik et al.), the same times a small weight (DualCoOp), mean over
the entries (TaI-DPT). The mean is taken here, as for binary cross-entropy, so that the learning
rate does not depend on batch size and number of classes.

Source: Ridnik et al., "Asymmetric Loss For Multi-Label Classification", ICCV 2021; Sun, Hu, Saenko,
"DualCoOp", NeurIPS 2022, whose softmax over a pair (s₊, s₋) is σ(s₊ − s₋): its z is s₊ − s₋.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from ccr_diag.arrays import PRESENT
from ccr_diag.losses.reduction import reduce_entries


def asl(
    logits: Float[Tensor, "images classes"],
    labels: Int[Tensor, "images classes"],
    gamma_present: float = 1.0,
    gamma_absent: float = 2.0,
    clip: float = 0.05,
    reduction: str = "mean",
) -> Float[Tensor, ""]:
    """Asymmetric loss over the known entries; 0 where none is known.

    Args:
        logits: (images, classes), z.
        labels: (images, classes), in {1, 0, −1 unknown}.
        gamma_present: γ₊ ≥ 0.
        gamma_absent: γ₋ ≥ 0.
        clip: m, 0 ≤ m < 1.
        reduction: "mean" over known entries, or "sum" over classes and mean over images.

    Raises:
        BadConfig: unknown reduction.
    """
    z = logits.to(torch.promote_types(logits.dtype, torch.float32))
    p, q = torch.sigmoid(z).detach(), torch.sigmoid(-z).detach()
    # log(1 − p_m) = log min(q + m, 1): a sum of logarithms stays exact where q is 0 in float32.
    log_absent = torch.logaddexp(F.logsigmoid(-z), z.new_tensor(clip).log()).clamp(max=0)
    present = q**gamma_present * F.logsigmoid(z)
    absent = (p - clip).clamp(min=0) ** gamma_absent * log_absent
    return reduce_entries(-torch.where(labels == PRESENT, present, absent), labels, reduction)
