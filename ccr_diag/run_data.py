"""A data set as a run sees it: the run's classes, in its order, with its new classes marked.

A run is tuned and measured on its own data set under its class split, and measured on other data
sets with the same classes (domain generalisation), whatever their order there; never on images that
it was tuned on, where these can be known.
"""

import logging
from collections.abc import Iterable, Sequence

from ccr_diag.arrays import Unlisted
from ccr_diag.checkpoint import Checkpoint
from ccr_diag.config import FinetuneConfig
from ccr_diag.data import load_dataset, load_declared
from ccr_diag.data.class_splits import split_classes
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.data.leakage import coco_numbers, may_share, without_tuned
from ccr_diag.errors import BadCheckpoint
from ccr_diag.progress import Progress, silent
from ccr_diag.runs import EXAMPLES

logger = logging.getLogger(__name__)


def run_dataset(
    config: FinetuneConfig, split: str, data: str | None = None, progress: Progress = silent
) -> MultiLabelDataset:
    """One split of a data set, as a run of these settings sees it.

    Args:
        config: says the run's own data set, and which of its classes are new or left out.
        split: name of the split.
        data: another data set with the same classes; the run's own when left out.
        progress: told of long reading.

    Raises:
        BadConfig: a class split that is none.
        BadData: no such data set, or one that lacks a class.
    """
    if data is not None and data != config.data:
        own = run_dataset(config, config.split, progress=progress)
        other = load_declared(data, split, "stated", config.unlisted, progress)
        return _as_seen(other, own.class_names, own.new_names)
    own = load_dataset(config.data, split, config.unlisted, progress)
    if config.class_split:
        return split_classes(own, config.class_split)
    if config.new_classes:
        return own.with_new((*own.new_names, *config.new_classes))
    return own


def checkpoint_dataset(
    checkpoint: Checkpoint,
    split: str,
    data: str | None = None,
    unlisted: Unlisted = "stated",
    *,
    others: Iterable[Checkpoint] = (),
    progress: Progress = silent,
) -> MultiLabelDataset:
    """One split of a data set, as the run that left a checkpoint saw it.

    The checkpoint records the classes, so neither the file of a class split nor the run's own data
    need still be there.

    Args:
        checkpoint: says the classes, and the run's own data set.
        split: name of the split.
        data: another data set with the same classes; the run's own when left out.
        unlisted: what classes mean there that an image does not list, where the run's own
            declaration is not to hold.
        others: checkpoints that are measured on the same images.
        progress: told of long reading.

    Raises:
        BadData: no such data set, one that lacks a class, or one that they were all tuned on.
        BadCheckpoint: what a run was tuned on is not recorded, and may be among the images.
    """
    spec = data or checkpoint.config.data
    loaded = load_declared(spec, split, unlisted, checkpoint.config.unlisted, progress)
    seen = _as_seen(loaded, checkpoint.class_names, checkpoint.new)
    return without_tuned(seen, spec, tuned_images((checkpoint, *others), spec))


def tuned_images(checkpoints: Iterable[Checkpoint], spec: str) -> frozenset[str]:
    """The images that runs were tuned on, as far as a data set may hold them.

    Args:
        checkpoints: of the runs.
        spec: the data set.

    Raises:
        BadCheckpoint: a run folder lacks the list of its examples.
    """
    tuned: set[str] = set()
    for checkpoint in checkpoints:
        own = checkpoint.config.images_from or checkpoint.config.data
        if may_share(own, spec):
            tuned |= coco_numbers(own, _examples(checkpoint))
    return frozenset(tuned)


def _examples(checkpoint: Checkpoint) -> list[str]:
    """Names of the examples of a run."""
    path = checkpoint.path.parent / EXAMPLES
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise BadCheckpoint(
            "A run on COCO must say which images it was tuned on, as other editions of COCO share "
            f"some, but {path} cannot be read ({error.strerror}); put it back beside the "
            "checkpoint."
        ) from error


def _as_seen(
    data: MultiLabelDataset, class_names: Sequence[str], new: Sequence[str]
) -> MultiLabelDataset:
    """A data set with the classes of a run."""
    seen = data.in_order(class_names).with_new(new)
    dropped = [name for name in data.class_names if name not in class_names]
    if dropped:
        logger.info("Classes of %s that the run does not have: %s", data.name, ", ".join(dropped))
    return seen
