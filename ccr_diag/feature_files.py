"""Rows of features on disk, by the content that they are of: any request finds what one left.

    NAME.npy        the rows, one after the other, as numpy reads them
    NAME.digests    32 bytes that say what a row is, then 32 bytes a row, in the same order: SHA-256
                    of the content that it is of, each once

A row without its digest is not written yet, as digests come after their rows. So a file is whole
up to wherever its writer was stopped, and the next one goes on there; readers wait for nobody.
Each request writes to a file of its own name, which one process at a time does, under a lock.
A damaged file is as good as none.
"""

import hashlib
import logging
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from filelock import FileLock, Timeout
from jaxtyping import Bool, Float, Int
from numpy.lib import format as npy_format

from ccr_diag.errors import RunFailed
from ccr_diag.npy import DAMAGE
from ccr_diag.runs import write_atomically

logger = logging.getLogger(__name__)

DIGEST_BYTES = 32
ROWS_COPIED = 256  # at once
UNIT_SLACK = 0.01  # of the length of a vector; float16 moves it by less than a tenth of that
ORDERED = "-ordered"  # ends the name of a file that was put together from others

Digests = Sequence[bytes]
Rows = Float[np.ndarray, "rows *shape"]
Numbers = Int[np.ndarray, " rows"]


@dataclass(frozen=True, eq=False)
class FeatureFile:
    """What is whole of a file.

    Args:
        digests: one a row.
        values: the rows, read as they are asked for; changing them changes no file.
        start: bytes of the file before the first row.
    """

    digests: list[bytes]
    values: Rows
    start: int


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let no other process do the same until this one is done with it.

    Raises:
        RunFailed: the cache cannot be written.
    """
    lock = FileLock(path)
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.warning("Another process writes the same features; waiting until it is done.")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say where and what to do when the system refuses to write, which names no file itself.

    Raises:
        RunFailed: it does.
    """
    try:
        yield
    except OSError as error:
        raise RunFailed(
            f"Features must go to the cache, but {path} cannot be written ({error.strerror}); free "
            "some space or choose another CCR_DIAG_CACHE, and run the same command again: what is "
            "done is kept."
        ) from error


class FeatureFolder:
    """Files of rows of one kind.

    Args:
        folder: where they are.
        dtype: of their numbers, such as ``<f4``.
    """

    def __init__(self, folder: Path, dtype: str) -> None:
        self.folder, self.dtype = folder, np.dtype(dtype)

    def find(self, digests: Digests) -> Iterator[tuple[FeatureFile, Numbers, Numbers]]:
        """Files that hold rows of this content.

        Args:
            digests: the content asked for, each once.

        Yields:
            A file, positions among ``digests``, each at most once over all files, and the rows of
            the file that belong there.
        """
        wanted = {digest: i for i, digest in enumerate(digests)}
        for file in self._files():
            hits = [(wanted[d], row) for row, d in enumerate(file.digests) if d in wanted]
            if not hits:
                continue
            at, rows = np.array(hits).T
            if _is_written(file, rows):
                for row in rows.tolist():
                    del wanted[file.digests[row]]
                yield file, at, rows

    def gather(
        self, digests: Digests
    ) -> tuple[Float[np.ndarray, "rows ..."] | None, Bool[np.ndarray, " rows"]]:
        """The rows of this content, in this order, and which there are; None if there is none."""
        found, held = None, np.zeros(len(digests), dtype=bool)
        for file, at, rows in self.find(digests):
            if found is None:
                found = np.zeros((len(digests), *file.values.shape[1:]), dtype=self.dtype)
            if found.shape[1:] == file.values.shape[1:]:
                found[at] = file.values[rows]
                held[at] = True
        return found, held

    def holds(self, digests: Digests) -> Bool[np.ndarray, " rows"]:
        """Which of this content has a row."""
        held = np.zeros(len(digests), dtype=bool)
        for _, at, _ in self.find(digests):
            held[at] = True
        return held

    def in_order(self, digests: Digests) -> Rows | None:
        """The rows of the file that has just this content in just this order."""
        digests = list(digests)
        for file in self._files():
            if file.digests == digests and _is_written(file):
                return file.values
        return None

    def put_in_order(self, name: str, digests: Digests) -> Rows:
        """Copy rows that other files hold into one, in this order, and give them.

        Args:
            name: of the request, under its lock; a file of that name alone is then superfluous.
            digests: of rows that all are held.

        Raises:
            NoSpace: the disk is full.
            RunFailed: the disk has no room for them.
        """
        files: list[FeatureFile] = []
        source = np.zeros((len(digests), 2), dtype=np.int64)  # file, row
        for file, at, rows in self.find(digests):
            source[at, 0], source[at, 1] = len(files), rows
            files.append(file)
        shape = (len(digests), *files[0].values.shape[1:])
        path = self.folder / f"{name}{ORDERED}.npy"
        require_room(self.folder, shape, self.dtype)

        def write(partial: Path) -> None:
            with partial.open("wb") as out:
                _write_header(out, shape, self.dtype)
                for start in range(0, len(digests), ROWS_COPIED):
                    part = source[start : start + ROWS_COPIED].tolist()
                    out.write(np.stack([files[f].values[row] for f, row in part]).tobytes())

        _log_of(path).unlink(missing_ok=True)
        write_atomically(path, write)
        log = b"".join([_kind(shape[1:], self.dtype), *digests])
        write_atomically(_log_of(path), lambda partial: _write_bytes(partial, log))
        _discard(self.folder / f"{name}.npy")
        found = self.in_order(digests)
        assert found is not None
        return found

    @contextmanager
    def appending(self, name: str, n: int) -> Iterator[Callable[[Digests, Rows], None]]:
        """A function that appends rows to the file of a request, under its lock.

        Args:
            name: of the request.
            n: how many rows are to come, for which there must be room.

        Raises:
            RunFailed: the disk has no room for them, or cannot be written.
        """
        writer = _Writer(self.folder / f"{name}.npy", self.dtype, n)
        try:
            yield writer.append
        finally:
            writer.close()

    def _files(self) -> Iterator[FeatureFile]:
        for path in sorted(self.folder.glob("*.npy")):
            file = _read(path, self.dtype)
            if file is not None:
                yield file


