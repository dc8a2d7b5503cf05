"""Items on pages, and what the files of pages are called."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

T = TypeVar("T")
_LONGEST = 60  # letters of a name in a file name


def pages(items: Sequence[T], most: int) -> list[Sequence[T]]:
    """Items on as few pages as hold them, spread evenly.

    Args:
        items: panels or rows.
        most: on a page.
    """
    n = -(-len(items) // most)
    each, over = divmod(len(items), max(n, 1))
    starts = [i * each + min(i, over) for i in range(n + 1)]
    return [items[a:b] for a, b in pairwise(starts)]


def page_names(name: str, n: int) -> list[str]:
    """File names of n pages: the name itself for a single one."""
    return [name] if n == 1 else [f"{name}_{i}" for i in range(1, n + 1)]


def file_words(words: str) -> str:
    """Any words as a part of a file name: letters without accents, digits and _."""
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")[:_LONGEST].rstrip("_")
