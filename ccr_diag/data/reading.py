"""Large files, read with word of how far it is.

A reader of a large file tells ``progress`` the stage, the megabytes read and those in all, as in
“MB of instances_train2017.json: 40 of 448”. What is read in a moment tells nothing.
"""

from collections.abc import Callable
from pathlib import Path

from ccr_diag.errors import BadData

Progress = Callable[[str, int, int], None]
"""Told the stage, the units done and the units in all."""

CHUNK = 16_000_000
MB = 1_000_000


def silent(stage: str, done: int, total: int) -> None:
    """Tells nobody."""


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