class _Writer:
    """Appends rows to a file, which is opened when the first ones come and say their shape."""

    def __init__(self, path: Path, dtype: np.dtype[np.floating], n: int) -> None:
        self.path, self.dtype, self.n = path, dtype, n
        self.rows: IO[bytes] | None = None
        self.log: IO[bytes] | None = None
        self.shape: tuple[int, ...] = ()

    def append(self, digests: Digests, rows: Rows) -> None:
        """Write these rows, then their digests."""
        with _writing(self.path):
            if self.rows is None or self.log is None:
                self.rows, self.log = self._open(rows.shape[1:])
            self.rows.write(np.ascontiguousarray(rows, dtype=self.dtype).tobytes())
            self.rows.flush()
            self.log.write(b"".join(digests))
            self.log.flush()
        self.shape = (self.shape[0] + len(rows), *self.shape[1:])

    def close(self) -> None:
        """Let the header say how many rows there are."""
        if self.rows is not None and self.log is not None:
            with _writing(self.path):
                self.log.close()
                self.rows.close()
                with self.path.open("r+b") as file:
                    _write_header(file, self.shape, self.dtype)

    def _open(self, shape: tuple[int, ...]) -> tuple[IO[bytes], IO[bytes]]:
        """After what is whole, or at the beginning."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        require_room(self.path.parent, (self.n, *shape), self.dtype)
        file, log = _read(self.path, self.dtype), _log_of(self.path)
        if file is None or file.values.shape[1:] != shape or not _is_written(file):
            _discard(self.path)
            rows, digests = self.path.open("xb"), log.open("xb")
            self.shape = (0, *shape)
            _write_header(rows, self.shape, self.dtype)
            digests.write(_kind(shape, self.dtype))
            return rows, digests
        rows, digests = self.path.open("ab"), log.open("ab")
        self.shape = file.values.shape
        rows.truncate(file.start + math.prod(self.shape) * self.dtype.itemsize)
        digests.truncate((1 + len(file.digests)) * DIGEST_BYTES)
        return rows, digests


def require_room(folder: Path, shape: tuple[int, ...], dtype: np.dtype[np.floating]) -> None:
    """Say how much is to be written, and refuse what does not fit.

    Raises:
        RunFailed: less space than that is free.
    """
    needed, free = math.prod(shape) * dtype.itemsize, shutil.disk_usage(folder).free
    size = f"{' × '.join(map(str, shape))} {dtype.name} numbers, {needed / 2**20:.1f} MiB"
    logger.info("Features: %s, go to the cache in %s.", size, folder)
    if needed > free:
        raise RunFailed(
            f"Features need {size}, but {folder} has {free / 2**20:.1f} MiB free; free some, "
            "choose another CCR_DIAG_CACHE, or take fewer images."
        )


def _read(path: Path, dtype: np.dtype[np.floating]) -> FeatureFile | None:
    """What is whole of a file; None if nothing is, or if it holds something else."""
    try:
        with path.open("rb") as file:
            if npy_format.read_magic(file) != (1, 0):
                return None
            (_, *shape), fortran, found = npy_format.read_array_header_1_0(file)
            start = file.tell()
        log, kind = _log_of(path).read_bytes(), _kind(tuple(shape), dtype)
        if found != dtype or fortran or not log.startswith(kind):
            return None
        digests = [log[i : i + DIGEST_BYTES] for i in range(len(kind), len(log), DIGEST_BYTES)]
        n = min(
            (path.stat().st_size - start) // (math.prod(shape) * dtype.itemsize),
            len(log) // DIGEST_BYTES - 1,
        )
        values = np.memmap(path, dtype, "c", start, (n, *shape))
    except DAMAGE:  # of which ValueError: no row at all
        return None
    return FeatureFile(digests[:n], np.asarray(values), start)


def _is_written(file: FeatureFile, rows: Numbers | None = None) -> bool:
    """Whether these rows hold unit vectors, where a crash of the machine can leave zeros.

    Such zeros are at the end of a file and may begin within a row. So of large rows, which are read
    as they are asked for, the last is looked at.
    """
    if file.values.ndim > 2:
        return bool(are_unit(file.values[-1]).all())
    return bool(are_unit(file.values if rows is None else file.values[rows]).all())


def are_unit(vectors: Float[np.ndarray, "*shape dim"]) -> Bool[np.ndarray, "*shape"]:
    """Which vectors have length 1, as every feature has."""
    squares = np.einsum("...d,...d->...", vectors, vectors, dtype=np.float32)  # without a copy
    return np.asarray(np.abs(np.sqrt(squares) - 1) < UNIT_SLACK)


def _kind(shape: tuple[int, ...], dtype: np.dtype[np.floating]) -> bytes:
    """What a row is, as the file of the digests begins."""
    return hashlib.sha256(f"{dtype.str} {shape}".encode()).digest()


def _log_of(path: Path) -> Path:
    """The file of the digests."""
    return path.with_suffix(".digests")


def _discard(path: Path) -> None:
    """Remove a file of rows, its digests first, so that none is left with other rows."""
    _log_of(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _write_header(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[np.floating]) -> None:
    """A header whose length does not depend on the number of rows, as numpy leaves room for it."""
    header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    npy_format.write_array_header_1_0(file, header)


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)
