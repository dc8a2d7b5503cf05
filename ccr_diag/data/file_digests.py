"""SHA-256 of files, remembered, so that a file that did not change is not read again.

    path → device, inode, size, modified, changed (ns); SHA-256        a row of an SQLite table

A file rewritten in place has another time of change, even where a tool keeps its size and the time
of its modification. One that is younger than the clock of some file systems can tell is read, but
not remembered. What is wrong with the table costs time alone: the files are then read.
"""

import contextlib
import errno
import hashlib
import os
import sqlite3
import stat
import threading
import time
import weakref
from functools import lru_cache
from io import BufferedReader
from pathlib import Path

from ccr_diag.runs import cache_folder

YOUNG = 2.0  # seconds; FAT keeps times to that
PATIENCE = 2.0  # seconds, with another process that writes
PENDING = 1000  # rows written at once
TABLE = "CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, state TEXT, sha256 TEXT)"

Row = tuple[str, str, str]


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, read only if it changed since it was last asked for.

    Raises:
        OSError: the file cannot be read.
    """
    return _memo(cache_folder())(path)


def open_file(path: Path) -> BufferedReader:
    """Open a file to be read; a pipe or a device, which may never end, is none.

    Raises:
        OSError: it cannot be read.
    """
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "Not a file", str(path))
    return path.open("rb")


class DigestMemo:
    """What is known of files, in a table that processes and threads share.

    Args:
        table: its file.
    """

    def __init__(self, table: Path) -> None:
        self._lock = threading.Lock()
        self._pending: list[Row] = []
        self._database = _opened(table)
        # At the end of the process, too.
        self._closed = weakref.finalize(self, _close, self._database, self._pending)

    def __call__(self, path: Path) -> str:
        """SHA-256 of the file's bytes.

        Raises:
            OSError: the file cannot be read.
        """
        name, state = os.path.abspath(path), _state(os.stat(path))
        found = self._found(name, state)
        if found is not None:
            return found
        began = time.time()
        with open_file(path) as file:
            before = os.fstat(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            after = os.fstat(file.fileno())
        young = began - max(after.st_mtime, after.st_ctime) < YOUNG
        if _state(before) == _state(after) and not young:
            self._remember((name, _state(after), digest))
        return digest

    def close(self) -> None:
        """Write what is not written yet; nothing is remembered afterwards."""
        self._closed()
        self._database = None

    def _found(self, name: str, state: str) -> str | None:
        if self._database is None:
            return None
        try:
            with self._lock:
                rows = self._database.execute(
                    "SELECT sha256 FROM files WHERE path = ? AND state = ?", (name, state)
                ).fetchall()
        except (sqlite3.Error, UnicodeEncodeError):  # a name that is not UTF-8
            return None
        return str(rows[0][0]) if rows else None

    def _remember(self, row: Row) -> None:
        if self._database is None:
            return
        with self._lock:
            self._pending.append(row)
            if len(self._pending) >= PENDING:
                _write(self._database, self._pending)


@lru_cache(maxsize=1)
def _memo(folder: Path) -> DigestMemo:
    return DigestMemo(folder / "digests.sqlite3")


def _state(status: os.stat_result) -> str:
    """What changes whenever the file's bytes do."""
    return (
        f"{status.st_dev} {status.st_ino} {status.st_size} {status.st_mtime_ns} "
        f"{status.st_ctime_ns}"
    )


def _opened(table: Path) -> sqlite3.Connection | None:
    """The table; made anew where it is damaged, None where that is not possible."""
    for _ in range(2):
        database = None
        try:
            table.parent.mkdir(parents=True, exist_ok=True)
            # Threads share it, under a lock of our own.
            database = sqlite3.connect(
                table, timeout=PATIENCE, check_same_thread=False, isolation_level=None
            )
            database.execute(TABLE)
            database.execute("SELECT path, state, sha256 FROM files LIMIT 1").fetchall()
            return database
        except (sqlite3.Error, OSError) as error:
            if database is not None:
                database.close()
            if isinstance(error, sqlite3.OperationalError | OSError):  # locked, not to be written
                return None
            with contextlib.suppress(OSError):
                table.with_name(f"{table.name}-journal").unlink(missing_ok=True)
                table.unlink()
    return None


def _write(database: sqlite3.Connection, pending: list[Row]) -> None:
    """Write these rows at once, or forget them."""
    with contextlib.suppress(sqlite3.Error, UnicodeEncodeError):
        database.execute("BEGIN IMMEDIATE")
        try:
            database.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", pending)
            database.execute("COMMIT")
        except BaseException:
            database.execute("ROLLBACK")
            raise
    pending.clear()


def _close(database: sqlite3.Connection | None, pending: list[Row]) -> None:
    if database is not None:
        _write(database, pending)
        database.close()
