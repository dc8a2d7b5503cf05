"""Long-tailed COCO and VOC: few of the classes on most of the training images.

Training images are those of the published list, where the user has it: it lies in one of the places
of ``LONG_TAILS`` below the folder, or is named behind a comma, ``coco-lt:DIR,LIST``; one id a line.
Without a list they are drawn by the published recipe: for classes in the order of

    Σ_j P(class c in an image | class j in it),     greatest first,

the k-th of C is brought to n_k images, adding some that show it or taking some out, where

    n_k = ⌊(n_max − 1)·x_k^(−α − 1) + 1⌋,   x_1 … x_C evenly from 1 to 0.01^(−1/α),   α = 6,

that is, by a Pareto density up to its quantile of 0.99; n_max is 1200 for COCO and 800 for VOC.
What later classes add or take out also moves the earlier ones. The published draw cannot be made
again, so ours is another one, of a fixed seed. Classes of VOC's difficult objects are present here,
as in the source.

Source: Wu et al., "Distribution-Balanced Loss for Multi-Label Classification in Long-Tailed
Datasets", ECCV 2020, arXiv:2007.09654.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int

from ccr_diag.arrays import PRESENT, UNKNOWN, Labels, Unlisted
from ccr_diag.data.coco import load_coco
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.data.groups import class_groups
from ccr_diag.data.reading import first_there, read_lines
from ccr_diag.data.voc import load_voc
from ccr_diag.errors import BadData, nearest
from ccr_diag.progress import Progress, silent

ALPHA, SHOWN_SHARE, FEWEST, SEED = 6, 0.99, 1, 0
SPLITS = ("train", "test")
PICKLE = b"\x80"  # first byte of one

Load = Callable[[str, Unlisted, Progress], MultiLabelDataset]


@dataclass(frozen=True)
class LongTail:
    """A published set.

    Args:
        whole: all images that training ones are chosen from, by the folder.
        test: the images that it is measured on.
        lists: where the published list may lie.
        most: n_max of the recipe.
        n_images: of the published list.
        groups: its head, medium and tail classes.
    """

    whole: Load
    test: Load
    lists: tuple[str, ...]
    most: int
    n_images: int
    groups: tuple[int, int, int]


LONG_TAILS = {
    "coco-lt": LongTail(
        whole=lambda folder, *how: load_coco(folder, "train2017", *how),
        test=lambda folder, *how: load_coco(folder, "val2017", *how),
        lists=tuple(
            f"{place}longtail2017/img_id.{end}"
            for place in ("", "appendix/coco/")
            for end in ("pkl", "txt")  # text, too, whatever its name
        ),
        most=1200,
        n_images=1909,
        groups=(22, 33, 25),
    ),
    "voc-lt": LongTail(
        whole=lambda folder, *how: load_voc("2012", folder, "trainval", *how),
        test=lambda folder, *how: load_voc("2007", folder, "test", *how),
        lists=tuple(
            f"{place}longtail2012/img_id.txt" for place in ("", "VOCdevkit/", "appendix/VOCdevkit/")
        ),
        most=800,
        n_images=1142,
        groups=(6, 6, 8),
    ),
}


def long_tail_splits(argument: str) -> tuple[str, ...]:
    """The same everywhere."""
    return SPLITS


def load_long_tail(
    kind: str,
    argument: str,
    split: str,
    unlisted: Unlisted = "stated",
    progress: Progress = silent,
) -> MultiLabelDataset:
    """One split of a long-tailed set.

    Args:
        kind: ``coco-lt`` or ``voc-lt``.
        argument: folder of COCO, or of VOC2012 and VOC2007; behind a comma, a list of ids.
        split: ``train``; or ``test``, which is val2017 of COCO and test of VOC2007.
        unlisted: what is not listed is absent, so ``stated`` or ``negative``.
        progress: told of reading annotations.

    Raises:
        BadData: another split, a list that does not fit the images, or what COCO and VOC refuse.
    """
    if split not in SPLITS:
        raise BadData(f"{kind} has no split {split!r}{nearest(split, SPLITS)}")
    folder, path = _folder_and_list(kind, argument)
    how = LONG_TAILS[kind]
    if split == "test":
        data = _with_difficult(how.test(folder, unlisted, progress))
    else:
        whole = _with_difficult(how.whole(folder, unlisted, progress))
        data = _drawn(how, whole) if path is None else _listed(how, whole, path)
    _, _, place = data.name.partition(":")
    return replace(data, name=f"{kind}:{place}", split=split)


def _folder_and_list(kind: str, argument: str) -> tuple[str, Path | None]:
    """The folder, and the list of ids if one is named or lies in its place."""
    if Path(argument).is_dir():
        places = tuple(Path(argument, place) for place in LONG_TAILS[kind].lists)
        return argument, first_there(places)
    folder, comma, listed = argument.rpartition(",")
    if not comma:
        return argument, None  # there is no such folder, as its reader will say
    if not Path(listed).is_file():
        raise BadData(
            f"{kind}:{argument} must name a folder, or a folder, a comma and a list of image ids, "
            f"but there is no file {listed}."
        )
    return folder, Path(listed)


def _with_difficult(data: MultiLabelDataset) -> MultiLabelDataset:
    """The same with classes of difficult objects alone as present, as the source reads them."""
    unknown = data.labels == UNKNOWN
    if not unknown.any():
        return data
    note = (
        "Labels from difficult objects alone, read as present as the long-tailed sets are "
        f"published: {np.count_nonzero(unknown):,}."
    )
    labels = np.where(unknown, np.int8(PRESENT), data.labels)
    return replace(data, labels=labels, notes=(*data.notes, note))


def _drawn(how: LongTail, whole: MultiLabelDataset) -> MultiLabelDataset:
    """Our own draw."""
    data = whole.subset(draw_long_tail(whole.labels, how.most, SEED))
    note = (
        f"{len(data):,} training images are our own draw by the published recipe (seed {SEED}), "
        f"not the published list, which has {how.n_images:,}: put that at {how.lists[0]} in the "
        "folder."
    )
    return replace(data, notes=(*_notes_of(whole), note))


def _listed(how: LongTail, whole: MultiLabelDataset, path: Path) -> MultiLabelDataset:
    """The images of a list, in its order."""
    with path.open("rb") as file:
        if file.read(1) == PICKLE:
            raise BadData(
                f"{path} must list image ids as text, one a line, but is a pickle, which is never "
                "opened; write the ids to a text file."
            )
    row_of = {name: row for row, name in enumerate(whole.image_ids)}
    lines = read_lines(path, "image ids")
    names = [_image_id(line, row_of) for line in lines]
    missing = [line for line, name in zip(lines, names, strict=True) if name not in row_of]
    if missing:
        raise BadData(
            f"{path} must list images of {whole.name}, split {whole.split}, but {len(missing):,} "
            f"of its {len(lines):,} are none, such as {missing[0]!r}; give the list that belongs "
            "to these images."
        )
    rows = list(dict.fromkeys(row_of[name] for name in names))
    data = whole.subset(np.array(rows))
    notes = [*_notes_of(whole), f"{len(data):,} training images are those that {path.name} lists."]
    if len(rows) < len(lines):
        notes.append(f"Images that it lists again: {len(lines) - len(rows):,}.")
    sizes = group_sizes(data)
    if len(data) == how.n_images and sizes != how.groups:
        notes.append(
            f"It is as long as the published list, whose head, medium and tail have "
            f"{_and(how.groups)} classes, but here they have {_and(sizes)}: these are not the "
            "published annotations."
        )
    return replace(data, notes=tuple(notes))


def _notes_of(whole: MultiLabelDataset) -> list[str]:
    """What was met in the files of all images, said as that."""
    return [f"Of {whole.name}, split {whole.split}: {note}" for note in whole.notes]


def _image_id(line: str, known: dict[str, int]) -> str:
    """An id as the data set writes it: COCO's number may come without zeros, or as a file name."""
    stem = Path(line).stem
    return stem.zfill(12) if stem.isdecimal() and line not in known else line


