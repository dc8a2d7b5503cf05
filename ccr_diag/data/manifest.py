"""Your own images: a CSV file with one row an image.

In: a UTF-8 file with a header and these columns, in any order, further ones being ignored:

- ``image``: path of the image, relative to the file; each image once.
- ``labels``: names of the classes in the image, separated by ``;`` or ``|``, or a JSON list of
  names (for names that hold a separator or a comma); empty when none is in it.
- ``split``, optional: rows are chosen by it, and ``all`` chooses every row; without it every row
  is ``train``.
- ``negatives``, optional: names of the classes that are known not to be in the image, written like
  ``labels``.
- ``caption``, optional: a text about the image; it may be empty.

Without ``negatives`` every class that is not listed is absent (0); with it, only the listed
negatives are, and the others are unknown (−1). The classes are all names of the whole file, sorted.
None is new: the user names new classes by ``MultiLabelDataset.with_new``. Out:
``MultiLabelDataset``.
"""

import csv
import difflib
import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ccr_diag.arrays import ABSENT, PRESENT, UNKNOWN
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.errors import BadData, nearest

REQUIRED, OPTIONAL = ("image", "labels"), ("split", "negatives", "caption")
HOW_TO_LIST = "separate names by ';' or '|', or write a JSON list like [\"cat\", \"dog, wet\"]"
SHOWN = 3  # file names in an error


@dataclass(frozen=True)
class ManifestRow:
    """One row of the file.

    Args:
        line: line of the file that it ends on, from 1.
        image: path as written.
        labels: classes in the image.
        negatives: classes known not to be in it.
        split: its split, or an empty text where the file has no such column.
        caption: its caption, or None where the file has no such column.
    """

    line: int
    image: str
    labels: frozenset[str]
    negatives: frozenset[str]
    split: str
    caption: str | None


def load_manifest(argument: str, split: str) -> MultiLabelDataset:
    """The images and labels that a CSV file lists.

    Args:
        argument: path of the file.
        split: a value of its ``split`` column, or ``all``.

    Raises:
        BadData: no such file or split, a row that breaks a rule of this module, or an image that is
            not there.
    """
    if not argument:
        raise BadData("A manifest needs its file, as in manifest:labels.csv, but none was named.")
    path = Path(argument)
    with_negatives, rows = read_rows(path)
    names = tuple(sorted(set().union(*(row.labels | row.negatives for row in rows))))
    if not names:
        raise BadData(f"{path} needs a class name in at least one row, but no row has any.")
    rows = _rows_of_split(path, rows, split)
    files = ImageFiles(tuple(path.parent / row.image for row in rows))
    files.check(path)
    column = {name: c for c, name in enumerate(names)}
    labels = np.full((len(rows), len(names)), UNKNOWN if with_negatives else ABSENT, dtype=np.int8)
    for i, row in enumerate(rows):
        labels[i, [column[name] for name in row.labels]] = PRESENT
        labels[i, [column[name] for name in row.negatives]] = ABSENT
    return MultiLabelDataset(
        name=f"manifest:{path.name}",
        split=split,
        class_names=names,
        new=np.zeros(len(names), dtype=bool),
        labels=labels,
        image_ids=tuple(row.image for row in rows),
        digest=files.digest,
        open_image=files.open,
        captions=_captions(rows),
    )


def _captions(rows: list[ManifestRow]) -> tuple[str, ...] | None:
    """The captions of these rows, which all have one or none."""
    captions = tuple(row.caption for row in rows if row.caption is not None)
    return captions or None


