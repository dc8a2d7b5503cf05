"""Tables of text: ``.csv`` and ``.tsv``, UTF-8, with a header, in one of three forms.

    image,labels[,negatives][,split][,caption]      one row an image, names in a list
    image,CLASS,CLASS,…[,split][,caption]           one row an image, a cell a class (one-hot)
    image,label[,value][,split]                     one row a pair; an image may have many

- The image column may be called ``file_name`` or ``path`` too. Further columns are ignored where
  names are listed; in the one-hot form every other column is a class.
- The delimiter of a .csv file is a comma, semicolon or tab, as its header shows; of .tsv, a tab.
- A list of names is separated by ``;`` or ``|``, or is a JSON list; empty when there is none.
- Cells and values: 1 and true are present, 0 and false absent; −1 and an empty cell are not said,
  so the user must declare them: elsewhere −1 means absent (CelebA, VOC) as well as uncertain
  (CheXpert). 1.0 is 1, and so is 1,0 where commas separate no columns.
- In the form of pairs an image without a class has one row with an empty ``label``.

Out: ``Listing``.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from ccr_diag.data.listing import Listing, Row
from ccr_diag.data.manifests.fields import (
    IMAGE,
    OPTIONAL,
    image_field,
    names_in_text,
    rename,
    require_no_near_name,
)
from ccr_diag.data.unlisted import Says
from ccr_diag.errors import BadData

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
NO, YES, MINUS, EMPTY = range(4)
CELLS = {"0": NO, "0.0": NO, "1": YES, "1.0": YES, "+1": YES, "-1": MINUS, "-1.0": MINUS, "": EMPTY}
CELLS |= {word: NO for word in ("False", "FALSE", "false")}
CELLS |= {word: YES for word in ("True", "TRUE", "true")}
UNSAID = {MINUS, EMPTY}
TOO_MANY_MEANINGS = "has cells of 0 and of -1, which cannot both be absent"
FIELD_BYTES = 2**24  # of a caption or a list; the default of the standard library is 2**17


class Table(NamedTuple):
    """A file that is being read.

    Args:
        path: the file.
        delimiter: what separates its fields.
        header: names of its columns.
        image: which of them holds the image.
        rows: line and fields of each row, as many as columns.
    """

    path: Path
    delimiter: str
    header: list[str]
    image: str
    rows: Iterator[tuple[int, list[str]]]

    def of(self, column: str) -> int | None:
        """Place of a column, if it is there."""
        return self.header.index(column) if column in self.header else None


def read_table(path: Path) -> Listing:
    """The rows of a .csv or .tsv file.

    Raises:
        BadData: it breaks a rule of this module.
    """
    csv.field_size_limit(FIELD_BYTES)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline(FIELD_BYTES)
            delimiter = _delimiter(path, first)
            file.seek(0)
            rows = _fields(path, delimiter, file)
            header = [name.strip() for name in next(rows, (1, []))[1]]
            image = _image_column(path, header, delimiter)
            listing = _read(
                Table(path, delimiter, header, image, _rows(path, delimiter, header, image, rows))
            )
    except OSError as e:
        raise BadData(f"A manifest must be a readable file, but {path}: {e.strerror}.") from e
    except UnicodeDecodeError as e:
        raise BadData(f"A manifest must be UTF-8 text, but {path} is not; save it as UTF-8.") from e
    if not listing.rows:
        raise BadData(f"{path} needs at least one row below its header, but has none.")
    return listing


def _delimiter(path: Path, line: str) -> str:
    """What separates the fields, by the header alone."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    fits = [d for d in DELIMITERS if set(IMAGE) & set(_split(line, d)) and d in line]
    if len(fits) > 1:
        raise BadData(
            f"{path} must separate its columns in one way, but its header reads as separated by "
            f"{' and by '.join(DELIMITERS[d] for d in fits)}: {line.strip()}; rename a column."
        )
    return fits[0] if fits else ","


def _split(line: str, delimiter: str) -> list[str]:
    try:
        return [name.strip() for row in csv.reader([line], delimiter=delimiter) for name in row]
    except csv.Error:  # which reading the header will tell
        return []


