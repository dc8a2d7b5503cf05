"""What pretraining looks at: emoji of several styles, in scenes, with captions and prompts.

In: the shipped sprite atlases and, where asked for, those of other emoji. Out: batches of images,
texts, and which text matches which image; ``pretrain.py`` learns from them.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from torch import Tensor
from torch.utils.data import IterableDataset

from ccr_diag.data import scenes, sprites
from ccr_diag.data.scene_captions import CAPTION_TEMPLATES, describe

HERE = Path(__file__).parent
STYLES = ("noto", "noto-v1", "fluent-flat", "fluent-3d")
SEED = 20260
CAPTIONS, PROMPTS = 48, 128  # texts a batch
EXTRA_SHARE = 0.25  # share of scenes whose theme is “other emoji”
PROMPT_TEMPLATES = (
    "{}", "{}.", "a {}.", "the {}.",
    "a photo of a {}.", "a picture of a {}.", "a drawing of a {}.", "an icon of a {}.",
    "a photo of the {}.", "a scene with a {}.",
    "there is a {} in the picture.", "a picture that shows a {}.",
    "one of the things that you can see in this small colourful picture is a {}.",
    "among other things on a soft and colourful background the picture shows a {}.",
)  # fmt: skip


@dataclass(frozen=True)
class Drawing:
    """One emoji in one style.

    Args:
        class_: number of the class that it stands for.
        cell: its RGBA picture.
        words: its name and the annotators' keywords.
    """

    class_: int
    cell: UInt8[np.ndarray, "side side 4"]
    words: list[str]


def drawings(folder: Path, class_of_sprite: Sequence[int]) -> Iterator[Drawing]:
    """What the pretraining styles draw, style by style.

    Args:
        folder: where ``index.json`` and the atlases lie.
        class_of_sprite: class number of each sprite of the index.
    """
    index = read_index(folder)
    for style in STYLES:
        missing = set(index["styles"][style]["missing"])
        cells = sprites.load_cells(folder, style)
        for sprite, class_, cell in zip(index["sprites"], class_of_sprite, cells, strict=True):
            if sprite["emoji"] not in missing:
                yield Drawing(class_, cell, [sprite["name"], *sprite["tags"]])


def read_index(folder: Path) -> dict[str, Any]:
    """What the cells of a folder's atlases hold."""
    index: dict[str, Any] = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    return index


def with_other_emoji(base: scenes.Inventory, others: Sequence[str]) -> scenes.Inventory:
    """Equally frequent themes and, last, a theme of other emoji; nobody draws any class yet.

    Args:
        base: the classes, their themes and shares.
        others: a class name for each other emoji; without any, their theme is left out.
    """
    n_themes, n = len(base.theme_share), len(others)
    theme_share = [1 / n_themes] * n_themes
    if others:
        theme_share = [(1 - EXTRA_SHARE) / n_themes] * n_themes + [EXTRA_SHARE]
    return scenes.Inventory(
        names=(*base.names, *others),
        theme_of_class=np.append(base.theme_of_class, np.full(n, n_themes)),
        class_share=np.append(base.class_share, np.full(n, 1 / max(n, 1))),
        theme_share=np.array(theme_share),
        sprites_of_class=((),) * (len(base.names) + n),
    )


def drawn_by(inventory: scenes.Inventory, class_of_row: Sequence[int]) -> scenes.Inventory:
    """The inventory whose classes are drawn by these rows of a sprite bank."""
    rows_of_class: list[list[int]] = [[] for _ in inventory.names]
    for row, class_ in enumerate(class_of_row):
        rows_of_class[class_].append(row)
    return replace(inventory, sprites_of_class=tuple(tuple(rows) for rows in rows_of_class))


def concept_table(
    words_of_row: Sequence[list[str]],
) -> tuple[list[str], Bool[np.ndarray, "rows concepts"]]:
    """All words in alphabetical order, and which of them each row of a sprite bank bears."""
    concepts = sorted({word for words in words_of_row for word in words})
    number = {word: i for i, word in enumerate(concepts)}
    table = np.zeros((len(words_of_row), len(concepts)), dtype=bool)
    for row, words in enumerate(words_of_row):
        table[row, [number[word] for word in words]] = True
    return concepts, table


