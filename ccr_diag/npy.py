"""Arrays in files: ``.npy`` and ``.npz``, mapped rather than read, and never unpickled.

A header is believed only where the file is as long as it claims, so that a damaged one costs an
error and no memory. Stored members of an archive are mapped at their place in it, after their check
sum was compared block by block; compressed ones are read into memory.
"""

import io
import math
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format

from ccr_diag.errors import BadPredictions

HEADER_BYTES = 2**16  # of a .npy header at most; numpy itself refuses more than 10,000
BLOCK_BYTES = 2**22
MAX_DEFLATE = 1032  # no deflated byte stands for more
HOW_TO_WRITE = "write it with numpy.savez from arrays of plain numbers and text (dtype=str)"
DAMAGE = (
    ValueError,
    SyntaxError,
    tokenize.TokenError,
    RecursionError,
    EOFError,
    OSError,
    RuntimeError,  # an encrypted archive
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class Header:
    """What a ``.npy`` header claims.

    Args:
        shape: sizes of the axes.
        fortran: whether the first axis runs fastest.
        dtype: type of an element, without Python objects.
        length: bytes before the first element.
    """

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    length: int

    @property
    def file_bytes(self) -> int:
        """Length of the whole file."""
        return self.length + math.prod(self.shape) * self.dtype.itemsize


def open_npy(path: Path, mmap: bool = True) -> np.ndarray:
    """The array of a ``.npy`` file, mapped or read.

    Raises:
        BadPredictions: the file is missing, damaged, shorter than it claims, or holds objects.
    """
    _require_file(path)
    with _damage_named(str(path)), path.open("rb") as file:
        mapped = _mapped(file, 0, path.stat().st_size)
    return mapped if mmap else np.array(mapped)


def npy_array(name: str, content: bytes) -> np.ndarray:
    """The array that the bytes of a ``.npy`` file hold.

    Args:
        name: what errors call the file.
        content: its bytes.

    Raises:
        BadPredictions: they are damaged, fewer than they claim, or hold objects.
    """
    with _damage_named(name):
        header = _header(content[:HEADER_BYTES], len(content))
        array = np.frombuffer(content, header.dtype, math.prod(header.shape), header.length)
        return array.reshape(header.shape, order="F" if header.fortran else "C")


class Archive:
    """The arrays of an ``.npz`` file, opened one by one.

    Args:
        path: the file.

    Raises:
        BadPredictions: there is no such file, or it is no archive.
    """

    def __init__(self, path: Path) -> None:
        _require_file(path)
        if not zipfile.is_zipfile(path):
            raise BadPredictions(
                f"{path} must be an .npz archive, but is something else or cut short."
            )
        self.path = path
        with _damage_named(str(path)), zipfile.ZipFile(path) as archive:
            self._members = {i.filename.removesuffix(".npy"): i for i in archive.infolist()}

    def __contains__(self, key: str) -> bool:
        """Whether there is an array of that name."""
        return key in self._members

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the arrays, in the order of the file."""
        return tuple(self._members)

    def header(self, key: str) -> Header:
        """Shape and type of an array.

        Raises:
            BadPredictions: it is damaged, shorter than it claims, or holds objects.
        """
        with self._open(key) as (info, member):
            return _header(member.read(HEADER_BYTES), info.file_size)

    def read(self, key: str) -> np.ndarray:
        """An array, in memory.

        Raises:
            BadPredictions: it is damaged, shorter than it claims, or holds objects.
        """
        with self._open(key) as (info, member):
            # A lie about the size of the unpacked member is found before memory is asked for.
            _require_length(info.file_size, MAX_DEFLATE * (info.compress_size + 1), at_most=True)
            header = _header(member.read(HEADER_BYTES), info.file_size)
            array = np.empty(header.shape, header.dtype, "F" if header.fortran else "C")
            member.seek(header.length)
            _fill(array, member.read)
        return array

    def map(self, key: str) -> np.ndarray:
        """An array, mapped where the archive stores it as it is, else in memory.

        Raises:
            BadPredictions: it is damaged, shorter than it claims, or holds objects.
        """
        info = self._members[key]
        if info.compress_type != zipfile.ZIP_STORED:
            return self.read(key)
        with _damage_named(f"{key} in {self.path}"), self.path.open("rb") as file:
            start = _start(file, info)
            _require_length(start + info.file_size, self.path.stat().st_size, at_most=True)
            mapped = _mapped(file, start, info.file_size)
            _check_sum(file, start, info)
            return mapped

    @contextmanager
    def _open(self, key: str) -> Iterator[tuple[zipfile.ZipInfo, IO[bytes]]]:
        """A member of the archive and its bytes, unpacked as they are read."""
        info = self._members[key]
        with (
            _damage_named(f"{key} in {self.path}"),
            zipfile.ZipFile(self.path) as archive,
            archive.open(info) as member,
        ):
            yield info, member


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise BadPredictions(f"There is no file at {path}; check the path.")


@contextmanager
def _damage_named(what: str) -> Iterator[None]:
    """Turn what numpy and zipfile raise into one sentence."""
    try:
        yield
    except DAMAGE as error:
        reason = " ".join(str(error).split())
        raise BadPredictions(
            f"{what} must hold a plain array, but is damaged or holds pickled objects ({reason}); "
            f"{HOW_TO_WRITE}."
        ) from error


def _header(first_bytes: bytes, file_bytes: int) -> Header:
    """The header that a file begins with, if the file is as long as it claims."""
    head = io.BytesIO(first_bytes)
    version = npy_format.read_magic(head)
    readers = {
        (1, 0): npy_format.read_array_header_1_0,
        (2, 0): npy_format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"the format version is {version}")
    try:
        shape, fortran, dtype = readers[version](head)
    except TypeError as error:  # numpy leaves some odd headers to chance
        raise ValueError("its header is broken") from error
    if dtype.hasobject:
        raise ValueError("its elements are Python objects")
    if any(size < 0 for size in shape):
        raise ValueError(f"its shape is {shape}")
    header = Header(shape, fortran, dtype, head.tell())
    _require_length(header.file_bytes, file_bytes)
    return header


def _require_length(claimed: int, actual: int, at_most: bool = False) -> None:
    if claimed > actual or (claimed < actual and not at_most):
        raise ValueError(f"it claims {claimed:,} bytes where there are {actual:,}")


def _mapped(file: io.BufferedReader, start: int, length: int) -> np.ndarray:
    """The array that stands, under its header, in these bytes of an open file."""
    file.seek(start)
    header = _header(file.read(HEADER_BYTES), length)
    order: Any = "F" if header.fortran else "C"
    if header.file_bytes == header.length:  # nothing to map
        return np.empty(header.shape, header.dtype, order)
    return np.memmap(file, header.dtype, "r", start + header.length, header.shape, order)


def _start(file: io.BufferedReader, info: zipfile.ZipInfo) -> int:
    """Place of the first byte of a stored member: behind its local header, name and extra field."""
    file.seek(info.header_offset)
    local = file.read(30)
    if local[:4] != b"PK\3\4" or len(local) < 30:
        raise ValueError("its entry in the archive is broken")
    name, extra = (int.from_bytes(local[i : i + 2], "little") for i in (26, 28))
    return info.header_offset + 30 + name + extra


def _check_sum(file: io.BufferedReader, start: int, info: zipfile.ZipInfo) -> None:
    file.seek(start)
    found, left = 0, info.file_size
    while block := file.read(min(left, BLOCK_BYTES)):
        found, left = zlib.crc32(block, found), left - len(block)
    if found != info.CRC:
        raise ValueError("its check sum is wrong")


def _fill(array: np.ndarray, read: Callable[[int], bytes]) -> None:
    """Read the elements block by block; the end of the member compares its check sum."""
    buffer = array.reshape(-1, order="A").view(np.uint8)
    done = 0
    while done < len(buffer):
        block = read(min(BLOCK_BYTES, len(buffer) - done))
        if not block:
            raise EOFError(f"it ends after {done:,} of {len(buffer):,} bytes")
        buffer[done : done + len(block)] = np.frombuffer(block, np.uint8)
        done += len(block)
