"""Checkpoint + data set → predictions. The last file that needs torch."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ccr_diag.arrays import ProbabilityMap
from ccr_diag.backbone import Backbone
from ccr_diag.checkpoint import Checkpoint
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.errors import BadConfig, nearest
from ccr_diag.frameworks import FRAMEWORKS
from ccr_diag.predictions import Predictions
from ccr_diag.prompts import zero_shot_embeddings

OWN = "own"


@dataclass(frozen=True)
class TextSpace:
    """Class text embeddings of one model and split, with the map that it is read through."""

    name: str
    seed: int
    embeddings: Float[Tensor, "classes dim"]
    map: ProbabilityMap


def tuned_space(checkpoint: Checkpoint, backbone: Backbone, rule: str = OWN) -> TextSpace:
    """The class text embeddings after tuning, for all classes of the data set, new ones too.

    Args:
        checkpoint: a finished run.
        backbone: the CLIP it was tuned on.
        rule: ``own``, the map that the run was trained with, or a bias rule fitted on its training
            scores.
    """
    checkpoint.require_backbone(backbone)
    config = checkpoint.config
    framework = FRAMEWORKS[config.framework](
        backbone, checkpoint.class_names, config.n_context, config.context_init, config.seed
    )
    prefix = "framework."
    own = {k.removeprefix(prefix): v for k, v in checkpoint.tensors.items() if k.startswith(prefix)}
    framework.load_state_dict(own)
    with torch.no_grad():
        embeddings = framework.text_embeddings().cpu()
    map_ = checkpoint.map if rule == OWN else _rule(checkpoint, "tuned", rule)
    name = config.name if rule == OWN else config.replace(bias=rule).name
    return TextSpace(name, config.seed, embeddings, map_)


def zero_shot_space(checkpoint: Checkpoint, backbone: Backbone, rule: str) -> TextSpace:
    """The class text embeddings before tuning, with a bias rule fitted on the training images."""
    embeddings = zero_shot_embeddings(backbone, checkpoint.class_names)
    name = "zero-shot" if rule == "none" else f"zero-shot ({rule} bias)"
    return TextSpace(name, checkpoint.config.seed, embeddings, _rule(checkpoint, "zero-shot", rule))


def _rule(checkpoint: Checkpoint, of: str, rule: str) -> ProbabilityMap:
    """A map that the run recorded."""
    maps = checkpoint.maps.get(of, {})
    if rule not in maps:
        raise BadConfig(
            "The bias rule must be 'own' or one that the run recorded, "
            f"but got {rule!r}{nearest(rule, [OWN, *maps])}"
        )
    return maps[rule]


def predict(
    space: TextSpace,
    features: Float[Tensor, "images dim"],
    dataset: MultiLabelDataset,
    groups: tuple[str, ...],
    provenance: dict[str, Any],
    *,
    class_counts: Int[np.ndarray, " classes"] | None = None,
    proximity: Float[np.ndarray, " images"] | None = None,
) -> Predictions:
    """Scores (cosines) of every image and class, with all that is needed to read them.

    Args:
        space: class text embeddings and the map they are read through.
        features: unit features of the images.
        dataset: the images.
        groups: of each class.
        provenance: what else is recorded about the origin.
        class_counts: training images of each class, if known.
        proximity: how near each image is to others, if known.
    """
    return Predictions(
        values=(features @ space.embeddings.T).numpy(),
        labels=dataset.labels,
        class_names=dataset.class_names,
        groups=groups,
        map=space.map,
        image_ids=dataset.image_ids,
        provenance={"model": space.name, "data": dataset.name, "split": dataset.split} | provenance,
        class_counts=class_counts,
        proximity=proximity,
    )
