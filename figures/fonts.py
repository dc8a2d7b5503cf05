"""Names in any script: fonts of this machine that have the letters which the own font lacks.

A ``Page`` looks for them as it is drawn, and only where a text needs any. A letter that no font has
is drawn as an empty box, silently; SVG keeps the text itself, so that it is read elsewhere.
"""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry, FontProperties, findfont, fontManager, get_font
from matplotlib.text import Text

_MISSING = r"Glyph \d+ .* missing from"
_BOXES = "Last Resort"  # a font of boxes for everything, which newer matplotlib falls back to
_EVEN = 400  # the weight of plain letters


class Page(Figure):
    """A figure whose texts may be in any script."""

    def draw(self, renderer: Any) -> None:
        """Draw all, with fonts that have the letters where there are any."""
        with any_script(self):
            super().draw(renderer)


@contextmanager
def any_script(figure: Figure) -> Iterator[None]:
    """Give the texts of a figure the fonts that they need; letters of none pass unsaid meanwhile.

    Args:
        figure: about to be drawn, or to be saved: files of PDF look for letters once more.
    """
    for text in figure.findobj(Text):
        if isinstance(text, Text) and not text.get_text().isascii():
            _add_fonts(text)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_MISSING)
        yield


def _add_fonts(text: Text) -> None:
    """Let other fonts stand in for letters that the text's own fonts lack."""
    own = text.get_fontfamily()
    lacking = _lacking(text.get_text(), text.get_fontproperties())
    if more := [family for family in _families(lacking) if family not in own]:
        text.set_fontfamily([*own, *more])


def _lacking(text: str, font: FontProperties) -> frozenset[str]:
    """The letters that the first font of a text has no shape for."""
    has = get_font(findfont(font)).get_char_index
    return frozenset(c for c in text if not c.isspace() and not has(ord(c)))


@lru_cache(maxsize=256)
def _families(letters: frozenset[str]) -> tuple[str, ...]:
    """Names of installed fonts that have the letters between them, as far as any has."""
    left, found = set(letters), []
    for font in _plain_first(f for f in fontManager.ttflist if not f.name.startswith(_BOXES)):
        if not left:
            break
        has = _found_in(font, left)
        if has and findfont(FontProperties(family=[font.name])) == font.fname:
            left -= has
            found.append(font.name)
    return tuple(found)


def _plain_first(fonts: Iterable[FontEntry]) -> list[FontEntry]:
    """Upright fonts without serifs, of even weight; then the others. By name, not as found."""
    return sorted(
        fonts,
        key=lambda font: (
            "sans" not in font.name.lower(),
            font.style != "normal",
            abs(_weight(font) - _EVEN),
            font.name,
            font.fname,
        ),
    )


def _weight(font: FontEntry) -> int:
    return font.weight if isinstance(font.weight, int) else _EVEN


def _found_in(font: FontEntry, letters: set[str]) -> set[str]:
    """The letters that a font has; none of a file that is gone or damaged."""
    try:
        has = get_font(font.fname).get_char_index
    except (OSError, RuntimeError):
        return set()
    return {letter for letter in letters if has(ord(letter))}
