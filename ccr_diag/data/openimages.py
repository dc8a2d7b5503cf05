"""Open Images: what people verified to be in an image, or not to be; the rest is unknown.

In: a folder with these files, under their names of V5, V6 or V7, in it or in its ``annotations``,
``metadata``, ``labels`` or ``csv``, all of them either as named or with ``-boxable``:

    [oidv6-]SPLIT-annotations-human-imagelabels.csv     ImageID,Source,LabelName,Confidence
    [oidv6-]class-descriptions.csv                      MID,display name; with a header or without
    [oidv6-]classes-trainable.txt                       MIDs, optional: only these are classes
    SPLIT/ID.jpg                                        also SPLIT/data, images/SPLIT, SPLIT_0 …

For image i and class c, by the rows of human sources:

    y_ic =  1   rows of confidence 1 alone
    y_ic =  0   rows of confidence 0 alone
    y_ic = −1   no row, or rows of both (unknown)

Rows of machines, whose confidence is a fraction, do not count. Classes are keyed by MID in the
order of the description file; where a display name repeats, the MID follows it in parentheses.
Images are those that are on the disk and have at least one label.

The rows, tens of millions, pass through memory a block at a time; what stays is one byte a pair of
image and class. Out: ``MultiLabelDataset``.

Source: Kuznetsova et al., The Open Images Dataset V4, IJCV 2020.
"""

import csv
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from ccr_diag.arrays import UNKNOWN, Labels, Unlisted
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.data.images import ImageFiles
from ccr_diag.data.reading import MB, first_there, read_lines
from ccr_diag.data.unlisted import fill_of
from ccr_diag.errors import BadData, MissingExtra, nearest
from ccr_diag.progress import Progress, silent

Arrow = Any  # pyarrow, which has no types
Set = Literal["", "-boxable"]
SETS: tuple[Set, ...] = ("", "-boxable")
Bits = UInt8[np.ndarray, "all_images classes"]

SPLITS = ("train", "validation", "test")
FOLDERS = ("", "annotations", "metadata", "labels", "csv")
VERSIONS = ("oidv6-", "", "oidv7-")
COLUMNS = ("ImageID", "Source", "LabelName", "Confidence")
HUMAN = {"verification": 0, "crowdsource-verification": 0}
SUFFIXES = (".jpg", ".jpeg", ".png")
SHARE = 0.5  # of the free memory that the labels may take
BLOCK = 4_000_000  # bytes of a file of labels; some are read ahead
ENTRIES = 2**20  # of the labels decided together
WHERE_FROM = "storage.googleapis.com/openimages/web/download.html"

SAYS_PRESENT, SAYS_ABSENT = 1, 2
LABEL_OF = np.array([UNKNOWN, 1, 0, UNKNOWN], dtype=np.int8)  # of the two bits; both: unknown


@dataclass(frozen=True)
class Block:
    """Some rows of a file of labels.

    Args:
        images: number of each row's image, −1 where it is not on the disk.
        classes: number of each row's class, −1 where it is not in the class list.
        human: whether people are its source.
        confidence: as written.
        other_images: hashes of the images that are not on the disk.
    """

    images: Int[np.ndarray, " rows"]
    classes: Int[np.ndarray, " rows"]
    human: Bool[np.ndarray, " rows"]
    confidence: Float[np.ndarray, " rows"]
    other_images: Int[np.ndarray, " others"]


@dataclass
class Left:
    """What does not become a label.

    Args:
        machine: rows that no person has verified.
        classes: rows of other classes.
        images: hashes of the images that are not on the disk, which repeat.
    """

    machine: int = 0
    classes: int = 0
    images: list[Int[np.ndarray, " others"]] = field(default_factory=list)


