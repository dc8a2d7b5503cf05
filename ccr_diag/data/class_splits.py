"""Base-to-new protocols: which classes are tuned on, and which are only measured.

In: a data set and the name of a class split, or a file that lists it. Out: the same images with the
new classes marked, and without the columns of classes that the split leaves out. A split stands in
place of what the data set itself declares new.
"""

import tomllib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.errors import BadConfig, BadData, nearest

Names = tuple[str, ...]

# The 80 classes of COCO, in the order of their category ids.
COCO = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog",
    "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
    "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange",
    "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant",
    "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
NEW_OF_17 = (
    "airplane", "bus", "cat", "dog", "cow", "elephant", "umbrella", "tie", "snowboard",
    "skateboard", "cup", "knife", "cake", "couch", "keyboard", "sink", "scissors",
)  # fmt: skip
UNUSED_WITH_17 = (
    "traffic light", "fire hydrant", "stop sign", "parking meter", "sports ball", "baseball bat",
    "baseball glove", "tennis racket", "wine glass", "hot dog", "potted plant", "dining table",
    "cell phone", "teddy bear", "hair drier",
)  # fmt: skip
NEW_OF_15 = (
    "airplane", "train", "parking meter", "cat", "bear", "suitcase", "frisbee", "snowboard",
    "fork", "sandwich", "hot dog", "toilet", "mouse", "toaster", "hair drier",
)  # fmt: skip
FILE_KEYS = ("new", "base")


@dataclass(frozen=True)
class ClassSplit:
    """Base and new classes, by their names in the data set; what is in neither is left out."""

    base: Names
    new: Names


def first_half(name: str, class_names: Names) -> ClassSplit:
    """The first ⌈n/2⌉ of n classes are base, the others new.

    Source: CoOp's base-to-new protocol (Zhou et al., Conditional Prompt Learning, 2022).
    """
    if len(class_names) < 2:
        raise BadData(
            f"Class split first-half needs at least 2 classes, but {name} has only "
            f"{class_names[0]!r}; leave it out."
        )
    middle = -(-len(class_names) // 2)
    return ClassSplit(class_names[:middle], class_names[middle:])


def coco_48_17(name: str, class_names: Names) -> ClassSplit:
    """48 base and 17 new classes of COCO; the other 15 are left out.

    Source: Bansal et al., Zero-Shot Object Detection, 2018; used for labels by DualCoOp, 2022.
    """
    base = tuple(c for c in COCO if c not in NEW_OF_17 + UNUSED_WITH_17)
    return _of_coco("coco-48-17", base, NEW_OF_17, name, class_names)


def coco_65_15(name: str, class_names: Names) -> ClassSplit:
    """65 base and 15 new classes of COCO.

    Source: Rahman et al., Improved Visual-Semantic Alignment for Zero-Shot Object Detection, 2020.
    """
    base = tuple(c for c in COCO if c not in NEW_OF_15)
    return _of_coco("coco-65-15", base, NEW_OF_15, name, class_names)


CLASS_SPLITS: dict[str, Callable[[str, Names], ClassSplit]] = {
    "first-half": first_half,
    "coco-48-17": coco_48_17,
    "coco-65-15": coco_65_15,
}


def split_classes(data: MultiLabelDataset, which: str) -> MultiLabelDataset:
    """The data set under a class split.

    Args:
        data: the images, with all classes.
        which: a key of ``CLASS_SPLITS``, or a TOML file with ``new = [...]`` and optionally
            ``base = [...]``; without it all other classes are base.

    Raises:
        BadConfig: a file that cannot be read or breaks these rules.
        BadData: a class that the data set does not have.
    """
    if which in CLASS_SPLITS:
        split = CLASS_SPLITS[which](data.name, data.class_names)
    else:
        split = _of_file(Path(which), data.name, data.class_names)
    kept = {*split.base, *split.new}
    return data.in_order([c for c in data.class_names if c in kept]).with_new(split.new)


def _of_coco(which: str, base: Names, new: Names, name: str, class_names: Names) -> ClassSplit:
    """These classes of COCO as the data set spells them: ``hot_dog`` is ``hot dog`` too."""
    spelled = {c.replace("_", " ").lower(): c for c in class_names}
    lacking = [c for c in base + new if c not in spelled]
    if lacking:
        first = ", ".join(lacking[:5]) + (", …" if len(lacking) > 5 else "")
        raise BadData(
            f"Class split {which} needs {len(base + new)} classes of COCO by their names, but "
            f"{name} lacks {len(lacking)} of them ({first}); list its own classes in a TOML file."
        )
    return ClassSplit(tuple(spelled[c] for c in base), tuple(spelled[c] for c in new))


def _of_file(path: Path, name: str, class_names: Names) -> ClassSplit:
    """What a file lists, all of it classes of the data set."""
    listed = _read(path)
    for key, names in listed.items():
        unknown = [c for c in names if c not in class_names]
        if unknown:
            raise BadData(
                f"{path} must list classes of {name}, but {unknown[0]!r} of its {key!r} is none"
                f"{nearest(unknown[0], class_names)}"
            )
    new = listed["new"]
    base = listed.get("base", tuple(c for c in class_names if c not in new))
    if not base:
        raise BadConfig(
            f"{path} must leave a base class to tune on, but lists all {len(new)} classes of "
            f"{name} as new; list fewer."
        )
    return ClassSplit(base, new)


def _read(path: Path) -> dict[str, Names]:
    """The lists of a file, each class once."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadConfig(
            f"A class split must be a TOML file, but {path} cannot be read ({error.strerror})."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(
            f"A class split must be a TOML file, but {path} is not ({error})."
        ) from error
    for key in table:
        if key not in FILE_KEYS:
            raise BadConfig(
                f"{path} must list classes as new = [...] and base = [...], but has {key!r}"
                f"{nearest(key, FILE_KEYS)}"
            )
    if "new" not in table:
        raise BadConfig(f"{path} must list the new classes as new = [...], but does not; add them.")
    listed = {key: _names(path, key, value) for key, value in table.items()}
    repeated, times = Counter(c for names in listed.values() for c in names).most_common(1)[0]
    if times > 1:
        raise BadConfig(
            f"{path} must list each class once, but lists {repeated!r} {times} times; drop one."
        )
    return listed


def _names(path: Path, key: str, value: Any) -> Names:
    """A list of class names, not empty."""
    if not isinstance(value, list) or not value or not all(isinstance(c, str) for c in value):
        raise BadConfig(
            f"{path} must give {key!r} as a list of one class name or more, but gives {value!r}."
        )
    return tuple(value)
