"""What ``torch.save`` wrote → plain values and tensors; nothing in the file is ever executed.

A pickle is a program for a stack machine. Python's own machine imports what the program names and
calls it; this one knows neither: it builds numbers, text, lists, tuples and dicts, and notes where
a tensor's numbers stand. What a program names or calls beyond that becomes a ``Foreign``, a name
without behaviour. Work and memory are bounded by the length of the file, whatever it claims.

Two layouts, told apart by their first bytes:

    archive   since torch 1.6: a zip with ``NAME/data.pkl`` and the numbers in ``NAME/data/KEY``
    stream    before: five pickles (magic number, version, machine, content, keys), then for each
              key the number of its elements, 8 bytes, and the elements
"""

import io
import math
import pickletools
import struct
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from ccr_diag.errors import BadCheckpoint

MAX_PICKLE_BYTES = 2**24
MAX_PICKLE_STEPS = 2**18  # about 30 a tensor; a large CLIP has 600
MAX_AXES = 8
MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}
DAMAGE = (
    ValueError,
    TypeError,
    LookupError,
    OverflowError,
    EOFError,
    OSError,
    RuntimeError,  # an encrypted archive; also an unknown kind of compression
    struct.error,
    zipfile.BadZipFile,
)


@dataclass(frozen=True)
class Foreign:
    """A class, a function, or what came of one: its name, and nothing else."""

    name: str


@dataclass(frozen=True)
class Storage:
    """A run of elements in the file.

    Args:
        key: its name there.
        dtype: of an element.
        count: number of elements.
    """

    key: str
    dtype: torch.dtype
    count: int

    @property
    def n_bytes(self) -> int:
        """Its length in the file."""
        return self.count * self.dtype.itemsize


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as the file describes it; ``TorchFile.tensor`` reads it."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class TorchFile:
    """A file's content.

    Args:
        path: the file.
        content: numbers, text, lists, tuples, dicts (with keys that are text or whole numbers;
            other entries are left out), ``StoredTensor`` and ``Foreign``.
        read: the bytes of a storage.
        order: ``little`` or ``big``, of the bytes in an element.
    """

    path: Path
    content: Any
    read: Callable[[Storage], bytes]
    order: str

    def tensor(self, stored: StoredTensor) -> Shaped[Tensor, "..."]:
        """Read a tensor, into memory of its own.

        Raises:
            BadCheckpoint: it reaches beyond its storage, or the file is damaged there.
        """
        with _damage_named(self.path):
            _require_inside(stored)
            dtype = stored.storage.dtype
            raw = bytearray(self.read(stored.storage))
            if self.order != sys.byteorder:
                part = dtype.itemsize // (2 if dtype.is_complex else 1)
                raw = bytearray(np.frombuffer(raw, f"u{part}").byteswap().tobytes())
            if math.prod(stored.shape) == 0:
                return torch.empty(stored.shape, dtype=dtype)
            flat = torch.frombuffer(raw, dtype=dtype)
            return flat.as_strided(stored.shape, stored.stride, stored.offset).clone(
                memory_format=torch.contiguous_format
            )