def _fields(path: Path, delimiter: str, file: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """The fields of each row, the header first, and the line that it begins on."""
    reader = csv.reader(_text(path, file), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as e:
            raise BadData(
                f"{path} line {line} must hold fields separated by {DELIMITERS[delimiter]}, but "
                f"does not ({e}); put double quotes around a field that holds a double quote, and "
                "write that twice."
            ) from e
        yield line, fields


def _text(path: Path, file: Iterable[str]) -> Iterator[str]:
    """The lines, which hold no NUL: that is no text, but another encoding."""
    for at, line in enumerate(file, start=1):
        if "\0" in line:
            raise BadData(f"{path} line {at} must be UTF-8 text, but holds NUL; save it as UTF-8.")
        yield line


def _image_column(path: Path, header: list[str], delimiter: str) -> str:
    """The image column, in a header that is none other's."""
    if not header:
        raise BadData(
            f"{path} needs a header with columns image and labels on line 1, but that is empty."
        )
    image = image_field(path, header)
    if image is None:
        raise _lacks(path, header, delimiter, "image")
    for name in header:
        if header.count(name) > 1:
            raise BadData(f"{path} needs each column once, but {name!r} is there twice; drop one.")
    return image


def _lacks(path: Path, header: list[str], delimiter: str, column: str) -> BadData:
    """The error about a column that is not there."""
    return BadData(
        f"{path} needs columns image and labels, separated by {DELIMITERS[delimiter]}, but "
        f"{column!r} is not in its header: {', '.join(header)}{_rename(column, header)}."
    )


def _rename(column: str, header: list[str]) -> str:
    hint = rename(column, header)
    return f"{hint} and separate its names by ';'" if hint and column == "labels" else hint


def _rows(
    path: Path,
    delimiter: str,
    header: list[str],
    image_column: str,
    rows: Iterator[tuple[int, list[str]]],
) -> Iterator[tuple[int, list[str]]]:
    """Line and fields of each row that is not blank."""
    image = header.index(image_column)
    for line, fields in rows:
        if not fields:
            continue
        if len(fields) != len(header):
            more = "more" if len(fields) > len(header) else "fewer"
            raise BadData(
                f"{path} line {line} must have as many fields as the header, but has {more}; put "
                f"double quotes around a field that holds a {DELIMITERS[delimiter][:-1]}."
            )
        fields[image] = fields[image].strip()
        if not fields[image]:
            raise BadData(
                f"{path} line {line} needs a value in column {header[image]!r}, but it is empty."
            )
        yield line, fields


def _read(table: Table) -> Listing:
    """The rows in whichever form the header shows."""
    if "labels" in table.header:
        require_no_near_name(table.path, table.header)
        return _listed(table)
    if "label" in table.header:
        return _pairs(table)
    return _one_hot(table)


def _listed(table: Table) -> Listing:
    """One row an image, with lists of names."""
    image, labels = table.of(table.image), table.of("labels")
    negatives, split, caption = (table.of(c) for c in ("negatives", "split", "caption"))
    read: dict[str, tuple[str, ...]] = {"": ()}  # lists that were met before

    def names(line: int, column: str, text: str) -> tuple[str, ...]:
        if text not in read:
            read[text] = names_in_text(f"{table.path} line {line}", column, text)
        return read[text]

    rows = [
        Row(
            line,
            fields[image or 0],
            names(line, "labels", fields[labels or 0]),
            () if negatives is None else names(line, "negatives", fields[negatives]),
            (),
            _split_of(table, line, fields, split),
            None if caption is None else fields[caption],
        )
        for line, fields in _stripped(table)
    ]
    says: Says = "" if negatives is None else "unknown"
    return Listing(table.path, rows, says=says, splits_by="a column 'split'")


def _stripped(table: Table) -> Iterator[tuple[int, list[str]]]:
    """Line and fields of each row, without blanks around them."""
    return ((line, [field.strip() for field in fields]) for line, fields in table.rows)


def _split_of(table: Table, line: int, fields: Sequence[str], column: int | None) -> str:
    if column is None:
        return ""
    split = fields[column].strip()
    if not split:
        raise BadData(f"{table.path} line {line} needs a value in column 'split', but it is empty.")
    return split


def _one_hot(table: Table) -> Listing:
    """One row an image, with a cell a class."""
    image, split, caption = (table.of(c) for c in (table.image, "split", "caption"))
    places = [i for i, name in enumerate(table.header) if name not in (table.image, *OPTIONAL)]
    if not places or "negatives" in table.header:
        raise _lacks(table.path, table.header, table.delimiter, "labels")
    names = tuple(table.header[i] for i in places)
    if "" in names:
        raise BadData(
            f"{table.path} must name each class in its header, but column "
            f"{places[names.index('')] + 1} has no name; take it out, or name it."
        )
    cells_of = itemgetter(*places, places[0])  # one more, as one alone would come bare
    yes, unsaid = (bytes(code in those for code in range(256)) for those in ({YES}, UNSAID))
    rows, met = list[Row](), set[int]()
    for line, fields in table.rows:
        cells = cells_of(fields)[:-1]
        try:
            codes = bytes(map(CELLS.__getitem__, cells))
        except KeyError:
            codes = bytes(_code(table, line, *named) for named in zip(names, cells, strict=True))
        met.update(codes)
        rows.append(
            Row(
                line,
                fields[image or 0],
                tuple(compress(names, codes.translate(yes))),
                (),
                tuple(compress(names, codes.translate(unsaid))) if max(codes) > YES else (),
                _split_of(table, line, fields, split),
                None if caption is None else fields[caption].strip(),
            )
        )
    return Listing(
        table.path,
        rows,
        class_names=names,
        cells=True,
        not_negative=TOO_MANY_MEANINGS if {NO, MINUS} <= met else "",
        unlisted_are=_unlisted_are(met),
        splits_by="a column 'split'",
    )


def _code(table: Table, line: int, name: str, cell: str) -> int:
    """What a cell of a class says."""
    code = _plain_code(table, cell)
    if code is None:
        hint = _rename("labels", table.header) or "; take out columns that are no class"
        raise BadData(
            f"{table.path} needs columns image and labels, or a column of 1, 0, -1 or nothing for "
            f"each class, but line {line} holds {cell!r} in {name!r}{hint}."
        )
    return code


def _plain_code(table: Table, cell: str) -> int | None:
    """What a cell says, with blanks around it or a decimal comma; None where it is no cell."""
    cell = cell.strip()
    return CELLS.get(cell if table.delimiter == "," else cell.replace(",", "."))


def _unlisted_are(met: set[int]) -> str:
    """How an error calls cells that say neither present nor absent."""
    kinds = ["-1"] * (MINUS in met) + ["an empty cell"] * (EMPTY in met)
    return f"where {' and '.join(kinds)} stand{'s' * (len(kinds) == 1)} for it" if kinds else ""


def _pairs(table: Table) -> Listing:
    """One row a pair of image and class."""
    _require_pairs_alone(table)
    image, label = table.of(table.image) or 0, table.of("label") or 0
    value, split = table.of("value"), table.of("split")
    images: dict[str, Row] = {}
    met = set[int]()
    for line, fields in _stripped(table):
        name, cell = fields[label], "1" if value is None else fields[value]
        if ";" in name or "|" in name:
            raise BadData(
                f"{table.path} line {line} must hold one name in column 'label', but holds "
                f"{name!r}; call the column 'labels' and put one image in a row."
            )
        code = _plain_code(table, cell)
        if name and code is None:
            raise BadData(
                f"{table.path} line {line} must hold 1, 0, -1 or nothing in column 'value', but "
                f"holds {cell!r}."
            )
        part = _split_of(table, line, fields, split)
        row = images.setdefault(fields[image], Row(line, fields[image], split=part))
        if row.split != part:
            raise BadData(
                f"{table.path} must put an image in one split, but {row.image!r} is in "
                f"{row.split!r} on line {row.at} and in {part!r} on line {line}."
            )
        if name and code is not None:
            met.add(code)
            images[row.image] = _with(row, code, name)
    rows = list(images.values())
    if met & UNSAID and NO not in met:
        # Nobody says what −1 and nothing mean here: they are not listed, like pairs without a row.
        names = {name for row in rows for name in row.labels + row.unknown}
        return Listing(
            table.path,
            [row._replace(unknown=()) for row in rows],
            class_names=tuple(sorted(names)),
            unlisted_are=_unlisted_are(met),
            splits_by="a column 'split'",
        )
    return Listing(
        table.path,
        rows,
        says="unknown" if NO in met else "",
        splits_by="a column 'split'",
    )


def _require_pairs_alone(table: Table) -> None:
    """No column says something of labels that pairs would not read."""
    pairs = f"{table.path} has a row a pair of image and label, where"
    for column in ("negatives", "caption"):
        if column in table.header:
            raise BadData(
                f"{pairs} {column!r} has no place; call 'label' 'labels' and put one image in a "
                f"row, or take {column!r} out."
            )
    require_no_near_name(table.path, table.header)
    hint = rename("value", table.header)
    if hint and "value" not in table.header:
        raise BadData(f"{pairs} only 'value' says that a class is absent{hint}, or take it out.")


def _with(row: Row, code: int, name: str) -> Row:
    """The row of an image with one more pair."""
    if code == YES:
        return row._replace(labels=(*row.labels, name))
    if code == NO:
        return row._replace(negatives=(*row.negatives, name))
    return row._replace(unknown=(*row.unknown, name))
