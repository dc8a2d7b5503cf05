"""``.parquet`` manifests, read in batches and written; this needs pyarrow.

Columns: ``image`` (or ``file_name``, ``path``), ``labels``, and ``negatives``, ``split`` and
``caption`` if there are any; further ones are ignored. ``labels`` is

- a list of names (plain or dictionary-encoded), or of class numbers from 0, or
- a list of one number a class, of type int8: 1 present, 0 absent, −1 not said.

The metadata of the schema may say, under the key ``ccr-diag``, as JSON:

    {"class_names": [name, …],              the classes in order
     "class_ids": [id, …] or null,          the keys of their source
     "new": [name, …],                      those never labelled in tuning
     "unlisted": "negative" or "unknown"}   what a class means that a row does not list

With it a column ``id`` is read too: what lists of examples call an image, where that is not its
path. Without it the names are those that are listed, which numbers do not allow; and ``unlisted``
is as in every manifest: unknown where there are ``negatives``, else the user's to declare. What
``write_parquet`` writes has names and this metadata, so that reading it gives the same data set:
negatives are listed only where some label is unknown. Out: ``Listing``.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from ccr_diag.arrays import ABSENT, PRESENT, UNKNOWN
from ccr_diag.data.listing import Listing, Row
from ccr_diag.data.manifests.fields import (
    OPTIONAL,
    image_and_labels,
    require_no_cells,
    require_no_near_name,
    shown,
)
from ccr_diag.data.unlisted import Says
from ccr_diag.errors import BadData, MissingExtra
from ccr_diag.runs import write_atomically

KEY = b"ccr-diag"
BATCH = 2**16
TOO_MANY_MEANINGS = "has labels of 0 and of -1, which cannot both be absent"
MINUS_IS = "where -1 stands for it"

Arrow = Any  # a table, column or type of pyarrow, which has no types of its own


@dataclass(frozen=True)
class Stated:
    """What the metadata of a file say.

    Args:
        class_names: the classes in order; None where they are not said.
        class_ids: their keys in the source.
        new: classes that are never labelled in tuning.
        unlisted: what an unlisted class means; empty where that is not said.
    """

    class_names: tuple[str, ...] | None = None
    class_ids: tuple[str, ...] | None = None
    new: frozenset[str] = frozenset()
    unlisted: Says = ""


def read_parquet(path: Path) -> Listing:
    """The rows of a .parquet file.

    Raises:
        BadData: it is damaged, or breaks a rule of this module.
        MissingExtra: pyarrow is not installed.
    """
    pa = require_pyarrow(path, "Reading")
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            return _read(path, file)
    except (pa.ArrowException, OSError, MemoryError, UnicodeDecodeError) as e:
        text = " ".join(str(e).split())
        raise BadData(f"{path} must be a whole Parquet file, but is damaged ({text}).") from e


def require_pyarrow(path: Path, doing: str) -> Arrow:
    """The package, which is needed for doing something with a file.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import pyarrow
    except ImportError as e:
        raise MissingExtra(
            f"{doing} {path} needs pyarrow, which is not installed; "
            'run pip install "ccr-diag[parquet]", or use a .csv or .jsonl manifest.'
        ) from e
    return pyarrow


def _read(path: Path, file: Arrow) -> Listing:
    schema = file.schema_arrow
    image = image_and_labels(path, schema.names)
    require_no_near_name(path, schema.names)
    for name in (image, "labels", *OPTIONAL):
        if schema.names.count(name) > 1:
            raise BadData(f"{path} needs each column once, but has {name!r} twice; drop one.")
    stated = _stated(path, schema.metadata or {})
    read = ("negatives", "split", "caption", *(["id"] if stated.class_names else []))
    optional = [name for name in read if name in schema.names and name != image]
    batches = file.iter_batches(BATCH, columns=[image, "labels", *optional])
    rows: list[Row] = []
    cells = _is_cells(schema.field("labels").type)
    met = set[int]()
    for batch in batches:
        columns = {name: batch.column(name) for name in batch.schema.names}
        if cells:
            labels, unknown = _named_cells(path, columns["labels"], stated, len(rows), met)
        else:
            labels = list(_lists(path, "labels", columns["labels"], stated, len(rows)))
            unknown = [()] * len(labels)
        negatives: Any = [()] * len(labels)
        if "negatives" in columns:
            column = columns["negatives"]
            negatives = list(_lists(path, "negatives", column, stated, len(rows)))
        images = _texts(path, image, columns[image], len(rows))
        splits: Any = [""] * len(labels)
        if "split" in columns:
            splits = _texts(path, "split", columns["split"], len(rows))
        captions: Any = [None] * len(labels)
        if "caption" in columns:
            captions = [text or "" for text in _as_text(path, "caption", columns["caption"])]
        ids: Any = [""] * len(labels)
        if "id" in columns:
            ids = _texts(path, "id", columns["id"], len(rows))
        at = range(len(rows) + 1, len(rows) + len(labels) + 1)
        fields = zip(at, images, labels, negatives, unknown, splits, captions, ids, strict=True)
        rows += map(Row._make, fields)
    if not rows:
        raise BadData(f"{path} must have rows, but has none.")
    return Listing(
        path,
        rows,
        "row",
        stated.unlisted or ("unknown" if "negatives" in optional else ""),
        stated.class_names,
        stated.class_ids,
        stated.new,
        cells,
        TOO_MANY_MEANINGS if {ABSENT, UNKNOWN} <= met and not stated.unlisted else "",
        MINUS_IS if cells else "",
        "a column 'split'",
    )