class Corpus:
    """Sprites of all pretraining styles as one inventory, with the words that each sprite bears.

    Args:
        extra: folder of the atlases of other emoji, if they are to be drawn too.
    """

    def __init__(self, extra: Path | None) -> None:
        base = scenes.class_inventory(STYLES[0], theme_exponent=0.0, class_exponent=0.25)
        others = [sprite["name"] for sprite in read_index(extra)["sprites"]] if extra else []
        inventory = with_other_emoji(base, others)
        number = {name: i for i, name in enumerate(base.names)}
        shipped = HERE / "sprites"
        drawn = [
            *drawings(shipped, [number[s["name"]] for s in read_index(shipped)["sprites"]]),
            *(drawings(extra, range(len(base.names), len(inventory.names))) if extra else ()),
        ]
        self.inventory = drawn_by(inventory, [drawing.class_ for drawing in drawn])
        self.names = self.inventory.names
        self.cells = np.stack([drawing.cell for drawing in drawn])
        self.concepts, self.concepts_of_sprite = concept_table([d.words for d in drawn])
        self.is_name = np.array([concept in number for concept in self.concepts])

    def texts(self) -> Iterator[str]:
        """Every word and template, for the choice of the vocabulary."""
        yield from self.concepts
        yield from PROMPT_TEMPLATES
        yield from CAPTION_TEMPLATES
        yield describe(["apple", "dog", "cat"])


class Batches(IterableDataset[dict[str, Tensor]]):
    """Batches of images and texts.

    Batch number ``step`` holds scenes ``step·size …``, whichever worker draws it: a resumed run
    sees the same data.

    Args:
        corpus: what is drawn and named.
        tokenizer: of the cut vocabulary.
        size: images a batch.
        start: number of the first batch.
        stop: number after the last batch.
    """

    def __init__(
        self,
        corpus: Corpus,
        tokenizer: Callable[[list[str]], Tensor],
        size: int,
        start: int,
        stop: int,
    ) -> None:
        self.corpus, self.tokenizer, self.size = corpus, tokenizer, size
        self.steps = range(start, stop)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        torch.set_num_threads(1)
        bank = sprites.SpriteBank(self.corpus.cells)
        for step in self.steps:
            yield self.batch(bank, step)

    def batch(self, bank: sprites.SpriteBank, step: int) -> dict[str, Tensor]:
        """Images, token ids and the match matrix of one step."""
        rng = np.random.default_rng([SEED, step])
        layout = scenes.lay_out(
            self.corpus.inventory, SEED, np.arange(step * self.size, (step + 1) * self.size)
        )
        images = scenes.paint_background(layout, theme_colours=False)
        bank.draw(layout, images)
        present = layout.class_ >= 0
        concepts = np.zeros((self.size, len(self.corpus.concepts)), dtype=bool)
        for slot in range(scenes.MAX_OBJECTS):
            rows = np.flatnonzero(present[:, slot])
            concepts[rows] |= self.corpus.concepts_of_sprite[layout.sprite[rows, slot]]
        labels = scenes.labels_of(layout, len(self.corpus.names)) > 0

        texts, match = [], []
        for i in rng.choice(self.size, CAPTIONS, replace=False):
            named = np.unique(layout.class_[i, present[i]])
            rng.shuffle(named)
            texts.append(
                CAPTION_TEMPLATES[rng.integers(len(CAPTION_TEMPLATES))].format(
                    describe([self.corpus.names[c] for c in named])
                )
            )
            match.append(labels[:, named].all(axis=1))
        # Prompts: class names first, as they are what users ask for; then other words present in
        # the batch.
        in_batch = np.flatnonzero(concepts.any(axis=0))
        weight = np.where(self.corpus.is_name[in_batch], 6.0, 1.0)
        for c in rng.choice(
            in_batch, min(PROMPTS, len(in_batch)), replace=False, p=weight / weight.sum()
        ):
            texts.append(
                PROMPT_TEMPLATES[rng.integers(len(PROMPT_TEMPLATES))].format(
                    self.corpus.concepts[c]
                )
            )
            match.append(concepts[:, c])
        return {
            "images": torch.from_numpy(jitter(images, rng)),
            "ids": self.tokenizer(texts),
            "match": torch.from_numpy(np.stack(match)),
        }


def jitter(
    images: UInt8[np.ndarray, "images height width 3"], rng: np.random.Generator
) -> UInt8[np.ndarray, "images height width 3"]:
    """Random colour mixing, contrast and brightness an image; a tenth turns grey.

    Keeps shapes, loosens style.
    """
    n = len(images)
    mix = np.eye(3, dtype=np.float32) + rng.normal(0, 0.12, (n, 3, 3)).astype(np.float32)
    mix[rng.random(n) < 0.1] = np.array([0.299, 0.587, 0.114], dtype=np.float32)
    contrast = rng.uniform(0.65, 1.35, (n, 1, 1)).astype(np.float32)
    brightness = rng.uniform(-30, 30, (n, 1, 1)).astype(np.float32)
    flat = images.reshape(n, -1, 3).astype(np.float32) - 128
    flat = (flat @ mix.swapaxes(1, 2)) * contrast + brightness + 128
    return np.clip(flat, 0, 255).astype(np.uint8).reshape(images.shape)