def read_torch_file(path: Path) -> TorchFile:
    """Read what ``torch.save`` wrote, without its tensors' numbers.

    Raises:
        BadCheckpoint: missing, damaged, or not written by ``torch.save``.
    """
    if not path.is_file():
        raise BadCheckpoint(f"A checkpoint must be a file, but there is none at {path}.")
    with _damage_named(path), path.open("rb") as file:
        head = file.read(262)
        if head.startswith(b"PK\3\4"):
            return _read_archive(path)
        if head[257:] == b"ustar":
            raise ValueError("it is a tar archive; unpack it and give the file inside")
        return _read_stream(path)


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn what reading raises into one sentence."""
    try:
        yield
    except DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadCheckpoint(
            f"A checkpoint of torch must be a whole file that torch.save wrote, but {path} is "
            f"damaged or of another kind ({reason[:200]}); fetch it again, or save its state_dict "
            "again."
        ) from error


# Archives


def _read_archive(path: Path) -> TorchFile:
    """The layout since torch 1.6."""
    n_bytes = path.stat().st_size

    def member(archive: zipfile.ZipFile, name: str, at_most: int) -> bytes:
        info = archive.getinfo(name)
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise ValueError(f"{name} is compressed")
        if info.file_size > min(at_most, n_bytes):
            raise ValueError(f"{name} claims {info.file_size} bytes")
        return archive.read(info)  # its check sum is compared

    def read(storage: Storage) -> bytes:
        with zipfile.ZipFile(path) as archive:
            return member(archive, f"{root}/data/{storage.key}", storage.n_bytes)

    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        roots = [name.removesuffix("/data.pkl") for name in names if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise ValueError(f"it holds {len(roots)} files data.pkl instead of 1")
        root = roots[0]
        order = "little"
        if f"{root}/byteorder" in names:
            order = member(archive, f"{root}/byteorder", 6).decode()
        storages: dict[str, Storage] = {}
        pickled = io.BytesIO(member(archive, f"{root}/data.pkl", MAX_PICKLE_BYTES))
        content = _Machine(storages).run(pickled)
        for storage in storages.values():
            found = archive.getinfo(f"{root}/data/{storage.key}").file_size
            _require_length(storage, found)
    return TorchFile(path, content, read, _known_order(order))


# Streams


def _read_stream(path: Path) -> TorchFile:
    """The layout before torch 1.6."""
    storages: dict[str, Storage] = {}
    with path.open("rb") as file:
        head = io.BytesIO(file.read(MAX_PICKLE_BYTES))
        magic = _Machine({}).run(head)
        if magic != MAGIC:
            raise ValueError("it does not begin as torch's files do")
        version, _machine, content, keys = (_Machine(storages).run(head) for _ in range(4))
        if version != VERSION or not isinstance(keys, list):
            raise ValueError("its header is broken")
        places, place = {}, head.tell()
        n_bytes = path.stat().st_size
        if not all(isinstance(key, str) for key in keys):
            raise ValueError("its list of storages is broken")
        for key in keys:
            storage = storages[key]
            file.seek(place)
            found = int.from_bytes(file.read(8), "little")
            _require_length(storage, found * storage.dtype.itemsize)
            places[key] = place + 8
            place += 8 + storage.n_bytes
            if place > n_bytes:
                raise EOFError(f"it ends after {n_bytes} bytes, within storage {key}")
    if set(places) != set(storages):
        raise ValueError("a tensor's numbers are missing")

    def read(storage: Storage) -> bytes:
        with path.open("rb") as file:
            file.seek(places[storage.key])
            return file.read(storage.n_bytes)

    return TorchFile(path, content, read, "little")  # on every machine


# Sizes


def _known_order(order: str) -> str:
    if order not in ("little", "big"):
        raise ValueError("the order of its bytes is unknown")
    return order


def _require_length(storage: Storage, found: int) -> None:
    if found != storage.n_bytes:
        raise ValueError(
            f"storage {storage.key[:20]} must have {storage.n_bytes} bytes, but has {found}"
        )


def _require_inside(stored: StoredTensor) -> None:
    """Refuse a tensor that reaches beyond its storage, or that repeats what is stored."""
    shape, stride, count = stored.shape, stored.stride, stored.storage.count
    n_elements = math.prod(shape)
    reach = sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if n_elements and (n_elements > count or stored.offset + reach >= count):
        raise ValueError(f"a tensor of shape {shape} reaches beyond its storage of {count} numbers")


# The stack machine

PLAIN = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
GIVEN = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
FIXED_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
PUT = {"PUT", "BINPUT", "LONG_BINPUT"}
GET = {"GET", "BINGET", "LONG_BINGET"}
NEW_DICT = {"collections.OrderedDict", "collections.defaultdict"}
REBUILD_TENSOR = {"torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"}
REBUILD_PARAMETER = {
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
}


class _Machine:
    """Runs one pickle.

    Args:
        storages: filled with the storages that the pickle names.
    """

    def __init__(self, storages: dict[str, Storage]) -> None:
        self.storages = storages
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stack under each mark
        self.memo: dict[Any, Any] = {}

    def run(self, file: io.BytesIO) -> Any:
        """The value that the pickle stands for; the file is left behind its end."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # about escapes in quoted text
            for n, (opcode, arg, _place) in enumerate(pickletools.genops(file)):
                if opcode.name == "STOP":
                    return self.stack.pop()
                if n >= MAX_PICKLE_STEPS:
                    break
                if opcode.name in GIVEN:
                    self.stack.append(arg)
                elif opcode.name in PUT:
                    self.memo[arg] = self.stack[-1]
                elif opcode.name in GET:
                    self.stack.append(self.memo[arg])
                else:
                    self.step(opcode.name, arg)
        raise ValueError(f"it has more than {MAX_PICKLE_STEPS} steps")

    def step(self, name: str, arg: Any) -> None:
        """One of the rarer instructions, by its name in ``pickletools``."""
        stack = self.stack
        match name:
            case "PROTO" | "FRAME":
                pass
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append(PLAIN[name])
            case "EMPTY_TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self.take(FIXED_TUPLES[name])))
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "MARK":
                self.below.append(stack)
                self.stack = []
            case "POP":
                stack.pop()
            case "POP_MARK":
                self.since_mark()
            case "DUP":
                stack.append(stack[-1])
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_SET":
                stack.append(Foreign("builtins.set"))
            case "TUPLE":
                values = self.since_mark()
                self.stack.append(tuple(values))
            case "LIST":
                values = self.since_mark()
                self.stack.append(values)
            case "DICT":
                values = self.since_mark()
                self.stack.append({})
                self.set_items(values)
            case "FROZENSET":
                self.since_mark()
                self.stack.append(Foreign("builtins.frozenset"))
            case "APPEND":
                self.extend(self.take(1))
            case "APPENDS" | "ADDITEMS":
                self.extend(self.since_mark())
            case "SETITEM":
                self.set_items(self.take(2))
            case "SETITEMS":
                self.set_items(self.since_mark())
            case "GLOBAL":
                stack.append(Foreign(arg.replace(" ", ".")))
            case "STACK_GLOBAL":
                stack.append(Foreign(".".join(self.take(2))))
            case "REDUCE":
                function, args = self.take(2)
                stack.append(_called(function, args))
            case "NEWOBJ":
                kind, _args = self.take(2)
                stack.append(_object(kind))
            case "NEWOBJ_EX":
                kind, _args, _named = self.take(3)
                stack.append(_object(kind))
            case "OBJ":
                kind = self.since_mark()[0]
                self.stack.append(_object(kind))
            case "INST":
                self.since_mark()
                self.stack.append(Foreign(arg.replace(" ", ".")))
            case "BUILD":
                self.take(1)  # an object's state: it has none here
            case "BINPERSID":
                stack.append(self.persistent(stack.pop()))
            case _:
                raise ValueError(f"it uses the instruction {name}, which torch does not")

    def take(self, n: int) -> list[Any]:
        """The top n values, removed."""
        if n > len(self.stack):
            raise IndexError("it takes values that it never made")
        start = len(self.stack) - n
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def since_mark(self) -> list[Any]:
        """The values above the last mark, removed with it."""
        values, self.stack = self.stack, self.below.pop()
        return values

    def extend(self, values: list[Any]) -> None:
        """Add to the list on top; other containers stay as they are."""
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(values)

    def set_items(self, values: list[Any]) -> None:
        """Add keys and values, in turn, to the dict on top; other containers stay as they are."""
        if isinstance(self.stack[-1], dict):
            for key, value in zip(values[::2], values[1::2], strict=True):
                if isinstance(key, str | int):  # hashing a tuple may take longer than reading it
                    self.stack[-1][key] = value

    def persistent(self, saved: Any) -> Storage | Foreign:
        """What stands outside the pickle: a storage, or the class of a module.

        A storage is named by ("storage", type, key, device, elements) and, in streams, a view.
        """
        if not isinstance(saved, tuple) or len(saved) < 2:
            raise ValueError("it names something outside that is no storage")
        if saved[0] == "module":
            return _object(saved[1])
        kind, key, _device, count, *view = saved[1:]
        dtype = DTYPES.get(kind.name.rpartition(".")[2]) if isinstance(kind, Foreign) else None
        if saved[0] != "storage" or dtype is None or view not in ([], [None]):
            raise ValueError("it names a storage of an unknown kind")
        if not isinstance(key, str) or not _is_count(count):
            raise ValueError("it names a storage without a key or a size")
        storage = Storage(key, dtype, count)
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError("it names one storage with two sizes or types")
        return storage


def _called(function: Any, args: Any) -> Any:
    """What stands for the result of a call, by the function's name."""
    name = _object(function).name
    if name in NEW_DICT:
        return {}
    if name in REBUILD_TENSOR:
        return _stored(*args[:4])
    if name in REBUILD_PARAMETER:
        return args[0]
    return Foreign(name)


def _stored(storage: Any, offset: Any, shape: Any, stride: Any) -> StoredTensor:
    """A tensor, if its description can be one."""
    described = isinstance(storage, Storage) and isinstance(shape, tuple)
    if not described or not isinstance(stride, tuple) or len(shape) != len(stride):
        raise ValueError("it describes a tensor without a storage or a shape")
    if len(shape) > MAX_AXES or not all(map(_is_count, (offset, *shape, *stride))):
        raise ValueError("it describes a tensor with a strange shape")
    return StoredTensor(storage, offset, shape, stride)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**48


def _object(kind: Any) -> Foreign:
    return kind if isinstance(kind, Foreign) else Foreign(type(kind).__name__)
