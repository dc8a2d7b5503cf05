"""What an annotation file lists: rows of images and class names; and the data set they make.

Every reader of this folder that meets names, not numbers, gives a ``Listing``. With y_ic the label
of image i and class c,

    y_ic =  1         i lists c among its labels
    y_ic =  0         i lists c among its negatives
    y_ic = −1         i lists c as unknown
    y_ic = 0 or −1    i does not list c: what the file says, or the user declares.

In a table of cells (one-hot) every cell says something but those of a row's ``unknown``, whose
meaning the user declares. Out: ``MultiLabelDataset``.
"""

import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path, PureWindowsPath
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Bool, Int64
from PIL import Image

from ccr_diag.arrays import ABSENT, PRESENT, UNKNOWN, Labels, Unlisted
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.data.images import ImageFiles, inside
from ccr_diag.data.unlisted import Says, fill_of
from ccr_diag.errors import BadData, nearest

SHOWN = 3  # names in an error


class Row(NamedTuple):
    """One image as a file lists it.

    Args:
        at: its line, record or row in the file, from 1.
        image: its name as written.
        labels: classes in it.
        negatives: classes known not to be in it.
        unknown: classes of which nothing is known; in a table of cells, those not said.
        split: its split, empty where the file has none.
        caption: its caption, None where the file has none.
        id: what lists of examples call it, where that is not its name.
    """

    at: int
    image: str
    labels: tuple[str, ...] = ()
    negatives: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    split: str = ""
    caption: str | None = None
    id: str = ""


