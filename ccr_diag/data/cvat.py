"""CVAT: the one XML file of its export “CVAT for images 1.1”, and the images beside it.

In: a file with

    <annotations>
      <meta> <task> <labels> <label> <name>        the classes, in order
      <image name="a/1.jpg" subset="Train">        one an image
        <tag label="cat"/> <box label="dog" …/>    tags and shapes of any kind

and its images in ``images/`` beside it, or beside it. A class is in an image if a tag or a shape
has its label; what that means for the others, CVAT does not say, so the user declares it.
``subset`` is the split. Out: ``MultiLabelDataset``.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from xml.etree.ElementTree import Element

from defusedxml.ElementTree import iterparse

from ccr_diag.arrays import Unlisted
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.data.images import ImageFiles, inside
from ccr_diag.data.listing import Listing, Row, dataset_of
from ccr_diag.data.reading import whole_xml
from ccr_diag.errors import BadData
from ccr_diag.progress import Progress, silent


def load_cvat(
    argument: str, split: str, unlisted: Unlisted = "stated", progress: Progress = silent
) -> MultiLabelDataset:
    """The images and labels of an export of CVAT.

    Args:
        argument: path of the XML file.
        split: a subset, or ``all``.
        unlisted: what a class means without a tag or shape.
        progress: told nothing.

    Raises:
        BadData: a file that is not there or breaks the format, or unlisted classes of no declared
            meaning.
    """
    listing = read_cvat(_file(argument))
    path = listing.path
    return dataset_of(listing, f"cvat:{path.name}", split, unlisted, partial(_files, path))


def cvat_splits(argument: str) -> tuple[str, ...]:
    """The subsets of its images; without any, ``train`` alone."""
    return read_cvat(_file(argument)).splits


def _file(argument: str) -> Path:
    path = Path(argument)
    if not argument or path.is_dir():
        raise BadData(
            "cvat needs the XML file of an export as CVAT for images 1.1, as in "
            f"cvat:annotations.xml, but got {argument or 'none'}."
        )
    return path


def read_cvat(path: Path) -> Listing:
    """The images that an XML file lists.

    Raises:
        BadData: it cannot be read, declares entities, is cut off, or breaks the format.
    """
    where = f"An export of CVAT, {path},"
    names: list[str] = []
    rows: list[Row] = []
    root: Element | None = None
    with whole_xml(where):
        for event, element in iterparse(path, events=("start", "end")):
            if root is None:
                root = element
                if root.tag != "annotations":
                    raise BadData(
                        f"{where} must have the root element annotations, but has {root.tag!r}; "
                        "export as CVAT for images 1.1."
                    )
            elif event == "end" and element.tag == "meta":
                names = [
                    (label.findtext("name") or "").strip()
                    for label in element.iterfind("*/labels/label")
                    if not (label.findtext("parent") or "").strip()  # no part of a skeleton
                ]
            elif event == "end" and element.tag == "track":
                raise BadData(
                    f"{where} must list images, but has tracks of a video; export it again as CVAT "
                    "for images 1.1."
                )
            elif event == "end" and element.tag == "image":
                rows.append(_row(where, len(rows) + 1, element))
                root.clear()  # what was read is not kept
    declared = tuple(names) or None
    return Listing(path, rows, "image", class_names=declared, splits_by="subsets")


def _row(where: str, at: int, image: Element) -> Row:
    """One image, with the label of each of its tags and shapes once."""
    name = (image.get("name") or "").strip()
    if not name:
        raise BadData(f"{where} must name each image, but image {at} has no name.")
    labels = [(thing.get("label") or "").strip() for thing in image if thing.tag != "metadata"]
    if not all(labels):
        raise BadData(
            f"{where} must give each tag and shape a label, but one of image {at}, {name!r}, has "
            "none."
        )
    return Row(at, name, tuple(dict.fromkeys(labels)), split=(image.get("subset") or "").strip())


def _files(path: Path, rows: Sequence[Row]) -> ImageFiles:
    """The images, in the folder ``images`` or beside the file."""
    folder = path.parent / "images"
    root = folder if folder.is_dir() else path.parent
    files = ImageFiles(tuple(inside(root, row.image) for row in rows))
    files.check(path, str(root))
    return files
