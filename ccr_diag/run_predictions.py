"""What a run says of images, with what it recorded of its classes, → predictions."""

from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from ccr_diag.checkpoint import Checkpoint
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.predict import TextSpace, predict
from ccr_diag.predictions import Predictions
from ccr_diag.progress import UnitProgress, silent


def run_predictions(
    checkpoint: Checkpoint,
    space: TextSpace,
    features: Float[Tensor, "images *features dim"],
    dataset: MultiLabelDataset,
    *,
    proximity: Float[np.ndarray, " images"] | None = None,
    progress: UnitProgress = silent,
) -> Predictions:
    """Scores of all images by one split of a run, tuned or zero-shot.

    Args:
        checkpoint: says the groups and, if it is not too old, the frequency of each class.
        space: the model.
        features: unit features of the images, with those of positions if the space is ``local``.
        dataset: the images.
        proximity: how near each image is to others, if known.
        progress: told the images scored and the images in all, by a framework that takes long.
    """
    facts: dict[str, Any] = {"split_number": space.seed, "backbone": checkpoint.backbone}
    counts = checkpoint.facts.get("class_counts")
    return predict(
        space,
        features,
        dataset,
        checkpoint.groups,
        facts,
        class_counts=None if counts is None else np.array(counts, dtype=np.int64),
        proximity=proximity,
        progress=progress,
    )
