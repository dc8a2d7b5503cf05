"""Head, medium, tail and new: classes by how often they are labelled in training.

In: training labels. Out: one group name a class, which ``predictions.py`` stores and ``metrics/``
reports by.
"""

import numpy as np
from jaxtyping import Bool, Int

from ccr_diag.arrays import PRESENT, Labels
from ccr_diag.errors import BadConfig

GROUPS = ("head", "medium", "tail", "new")


def class_counts(labels: Labels) -> Int[np.ndarray, " classes"]:
    """In how many images each class is present."""
    return np.asarray(np.count_nonzero(labels == PRESENT, axis=0))


def class_groups(
    train_labels: Labels, new: Bool[np.ndarray, " classes"], head: int = 100, tail: int = 20
) -> tuple[str, ...]:
    """The group of each class.

    Source: the thresholds of the long-tailed COCO and VOC sets (Wu et al., Distribution-Balanced
    Loss, 2020): at least 100 training images, 20 to 99, fewer than 20.

    Args:
        train_labels: (images, classes), of the whole training split, before few-shot sampling.
        new: classes that are never labelled in tuning; they are ``new`` whatever their count.
        head: fewest images of a head class.
        tail: fewest images of a class that is not in the tail.

    Raises:
        BadConfig: thresholds out of order.
    """
    if not 0 <= tail <= head:
        raise BadConfig(
            f"Group thresholds need 0 <= tail <= head, but got tail={tail} and head={head}."
        )
    count = class_counts(train_labels)
    cases = [new, count >= head, count < tail]
    return tuple(np.select(cases, ["new", "head", "tail"], "medium").tolist())
