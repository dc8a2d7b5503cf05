"""Image files by number: their content, and what they show as RGB.

In: paths. Out: a SHA-256 and a picture each, asked for by number, as ``MultiLabelDataset`` does.

How files become 8-bit RGB:

- The orientation that EXIF states is applied. Of an animation the first frame is taken.
- Grey of 16 bits keeps its upper 8, as colour of 16 bits does; numbers with a fraction, or beyond
  16 bits, have no known white and are refused.
- Transparency is dropped, as open_clip's own preprocessing drops it: what a pixel hides is shown.
- CMYK of a JPEG is taken to be inverted, as Adobe writes it and Pillow reads it.
- Beyond ``MAX_PIXELS`` a JPEG is decoded at 1/2, 1/4 or 1/8 of its size; any other file, and a
  progressive JPEG, which is decoded whole, is refused from its header alone.
"""

import os
import re
import stat
import struct
import unicodedata
import zlib
from collections.abc import Callable
from functools import lru_cache
from io import BufferedReader, BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, JpegImagePlugin

from ccr_diag.data.file_digests import file_digest, open_file
from ccr_diag.errors import BadData

Opened = BufferedReader | BytesIO

OPENING = 1  # raise it when a file is shown otherwise than before: features depend on it
SHOWN = 3  # file names in an error
MAX_PIXELS = 2**30 // 12  # from which on Pillow warns
# Without those that run a program, as EPS does.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
ORIENTATION = 0x0112  # tag of EXIF
TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow raises of files that are no whole images.
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    EOFError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Warning,  # where warnings are errors
)


class ImageFiles:
    """Opens images by number.

    Args:
        paths: one file an image.
    """

    def __init__(self, paths: tuple[Path, ...]) -> None:
        self.paths = paths
        self._digests: dict[int, str] = {}

    def check(self, named_by: Path, relative_to: str = "its own folder") -> None:
        """All files are there.

        Args:
            named_by: the file that names them.
            relative_to: what its names are relative to.

        Raises:
            BadData: some are not.
        """
        missing = [path for path in self.paths if not os.path.isfile(path)]
        if missing:
            shown = ", ".join(str(path) for path in missing[:SHOWN])
            more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
            raise BadData(
                f"{named_by} must name images that are there, relative to {relative_to}, but "
                f"{len(missing)} of {len(self.paths)} are not: {shown}{more}."
            )

    def digest(self, i: int) -> str:
        """SHA-256 of the bytes of file ``i``, read once.

        Raises:
            BadData: a file that cannot be read.
        """
        if i not in self._digests:
            try:
                self._digests[i] = file_digest(self.paths[i])
            except OSError as e:
                raise BadData(f"Image {self.paths[i]} cannot be read ({e.strerror}).") from e
        return self._digests[i]

    def open(self, i: int) -> Image.Image:
        """Image ``i`` as RGB.

        Raises:
            BadData: a file that is no whole image, or is too large.
        """
        return open_rgb(self.paths[i])


def open_rgb(path: Path) -> Image.Image:
    """What an image file shows, as 8-bit RGB.

    Raises:
        BadData: a file that is no whole image, or is too large.
    """
    return rgb_of(str(path), lambda: open_file(path))


def rgb_of(name: str, opened: Callable[[], Opened]) -> Image.Image:
    """What the bytes of an image show, as 8-bit RGB.

    Args:
        name: what errors call it.
        opened: opens its bytes; called once.

    Raises:
        BadData: bytes that are no whole image, or are too large.
    """
    try:
        with opened() as file:
            picture = _of_header(file)
            _bound(picture)
            picture.load()
            turn = TURNED.get(_orientation(picture.info.get("exif", b"")))
            shown = _rgb(picture)
        return shown if turn is None else shown.transpose(turn)
    except DAMAGE as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BadData(f"Image {name} cannot be read ({reason}).") from error


def _of_header(file: Opened) -> Image.Image:
    """The picture that a file promises, whatever its size; Pillow's own door warns of large ones.

    Raises:
        ValueError: the file is empty or something else.
    """
    Image.init()
    start = file.read(16)
    if not start:
        raise ValueError("it is empty")
    for name in FORMATS:
        factory, accept = Image.OPEN.get(name, (None, None))
        if factory is None or (accept is not None and accept(start) is not True):
            continue
        file.seek(0)
        return factory(file, "")
    raise ValueError("it is no image of a known format")


