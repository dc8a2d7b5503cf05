"""``.txt`` lists of class numbers, as of LMPT: ``images/a b.jpg 0 17`` a line.

In: a list with the path of an image and the numbers of its classes, from 0, separated by spaces;
and ``classes.txt`` beside it, one name a line. An image without a class is a path alone. Out:
``Listing``.
"""

from pathlib import Path

from ccr_diag.data.listing import Listing, Row
from ccr_diag.data.reading import read_lines
from ccr_diag.errors import BadData

CLASSES = "classes.txt"
DIGITS = 18  # of a class number, at most


def read_index_list(path: Path) -> Listing:
    """The rows of a list of class numbers.

    Raises:
        BadData: a number of no class or twice in a line, or no list of classes.
    """
    names = tuple(read_lines(path.parent / CLASSES, f"the classes of {path.name}"))
    rows = [
        _row(f"{path} line {at}", at, line, names)
        for at, line in enumerate(read_lines(path, "images and the numbers of their classes"), 1)
    ]
    return Listing(path, rows, class_names=names)


def _row(where: str, at: int, line: str, names: tuple[str, ...]) -> Row:
    """One line; a path may hold spaces, so numbers are taken from the end."""
    words = line.split(" ")
    n_path = len(words)
    while n_path > 1 and words[n_path - 1].isdecimal():
        n_path -= 1
    endless = [word for word in words[n_path:] if len(word) > DIGITS]
    if endless:
        raise BadData(
            f"{where} must give numbers of classes, but gives one of {len(endless[0]):,} digits; "
            "mend the line."
        )
    numbers = [int(word) for word in words[n_path:]]
    if len(set(numbers)) < len(numbers):
        raise BadData(
            f"{where} must give each class number once, but repeats one: {line}; if these are 0 "
            "and 1 for each class, write a .csv file with a column a class."
        )
    strange = [number for number in numbers if number >= len(names)]
    if strange:
        raise BadData(
            f"{where} must give numbers from 0 to {len(names) - 1}, as {CLASSES} has {len(names)} "
            f"classes, but gives {strange[0]}."
        )
    return Row(at, " ".join(words[:n_path]).strip(), tuple(names[i] for i in numbers))