def group_sizes(train: MultiLabelDataset) -> tuple[int, int, int]:
    """How many classes are head, medium and tail, were none of them new."""
    number = Counter(class_groups(train.labels, np.zeros(len(train.class_names), dtype=bool)))
    return number["head"], number["medium"], number["tail"]


def _and(numbers: tuple[int, int, int]) -> str:
    return "{}, {} and {}".format(*numbers)


def draw_long_tail(labels: Labels, most: int, seed: int) -> Int[np.ndarray, " chosen"]:
    """Rows of images whose classes follow the Pareto curve, as far as they occur together.

    Args:
        labels: (images, classes), of all images.
        most: n_max.
        seed: of the draw.
    """
    shows = labels == PRESENT
    together = shows.T.astype(np.int64) @ shows  # at [j, c], images of both
    given = together / np.maximum(together.diagonal()[:, None], 1)
    order = np.argsort(-given.sum(axis=0), kind="stable")
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(labels), dtype=bool)
    for class_, wanted in zip(order, pareto_counts(len(order), most), strict=True):
        lacking = wanted - np.count_nonzero(chosen & shows[:, class_])
        pool = np.flatnonzero(shows[:, class_] & (chosen if lacking < 0 else ~chosen))
        picked = rng.choice(pool, size=min(abs(lacking), len(pool)), replace=False)
        chosen[picked] = lacking > 0
    return np.flatnonzero(chosen)


def pareto_counts(n_classes: int, most: int) -> Int[np.ndarray, " classes"]:
    """n_1 … n_C of the recipe."""
    x = np.linspace(1, (1 - SHOWN_SHARE) ** (-1 / ALPHA), n_classes)
    return ((most - FEWEST) * x ** (-ALPHA - 1.0) + FEWEST).astype(np.int64)
