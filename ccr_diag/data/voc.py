"""PASCAL VOC: one XML file an image, and lists of images a split.

In: a folder with

    Annotations/ID.xml                          <annotation> <object> <name> <difficult>
    ImageSets/Main/{train,val,trainval,test}.txt          one ID a line
    ImageSets/Main/CLASS_SPLIT.txt                        ID and 1, 0 or −1 a line
    JPEGImages/ID.jpg

For image i and class c, by the objects of class c that the XML names:

    y_ic =  1   at least one is not difficult
    y_ic = −1   all are difficult (unknown)
    y_ic =  0   there is none

The lists CLASS_SPLIT.txt say the same with 1, 0 and −1; they are read only where XML files are not
there, and then for all images. Out: ``MultiLabelDataset``.

Source: Everingham et al., The PASCAL Visual Object Classes Challenge, IJCV 2010.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
from defusedxml.ElementTree import parse

from ccr_diag.arrays import ABSENT, PRESENT, UNKNOWN, Labels, Unlisted
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.data.images import ImageFiles, inside
from ccr_diag.data.reading import first_there, read_lines, whole_xml
from ccr_diag.data.unlisted import fill_of
from ccr_diag.errors import BadData, nearest
from ccr_diag.progress import Progress, silent

PROMPT_NAMES = {
    "aeroplane": "aeroplane",
    "bicycle": "bicycle",
    "bird": "bird",
    "boat": "boat",
    "bottle": "bottle",
    "bus": "bus",
    "car": "car",
    "cat": "cat",
    "chair": "chair",
    "cow": "cow",
    "diningtable": "dining table",
    "dog": "dog",
    "horse": "horse",
    "motorbike": "motorbike",
    "person": "person",
    "pottedplant": "potted plant",
    "sheep": "sheep",
    "sofa": "sofa",
    "train": "train",
    "tvmonitor": "tv monitor",
}
"""Official names, in official order, and what prompts say."""

MANY = 1000  # files that take longer than a moment
SPLITS = ("train", "val", "trainval", "test")
LABEL_OF_LIST = {"1": PRESENT, "0": UNKNOWN, "-1": ABSENT}
WHERE_FROM = "host.robots.ox.ac.uk/pascal/VOC"


@dataclass(frozen=True)
class Annotation:
    """What one XML file says.

    Args:
        clear: classes with an object that is not difficult.
        difficult: classes with a difficult object.
        image: the file name that it gives, empty where it gives none.
    """

    clear: frozenset[str]
    difficult: frozenset[str]
    image: str


def load_voc(
    year: str,
    argument: str,
    split: str,
    unlisted: Unlisted = "stated",
    progress: Progress = silent,
) -> MultiLabelDataset:
    """One split of VOC2007 or VOC2012.

    Args:
        year: ``2007`` or ``2012``.
        argument: VOCdevkit, the folder in it, or the one above.
        split: ``train``, ``val``, ``trainval`` or ``test``.
        unlisted: may only be what VOC says: what is not listed is absent.
        progress: told the XML files read, where there are many.

    Raises:
        BadData: a file that is not there or breaks the format, or the hidden labels of 2012.
    """
    folder = voc_folder(year, argument)
    if (year, split) == ("2012", "test"):
        raise BadData(
            "The labels of VOC2012 test are hidden (only its evaluation server has them); "
            "ask for its split 'val', or for voc2007."
        )
    fill = fill_of(f"voc{year}:{folder}", "negative", unlisted)
    ids, notes = _ids_of_split(folder, split, voc_splits(year, argument))
    missing = [i for i in ids if not _xml(folder, i).is_file()]
    if missing:
        labels = _labels_from_lists(folder, ids, split, missing)
        notes += (
            f"{len(missing):,} of {len(ids):,} images have no XML file in Annotations: the labels "
            f"of all come from ImageSets/Main/CLASS_{split}.txt.",
        )
    else:
        read = list(read_annotations(folder, ids, progress).values())
        labels = labels_of(folder, ids, read, list(PROMPT_NAMES), fill)
        notes += _renamed_note(ids, read)
    return _dataset(folder, ids, f"voc{year}", split, PROMPT_NAMES, labels, notes)


def voc_splits(year: str, argument: str) -> tuple[str, ...]:
    """The splits of VOC2007 or VOC2012 that have a list, those with hidden labels left out."""
    hidden = ("test",) if year == "2012" else ()
    return _listed_splits(voc_folder(year, argument), hidden)


def voc_folder(year: str, argument: str) -> Path:
    """The folder that holds ImageSets/Main.

    Args:
        year: ``2007`` or ``2012``.
        argument: VOCdevkit, the folder in it, or the one above.

    Raises:
        BadData: no such folder.
    """
    place, name = _named(f"voc{year}", argument), f"VOC{year}"
    other = place.name in ("VOC2007", "VOC2012") and place.name != name
    folders = (place / "VOCdevkit" / name, place / name, place)
    for folder in folders[:2] if other else folders:
        if (folder / "ImageSets" / "Main").is_dir():
            return folder
    raise BadData(
        f"voc{year} needs a folder with VOCdevkit/{name}/ImageSets/Main, but {place} has neither "
        f"it nor {name}/ImageSets/Main{'' if other else ' nor ImageSets/Main'}; unpack {name} "
        f"from {WHERE_FROM}."
    )


def load_custom_voc(
    argument: str,
    split: str,
    unlisted: Unlisted = "stated",
    progress: Progress = silent,
) -> MultiLabelDataset:
    """One split of a data set in VOC's format with classes of its own.

    The classes are the names of all its XML files, sorted, so that splits have the same.

    Args:
        argument: the folder.
        split: ``train``, ``val``, ``trainval`` or ``test``.
        unlisted: may only be what VOC says: what is not listed is absent.
        progress: told the XML files read, where there are many.

    Raises:
        BadData: a file that is not there or breaks the format, or no object at all.
    """
    folder = _named("voc", argument)
    ids, notes = _ids_of_split(folder, split, custom_voc_splits(argument))
    everything = sorted(
        path.relative_to(folder / "Annotations").with_suffix("").as_posix()
        for path in (folder / "Annotations").rglob("[!.]*.xml")
    )
    read = read_annotations(folder, sorted({*everything, *ids}), progress)
    names = sorted(set().union(*(a.clear | a.difficult for a in read.values())))
    if not names:
        raise BadData(
            f"voc needs an object in at least one file of {folder / 'Annotations'}, but found none "
            f"in {len(read):,} files."
        )
    chosen = [read[i] for i in ids]
    labels = labels_of(folder, ids, chosen, names, fill_of(str(folder), "negative", unlisted))
    notes += _renamed_note(ids, chosen)
    return _dataset(folder, ids, "voc", split, {name: name for name in names}, labels, notes)


def custom_voc_splits(argument: str) -> tuple[str, ...]:
    """The splits of a data set in VOC's format that have a list."""
    return _listed_splits(_named("voc", argument))


