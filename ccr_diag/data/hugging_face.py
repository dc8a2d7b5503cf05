"""Data sets of Hugging Face, read by their own library (the extra ``hf``).

In: a folder that ``save_to_disk`` wrote, a folder of images with ``metadata.csv``, ``.jsonl`` or
``.parquet``, or a name on the hub (once fetched, its cache serves without a network). Of its
columns these are read, where each but the last two must be the only one of its type:

- the image: ``Image``;
- its labels: a list of ``ClassLabel``, whose names are the classes in order, or a list of text;
  or, as a ``.csv`` has no lists, a text ``labels`` written as in a manifest, ``cat;dog``;
- ``negatives``, of the type of the labels, and ``caption``, a text: if there are any.

With ``negatives`` what is listed nowhere is unknown; without, the user declares what unlisted
classes mean. The content key of an image is the SHA-256 of its stored bytes. Out:
``MultiLabelDataset``.
"""

import hashlib
import io
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from ccr_diag.arrays import Unlisted
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.data.images import rgb_of
from ccr_diag.data.listing import Listing, Row, dataset_of
from ccr_diag.data.manifests.fields import names_in_text, require_no_cells
from ccr_diag.errors import BadData, MissingExtra
from ccr_diag.progress import Progress, silent

SAVED = ("dataset_dict.json", "state.json")

Table = Any  # a split of the library, which has no types


class StoredImages:
    """Opens stored images by number.

    Args:
        tables: the image column of each split, not decoded.
        places: split and number of each image.
    """

    def __init__(self, tables: Mapping[str, Table], places: Sequence[tuple[str, int]]) -> None:
        self.tables = tables
        self.places = tuple(places)
        self._digests: dict[int, str] = {}

    def _read(self, i: int) -> bytes:
        split, number = self.places[i]
        (stored,) = self.tables[split][number].values()
        where = f"Image {number} of split {split}"
        if stored is None:
            raise BadData(f"{where} is missing; take its row out.")
        if stored["bytes"] is not None:
            return bytes(stored["bytes"])
        try:
            return Path(stored["path"]).read_bytes()
        except (OSError, TypeError) as e:
            raise BadData(f"{where}, {stored['path']}, cannot be read ({e}).") from e

    def digest(self, i: int) -> str:
        """SHA-256 of the bytes of image ``i``, read once."""
        if i not in self._digests:
            self._digests[i] = hashlib.sha256(self._read(i)).hexdigest()
        return self._digests[i]

    def open(self, i: int) -> Image.Image:
        """Image ``i`` as RGB.

        Raises:
            BadData: bytes that are no whole image.
        """
        split, number = self.places[i]
        return rgb_of(f"{number} of split {split}", lambda: io.BytesIO(self._read(i)))


def load_hugging_face(
    argument: str, split: str, unlisted: Unlisted = "stated", progress: Progress = silent
) -> MultiLabelDataset:
    """The images and labels of a data set of Hugging Face.

    Args:
        argument: a folder, or a name on the hub.
        split: one of its splits, or ``all``.
        unlisted: what a class means that an image does not list, if there are no ``negatives``.
        progress: told nothing.

    Raises:
        BadData: no such data set, columns of other types, or unlisted classes of no declared
            meaning.
        MissingExtra: the library is not installed.
    """
    tables = _tables(argument)
    first = next(iter(tables.values()))
    image, labels, negatives, names = _columns(argument, first.features)
    for name, table in tables.items():
        if table.features != first.features:
            raise BadData(
                f"hf:{argument} must have the same columns in every split, but {name!r} has others "
                f"than {next(iter(tables))!r}."
            )
    caption = "caption" if "caption" in first.features else None
    if caption and not _is_text(first.features[caption]):
        raise BadData(
            f"hf:{argument} must hold text in 'caption', but it is {first.features[caption]}; "
            "rename it, or write one text an image."
        )
    listed = not _is_text(first.features[labels])
    read = partial(_classes, names) if listed else _classes_in_text
    wanted = [column for column in (labels, negatives, caption) if column]
    rows: list[Row] = []
    places: list[tuple[str, int]] = []
    for name, table in tables.items():
        for number, record in enumerate(table.select_columns(wanted)):
            where = f"hf:{argument} row {number} of split {name!r}"
            rows.append(
                Row(
                    len(rows) + 1,
                    f"{name}/{number}",
                    read(where, labels, record[labels]),
                    read(where, negatives, record[negatives]) if negatives else (),
                    split=name,
                    caption=None if caption is None else record[caption] or "",
                )
            )
            places.append((name, number))
    listing = Listing(
        Path(argument),
        rows,
        "row",
        "unknown" if negatives else "",
        names,
    )
    stored = {name: _stored(table, image) for name, table in tables.items()}

    def images(chosen: Sequence[Row]) -> StoredImages:
        return StoredImages(stored, [places[row.at - 1] for row in chosen])

    return dataset_of(listing, f"hf:{argument}", split, unlisted, images)


