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
from ccr_diag.errors import BadCheckpoint, BadConfig, nearest
from ccr_diag.frameworks import FRAMEWORKS
from ccr_diag.frameworks.framework import Framework
from ccr_diag.predictions import Predictions
from ccr_diag.progress import UnitProgress, silent
from ccr_diag.prompts import zero_shot_embeddings

OWN = "own"


@dataclass(frozen=True)
class TextSpace:
    """Class text embeddings of one model and split, and how scores and probabilities are made.

    Args:
        name: of the model.
        seed: number of the split.
        embeddings: unit class text embeddings. Of a framework whose scores do not come from them
            alone (CoCoOp, CLIP-Adapter): what its ``text_embeddings`` says.
        map: the probability map that scores are read through.
        framework: makes the scores; None for zero-shot, whose scores are cosines.
    """

    name: str
    seed: int
    embeddings: Float[Tensor, "classes dim"]
    map: ProbabilityMap
    framework: Framework | None = None

    @property
    def local(self) -> bool:
        """Whether scores are made of ``local_features``, not of ``image_features``."""
        return self.framework is not None and self.framework.LOCAL

    @torch.no_grad()
    def scores(
        self,
        features: Float[Tensor, "images *features dim"],
        progress: UnitProgress = silent,
    ) -> Float[Tensor, "images classes"]:
        """Scores of unit image features, on the CPU.

        Args:
            features: unit image features, with those of positions if ``local``.
            progress: told the images done and the images in all, by a framework that takes long.
        """
        if self.framework is None:
            return features @ self.embeddings.T
        return self.framework.scores_of_all(features, self.embeddings, progress)


def tuned_framework(checkpoint: Checkpoint, backbone: Backbone) -> Framework:
    """What a run learned, made ready for all classes of the data set, new ones too.

    Of class-specific contexts, a class that was not tuned has the one that it would have started
    from.

    Raises:
        BadCheckpoint: another backbone, or tensors that are not the framework's.
    """
    checkpoint.require_backbone(backbone)
    config = checkpoint.config
    framework = FRAMEWORKS[config.framework](backbone, checkpoint.class_names, config)
    learned = checkpoint.learned
    rows = [i for i, name in enumerate(checkpoint.class_names) if name not in checkpoint.new]
    if config.class_specific:
        start = {key: tensor.cpu() for key, tensor in framework.state_dict().items()}
        for key in learned.keys() & start.keys():
            if learned[key].ndim == 3 and len(learned[key]) == len(rows):
                learned[key] = start[key].index_copy(0, torch.tensor(rows), learned[key])
    try:
        framework.load_state_dict(learned)
    except RuntimeError as error:
        raise BadCheckpoint(
            f"A checkpoint must hold what its framework {config.framework!r} learns, but "
            f"{checkpoint.path} does not ({str(error).splitlines()[-1].strip()})."
        ) from error
    return framework.eval()


def tuned_space(checkpoint: Checkpoint, backbone: Backbone, rule: str = OWN) -> TextSpace:
    """The class text embeddings after tuning, for all classes of the data set, new ones too.

    Args:
        checkpoint: a finished run.
        backbone: the CLIP it was tuned on.
        rule: ``own``, the map that the run was trained with, or a bias rule fitted on its training
            scores.
    """
    framework, config = tuned_framework(checkpoint, backbone), checkpoint.config
    with torch.no_grad():
        embeddings = framework.text_embeddings().cpu()
    map_ = checkpoint.map if rule == OWN else _rule(checkpoint, "tuned", rule)
    name = config.name if rule == OWN else config.replace(bias=rule).name
    return TextSpace(name, config.seed, embeddings, map_, framework)


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
    features: Float[Tensor, "images *features dim"],
    dataset: MultiLabelDataset,
    groups: tuple[str, ...],
    provenance: dict[str, Any],
    *,
    class_counts: Int[np.ndarray, " classes"] | None = None,
    proximity: Float[np.ndarray, " images"] | None = None,
    progress: UnitProgress = silent,
) -> Predictions:
    """Scores (cosines) of every image and class, with all that is needed to read them.

    Args:
        space: the model, and the map it is read through.
        features: unit features of the images, with those of positions if the space is ``local``.
        dataset: the images.
        groups: of each class.
        provenance: what else is recorded about the origin.
        class_counts: training images of each class, if known.
        proximity: how near each image is to others, if known.
        progress: told the images scored and the images in all, by a framework that takes long.
    """
    return Predictions(
        values=space.scores(features, progress).numpy(),
        labels=dataset.labels,
        class_names=dataset.class_names,
        groups=groups,
        map=space.map,
        image_ids=dataset.image_ids,
        provenance={"model": space.name, "data": dataset.name, "split": dataset.split}
        | ({"notes": list(dataset.notes)} if dataset.notes else {})
        | provenance,
        class_counts=class_counts,
        proximity=proximity,
    )
