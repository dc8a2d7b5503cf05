"""Sprites of the embedded scenes: from the cells of an atlas to pixels on a canvas.

In: a sprite atlas of ``ccr_diag/embedded/sprites`` and the ``Layout`` that ``scenes.py`` makes.
Out: the objects pasted onto the canvases of ``scenes.py``.

All sums are whole numbers below 2²⁴, so that float32 and int32 hold them exactly and every machine
draws the same pixels.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, Int32, UInt8
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from ccr_diag.data.openmoji import OPENMOJI, openmoji_cells

EMBEDDED = Path(__file__).parent.parent / "embedded"
SPRITE_SIZES = (18, 21, 24, 28, 32, 37)
ANGLES = ((16384, 0), (16135, 2845), (16135, -2845))  # 0 and ±10 degrees as (cos, sin)·2¹⁴

# Red, green, blue (premultiplied) and opacity as planes, so that inner loops run along a row.
Planes = Int32[np.ndarray, "sprites 4 cell cell"]


@dataclass(frozen=True)
class Layout:
    """The recipes of some scenes. An object slot beyond a scene's count holds class −1.

    Args:
        theme: theme index of each scene.
        class_: class of the object in each slot, or −1.
        sprite: row of the sprite bank.
        size: index into ``SPRITE_SIZES``.
        angle: index into ``ANGLES``.
        flip: whether left and right are exchanged.
        top: first row of the object, in pixels.
        left: first column of the object, in pixels.
        background: hashed bits that the background is painted from.
    """

    theme: Int[np.ndarray, " scenes"]
    class_: Int[np.ndarray, "scenes slots"]
    sprite: Int[np.ndarray, "scenes slots"]
    size: Int[np.ndarray, "scenes slots"]
    angle: Int[np.ndarray, "scenes slots"]
    flip: Bool[np.ndarray, "scenes slots"]
    top: Int[np.ndarray, "scenes slots"]
    left: Int[np.ndarray, "scenes slots"]
    background: Int[np.ndarray, "scenes draws"]

    def part(self, start: int, stop: int) -> "Layout":
        """The recipes of scenes ``start`` … ``stop − 1``."""
        return Layout(**{name: value[start:stop] for name, value in vars(self).items()})


class SpriteBank:
    """Sprites at every size and angle, premultiplied, ready to paste.

    Args:
        cells: RGBA pictures of the sprites.
    """

    def __init__(self, cells: UInt8[np.ndarray, "sprites side side 4"]) -> None:
        planes = np.ascontiguousarray(np.moveaxis(cells, 3, 1), dtype=np.int32)
        planes[:, :3] = (planes[:, :3] * planes[:, 3:] + 127) // 255
        turned = np.stack([_rotate(planes, cos, sin) for cos, sin in ANGLES], axis=1)
        self.pyramid = [_shrink(turned, side) for side in SPRITE_SIZES]

    def draw(self, layout: Layout, canvas: UInt8[np.ndarray, "scenes 64 64 3"]) -> None:
        """Paste the objects of each scene onto its background, in place.

        Later slots lie over earlier ones: c ← sprite + (255 − opacity)·c/255, to the nearest
        integer.

        Args:
            layout: recipes of the scenes.
            canvas: the backgrounds; scene i of both belongs together.
        """
        for k in range(layout.class_.shape[1]):
            size = np.where(layout.class_[:, k] >= 0, layout.size[:, k], -1)
            for s in range(len(SPRITE_SIZES)):
                rows = np.flatnonzero(size == s)
                if len(rows):
                    self._paste(layout, canvas, rows, k, s)

    def _paste(
        self,
        layout: Layout,
        canvas: UInt8[np.ndarray, "scenes 64 64 3"],
        rows: Int[np.ndarray, " rows"],
        k: int,
        s: int,
    ) -> None:
        """Paste slot ``k`` of these scenes, where it holds an object of size index ``s``."""
        side = SPRITE_SIZES[s]
        sprite = self.pyramid[s][layout.sprite[rows, k], layout.angle[rows, k]]
        flip = layout.flip[rows, k]
        sprite[flip] = sprite[flip][..., ::-1]
        windows = sliding_window_view(canvas, (side, side), axis=(1, 2), writeable=True)
        place = rows, layout.top[rows, k], layout.left[rows, k]
        shade = windows[place] * (255 - sprite[:, 3:].astype(np.uint16))  # rows 3 side side
        shade += 127
        shade //= 255
        shade += sprite[:, :3]
        windows[place] = shade


def _rotate(planes: Planes, cos: int, sin: int) -> Planes:
    """Turn about the centre, bilinear, in fixed point (2⁻¹⁴ of a pixel, weights of 2⁻⁷)."""
    if sin == 0:
        return planes
    n, _, side, _ = planes.shape
    centred = 2 * np.arange(side) - side + 1  # twice the distance from the centre
    y, x = centred[:, None], centred[None, :]
    source_y = (cos * y - sin * x + (side - 1) * 16384) // 2  # in 2⁻¹⁴ pixel
    source_x = (sin * y + cos * x + (side - 1) * 16384) // 2
    fy, fx = (source_y & 16383) >> 7, (source_x & 16383) >> 7
    wide = side + 3  # one empty pixel before and two after, where the corners come from
    padded = np.pad(planes, ((0, 0), (0, 0), (1, 2), (1, 2))).reshape(n * 4, wide * wide)
    corner = np.clip((source_y >> 14) + 1, 0, side + 1) * wide
    corner += np.clip((source_x >> 14) + 1, 0, side + 1)
    turned = np.full((n * 4, side * side), 8192, dtype=np.int32)  # a half, to round
    weights = {
        0: (128 - fy) * (128 - fx),
        1: (128 - fy) * fx,
        wide: fy * (128 - fx),
        wide + 1: fy * fx,
    }
    for step, weight in weights.items():
        turned += padded[:, (corner + step).ravel()] * weight.ravel().astype(np.int32)
    return (turned >> 14).reshape(planes.shape)


def _shrink(
    planes: Int32[np.ndarray, "sprites angles 4 cell cell"], side: int
) -> UInt8[np.ndarray, "sprites angles 4 side side"]:
    """Area average from cell × cell to side × side pixels."""
    cell = planes.shape[-1]
    edges_in, edges_out = np.arange(cell + 1) * side, np.arange(side + 1) * cell
    overlap = np.minimum(edges_out[1:, None], edges_in[None, 1:])
    overlap -= np.maximum(edges_out[:-1, None], edges_in[None, :-1])
    weight = np.maximum(overlap, 0).astype(np.float32)  # rows sum to `cell`
    total = weight @ planes.astype(np.float32) @ weight.T  # at most 255·cell²: exact
    total += cell * cell // 2
    return np.asarray(total.astype(np.int32) // (cell * cell), dtype=np.uint8)


def load_cells(folder: Path, style: str) -> UInt8[np.ndarray, "sprites side side 4"]:
    """The cells of a style's atlas, in the order of the folder's ``index.json``.

    Args:
        folder: where ``index.json`` and ``STYLE.webp`` lie.
        style: name of the atlas.
    """
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    cell, columns, n = index["cell"], index["columns"], len(index["sprites"])
    with Image.open(folder / f"{style}.webp") as picture:
        sheet = np.array(picture.convert("RGBA"))
    grid = sheet.reshape(-1, cell, columns, cell, 4).swapaxes(1, 2)
    return np.asarray(grid.reshape(-1, cell, cell, 4)[:n])


def style_cells(style: str) -> UInt8[np.ndarray, "sprites side side 4"]:
    """The class sprites of one style, shipped or optional.

    Raises:
        MissingExtra: the optional style is not installed.
    """
    folder = EMBEDDED / "sprites"
    return openmoji_cells(folder / "index.json") if style == OPENMOJI else load_cells(folder, style)


@lru_cache(maxsize=2)
def load_bank(style: str) -> SpriteBank:
    """The class sprites of one style, ready to paste."""
    return SpriteBank(style_cells(style))
