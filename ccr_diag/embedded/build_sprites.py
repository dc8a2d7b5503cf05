"""Render the sprite atlases that ship with the package (development only).

In: unpacked npm packs ``@iconify-json/*`` and ``emojibase-data`` below one folder, and
``classes.json``. Out: ``sprites/<style>.webp``, one RGBA atlas a style, and
``sprites/index.json``, what each cell holds.

    npm pack @iconify-json/noto@1.2.9 …          # versions: STYLES below
    python -m ccr_diag.embedded.build_sprites PACKS [--extra FOLDER]

``--extra`` also writes, for pretraining only, atlases of the other object emoji of the pretraining
styles; they are not shipped. Needs ``resvg_py``.
"""

import argparse
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CELL = 64
COLUMNS = 16
HERE = Path(__file__).parent
EMOJIBASE = "emojibase-data-17.0.0"
OBJECT_GROUPS = (3, 4, 5, 6, 7)  # emojibase: animals, food, travel, activities, objects

# style → (pack and version, licence, author, source, shipped, used in pretraining)
STYLES: dict[str, dict[str, Any]] = {
    "noto": {
        "pack": "noto-1.2.9",
        "licence": "Apache-2.0",
        "author": "Google Inc",
        "pretraining": True,
    },
    "noto-v1": {
        "pack": "noto-v1-1.2.5",
        "licence": "Apache-2.0",
        "author": "Google Inc",
        "pretraining": True,
    },
    "fluent-flat": {
        "pack": "fluent-emoji-flat-1.2.6",
        "licence": "MIT",
        "author": "Microsoft Corporation",
        "pretraining": True,
    },
    "fluent-3d": {
        "pack": "fluent-emoji-1.2.7",
        "licence": "MIT",
        "author": "Microsoft Corporation",
        "pretraining": True,
    },
    "twemoji": {
        "pack": "twemoji-1.2.5",
        "licence": "CC-BY-4.0",
        "author": "Twitter and contributors",
        "pretraining": False,
    },
    "emojione": {
        "pack": "emojione-1.2.3",
        "licence": "CC-BY-4.0",
        "author": "EmojiOne / EmojiTwo",
        "pretraining": False,
    },
}


def slug(label: str) -> str:
    """The icon name that iconify gives an emoji of this label."""
    return re.sub(r"[^a-z0-9]+", "-", label.lower().replace("’", "")).strip("-")


class Pack:
    """One icon pack: emoji → SVG text.

    Args:
        folder: the unpacked pack, with ``icons.json`` and ``chars.json``.
    """

    def __init__(self, folder: Path) -> None:
        icons = json.loads((folder / "icons.json").read_text())
        self.size = icons.get("width", 16), icons.get("height", 16)
        self.icons = icons["icons"] | {
            name: icons["icons"].get(alias["parent"], {}) | alias
            for name, alias in icons.get("aliases", {}).items()
        }
        self.by_hexcode = json.loads((folder / "chars.json").read_text())

    def svg(self, hexcode: str, names: list[str]) -> str | None:
        """The drawing of an emoji, found by code point or else by one of its names.

        Args:
            hexcode: code points in hex, joined by “-”, without the presentation selector.
            names: icon names to try in order; an empty one is passed over.

        Returns:
            The SVG file's text, or None where the pack has no drawing.
        """
        for name in [self.by_hexcode.get(hexcode), *names]:
            icon = self.icons.get(name) if name else None
            if icon and "body" in icon:
                width, height = icon.get("width", self.size[0]), icon.get("height", self.size[1])
                return (
                    '<svg xmlns="http://www.w3.org/2000/svg" '
                    'xmlns:xlink="http://www.w3.org/1999/xlink" '
                    f'viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
                )
        return None


