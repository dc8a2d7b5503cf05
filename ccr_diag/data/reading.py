"""Files of annotations: found, and read whole, line by line or as XML, or refused in one sentence.

A reader of a large file tells ``progress`` the stage, the megabytes read and those in all, as in
“MB of instances_train2017.json: 40 of 448”. What is read in a moment tells nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException

from ccr_diag.errors import BadData
from ccr_diag.progress import Progress, silent

CHUNK = 16_000_000
MB = 1_000_000


def first_there(paths: tuple[Path, ...]) -> Path | None:
    """The first of some paths that exists."""
    return next((path for path in paths if path.exists()), None)


def read_bytes(path: Path, progress: Progress = silent) -> bytearray:
    """A whole file.

    Args:
        path: the file.
        progress: told megabytes, if there is more than one chunk of 16.

    Raises:
        BadData: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            content = bytearray()
            while chunk := file.read(CHUNK):
                content += chunk
                if size > CHUNK:
                    progress(f"MB of {path.name}", len(content) // MB, size // MB)
    except OSError as error:
        raise BadData(f"{path} must be a readable file, but is not: {error.strerror}.") from error
    return content


def read_lines(path: Path, what: str) -> list[str]:
    """The lines of a UTF-8 file without surrounding blanks; blank lines at its end do not count.

    Args:
        path: the file.
        what: what it lists, e.g. ``the images of split train``.

    Raises:
        BadData: it cannot be read, is no text, is empty, or has a blank line in its middle.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as e:
        raise BadData(f"{path} must list {what}, but cannot be read: {e.strerror}.") from e
    except UnicodeDecodeError as e:
        raise BadData(f"{path} must be UTF-8 text, but is not; save it as UTF-8.") from e
    lines = [line.strip() for line in text.rstrip().split("\n")]
    if lines == [""]:
        raise BadData(f"{path} must list {what}, but is empty.")
    if "" in lines:
        raise BadData(
            f"{path} must list {what} one a line, but line {lines.index('') + 1} is blank; "
            "take it out."
        )
    return lines


@contextmanager
def whole_xml(where: str) -> Iterator[None]:
    """Turn what parsing an XML file with defusedxml raises into one sentence.

    Args:
        where: the file, as an error names it.

    Raises:
        BadData: it cannot be read, is cut off, or declares entities.
    """
    try:
        yield
    except OSError as e:
        raise BadData(f"{where} must be a readable file, but is not: {e.strerror}.") from e
    except DefusedXmlException as e:
        raise BadData(
            f"{where} must not declare entities, which can fill the memory or read other files, "
            f"but does ({type(e).__name__}); take them out."
        ) from e
    except (ParseError, ValueError, LookupError) as e:  # of its text, or of its encoding
        raise BadData(f"{where} must be whole XML, but is not ({e}).") from e
