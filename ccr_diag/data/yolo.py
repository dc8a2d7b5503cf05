"""YOLO: a ``data.yaml``, images, and a text file of boxes for each.

In: a file, or the folder that holds it, with

    path: …                        optional root, from the file's folder
    train: images/train            also val, test; a folder, a list of them, or a .txt list
    names: [cat, dog]              or {0: cat, 1: dog}

The boxes of ``…/images/a/1.jpg`` are in ``…/labels/a/1.txt``, one ``class x y w h`` (or the class
alone, or a polygon) a line; there is no such file where nothing was found, but some in a split. A
class is in an image if it has a
box; what that means for the others, YOLO does not say, so the user declares it. Out:
``MultiLabelDataset``.
"""

import os
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ccr_diag.arrays import Unlisted
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.data.folder import is_image, walk
from ccr_diag.data.images import ImageFiles, inside
from ccr_diag.data.listing import Listing, Row, dataset_of
from ccr_diag.data.reading import read_lines
from ccr_diag.errors import BadData
from ccr_diag.progress import Progress, silent

SPLITS = ("train", "val", "test")
DIGITS = 18  # of a class number, at most


def load_yolo(
    argument: str, split: str, unlisted: Unlisted = "stated", progress: Progress = silent
) -> MultiLabelDataset:
    """The images and labels of a data set of YOLO.

    Args:
        argument: path of the .yaml file, or of the folder that holds it.
        split: ``train``, ``val``, ``test`` or ``all``; the others need not be there.
        unlisted: what a class means of which an image has no box.
        progress: told nothing.

    Raises:
        BadData: a file that is not there or breaks the format, or unlisted classes of no declared
            meaning.
    """
    path, said = _read(argument)
    names = _names(path, said["names"], said.get("nc"))
    known = [one for one in SPLITS if said.get(one)]
    images, times = _images_of(path, said, [split] if split in known else known)
    _require_label_files(path, images)
    rows = [
        Row(at, name, _labels(image, path, names), split=one)
        for at, (name, (image, one)) in enumerate(images.items(), start=1)
    ]
    repeated = times - len(rows)
    notes = (f"{repeated:,} images are in several places and count once.",) * bool(repeated)
    listing = Listing(path, rows, "image", class_names=names, notes=notes)

    def files(chosen: Sequence[Row]) -> ImageFiles:
        return ImageFiles(tuple(images[row.image][0] for row in chosen))

    return dataset_of(listing, f"yolo:{argument}", split, unlisted, files)


def yolo_splits(argument: str) -> tuple[str, ...]:
    """Those of train, val and test that the file names."""
    _, said = _read(argument)
    return tuple(split for split in SPLITS if said.get(split))


def _read(argument: str) -> tuple[Path, Mapping[str, Any]]:
    """The file, and what it says."""
    place = Path(argument)
    path = place
    if not argument or place.is_dir():
        found = sorted([*place.glob("*.yaml"), *place.glob("*.yml")]) if argument else []
        found = [p for p in found if p.stem == "data"] or found
        if len(found) != 1:
            shown = ", ".join(p.name for p in found) or "none"
            raise BadData(
                f"yolo needs a data.yaml, or a folder with one .yaml file, but {argument or 'it'} "
                f"has {shown}; name the file, as in yolo:data.yaml."
            )
        path = found[0]
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as e:
        raise BadData(f"{path} must be a readable file, but is not: {e.strerror}.") from e
    # A tag that its value does not fit, as !!int '', raises LookupError or AttributeError.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as e:
        text = " ".join(str(e).split())
        raise BadData(f"{path} must be a YAML file, but is not ({text}).") from e
    if not isinstance(said, dict) or "names" not in said:
        raise BadData(f"{path} must say names and train, val or test, but has no names.")
    if not any(said.get(split) for split in SPLITS):
        raise BadData(f"{path} must say where train, val or test is, but says none of them.")
    return path, said


