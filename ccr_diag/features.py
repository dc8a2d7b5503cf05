"""Frozen image features: each image goes through the backbone once, then lives in a cache.

In: a backbone and a data set. Out: unit embeddings, one an image, (images, dim), float32; or, for
frameworks that score positions, (images, 1 + positions, dim), the global feature first, float16.
The cache keeps a row an image by the content of its file, apart for each model (weights,
preprocessing), precision and way of opening files: a changed file never meets an old feature, and
part of a data set finds what all of it left.

float16 halves what is by far the largest file. It moves an entry by at most 2⁻¹¹ of itself, and so
a cosine by less than 5·10⁻⁴; between features of 512 entries typically by 10⁻⁵. Global features can
be kept so, too: they then are what was stored, the first time as later, and apart from the full
ones.

The last bits of a feature, some 10⁻⁷, depend on the batch that it was made in: on the batch size,
and on what the cache had.
"""

import hashlib
import os
import time
from collections import Counter, deque
from collections.abc import Container, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ccr_diag.backbone import Backbone
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.data.images import OPENING
from ccr_diag.errors import BadData, RunFailed
from ccr_diag.feature_files import FeatureFolder, are_unit, locked
from ccr_diag.progress import UnitProgress, silent
from ccr_diag.rates import record_rate
from ccr_diag.runs import cache_folder

WORKERS = min(8, os.cpu_count() or 1)
AHEAD = 2  # batches that are read while another is encoded
FLOATS = {"float32": "<f4", "float16": "<f2"}

Floats = Literal["float32", "float16"]
Batch = tuple[int, list[int], Float[Tensor, "batch 3 height width"] | None]


@dataclass(frozen=True, eq=False)
class Embedded:
    """Features of a data set, and how they came.

    Args:
        rows: the images that have some, by number.
        features: unit embeddings of these.
        encoded: how many went through the model; the others were in the cache.
        seconds: what that took.
        unreadable: number of each image that was left out, with the reason.
        folder: where the cache keeps features of this model.
    """

    rows: Int[np.ndarray, " images"]
    features: Float[Tensor, "images dim"]
    encoded: int
    seconds: float
    unreadable: dict[int, str]
    folder: Path


def image_features(
    backbone: Backbone,
    dataset: MultiLabelDataset,
    *,
    cache: Path | None = None,
    batch_size: int = 128,
    workers: int = WORKERS,
    progress: UnitProgress = silent,
) -> Float[Tensor, "images dim"]:
    """Unit embeddings of all images of a data set, from the cache where they are there.

    Args:
        backbone: the frozen CLIP.
        dataset: images with their content digests.
        cache: folder of the cache, by default ``cache_folder()``.
        batch_size: images a forward pass.
        workers: threads that open and preprocess images.
        progress: told the images done and the images in all.

    Raises:
        BadData: an image that cannot be read.
    """
    found = embed(
        backbone, dataset, cache=cache, batch_size=batch_size, workers=workers, progress=progress
    )
    return found.features


def local_features(
    backbone: Backbone,
    dataset: MultiLabelDataset,
    *,
    cache: Path | None = None,
    batch_size: int = 128,
    workers: int = WORKERS,
    progress: UnitProgress = silent,
) -> Float[Tensor, "images features dim"]:
    """Unit embeddings of all images and of their positions, from the cache where they are there.

    They are read from the file where they are asked for, so memory does not bound them; changing
    them changes no file. Where their rows lie in several files, or in another order, they are
    copied into one. The same pass leaves ``image_features`` in the cache.

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
        BadData: an image that cannot be read.
        RunFailed: the disk has no room for them.
    """
    folder = _folder(backbone, cache)
    digests, _ = content_digests(dataset, workers)
    files, name = FeatureFolder(folder / "local", FLOATS["float16"]), _name(digests)
    found = files.in_order(digests)
    if found is None:
        embed(
            backbone, dataset, local=True, cache=cache, batch_size=batch_size, workers=workers,
            progress=progress,
        )  # fmt: skip
        with locked(folder / f"{name}.lock"):
            found = files.in_order(digests)
            if found is None:
                found = files.put_in_order(name, digests)
    return torch.from_numpy(found)


