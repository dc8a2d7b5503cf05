"""The training examples of a run: what is drawn, their features, their labels.

What the framework is trained on decides: images of the data set with their labels; captions with
the classes that they name (TaI-DPT); or images of captions with these (T2I-PAL), from the data set,
from another one, or generated.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Int8
from torch import Tensor

from ccr_diag.arrays import PRESENT
from ccr_diag.backbone import Backbone
from ccr_diag.caption_features import caption_features
from ccr_diag.config import DIFFUSERS, FinetuneConfig
from ccr_diag.data import load_dataset
from ccr_diag.data.captions import caption_labels, read_captions, read_synonyms
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.data.fewshot import k_shot
from ccr_diag.errors import BadConfig, BadData
from ccr_diag.features import image_features, local_features
from ccr_diag.frameworks import FRAMEWORKS
from ccr_diag.runs import cache_folder
from ccr_diag.synthesis import Recipe, generate_images

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Shots:
    """The training examples of a run.

    Args:
        ids: their names.
        features: unit features, (examples, dim).
        seen: what the framework scores: these, or with those of positions or tokens.
        labels: labels of the base classes, (examples, base classes).
    """

    ids: tuple[str, ...]
    features: Float[Tensor, "examples dim"]
    seen: Float[Tensor, "examples *features dim"]
    labels: Int[np.ndarray, "examples classes"]


@dataclass(frozen=True)
class Captions:
    """Captions that name a base class.

    Args:
        ids: their names.
        texts: what they say.
        labels: (captions, classes), 1 for what they name, of all classes of the data set.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    labels: Int8[np.ndarray, "captions classes"]

    def subset(self, rows: Int[np.ndarray, " rows"]) -> "Captions":
        """These captions, in this order."""
        chosen = rows.tolist()
        ids, texts = (tuple(part[i] for i in chosen) for part in (self.ids, self.texts))
        return Captions(ids, texts, self.labels[rows])


def draw_shots(
    config: FinetuneConfig,
    backbone: Backbone,
    train: MultiLabelDataset,
    progress: Progress = lambda stage, done, total: None,
) -> Shots:
    """The examples that the framework learns the base classes from, with their features.

    Args:
        config: ``shots`` of each class are drawn by ``seed``; 0 takes all.
        backbone: the frozen CLIP.
        train: the data set, of which a framework that learns from captions may take no more than
            these and the class names.
        progress: told the stage, the units done and the units in all.

    Raises:
        BadConfig: captions are needed and there are none.
        BadData: no caption names a base class, or a file that cannot be read.
        MissingExtra: images are to be generated without the library for it.
    """
    trained_on = FRAMEWORKS[config.framework].TRAINED_ON
    if trained_on == "captions":
        return _caption_shots(config, backbone, train, progress)
    if trained_on == "images of captions":
        drawn = _captioned_images(config, backbone, train, progress)
    else:
        drawn = train.subset(_rows(config, train.labels[:, ~train.new]))
    return _image_shots(config, backbone, drawn, progress)


def _rows(
    config: FinetuneConfig, labels: Int[np.ndarray, "examples classes"]
) -> Int[np.ndarray, " rows"]:
    """The examples that are drawn.

    Raises:
        BadData: none shows a base class.
    """
    if not (labels == PRESENT).any():
        raise BadData(
            f"Tuning needs examples that show a base class, but none of {len(labels)} does; check "
            "--split, the labels, and which classes are declared new."
        )
    return k_shot(labels, config.shots, config.seed) if config.shots else np.arange(len(labels))


def _image_shots(
    config: FinetuneConfig, backbone: Backbone, drawn: MultiLabelDataset, progress: Progress
) -> Shots:
    """Images with their features."""

    def tell(done: int, total: int) -> None:
        progress("features", done, total)

    labels = drawn.labels[:, ~drawn.new]
    if FRAMEWORKS[config.framework].LOCAL:
        seen = local_features(backbone, drawn, progress=tell)
        return Shots(drawn.image_ids, image_features(backbone, drawn), seen, labels)
    features = image_features(backbone, drawn, progress=tell)
    return Shots(drawn.image_ids, features, features, labels)


