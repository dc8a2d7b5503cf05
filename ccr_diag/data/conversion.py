"""Any data set whose images are files, as one manifest of all its splits.

``.parquet`` holds all of it: reading it gives the same labels, class order, class ids, new
classes, image ids, splits and captions. ``.csv`` and ``.jsonl`` list present and absent classes by
name, and hold neither an order of classes nor ids. An image below the folder of the manifest is
named relative to it, so that both can be moved together; any other by its absolute path.
"""

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from ccr_diag.arrays import ABSENT, PRESENT, UNKNOWN
from ccr_diag.data.content import content_of
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.data.listing import Row, require_distinct
from ccr_diag.data.manifests.parquet import Stated, require_pyarrow, write_parquet
from ccr_diag.data.split_overlaps import made_of_others
from ccr_diag.errors import BadConfig, BadData
from ccr_diag.progress import UnitProgress, silent
from ccr_diag.runs import write_text

Splits = Sequence[MultiLabelDataset]


def write_manifest(path: Path, splits: Splits) -> tuple[str, ...]:
    """Write all splits into one file, whole or not at all.

    Args:
        path: the file, ``.parquet``, ``.csv`` or ``.jsonl``.
        splits: one data set a split.

    Returns:
        A sentence about each thing that the file does not hold.

    Raises:
        BadConfig: a name that ends otherwise.
        BadData: images that are no files, or in two splits; splits of other classes; class names
            that a manifest does not tell apart.
        MissingExtra: a .parquet file without pyarrow.
        NoSpace: the disk is full.
    """
    write = writer_of(path)
    _require_one_row_each(splits)
    first = splits[0]
    require_distinct(f"A manifest of {first.name}", first.class_names)
    rows = [row for data in splits for row in _rows(path.parent, data)]
    return tuple(write(path, rows, first, any(_has_unknown(data) for data in splits)))


def writer_of(path: Path) -> "Writer":
    """What writes a file of this name.

    Raises:
        BadConfig: nothing does.
        MissingExtra: a .parquet file without pyarrow.
    """
    if path.suffix not in _WRITERS:
        raise BadConfig(
            f"A manifest must be a file named {', '.join(_WRITERS)}, but got {path}; rename it."
        )
    if path.suffix == ".parquet":
        require_pyarrow(path, "Writing")
    return _WRITERS[path.suffix]


def without_unions(splits: Splits) -> list[MultiLabelDataset]:
    """The splits but for those that are made of others, which a manifest cannot repeat."""
    unions = made_of_others({data.split: frozenset(data.image_ids) for data in splits})
    return [data for data in splits if data.split not in unions]


def readable(
    data: MultiLabelDataset, progress: UnitProgress = silent
) -> tuple[MultiLabelDataset, tuple[str, ...]]:
    """The images that can be opened, and why each of the others cannot.

    Args:
        data: any.
        progress: told the images done and the images in all.

    Raises:
        BadData: none can.
    """
    unreadable = content_of(data, progress).unreadable
    if len(unreadable) == len(data):
        raise BadData(
            f"A manifest needs an image, but none of {len(data)} of {data.name}, split "
            f"{data.split}, can be opened; the first: {unreadable[0]}"
        )
    kept = np.array([i not in unreadable for i in range(len(data))])
    return data.subset(kept), tuple(unreadable.values())


def _require_one_row_each(splits: Splits) -> None:
    """Every split has the same classes, and every image is a file, in one split."""
    first = splits[0]
    files: dict[str, frozenset[str]] = {}
    for data in splits:
        if (data.class_names, data.class_ids) != (first.class_names, first.class_ids):
            raise BadData(
                f"A manifest holds splits of the same classes, but {first.split} and {data.split} "
                f"of {data.name} have others; choose one by --split."
            )
        if data.paths is None:
            raise BadData(
                f"A manifest names image files, but the images of {data.name} are none: they are "
                "drawn, or members of an archive; unpack them."
            )
        found = frozenset(map(os.path.abspath, data.paths))
        if len(found) < len(data):
            raise BadData(
                f"A manifest lists each image once, but split {data.split} of {data.name} has "
                f"{len(data) - len(found)} files twice; join their rows."
            )
        files[data.split] = found
    for one, other in combinations(files, 2):
        both = sorted(files[one] & files[other])
        if both:
            raise BadData(
                f"A manifest lists each image in one split, but {len(both)} are in {one} and in "
                f"{other}, such as {both[0]}; choose one of them by --split."
            )


