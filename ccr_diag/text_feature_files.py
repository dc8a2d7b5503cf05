"""Features of texts, those of a list in one file: made once, under a lock, and then read.

``feature_files`` keeps features of images row by row; texts are few, and their rows are as long as
the longest of the list.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ccr_diag.feature_files import locked, require_room
from ccr_diag.local_features import Features
from ccr_diag.runs import write_atomically


def stored(path: Path, parts: Iterator[Float[Tensor, "batch dim"]]) -> Float[Tensor, "items dim"]:
    """Features from their file, which is made if it is not there or damaged.

    Args:
        path: the file.
        parts: what it is made of; asked for only then.
    """
    found = _read(path)
    if found is not None:
        return torch.from_numpy(found)
    with locked(path.with_suffix(".lock")):
        found = _read(path)  # another process may have made it meanwhile
        if found is None:
            made = found = torch.cat(list(parts)).numpy()
            write_atomically(path, lambda partial: np.save(partial, made, allow_pickle=False))
    return torch.from_numpy(found)


def stored_pairs(
    path: Path, n: int, encode: Callable[[], Iterator[Features]]
) -> Float[Tensor, "items features dim"]:
    """Global and local features from their file, which is made if it is not there.

    They are read from the file where they are asked for; changing them changes no file.

    Args:
        path: the file.
        n: how many texts.
        encode: gives pairs of both features, a batch at a time.

    Raises:
        RunFailed: the disk has no room for them.
    """
    found = _read(path, "c")
    if found is None:
        with locked(path.with_suffix(".lock")):
            found = _read(path, "c")
            if found is None:
                write_atomically(path, lambda partial: _write_pairs(partial, n, encode()))
                found = np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))
    return torch.from_numpy(found)


def _write_pairs(path: Path, n: int, pairs: Iterator[Features]) -> None:
    """Write global and local features as they come."""
    with path.open("wb") as file:
        for number, (features, local) in enumerate(pairs):
            both = torch.cat([features[:, None], local], dim=1).numpy().astype("<f2")
            if number == 0:
                shape = (n, *both.shape[1:])
                require_room(path.parent, shape, both.dtype)
                header = {"descr": "<f2", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(both.tobytes())


def _read(path: Path, mmap: Literal["c"] | None = None) -> Float[np.ndarray, "items ..."] | None:
    """Features from the cache; a damaged file is as good as none.

    Args:
        path: the file.
        mmap: ``c`` leaves them there, and what is changed in memory.
    """
    try:
        return np.asarray(np.load(path, mmap_mode=mmap, allow_pickle=False))
    except (FileNotFoundError, ValueError, EOFError):
        return None
