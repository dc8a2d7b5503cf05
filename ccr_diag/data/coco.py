"""COCO, and any folder in its format.

In, below the folder:

- ``annotations/instances_SPLIT.json`` or ``annotations/labels_SPLIT.json``, with the images in
  ``SPLIT``, ``images/SPLIT``, ``images`` or the folder itself; or ``SPLIT/_annotations.coco.json``
  beside its images, as Roboflow writes it.
- ``annotations/captions_SPLIT.json``, optional: of an image's captions the one of the lowest id is
  taken.

The classes are the categories in the order of their ids, of which COCO's own have gaps; that of
Roboflow which only says what the others have in common is none. Every image of the file is a row. A
class is present where any annotation names it, a box round a crowd too: a crowd shows its class to
a classifier, even if it cannot be counted. (DualCoOp and the long-tailed sets read it so; TaI-DPT
leaves crowds out.) Every other class is absent, as COCO was searched for all. Out:
``MultiLabelDataset``, with COCO's 12-digit number as the id of COCO's own images, which is the same
in its editions of 2014 and 2017, whose splits overlap.

Source of the format: Lin et al., "Microsoft COCO: Common Objects in Context", 2014.
"""

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from ccr_diag.arrays import PRESENT, Labels, Unlisted
from ccr_diag.data.class_splits import COCO
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.data.images import ImageFiles, inside
from ccr_diag.data.listing import require_distinct
from ccr_diag.data.reading import read_bytes
from ccr_diag.data.unlisted import fill_of
from ccr_diag.errors import BadData
from ccr_diag.progress import Progress, silent

GET_COCO = "get images and annotations from https://cocodataset.org/#download"
ROBOFLOW = "_annotations.coco.json"
NO_SUPERCATEGORY = "none"  # in Roboflow's files, of the category that names the others' one
OWN_NAME = re.compile(r"(?:COCO_(?:train|val|test)\d{4}_)?(\d{12})\.jpg")
TRIED = 100  # images by which their folder is found
BOM = b"\xef\xbb\xbf"

Key = int | str
F = TypeVar("F", bound=msgspec.Struct)


class Picture(msgspec.Struct, gc=False):
    """An entry of ``images``."""

    id: Key
    file_name: str


class Annotation(msgspec.Struct, gc=False):
    """An entry of ``annotations``."""

    image_id: Key
    category_id: int
    iscrowd: int | bool = 0
    id: Key | None = None


class Category(msgspec.Struct, frozen=True):
    """An entry of ``categories``."""

    id: int
    name: str
    supercategory: str | None = None


class Categories(msgspec.Struct):
    """The part of a file that says its classes."""

    categories: list[Category]


class Instances(Categories):
    """A file of labels. Boxes and outlines, nearly all of it, are skipped unread."""

    images: list[Picture]
    annotations: list[Annotation]


class Caption(msgspec.Struct, gc=False):
    """An entry of ``annotations`` in a file of captions."""

    id: int
    image_id: Key
    caption: str


class CaptionFile(msgspec.Struct):
    """A file of captions."""

    annotations: list[Caption]


def coco_splits(argument: str) -> tuple[str, ...]:
    """Those that the folder has annotations of; a year may be left out where there is one only."""
    return tuple(annotation_files(coco_folder(argument)))


def load_coco(
    argument: str, split: str, unlisted: Unlisted = "stated", progress: Progress = silent
) -> MultiLabelDataset:
    """One split of a folder in COCO's format.

    Args:
        argument: the folder.
        split: as its annotations are named, e.g. ``val2017``; ``val`` where there is one year.
        unlisted: what is not listed is absent, so ``stated`` or ``negative``.
        progress: told megabytes of annotations.

    Raises:
        BadData: no such folder or split, a file that is damaged or breaks a rule of this module, or
            an image that is not there.
    """
    root = coco_folder(argument)
    files = annotation_files(root)
    split = split_named(root, tuple(files), split)
    path = files[split]
    fill_of(str(path), "negative", unlisted)
    file = _decoded(path, Instances, progress)
    classes = _classes(path, file)
    _check_other_splits(files, split, classes, progress)
    names, row_of = _rows(path, file.images)
    labels, crowd = _labels(
        path, file.annotations, row_of, {c.id: n for n, c in enumerate(classes)}
    )
    images = ImageFiles(_paths(root, path, split, names))
    images.check(path, "the folder of its images")
    class_names = tuple(c.name for c in classes)
    ids, id_notes = _image_ids(names, class_names)
    return MultiLabelDataset(
        name=f"coco:{root.resolve().name}",
        split=split,
        class_names=class_names,
        new=np.zeros(len(classes), dtype=bool),
        labels=labels,
        image_ids=ids,
        digest=images.digest,
        open_image=images.open,
        paths=images.paths,
        captions=_captions(root / "annotations" / f"captions_{split}.json", row_of, progress),
        class_ids=tuple(str(c.id) for c in classes),
        notes=(*_notes(file, classes, labels, crowd), *id_notes),
    )


