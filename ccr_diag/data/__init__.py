"""Data sets: one adapter a file, all giving ``MultiLabelDataset``; ``DATASETS`` names them.

A data set is asked for as ``KIND`` or ``KIND:ARGUMENT``: ``scenes``, ``scenes:noto``,
``manifest:labels.csv``. To add a kind, write a function of (argument, split) and give it a line
here.
"""

from collections.abc import Callable

from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.data.manifest import load_manifest
from ccr_diag.data.scenes import load_scenes
from ccr_diag.errors import BadData, nearest

DATASETS: dict[str, Callable[[str, str], MultiLabelDataset]] = {
    "scenes": load_scenes,
    "manifest": load_manifest,
}


def load_dataset(spec: str, split: str) -> MultiLabelDataset:
    """One split of a data set.

    Args:
        spec: ``KIND`` or ``KIND:ARGUMENT``, the kind a key of ``DATASETS``.
        split: name of the split.

    Raises:
        BadData: an unknown kind, or whatever the adapter finds wrong.
    """
    kind, _, argument = spec.partition(":")
    if kind not in DATASETS:
        raise BadData(
            f"A data set is named as KIND or KIND:ARGUMENT, but {spec!r} has no known kind"
            f"{nearest(kind, DATASETS)}"
        )
    return DATASETS[kind](argument, split)
