"""Images that a run was tuned on are not what it is measured on, wherever they come from.

The editions of COCO share images: val2014 lies mostly in train2017. They are known by COCO's
12-digit number, which ``coco.py`` gives as their id. Ids of other kinds of data set mean nothing
outside their own files, so nothing is said of those.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import replace

import numpy as np

from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.errors import BadData

KINDS = ("coco", "coco-lt")
NUMBER = re.compile(r"\d{12}")


def may_share(*specs: str) -> bool:
    """Whether these data sets, as ``KIND:ARGUMENT``, may hold the same images of COCO."""
    return all(spec.partition(":")[0] in KINDS for spec in specs)


def coco_numbers(spec: str, image_ids: Iterable[str]) -> frozenset[str]:
    """Those of the images of a data set that are COCO's, by their number.

    Args:
        spec: the data set, as ``KIND:ARGUMENT``.
        image_ids: of some of its images.
    """
    if not may_share(spec, spec):
        return frozenset()
    return frozenset(name for name in image_ids if NUMBER.fullmatch(name))


def without_tuned(data: MultiLabelDataset, spec: str, tuned: Collection[str]) -> MultiLabelDataset:
    """A data set without images of COCO that were tuned on, and with a note if there were any.

    Args:
        data: what is measured on.
        spec: how it was asked for.
        tuned: numbers of images of COCO.

    Raises:
        BadData: no image is left.
    """
    shared = coco_numbers(spec, data.image_ids) & set(tuned)
    if not shared:
        return data
    if len(shared) == len(data):
        raise BadData(
            f"A run must be measured on images that it was not tuned on, but all {len(data):,} of "
            f"{data.name}, split {data.split}, are among its examples; choose another split."
        )
    kept = data.subset(np.array([name not in shared for name in data.image_ids]))
    note = (
        f"Images of {data.name}, split {data.split}, left out because they were tuned on, by "
        f"COCO's numbers: {len(shared):,} of {len(data):,}."
    )
    return replace(kept, notes=(*data.notes, note))