def load_openimages(
    argument: str,
    split: str,
    unlisted: Unlisted = "stated",
    progress: Progress = silent,
    of: Set | None = None,
) -> MultiLabelDataset:
    """One split of Open Images.

    Args:
        argument: the folder.
        split: ``train``, ``validation`` or ``test``.
        unlisted: may only be what Open Images says: what is not listed is unknown.
        progress: told the megabytes of labels read.
        of: ``-boxable`` for the labels of the 600 boxable classes; by default those of all classes,
            if they are there.

    Raises:
        BadData: a file that is not there or breaks the format, no image on the disk, or more labels
            than fit in memory.
        MissingExtra: pyarrow is not installed.
    """
    folder = _named(argument)
    fill_of(str(folder), "unknown", unlisted)
    of = _set_of(folder) if of is None else of
    tables = _tables(folder, of)
    if split not in tables:
        raise BadData(f"{folder} has no labels of a split {split!r}{nearest(split, tables)}")
    classes = read_classes(folder, of)
    paths = _images_on_disk(folder, split)
    _check_memory(folder, len(paths), len(classes))
    labels, ids, notes = _read_labels(tables[split], tuple(paths), tuple(classes), progress)
    files = ImageFiles(tuple(paths[i] for i in ids))
    return MultiLabelDataset(
        name=f"openimages{of}:{folder.resolve().name}",
        split=split,
        class_names=distinct(classes),
        new=np.zeros(len(classes), dtype=bool),
        labels=labels,
        image_ids=ids,
        digest=files.digest,
        open_image=files.open,
        paths=files.paths,
        class_ids=tuple(classes),
        notes=notes,
    )


def openimages_splits(argument: str, of: Set | None = None) -> tuple[str, ...]:
    """The splits whose labels are there."""
    folder = _named(argument)
    return tuple(_tables(folder, _set_of(folder) if of is None else of))


def _named(argument: str) -> Path:
    """The folder, which must be named and be there."""
    if not argument:
        raise BadData(
            "openimages needs its folder, as in openimages:/data/openimages, but none was named."
        )
    folder = Path(argument)
    if not folder.is_dir():
        raise BadData(
            f"openimages needs a folder, but {folder} is none; get Open Images from {WHERE_FROM}."
        )
    return folder


def _set_of(folder: Path) -> Set:
    """Labels of the boxable classes where there are no others."""
    there = [of for of in SETS if any(_labels_file(folder, split, of) for split in SPLITS)]
    return there[0] if there else SETS[0]


def _find(folder: Path, name: str) -> Path | None:
    """A file by its name in any version."""
    return first_there(tuple(folder / f / f"{v}{name}" for v in VERSIONS for f in FOLDERS))


def _labels_file(folder: Path, split: str, of: Set) -> Path | None:
    shortened = "val" if split == "validation" else split  # as V7 has it
    stem = f"annotations-human-imagelabels{of}.csv"
    return _find(folder, f"{split}-{stem}") or _find(folder, f"{shortened}-{stem}")


def _tables(folder: Path, of: Set) -> dict[str, Path]:
    """Split → its file of labels, at least one."""
    found = {split: path for split in SPLITS if (path := _labels_file(folder, split, of))}
    if not found:
        raise BadData(
            f"Open Images needs labels like train-annotations-human-imagelabels{of}.csv, but "
            f"neither {folder} nor its folders {', '.join(FOLDERS[1:])} have any; get them from "
            f"{WHERE_FROM}."
        )
    return found


def read_classes(folder: Path, of: Set) -> dict[str, str]:
    """MID → display name, in the order of the description file.

    Args:
        folder: the data set.
        of: all classes, or the boxable ones.

    Raises:
        BadData: no such file, a row that is no pair, or a list of trainable classes that names
            others.
    """
    name = f"class-descriptions{of}.csv"
    path = _find(folder, name)
    if path is None:
        raise BadData(
            f"Open Images needs the names of its classes, {name} or oidv6-{name}, but neither "
            f"{folder} nor its folders {', '.join(FOLDERS[1:])} have it; get it from {WHERE_FROM}."
        )
    rows = list(csv.reader(read_lines(path, "MIDs and names of classes")))
    for number, row in enumerate(rows, start=1):
        if len(row) != 2 or (number > 1 and not row[0].startswith("/")):
            raise BadData(
                f"{path} line {number} must be a MID and a name, as in /m/0bt9lr,Dog, but is "
                f"{','.join(row)!r}."
            )
    pairs = rows if rows[0][0].startswith("/") else rows[1:]
    classes = {mid: name.strip() for mid, name in pairs}
    if not pairs:
        raise BadData(f"{path} must name a class below its header, but names none.")
    if len(classes) < len(pairs):
        mid = Counter(mid for mid, _ in pairs).most_common(1)[0][0]
        raise BadData(f"{path} must name each MID once, but names {mid} again.")
    trainable = None if of else _find(folder, "classes-trainable.txt")
    if trainable is None:
        return classes
    wanted = set(read_lines(trainable, "MIDs of classes"))
    if not wanted <= classes.keys():
        raise BadData(
            f"{trainable} must list MIDs of {path.name}, but lists "
            f"{min(wanted - classes.keys())!r}."
        )
    return {mid: name for mid, name in classes.items() if mid in wanted}


