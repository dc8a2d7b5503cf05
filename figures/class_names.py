"""Class names in the room that a figure has for them."""

from functools import lru_cache

from matplotlib.font_manager import findfont, get_font

FONT = "DejaVu Sans"  # of all figures
_SIZE = 100  # points at which a letter is measured
_BOLD = 1.15  # how much wider bold letters are


def fitted(name: str, inches: float, points: float, bold: bool = False) -> str:
    """A name, cut with an ellipsis where it is longer than its room.

    Args:
        name: of a class, in any script.
        inches: its room.
        points: size of its font.
        bold: whether its letters are bold.
    """
    room = 72 * inches / points / (_BOLD if bold else 1)
    if sum(map(_ems, name)) <= room:
        return name
    room -= _ems("…")
    for i, letter in enumerate(name):
        room -= _ems(letter)
        if room < 0:
            return f"{name[:i].rstrip()}…"
    return name


@lru_cache(maxsize=4096)
def _ems(letter: str) -> float:
    """Width of a letter for its size; 1, as of a full-width sign, where the font lacks it."""
    font = get_font(findfont(FONT))
    if not font.get_char_index(ord(letter)):
        return 1.0
    font.set_size(_SIZE, 72)
    return font.load_char(ord(letter)).linearHoriAdvance / 65536 / _SIZE
