"""Few-shot training sets for images with many labels.

In: training labels of the base classes. Out: the rows to tune on;
``groups.class_counts(labels[rows])`` says how many images each class has got.
"""

import numpy as np
from jaxtyping import Int

from ccr_diag.arrays import PRESENT, Labels
from ccr_diag.data.groups import class_counts
from ccr_diag.errors import BadConfig, BadData


def drawn_rows(labels: Labels, k: int, seed: int) -> Int[np.ndarray, " rows"]:
    """Rows to tune on: those of ``k_shot``, or all if k is 0.

    Raises:
        BadData: no row shows a base class.
    """
    require_base_class(labels)
    return k_shot(labels, k, seed) if k else np.arange(len(labels))


def require_base_class(labels: Labels) -> None:
    """Refuse examples that show no base class.

    Args:
        labels: (examples, classes), base classes only.
    """
    if not (labels == PRESENT).any():
        raise BadData(
            f"Tuning needs examples that show a base class, but none of {len(labels)} does; check "
            "--split, the labels, and which classes are declared new."
        )


def k_shot(labels: Labels, k: int, seed: int) -> Int[np.ndarray, " rows"]:
    """Rows that give every class at least min(k, available) images.

    Images are shuffled; classes are served in turn, the rarest first, each with the next images
    that show it until k chosen images do. A chosen image keeps all its labels, so frequent classes
    end with more than k. There is no published protocol for multi-label data; this one is ours.

    Args:
        labels: (images, classes), base classes only.
        k: images a class.
        seed: seed of the shuffle.

    Returns:
        Row numbers in increasing order.

    Raises:
        BadConfig: k below 1.
    """
    if k < 1:
        raise BadConfig(f"A few-shot set needs k of at least 1 image a class, but got {k}.")
    order = np.random.default_rng(seed).permutation(len(labels))
    present = labels[order] == PRESENT
    chosen = np.zeros(len(labels), dtype=bool)  # in shuffled order
    for c in np.argsort(class_counts(labels), kind="stable"):
        lacking = k - np.count_nonzero(chosen & present[:, c])
        candidates = np.flatnonzero(present[:, c] & ~chosen)
        chosen[candidates[: max(lacking, 0)]] = True
    return np.sort(order[chosen])
