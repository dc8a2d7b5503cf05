"""Class names as prompts say them, and those that a text tower or a reader cannot tell apart."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

SHOWN = 3  # of the names that are alike


def prompt_name(class_name: str) -> str:
    """A class name as it stands in a sentence: underscores are spaces, a MID at its end is gone.

    Open Images has two classes “Football”, which only the MID in parentheses tells apart.
    """
    return re.sub(r" \(/[mg]/\w+\)$", "", class_name).replace("_", " ")


def name_problems(class_names: Sequence[str]) -> Iterator[str]:
    """One sentence about each empty name, and one about each way in which names are alike."""
    for name in class_names:
        if not name.strip():
            yield f"A class has an empty name, {name!r}, which no prompt can say."
    told: set[tuple[str, ...]] = set()
    for what, key in _LIKENESS.items():
        by_key: dict[str, list[str]] = defaultdict(list)
        for name in class_names:
            by_key[key(name)].append(name)
        alike = [names for names in map(tuple, by_key.values()) if len(names) > 1]
        untold = [names for names in alike if names not in told]
        told.update(untold)
        if untold:
            some = "; ".join(" and ".join(map(repr, names)) for names in untold[:SHOWN])
            more = f"; and so on, {len(untold):,} times" if len(untold) > SHOWN else ""
            yield f"Classes {what}: {some}{more}."


_LIKENESS: dict[str, Callable[[str], str]] = {
    "have the same prompt": prompt_name,
    "differ only in upper and lower case or in spaces": lambda name: " ".join(
        prompt_name(name).casefold().split()
    ),
}
