"""Parquet files, wide or long, read batch by batch; see the table in ``readers``."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ccr_diag.errors import BadConfig, BadPredictions, MissingExtra
from ccr_diag.predictions import KINDS
from ccr_diag.readers.content import Content, Declared, choose_array
from ccr_diag.readers.conversion import as_labels
from ccr_diag.readers.pairs import VALUE_COLUMNS, Numbers, Piece, fill

ROWS = 2**16  # of a long table read together
ENTRIES = 2**21  # of a wide table read together, or one row

Arrow = Any  # a batch, column or file of pyarrow, which has no types


def read_parquet(
    path: Path, declared: Declared, labels: Path | None, names: tuple[str, ...] | None
) -> Content:
    """A table of predictions.

    Raises:
        BadPredictions: it is damaged, incomplete, or lacks a column.
        BadConfig: the kind is not declared, or labels or class names are declared twice.
        MissingExtra: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise MissingExtra(
            f"Reading {path} needs pyarrow, which is not installed; "
            'run pip install "ccr-diag[parquet]", or write the arrays as .npz.'
        ) from error
    if labels:
        raise BadConfig(f"{path} must hold its own labels; leave --labels out.")
    try:
        with ParquetFile(path) as file:
            inside = _metadata_names(path, file)
            if inside and names:
                raise BadConfig(f"{path} holds its own class names; leave --class-names out.")
            return _read(path, file, declared, inside or names)
    except (pa.ArrowException, OSError, MemoryError, UnicodeDecodeError) as error:
        text = " ".join(str(error).split())
        raise BadPredictions(f"{path} must be a Parquet file, but is damaged ({text}).") from error


def _read(path: Path, file: Arrow, declared: Declared, names: tuple[str, ...] | None) -> Content:
    columns = tuple(file.schema_arrow.names)
    needed = ("image", "class", "label") if "class" in columns else ("labels",)
    missing = [column for column in needed if column not in columns]
    if missing:
        raise BadPredictions(
            f"{path} must have the columns {', '.join(needed)} and its values, "
            f"but lacks {', '.join(missing)}; it has {', '.join(columns)}."
        )
    if not file.metadata.num_rows:
        raise BadPredictions(f"{path} must have rows, but has none.")
    if "class" in columns:
        column, kind = choose_array(path, columns, VALUE_COLUMNS, declared.kind)
        table = fill(partial(_pieces, path, file, column), names, declared.unlisted)
        return Content(kind, table.values, table.labels, table.class_names, table.image_ids)
    kinds: dict[str, str | None] = {kind: kind for kind in KINDS}
    column, kind = choose_array(path, columns, kinds, declared.kind)
    return _wide(path, file, column, kind, declared, names)


def _metadata_names(path: Path, file: Arrow) -> tuple[str, ...] | None:
    text = (file.schema_arrow.metadata or {}).get(b"class_names")
    if text is None:
        return None
    try:
        names = json.loads(text)
    except ValueError as error:
        raise BadPredictions(f"{path}: class_names must be JSON, but is not ({error}).") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadPredictions(f"{path}: class_names must be a JSON list of text, but is {names!r}.")
    return tuple(names)


def _pieces(
    path: Path, file: Arrow, column: str, images: Numbers, classes: Numbers
) -> Iterator[Piece]:
    for batch in file.iter_batches(ROWS, columns=["image", "class", "label", column]):
        yield Piece(
            _numbered(path, "image", batch.column("image"), images),
            _numbered(path, "class", batch.column("class"), classes),
            _numeric(path, column, batch.column(column)),
            _numeric(path, "label", batch.column("label")).astype(np.float64),
        )


def _numbered(path: Path, what: str, column: Arrow, numbers: Numbers) -> np.ndarray:
    """The number of each name, by way of the few different ones of the batch."""
    if column.null_count:
        raise BadPredictions(f"{path}: every row must name its {what}, but some do not.")
    coded = column if hasattr(column, "dictionary") else column.dictionary_encode()
    # setdefault would number entries of a shared dictionary that this batch does not use
    codes = coded.indices.to_numpy(zero_copy_only=False)
    used, inverse = np.unique(codes, return_inverse=True)
    entries = coded.dictionary.to_pylist()
    place = [numbers.setdefault(str(entries[code]), len(numbers)) for code in used.tolist()]
    return np.array(place)[inverse]


def _numeric(path: Path, what: str, column: Arrow) -> np.ndarray:
    """Numbers as floats; NaN where there is none."""
    found: np.ndarray = column.to_numpy(zero_copy_only=False)
    if found.dtype.kind == "O" and column.null_count == len(column):
        return np.full(len(column), np.nan)
    if found.dtype.kind not in "biuf":
        raise BadPredictions(f"{path}: {what} must be numbers, but got {column.type}.")
    return found if found.dtype.kind == "f" else found.astype(np.float64)


def _wide(
    path: Path,
    file: Arrow,
    column: str,
    kind: str,
    declared: Declared,
    names: tuple[str, ...] | None,
) -> Content:
    """List columns, one row an image."""
    ids = next((c for c in ("image", "image_id") if c in file.schema_arrow.names), None)
    columns = [column, "labels"] + ([ids] if ids else [])
    width = _width(path, file, column)
    shape = file.metadata.num_rows, width
    values, labels = np.empty(0), np.empty(shape, np.int8)
    images: list[str] = []
    start = 0
    for batch in file.iter_batches(max(1, ENTRIES // width), columns=columns):
        rows = slice(start, start + len(batch))
        part = _matrix(path, batch.column(column), column, width)
        if not start:
            values = np.empty(shape, part.dtype)
        values[rows] = part
        raw = _matrix(path, batch.column("labels"), "labels", width)
        labels[rows] = as_labels(raw, names or (), declared.unlisted)
        images += map(str, batch.column(ids).to_pylist()) if ids else []
        start += len(batch)
    if start != shape[0]:
        raise BadPredictions(f"{path} must have {shape[0]:,} rows, but ends after {start:,}.")
    return Content(kind, values, labels, names, tuple(images))


def _width(path: Path, file: Arrow, column: str) -> int:
    """Length of the first list."""
    head = next(file.iter_batches(1, columns=[column]), None)
    first = head.column(0)[0].as_py() if head else None
    if not isinstance(first, list) or not first:
        raise BadPredictions(
            f"{path}: {column} must be a list of numbers in every row, but the first is {first!r}."
        )
    return len(first)


def _matrix(path: Path, column: Arrow, what: str, width: int) -> np.ndarray:
    """The lists of a batch as rows."""
    flat = column.flatten() if hasattr(column, "flatten") else column
    if column.null_count or len(flat) != len(column) * width:
        raise BadPredictions(
            f"{path}: {what} must hold {width} numbers in every row, but some rows do not."
        )
    lengths = getattr(column, "value_lengths", None)
    if lengths is not None and (lengths().to_numpy(zero_copy_only=False) != width).any():
        raise BadPredictions(
            f"{path}: {what} must hold {width} numbers in every row, but some rows do not."
        )
    return _numeric(path, what, flat).reshape(len(column), width)
