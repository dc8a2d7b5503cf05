"""Data sets: one adapter a file, all giving ``MultiLabelDataset``; ``DATASETS`` names them.

A data set is asked for as ``KIND`` or ``KIND:ARGUMENT``: ``scenes``, ``scenes:noto``,
``coco:/data/coco``, ``manifest:labels.csv``. To add a kind, write its two functions in a file and
give it a line here.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ccr_diag.arrays import Unlisted
from ccr_diag.data.coco import coco_splits, load_coco
from ccr_diag.data.cvat import cvat_splits, load_cvat
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.data.folder import folder_splits, load_folder
from ccr_diag.data.hugging_face import hugging_face_splits, load_hugging_face
from ccr_diag.data.long_tail import load_long_tail, long_tail_splits
from ccr_diag.data.manifest import load_manifest, manifest_splits
from ccr_diag.data.nuswide import load_nuswide, nuswide_splits
from ccr_diag.data.openimages import load_openimages, openimages_splits
from ccr_diag.data.scenes import load_scenes, scene_splits
from ccr_diag.data.unlisted import Says, Undeclared
from ccr_diag.data.voc import custom_voc_splits, load_custom_voc, load_voc, voc_splits
from ccr_diag.data.webdataset import load_webdataset, webdataset_splits
from ccr_diag.data.yolo import load_yolo, yolo_splits
from ccr_diag.errors import BadData, nearest
from ccr_diag.progress import Progress, silent


@dataclass(frozen=True)
class Format:
    """How a kind of data set is read.

    Args:
        load: one split, from (argument, split, what an unlisted class means, what is told of long
            reading).
        splits: the names of its splits, from the argument.
        says: what the format says of classes that an image does not list, empty where the file or
            the user must say it.
    """

    load: Callable[[str, str, Unlisted, Progress], MultiLabelDataset]
    splits: Callable[[str], tuple[str, ...]]
    says: Says


DATASETS: dict[str, Format] = {
    "scenes": Format(load_scenes, scene_splits, "negative"),
    "coco": Format(load_coco, coco_splits, "negative"),
    "coco-lt": Format(partial(load_long_tail, "coco-lt"), long_tail_splits, "negative"),
    "voc-lt": Format(partial(load_long_tail, "voc-lt"), long_tail_splits, "negative"),
    "manifest": Format(load_manifest, manifest_splits, ""),
    "cvat": Format(load_cvat, cvat_splits, ""),
    "yolo": Format(load_yolo, yolo_splits, ""),
    "folder": Format(load_folder, folder_splits, ""),
    "webdataset": Format(load_webdataset, webdataset_splits, ""),
    "hf": Format(load_hugging_face, hugging_face_splits, ""),
    "voc2007": Format(partial(load_voc, "2007"), partial(voc_splits, "2007"), "negative"),
    "voc2012": Format(partial(load_voc, "2012"), partial(voc_splits, "2012"), "negative"),
    "voc": Format(load_custom_voc, custom_voc_splits, "negative"),
    "nuswide": Format(partial(load_nuswide, "official"), nuswide_splits, "negative"),
    "nuswide-filtered": Format(partial(load_nuswide, "filtered"), nuswide_splits, "negative"),
    "openimages": Format(load_openimages, openimages_splits, "unknown"),
    "openimages-boxable": Format(
        partial(load_openimages, of="-boxable"),
        partial(openimages_splits, of="-boxable"),
        "unknown",
    ),
}


def load_dataset(
    spec: str, split: str, unlisted: Unlisted = "stated", progress: Progress = silent
) -> MultiLabelDataset:
    """One split of a data set.

    Args:
        spec: ``KIND`` or ``KIND:ARGUMENT``, the kind a key of ``DATASETS``.
        split: name of the split.
        unlisted: what a class means that an image does not list; ``stated`` leaves it to the
            format.
        progress: told the stage, the units read and the units in all, where reading takes long.

    Raises:
        BadData: an unknown kind, or whatever the adapter finds wrong.
    """
    format_, argument = format_of(spec)
    return format_.load(argument, split, unlisted, progress)


def format_of(spec: str) -> tuple[Format, str]:
    """The format and the argument that a name of a data set means, its ``~`` the home folder.

    No shell puts that in behind the colon.

    Raises:
        BadData: an unknown kind.
    """
    kind, _, argument = spec.partition(":")
    if kind not in DATASETS:
        raise BadData(
            f"A data set is named as KIND or KIND:ARGUMENT, but {spec!r} has no known kind"
            f"{nearest(kind, DATASETS)}"
        )
    return DATASETS[kind], os.path.expanduser(argument)


def splits_of(spec: str) -> tuple[str, ...]:
    """The names of the splits of a data set.

    Raises:
        BadData: an unknown kind, or a place where there is no such data set.
    """
    format_, argument = format_of(spec)
    return format_.splits(argument)


def load_declared(
    spec: str, split: str, unlisted: Unlisted, otherwise: Unlisted, progress: Progress = silent
) -> MultiLabelDataset:
    """One split of a data set of which somebody may have to say what unlisted classes mean.

    A run's own declaration also holds for other data that do not state it.

    Args:
        spec: the data set.
        split: name of the split.
        unlisted: what is declared for it.
        otherwise: what holds where neither it nor the data say it.
        progress: told of long reading.

    Raises:
        BadData: as of ``load_dataset``.
    """
    try:
        return load_dataset(spec, split, unlisted, progress)
    except Undeclared:
        return load_dataset(spec, split, otherwise, progress)
