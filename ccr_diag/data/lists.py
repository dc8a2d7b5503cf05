"""Text files of one item a line: image lists, concept lists, class lists.

In: a path. Out: its lines, whatever the line ends.
"""

from pathlib import Path

from ccr_diag.errors import BadData


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


def first_there(paths: tuple[Path, ...]) -> Path | None:
    """The first of some paths that exists."""
    return next((path for path in paths if path.exists()), None)
