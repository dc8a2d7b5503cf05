"""CSV files: a long table, or two wide ones; see the table in ``readers``."""

import csv
import math
from array import array
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int

from ccr_diag.errors import BadConfig, BadPredictions
from ccr_diag.readers.content import Content, Declared, choose_array, require_kind
from ccr_diag.readers.pairs import VALUE_COLUMNS, Numbers, Piece, fill

ROWS = 2**10  # of a long table read together; more is slower, for want of cache
PAIR = ("image", "class", "label")

Table = tuple[tuple[str, ...], tuple[str, ...], Float64[np.ndarray, "images classes"]]


def read_csv(
    path: Path, declared: Declared, labels: Path | None, names: tuple[str, ...] | None
) -> Content:
    """A long table, or wide values with wide labels beside them.

    Raises:
        BadPredictions: a table is damaged, incomplete, or does not belong to the other.
        BadConfig: the kind is not declared, or labels are declared twice or not at all.
    """
    header = next(_rows(path), (1, []))[1]
    if set(PAIR) <= set(header):
        if labels:
            raise BadConfig(f"{path} holds its own labels; leave --labels out.")
        return _long(path, header, declared, names)
    if not header or header[0] != "image" or len(header) == 1:
        raise BadPredictions(
            f"{path} must have the columns image,class,label and a value, or image and one a "
            f"class, but its header is {','.join(header)!r}."
        )
    if labels is None:
        raise BadConfig(f"{path} holds values alone; name the file of their labels by --labels.")
    if names:
        raise BadConfig(f"{path} holds its own class names; leave --class-names out.")
    return _wide(path, labels, require_kind(path, declared.kind))


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every row that is not empty, header included."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                if row:
                    yield reader.line_num, row
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise BadPredictions(f"{path} must be a UTF-8 CSV file, but is not ({error}).") from error


def _body(path: Path, header: list[str]) -> Iterator[tuple[int, list[str]]]:
    """The rows below the header, each as long as it."""
    for line, row in islice(_rows(path), 1, None):
        if len(row) != len(header):
            raise BadPredictions(
                f"{path}, line {line} must have {len(header)} cells like the header, "
                f"but has {len(row)}."
            )
        yield line, row


def _number(path: Path, line: int, column: str, cell: str) -> float:
    try:
        return float(cell) if cell.strip() or column != "label" else math.nan
    except ValueError as error:
        raise BadPredictions(
            f"{path}, line {line}: {column} must be a number, but got {cell!r}."
        ) from error


def _long(
    path: Path, header: list[str], declared: Declared, names: tuple[str, ...] | None
) -> Content:
    column, kind = choose_array(path, tuple(header), VALUE_COLUMNS, declared.kind)
    table = fill(partial(_pieces, path, header, column), names, declared.unlisted)
    return Content(kind, table.values, table.labels, table.class_names, table.image_ids)


def _pieces(
    path: Path, header: list[str], column: str, images: Numbers, classes: Numbers
) -> Iterator[Piece]:
    image, name, label, value = (header.index(c) for c in (*PAIR, column))
    body = _body(path, header)
    while rows := list(islice(body, ROWS)):
        lines, cells = zip(*rows, strict=True)
        columns = list(zip(*cells, strict=True))
        yield Piece(
            _numbered(columns[image], images),
            _numbered(columns[name], classes),
            _numbers(path, lines, column, columns[value]),
            _numbers(path, lines, "label", columns[label]),
        )


def _numbered(names: Sequence[str], numbers: Numbers) -> Int[np.ndarray, " rows"]:
    """The number of each name; new names get the next ones."""
    for name in dict.fromkeys(names):
        numbers.setdefault(name, len(numbers))
    return np.fromiter(map(numbers.__getitem__, names), np.int64, len(names))


def _numbers(
    path: Path, lines: Sequence[int], column: str, cells: Sequence[str]
) -> Float64[np.ndarray, " rows"]:
    """A column of numbers; where a cell is none, they are gone through again to say which."""
    try:
        return np.fromiter(map(float, cells), np.float64, len(cells))
    except ValueError:
        each = zip(lines, cells, strict=True)
        return np.array([_number(path, line, column, cell) for line, cell in each])


def _wide(path: Path, labels: Path, kind: str) -> Content:
    names, images, values = _wide_table(path, "value")
    label_names, label_images, raw = _wide_table(labels, "label")
    columns = _order("class", labels, label_names, path, names)
    rows = _order("image", labels, label_images, path, images)
    return Content(kind, values, raw[np.ix_(rows, columns)], names, images)


def _wide_table(path: Path, what: str) -> Table:
    """Class names, images and numbers of a table with one row an image."""
    header = next(_rows(path), (1, []))[1]
    if not header or header[0] != "image":
        raise BadPredictions(
            f"{path} must begin with the column image, but its header is {','.join(header)!r}."
        )
    images, numbers = [], array("d")
    for line, row in _body(path, header):
        images.append(row[0])
        numbers.extend(_number(path, line, what, cell) for cell in row[1:])
    if not images:
        raise BadPredictions(f"{path} must have rows below its header, but has none.")
    return tuple(header[1:]), tuple(images), np.array(numbers).reshape(len(images), -1)


def _order(
    what: str, path: Path, names: tuple[str, ...], other: Path, wanted: tuple[str, ...]
) -> list[int]:
    """Where each wanted name stands; both files must have the same ones, each once."""
    place = {name: i for i, name in enumerate(names)}
    strange = [name for name in wanted if name not in place] + sorted(set(names) - set(wanted))
    if strange or len(place) < len(names):
        odd = strange[0] if strange else next(n for n in names if names.count(n) > 1)
        raise BadPredictions(
            f"{path} and {other} must hold each {what} once and the same ones, "
            f"but {odd!r} {'is in one alone' if strange else 'comes twice'}."
        )
    return [place[name] for name in wanted]