def hugging_face_splits(argument: str) -> tuple[str, ...]:
    """The names of its splits."""
    return tuple(_tables(argument))


def _tables(argument: str) -> dict[str, Table]:
    """The splits by name."""
    try:
        import datasets
    except ImportError as e:
        raise MissingExtra(
            f"Reading hf:{argument} needs the library datasets, which is not installed; "
            'run pip install "ccr-diag[hf]".'
        ) from e
    if not argument:
        raise BadData("hf needs a folder or a name on the hub, as in hf:photos, but got none.")
    datasets.disable_progress_bars()
    folder = Path(argument)
    try:
        if any((folder / name).is_file() for name in SAVED):
            found = datasets.load_from_disk(argument)
        elif folder.is_dir():
            found = datasets.load_dataset("imagefolder", data_dir=argument)
        else:
            found = datasets.load_dataset(argument)
        splits = dict(found) if isinstance(found, dict) else {str(found.split or "train"): found}
        for table in splits.values():
            table.data.validate(full=True)  # damaged offsets would end the process without a word
    except Exception as e:  # whatever its readers, its cache and its client raise
        text = " ".join(str(e).split())
        raise BadData(
            f"hf:{argument} must be a folder, or a data set on the hub or in its cache, but cannot "
            f"be read ({type(e).__name__}: {text[:200]})."
        ) from e
    return splits


def _columns(
    argument: str, features: Mapping[str, Any]
) -> tuple[str, str, str | None, tuple[str, ...] | None]:
    """The columns of the image, labels and negatives; and the classes, where they are declared."""
    import datasets

    def is_label(name: str, feature: Any) -> bool:
        inner = getattr(feature, "feature", None)
        listed = _is_text(inner) or isinstance(inner, datasets.ClassLabel)
        return listed or (name == "labels" and _is_text(feature))

    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    others = ("negatives", "caption")
    labels = [name for name, f in features.items() if name not in others and is_label(name, f)]
    for what, found in (("image", images), ("list of class labels or of text", labels)):
        if len(found) != 1:
            types = ", ".join(f"{name}: {_short(f)}" for name, f in features.items())
            which = f" ({', '.join(found)})" if found else ""
            raise BadData(
                f"hf:{argument} must have one column that is a{'n' * (what == 'image')} {what}, "
                f"but has {len(found)}{which}; its columns are {types}."
            )
    negatives = "negatives" if "negatives" in features else None
    inner = getattr(features[labels[0]], "feature", None)
    declared = tuple(inner.names) if isinstance(inner, datasets.ClassLabel) else None
    if negatives and features[negatives] != features[labels[0]]:
        raise BadData(
            f"hf:{argument} must hold negatives of the same type as {labels[0]}, but does not."
        )
    return images[0], labels[0], negatives, declared


def _is_text(feature: Any) -> bool:
    return getattr(feature, "dtype", None) in ("string", "large_string")


def _short(feature: Any) -> str:
    text = str(feature)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _classes_in_text(where: str, column: str, text: str | None) -> tuple[str, ...]:
    """The class names of a text, which an empty cell of a .csv lacks."""
    return names_in_text(where, column, (text or "").strip())


def _classes(
    names: tuple[str, ...] | None, where: str, column: str, listed: Any
) -> tuple[str, ...]:
    """The class names of a list of names or numbers."""
    if listed is None or None in listed:
        raise BadData(
            f"{where} must hold classes in {column!r}, but holds nothing; take it out, or write an "
            "empty list where there is none."
        )
    if names is not None:
        require_no_cells(where, listed, len(names))
        strange = [number for number in listed if not 0 <= number < len(names)]
        if strange:
            raise BadData(
                f"{where} must number its {len(names)} classes from 0, but has {strange[0]}; "
                "write the data set again."
            )
        return tuple(names[number] for number in listed)
    found = tuple(name.strip() for name in listed)
    if not all(found):
        raise BadData(f"{where} must hold class names in {column!r}, but has an empty one.")
    return found


def _stored(table: Table, column: str) -> Table:
    """The image column with the stored bytes, not decoded."""
    import datasets

    return table.select_columns([column]).cast_column(column, datasets.Image(decode=False))
