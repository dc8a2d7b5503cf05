"""DAC: cool the classes whose texts moved away from the base classes; no labels needed.

Source: Wang et al. 2024, “Open-Vocabulary Calibration for Fine-tuned CLIP” (arXiv 2402.04655).
"""

import numpy as np
from jaxtyping import Bool, Float, Float64
from scipy.spatial.distance import cdist

from ccr_diag.errors import BadConfig, BadData

NEIGHBOURS = 5
SAME = 0.05  # a tuned class nearer than this to a base class counts as that class

Texts = Float[np.ndarray, "classes width"]
Factors = Float64[np.ndarray, " classes"]
Logits = Float[np.ndarray, "images classes"]
Values = Float64[np.ndarray, "images classes"]


def dac_factors(
    zero_shot: Texts, tuned: Texts, base: Bool[np.ndarray, " classes"], k: int = NEIGHBOURS
) -> Factors:
    """What each class's logits are multiplied by: s = g_tuned / g_zero-shot.

    g = exp(−mean of the k smallest Euclidean distances from the class to base classes), of unit
    texts. Base classes, and classes whose nearest tuned base class is nearer than 0.05, have s = 1.

    Args:
        zero_shot: class texts before tuning; any length.
        tuned: the same classes after tuning.
        base: which classes tuning saw.
        k: neighbours.

    Raises:
        BadConfig: k is below 1, or there are fewer than k base classes.
        BadData: a text is 0.
    """
    if k < 1:
        raise BadConfig(f"DAC needs at least 1 neighbour, but k is {k}.")
    if base.sum() < k:
        raise BadConfig(
            f"DAC compares each class with {k} base classes, but there are {int(base.sum())}; "
            f"set k to {int(base.sum())} or less."
            if base.any()
            else "DAC compares each class with base classes, but there are none; name them."
        )
    before, after = _to_base(zero_shot, base, k), _to_base(tuned, base, k)
    factors = np.exp(before.mean(axis=1) - after.mean(axis=1))
    return np.where(base | (after[:, 0] < SAME), 1.0, factors)


def dac(logits: Logits, factors: Factors, centre: float = 0.0) -> Values:
    """Each class scaled by its own factor about a centre: z' = m + s · (z − m).

    The port to many labels: an image has no single class whose factor could scale its whole row.
    With σ and m = 0, s < 1 pulls a probability towards 1/2; with m the logit of the base rate it
    pulls towards that rate.

    Args:
        logits: any.
        factors: of ``dac_factors``.
        centre: m.
    """
    return centre + factors * (logits.astype(np.float64) - centre)


def dac_top1(logits: Logits, factors: Factors) -> Values:
    """Each image's whole row times the factor of its most probable class, as published.

    Args:
        logits: any.
        factors: of ``dac_factors``.
    """
    return np.asarray(logits.astype(np.float64) * factors[logits.argmax(axis=1)][:, None])


def _to_base(
    texts: Texts, base: Bool[np.ndarray, " classes"], k: int
) -> Float64[np.ndarray, "classes {k}"]:
    """Distances of each class to its k nearest base classes, nearest first."""
    rows = texts.astype(np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    if not length.all():
        raise BadData(f"A class text must not be 0, but number {int(length.argmin())} is.")
    unit = rows / length
    return np.asarray(np.sort(cdist(unit, unit[base]), axis=1)[:, :k])