def _bound(picture: Image.Image) -> None:
    """Ask for a smaller picture where the whole one is too large.

    Raises:
        ValueError: that is not possible.
    """
    width, height = picture.size
    if width * height <= MAX_PIXELS:
        return
    if not isinstance(picture, JpegImagePlugin.JpegImageFile) or "progressive" in picture.info:
        raise ValueError(
            f"{width:,} × {height:,} are more than the {MAX_PIXELS:,} pixels that are decoded of "
            "anything but a JPEG that is not progressive"
        )
    scale = next(s for s in (2, 4, 8) if -(-width // s) * -(-height // s) <= MAX_PIXELS)
    picture.draft(None, (width // scale, height // scale))


def _rgb(picture: Image.Image) -> Image.Image:
    """A loaded picture as RGB.

    Raises:
        ValueError: numbers of which none is known to be white.
    """
    if picture.mode == "RGB":
        return picture
    if picture.mode.startswith("I"):
        values = np.asarray(picture)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise ValueError("its grey has more than 16 bits")
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if picture.mode == "F":
        raise ValueError("its pixels are numbers with a fraction")
    # Pillow warns of a palette with transparency unless it goes by way of RGBA.
    palette = picture.mode == "P" and "transparency" in picture.info
    return (picture.convert("RGBA") if palette else picture).convert("RGB")


def _orientation(exif: bytes) -> int:
    """The orientation that an EXIF block states, 1 if none; what else it holds is not read.

    Pillow's reader warns of what is wrong with the rest of it.
    """
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (first,) = struct.unpack_from(f"{order}I", tiff, 4)
        (n,) = struct.unpack_from(f"{order}H", tiff, first)
        for entry in range(first + 2, first + 2 + 12 * n, 12):
            if struct.unpack_from(f"{order}H", tiff, entry)[0] == ORIENTATION:
                return int(struct.unpack_from(f"{order}H", tiff, entry + 8)[0])
    except struct.error:
        pass
    return 1


def inside(root: Path, name: str) -> Path:
    """The path of a name that an annotation file gives, below a folder.

    Accents may be composed or not: some systems rewrite the names of files. A name of nothing that
    is there is given back as it is.

    Args:
        root: the folder, or a link to it.
        name: with forward or backward slashes.

    Raises:
        BadData: the name, or a link on its way, leads out of the folder.
    """
    parts = name.replace("\\", "/").split("/")
    parts = [parts[0], *(part for part in parts[1:] if part != ".")]
    drive = re.fullmatch("[A-Za-z]:", parts[0]) is not None
    if parts[0] == "" or drive or ".." in parts:
        raise BadData(
            f"An image must lie in the folder of its data set, {root}, but is named {name!r}; name "
            "it relative to that folder."
        )
    folder = str(root)
    for part in parts:
        found, link = _entry(folder, part)
        folder = os.path.join(folder, found)
        if link and not _leads_inside(root, folder):
            raise BadData(
                f"An image must lie in the folder of its data set, {root}, but {name!r} is behind "
                "a link that leads out of it; copy what it leads to, or name the folder that it "
                "leads to as that of the data set."
            )
    return Path(folder)


def _leads_inside(root: Path, path: str) -> bool:
    try:
        return Path(path).resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # links in a circle
        return False


def _entry(folder: str, name: str) -> tuple[str, bool]:
    """What a folder calls an entry of that name, and whether it is a link."""
    try:
        modified = os.stat(folder).st_mtime_ns
        entries = _listing(folder, modified)
        if name in entries:
            return name, entries[name]
        found = _composed(folder, modified).get(unicodedata.normalize("NFC", name), name)
        # It may have come after the listing, within the same tick of the clock.
        return found, stat.S_ISLNK(os.lstat(os.path.join(folder, found)).st_mode)
    except (OSError, ValueError):  # there is no such folder or file
        return name, False


@lru_cache(maxsize=4096)
def _listing(folder: str, modified: int) -> dict[str, bool]:
    """Names in a folder, and whether each is a link; listed once, as asking for each is slow."""
    with os.scandir(folder) as entries:
        return {entry.name: entry.is_symlink() for entry in entries}


@lru_cache(maxsize=4096)
def _composed(folder: str, modified: int) -> dict[str, str]:
    """The names in a folder by how they are written with composed accents."""
    return {unicodedata.normalize("NFC", name): name for name in _listing(folder, modified)}