def read_annotations(
    folder: Path, ids: Sequence[str], progress: Progress = silent
) -> dict[str, Annotation]:
    """The XML file of each image, in the order given.

    Raises:
        BadData: a file that is not there or breaks the format.
    """
    read = {}
    for done, i in enumerate(ids, start=1):
        read[i] = read_annotation(_xml(folder, i))
        if len(ids) > MANY:
            progress("XML files", done, len(ids))
    return read


def read_annotation(path: Path) -> Annotation:
    """One XML file.

    Raises:
        BadData: it is not there, is cut off, declares entities, or is no annotation.
    """
    where = f"A VOC annotation, {path},"
    with whole_xml(where):
        root: Element = parse(path).getroot()
    if root.tag != "annotation":
        raise BadData(f"{where} must have the root element annotation, but has {root.tag!r}.")
    clear, difficult = set[str](), set[str]()
    for thing in root.findall("object"):
        name = (thing.findtext("name") or "").strip()
        flag = thing.findtext("difficult", "0").strip()
        if not name:
            raise BadData(f"{where} must name the class of each object, but one has no name.")
        if flag not in ("0", "1"):
            raise BadData(f"{where} must say 0 or 1 in difficult, but says {flag!r} of a {name}.")
        (difficult if flag == "1" else clear).add(name)
    image = (root.findtext("filename") or "").strip()
    return Annotation(frozenset(clear), frozenset(difficult), image)


def labels_of(
    folder: Path, ids: Sequence[str], read: Iterable[Annotation], classes: Sequence[str], fill: int
) -> Labels:
    """The labels of images by their XML files.

    Args:
        folder: where they come from, for errors.
        ids: the images.
        read: what the file of each says.
        classes: the columns.
        fill: the label of classes without an object.

    Raises:
        BadData: an object of another class.
    """
    column = {name: c for c, name in enumerate(classes)}
    labels = np.full((len(ids), len(classes)), fill, dtype=np.int8)
    for row, i, said in zip(labels, ids, read, strict=True):
        for name in sorted((said.clear | said.difficult) - column.keys()):
            raise BadData(
                f"{_xml(folder, i)} must name classes of VOC (others are read by voc:{folder}), "
                f"but names {name!r}{nearest(name, classes)}"
            )
        row[[column[name] for name in said.difficult]] = UNKNOWN
        row[[column[name] for name in said.clear]] = PRESENT
    return labels