def _caption_shots(
    config: FinetuneConfig, backbone: Backbone, train: MultiLabelDataset, progress: Progress
) -> Shots:
    """Captions with their features; one that is too long for the tower is left out."""
    captions = named_captions(config, train)
    fitting = captions.subset(np.flatnonzero(~backbone.too_long(captions.texts).numpy()))
    drawn = fitting.subset(_rows(config, fitting.labels[:, ~train.new]))
    seen = caption_features(
        backbone, drawn.texts, progress=lambda done, total: progress("features", done, total)
    )
    return Shots(drawn.ids, seen[:, 0].float(), seen, drawn.labels[:, ~train.new])


def named_captions(config: FinetuneConfig, train: MultiLabelDataset) -> Captions:
    """The captions of a file or of the data set that name a base class, and what they name."""
    trained_on = FRAMEWORKS[config.framework].TRAINED_ON
    if config.captions:
        texts = read_captions(Path(config.captions))
        ids = tuple(f"{config.captions}:{i + 1}" for i in range(len(texts)))
    elif train.captions is not None:
        texts, ids = train.captions, train.image_ids
    else:
        other = "--captions FILE" if trained_on == "captions" else "--images-from"
        raise BadConfig(
            f"Framework {config.framework!r} learns from {trained_on}, but {train.name} has no "
            f"captions; give {other}, or add a column 'caption' to the manifest."
        )
    synonyms = (
        read_synonyms(Path(config.synonyms), train.class_names)
        if config.synonyms
        else train.synonyms
    )
    labels = caption_labels(texts, train.class_names, synonyms)
    naming = np.flatnonzero(labels[:, ~train.new].any(axis=1))
    if not len(naming):
        raise BadData(
            f"Captions must name base classes, but none of {len(texts)} names any; check the "
            "class names, or list other words for them in a file for --synonyms."
        )
    return Captions(ids, texts, labels).subset(naming)


def _captioned_images(
    config: FinetuneConfig, backbone: Backbone, train: MultiLabelDataset, progress: Progress
) -> MultiLabelDataset:
    """Drawn images of captions, labelled with the classes of ``train`` that these name."""
    if config.images_from == DIFFUSERS:
        drawn = named_captions(config, train)
        drawn = drawn.subset(_rows(config, drawn.labels[:, ~train.new]))
        images = _generated(config, backbone, train.class_names, drawn, progress)
    elif config.images_from:
        images = load_dataset(config.images_from, "all")
    else:
        images = train
    images = replace(
        images,
        class_names=train.class_names,
        new=train.new,
        labels=np.zeros((len(images), len(train.class_names)), dtype=np.int8),
        synonyms=train.synonyms,
    )
    captions = named_captions(config.replace(captions=""), images)
    row_of = {name: row for row, name in enumerate(images.image_ids)}
    rows = np.array([row_of[name] for name in captions.ids])
    images = replace(images.subset(rows), labels=captions.labels)
    if config.images_from == DIFFUSERS:  # no others were made
        return images
    return images.subset(_rows(config, images.labels[:, ~images.new]))


def _generated(
    config: FinetuneConfig,
    backbone: Backbone,
    class_names: Sequence[str],
    captions: Captions,
    progress: Progress,
) -> MultiLabelDataset:
    """Images made from the captions, in the cache; their ids are their paths."""
    recipe = Recipe(
        config.generator,
        size=config.generator_size,
        steps=config.generator_steps,
        guidance=config.generator_guidance,
    )
    key = hashlib.sha256(repr((sorted(asdict(recipe).items()), captions.texts)).encode())
    made = generate_images(
        captions.texts,
        captions.labels,
        class_names,
        cache_folder() / "images" / key.hexdigest()[:32],
        recipe,
        device=backbone.device,
        progress=lambda done, total: progress("images", done, total),
    )
    images = load_dataset(f"manifest:{made.manifest}", "all")
    folder = made.manifest.parent
    return replace(images, image_ids=tuple(str(folder / name) for name in images.image_ids))
