"""Folders of images, one a class: ``CLASS/…/1.jpg``, or ``SPLIT/CLASS/…/1.jpg``.

In: a folder whose sub-folders are classes; or are ``train``, ``val`` and ``test`` (any of them),
and hold the classes. Files of a split with the same bytes are one image, which has the classes of
all folders that it lies in. Whether an image lacks the other classes, folders do not say, so the
user declares it. Hidden files and files that are no images are left out. Out:
``MultiLabelDataset``.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from ccr_diag.arrays import Unlisted
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.data.file_digests import file_digest
from ccr_diag.data.images import ImageFiles
from ccr_diag.data.listing import Listing, Row, dataset_of
from ccr_diag.errors import BadData
from ccr_diag.progress import Progress, silent

SPLITS = ("train", "val", "valid", "validation", "test")
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".png", ".webp", ".gif", ".bmp"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".avif", ".jp2"),
)
TELL = 500  # files between two words of progress


def load_folder(
    argument: str, split: str, unlisted: Unlisted = "stated", progress: Progress = silent
) -> MultiLabelDataset:
    """The images of class folders.

    Args:
        argument: the folder.
        split: one of its split folders, or ``all``; ``train`` where there are none.
        unlisted: what a class means in whose folder an image does not lie.
        progress: told the files compared.

    Raises:
        BadData: no class folders, links that lead out, no such split, or unlisted classes of no
            declared meaning.
    """
    root = _root(argument)
    listing = _read(root, progress)

    def files(rows: Sequence[Row]) -> ImageFiles:
        return ImageFiles(tuple(root / row.image for row in rows))

    return dataset_of(listing, f"folder:{argument}", split, unlisted, files)


def folder_splits(argument: str) -> tuple[str, ...]:
    """Its split folders; without any, ``train`` alone."""
    return _splits(_root(argument)) or ("train",)


def is_image(path: Path) -> bool:
    """Whether a file is called like an image."""
    return path.suffix.lower() in SUFFIXES


def _root(argument: str) -> Path:
    root = Path(argument)
    if not argument or not root.is_dir():
        raise BadData(
            "folder needs a folder of class folders, as in folder:images, but "
            f"{argument or 'none'} is {'no folder' if argument else 'named'}."
        )
    return root


def _sub_folders(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _splits(root: Path) -> tuple[str, ...]:
    """The folders of splits, empty where the folders are classes."""
    names = _sub_folders(root)
    splits = [name for name in SPLITS if name in names and _sub_folders(root / name)]
    others = sorted(set(names) - set(splits))
    if splits and others:
        raise BadData(
            f"{root} must hold folders of classes or of splits, but {splits[0]!r} looks like a "
            f"split and {others[0]!r} does not; take one of the two out, or rename it."
        )
    return tuple(splits)


def _read(root: Path, progress: Progress) -> Listing:
    """All images, joined by their bytes, with the classes of their folders."""
    splits = _splits(root) or ("",)
    classes = sorted({name for split in splits for name in _sub_folders(root / split)})
    if not classes:
        raise BadData(f"{root} must hold a folder for each class, but holds no folder.")
    rows: list[Row] = []
    n_files = n_hidden = n_other = 0
    for split in splits:
        place = root / split
        found, hidden = walk(place)
        images = [path for path in found if is_image(path) and path.parent != place]
        n_files += len(images)
        n_hidden += hidden
        n_other += len(found) - len(images)
        for same in _same(images, progress):
            labels = [path.relative_to(place).parts[0] for path in same]
            name = same[0].relative_to(root).as_posix()
            rows.append(Row(len(rows) + 1, name, tuple(dict.fromkeys(labels)), split=split))
    if not rows:
        raise BadData(
            f"{root} must hold images in its class folders, but holds none of {len(SUFFIXES)} "
            f"known kinds ({', '.join(SUFFIXES[:3])}, …)."
        )
    joined = n_files - len(rows)
    several = sum(len(row.labels) > 1 for row in rows)
    notes = (
        f"{joined:,} of {n_files:,} files hold the bytes of another and are one image with it, so "
        f"that {several:,} images have several classes.",
    ) * bool(joined)
    notes += (
        f"{n_other:,} files are no images in a class folder, and {n_hidden:,} are hidden: left "
        "out.",
    ) * bool(n_other or n_hidden)
    return Listing(
        root, rows, "image", class_names=tuple(classes), splits_by="folders of splits", notes=notes
    )


def walk(folder: Path) -> tuple[list[Path], int]:
    """The files below a folder, sorted, and how many hidden files and folders were left out.

    Raises:
        BadData: a link leads out of the folder, or is one to a folder.
    """
    files, hidden = [], 0
    inside = folder.resolve()
    for place, folders, names in os.walk(folder):
        folders.sort()
        hidden += sum(name.startswith(".") for name in (*names, *folders))
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            path = Path(place, name)
            if path.is_symlink():
                raise BadData(f"{folder} must hold no links to folders, but {path} is one.")
        for name in sorted(names):
            path = Path(place, name)
            if name.startswith("."):
                continue
            if path.is_symlink() and not path.exists():
                raise BadData(f"{folder} must hold images, but {path} is a link to nothing.")
            if path.is_symlink() and not path.resolve().is_relative_to(inside):
                raise BadData(
                    f"{folder} must hold its own files, but {path} is a link that leads out of it; "
                    "copy what it leads to."
                )
            files.append(path)
    return files, hidden


def _same(paths: Sequence[Path], progress: Progress) -> Iterator[list[Path]]:
    """Files grouped by their bytes; only those of one size are read."""
    by_size = defaultdict(list)
    for path in paths:
        by_size[path.stat().st_size].append(path)
    alike = {path for some in by_size.values() if len(some) > 1 for path in some}
    groups: dict[object, list[Path]] = defaultdict(list)
    read = 0
    for path in paths:
        key: object = path
        if path in alike:
            key = file_digest(path)
            read += 1
            if read % TELL == 0:
                progress("files compared", read, len(alike))
        groups[key].append(path)
    yield from groups.values()
