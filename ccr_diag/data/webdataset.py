"""WebDataset: images and their labels as members of tar files, read in place.

In: tar files, as a glob pattern or a range (``shards/{000..012}.tar``), whose members of one name
are one example:

    KEY.jpg (.jpeg, .png, .webp)
    KEY.json      {"labels": [name or number, …], "negatives": […], "caption": …}
    KEY.npy       or: one number a class, 1 present, 0 absent, −1 not said (CLIP_benchmark)
    KEY.txt       its caption, if there is one

Numbers need ``classnames.txt``, one name a line, in the folder of the tars or the one above; beside
it ``dataset_type.txt``, if it is there, must say ``multilabel``. Where no example has
``negatives``, the user declares what unlisted classes mean. Members are read at their place in the
tar, nothing is unpacked. Out: ``MultiLabelDataset``.
"""

import glob
import hashlib
import io
import json
import os
import re
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from ccr_diag.arrays import ABSENT, PRESENT, UNKNOWN, Unlisted
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.data.images import rgb_of
from ccr_diag.data.listing import Listing, Row, dataset_of
from ccr_diag.data.manifests.fields import require_no_cells, shown
from ccr_diag.data.reading import first_there, read_lines
from ccr_diag.errors import BadData
from ccr_diag.npy import npy_array
from ccr_diag.progress import Progress, silent

IMAGES = ("jpg", "jpeg", "png", "webp")
LABELS = ("json", "npy")
BLOCK = 512  # of a tar
RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
MAX_SHARDS = 1_000_000


@dataclass(frozen=True)
class Member:
    """A file in a tar.

    Args:
        tar: the tar.
        name: its name there.
        start: place of its first byte.
        size: how many it has.
    """

    tar: Path
    name: str
    start: int
    size: int

    def read(self) -> bytes:
        """Its bytes; each reading opens the tar anew, so that threads share nothing.

        Raises:
            BadData: the tar has gone, or has become shorter.
        """
        try:
            with self.tar.open("rb") as file:
                file.seek(self.start)
                content = file.read(self.size)
        except OSError as e:
            raise BadData(f"{self} cannot be read: {e.strerror}.") from e
        if len(content) < self.size:
            raise BadData(f"{self} cannot be read: the tar has become shorter.")
        return content

    def __str__(self) -> str:
        return f"{self.name} in {self.tar}"


@dataclass
class Example:
    """The members of one name, by the kind of each.

    Args:
        key: their name.
        parts: kind → member.
    """

    key: str
    parts: dict[str, Member] = field(default_factory=dict)

    @property
    def image(self) -> Member | None:
        """The member that is its image."""
        return next((self.parts[kind] for kind in IMAGES if kind in self.parts), None)


