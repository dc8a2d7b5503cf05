"""``.npz`` files of others, and pairs of ``.npy`` files; see the table in ``readers``."""

from pathlib import Path

import numpy as np

from ccr_diag.errors import BadConfig, BadPredictions
from ccr_diag.npy import Archive, open_npy
from ccr_diag.predictions import KINDS, OPTIONAL
from ccr_diag.readers.content import Content, Declared, choose_array, require_kind
from ccr_diag.readers.conversion import as_texts


def read_npz(
    path: Path, declared: Declared, labels: Path | None, names: tuple[str, ...] | None, mmap: bool
) -> Content:
    """The arrays of an archive.

    Raises:
        BadPredictions: it is damaged, or has no labels.
        BadConfig: the kind, the labels or the class names are declared twice, or not at all.
    """
    archive = Archive(path)
    kinds: dict[str, str | None] = {kind: kind for kind in KINDS}
    key, kind = choose_array(path, archive.keys, kinds, declared.kind)
    array = archive.map if mmap else archive.read
    _refuse_twice(path, "labels", "labels" in archive, labels is not None)
    _refuse_twice(path, "class names", "class_names" in archive, names is not None)
    if labels is None and "labels" not in archive:
        raise BadPredictions(f"{path} lacks labels; add that array, or name a file by --labels.")
    texts = {
        text: as_texts(text, archive.read(text))
        for text in ("class_names", "image_ids", "groups")
        if text in archive
    }
    return Content(
        kind,
        array(key),
        array("labels") if labels is None else read_labels(labels, mmap),
        texts.get("class_names", names),
        texts.get("image_ids", ()),
        texts.get("groups", ()),
        {column: archive.read(column) for column in OPTIONAL if column in archive},
    )


def _refuse_twice(path: Path, what: str, inside: bool, declared: bool) -> None:
    if inside and declared:
        raise BadConfig(f"{path} holds its own {what}; leave --{what.replace(' ', '-')} out.")


def read_npy_pair(
    path: Path, declared: Declared, labels: Path | None, names: tuple[str, ...] | None, mmap: bool
) -> Content:
    """Values in one file and labels in another.

    Raises:
        BadPredictions: a file is missing or damaged.
        BadConfig: the kind or the labels are not declared.
    """
    kind = require_kind(path, declared.kind)
    if labels is None:
        raise BadConfig(f"{path} holds values alone; name the file of their labels by --labels.")
    return Content(kind, open_npy(path, mmap), read_labels(labels, mmap), names)


def read_labels(path: Path, mmap: bool) -> np.ndarray:
    """Labels that stand in a file of their own.

    Raises:
        BadPredictions: it is missing, damaged, or no ``.npy``.
    """
    if path.suffix.lower() != ".npy":
        raise BadPredictions(f"Labels of their own must be an .npy file here, but got {path}.")
    return open_npy(path, mmap)
