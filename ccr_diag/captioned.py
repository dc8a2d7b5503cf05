"""Captions that name classes, and images of them, as training data.

In: the captions of a file or of a data set. Out: those that name a base class, with what they name;
or images with these as labels, from the data set, from another one, or generated.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int, Int8

from ccr_diag.backbone import Backbone
from ccr_diag.config import DIFFUSERS, FinetuneConfig
from ccr_diag.data import load_dataset, load_declared
from ccr_diag.data.captions import caption_labels, read_captions, read_synonyms
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.errors import BadConfig, BadData
from ccr_diag.examples import example_rows
from ccr_diag.frameworks import FRAMEWORKS
from ccr_diag.progress import Progress
from ccr_diag.runs import cache_folder
from ccr_diag.synthesis import Recipe, generate_images

logger = logging.getLogger(__name__)


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


def named_captions(
    config: FinetuneConfig, source: MultiLabelDataset, train: MultiLabelDataset
) -> Captions:
    """The captions that name a base class, and what they name.

    Args:
        config: may name a file of captions, and one of synonyms.
        source: has the captions, if there is no file.
        train: says the classes.

    Raises:
        BadConfig: there are no captions.
        BadData: none names a base class, or a file that cannot be read.
    """
    texts = _texts(config, source)
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
    return Captions(np.arange(len(texts)), texts, labels).subset(naming)


def captioned_images(
    config: FinetuneConfig, backbone: Backbone, train: MultiLabelDataset, progress: Progress
) -> MultiLabelDataset:
    """Drawn images of captions, labelled with the classes of ``train`` that these name.

    Args:
        config: says where they come from, and how many are drawn.
        backbone: its device also generates images.
        train: says the classes, and has the images unless they come from elsewhere.
        progress: told the stage, the images done and the images in all.

    Raises:
        BadConfig: there are no captions.
        BadData: none names a base class, or a file that cannot be read.
        MissingExtra: images are to be generated without the library for it.
    """
    generated = config.images_from == DIFFUSERS
    images = train
    if config.images_from and not generated:
        images = load_declared(config.images_from, config.split, "stated", config.unlisted)
    named = named_captions(config, images, train)
    # What is yet to be made has no ids, and is never listed.
    ids = named.texts if generated else [images.image_ids[row] for row in named.rows.tolist()]
    drawn = named.subset(example_rows(config, images.name, ids, named.labels[:, ~train.new]))
    if generated:
        images, of = _generated(config, backbone, train.class_names, drawn, progress)
    else:
        images, of = images.subset(drawn.rows), np.arange(len(drawn.rows))
    return replace(images, class_names=train.class_names, new=train.new, labels=drawn.labels[of])


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
    images = load_dataset(f"manifest:{made.manifest}", "all", "negative")
    of = np.array([int(Path(name).stem) for name in images.image_ids])
    return replace(images, image_ids=tuple(str(folder / name) for name in images.image_ids)), of


def _written(generator: str) -> list[int]:
    """When the files of a pipeline in a folder were last written."""
    return sorted(path.stat().st_mtime_ns for path in Path(generator).rglob("*.*"))