def render(svg: str) -> Image.Image:
    """An SVG as a square RGBA picture, cropped to its drawing and centred."""
    import resvg_py

    drawing = Image.open(
        io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=4 * CELL, height=4 * CELL)))
    ).convert("RGBA")
    box = drawing.getchannel("A").point(lambda a: 255 if a > 8 else 0).getbbox()
    drawing = drawing.crop(box)
    scale = (CELL - 2) / max(drawing.size)
    drawing = drawing.resize(
        (max(1, round(drawing.width * scale)), max(1, round(drawing.height * scale))),
        Image.Resampling.LANCZOS,
    )
    cell = Image.new("RGBA", (CELL, CELL))
    cell.paste(drawing, ((CELL - drawing.width) // 2, (CELL - drawing.height) // 2))
    return cell


def atlas(cells: list[Image.Image | None]) -> Image.Image:
    """Cells in rows of ``COLUMNS``; a missing drawing stays transparent."""
    sheet = Image.new("RGBA", (COLUMNS * CELL, -(-len(cells) // COLUMNS) * CELL))
    for i, cell in enumerate(cells):
        if cell is not None:
            sheet.paste(cell, (i % COLUMNS * CELL, i // COLUMNS * CELL))
    return sheet


def emoji_table(packs: Path) -> dict[str, dict[str, Any]]:
    """Emojibase's English annotations by emoji (without the presentation selector)."""
    rows = json.loads((packs / EMOJIBASE / "en" / "data.json").read_text())
    return {row["emoji"].replace("\ufe0f", ""): row for row in rows}


def class_entries(table: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry a class sprite, in the order of ``classes.json``."""
    themes = json.loads((HERE / "classes.json").read_text())["themes"]
    names = {c["name"] for theme in themes.values() for c in theme}
    return [
        {
            "name": c["name"],
            "emoji": e,
            "tags": [t for t in table[e].get("tags", []) if t not in names],
        }
        for theme in themes.values()
        for c in theme
        for e in c["emoji"]
    ]


def extra_entries(
    table: dict[str, dict[str, Any]], taken: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The other object emoji, less those whose name or words would contradict a class label.

    Args:
        table: Emojibase's annotations by emoji.
        taken: the entries of the class sprites.
    """
    names, emoji = {entry["name"] for entry in taken}, {entry["emoji"] for entry in taken}
    entries = []
    for e, row in table.items():
        label = row["label"].lower()
        words = set(re.findall(r"[a-z]+", label)) | set(row.get("tags", []))
        if row.get("group") in OBJECT_GROUPS and e not in emoji and not (words | {label}) & names:
            entries.append({"name": label, "emoji": e, "tags": row.get("tags", [])})
    return entries


def write_style(
    style: str,
    entries: list[dict[str, Any]],
    table: dict[str, dict[str, Any]],
    packs: Path,
    out: Path,
) -> list[str]:
    """Write one atlas.

    Args:
        style: a key of ``STYLES``.
        entries: what the cells hold, in order.
        table: Emojibase's annotations by emoji.
        packs: folder of the unpacked packs.
        out: folder to write ``<style>.webp`` to.

    Returns:
        The emoji that the style does not draw.
    """
    pack = Pack(packs / f"iconify-json-{STYLES[style]['pack']}")
    cells: list[Image.Image | None] = []
    for entry in entries:
        row = table[entry["emoji"]]
        svg = pack.svg(
            row["hexcode"].lower().replace("-fe0f", ""), [slug(row["label"]), *entry["icons"]]
        )
        cells.append(render(svg) if svg else None)
    sheet = np.array(atlas(cells))
    sheet[sheet[..., 3] == 0] = 0
    Image.fromarray(sheet).save(out / f"{style}.webp", quality=88, method=6, exact=False)
    return [entry["emoji"] for entry, cell in zip(entries, cells, strict=True) if cell is None]


def main() -> None:
    """Render every style."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("packs", type=Path)
    parser.add_argument("--extra", type=Path)
    args = parser.parse_args()
    table = emoji_table(args.packs)
    noto = json.loads((args.packs / "iconify-json-noto-1.2.9" / "chars.json").read_text())
    entries = class_entries(table)
    jobs = [(HERE / "sprites", entries, list(STYLES))]
    if args.extra:
        jobs.append(
            (
                args.extra,
                extra_entries(table, entries),
                [s for s, facts in STYLES.items() if facts["pretraining"]],
            )
        )
    for out, rows, styles in jobs:
        out.mkdir(parents=True, exist_ok=True)
        for row in rows:
            row["icons"] = [
                noto.get(table[row["emoji"]]["hexcode"].lower().replace("-fe0f", ""), "")
            ]
        missing = {style: write_style(style, rows, table, args.packs, out) for style in styles}
        index = {
            "cell": CELL,
            "columns": COLUMNS,
            "sprites": [{k: row[k] for k in ("name", "emoji", "tags")} for row in rows],
            "styles": {style: {**STYLES[style], "missing": missing[style]} for style in styles},
        }
        (out / "index.json").write_text(json.dumps(index, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
