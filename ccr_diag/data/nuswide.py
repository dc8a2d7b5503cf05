r"""NUS-WIDE: 81 concepts that people looked for in 269,648 Flickr images.

In: a folder with the official files,

    ImageList/{Train,Test}Imagelist.txt             one image a line, as actor\0001_2124494179.jpg
    Concepts81.txt                                  one concept a line, also in ConceptsList/
    TrainTestLabels/Labels_CONCEPT_{Train,Test}.txt one 0 or 1 a line, also in Groundtruth/
    Flickr/TAG/NAME.jpg                             also images/TAG/NAME.jpg or images/NAME.jpg

or, where ImageList/ is not there, with lists ``train.txt``, ``test.txt``, ``database.txt`` whose
lines are an image and 81 times 0 or 1, as hashing papers use them. Two protocols are in use:

    official    every row of the list; about a fifth have none of the concepts
    filtered    only rows with at least one concept

Images that are no longer on the disk (many Flickr pages are gone) are left out under both, and
counted in a note. Out: ``MultiLabelDataset``.

Source: Chua et al., NUS-WIDE: A Real-World Web Image Database from National University of
Singapore, CIVR 2009. Lists with labels: Cao et al., HashNet, ICCV 2017.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from ccr_diag.arrays import UNKNOWN, Labels, Unlisted
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.data.images import ImageFiles, inside
from ccr_diag.data.reading import first_there, read_lines
from ccr_diag.data.unlisted import fill_of
from ccr_diag.errors import BadData, nearest
from ccr_diag.progress import Progress, silent

Protocol = Literal["official", "filtered"]
KINDS = {"official": "nuswide", "filtered": "nuswide-filtered"}
N_CONCEPTS = 81
MANY = 10_000  # images whose labels take longer than a moment
OFFICIAL = {"train": "Train", "test": "Test"}
WITH_LABELS = ("train", "test", "database")
WHERE_FROM = "lms.comp.nus.edu.sg/wp-content/uploads/2019/research/nuswide/NUS-WIDE.html"


@dataclass(frozen=True)
class Rows:
    """Images and their labels.

    Args:
        images: names relative to the folder of images, with forward slashes.
        labels: (images, concepts).
        notes: sentences about how they were read.
    """

    images: tuple[str, ...]
    labels: Labels
    notes: tuple[str, ...] = ()

    def chosen(self, keep: Sequence[int], *notes: str) -> "Rows":
        """These rows, in this order, and what to say of it."""
        return Rows(
            tuple(self.images[i] for i in keep),
            self.labels[np.asarray(keep, dtype=np.int64)],
            self.notes + notes,
        )


def load_nuswide(
    protocol: Protocol,
    argument: str,
    split: str,
    unlisted: Unlisted = "stated",
    progress: Progress = silent,
) -> MultiLabelDataset:
    """One split of NUS-WIDE.

    Args:
        protocol: ``filtered`` leaves images without any of the concepts out.
        argument: the folder.
        split: ``train`` or ``test``; of lists with labels also ``database``.
        unlisted: may only be what NUS-WIDE says: concepts not marked are absent.
        progress: told the label files read.

    Raises:
        BadData: a file that is not there, lengths that disagree, or no image on the disk.
    """
    kind = KINDS[protocol]
    folder = _named(kind, argument)
    fill_of(str(folder), "negative", unlisted)
    splits = nuswide_splits(argument)
    if split not in splits:
        raise BadData(f"{folder} has no list of a split {split!r}{nearest(split, splits)}")
    concepts = _concepts(folder)
    official = _image_list(folder, split)
    rows = (
        _official_rows(folder, official, split, concepts, progress)
        if official
        else _rows_with_labels(folder / f"{split}.txt", concepts)
    )
    rows = _under(protocol, _each_once(rows))
    rows, paths = _on_disk(folder, rows)
    files = ImageFiles(paths)
    return MultiLabelDataset(
        name=f"{kind}:{folder.resolve().name}",
        split=split,
        class_names=concepts,
        new=np.zeros(len(concepts), dtype=bool),
        labels=rows.labels,
        image_ids=rows.images,
        digest=files.digest,
        open_image=files.open,
        paths=files.paths,
        class_ids=concepts,
        notes=rows.notes,
    )


def nuswide_splits(argument: str) -> tuple[str, ...]:
    """The splits that have a list, official ones if there are any."""
    folder = _named("nuswide", argument)
    official = tuple(split for split in OFFICIAL if _image_list(folder, split))
    found = official or tuple(s for s in WITH_LABELS if (folder / f"{s}.txt").is_file())
    if not found:
        raise BadData(
            f"NUS-WIDE needs ImageList/TrainImagelist.txt and ImageList/TestImagelist.txt (or "
            f"train.txt and test.txt with labels), but {folder} has none; get the lists from "
            f"{WHERE_FROM}."
        )
    return found


def _named(kind: str, argument: str) -> Path:
    """The folder, which must be named and be there."""
    if not argument:
        raise BadData(f"{kind} needs its folder, as in {kind}:/data/NUS-WIDE, but none was named.")
    folder = Path(argument)
    if not folder.is_dir():
        raise BadData(f"{kind} needs a folder, but {folder} is none; get it from {WHERE_FROM}.")
    return folder


def _image_list(folder: Path, split: str) -> Path | None:
    """The official list of a split, if there is one."""
    name = f"{OFFICIAL.get(split, split)}Imagelist.txt"
    return first_there((folder / "ImageList" / name, folder / name))


def _concepts(folder: Path) -> tuple[str, ...]:
    """The 81 concepts, in the order of their file."""
    name = "Concepts81.txt"
    path = first_there((folder / name, folder / "ConceptsList" / name))
    if path is None:
        raise BadData(
            f"NUS-WIDE needs {name}, but neither {folder} nor its folder ConceptsList has it; get "
            f"it from {WHERE_FROM}."
        )
    concepts = tuple(read_lines(path, "the concepts"))
    if len(set(concepts)) != N_CONCEPTS or len(concepts) != N_CONCEPTS:
        raise BadData(
            f"{path} must list {N_CONCEPTS} different concepts, but lists {len(concepts)}, of "
            f"which {len(set(concepts))} differ."
        )
    return concepts


def _official_rows(
    folder: Path, image_list: Path, split: str, concepts: tuple[str, ...], progress: Progress
) -> Rows:
    """The rows of an official list and its label files."""
    part = OFFICIAL[split]
    names = [f"Labels_{concept}_{part}.txt" for concept in concepts]
    places = (folder / "TrainTestLabels", folder / "Groundtruth" / "TrainTestLabels")
    place = first_there(places)
    if place is None:
        raise BadData(
            f"NUS-WIDE needs the folder TrainTestLabels, but neither {folder} nor its folder "
            f"Groundtruth has it; get it from {WHERE_FROM}."
        )
    images = tuple(name.replace("\\", "/") for name in read_lines(image_list, "images"))
    labels = np.empty((len(images), len(concepts)), dtype=np.int8)
    for c, name in enumerate(names):
        column = _read_column(place / name)
        if len(column) != len(images):
            raise BadData(
                f"{place / name} must have one label for each of the {len(images):,} images of "
                f"{image_list.name}, but has {len(column):,}."
            )
        labels[:, c] = column
        if len(images) > MANY:
            progress("label files", c + 1, len(concepts))
    return Rows(images, labels)


def _read_column(path: Path) -> list[bool]:
    """The labels of one concept: 0 or 1 a line."""
    try:
        values = path.read_bytes().split()
    except OSError as e:
        raise BadData(f"{path} must be a readable file, but is not: {e.strerror}.") from e
    wrong = set(values) - {b"0", b"1"}
    if wrong:
        raise BadData(f"{path} must hold 0 or 1 a line, but holds {_shown(min(wrong))}.")
    return [value == b"1" for value in values]


def _shown(value: bytes) -> str:
    return repr(value.decode(errors="replace")[:20])


def _rows_with_labels(path: Path, concepts: tuple[str, ...]) -> Rows:
    """The rows of a list whose lines are an image and its labels."""
    images, labels = [], []
    for number, line in enumerate(read_lines(path, "images and their labels"), start=1):
        image, *values = line.rsplit(maxsplit=len(concepts))
        if len(values) != len(concepts) or not {"0", "1"}.issuperset(values):
            raise BadData(
                f"{path} line {number} must be an image and {len(concepts)} times 0 or 1, but "
                f"is {line[:60]!r}."
            )
        images.append(image.replace("\\", "/"))
        labels.append([value == "1" for value in values])
    note = f"Read from the list {path.name}, which holds the labels too; its columns are taken to "
    return Rows(
        tuple(images),
        np.array(labels, dtype=np.int8),
        (f"{note}be in the order of Concepts81.txt.",),
    )


def _each_once(rows: Rows) -> Rows:
    """Each image once; where its lines disagree on a concept, that is unknown."""
    first: dict[str, int] = {}
    labels = rows.labels
    for i, image in enumerate(rows.images):
        kept = first.setdefault(image, i)
        if kept != i:
            labels[kept, labels[kept] != labels[i]] = UNKNOWN
    repeated = len(rows.images) - len(first)
    if not repeated:
        return rows
    unsure = int((labels == UNKNOWN).sum())
    return rows.chosen(
        list(first.values()),
        f"{repeated:,} lines of the list repeat an image: each is read once, and what its lines "
        f"say differently ({unsure:,} labels) is unknown.",
    )


def _under(protocol: Protocol, rows: Rows) -> Rows:
    """The rows that a protocol keeps."""
    without = ~(rows.labels != 0).any(axis=1)
    which = (
        f"{int(without.sum()):,} of {len(without):,} rows have none of the {N_CONCEPTS} concepts"
    )
    if protocol == "official":
        return Rows(
            rows.images, rows.labels, (*rows.notes, f"Official protocol: {which} and are kept.")
        )
    keep: list[int] = np.flatnonzero(~without).tolist()
    if not keep:
        raise BadData(f"nuswide-filtered needs rows with a concept, but {which}; use nuswide.")
    return rows.chosen(keep, f"Filtered protocol: {which} and are left out.")


def _on_disk(folder: Path, rows: Rows) -> tuple[Rows, tuple[Path, ...]]:
    """The rows whose image is there, and where it is."""
    layouts: dict[str, Callable[[str], Path]] = {
        "Flickr/TAG": lambda name: inside(folder / "Flickr", name),
        "images/TAG": lambda name: inside(folder / "images", name),
        "images": lambda name: inside(folder / "images", PurePosixPath(name).name),
        "the list's own paths": lambda name: inside(folder, name),
    }
    for place in layouts.values():
        paths = [place(name) for name in rows.images]
        keep = [i for i, path in enumerate(paths) if path.is_file()]
        if keep:
            break
    else:
        raise BadData(
            f"NUS-WIDE needs its images, but none of the {len(rows.images):,} listed "
            f"({rows.images[0]}) is in {folder}, where {', '.join(layouts)} were tried."
        )
    gone = len(paths) - len(keep)
    if not gone:
        return rows, tuple(paths)
    note = f"{gone:,} of {len(paths):,} listed images are not on the disk and are left out."
    return rows.chosen(keep, note), tuple(paths[i] for i in keep)
