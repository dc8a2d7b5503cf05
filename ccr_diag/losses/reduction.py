"""Σ over the entries of a batch in, one number out.

"mean"   Σ / n, n the number of known entries: the scale does not depend on batch or classes
"sum"    Σ / B, B the number of images: summed over the classes
"""

from jaxtyping import Float, Int
from torch import Tensor

from ccr_diag.arrays import UNKNOWN
from ccr_diag.errors import BadConfig, nearest

REDUCTIONS = ("mean", "sum")


def check_reduction(reduction: str) -> None:
    """Refuse an unknown reduction.

    Raises:
        BadConfig: the name is not in ``REDUCTIONS``.
    """
    if reduction not in REDUCTIONS:
        raise BadConfig(
            f"The reduction must be a known one, but got {reduction!r}"
            f"{nearest(reduction, REDUCTIONS)}"
        )


def reduce_entries(
    entries: Float[Tensor, "images classes"],
    labels: Int[Tensor, "images classes"],
    reduction: str,
) -> Float[Tensor, ""]:
    """One number from a loss's entries, of which the unknown ones count for nothing.

    Args:
        entries: (images, classes), ℓ.
        labels: (images, classes), in {1, 0, −1 unknown}.
        reduction: "mean" or "sum".

    Raises:
        BadConfig: unknown reduction.
    """
    check_reduction(reduction)
    known = labels != UNKNOWN
    # Not a product with the mask: ∞·0 is no number, and an unknown entry may be anything.
    total = entries.where(known, 0.0).sum()
    return total / known.sum().clamp(min=1) if reduction == "mean" else total / len(labels)