def _labels_from_lists(
    folder: Path, ids: Sequence[str], split: str, missing: Sequence[str]
) -> Labels:
    """The labels of images by the lists CLASS_SPLIT.txt."""
    main = folder / "ImageSets" / "Main"
    paths = [main / f"{name}_{split}.txt" for name in PROMPT_NAMES]
    lacking = [path.name for path in paths if not path.is_file()]
    if lacking:
        raise BadData(
            f"{folder} must have an XML file in Annotations for each image of split {split!r}, but "
            f"{len(missing):,} of {len(ids):,} have none ({missing[0]}.xml), nor is there "
            f"{lacking[0]} in ImageSets/Main to read instead; unpack the data set again."
        )
    labels = np.empty((len(ids), len(paths)), dtype=np.int8)
    for c, path in enumerate(paths):
        said = _read_class_list(path)
        unsaid = [i for i in ids if i not in said]
        if unsaid:
            raise BadData(
                f"{path} must list every image of split {split!r}, as {len(missing):,} of "
                f"{len(ids):,} have no XML file in Annotations ({missing[0]}.xml), but lacks "
                f"{len(unsaid):,} of {len(ids):,} ({unsaid[0]})."
            )
        labels[:, c] = [said[i] for i in ids]
    return labels


def _read_class_list(path: Path) -> dict[str, int]:
    """Image → label of one list CLASS_SPLIT.txt."""
    said = {}
    for number, line in enumerate(read_lines(path, "images and -1, 0 or 1"), start=1):
        image, *value = line.rsplit(maxsplit=1)
        if "".join(value) not in LABEL_OF_LIST:
            raise BadData(f"{path} line {number} must be an image and -1, 0 or 1, but is {line!r}.")
        said[image] = LABEL_OF_LIST[value[0]]
    return said


def _dataset(
    folder: Path,
    ids: Sequence[str],
    name: str,
    split: str,
    prompt_names: dict[str, str],
    labels: Labels,
    notes: tuple[str, ...],
) -> MultiLabelDataset:
    """The record of these labels, once the images are there."""
    images = folder / "JPEGImages"
    files = ImageFiles(tuple(_image(images, i) for i in ids))
    files.check(folder / "ImageSets" / "Main", "JPEGImages")
    return MultiLabelDataset(
        name=f"{name}:{folder.resolve().name}",
        split=split,
        class_names=tuple(prompt_names.values()),
        new=np.zeros(len(prompt_names), dtype=bool),
        labels=labels,
        image_ids=tuple(ids),
        digest=files.digest,
        open_image=files.open,
        paths=files.paths,
        class_ids=tuple(prompt_names),
        notes=notes,
    )


def _image(images: Path, i: str) -> Path:
    """The file of an image: JPEG, or PNG as own data sets have it."""
    official = inside(images, f"{i}.jpg")
    others = tuple(inside(images, f"{i}{end}") for end in (".jpeg", ".JPG", ".JPEG", ".png"))
    return first_there((official, *others)) or official


def _xml(folder: Path, i: str) -> Path:
    return inside(folder / "Annotations", f"{i}.xml")


def _named(kind: str, argument: str) -> Path:
    """The folder, which must be named and be there."""
    if not argument:
        raise BadData(f"{kind} needs its folder, as in {kind}:/data/VOCdevkit, but none was named.")
    place = Path(argument)
    if not place.is_dir():
        raise BadData(f"{kind} needs a folder, but {place} is none; get VOC from {WHERE_FROM}.")
    return place


def _listed_splits(folder: Path, hidden: tuple[str, ...] = ()) -> tuple[str, ...]:
    main = folder / "ImageSets" / "Main"
    found = tuple(s for s in SPLITS if s not in hidden and (main / f"{s}.txt").is_file())
    if not found:
        raise BadData(
            f"{main} must hold the list of a split (train.txt, val.txt, trainval.txt or test.txt), "
            "but holds none."
        )
    return found


def _ids_of_split(
    folder: Path, split: str, splits: tuple[str, ...]
) -> tuple[list[str], tuple[str, ...]]:
    """The images of a split, each once, and a note if some are listed twice."""
    if split not in splits:
        raise BadData(f"{folder} has no list of a split {split!r}{nearest(split, splits)}")
    path = folder / "ImageSets" / "Main" / f"{split}.txt"
    lines = read_lines(path, f"the images of split {split!r}")
    ids = list(dict.fromkeys(lines))
    twice = len(lines) - len(ids)
    return ids, (f"{path.name} repeats {twice:,} images: each is read once.",) if twice else ()


def _renamed_note(ids: Sequence[str], read: Sequence[Annotation]) -> tuple[str, ...]:
    """A note if XML files name another image than their own."""
    renamed = [
        (i, said.image)
        for i, said in zip(ids, read, strict=True)
        if said.image and Path(said.image.replace("\\", "/")).stem != Path(i).name
    ]
    if not renamed:
        return ()
    i, image = renamed[0]
    return (
        f"{len(renamed):,} XML files give another file name than their own ({i}.xml: {image!r}): "
        "their own counts.",
    )
