"""Pairwise ranking loss of TaI-DPT: logits and labels of a batch in, one number out.

    L = (1/B) Σ_b Σ_{j: y_bj = 1} Σ_{i: y_bi = 0} max(0, m − z_bj + z_bi),    m = 1

on z = 4·cos. Summed over the pairs and not divided by their number. Only differences of logits of
one image matter: the loss says nothing about where p = 0.5 lies.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ccr_diag.arrays import ABSENT, PRESENT

SCALE = 4.0  # of TaI-DPT's logits; a margin of 1 is a quarter of a cosine


def ranking(
    logits: Float[Tensor, "images classes"],
    labels: Int[Tensor, "images classes"],
    margin: float = 1.0,
) -> Float[Tensor, ""]:
    """Mean over images of the margin violations of all (present, absent) pairs.

    Args:
        logits: (images, classes), z; TaI-DPT uses 4·cos.
        labels: (images, classes), in {1, 0, −1 unknown}; an unknown entry is in no pair.
        margin: m, in logits.

    Source:
        Guo et al., "Texts as Images in Prompt Tuning for Multi-Label Image Recognition", CVPR 2023.
    """
    z = logits.to(torch.promote_types(logits.dtype, torch.float32))
    image, present = torch.nonzero(labels == PRESENT, as_tuple=True)
    # One row a positive entry: positives are few, so far less than images × classes × classes.
    violation = torch.relu(margin - z[image, present, None] + z[image])  # (positives, classes)
    return (violation * (labels == ABSENT)[image]).sum() / len(labels)