@dataclass(frozen=True)
class Listing:
    """All rows of a file.

    Args:
        path: the file, as errors name it.
        rows: one an image.
        unit: what ``Row.at`` counts.
        says: what the file says of classes that a row does not list; empty where it says nothing.
        class_names: the classes in order; None for all names that are listed, sorted.
        class_ids: the file's own key of each class.
        new: classes that are never labelled in tuning.
        cells: whether every row says something of every class but its ``unknown``.
        not_negative: why unlisted classes cannot be absent, empty where they can.
        unlisted_are: what is not listed, where an error needs to say it.
        splits_by: what gives a row its split, empty where nothing could.
        notes: what was met, and how it was read.
    """

    path: Path
    rows: Sequence[Row]
    unit: str = "line"
    says: Says = ""
    class_names: tuple[str, ...] | None = None
    class_ids: tuple[str, ...] | None = None
    new: frozenset[str] = frozenset()
    cells: bool = False
    not_negative: str = ""
    unlisted_are: str = ""
    splits_by: str = ""
    notes: tuple[str, ...] = ()

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that its rows name, in their order; without any, ``train`` alone."""
        return tuple(dict.fromkeys(row.split for row in self.rows if row.split)) or ("train",)

    def where(self, row: Row) -> str:
        """The place of a row, as errors name it."""
        return f"{self.path} {self.unit} {row.at}"


class Opener(Protocol):
    """Opens images by number."""

    def digest(self, i: int) -> str:
        """Content key of image i."""

    def open(self, i: int) -> Image.Image:
        """Image i as RGB."""


def dataset_of(
    listing: Listing,
    name: str,
    split: str,
    unlisted: Unlisted,
    opener: Callable[[Sequence[Row]], Opener],
) -> MultiLabelDataset:
    """The data set of a listing's rows.

    Args:
        listing: what was read.
        name: what the data set is called.
        split: the split to take, or ``all``; the classes are those of all splits.
        unlisted: what a class means that a row does not list, where the file does not say it.
        opener: of rows, in their order, what opens their images.

    Raises:
        BadData: no rows or names, an image twice, a class both in an image and not, names of two
            spellings or of no class, no such split, unlisted classes of no or two meanings.
    """
    if not listing.rows:
        why = "".join(f" ({note.rstrip('.')})" for note in listing.notes)
        raise BadData(f"{listing.path} needs at least one image, but has none{why}.")
    _require_once(listing)
    names = _class_names(listing)
    fill = _fill(listing, len(names), unlisted)
    chosen = rows_of_split(listing, split)
    labels, repeated = _labels(listing, names, fill)
    rows = [row for row, keep in zip(listing.rows, chosen, strict=True) if keep]
    notes = listing.notes
    if repeated:
        notes += (f"{repeated:,} class names that a row repeats count once.",)
    images = opener(rows)
    return MultiLabelDataset(
        name=name,
        split=split,
        class_names=names,
        new=np.array([name in listing.new for name in names]),
        labels=labels[chosen],
        image_ids=tuple(row.id or row.image for row in rows),
        digest=images.digest,
        open_image=images.open,
        captions=_captions(listing, rows),
        class_ids=listing.class_ids,
        notes=notes,
        paths=images.paths if isinstance(images, ImageFiles) else None,
    )


def rows_of_split(listing: Listing, split: str) -> Bool[np.ndarray, " rows"]:
    """Which rows belong to a split.

    Raises:
        BadData: no such split.
    """
    known = sorted({row.split for row in listing.rows} - {""})
    if split == "all" or (split == "train" and not known):
        return np.ones(len(listing.rows), dtype=bool)
    if not known:
        how = (
            f"needs {listing.splits_by} for split {split!r} to be chosen, but has none; add it, or"
            if listing.splits_by
            else f"has no splits, so {split!r} cannot be chosen;"
        )
        raise BadData(f"{listing.path} {how} ask for 'all'.")
    if split not in known:
        raise BadData(f"{listing.path} has no split {split!r}{nearest(split, [*known, 'all'])}")
    return np.array([row.split == split for row in listing.rows])


def files_of(path: Path, root: Path, rows: Sequence[Row]) -> ImageFiles:
    """The image files that rows name, all of which are there.

    A name is taken as it is if there is such a file, else with slashes for its backslashes and
    with its accents as the folder has them.

    Args:
        path: the file that names them.
        root: what their names are relative to.
        rows: the rows.

    Raises:
        BadData: some files are not there, or one is named in two ways.
    """
    paths = tuple(_path(root, row.image) for row in rows)
    gone = [
        row.image
        for row, place in zip(rows, paths, strict=True)
        if PureWindowsPath(row.image).drive or row.image.startswith("/")
        if not os.path.isfile(place)
    ]
    if gone:
        more = f" and {len(gone) - SHOWN} more" if len(gone) > SHOWN else ""
        raise BadData(
            f"{path} must name images that are there, but has {len(gone)} of {len(rows)} at "
            f"absolute places where they are not: {', '.join(gone[:SHOWN])}{more}; name them "
            f"relative to {root}, or by where they are on this machine."
        )
    first: dict[Path, Row] = {}
    for row, place in zip(rows, paths, strict=True):
        other = first.setdefault(place, row)
        if other is not row:
            raise BadData(
                f"{path} must list each image once, but {other.image!r} and {row.image!r} are the "
                f"same file, {place}; join them into one row."
            )
    files = ImageFiles(paths)
    files.check(path, "its own folder" if root == path.parent else str(root))
    return files


def _path(root: Path, name: str) -> Path:
    place = root / name
    elsewhere = PureWindowsPath(name).drive or name.startswith("/") or ".." in name
    return place if elsewhere or os.path.exists(place) else inside(root, name)


def _require_once(listing: Listing) -> None:
    """Each image is listed once."""
    first: dict[str, Row] = {}
    for row in listing.rows:
        earlier = first.setdefault(os.path.normpath(row.image), row)
        if earlier is not row:
            raise BadData(
                f"{listing.path} must list each image once, but {row.image!r} is on "
                f"{listing.unit}s {earlier.at} and {row.at}; join them into one row."
            )


def _listed(row: Row) -> tuple[str, ...]:
    return row.labels + row.negatives + row.unknown


def _class_names(listing: Listing) -> tuple[str, ...]:
    """The classes, one spelling each."""
    found: set[str] = set()
    for row in listing.rows:
        found.update(row.labels, row.negatives, row.unknown)
    names = listing.class_names
    if names is None:
        names = tuple(sorted(found))
    if not names:
        raise BadData(f"{listing.path} needs a class name in at least one row, but no row has any.")
    strange = sorted(found - set(names))
    if strange:
        row = _first_with(listing, strange[0])
        raise BadData(
            f"{listing.where(row)} must name classes that the file declares, but names "
            f"{strange[0]!r}{nearest(strange[0], names)}"
        )
    declared = listing.class_names is not None
    require_distinct(
        str(listing.path), names, lambda name: "" if declared else _place(listing, name)
    )
    return names


def require_distinct(
    where: str, names: Iterable[str], place: Callable[[str], str] = lambda _: ""
) -> None:
    """No two class names differ only in case, spaces or Unicode form.

    Args:
        where: what names them.
        names: the names.
        place: of a name, where it stands, as in “ (line 3)”.

    Raises:
        BadData: two names do, or one is empty.
    """
    seen: dict[str, str] = {}
    for name in names:
        key = " ".join(unicodedata.normalize("NFC", name).casefold().split())
        if not key:
            raise BadData(f"{where} must name its classes, but has an empty name; fill it in.")
        if not is_text(name):
            raise BadData(
                f"{where} must name its classes in text, but {ascii(name)}{place(name)} holds what "
                "no text has (NUL, or half of a character); rename it."
            )
        other = seen.setdefault(key, name)
        if other is not name:
            same_look = unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", other)
            show = ascii if same_look else repr
            raise BadData(
                f"{where} must write each class one way, but {show(other)}{place(other)} and "
                f"{show(name)}{place(name)} differ only in case, spaces or Unicode form; rename "
                "one."
            )


def is_text(text: str) -> bool:
    """Whether it can be written as UTF-8, and holds no NUL."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _place(listing: Listing, name: str) -> str:
    return f" ({listing.unit} {_first_with(listing, name).at})"