def embed(
    backbone: Backbone,
    dataset: MultiLabelDataset,
    *,
    local: bool = False,
    dtype: Floats = "float32",
    skip_unreadable: bool = False,
    cache: Path | None = None,
    batch_size: int = 128,
    workers: int = WORKERS,
    progress: UnitProgress = silent,
) -> Embedded:
    """See to it that the cache has the features of a data set.

    What is done when it is interrupted is kept, but for the batches that are under way.

    Args:
        backbone: the frozen CLIP.
        dataset: images with their content digests.
        local: whether features of positions are made, too.
        dtype: what global features are kept as.
        skip_unreadable: leave images out that cannot be read.
        cache: folder of the cache, by default ``cache_folder()``.
        batch_size: images a forward pass.
        workers: threads that open and preprocess images.
        progress: told the images done and the images in all, if not all were.

    Raises:
        BadConfig: an image tower without local features, if they are asked for.
        BadData: an image that cannot be read, and it may not be left out; or none can.
        RunFailed: the disk has no room for them; or the model gives no numbers.
    """
    folder = _folder(backbone, cache)
    digests, unreadable = content_digests(dataset, workers, skip_unreadable)
    kinds = [FeatureFolder(folder / f"global-{dtype}", FLOATS[dtype])]
    if local:
        kinds.append(FeatureFolder(folder / "local", FLOATS["float16"]))
    kept = _Kept(kinds, digests)
    encoded, began = 0, time.monotonic()
    if kept.lacking(unreadable):
        name = _name(digests)
        with ExitStack() as stack:
            stack.enter_context(locked(folder / f"{name}.lock"))
            kept = _Kept(kinds, digests)  # another process may have been at it
            todo = kept.lacking(unreadable)
            stack.enter_context(kept.appending(name))
            skipped = unreadable if skip_unreadable else None
            batches = stack.enter_context(
                closing(read_ahead(backbone, dataset, todo, batch_size, workers, skipped))
            )
            timer = _Timer()
            done = len(dataset) - len(todo)
            progress(done, len(dataset))
            for asked, rows, images in batches:
                if images is not None:
                    made = _encoded(backbone, images, local)
                    _require_unit(dataset, rows, made)
                    kept.add(rows, made)
                encoded += len(rows)
                done += asked
                timer.tell(len(rows))
                progress(done, len(dataset))
        if timer.rate is not None:
            record_rate(
                backbone.name, backbone.device.type, backbone.precision, timer.rate, cache=cache
            )
    readable = np.array([i for i in range(len(dataset)) if i not in unreadable], dtype=np.int64)
    if kept.features is None or not len(readable):
        raise BadData(
            f"An image must be readable, but none of the {len(dataset)} of {dataset.name}, split "
            f"{dataset.split}, is; the first: {unreadable[0]}"
        )
    whole = len(readable) == len(dataset)
    features = kept.features if whole else kept.features[readable]
    return Embedded(
        rows=readable,
        features=torch.from_numpy(features).float(),
        encoded=encoded,
        seconds=time.monotonic() - began,
        unreadable=dict(sorted(unreadable.items())),
        folder=folder,
    )


class _Kept:
    """What the cache has of a request, and what is added to it.

    Args:
        kinds: of global features and, if they are asked for, of local ones.
        digests: of the content of each image.
    """

    def __init__(self, kinds: Sequence[FeatureFolder], digests: Sequence[bytes]) -> None:
        self.kinds, self.digests = kinds, digests
        self.features, held = kinds[0].gather(digests)
        self.held = [held, *(kind.holds(digests) for kind in kinds[1:])]

    def lacking(self, unreadable: Container[int]) -> list[int]:
        """Images to be encoded, by number."""
        lacking = np.flatnonzero(~np.logical_and.reduce(self.held)).tolist()
        return [i for i in lacking if i not in unreadable]

    @contextmanager
    def appending(self, name: str) -> Iterator[None]:
        """Let ``add`` write to the files of a request of this name."""
        with ExitStack() as stack:
            self._append = [
                stack.enter_context(kind.appending(name, int((~held).sum())))
                for kind, held in zip(self.kinds, self.held, strict=True)
            ]
            yield

    def add(self, rows: list[int], made: Sequence[Tensor]) -> None:
        """Write what was made of these images, where it is not kept yet.

        Args:
            rows: the images, by number.
            made: their features, of each kind.
        """
        for held, append, values in zip(self.held, self._append, made, strict=True):
            new = np.flatnonzero(~held[rows])
            if len(new):
                append([self.digests[rows[i]] for i in new], values.numpy()[new])
        if self.features is None:
            shape = (len(self.digests), made[0].shape[1])
            self.features = np.zeros(shape, dtype=self.kinds[0].dtype)
        new = np.flatnonzero(~self.held[0][rows])
        self.features[np.array(rows)[new]] = made[0].numpy()[new]


