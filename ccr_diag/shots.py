"""The training examples of a run: what is drawn, their features, their labels.

What the framework is trained on decides: images of the data set with their labels; captions with
the classes that they name (TaI-DPT); or images of captions with these (T2I-PAL), from the data set,
from another one, or generated.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from ccr_diag.arrays import Labels
from ccr_diag.backbone import Backbone
from ccr_diag.caption_features import caption_features
from ccr_diag.captioned import captioned_images, named_captions
from ccr_diag.config import FinetuneConfig
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.errors import BadData
from ccr_diag.examples import example_rows
from ccr_diag.features import image_features, local_features
from ccr_diag.frameworks import FRAMEWORKS
from ccr_diag.progress import Progress, silent

logger = logging.getLogger(__name__)

Check = Callable[[Labels], None]


@dataclass(frozen=True)
class Shots:
    """The training examples of a run.

    Args:
        ids: their names.
        features: unit features, (examples, dim).
        seen: what the framework scores: these, or with those of positions or tokens.
        labels: labels of the base classes, (examples, base classes).
        digest: sha256 over their names, content and labels.
    """

    ids: tuple[str, ...]
    features: Float[Tensor, "examples dim"]
    seen: Float[Tensor, "examples *features dim"]
    labels: Int[np.ndarray, "examples classes"]
    digest: str


def draw_shots(
    config: FinetuneConfig,
    backbone: Backbone,
    train: MultiLabelDataset,
    progress: Progress = silent,
    check: Check = lambda labels: None,
) -> Shots:
    """The examples that the framework learns the base classes from, with their features.

    Args:
        config: ``examples`` lists them, or ``shots`` of each class are drawn by ``seed``; 0 takes
            all.
        backbone: the frozen CLIP.
        train: the data set; one that learns from captions takes these and the class names alone.
        progress: told the stage, the units done and the units in all.
        check: refuses labels of examples that cannot be learned from, before features are made,
            which may take hours.

    Raises:
        BadConfig: captions are needed and there are none.
        BadData: no caption names a base class, or a file that cannot be read.
        MissingExtra: images are to be generated without the library for it.
    """
    trained_on = FRAMEWORKS[config.framework].TRAINED_ON
    if trained_on == "captions":
        return _caption_shots(config, backbone, train, progress, check)
    if trained_on == "images of captions":
        drawn = captioned_images(config, backbone, train, progress)
    else:
        labels = train.labels[:, ~train.new]
        drawn = train.subset(example_rows(config, train.name, train.image_ids, labels))
    return _image_shots(config, backbone, drawn, progress, check)


def _image_shots(
    config: FinetuneConfig,
    backbone: Backbone,
    drawn: MultiLabelDataset,
    progress: Progress,
    check: Check,
) -> Shots:
    """Images with their features."""

    def tell(done: int, total: int) -> None:
        progress("features", done, total)

    ids, labels = drawn.image_ids, drawn.labels[:, ~drawn.new]
    check(labels)
    digest = _digest(ids, [drawn.digest(i) for i in range(len(drawn))], labels)
    if FRAMEWORKS[config.framework].LOCAL:
        seen = local_features(backbone, drawn, progress=tell)
        return Shots(ids, image_features(backbone, drawn), seen, labels, digest)
    features = image_features(backbone, drawn, progress=tell)
    return Shots(ids, features, features, labels, digest)


def _caption_shots(
    config: FinetuneConfig,
    backbone: Backbone,
    train: MultiLabelDataset,
    progress: Progress,
    check: Check,
) -> Shots:
    """Captions with their features; one that is too long for the tower is left out."""
    named = named_captions(config, train, train)
    fitting = named.subset(np.flatnonzero(~backbone.too_long(named.texts).numpy()))
    left_out = len(named.texts) - len(fitting.texts)
    logger.info("Captions longer than the text tower, left out: %d.", left_out)
    if not fitting.texts:
        raise BadData(
            f"Captions must fit the text tower's {backbone.context_length} tokens, but none of the "
            f"{left_out} that name a base class does; shorten them."
        )
    names = [f"caption {row + 1}" for row in fitting.rows.tolist()]
    rows = example_rows(config, "captions that name a class", names, fitting.labels[:, ~train.new])
    drawn, ids = fitting.subset(rows), tuple(names[i] for i in rows.tolist())
    labels = drawn.labels[:, ~train.new]
    check(labels)
    seen = caption_features(
        backbone, drawn.texts, progress=lambda done, total: progress("features", done, total)
    )
    return Shots(ids, seen[:, 0].float(), seen, labels, _digest(ids, drawn.texts, labels))


def _digest(
    ids: Sequence[str], content: Sequence[str], labels: Int[np.ndarray, "examples classes"]
) -> str:
    """Of examples, so that a run does not go on with others."""
    facts = json.dumps([list(ids), list(content), labels.tolist()])
    return hashlib.sha256(facts.encode()).hexdigest()