def _stated(path: Path, metadata: Mapping[bytes, bytes]) -> Stated:
    """What the metadata say, checked."""
    if KEY not in metadata:
        return Stated()
    try:
        said = json.loads(metadata[KEY])
    except (ValueError, RecursionError) as e:
        raise BadData(f"{path} must hold JSON in its metadata ccr-diag, but does not ({e}).") from e
    match said:
        case {
            "class_names": [*names],
            "class_ids": None | [*_] as ids,
            "new": [*new],
            "unlisted": "negative" | "unknown" | "" as unlisted,
        }:
            if all(isinstance(text, str) for text in (*names, *(ids or []))) and all(
                name in names for name in new
            ):
                return Stated(
                    tuple(names), None if ids is None else tuple(ids), frozenset(new), unlisted
                )
    raise BadData(
        f"{path} must hold class_names, class_ids, new and unlisted in its metadata ccr-diag, but "
        f"holds {shown(said)}; write it again."
    )


def _is_cells(kind: Arrow) -> bool:
    """Whether labels are one int8 a class."""
    import pyarrow.types as types

    is_list = types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind)
    return bool(is_list and types.is_int8(kind.value_type))


def _flat(path: Path, name: str, column: Arrow, before: int) -> tuple[Arrow, Any]:
    """The values of all lists of a column, and how many each list has."""
    import pyarrow.compute as pc
    import pyarrow.types as types

    kind = column.type
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    inner = kind.value_type if is_list else kind
    inner = inner.value_type if types.is_dictionary(inner) else inner
    readable = (types.is_string, types.is_large_string, types.is_integer, types.is_null)
    if not is_list or not any(fits(inner) for fits in readable):
        raise BadData(
            f"{path} must hold a list of names or of class numbers in column {name!r}, but it is "
            f"of type {kind}; write names as a list of text."
        )
    if column.null_count:
        at = before + column.is_null().to_pylist().index(True) + 1
        raise BadData(
            f"{path} row {at} must hold a list in column {name!r}, but holds nothing; write an "
            "empty list where there is no class, or take the row out."
        )
    return column.flatten(), pc.list_value_length(column).to_numpy(zero_copy_only=False)


def _lists(
    path: Path, name: str, column: Arrow, stated: Stated, before: int
) -> Iterator[tuple[str, ...]]:
    """The class names of each row."""
    import pyarrow.types as types

    flat, lengths = _flat(path, name, column, before)
    ends = np.cumsum(lengths)
    encoded = flat if types.is_dictionary(flat.type) else flat.dictionary_encode()
    values = encoded.dictionary.to_pylist()
    codes = encoded.indices.fill_null(-1).to_pylist()
    names = [_class_name(value, stated) for value in values] + [None]
    if None in (names[:-1] if -1 not in codes else names):
        for i, code in enumerate(codes):
            if names[code] is None:
                at = before + int(np.searchsorted(ends, i, side="right")) + 1
                raise BadData(_no_class(path, at, name, None if code < 0 else values[code], stated))
    flat_names: list[Any] = [names[code] for code in codes]
    slices = [slice(*ends) for ends in zip((ends - lengths).tolist(), ends.tolist(), strict=True)]
    if stated.class_names and types.is_integer(encoded.dictionary.type):
        for at, one in enumerate(slices, start=before + 1):
            numbers = [values[code] for code in codes[one]]
            require_no_cells(f"{path} row {at}", numbers, len(stated.class_names))
    return (tuple(flat_names[one]) for one in slices)


def _class_name(value: object, stated: Stated) -> str | None:
    """The name that a text or a number means, None where it means none."""
    if isinstance(value, str):
        return value if value in (stated.class_names or ()) else value.strip() or None
    if isinstance(value, int) and stated.class_names is not None:
        return stated.class_names[value] if 0 <= value < len(stated.class_names) else None
    return None


