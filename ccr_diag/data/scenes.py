"""The embedded images: scenes composed of emoji, drawn on the fly, the same pixels everywhere.

In: sprite atlases and ``classes.json`` of ``ccr_diag/embedded``, by way of ``sprites.py``. Out:
uint8 images and labels, which ``load_scenes`` hands on as any other ``MultiLabelDataset``. Artwork
and names are people's work; which objects meet in a scene and where they stand is generated. These
are not photos.

Every random choice is a hash of (seed, scene, draw), and all pixel arithmetic is on integers, so a
scene depends neither on its neighbours in a batch nor on the version of a random number generator.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Int8, UInt8, UInt64
from PIL import Image

from ccr_diag.arrays import Unlisted
from ccr_diag.data.captions import read_synonyms
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.data.openmoji import OPENMOJI
from ccr_diag.data.scene_captions import caption_scenes
from ccr_diag.data.sprites import (
    ANGLES,
    EMBEDDED,
    SPRITE_SIZES,
    Layout,
    SpriteBank,
    load_bank,
    style_cells,
)
from ccr_diag.data.unlisted import fill_of
from ccr_diag.embedded import SYNONYMS
from ccr_diag.errors import BadData, nearest
from ccr_diag.progress import Progress, silent

SIZE = 64
MAX_OBJECTS = 6
OBJECT_COUNT_WEIGHTS = (0.20, 0.26, 0.22, 0.16, 0.10, 0.06)
SAME_THEME = 0.85  # share of objects that belong to the scene's theme
PLACES = 4  # candidate places an object; the least covered is taken
THEME_EXPONENT, CLASS_EXPONENT = 0.55, 1.25  # Zipf, of themes and of classes within a theme
TEXTURES = 48

STYLES = ("twemoji", "noto", "fluent-flat", "fluent-3d", "emojione", OPENMOJI)
SPLITS = {"train": 3000, "calibration": 2000, "test": 3000}
SPLIT_SEEDS = {"train": 1, "calibration": 2, "test": 3}  # the same scenes in every style
GENERATOR = 1  # to be raised whenever the code draws other pixels or labels from the same files
BLOCK = 256  # scenes drawn at once for a reader that goes through a split in order
NEAR = 16  # a reader that moves ahead by at most this many scenes goes in order

Ints = Int[np.ndarray, " scenes"]
Draw = Callable[[int], Float[np.ndarray, " scenes"]]
Slots = Int[np.ndarray, "scenes slots"]


@dataclass(frozen=True)
class Inventory:
    """What can stand in a scene, and how often.

    Args:
        names: one name a class.
        theme_of_class: theme index of each class.
        class_share: probability of each class within its theme.
        theme_share: probability of each theme.
        sprites_of_class: for each class, the sprites (rows of the bank) that draw it.
    """

    names: tuple[str, ...]
    theme_of_class: Int[np.ndarray, " classes"]
    class_share: Float[np.ndarray, " classes"]
    theme_share: Float[np.ndarray, " themes"]
    sprites_of_class: tuple[tuple[int, ...], ...]


def hashed(
    seed: int, scene: Int[np.ndarray, " scenes"], draw: int
) -> UInt64[np.ndarray, " scenes"]:
    """64 mixed bits for (seed, scene, draw).

    The finaliser of splitmix64, twice. Source: Steele, Lea and Flood, Fast Splittable Pseudorandom
    Number Generators, 2014.
    """
    x = scene.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x ^= np.uint64((seed * 0xD1B54A32D192ED03 + draw * 0x8CB92BA72F3D8DD7) % 2**64)
    for _ in range(2):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    return x


def uniform(
    seed: int, scene: Int[np.ndarray, " scenes"], draw: int
) -> Float[np.ndarray, " scenes"]:
    """Numbers in [0, 1) for (seed, scene, draw), exact multiples of 2⁻⁵³."""
    return (hashed(seed, scene, draw) >> np.uint64(11)) * 2.0**-53


def choose(
    share: Float[np.ndarray, " options"], u: Float[np.ndarray, " scenes"]
) -> Int[np.ndarray, " scenes"]:
    """The option that each number in [0, 1) falls on when options take their share of the line."""
    option = np.searchsorted(np.cumsum(share) / np.sum(share), u, side="right")
    return np.asarray(
        np.minimum(option, np.flatnonzero(share)[-1])
    )  # the line may end an ulp below 1


def lay_out(inventory: Inventory, seed: int, scene: Int[np.ndarray, " scenes"]) -> Layout:
    """Recipes of the scenes with these numbers."""

    def u(draw: int) -> Float[np.ndarray, " scenes"]:
        return uniform(seed, scene, draw)

    count = choose(np.array(OBJECT_COUNT_WEIGHTS), u(0)) + 1
    theme = choose(inventory.theme_share, u(1))
    slots = [
        _lay_out_slot(inventory, theme, slot < count, u, 16 * (slot + 1))
        for slot in range(MAX_OBJECTS)
    ]
    class_, sprite, size, angle, flip = (
        np.stack(part, axis=1) for part in zip(*slots, strict=True)
    )
    top, left = _place(np.array(SPRITE_SIZES)[size], class_ >= 0, u)
    bits = [hashed(seed, scene, draw) >> np.uint64(40) for draw in range(2, 8)]
    background = np.stack(bits, axis=1).astype(np.int64)
    return Layout(theme, class_, sprite, size, angle, flip.astype(bool), top, left, background)


def _lay_out_slot(
    inventory: Inventory,
    theme: Int[np.ndarray, " scenes"],
    present: Bool[np.ndarray, " scenes"],
    u: Draw,
    first: int,
) -> tuple[Ints, Ints, Ints, Ints, Bool[np.ndarray, " scenes"]]:
    """Class, sprite, size, angle and flip of one object in every scene.

    Args:
        inventory: what can stand there.
        theme: theme of each scene.
        present: whether the scene has this object.
        u: uniform numbers by draw.
        first: number of the first of the seven draws taken.
    """
    own = np.where(u(first) < SAME_THEME, theme, choose(inventory.theme_share, u(first + 1)))
    class_ = np.full(len(theme), -1)
    draw, variant = u(first + 2), u(first + 3)
    for t in range(len(inventory.theme_share)):
        rows = np.flatnonzero((own == t) & present)
        if len(rows):
            members = np.flatnonzero(inventory.theme_of_class == t)
            class_[rows] = members[choose(inventory.class_share[members], draw[rows])]
    n_sprites = np.array([len(s) for s in inventory.sprites_of_class])
    start = (np.cumsum(n_sprites) - n_sprites)[class_]
    flat = np.concatenate([np.array(s, dtype=np.int64) for s in inventory.sprites_of_class])
    which = start + np.floor(variant * n_sprites[class_]).astype(np.int64)
    sprite = flat[np.minimum(which, len(flat) - 1)]  # beyond the end only in empty slots
    size = np.floor(u(first + 4) * len(SPRITE_SIZES)).astype(np.int64)
    angle = np.floor(u(first + 5) * len(ANGLES)).astype(np.int64)
    return class_, sprite, size, angle, u(first + 6) < 0.5


def _place(side: Slots, present: Bool[np.ndarray, "scenes slots"], u: Draw) -> tuple[Slots, Slots]:
    """Top left corners; of ``PLACES`` candidates an object takes the one that covers least."""
    n_scenes, n_slots = side.shape
    top = np.zeros((n_scenes, n_slots), dtype=np.int64)
    left = np.zeros((n_scenes, n_slots), dtype=np.int64)
    for k in range(n_slots):
        own = side[:, k]
        room = SIZE - own + 1
        best = np.full(n_scenes, np.iinfo(np.int64).max)
        for place in range(PLACES):
            y = np.floor(u(128 + 16 * k + 2 * place) * room).astype(np.int64)
            x = np.floor(u(129 + 16 * k + 2 * place) * room).astype(np.int64)
            covered = np.zeros(n_scenes, dtype=np.int64)
            for j in range(k):
                height = _shared(y, own, top[:, j], side[:, j])
                covered += height * _shared(x, own, left[:, j], side[:, j]) * present[:, j]
            better = covered < best
            best = np.where(better, covered, best)
            top[:, k] = np.where(better, y, top[:, k])
            left[:, k] = np.where(better, x, left[:, k])
    return top, left


def _shared(a: Ints, a_length: Ints, b: Ints, b_length: Ints) -> Ints:
    """Length of what two intervals share, each given by its start and length."""
    shared = np.minimum(a + a_length, b + b_length) - np.maximum(a, b)
    return np.asarray(np.maximum(shared, 0))


def zipf(n: int, exponent: float) -> Float[np.ndarray, " n"]:
    """Shares proportional to rank^−exponent."""
    share = np.arange(1, n + 1) ** -exponent
    return np.asarray(share / share.sum())


@lru_cache(maxsize=1)
def _themes() -> dict[str, list[dict[str, Any]]]:
    """The classes of ``classes.json`` by theme, the most frequent first."""
    text = (EMBEDDED / "classes.json").read_text(encoding="utf-8")
    themes: dict[str, list[dict[str, Any]]] = json.loads(text)["themes"]
    return themes


def class_inventory(
    style: str, *, theme_exponent: float = THEME_EXPONENT, class_exponent: float = CLASS_EXPONENT
) -> Inventory:
    """The classes of ``classes.json`` with the sprites that a style draws.

    A class of which the style draws no emoji keeps its place in the list and never stands in a
    scene.

    Args:
        style: name of an atlas.
        theme_exponent: Zipf exponent of the themes.
        class_exponent: Zipf exponent of the classes within a theme.
    """
    themes = list(_themes().values())
    index = json.loads((EMBEDDED / "sprites" / "index.json").read_text(encoding="utf-8"))
    missing = set() if style == OPENMOJI else set(index["styles"][style]["missing"])
    sprites: dict[str, list[int]] = {c["name"]: [] for theme in themes for c in theme}
    for i, sprite in enumerate(index["sprites"]):
        if sprite["emoji"] not in missing:
            sprites[sprite["name"]].append(i)
    drawn = np.array([len(own) > 0 for own in sprites.values()])
    theme_of_class = np.array([t for t, theme in enumerate(themes) for _ in theme])
    theme_drawn = np.array([drawn[theme_of_class == t].any() for t in range(len(themes))])
    class_share = np.concatenate([zipf(len(theme), class_exponent) for theme in themes])
    return Inventory(
        names=tuple(sprites),
        theme_of_class=theme_of_class,
        class_share=np.where(drawn, class_share, 0.0),
        theme_share=np.where(theme_drawn, zipf(len(themes), theme_exponent), 0.0),
        sprites_of_class=tuple(tuple(own) for own in sprites.values()),
    )


@lru_cache(maxsize=1)
def _textures() -> Int[np.ndarray, "textures 64 64"]:
    """Soft grey patterns in −64…64: 5 × 5 hashed knots, bilinear between them."""
    bits = hashed(77, np.arange(TEXTURES * 25), 0) % np.uint64(129)
    knots = bits.astype(np.int64).reshape(TEXTURES, 5, 5) - 64
    position = np.arange(SIZE) * 4
    i, f = position // SIZE, position % SIZE
    rows = knots[:, i] * (SIZE - f)[None, :, None] + knots[:, i + 1] * f[None, :, None]
    patterns = (rows[:, :, i] * (SIZE - f) + rows[:, :, i + 1] * f) // SIZE**2
    return patterns.astype(np.int16)


def paint_background(
    layout: Layout, theme_colours: bool = True
) -> UInt8[np.ndarray, "scenes 64 64 3"]:
    """A soft texture in a colour that leans towards the theme's.

    Args:
        layout: recipes of the scenes.
        theme_colours: without it the colour says nothing about the theme.
    """
    bits = layout.background
    base = bits[:, :3] % 156 + 70
    if theme_colours:
        channel = np.repeat(layout.theme, 3) * 3 + np.tile(np.arange(3), len(bits))
        theme = (hashed(78, channel, 0) % np.uint64(156)).astype(np.int64)
        base = (base + theme.reshape(-1, 3) + 70) // 2
    strength = bits[:, 4, None] % 40 + np.array([0, 12, 24])  # a slight tint
    pattern = _textures()[bits[:, 3] % TEXTURES]  # scenes 64 64
    canvas = np.empty((len(bits), SIZE, SIZE, 3), dtype=np.uint8)
    for c in range(3):  # |pattern · strength| ≤ 64 · 63, so 16 bits hold it
        shade = pattern * strength[:, c, None, None].astype(np.int16)
        shade >>= 6
        shade += base[:, c, None, None].astype(np.int16)
        canvas[..., c] = np.clip(shade, 0, 255, out=shade)
    return canvas


def draw_scenes(
    bank: SpriteBank, inventory: Inventory, seed: int, scene: Int[np.ndarray, " scenes"]
) -> tuple[UInt8[np.ndarray, "scenes 64 64 3"], Int8[np.ndarray, "scenes classes"]]:
    """Images and labels of the scenes with these numbers."""
    layout = lay_out(inventory, seed, scene)
    return _draw(bank, layout), labels_of(layout, len(inventory.names))


def _draw(bank: SpriteBank, layout: Layout) -> UInt8[np.ndarray, "scenes 64 64 3"]:
    """Images of these recipes."""
    images = paint_background(layout)
    bank.draw(layout, images)
    return images


def labels_of(layout: Layout, n_classes: int) -> Int8[np.ndarray, "scenes classes"]:
    """1 where an object of the class stands in the scene, else 0."""
    labels = np.zeros((len(layout.class_), n_classes + 1), dtype=np.int8)
    np.put_along_axis(labels, layout.class_, 1, axis=1)  # class −1 falls on the extra column
    return labels[:, :-1]


def batches(n: int, size: int) -> Iterator[Int[np.ndarray, " scenes"]]:
    """Scene numbers 0…n−1 in runs of ``size``."""
    for start in range(0, n, size):
        yield np.arange(start, min(start + size, n))


class SceneReader:
    """Opens the scenes of one split by number.

    A reader that goes through the split in order gets its scenes from blocks drawn at once; any
    other scene is drawn alone. The pixels are the same.

    Args:
        style: which emoji.
        seed: seed of the split.
        inventory: what stands in the scenes.
        layout: recipes of the split's scenes, in order.
    """

    def __init__(self, style: str, seed: int, inventory: Inventory, layout: Layout) -> None:
        self.style, self.seed, self.layout = style, seed, layout
        recipe = (
            GENERATOR,
            inventory.names,
            inventory.theme_of_class.tolist(),
            inventory.sprites_of_class,
        )
        artwork = style_cells(style).tobytes()
        self._key = hashlib.sha256(artwork + repr(recipe).encode()).hexdigest()
        self._block = 0, np.empty((0, SIZE, SIZE, 3), dtype=np.uint8)  # first scene, images
        self._last = -1
        self._drawing = threading.Lock()

    def digest(self, i: int) -> str:
        """The content key of scene ``i``: a hash of the artwork and of what is drawn from it."""
        return hashlib.sha256(f"{self._key}/{self.seed}/{i}".encode()).hexdigest()

    def open(self, i: int) -> Image.Image:
        """Scene ``i``, RGB, 64 × 64 pixels."""
        first, images = self._block  # read once: another thread may put a new block in its place
        if not first <= i < first + len(images):
            with self._drawing:  # others wait, and find that block
                first, images = self._block
                if not first <= i < first + len(images):
                    n = BLOCK if 0 < i - self._last <= NEAR else 1
                    first, images = i, _draw(load_bank(self.style), self.layout.part(i, i + n))
                    self._block = first, images
        self._last = i
        return Image.fromarray(images[i - first])


def scene_splits(argument: str) -> tuple[str, ...]:
    """The same in every style."""
    return tuple(SPLITS)


def load_scenes(
    argument: str, split: str, unlisted: Unlisted = "stated", progress: Progress = silent
) -> MultiLabelDataset:
    """The embedded scenes in one style of emoji.

    Scene i of a split shows the same objects at the same places in every style that draws them.

    Args:
        argument: a style, one of ``STYLES``; empty for the first.
        split: a key of ``SPLITS``.
        unlisted: what is not listed is absent, so ``stated`` or ``negative``.
        progress: told nothing.

    Raises:
        BadData: an unknown style or split, or another meaning of unlisted classes.
        MissingExtra: the optional style is not installed.
    """
    style = argument or STYLES[0]
    if style not in STYLES:
        raise BadData(f"The scenes have no emoji style {style!r}{nearest(style, STYLES)}")
    if split not in SPLITS:
        raise BadData(f"The scenes have no split {split!r}{nearest(split, SPLITS)}")
    fill_of("The scenes", "negative", unlisted)
    inventory, n = class_inventory(style), SPLITS[split]
    seed, numbers = SPLIT_SEEDS[split], np.arange(n)
    layout = lay_out(inventory, seed, numbers)
    reader = SceneReader(style, seed, inventory, layout)
    return MultiLabelDataset(
        name=f"scenes:{style}",
        split=split,
        class_names=inventory.names,
        new=np.array([c.get("new", False) for theme in _themes().values() for c in theme]),
        labels=labels_of(layout, len(inventory.names)),
        image_ids=tuple(f"scenes/{style}/{split}/{i:05d}" for i in range(n)),
        digest=reader.digest,
        open_image=reader.open,
        captions=caption_scenes(layout, inventory.names, partial(uniform, seed, numbers)),
        synonyms=read_synonyms(SYNONYMS, inventory.names),
    )
