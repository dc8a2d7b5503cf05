"""A data set as a run sees it: the run's classes, in its order, with its new classes marked.

A run is tuned and measured on its own data set under its class split, and measured on other data
sets with the same classes (domain generalisation), whatever their order there.
"""

import logging
from collections.abc import Sequence

from ccr_diag.checkpoint import Checkpoint
from ccr_diag.config import FinetuneConfig
from ccr_diag.data import load_dataset
from ccr_diag.data.class_splits import split_classes
from ccr_diag.data.dataset import MultiLabelDataset

logger = logging.getLogger(__name__)


def run_dataset(config: FinetuneConfig, split: str, data: str | None = None) -> MultiLabelDataset:
    """One split of a data set, as a run of these settings sees it.

    Args:
        config: says the run's own data set, and which of its classes are new or left out.
        split: name of the split.
        data: another data set with the same classes; the run's own when left out.

    Raises:
        BadConfig: a class split that is none.
        BadData: no such data set, or one that lacks a class.
    """
    if data is not None and data != config.data:
        own = run_dataset(config, config.split)
        return _as_seen(load_dataset(data, split), own.class_names, own.new_names)
    own = load_dataset(config.data, split)
    if config.class_split:
        return split_classes(own, config.class_split)
    if config.new_classes:
        return own.with_new((*own.new_names, *config.new_classes))
    return own


def checkpoint_dataset(
    checkpoint: Checkpoint, split: str, data: str | None = None
) -> MultiLabelDataset:
    """One split of a data set, as the run that left a checkpoint saw it.

    The checkpoint records the classes, so neither the file of a class split nor the run's own data
    need still be there.

    Args:
        checkpoint: says the classes, and the run's own data set.
        split: name of the split.
        data: another data set with the same classes; the run's own when left out.

    Raises:
        BadData: no such data set, or one that lacks a class.
    """
    loaded = load_dataset(data or checkpoint.config.data, split)
    return _as_seen(loaded, checkpoint.class_names, checkpoint.new)


def _as_seen(
    data: MultiLabelDataset, class_names: Sequence[str], new: Sequence[str]
) -> MultiLabelDataset:
    """A data set with the classes of a run."""
    seen = data.in_order(class_names).with_new(new)
    dropped = [name for name in data.class_names if name not in class_names]
    if dropped:
        logger.info("Classes of %s that the run does not have: %s", data.name, ", ".join(dropped))
    return seen