def coco_folder(argument: str) -> Path:
    """The folder, which must be named and be there."""
    if not argument:
        raise BadData(
            "A data set in COCO's format needs its folder, as in coco:/data/coco, but none was "
            "named."
        )
    root = Path(argument)
    if not root.is_dir():
        raise BadData(
            f"COCO's format is a folder that holds annotations/instances_val2017.json or the like, "
            f"but there is no folder {argument}; {GET_COCO}."
        )
    return root


def annotation_files(root: Path) -> dict[str, Path]:
    """The file of each split.

    Raises:
        BadData: there is none.
    """
    files = {path.parent.name: path for path in sorted(root.glob(f"*/{ROBOFLOW}"))}
    for kind in ("labels_", "instances_"):  # the latter wins
        for path in sorted(root.glob(f"annotations/{kind}*.json")):
            files[path.stem.removeprefix(kind)] = path
    if not files:
        raise BadData(
            f"{root} needs annotations/instances_SPLIT.json, annotations/labels_SPLIT.json or "
            f"SPLIT/{ROBOFLOW}, but holds none of them; name the folder above annotations, or "
            f"{GET_COCO}."
        )
    return files


def split_named(root: Path, there: Sequence[str], split: str) -> str:
    """The split that is meant, its year added where only one has it.

    Raises:
        BadData: there is none, or several.
    """
    if split in there:
        return split
    meant = [name for name in there if re.fullmatch(re.escape(split) + r"\d{4}", name)]
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise BadData(f"{root} has splits {' and '.join(meant)}, but got {split!r}; name one.")
    hint = ""
    if split.startswith("test"):
        hint = " (COCO's test labels are not public: papers test on val)"
    raise BadData(
        f"{root} has no annotations of a split {split!r}{hint}; it has {', '.join(there)}."
    )