def read_rows(path: Path) -> tuple[bool, list[ManifestRow]]:
    """All rows of a file, and whether it has a ``negatives`` column.

    Raises:
        BadData: see ``load_manifest``.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            header = _checked_header(path, list(reader.fieldnames or []))
            rows = [_row(path, reader.line_num, fields) for fields in reader]
    except OSError as e:
        raise BadData(f"A manifest must be a readable file, but {path}: {e.strerror}.") from e
    except UnicodeDecodeError as e:
        raise BadData(f"A manifest must be UTF-8 text, but {path} is not; save it as UTF-8.") from e
    except csv.Error as e:
        raise BadData(f"A manifest must be comma-separated values, but {path}: {e}.") from e
    if not rows:
        raise BadData(f"{path} needs at least one row below its header, but has none.")
    first: dict[str, int] = {}
    for row in rows:
        earlier = first.setdefault(os.path.normpath(row.image), row.line)
        if earlier != row.line:
            raise BadData(
                f"{path} must list each image once, but {row.image!r} is on lines {earlier} and "
                f"{row.line}; join them into one row."
            )
    return "negatives" in header, rows


def _checked_header(path: Path, header: list[str]) -> list[str]:
    """The column names, after their checks."""
    if not header:
        raise BadData(f"{path} needs a header with columns image and labels, but is empty.")
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise BadData(
            f"{path} needs columns image and labels, separated by commas, but {missing[0]!r} is "
            f"not in its header: {', '.join(header)}."
        )
    for name in (*REQUIRED, *OPTIONAL):
        if header.count(name) > 1:
            raise BadData(f"{path} needs each column once, but {name!r} is there twice; drop one.")
    for name in header:  # a mistyped optional column would silently change what labels mean
        like = difflib.get_close_matches(name.strip().lower(), OPTIONAL, n=1, cutoff=0.8)
        if like and name not in OPTIONAL:
            raise BadData(
                f"{path} has a column {name!r}, which is too like {like[0]!r} to be ignored; "
                f"call it {like[0]!r} if it is that, or something else if it is not."
            )
    return header


def _row(path: Path, line: int, fields: dict[str | None, str | list[str] | None]) -> ManifestRow:
    """One row from its fields.

    ``DictReader`` keeps surplus fields under the key None and gives lacking ones the value None.
    """
    where = f"{path} line {line}"
    if None in fields or None in fields.values():
        more = "more" if None in fields else "fewer"
        raise BadData(
            f"{where} must have as many fields as the header, but has {more}; put double quotes "
            f"around a field that holds a comma."
        )
    text = {name: str(value).strip() for name, value in fields.items()}
    for name in ("image", "split"):
        if not text.get(name, "-"):
            raise BadData(f"{where} needs a value in column {name!r}, but it is empty.")
    labels = _names(where, "labels", text["labels"])
    negatives = _names(where, "negatives", text.get("negatives", ""))
    both = sorted(labels & negatives)
    if both:
        raise BadData(
            f"{where} must list a class in labels or in negatives, but {both[0]!r} is in both; "
            f"drop one."
        )
    return ManifestRow(
        line, text["image"], labels, negatives, text.get("split", ""), text.get("caption")
    )


def _names(where: str, column: str, text: str) -> frozenset[str]:
    """The class names that a field lists."""
    if not text:
        return frozenset()
    if text.startswith("["):
        try:
            listed = json.loads(text)
        except json.JSONDecodeError as e:
            raise BadData(
                f"{where} has a field in column {column!r} that begins like a JSON list and is "
                f"none ({e.msg}): {text}; {HOW_TO_LIST}."
            ) from e
    else:
        listed = re.split("[;|]", text)
        if "," in text:
            raise BadData(
                f"{where} has a comma in column {column!r}, where it separates nothing: {text}; "
                f"{HOW_TO_LIST}."
            )
    if not all(isinstance(name, str) and name.strip() for name in listed):
        raise BadData(
            f"{where} has an empty name or something other than a name in column {column!r}: "
            f"{text}; {HOW_TO_LIST}."
        )
    return frozenset(name.strip() for name in listed)


def _rows_of_split(path: Path, rows: list[ManifestRow], split: str) -> list[ManifestRow]:
    """The rows of a split."""
    known = sorted({row.split for row in rows} - {""})
    if split == "all" or (split == "train" and not known):
        return rows
    if not known:
        raise BadData(
            f"{path} needs a column 'split' for split {split!r} to be chosen, but has none; add "
            f"it, or ask for 'all'."
        )
    if split not in known:
        raise BadData(f"{path} has no split {split!r}{nearest(split, [*known, 'all'])}")
    return [row for row in rows if row.split == split]


class ImageFiles:
    """Opens the images of a manifest by number.

    Args:
        paths: one file an image.
    """

    def __init__(self, paths: tuple[Path, ...]) -> None:
        self.paths = paths
        self._digests: dict[int, str] = {}

    def check(self, manifest: Path) -> None:
        """All files are there.

        Raises:
            BadData: some are not.
        """
        missing = [path for path in self.paths if not path.is_file()]
        if missing:
            shown = ", ".join(str(path) for path in missing[:SHOWN])
            more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
            raise BadData(
                f"{manifest} must name images that are there, relative to its own folder, but "
                f"{len(missing)} of {len(self.paths)} are not: {shown}{more}."
            )

    def digest(self, i: int) -> str:
        """SHA-256 of the bytes of file ``i``, read once."""
        if i not in self._digests:
            try:
                self._digests[i] = hashlib.sha256(self.paths[i].read_bytes()).hexdigest()
            except OSError as e:
                raise BadData(f"Image {self.paths[i]} cannot be read: {e.strerror}.") from e
        return self._digests[i]

    def open(self, i: int) -> Image.Image:
        """Image ``i`` as RGB.

        Raises:
            BadData: a file that is no whole image.
        """
        try:
            with Image.open(self.paths[i]) as picture:
                # Pillow warns of a palette with transparency unless it goes by way of RGBA.
                palette = picture.mode == "P" and "transparency" in picture.info
                return (picture.convert("RGBA") if palette else picture).convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as e:
            raise BadData(
                f"Image {self.paths[i]} cannot be read ({e}); replace it or take its row out."
            ) from e