def distinct(classes: dict[str, str]) -> tuple[str, ...]:
    """The display names; those that repeat are followed by their MID in parentheses."""
    times = Counter(classes.values())
    return tuple(f"{n} ({mid})" if times[n] > 1 else n for mid, n in classes.items())


def _images_on_disk(folder: Path, split: str) -> dict[str, Path]:
    """ID → path of the images of a split, sorted by ID."""
    parts = tuple(f"{split}_{digit}" for digit in "0123456789abcdef")  # as its archives unpack
    names = (split, f"{split}/data", f"images/{split}", *(parts if split == "train" else ()))
    found: dict[str, Path] = {}
    for place in (folder / name for name in names):
        if place.is_dir():
            with os.scandir(place) as entries:
                for entry in entries:
                    stem, end = os.path.splitext(entry.name)
                    if end.lower() in SUFFIXES:
                        found.setdefault(stem, place / entry.name)
    if not found:
        raise BadData(
            f"Open Images needs images of split {split!r}, but {folder} has none in "
            f"{', '.join(names[:3])}{' or train_0 … train_f' if split == 'train' else ''}; get "
            f"them from {WHERE_FROM}."
        )
    return dict(sorted(found.items()))


def free_memory() -> int | None:
    """Bytes that can be taken without swapping, None where the system does not tell."""
    try:
        told = Path("/proc/meminfo").read_text()
    except OSError:
        return None
    match = re.search(r"^MemAvailable: +(\d+) kB", told, re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def _check_memory(folder: Path, n_images: int, n_classes: int) -> None:
    """Labels, one byte each, take at most half of the free memory."""
    free, needed = free_memory(), n_images * n_classes
    if free is not None and needed > SHARE * free:
        raise BadData(
            f"The labels of {folder} take {needed / 1e9:.1f} GB ({n_images:,} images × "
            f"{n_classes:,} classes, a byte each) and must fit in half of the free memory, "
            f"{SHARE * free / 1e9:.1f} GB; keep fewer images in its folder, list fewer classes in "
            "classes-trainable.txt, or use openimages-boxable."
        )


def _read_labels(
    table: Path, images: tuple[str, ...], classes: tuple[str, ...], progress: Progress
) -> tuple[Labels, tuple[str, ...], tuple[str, ...]]:
    """The labels of the images that have any, which images these are, and what was met.

    Args:
        table: the file of labels.
        images: those on the disk.
        classes: MIDs.
        progress: told the megabytes read.
    """
    rows_of, columns_of = ({key: i for i, key in enumerate(keys)} for keys in (images, classes))
    bits = np.zeros((len(images), len(classes)), dtype=np.uint8)
    left = Left()
    for block in _read_rows(table, rows_of, columns_of, progress):
        _mark(table, bits, block, left)
    labels, kept, both = _decided(bits)
    if not kept:
        raise BadData(
            f"{table} must have labels of the images on the disk, but has none of the "
            f"{len(images):,} images and {len(classes):,} classes; are they of another split?"
        )
    notes = tuple(_notes(table, left, both, len(images) - len(kept)))
    return labels, tuple(images[i] for i in kept), notes


def _read_rows(
    path: Path, rows_of: dict[str, int], columns_of: dict[str, int], progress: Progress
) -> Iterator[Block]:
    """The rows of a file of labels, some hundred thousand at a time.

    Args:
        path: the file.
        rows_of: number of each image.
        columns_of: number of each class.
        progress: told the megabytes read.
    """
    try:
        import pyarrow as pa
        from pyarrow import csv as arrow_csv
    except ImportError as error:
        raise MissingExtra(
            f"Reading {path} needs pyarrow, which is not installed; "
            'run pip install "ccr-diag[parquet]".'
        ) from error
    words = pa.dictionary(pa.int32(), pa.string())
    types = dict(zip(COLUMNS, (words, words, words, pa.float64()), strict=True))
    reading = arrow_csv.ReadOptions(block_size=BLOCK)
    converting = arrow_csv.ConvertOptions(
        column_types=types, include_columns=list(COLUMNS), null_values=[""]
    )
    try:
        _check_header(path)
        with (
            pa.OSFile(str(path)) as file,
            arrow_csv.open_csv(file, read_options=reading, convert_options=converting) as reader,
        ):
            size = file.size()
            for number, batch in enumerate(reader, start=1):
                images, sources, classes, confidence = (batch.column(name) for name in COLUMNS)
                yield Block(
                    _numbers(images, rows_of),
                    _numbers(classes, columns_of),
                    _numbers(sources, HUMAN) == 0,
                    confidence.to_numpy(zero_copy_only=False),
                    np.array(
                        [hash(i) for i in images.dictionary.to_pylist() if i not in rows_of],
                        dtype=np.int64,
                    ),
                )
                if size > BLOCK:  # the file itself is read ahead
                    progress(f"MB of {path.name}", min(number * BLOCK, size) // MB, size // MB)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        text = " ".join(str(error).split())
        raise BadData(
            f"{path} must be comma-separated values with the columns {', '.join(COLUMNS)}, but is "
            f"not ({text})."
        ) from error


def _check_header(path: Path) -> None:
    """The columns are there."""
    with path.open(encoding="utf-8-sig") as file:
        header = file.readline().strip().split(",")
    lacking = [name for name in COLUMNS if name not in header]
    if lacking:
        raise BadData(
            f"{path} needs the columns {', '.join(COLUMNS)}, but lacks {lacking[0]}; it has "
            f"{', '.join(header)[:100]}."
        )


def _numbers(column: Arrow, number: Mapping[str, int]) -> Int[np.ndarray, " rows"]:
    """The number of each entry of a dictionary column, −1 where it has none."""
    entries = [number.get(entry, -1) for entry in column.dictionary.to_pylist()]
    found: np.ndarray = np.array(entries, dtype=np.int64)[column.indices.to_numpy()]
    return found


def _mark(path: Path, bits: Bits, block: Block, left: Left) -> None:
    """Notes in ``bits`` what rows say, and in ``left`` which do not count.

    Raises:
        BadData: a confidence below 0, above 1, or none.
    """
    wrong = block.confidence[~((block.confidence >= 0) & (block.confidence <= 1))]
    if len(wrong):
        raise BadData(f"{path} must have confidences from 0 to 1, but has {wrong[0]}.")
    verified = block.human & np.isin(block.confidence, (0, 1))
    left.machine += int((~verified).sum())
    left.classes += int((verified & (block.classes < 0)).sum())
    left.images.append(block.other_images)
    counts = verified & (block.images >= 0) & (block.classes >= 0)
    for bit, confidence in ((SAYS_PRESENT, 1), (SAYS_ABSENT, 0)):
        rows = counts & (block.confidence == confidence)
        bits[block.images[rows], block.classes[rows]] |= bit


def _decided(bits: Bits) -> tuple[Labels, list[int], int]:
    """The labels of images that have any, which images these are, and how many pairs contradict.

    The labels take the place of the bits: there may be no room for both.
    """
    labels, kept, both = bits.view(np.int8), list[int](), 0
    step = max(1, ENTRIES // bits.shape[1])
    for start in range(0, len(bits), step):
        part = bits[start : start + step]
        some = np.flatnonzero(part.any(axis=1))
        both += int((part == SAYS_PRESENT | SAYS_ABSENT).sum())
        labels[len(kept) : len(kept) + len(some)] = LABEL_OF[part[some]]
        kept += (start + some).tolist()
    return labels[: len(kept)], kept, both


def _notes(table: Path, left: Left, both: int, unlabelled: int) -> Iterator[str]:
    """What was met."""
    yield f"Labels are read from {table.name}."
    gone = len(np.unique(np.concatenate([np.empty(0, dtype=np.int64), *left.images])))
    if gone:
        yield f"{gone:,} labelled images are not on the disk and are left out."
    if unlabelled:
        yield f"{unlabelled:,} images on the disk have no label and are left out."
    if left.classes:
        yield f"{left.classes:,} rows are of classes outside the class list and are left out."
    if left.machine:
        yield f"{left.machine:,} rows are not verified by people and are left out."
    if both:
        yield (
            f"{both:,} pairs of image and class are stated as present and as absent: they are "
            "unknown."
        )