def _first_with(listing: Listing, name: str) -> Row:
    return next(row for row in listing.rows if name in _listed(row))


def _fill(listing: Listing, n_classes: int, unlisted: Unlisted) -> int:
    """The label of what no row says; where every row says everything, nothing needs it."""
    if not listing.says and unlisted == "stated":
        said = (
            not row.unknown if listing.cells else len(set(_listed(row))) == n_classes
            for row in listing.rows
        )
        if all(said):
            return UNKNOWN
    if listing.not_negative and unlisted == "negative":
        raise BadData(
            f"{listing.path} {listing.not_negative}, but got --unlisted negative; give --unlisted "
            "unknown, or list labels and negatives by name."
        )
    where = f"{listing.path}{listing.unlisted_are and f' ({listing.unlisted_are})'}"
    return fill_of(where, listing.says, unlisted)


FIELDS = {"labels": "in labels", "negatives": "in negatives", "unknown": "as unknown"}


def _labels(listing: Listing, names: tuple[str, ...], fill: int) -> tuple[Labels, int]:
    """The labels of all rows, and how many names repeat one of their row."""
    column = {name: c for c, name in enumerate(names)}
    field_of = np.zeros(len(listing.rows) * len(names), np.int8)  # by number, from 1; 0 is none
    listed = 0
    for number, field in enumerate(FIELDS, start=1):
        cells = _cells(listing, attrgetter(field), column)
        clash = np.flatnonzero(field_of[cells])
        if len(clash):
            cell = int(cells[clash[0]])
            i, c = divmod(cell, len(names))
            words = f"{list(FIELDS.values())[field_of[cell] - 1]} or {FIELDS[field]}"
            raise BadData(
                f"{listing.where(listing.rows[i])} must list a class {words}, but {names[c]!r} is "
                "in both; drop one."
            )
        field_of[cells] = number
        listed += len(cells)
    values = [ABSENT, PRESENT, ABSENT, fill] if listing.cells else [fill, PRESENT, ABSENT, UNKNOWN]
    labels = np.array(values, np.int8)[field_of].reshape(-1, len(names))
    return labels, listed - int(np.count_nonzero(field_of))


def _cells(
    listing: Listing, field: Callable[[Row], tuple[str, ...]], column: dict[str, int]
) -> Int64[np.ndarray, " cells"]:
    """Flat indices of the labels that one field of the rows gives."""
    counts = np.array([len(field(row)) for row in listing.rows], dtype=np.int64)
    flat: Iterator[int] = (column[name] for row in listing.rows for name in field(row))
    columns = np.fromiter(flat, np.int64, int(counts.sum()))
    return np.repeat(np.arange(len(counts)) * len(column), counts) + columns


def _captions(listing: Listing, rows: Sequence[Row]) -> tuple[str, ...] | None:
    """The captions of these rows, if any row has one."""
    if all(row.caption is None for row in rows):
        return None
    for row in rows:
        if not is_text(row.caption or ""):
            raise BadData(
                f"{listing.where(row)} must have a caption of text, but {ascii(row.caption)} holds "
                "what no text has (NUL, or half of a character); write it again."
            )
    return tuple(row.caption or "" for row in rows)
