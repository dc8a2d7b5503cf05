"""Frozen image features: each image goes through the backbone once, then lives in a cache.

In: a backbone and a data set. Out: unit embeddings, float32, (images, dim). The cache key covers
weights, preprocessing, precision and the content of every image, so a changed file never meets an
old feature.
"""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ccr_diag.backbone import Backbone
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.runs import cache_folder, write_atomically

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
    path = (cache or cache_folder()) / "features" / f"{_key(backbone, dataset)}.npy"
    found = _read(path)
    if found is not None:
        return torch.from_numpy(found)
    rows = []
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(dataset), batch_size):
            numbers = range(start, min(start + batch_size, len(dataset)))
            images = pool.map(lambda i: backbone.preprocess(dataset.open_image(i)), numbers)
            rows.append(backbone.encode_images(torch.stack(list(images))))
            progress(numbers.stop, len(dataset))
    features = torch.cat(rows)
    write_atomically(path, lambda partial: np.save(partial, features.numpy(), allow_pickle=False))
    return features


def _read(path: Path) -> Float[np.ndarray, "images dim"] | None:
    """Features from the cache; a damaged file is as good as none."""
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (FileNotFoundError, ValueError, EOFError):
        return None


def _key(backbone: Backbone, dataset: MultiLabelDataset) -> str:
    """sha256 over what decides the features."""
    digest = hashlib.sha256(f"{backbone.fingerprint} {backbone.precision}".encode())
    for i in range(len(dataset)):
        digest.update(dataset.digest(i).encode())
    return digest.hexdigest()
