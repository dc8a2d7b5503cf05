"""Frozen image features: each image goes through the backbone once, then lives in a cache.

In: a backbone and a data set. Out: unit embeddings, one an image, (images, dim), float32; or, for
frameworks that score positions, (images, 1 + positions, dim), the global feature first, float16.
The cache key covers weights, preprocessing, precision and the content of every image, so a changed
file never meets an old feature.

float16 halves what is by far the largest file. It moves an entry by at most 2⁻¹¹ of itself, and so
a cosine by less than 5·10⁻⁴; between features of 512 entries typically by 10⁻⁵.
"""

import hashlib
import logging
import math
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ccr_diag.backbone import Backbone
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.errors import RunFailed
from ccr_diag.local_features import Features
from ccr_diag.runs import cache_folder, write_atomically

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


def image_features(
    backbone: Backbone,
    dataset: MultiLabelDataset,
    *,
    cache: Path | None = None,
    batch_size: int = 128,
    workers: int = 1,
    progress: Progress = lambda done, total: None,
) -> Float[Tensor, "images dim"]:
    """Unit embeddings of all images of a data set, from the cache where they are there.

    Args:
        backbone: the frozen CLIP.
        dataset: images with their content digests.
        cache: folder of the cache, by default ``cache_folder()``.
        batch_size: images a forward pass.
        workers: threads that open and preprocess images.
        progress: told the images done and the images in all.
    """
    batches = _images(backbone, dataset, batch_size, workers, progress)
    return stored(_path(cache, backbone, dataset), map(backbone.encode_images, batches))


def stored(path: Path, parts: Iterator[Float[Tensor, "batch dim"]]) -> Float[Tensor, "items dim"]:
    """Features from their file, which is made if it is not there or damaged.

    Args:
        path: the file.
        parts: what it is made of; asked for only then.
    """
    found = _read(path)
    if found is not None:
        return torch.from_numpy(found)
    features = torch.cat(list(parts))
    write_atomically(path, lambda partial: np.save(partial, features.numpy(), allow_pickle=False))
    return features


def local_features(
    backbone: Backbone,
    dataset: MultiLabelDataset,
    *,
    cache: Path | None = None,
    batch_size: int = 128,
    workers: int = 1,
    progress: Progress = lambda done, total: None,
) -> Float[Tensor, "images features dim"]:
    """Unit embeddings of all images and of their positions, from the cache where they are there.

    They are read from the file where they are asked for, so memory does not bound them; changing
    them changes no file. The same pass leaves ``image_features`` in the cache.

    Args:
        backbone: the frozen CLIP.
        dataset: images with their content digests.
        cache: folder of the cache, by default ``cache_folder()``.
        batch_size: images a forward pass.
        workers: threads that open and preprocess images.
        progress: told the images done and the images in all.

    Returns:
        float16, of each image the global feature and then one a position.

    Raises:
        BadConfig: an image tower without local features.
        RunFailed: the disk has no room for them.
    """
    path = _path(cache, backbone, dataset)
    local = path.with_name(f"{path.stem}-local.npy")
    found, whole = stored_pairs(
        local,
        len(dataset),
        lambda: map(
            backbone.encode_positions, _images(backbone, dataset, batch_size, workers, progress)
        ),
    )
    if whole is not None and _read(path) is None:
        features = whole.numpy()
        write_atomically(path, lambda partial: np.save(partial, features, allow_pickle=False))
    return found


def stored_pairs(
    path: Path, n: int, encode: Callable[[], Iterator[Features]]
) -> tuple[Float[Tensor, "items features dim"], Float[Tensor, "items dim"] | None]:
    """Global and local features from their file, which is made if it is not there.

    Args:
        path: the file.
        n: items, images or texts.
        encode: gives pairs of both features, a batch at a time.

    Returns:
        What the file holds, and, if it was made, the global features in full precision.

    Raises:
        RunFailed: the disk has no room for them.
    """
    found = _read(path, "c")
    if found is not None:
        return torch.from_numpy(found), None
    whole: list[Tensor] = []
    write_atomically(path, lambda partial: whole.extend(_write_local(partial, n, encode())))
    return torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False)), torch.cat(whole)


def _images(
    backbone: Backbone,
    dataset: MultiLabelDataset,
    batch_size: int,
    workers: int,
    progress: Progress,
) -> Iterator[Float[Tensor, "batch 3 height width"]]:
    """Preprocessed images, a batch at a time; progress is told when the next one is asked for."""
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(dataset), batch_size):
            numbers = range(start, min(start + batch_size, len(dataset)))
            images = pool.map(lambda i: backbone.preprocess(dataset.open_image(i)), numbers)
            yield torch.stack(list(images))
            progress(numbers.stop, len(dataset))


def _write_local(
    path: Path, n: int, pairs: Iterator[Features]
) -> Iterator[Float[Tensor, "batch dim"]]:
    """Write global and local features as they come, and give the global ones back."""
    with path.open("wb") as file:
        for number, (features, local) in enumerate(pairs):
            both = torch.cat([features[:, None], local], dim=1).numpy().astype("<f2")
            if number == 0:
                shape = (n, *both.shape[1:])
                _require_room(path, shape)
                header = {"descr": "<f2", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(both.tobytes())
            yield features


def _require_room(path: Path, shape: tuple[int, int, int]) -> None:
    """Say how much is to be written, and refuse what does not fit.

    Raises:
        RunFailed: less space than that is free.
    """
    needed, free = 2 * math.prod(shape), shutil.disk_usage(path.parent).free
    n_images, n_features, dim = shape
    size = f"{n_images} × {n_features} × {dim} float16 numbers, {needed / 2**20:.1f} MiB"
    logger.info("Local features: %s, go to the cache in %s.", size, path.parent)
    if needed > free:
        raise RunFailed(
            f"Local features need {size}, but {path.parent} has {free / 2**20:.1f} MiB free; free "
            "some, choose another CCR_DIAG_CACHE, or take fewer images."
        )


def _path(cache: Path | None, backbone: Backbone, dataset: MultiLabelDataset) -> Path:
    """Where the cache keeps the features of these images."""
    return (cache or cache_folder()) / "features" / f"{_key(backbone, dataset)}.npy"


def _read(path: Path, mmap: Literal["c"] | None = None) -> Float[np.ndarray, "images ..."] | None:
    """Features from the cache; a damaged file is as good as none.

    Args:
        path: the file.
        mmap: ``c`` leaves them there, and what is changed in memory.
    """
    try:
        return np.asarray(np.load(path, mmap_mode=mmap, allow_pickle=False))
    except (FileNotFoundError, ValueError, EOFError):
        return None


def _key(backbone: Backbone, dataset: MultiLabelDataset) -> str:
    """sha256 over what decides the features."""
    digest = hashlib.sha256(f"{backbone.fingerprint} {backbone.precision}".encode())
    for i in range(len(dataset)):
        digest.update(dataset.digest(i).encode())
    return digest.hexdigest()
