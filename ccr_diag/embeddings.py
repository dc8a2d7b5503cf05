"""Plain embeddings files in, rows of named classes out; nothing in a file is ever executed.

A file is an ``.npz`` with ``embeddings`` (rows, dim) and, if known, ``class_names``; or an ``.npy``
with the rows alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ccr_diag.arrays import Embeddings
from ccr_diag.errors import BadData
from ccr_diag.npy import Archive, open_npy

EMBEDDINGS, CLASS_NAMES = "embeddings", "class_names"
HOW_TO_SAVE = "numpy.savez(FILE, embeddings=rows, class_names=names)"


@dataclass(frozen=True, eq=False)
class EmbeddingsFile:
    """What a file held.

    Args:
        path: the file.
        rows: embeddings in the file's own float type.
        class_names: one per row, unique; None where the file has none.
        key: the array that was read; None of an ``.npy``.
    """

    path: Path
    rows: Embeddings
    class_names: tuple[str, ...] | None
    key: str | None


def read_embeddings(path: Path) -> EmbeddingsFile:
    """Read rows and, if the file has them, names.

    An ``.npz`` without ``embeddings`` may hold one other array of floats with two axes.

    Raises:
        BadData: the file is missing, damaged, pickled, ambiguous, or its rows or names are wrong.
    """
    if not path.is_file():
        raise BadData(f"There is no embeddings file at {path}; check the path.")
    if path.suffix not in (".npz", ".npy"):
        raise BadData(
            f"Embeddings must be an .npz or .npy file, but got {path}; save them with "
            f"{HOW_TO_SAVE}."
        )
    return _read_npz(path) if path.suffix == ".npz" else _read_npy(path)


def _read_npy(path: Path) -> EmbeddingsFile:
    return EmbeddingsFile(path, _rows(path, "the array", open_npy(path, mmap=False)), None, None)


def _read_npz(path: Path) -> EmbeddingsFile:
    archive = Archive(path)
    key = _embeddings_key(archive)
    rows = _rows(path, repr(key), archive.read(key))
    if CLASS_NAMES not in archive:
        return EmbeddingsFile(path, rows, None, key)
    names = archive.read(CLASS_NAMES)
    if names.dtype.kind != "U" or names.ndim != 1:
        raise BadData(
            f"'class_names' in {path} must be a text array of one axis, but is {names.dtype} of "
            f"shape {names.shape}."
        )
    return EmbeddingsFile(path, rows, _one_per_row(names.tolist(), rows, str(path)), key)


def _embeddings_key(archive: Archive) -> str:
    """``embeddings``, or the one array that may be meant."""
    if EMBEDDINGS in archive:
        return EMBEDDINGS
    shapes = {key: archive.header(key) for key in archive.keys}
    near = [
        k for k, header in shapes.items() if len(header.shape) == 2 and header.dtype.kind == "f"
    ]
    if len(near) != 1:
        raise BadData(
            f"{archive.path} must hold 'embeddings', or one array of floats with two axes, but "
            f"holds {', '.join(map(repr, archive.keys)) or 'nothing'}; name the array 'embeddings'."
        )
    return near[0]


def _rows(path: Path, what: str, array: np.ndarray) -> Embeddings:
    if array.dtype.kind != "f" or array.ndim != 2 or not array.size:
        raise BadData(
            f"Embeddings must be floats of shape (rows, dim), neither 0, but {what} in {path} is "
            f"{array.dtype} of shape {array.shape}."
        )
    wrong = np.flatnonzero(~np.isfinite(array).all(axis=1) | ~array.any(axis=1))
    if wrong.size:
        raise BadData(
            f"An embedding must be finite and not zero, but {wrong.size} of {len(array)} rows in "
            f"{path} are not, first row {wrong[0]} (counted from 0)."
        )
    return array


def read_class_names(path: Path) -> tuple[str, ...]:
    """One name a line, in UTF-8.

    Raises:
        BadData: the file is missing, no text, empty, or a name is blank or comes twice.
    """
    if not path.is_file():
        raise BadData(f"There is no file of class names at {path}; check the path.")
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().split("\n")
    except UnicodeDecodeError as error:
        raise BadData(f"Class names must be UTF-8 text, but {path} is not; convert it.") from error
    return _unique([line.strip() for line in lines], str(path))


def _unique(names: Sequence[str], where: str) -> tuple[str, ...]:
    seen: set[str] = set()
    for number, name in enumerate(names, start=1):
        if not name.strip():
            raise BadData(f"Every class needs a name, but number {number} in {where} is blank.")
        if name in seen:
            raise BadData(
                f"Class names must be unique, but {name!r} comes twice in {where}; rename one."
            )
        seen.add(name)
    return tuple(names)


def _one_per_row(names: Sequence[str], rows: Embeddings, where: str) -> tuple[str, ...]:
    if len(names) != len(rows):
        raise BadData(
            f"Each row needs one class name, but got {len(names)} names for the {len(rows)} rows "
            f"of {where}."
        )
    return _unique(names, where)


def align(
    zero_shot: EmbeddingsFile, tuned: EmbeddingsFile, class_names: Sequence[str] | None = None
) -> tuple[EmbeddingsFile, EmbeddingsFile]:
    """Both files with names, and the tuned rows in the order of the zero-shot ones.

    Rows without names take those of the other file, or else numbers from 0: their order is then
    taken to be the same.

    Args:
        zero_shot: before tuning.
        tuned: after tuning.
        class_names: for files that have none.

    Raises:
        BadData: the files hold different classes, or the number of names or rows differs.
    """
    if class_names is not None and zero_shot.class_names and tuned.class_names:
        raise BadData("Class names are only for files without any, but both have some; leave out.")
    names = class_names or zero_shot.class_names or tuned.class_names
    if names is None:
        if len(zero_shot.rows) != len(tuned.rows):
            raise BadData(
                "Both files must hold the same classes, but there are "
                f"{len(zero_shot.rows)} rows in {zero_shot.path} and {len(tuned.rows)} in "
                f"{tuned.path}."
            )
        names = tuple(map(str, range(len(zero_shot.rows))))
    zero_shot, tuned = (
        file
        if file.class_names
        else replace(file, class_names=_one_per_row(names, file.rows, str(file.path)))
        for file in (zero_shot, tuned)
    )
    return zero_shot, _reordered(tuned, zero_shot)


def _reordered(file: EmbeddingsFile, like: EmbeddingsFile) -> EmbeddingsFile:
    wanted, held = like.class_names or (), file.class_names or ()
    index = {name: i for i, name in enumerate(held)}
    for names, other, has, lacks in (
        (wanted, set(held), like, file),
        (held, set(wanted), file, like),
    ):
        for name in names:
            if name not in other:
                raise BadData(
                    f"Both files must hold the same classes, but {name!r} is in {has.path} and "
                    f"not in {lacks.path}."
                )
    return replace(file, rows=file.rows[[index[name] for name in wanted]], class_names=wanted)