class TarImages:
    """Opens images in tars by number.

    Args:
        members: one an image.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = tuple(members)
        self._digests: dict[int, str] = {}

    def digest(self, i: int) -> str:
        """SHA-256 of the bytes of image ``i``, read once."""
        if i not in self._digests:
            self._digests[i] = hashlib.sha256(self.members[i].read()).hexdigest()
        return self._digests[i]

    def open(self, i: int) -> Image.Image:
        """Image ``i`` as RGB.

        Raises:
            BadData: a member that is no whole image.
        """
        member = self.members[i]
        return rgb_of(str(member), lambda: io.BytesIO(member.read()))


def load_webdataset(
    argument: str, split: str, unlisted: Unlisted = "stated", progress: Progress = silent
) -> MultiLabelDataset:
    """The images and labels in tar files.

    Args:
        argument: a glob pattern or a range.
        split: ``train`` or ``all``, as tars have no splits.
        unlisted: what a class means that an example does not list, where none has ``negatives``.
        progress: told the tars read.

    Raises:
        BadData: a tar that is cut off or has members outside of it, an example without image or
            labels, or unlisted classes of no declared meaning.
    """
    tars = shards(argument)
    folder = os.path.commonpath([tar.parent for tar in tars])
    examples: dict[str, Example] = {}
    for done, tar in enumerate(tars, start=1):
        examples |= _examples(tar, Path(os.path.relpath(tar, folder)).as_posix())
        progress("tar files", done, len(tars))
    complete = {name: e for name, e in examples.items() if _is_complete(name, e)}
    listing = _listing(tars, complete)

    def images(rows: Sequence[Row]) -> TarImages:
        return TarImages([m for row in rows if (m := complete[row.image].image)])

    return dataset_of(listing, f"webdataset:{argument}", split, unlisted, images)


def webdataset_splits(argument: str) -> tuple[str, ...]:
    """``train`` alone."""
    shards(argument)
    return ("train",)


def shards(argument: str) -> list[Path]:
    """The tar files that a pattern means, in order.

    Raises:
        BadData: one is not there, or there is none.
    """
    found = RANGE.search(argument)
    if found:
        first, last = found.groups()
        if int(last) < int(first) or int(last) - int(first) >= MAX_SHARDS:
            raise BadData(
                f"A range of tars must go up, and hold at most {MAX_SHARDS:,}, but got {found[0]}."
            )
        names = [
            f"{argument[: found.start()]}{number:0{len(first)}}{argument[found.end() :]}"
            for number in range(int(first), int(last) + 1)
        ]
        missing = [name for name in names if not Path(name).is_file()]
        if missing:
            raise BadData(
                f"webdataset needs every tar of its range, but {len(missing)} of {len(names)} are "
                f"not there: {missing[0]}{', …' * (len(missing) > 1)}."
            )
        return [Path(name) for name in names]
    paths = sorted(Path(name) for name in glob.glob(argument) if Path(name).is_file())
    if not paths:
        raise BadData(
            "webdataset needs tar files, as in 'webdataset:shards/*.tar' or "
            f"'webdataset:shards/{{000..012}}.tar', but {argument or 'nothing'} names none."
        )
    return paths


def _examples(tar: Path, name: str) -> dict[str, Example]:
    """The examples of a tar, by what it is called and their key."""
    examples: dict[str, Example] = {}
    try:
        with tarfile.open(tar, "r:") as archive:
            size = tar.stat().st_size
            for info in archive:
                path = PurePosixPath(info.name)
                if path.is_absolute() or ".." in path.parts:
                    raise BadData(
                        f"{tar} must hold members below its own folder, but holds {info.name!r}; "
                        "make the tar again with names below it."
                    )
                if info.isdir() or path.name.startswith("."):
                    continue
                if not info.isreg():
                    raise BadData(
                        f"{tar} must hold plain files, but {info.name!r} is a link or a device; "
                        "write its content instead."
                    )
                if info.offset_data + info.size > size:
                    raise tarfile.ReadError("unexpected end of data")
                _put(examples, name, Member(tar, info.name, info.offset_data, info.size), path)
            end = archive.offset
        with tar.open("rb") as file:
            file.seek(end)
            if file.read(BLOCK) != bytes(BLOCK):
                raise tarfile.ReadError("its end is missing")
    except (tarfile.TarError, EOFError) as e:
        raise BadData(
            f"{tar} must be a whole tar, not compressed, but is not ({e}); write or copy it again."
        ) from e
    except OSError as e:
        raise BadData(f"{tar} must be a readable file, but is not: {e.strerror}.") from e
    return examples


def _put(examples: dict[str, Example], tar: str, member: Member, path: PurePosixPath) -> None:
    """Add a member to its example: the key ends at the first dot of the name."""
    stem, _, kind = path.name.partition(".")
    kind = kind.lower()
    if kind not in (*IMAGES, *LABELS, "txt"):
        return
    key = str(path.parent / stem)
    parts = examples.setdefault(f"{tar}/{key}", Example(key)).parts
    if kind in parts or (kind in IMAGES and any(other in parts for other in IMAGES)):
        what = "one image" if kind in IMAGES else f"one .{kind}"
        raise BadData(
            f"{member.tar} must hold {what} for each key, but holds another for "
            f"{key!r}: {member.name}."
        )
    parts[kind] = member


def _is_complete(name: str, example: Example) -> bool:
    """Whether it is an image with labels; texts of something else are left out.

    Raises:
        BadData: it has labels and no image, or an image and no labels.
    """
    labelled = [kind for kind in LABELS if kind in example.parts]
    if example.image is None and not labelled:
        return False
    if example.image is None:
        raise BadData(
            f"{example.parts[labelled[0]]} needs an image of the same key beside it "
            f"(.{', .'.join(IMAGES)}), but there is none."
        )
    if not labelled:
        raise BadData(
            f"{example.image} needs its labels beside it, in .json or .npy, but there are none."
        )
    return True


def _listing(tars: Sequence[Path], examples: Mapping[str, Example]) -> Listing:
    """The examples as rows."""
    folder = tars[0].parent
    where = tars[0] if len(tars) == 1 else folder
    names = _class_names(folder)
    keys = Counter(example.key for example in examples.values())
    repeated = sum(times > 1 for times in keys.values())
    notes = (f"{repeated:,} keys are in several tars, and taken for different images.",) * bool(
        repeated
    )
    as_cells = [name for name, example in examples.items() if "npy" in example.parts]
    if as_cells and len(as_cells) < len(examples):
        other = next(name for name in examples if name not in set(as_cells))
        raise BadData(
            f"{where} must label all examples one way, but {as_cells[0]} has .npy and {other} has "
            ".json."
        )
    if as_cells:
        return _of_cells(where, folder, examples, names, notes)
    rows = []
    says = False
    for at, (name, example) in enumerate(examples.items(), start=1):
        said = _record(example.parts["json"])
        says = says or "negatives" in said
        labels, negatives = (
            _classes(example.parts["json"], key, said.get(key, []), names)
            for key in ("labels", "negatives")
        )
        caption = said.get("caption")
        if caption is None:
            caption = _caption(example)
        elif not isinstance(caption, str):
            raise BadData(
                f"{example.parts['json']} must hold text in 'caption', but holds {shown(caption)}."
            )
        rows.append(Row(at, name, labels, negatives, caption=caption))
    return Listing(where, rows, "example", "unknown" if says else "", names, notes=notes)


def _class_names(folder: Path) -> tuple[str, ...] | None:
    """The classes, if they are listed."""
    path = first_there((folder / "classnames.txt", folder.parent / "classnames.txt"))
    if path is None:
        return None
    kind = path.parent / "dataset_type.txt"
    if kind.is_file() and (said := read_lines(kind, "the kind of data set")) != ["multilabel"]:
        raise BadData(f"{kind} must say multilabel, but says {said[0]!r}.")
    return tuple(read_lines(path, "class names"))


def _of_cells(
    where: Path,
    folder: Path,
    examples: Mapping[str, Example],
    names: tuple[str, ...] | None,
    notes: tuple[str, ...],
) -> Listing:
    """Examples with a number a class."""
    if names is None:
        raise BadData(
            f"{where} holds labels as numbers, so {folder} must hold classnames.txt, one name a "
            "line, but does not."
        )
    met = set[int]()
    rows = []
    for at, (name, example) in enumerate(examples.items(), start=1):
        member = example.parts["npy"]
        values = npy_array(str(member), member.read())
        cells = values.ravel().tolist()
        if values.shape != (len(names),) or not {*cells} <= {PRESENT, ABSENT, UNKNOWN}:
            raise BadData(
                f"{member} must hold 1, 0 or -1 for each of the {len(names)} classes, but holds "
                f"shape {values.shape} and {', '.join(map(str, sorted({*cells})[:4]))}."
            )
        met.update(cells)
        present, unsaid = (
            tuple(name for name, cell in zip(names, cells, strict=True) if cell == kind)
            for kind in (PRESENT, UNKNOWN)
        )
        rows.append(Row(at, name, present, (), unsaid, caption=_caption(example)))
    both = {ABSENT, UNKNOWN} <= met
    return Listing(
        where,
        rows,
        "example",
        class_names=names,
        cells=True,
        not_negative="has labels of 0 and of -1, which cannot both be absent" if both else "",
        unlisted_are="where -1 stands for it",
        notes=notes,
    )


def _record(member: Member) -> dict[str, Any]:
    """The object of a .json member, which has labels."""
    try:
        said = json.loads(member.read())
    except (ValueError, RecursionError) as e:
        raise BadData(f"{member} must be whole JSON, but is not ({e}).") from e
    if not isinstance(said, dict) or "labels" not in said:
        raise BadData(f"{member} must be an object with 'labels', but is {shown(said)}.")
    return said


def _classes(
    member: Member, key: str, listed: object, names: tuple[str, ...] | None
) -> tuple[str, ...]:
    """The class names of a list of names, or of numbers where the classes are known."""
    if not isinstance(listed, list):
        raise BadData(f"{member} must hold a list in {key!r}, but holds {shown(listed)}.")
    if names is not None and all(isinstance(label, int) for label in listed):
        require_no_cells(str(member), listed, len(names))
    return tuple(_class(member, key, label, names) for label in listed)


def _class(member: Member, key: str, label: object, names: tuple[str, ...] | None) -> str:
    if isinstance(label, str) and label.strip():
        return label.strip()
    if isinstance(label, int) and not isinstance(label, bool):
        if names is not None and 0 <= label < len(names):
            return names[label]
        how = (
            f"classnames.txt has {len(names)}" if names else "there is no classnames.txt beside it"
        )
        raise BadData(f"{member} must number a class in {key!r}, but has {label}, and {how}.")
    raise BadData(f"{member} must name classes in {key!r}, but has {shown(label)}.")


def _caption(example: Example) -> str | None:
    """What its .txt member says."""
    member = example.parts.get("txt")
    try:
        return None if member is None else member.read().decode("utf-8").strip()
    except UnicodeDecodeError as e:
        raise BadData(f"{member} must be UTF-8 text, but is not.") from e