def _rows(folder: Path, data: MultiLabelDataset) -> Iterator[Row]:
    """The rows of a split."""
    paths = [_named(folder, path) for path in data.paths or ()]
    names = np.array(data.class_names, dtype=object)
    for i, image in enumerate(paths):
        yield Row(
            at=i + 1,
            image=image,
            labels=tuple(names[data.labels[i] == PRESENT].tolist()),
            negatives=tuple(names[data.labels[i] == ABSENT].tolist()),
            split="" if data.split == "all" else data.split,
            caption=None if data.captions is None else data.captions[i],
            id=data.image_ids[i],
        )


def _named(folder: Path, path: Path) -> str:
    """How a manifest in this folder names an image."""
    place, root = Path(os.path.abspath(path)), Path(os.path.abspath(folder))
    return place.relative_to(root).as_posix() if place.is_relative_to(root) else str(place)


def _has_unknown(data: MultiLabelDataset) -> bool:
    return bool((data.labels == UNKNOWN).any())


def _write_parquet(
    path: Path, rows: Sequence[Row], data: MultiLabelDataset, unknown: bool
) -> Iterator[str]:
    """All of it; negatives only where they are not simply all others."""
    stated = Stated(
        data.class_names,
        data.class_ids,
        frozenset(data.new_names),
        "unknown" if unknown else "negative",
    )
    write_parquet(path, rows, stated)
    yield from ()


def _write_csv(
    path: Path, rows: Sequence[Row], data: MultiLabelDataset, unknown: bool
) -> Iterator[str]:
    """Lists are JSON, which holds any name."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    header = ["image", "labels", "negatives", "split", "caption"]
    lacking = {
        "split": not any(row.split for row in rows),
        "caption": all(row.caption is None for row in rows),
    }
    columns = [i for i, name in enumerate(header) if not lacking.get(name)]
    for fields in [header, *map(_cells, _plain(rows))]:
        writer.writerow([fields[i] for i in columns])
    write_text(path, out.getvalue())
    return _not_held(path, rows, data)


def _write_json_lines(
    path: Path, rows: Sequence[Row], data: MultiLabelDataset, unknown: bool
) -> Iterator[str]:
    """One record a line."""
    records = (
        {"image": row.image, "labels": row.labels, "negatives": row.negatives}
        | ({"split": row.split} if row.split else {})
        | ({} if row.caption is None else {"caption": row.caption})
        for row in _plain(rows)
    )
    write_text(path, "".join(f"{_json(record)}\n" for record in records))
    return _not_held(path, rows, data)


Writer = Callable[[Path, Sequence[Row], MultiLabelDataset, bool], Iterator[str]]
_WRITERS: dict[str, Writer] = {
    ".parquet": _write_parquet,
    ".csv": _write_csv,
    ".jsonl": _write_json_lines,
}


def _plain(rows: Sequence[Row]) -> Iterator[Row]:
    """The rows, whose texts must survive readers that take blanks from their ends."""
    for row in rows:
        for text in (row.image, row.split, *row.labels, *row.negatives):
            if text.strip() != text:
                raise BadData(
                    f"A .csv or .jsonl manifest holds no blank at the end of a name, but has to "
                    f"hold {text!r}; write .parquet."
                )
        yield row


def _cells(row: Row) -> list[str]:
    lists = [_json(row.labels), _json(row.negatives)]
    return [row.image, *lists, row.split, row.caption or ""]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _not_held(path: Path, rows: Sequence[Row], data: MultiLabelDataset) -> Iterator[str]:
    """What text does not say."""
    listed = {name for row in rows for name in row.labels + row.negatives}
    lost = {
        f"the classes of which nothing is known ({len(data.class_names) - len(listed)})": len(
            listed
        )
        < len(data.class_names),
        "the order of the classes": tuple(sorted(listed))
        != tuple(name for name in data.class_names if name in listed),
        "the ids of the classes": data.class_ids is not None,
        "which classes are new": bool(data.new.any()),
        "the ids of the images": any(row.id != row.image for row in rows),
    }
    said = [what for what, is_lost in lost.items() if is_lost]
    if said:
        yield f"{path} does not hold {', '.join(said)}; a .parquet manifest does."