def _names(path: Path, names: object, nc: object) -> tuple[str, ...]:
    """The classes by their numbers; ``nc``, if it is there, says how many."""
    if isinstance(names, dict):
        if sorted(map(str, names)) != sorted(map(str, range(len(names)))):
            raise BadData(
                f"{path} must number its names from 0 without gaps, but numbers them "
                f"{reprlib.repr(list(names))}."
            )
        names = [name for _, name in sorted(names.items(), key=lambda item: int(item[0]))]
    if not isinstance(names, list) or not all(isinstance(n, str) and n.strip() for n in names):
        raise BadData(
            f"{path} must hold texts in names, but holds {reprlib.repr(names)}; put quotes around "
            "a name that YAML reads as a number or as yes or no."
        )
    if nc not in (None, len(names)):
        raise BadData(
            f"{path} must name as many classes as nc says, but names {len(names)} and says "
            f"{reprlib.repr(nc)}; mend the wrong one."
        )
    return tuple(name.strip() for name in names)


def _images_of(
    path: Path, said: Mapping[str, Any], splits: Sequence[str]
) -> tuple[dict[str, tuple[Path, str]], int]:
    """The images of some splits: name → file and first split; and how often images are named."""
    root = path.parent / _text(path, "path", said.get("path") or "")
    if not os.path.isdir(root):
        raise BadData(
            f"{path} must say in path the folder of its images, but {root} is none; take path out "
            "if it is the folder of the file."
        )
    images: dict[str, tuple[Path, str]] = {}
    times = 0
    for split in splits:
        places = said[split]
        for place in places if isinstance(places, list) else [places]:
            for image in _images(path, root, split, place):
                images.setdefault(_name(root, image), (image, split))
                times += 1
    return images, times


def _text(path: Path, key: str, place: object) -> str:
    if not isinstance(place, str):
        raise BadData(f"{path} must say a place in {key}, but says {reprlib.repr(place)}.")
    return place


def _name(root: Path, image: Path) -> str:
    """An image from the root, or whole where it is elsewhere."""
    return (image.relative_to(root) if image.is_relative_to(root) else image).as_posix()


def _images(path: Path, root: Path, split: str, place: object) -> Iterator[Path]:
    """The images of a folder, or of a list of them."""
    text = _text(path, split, place)
    # Exports of Roboflow say ../train/images of a folder beside the file.
    found = next(
        (p for p in (root / text, root / text.removeprefix("../")) if os.path.exists(p)),
        root / text,
    )
    if os.path.isdir(found):
        files, _ = walk(found)
        images = [file for file in files if is_image(file)]
        if not images:
            raise BadData(f"{path} must name in {split} a folder of images, but {found} has none.")
        yield from images
    elif found.suffix == ".txt":
        lines = read_lines(found, f"the images of {split}")
        images = [_listed(found, root, line) for line in lines]
        ImageFiles(tuple(images)).check(found, str(root))
        yield from images
    else:
        raise BadData(
            f"{path} must name in {split} a folder, a list of folders, or a .txt list of images, "
            f"but {found} is not there."
        )


def _listed(listed_in: Path, root: Path, line: str) -> Path:
    """An image of a list: ``./`` is the folder of the list, everything else is below the root."""
    if Path(line).is_absolute():
        return Path(line)
    return inside(listed_in.parent if line.startswith("./") else root, line.removeprefix("./"))


def _label_file(image: Path) -> Path:
    """Where the boxes of an image are, if there are any."""
    head, found, tail = str(image).rpartition("/images/")
    return Path(f"{head}/labels/{tail}" if found else image).with_suffix(".txt")


def _require_label_files(path: Path, images: Mapping[str, tuple[Path, str]]) -> None:
    """Every split has some: without any, nobody labelled it, or they are elsewhere."""
    looked = {split: image for image, split in images.values()}
    labelled = {split for image, split in images.values() if _label_file(image).exists()}
    for split in looked.keys() - labelled:
        raise BadData(
            f"{path} needs label files for the images of {split}, but there is none, such as "
            f"{_label_file(looked[split])}; put them there, or ask for another split."
        )


def _labels(image: Path, listed_in: Path, names: Sequence[str]) -> tuple[str, ...]:
    """The classes of an image, each once."""
    path = _label_file(image)
    if not path.exists():
        return ()
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise BadData(f"{path} must list boxes as text, but cannot be read ({e}).") from e
    words = [(at, line.split()[0]) for at, line in enumerate(lines, start=1) if line.strip()]
    for at, word in words:
        if not word.isdecimal() or len(word) > DIGITS or int(word) >= len(names):
            raise BadData(
                f"{path} line {at} must begin with the number of one of {len(names)} classes, from "
                f"0, but begins with {reprlib.repr(word)}; {listed_in} names the classes."
            )
    return tuple(dict.fromkeys(names[int(word)] for _, word in words))