def _decoded(path: Path, kind: type[F], progress: Progress) -> F:
    """A file of annotations.

    Raises:
        BadData: it cannot be read, is cut off or no JSON, or lacks what such a file holds.
    """
    content = read_bytes(path, progress)
    if content.startswith(BOM):
        del content[: len(BOM)]
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        raise BadData(
            f"{path} must be a file in COCO's format, with "
            f"{', '.join(kind.__struct_fields__)}, but: {error}."
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        within_a_number = str(error).endswith(f"(byte {len(content)})")
        if "truncated" in str(error) or within_a_number:
            raise BadData(
                f"{path} must be a whole file, but its JSON is cut off at byte {len(content)}; "
                "download it again."
            ) from error
        known = [word.decode() for word in (b"NaN", b"Infinity") if word in content]
        mend = f"write it anew without {' and '.join(known)}" if known else "download it again"
        raise BadData(f"{path} must be JSON, but is not ({error}); {mend}.") from error


def _classes(path: Path, file: Categories) -> list[Category]:
    """The categories in the order of their ids.

    Raises:
        BadData: there are none, an id twice, an empty name, or names that are alike.
    """
    if not file.categories:
        raise BadData(f"{path} must list its categories, but lists none; get the file anew.")
    shared = {c.supercategory for c in file.categories} if path.name == ROBOFLOW else set()
    classes = [
        Category(c.id, " ".join(c.name.split()))
        for c in file.categories
        if not (c.supercategory == NO_SUPERCATEGORY and c.name in shared)
    ]
    keys_of: dict[str, list[Key]] = {
        "id": [c.id for c in classes],
        "name": [c.name for c in classes],
    }
    for what, keys in keys_of.items():
        key, times = Counter(keys).most_common(1)[0]
        if times > 1:
            raise BadData(
                f"{path} must list every category once, but {times} of them have the {what} "
                f"{key!r}; rename or join them."
            )
    require_distinct(str(path), (c.name for c in classes))
    return sorted(classes, key=lambda c: c.id)


def _check_other_splits(
    files: dict[str, Path], split: str, classes: list[Category], progress: Progress
) -> None:
    """Refuse a folder whose splits differ in their classes, which would mix them up.

    COCO's own are known and need no look at the other files, some of them large: a file that
    differs from them is refused when it is read itself.
    """
    if tuple(c.name for c in classes) == COCO:
        return
    for other, path in files.items():
        if other == split:
            continue
        theirs = _classes(path, _decoded(path, Categories, progress))
        if theirs != classes:
            odd = sorted({f"{c.id} {c.name!r}" for c in set(theirs) ^ set(classes)})
            raise BadData(
                f"The splits of a data set must have the same categories, but {files[split]} and "
                f"{path} differ in {', '.join(odd[:4])}; name them alike, or put the files into "
                "folders of their own."
            )


def _rows(path: Path, images: list[Picture]) -> tuple[tuple[str, ...], dict[Key, int]]:
    """File names, each once, and the row of each image id.

    Raises:
        BadData: an id of two files.
    """
    row_of_name: dict[str, int] = {}
    row_of: dict[Key, int] = {}
    for image in images:
        row = row_of_name.setdefault(image.file_name, len(row_of_name))
        if row_of.setdefault(image.id, row) != row:
            raise BadData(
                f"{path} must give every image an id of its own, but gives {image.id!r} to "
                f"{image.file_name!r} and another; number them anew."
            )
    return tuple(row_of_name), row_of


def _labels(
    path: Path, annotations: list[Annotation], row_of: dict[Key, int], column_of: dict[int, int]
) -> tuple[Labels, int]:
    """Labels, and how many of those that are present come from crowds alone.

    Raises:
        BadData: no annotation, or one of an unknown image or category.
    """
    if not annotations:
        raise BadData(
            f"{path} needs annotations, but has none, so that every class would be absent in every "
            "image; choose a split whose labels are public."
        )
    for a in annotations:
        if a.image_id not in row_of or a.category_id not in column_of:
            of = f"image {a.image_id}" if a.image_id not in row_of else f"category {a.category_id}"
            which = "" if a.id is None else f" {a.id}"
            raise BadData(
                f"{path} must list every image and category of its annotations, but annotation"
                f"{which} is of {of}, which it does not list; get the file anew, or take the "
                "annotation out."
            )
    rows = np.array([row_of[a.image_id] for a in annotations])
    columns = np.array([column_of[a.category_id] for a in annotations])
    of_one = np.array([not a.iscrowd for a in annotations])
    single = np.zeros((max(row_of.values()) + 1, len(column_of)), dtype=bool)
    single[rows[of_one], columns[of_one]] = True
    labels = single.astype(np.int8)
    labels[rows, columns] = PRESENT
    return labels, int(np.count_nonzero(labels > single))


def _paths(root: Path, path: Path, split: str, names: tuple[str, ...]) -> tuple[Path, ...]:
    """The image files, in the first of the usual folders that has some of them.

    Raises:
        BadData: none has.
    """
    folders = [root / split, root / "images" / split, root / "images", root]
    if path.name == ROBOFLOW:
        folders = [path.parent]
    for folder in folders:
        if any(os.path.isfile(inside(folder, name)) for name in names[:TRIED]):
            return tuple(inside(folder, name) for name in names)
    looked = ", ".join(map(str, folders))
    raise BadData(
        f"The images of {path} must lie in one of {looked}, but {names[0]} and its like are in "
        f"none; move them to {folders[0]}, or {GET_COCO}."
    )


def _image_ids(
    names: tuple[str, ...], class_names: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The id of each image, and notes.

    COCO's number counts as such only beside classes of COCO, as other people number their images
    with 12 digits, too.
    """
    ours, theirs = set(class_names), set(COCO)
    if not (ours <= theirs or theirs <= ours):
        return names, ()
    own = [OWN_NAME.fullmatch(Path(name).name) for name in names]
    ids = tuple(m[1] if m else name for m, name in zip(own, names, strict=True))
    if len(set(ids)) < len(ids):  # say one image under several corruptions
        return names, (
            "Images of COCO stand here several times, so that their ids are their paths: images "
            "that other sets share with these are not recognised.",
        )
    return ids, ()


def _captions(path: Path, row_of: dict[Key, int], progress: Progress) -> tuple[str, ...] | None:
    """The caption of lowest id of each image, if there is a file of captions."""
    if not path.is_file():
        return None
    captions = [""] * (max(row_of.values()) + 1)
    for caption in sorted(_decoded(path, CaptionFile, progress).annotations, key=lambda a: a.id):
        row = row_of.get(caption.image_id)
        if row is not None and not captions[row]:
            captions[row] = " ".join(caption.caption.split())
    return tuple(captions)


def _notes(file: Instances, classes: list[Category], labels: Labels, crowd: int) -> tuple[str, ...]:
    """What was met in a file."""
    ids = {c.id for c in classes}
    common = ", ".join(repr(c.name) for c in file.categories if c.id not in ids)
    n, bare = len(labels), int((labels != PRESENT).all(axis=1).sum())
    twice = len(file.images) - n
    notes = {
        f"Categories that only say what others have in common, left out: {common}.": len(common),
        f"Images without annotation, where every class is absent: {bare:,} of {n:,}.": bare,
        f"Labels from boxes of crowds alone, read as present: {crowd:,}.": crowd,
        f"Images listed again, their annotations joined: {twice:,}.": twice,
    }
    return tuple(note for note, number in notes.items() if number)
