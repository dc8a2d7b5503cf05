"""Folders in COCO's format, with the fields, ids and quirks of the real files."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

from PIL import Image

from ccr_diag.data.class_splits import COCO

GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)  # ids that no category of COCO has
IDS = dict(zip(COCO, [i for i in range(1, 91) if i not in GAPS], strict=True))

CROWD = "crowd of "


def coco_content(
    images: Mapping[str, Iterable[str]], ids: Mapping[str, int] = IDS
) -> dict[str, Any]:
    """What a file of instances holds.

    Args:
        images: file name → a class name an annotation; ``crowd of dog`` is a crowd. The id of an
            image is the number at the end of its name.
        ids: class name → category id.
    """
    pictures, annotations = [], []
    for name, shown in images.items():
        number = int("".join(c for c in Path(name).stem[-12:] if c.isdigit()) or len(pictures))
        pictures.append(
            {
                "license": 3,
                "file_name": name,
                "coco_url": f"http://images.cocodataset.org/{name}",
                "height": 6,
                "width": 8,
                "date_captured": "2013-11-14 17:02:52",
                "id": number,
            }
        )
        for class_ in shown:
            crowd = class_.startswith(CROWD)
            annotations.append(
                {
                    "segmentation": {"counts": [10, 4, 34], "size": [6, 8]}
                    if crowd
                    else [[1.25, 1.0, 4.5, 1.0, 4.5, 3.75]],
                    "area": 8.9375,
                    "iscrowd": int(crowd),
                    "image_id": number,
                    "bbox": [1.25, 1.0, 3.25, 2.75],
                    "category_id": ids[class_.removeprefix(CROWD)],
                    "id": 900100 + len(annotations),
                }
            )
    return {
        "info": {"description": "COCO 2017 Dataset", "year": 2017},
        "licenses": [{"url": "http://creativecommons.org/licenses/by/2.0/", "id": 3}],
        "images": pictures,
        "annotations": annotations,
        # From the last to the first: the order of the file is not that of the classes.
        "categories": [
            {"supercategory": "thing", "id": i, "name": name} for name, i in [*ids.items()][::-1]
        ],
    }


def write_json(path: Path, content: object) -> Path:
    """A file, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def write_coco(
    root: Path,
    split: str,
    images: Mapping[str, Iterable[str]],
    ids: Mapping[str, int] = IDS,
    folder: str | None = None,
) -> Path:
    """A file of instances and its images; returns the file.

    Args:
        root: above ``annotations``.
        split: of the file's name.
        images: see ``coco_content``.
        ids: class name → category id.
        folder: of the images, below ``root``; the split where not given.
    """
    write_images(root / (split if folder is None else folder), list(images))
    return write_json(root / "annotations" / f"instances_{split}.json", coco_content(images, ids))


def write_images(folder: Path, names: Sequence[str]) -> None:
    """Small images, whose red is the number of the name."""
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            Image.new("RGB", (8, 6), (i % 256, 90, crc32(name.encode()) % 256)).save(
                path, format="PNG"
            )
