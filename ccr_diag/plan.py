"""What a command would read, need and write, in lines, without doing it: of ``--dry-run``.

Nothing here loads weights or writes.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ccr_diag.arrays import ABSENT, PRESENT, UNKNOWN
from ccr_diag.backbone import EMBEDDED, find_device
from ccr_diag.config import FinetuneConfig
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.data.groups import GROUPS
from ccr_diag.embedded import MODEL_DIR
from ccr_diag.embeddings import read_embeddings
from ccr_diag.errors import BadPredictions
from ccr_diag.examples import example_rows
from ccr_diag.frameworks import FRAMEWORKS
from ccr_diag.pretrained import known_before
from ccr_diag.rates import known_rate
from ccr_diag.readers.sizes import size_of_predictions

OF_POSITIONS = (
    "Disk: features of positions go to the cache, float16 numbers; how many is known once the "
    "model is loaded, at ViT-B/16's size 0.2 MB an image"
)


def data_lines(data: MultiLabelDataset, groups: Sequence[str] = ()) -> Iterator[str]:
    """Images, classes and labels of a data set, and what was met in its files.

    Args:
        data: the data set.
        groups: of each class, if they are known.
    """
    known = f"{len(data):,} images, {len(data.class_names):,} classes"
    yield f"Data: {data.name}, split {data.split}: {known}"
    named = ((PRESENT, "present"), (ABSENT, "absent"), (UNKNOWN, "unknown"))
    counts = [f"{np.count_nonzero(data.labels == value):,} {name}" for value, name in named]
    yield f"Labels: {', '.join(counts)}"
    if groups:
        number = Counter(groups)
        yield f"Groups: {', '.join(f'{number[g]} {g}' for g in GROUPS if g in number)}"
    yield from (f"Note: {note}" for note in data.notes)


def tuning_lines(
    config: FinetuneConfig, train: MultiLabelDataset, n_splits: int, device: str
) -> Iterator[str]:
    """How many examples are drawn, how many steps that makes, and what it takes.

    Args:
        config: of the first split.
        train: the data set.
        n_splits: each with examples of its own.
        device: as the user names it.
    """
    trained_on = FRAMEWORKS[config.framework].TRAINED_ON
    if trained_on != "images":
        yield f"Examples: {trained_on}; how many is known once they are read"
        yield "Memory and time: not known before that"
        return
    labels = train.labels[:, ~train.new]
    n = len(example_rows(config, train.name, train.image_ids, labels))
    steps = -(-n // config.batch_size) * config.epochs
    yield f"Examples: {n:,} images in split {config.seed}; {steps:,} steps a split"
    most = min(n * n_splits, len(train))
    yield from backbone_lines(
        config.model, most, len(train.class_names), device, config.pretrained or None,
        config.precision,
    )  # fmt: skip
    if FRAMEWORKS[config.framework].LOCAL:
        yield OF_POSITIONS


def scoring_lines(
    checkpoints: Sequence[Path],
    data: MultiLabelDataset,
    groups: Sequence[str],
    model: str,
    device: str,
    pretrained: str | None,
    precision: str = "fp32",
) -> Iterator[str]:
    """Which checkpoints score which images, and what that takes; see ``backbone_lines``."""
    yield from (f"Reads: {path}, {size(path.stat().st_size)}" for path in checkpoints)
    yield from data_lines(data, groups)
    n_images, n_classes = data.labels.shape
    yield from backbone_lines(model, n_images, n_classes, device, pretrained, precision)


def backbone_lines(
    model: str,
    n_images: int,
    n_classes: int,
    device: str,
    pretrained: str | None = None,
    precision: str = "fp32",
) -> Iterator[str]:
    """The model, and the memory and time that it asks for, as far as they are known.

    Args:
        model: in open_clip's words.
        n_images: that go through it, if none is in the cache.
        n_classes: of their labels.
        device: as the user names it.
        pretrained: tag or file of its weights.
        precision: of the towers.

    Raises:
        BadConfig: an unknown model or device, or weights that are not there.
        MissingExtra: a text tower that needs a package which is not installed.
    """
    source = f"local-dir:{MODEL_DIR}" if model == EMBEDDED else model
    dim, weights = known_before(source, pretrained)
    where = find_device(device).type
    name = model if pretrained is None else f"{model}:{pretrained}"
    of_weights = "" if weights is None else f" of {size(weights.stat().st_size)}"
    yield f"Model: {name} on {where}, in {precision}; weights{of_weights} are not loaded for this"
    if dim is None:
        yield "Memory: not known before the weights are there"
    else:
        needed = n_images * (4 * dim + 5 * n_classes)  # float32 and int8
        yield (
            f"Memory: {size(needed)} for features, scores and labels; the model and its work on a "
            "batch come on top"
        )
    images = f"{n_images:,} images, unless their features are in the cache"
    rate = known_rate(name, where, precision)
    if rate is None:
        yield (
            f"Time: not known for {images}; it is once this model has made features of several "
            f"batches on {where}, by `ccr-diag embed` or any other command"
        )
    else:
        yield f"Time: {duration(n_images / rate)} at {rate:,.0f} images a second for {images}"


def file_lines(paths: Sequence[Path], others: Sequence[Path] = ()) -> Iterator[str]:
    """Files of predictions, what they hold, and the memory and time that it takes to measure them.

    Args:
        paths: the files.
        others: files or runs that are read beside them.

    Raises:
        BadPredictions: a file is missing, empty, a pickle or no file of predictions.
    """
    entries: list[int | None] = []
    for path in paths:
        shape = size_of_predictions(path)
        entries.append(None if shape is None else shape[0] * shape[1])
        holds = "" if shape is None else f", {shape[0]:,} images, {shape[1]:,} classes"
        yield f"Reads: {path}, {size(path.stat().st_size)}{holds}"
    yield from map(_other_line, others)
    known = [number for number in entries if number is not None]
    if len(known) < len(entries):
        yield "Memory: not known, as a table does not say before it is read how much it holds"
    else:
        # float32 and int8; what is stored uncompressed stays in the file.
        yield f"Memory: {size(5 * sum(known))} of values and labels, unless left in the file"
    yield "Time: not estimated for measuring"


def embedding_lines(paths: Sequence[Path]) -> Iterator[str]:
    """Files of embeddings, which are small enough to be read for it.

    Raises:
        BadData: a file is missing, damaged or no file of embeddings.
    """
    total = 0
    for path in paths:
        rows, dim = read_embeddings(path).rows.shape
        total += 8 * rows * dim
        yield f"Reads: {path}, {size(path.stat().st_size)}, {rows:,} embeddings of {dim:,} numbers"
    yield f"Memory: {size(total)} of float64"
    yield "Time: not estimated for comparing"


def _other_line(path: Path) -> str:
    if not path.exists():
        raise BadPredictions(f"There is no file at {path}; check the path.")
    return f"Reads: {path}" + (f", {size(path.stat().st_size)}" if path.is_file() else "")


def duration(seconds: float) -> str:
    """“40 s”, “12 min” or “2.5 h”."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def size(n_bytes: int) -> str:
    """“3.4 MiB”."""
    value, units = float(n_bytes), iter(("bytes", "KiB", "MiB", "GiB"))
    unit = next(units)
    while value >= 1024 and unit != "GiB":
        value, unit = value / 1024, next(units)
    return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:,.1f} {unit}"
