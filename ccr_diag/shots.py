"""The training examples of a run: what is drawn, their features, their labels.

What the framework is trained on decides: images of the data set with their labels; captions with
the classes that they name (TaI-DPT); or images of captions with these (T2I-PAL), from the data set,
from another one, or generated.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]


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


@dataclass(frozen=True)
class Captions:
    """Captions that name a base class.

    Args:
        rows: where each stands among those that were read.
        texts: what they say.
        labels: (captions, classes), 1 for what they name, of all classes of the data set.
    """

    rows: Int[np.ndarray, " captions"]
    texts: tuple[str, ...]
    labels: Int8[np.ndarray, "captions classes"]

    def subset(self, chosen: Int[np.ndarray, " rows"]) -> "Captions":
        """These captions, in this order."""
        texts = tuple(self.texts[i] for i in chosen.tolist())
        return Captions(self.rows[chosen], texts, self.labels[chosen])


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

    ids, labels = drawn.image_ids, drawn.labels[:, ~drawn.new]
    digest = _digest(ids, [drawn.digest(i) for i in range(len(drawn))], labels)
    if FRAMEWORKS[config.framework].LOCAL:
        seen = local_features(backbone, drawn, progress=tell)
        return Shots(ids, image_features(backbone, drawn), seen, labels, digest)
    features = image_features(backbone, drawn, progress=tell)
    return Shots(ids, features, features, labels, digest)


def _caption_shots(
    config: FinetuneConfig, backbone: Backbone, train: MultiLabelDataset, progress: Progress
) -> Shots:
    """Captions with their features; one that is too long for the tower is left out."""
    named = named_captions(config, train, _texts(config, train))
    fitting = named.subset(np.flatnonzero(~backbone.too_long(named.texts).numpy()))
    left_out = len(named.texts) - len(fitting.texts)
    logger.info("Captions longer than the text tower, left out: %d.", left_out)
    if not fitting.texts:
        raise BadData(
            f"Captions must fit the text tower's {backbone.context_length} tokens, but none of the "
            f"{left_out} that name a base class does; shorten them."
        )
    drawn = fitting.subset(_rows(config, fitting.labels[:, ~train.new]))
    seen = caption_features(
        backbone, drawn.texts, progress=lambda done, total: progress("features", done, total)
    )
    ids = tuple(f"caption {row + 1}" for row in drawn.rows.tolist())
    labels = drawn.labels[:, ~train.new]
    return Shots(ids, seen[:, 0].float(), seen, labels, _digest(ids, drawn.texts, labels))


def _digest(
    ids: Sequence[str], content: Sequence[str], labels: Int[np.ndarray, "examples classes"]
) -> str:
    """Of examples, so that a run does not go on with others."""
    facts = json.dumps([list(ids), list(content), labels.tolist()])
    return hashlib.sha256(facts.encode()).hexdigest()


def _texts(config: FinetuneConfig, data: MultiLabelDataset) -> tuple[str, ...]:
    """The captions of the file, or else of the data set."""
    if config.captions:
        return read_captions(Path(config.captions))
    if data.captions is None:
        trained_on = FRAMEWORKS[config.framework].TRAINED_ON
        other = "--captions FILE" if trained_on == "captions" else "--images-from"
        raise BadConfig(
            f"Framework {config.framework!r} learns from {trained_on}, but {data.name} has no "
            f"captions; give {other}, or add a column 'caption' to the manifest."
        )
    return data.captions


def named_captions(
    config: FinetuneConfig, train: MultiLabelDataset, texts: Sequence[str]
) -> Captions:
    """The captions that name a base class of the data set, and what they name."""
    synonyms = train.synonyms
    if config.synonyms:
        synonyms = read_synonyms(Path(config.synonyms), train.class_names)
    labels = caption_labels(texts, train.class_names, synonyms)
    naming = np.flatnonzero(labels[:, ~train.new].any(axis=1))
    if not len(naming):
        raise BadData(
            f"Captions must name base classes, but none of {len(texts)} names any; check the "
            "class names, or list other words for them in a file for --synonyms."
        )
    return Captions(np.arange(len(texts)), tuple(texts), labels).subset(naming)


def _captioned_images(
    config: FinetuneConfig, backbone: Backbone, train: MultiLabelDataset, progress: Progress
) -> MultiLabelDataset:
    """Drawn images of captions, labelled with the classes of ``train`` that these name."""
    if config.images_from == DIFFUSERS:
        named = named_captions(config, train, _texts(config, train))
        drawn = named.subset(_rows(config, named.labels[:, ~train.new]))
        images, of = _generated(config, backbone, train.class_names, drawn, progress)
        return _labelled(images, drawn.labels[of], train)
    images = train
    if config.images_from:
        images = load_dataset(config.images_from, config.split)
    named = named_captions(config, train, _texts(config, images))
    drawn = named.subset(_rows(config, named.labels[:, ~train.new]))
    return _labelled(images.subset(drawn.rows), drawn.labels, train)


def _labelled(
    images: MultiLabelDataset, labels: Int8[np.ndarray, "images classes"], like: MultiLabelDataset
) -> MultiLabelDataset:
    """The images with these labels of another data set's classes."""
    return replace(images, class_names=like.class_names, new=like.new, labels=labels)


def _generated(
    config: FinetuneConfig,
    backbone: Backbone,
    class_names: Sequence[str],
    captions: Captions,
    progress: Progress,
) -> tuple[MultiLabelDataset, Int[np.ndarray, " images"]]:
    """Images made from the captions, in the cache, and which caption each is of.

    Their ids are their paths. Those that the generator's safety checker withholds are not among
    them.
    """
    recipe = Recipe(
        config.generator,
        size=config.generator_size,
        steps=config.generator_steps,
        guidance=config.generator_guidance,
    )
    key = hashlib.sha256(repr((recipe, _written(recipe.generator), captions.texts)).encode())
    made = generate_images(
        captions.texts,
        captions.labels,
        class_names,
        cache_folder() / "images" / key.hexdigest()[:32],
        recipe,
        device=backbone.device,
        progress=lambda done, total: progress("images", done, total),
    )
    folder = made.manifest.parent
    logger.info("Images of captions: %s, of which %d were withheld.", folder, made.withheld)
    images = load_dataset(f"manifest:{made.manifest}", "all")
    of = np.array([int(Path(name).stem) for name in images.image_ids])
    return replace(images, image_ids=tuple(str(folder / name) for name in images.image_ids)), of


def _written(generator: str) -> list[int]:
    """When the files of a pipeline in a folder were last written."""
    return sorted(path.stat().st_mtime_ns for path in Path(generator).rglob("*.*"))
