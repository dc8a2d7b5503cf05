"""Public checkpoints + test images → every model's predictions and one results record.

Each is shown beside zero-shot with the same map, as ``analysis`` does of runs.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from ccr_diag.analysis import analyse_models
from ccr_diag.arrays import ProbabilityMap
from ccr_diag.backbone import Backbone
from ccr_diag.compared_models import Model
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.features import local_features
from ccr_diag.predict import TextSpace, predict
from ccr_diag.predictions import Predictions
from ccr_diag.progress import UnitProgress, silent
from ccr_diag.prompts import zero_shot_embeddings
from ccr_diag.results import Results

ZERO_SHOT = "zero-shot"


def analyse_public(
    spaces: Sequence[TextSpace],
    facts: Sequence[dict[str, Any]],
    zero_shot_map: ProbabilityMap,
    backbone: Backbone,
    test: MultiLabelDataset,
    features: Float[Tensor, "images dim"],
    output: Path | None,
    *,
    scoring: UnitProgress = silent,
    **options: Any,
) -> Results:
    """Measure zero-shot and all checkpoints on the test images; see ``analysis.analyse``.

    Args:
        spaces: the models.
        facts: of each, its provenance.
        zero_shot_map: the map that zero-shot is read through.
        backbone: the CLIP of them all.
        test: the images to measure on.
        features: their unit features.
        output: folder to write to; None to write nothing.
        scoring: told images scored and images in all, by a framework that takes long over them.
        **options: of ``analysis.analyse_models``.
    """
    texts = zero_shot_embeddings(backbone, test.class_names)
    zero_shot = TextSpace(ZERO_SHOT, 0, texts, zero_shot_map)
    seen = {False: features}
    if any(space.local for space in spaces):
        seen[True] = local_features(backbone, test)
    named = [
        replace(space, name=name) for space, name in zip(spaces, _names(spaces, facts), strict=True)
    ]
    origin = {space.name: fact for space, fact in zip(named, facts, strict=True)}
    known = {"name": backbone.name, "fingerprint": backbone.fingerprint}

    def score(space: TextSpace, near: Float[np.ndarray, " images"] | None) -> Predictions:
        said = origin.get(space.name, {"backbone": known})
        return predict(space, seen[space.local], test, (), said, proximity=near, progress=scoring)

    models = [Model(space.name, (space,)) for space in (zero_shot, *named)]
    return analyse_models(models, score, test, features, output, **options)


def _names(spaces: Sequence[TextSpace], facts: Sequence[dict[str, Any]]) -> list[str]:
    """Of each model; the path tells files of one name apart."""
    names = [space.name for space in spaces]
    return [
        f"{name} [{fact['checkpoint']['file']}]" if names.count(name) > 1 else name
        for name, fact in zip(names, facts, strict=True)
    ]
