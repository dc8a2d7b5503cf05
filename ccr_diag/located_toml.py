"""TOML whose errors say where: the file and the line, or what was given in its place.

toml = parse_located("grid.toml", text)
raise toml.error("epochs must be at least 1.", "settings", "epochs", value=0)
    BadConfig: grid.toml, line 4: epochs must be at least 1.
"""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ccr_diag.errors import BadConfig

Keys = tuple[str | int, ...]  # of tables and lists, from the outermost
Values = dict[str, Any]


@dataclass(frozen=True)
class LocatedToml:
    """What a TOML file says, and where.

    Args:
        place: what the file is called in errors.
        text: of the file.
        data: what that says, and what was put in its place.
        puts: where something was put → how it was given.
    """

    place: str
    text: str
    data: Values
    puts: dict[Keys, str] = field(default_factory=dict)

    def table(self, name: str) -> Values:
        """The table of that name, empty where the file has none."""
        found: Values = self.data.setdefault(name, {})
        if not isinstance(found, dict):
            raise self.error(f"{name} must be a table, [{name}], but got {found!r}.", name)
        return found

    def put(self, value: object, *keys: str, given: str) -> None:
        """Put a value at one key, or at a table and a key, in place of what the file says."""
        *tables, key = keys
        inside = self.table(tables[0]) if tables else self.data
        inside[key] = value
        self.puts[keys] = given

    def error(self, text: str, *keys: str | int, value: object = None) -> BadConfig:
        """What to raise about what stands at these keys, or about one value of the list there."""
        if keys in self.puts:
            return BadConfig(f"{self.puts[keys]}: {text}")
        return BadConfig(f"{self.place}, line {self.line(*keys, value=value)}: {text}")

    def line(self, *keys: str | int, value: object = None) -> int:
        """Where a key stands, or one value of its list, counted from 1.

        Python's reader keeps no lines. So the text is read again, one more line at a time, until
        the key is there; where it cannot be read, a list is not over yet.
        """
        lines, start = self.text.replace("\r\n", "\n").split("\n"), 0
        for end in range(1, len(lines) + 1):
            try:
                data = tomllib.loads("\n".join(lines[:end]))
            except tomllib.TOMLDecodeError:
                continue
            if _holds(data, keys):
                return start + 1 + _row_of(value, lines[start:end])
            start = end
        return 1


def parse_located(place: str, text: str) -> LocatedToml:
    """Read a text.

    Raises:
        BadConfig: it is not TOML.
    """
    try:
        return LocatedToml(place, text, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise BadConfig(f"{place} must be a TOML file, but is not ({error}).") from error


def _holds(data: Any, keys: Keys) -> bool:
    """Whether something stands at these keys."""
    try:
        for key in keys:
            data = data[key]
    except (KeyError, IndexError, TypeError):
        return False
    return True


def _row_of(value: object, lines: Sequence[str]) -> int:
    """The row of a statement that shows a value in quotes, or else as a word; or else its first."""
    if value is None:
        return 0
    word = re.escape(str(value))
    rows = [lines[0].partition("=")[2], *lines[1:]]
    shown = rf"[\"']{word}[\"']", rf"(?<![\w.+-]){word}(?![\w.])"
    found = (row for shape in shown for row, part in enumerate(rows) if re.search(shape, part))
    return next(found, 0)
