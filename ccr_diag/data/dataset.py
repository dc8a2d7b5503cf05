"""The record that every data set becomes: names, labels and a way to open each image.

In: whatever an adapter of this folder reads. Out: ``MultiLabelDataset``, from which ``features.py``
opens the images and everything later takes the labels.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Int
from PIL import Image

from ccr_diag.arrays import Labels
from ccr_diag.data.captions import Synonyms
from ccr_diag.errors import BadData, nearest

T = TypeVar("T")


@dataclass(frozen=True)
class MultiLabelDataset:
    """Images, and for each image and class whether it is present (1), absent (0) or unknown (−1).

    Args:
        name: how the user asks for it, e.g. ``scenes:twemoji``.
        split: which part of it this is, or ``all``.
        class_names: one name a class.
        new: classes that are never labelled in tuning.
        labels: (images, classes).
        image_ids: one name an image.
        digest: content key of image i; equal keys mean equal pixels.
        open_image: image i as RGB.
        captions: what somebody says about each image, empty where nobody did; None where the data
            set has no captions.
        synonyms: other words for some of the classes, by which captions may name them.
        class_ids: the format's own key of each class, where it is not the name: COCO's category
            id, VOC's “diningtable”, a MID of Open Images.
        notes: sentences about what was met in the files, and how it was read.
        paths: the file of each image; None where images are drawn, or members of an archive.

    Raises:
        BadData: nothing in it, lengths that disagree, a label value other than 1, 0, −1, or a
            repeated class name or image id.
    """

    name: str
    split: str
    class_names: tuple[str, ...]
    new: Bool[np.ndarray, " classes"]
    labels: Labels
    image_ids: tuple[str, ...]
    digest: Callable[[int], str]
    open_image: Callable[[int], Image.Image]
    captions: tuple[str, ...] | None = None
    synonyms: Synonyms | None = None
    class_ids: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    paths: tuple[Path, ...] | None = None

    def __post_init__(self) -> None:
        n_images, n_classes = self.labels.shape
        where = f"Data set {self.name}, split {self.split}"
        if not (n_images and n_classes):
            raise BadData(
                f"{where} needs at least one image and one class, but has {n_images} images and "
                f"{n_classes} classes."
            )
        if not len(self.class_names) == len(self.new) == n_classes:
            raise BadData(
                f"{where} needs one name and one new flag for each of its {n_classes} label "
                f"columns, but has {len(self.class_names)} names and {len(self.new)} flags."
            )
        if len(self.image_ids) != n_images:
            raise BadData(
                f"{where} needs one id for each of its {n_images} label rows, but has "
                f"{len(self.image_ids)} ids."
            )
        if self.captions is not None and len(self.captions) != n_images:
            raise BadData(
                f"{where} needs one caption for each of its {n_images} label rows, but has "
                f"{len(self.captions)} captions."
            )
        if self.paths is not None and len(self.paths) != n_images:
            raise BadData(
                f"{where} needs one path for each of its {n_images} label rows, but has "
                f"{len(self.paths)} paths."
            )
        if self.class_ids is not None and len(self.class_ids) != n_classes:
            raise BadData(
                f"{where} needs one class id for each of its {n_classes} label columns, but has "
                f"{len(self.class_ids)} ids."
            )
        wrong = self.labels[(self.labels < -1) | (self.labels > 1)]
        if len(wrong):
            raise BadData(
                f"{where} needs labels 1 (present), 0 (absent) or -1 (unknown), but holds "
                f"{wrong[0]}."
            )
        unique = {"class name": self.class_names, "image id": self.image_ids}
        for what, names in (unique | {"class id": self.class_ids or ("",)}).items():
            name, times = Counter(names).most_common(1)[0]
            if times > 1:
                raise BadData(f"{where} needs every {what} once, but has {name!r} {times} times.")

    def __len__(self) -> int:
        return len(self.image_ids)

    def subset(
        self, rows: Int[np.ndarray, " rows"] | Bool[np.ndarray, " images"]
    ) -> "MultiLabelDataset":
        """These images, in this order.

        Args:
            rows: row numbers, or a mask over the images.
        """
        rows = np.arange(len(self))[rows]
        chosen: tuple[int, ...] = tuple(rows.tolist())
        return replace(
            self,
            labels=self.labels[rows],
            image_ids=tuple(self.image_ids[i] for i in chosen),
            digest=partial(_of_row, self.digest, chosen),
            open_image=partial(_of_row, self.open_image, chosen),
            captions=None if self.captions is None else tuple(self.captions[i] for i in chosen),
            paths=None if self.paths is None else tuple(self.paths[i] for i in chosen),
        )

    @property
    def new_names(self) -> tuple[str, ...]:
        """The classes that are new."""
        return tuple(c for c, new in zip(self.class_names, self.new, strict=True) if new)

    def in_order(self, class_names: Sequence[str]) -> "MultiLabelDataset":
        """The same images with these classes, in this order; its other classes are dropped.

        Args:
            class_names: some or all of the classes.

        Raises:
            BadData: a name that is no class.
        """
        column = {name: c for c, name in enumerate(self.class_names)}
        lacking = [name for name in class_names if name not in column]
        if lacking:
            first = ", ".join(lacking[:5]) + (", …" if len(lacking) > 5 else "")
            raise BadData(
                f"Data set {self.name} must have the {len(class_names)} classes of the run, by the "
                f"same names, but lacks {len(lacking)} ({first}); rename its classes, or use data "
                "that has them."
            )
        columns = np.array([column[name] for name in class_names], dtype=np.int64)
        words, ids = self.synonyms, self.class_ids
        return replace(
            self,
            class_names=tuple(class_names),
            new=self.new[columns],
            labels=np.ascontiguousarray(self.labels[:, columns]),
            synonyms=None if words is None else {c: words[c] for c in class_names if c in words},
            class_ids=None if ids is None else tuple(ids[c] for c in columns),
        )

    def with_new(self, names: Iterable[str]) -> "MultiLabelDataset":
        """The same images with these classes, and no others, marked as new.

        Args:
            names: class names.

        Raises:
            BadData: a name that is no class, or no class left to tune on.
        """
        wanted = set(names)
        unknown = sorted(wanted - set(self.class_names))
        if unknown:
            raise BadData(
                f"New classes must be classes of {self.name}, but {unknown[0]!r} is none"
                f"{nearest(unknown[0], self.class_names)}"
            )
        if len(wanted) == len(self.class_names):
            raise BadData(
                f"At least one class of {self.name} must stay a base class to tune on, but all "
                f"{len(wanted)} are named as new; name fewer."
            )
        return replace(self, new=np.array([name in wanted for name in self.class_names]))


def _of_row(read: Callable[[int], T], rows: tuple[int, ...], i: int) -> T:
    """What the whole data set reads for row ``i`` of a subset."""
    return read(rows[i])