def _no_class(path: Path, at: int, name: str, value: object, stated: Stated) -> str:
    """The error about an entry of a list that is no class."""
    where = f"{path} row {at}"
    if isinstance(value, int):
        names = stated.class_names
        why = (
            f"the metadata ccr-diag name {len(names)} classes"
            if names
            else "there are no class_names in the metadata ccr-diag; write names as text"
        )
        return f"{where} must number a class in column {name!r}, but has {value}, and {why}."
    return f"{where} must hold class names in column {name!r}, but has {shown(value)}; fill it in."


def _named_cells(
    path: Path, column: Arrow, stated: Stated, before: int, met: set[int]
) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """The classes of each row that are present, and those not said."""
    names = stated.class_names
    if names is None:
        raise BadData(
            f"{path} holds a number a class in column 'labels', so its metadata ccr-diag must hold "
            "class_names, but do not; write lists of names instead."
        )
    flat, lengths = _flat(path, "labels", column, before)
    if (lengths != len(names)).any():
        at = int(np.flatnonzero(lengths != len(names))[0])
        raise BadData(
            f"{path} row {before + at + 1} must hold one number for each of the {len(names)} "
            f"classes, but holds {lengths[at]}."
        )
    values = flat.fill_null(UNKNOWN).to_numpy(zero_copy_only=False).reshape(-1, len(names))
    met.update(np.unique(values).tolist())
    strange = met - {PRESENT, ABSENT, UNKNOWN}
    if strange:
        at = int(np.flatnonzero((values == min(strange)).any(1))[0])
        raise BadData(
            f"{path} row {before + at + 1} must hold 1, 0 or -1 for each class, but holds "
            f"{min(strange)}."
        )
    return _names_where(values == PRESENT, names), _names_where(values == UNKNOWN, names)


def _names_where(
    mask: Bool[np.ndarray, "rows classes"], names: Sequence[str]
) -> list[tuple[str, ...]]:
    """The names of the columns that are marked in each row."""
    flat: list[str] = np.array(names, dtype=object)[np.nonzero(mask)[1]].tolist()
    ends = np.cumsum(mask.sum(1)).tolist()
    return [tuple(flat[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


def _texts(path: Path, name: str, column: Arrow, before: int) -> list[str]:
    """A column of texts, none of which is empty."""
    texts = [text or "" for text in _as_text(path, name, column)]
    for i, text in enumerate(texts):
        if not text:
            raise BadData(
                f"{path} row {before + i + 1} needs a value in column {name!r}, but it is empty."
            )
    return texts


def _as_text(path: Path, name: str, column: Arrow) -> list[str | None]:
    import pyarrow.types as types

    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    if not (types.is_string(kind) or types.is_large_string(kind) or types.is_null(kind)):
        raise BadData(
            f"{path} must hold text in column {name!r}, but it is of type {kind}"
            f"{'; a data set of Hugging Face is read as hf:DIR.' * types.is_struct(kind) or '.'}"
        )
    return column.to_pylist()  # type: ignore[no-any-return]


def write_parquet(path: Path, rows: Sequence[Row], stated: Stated) -> None:
    """Write rows, whole or not at all.

    Args:
        path: the file.
        rows: one an image; their negatives matter only where unlisted classes are unknown.
        stated: what the metadata say.

    Raises:
        MissingExtra: pyarrow is not installed.
        NoSpace: the disk is full.
    """
    pa = require_pyarrow(path, "Writing")
    from pyarrow import parquet

    names = pa.list_(pa.string())
    columns: dict[str, tuple[Arrow, Sequence[object]]] = {}
    columns["image"] = (pa.string(), [row.image for row in rows])
    columns["labels"] = (names, [row.labels for row in rows])
    if stated.unlisted == "unknown":
        columns["negatives"] = (names, [row.negatives for row in rows])
    if any(row.split for row in rows):
        columns["split"] = (pa.string(), [row.split for row in rows])
    if any(row.id not in ("", row.image) for row in rows):
        columns["id"] = (pa.string(), [row.id or row.image for row in rows])
    if any(row.caption is not None for row in rows):
        columns["caption"] = (pa.string(), [row.caption or "" for row in rows])
    said = {
        "class_names": stated.class_names,
        "class_ids": stated.class_ids,
        "new": [name for name in stated.class_names or () if name in stated.new],
        "unlisted": stated.unlisted,
    }
    schema = pa.schema(
        [(name, kind) for name, (kind, _) in columns.items()],
        metadata={KEY: json.dumps(said, ensure_ascii=False)},
    )
    table = pa.Table.from_pydict({name: values for name, (_, values) in columns.items()}, schema)
    write_atomically(path, lambda partial: parquet.write_table(table, partial))