def content_digests(
    dataset: MultiLabelDataset,
    workers: int = WORKERS,
    skip_unreadable: bool = False,
    progress: UnitProgress = silent,
) -> tuple[list[bytes], dict[int, str]]:
    """A key of the content of each image, and why some cannot be read, by number.

    Images of equal content have keys of their own, as each has its row.

    Args:
        dataset: images with their content digests.
        workers: threads that read files.
        skip_unreadable: go on after one that cannot be read.
        progress: told the images read and the images in all.

    Raises:
        BadData: an image cannot be read, and may not be skipped.
    """

    def read(i: int) -> str | BadData:
        try:
            return dataset.digest(i)
        except BadData as error:
            return error

    digests, unreadable, copies = [], {}, Counter[str]()
    with ThreadPoolExecutor(workers) as pool:
        for i, found in enumerate(pool.map(read, range(len(dataset)))):
            if isinstance(found, BadData):
                if not skip_unreadable:
                    pool.shutdown(cancel_futures=True)
                    raise _with_remedy(found) from found
                unreadable[i], found = str(found), ""
            digests.append(hashlib.sha256(f"{found} {copies[found]}".encode()).digest())
            copies[found] += 1
            progress(i + 1, len(dataset))
    return digests, unreadable


def _with_remedy(error: BadData) -> BadData:
    """The same error, with what to do about an image that cannot be read."""
    return BadData(
        f"{str(error).removesuffix('.')}; replace it, or leave out all such images by `ccr-diag "
        "data convert --skip-unreadable`."
    )


def read_ahead(
    backbone: Backbone,
    dataset: MultiLabelDataset,
    rows: Sequence[int],
    batch_size: int,
    workers: int = WORKERS,
    unreadable: dict[int, str] | None = None,
) -> Generator[Batch, None, None]:
    """Preprocessed images, a batch at a time, the next ones being read meanwhile.

    Args:
        backbone: knows how to preprocess them, and on which device they are wanted.
        dataset: opens them.
        rows: which, by number.
        batch_size: images in a batch.
        workers: threads that open and preprocess them.
        unreadable: takes the reason of each image that is left out; None leaves none out.

    Yields:
        How many images were asked for, those that there are, by number, and what they show.

    Raises:
        BadData: an image that cannot be read, and is not to be left out.
    """

    def read(i: int) -> Tensor:
        return backbone.preprocess(dataset.open_image(i))

    def collect(part: Sequence[int], reading: list[Future[Tensor]]) -> Batch:
        found, images = [], []
        for i, future in zip(part, reading, strict=True):
            try:
                images.append(future.result())
                found.append(i)
            except BadData as error:
                if unreadable is None:
                    raise _with_remedy(error) from error
                unreadable[i] = str(error)
        return len(part), found, _on(backbone.device, torch.stack(images)) if images else None

    readers, collector = ThreadPoolExecutor(workers), ThreadPoolExecutor(1)
    batches: deque[Future[Batch]] = deque()
    try:
        for start in range(0, len(rows), batch_size):
            part = rows[start : start + batch_size]
            reading = [readers.submit(read, i) for i in part]
            batches.append(collector.submit(collect, part, reading))
            if len(batches) > AHEAD:
                yield batches.popleft().result()
        while batches:
            yield batches.popleft().result()
    finally:  # what is under way ends, what is not yet never begins
        readers.shutdown(wait=False, cancel_futures=True)
        collector.shutdown(cancel_futures=True)
        readers.shutdown()


def _on(device: torch.device, images: Tensor) -> Tensor:
    """Images on the way to the device, if that can be while something else is done."""
    if device.type != "cuda":
        return images
    return images.pin_memory().to(device, non_blocking=True)


def _encoded(backbone: Backbone, images: Tensor, local: bool) -> tuple[Tensor, ...]:
    """Global features and, if they are asked for, these and the local ones together."""
    if not local:
        return (backbone.encode_images(images),)
    features, positions = backbone.encode_positions(images)
    return features, torch.cat([features[:, None], positions], dim=1)


def _require_unit(dataset: MultiLabelDataset, rows: list[int], made: Sequence[Tensor]) -> None:
    """Refuse what a model gives where it overflows.

    Raises:
        RunFailed: a feature is not of length 1.
    """
    for values in made:
        whole = are_unit(values.numpy()).reshape(len(rows), -1).all(axis=1)
        if not whole.all():
            name = dataset.image_ids[rows[int(whole.argmin())]]
            raise RunFailed(
                f"Features must have length 1, but the model gives image {name} some that are "
                "zero or not a number; take other weights or --precision fp32."
            )


class _Timer:
    """Images a second, from the end of the first batch on: that one also warms the device up."""

    def __init__(self) -> None:
        self.began: float | None = None
        self.images = 0
        self.rate: float | None = None

    def tell(self, images: int) -> None:
        """A batch is done."""
        now = time.monotonic()
        if self.began is None:
            self.began = now
            return
        self.images += images
        self.rate = self.images / max(now - self.began, 1e-6)


def _folder(backbone: Backbone, cache: Path | None) -> Path:
    """Where the cache keeps features of this model."""
    name = f"{backbone.fingerprint[:32]}-{backbone.precision}-{OPENING}"
    return (cache or cache_folder()) / "features" / name


def _name(digests: Sequence[bytes]) -> str:
    """Of a request of this content in this order."""
    return hashlib.sha256(b"".join(digests)).hexdigest()[:32]
