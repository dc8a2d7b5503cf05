"""Splits that are made of others, as VOC's trainval is of its train and val."""

from collections.abc import Mapping
from itertools import combinations


def made_of_others(ids: Mapping[str, frozenset[str]]) -> dict[str, tuple[str, ...]]:
    """Each split that is the union of several smaller ones, and which.

    Args:
        ids: the images of each split.
    """
    parts = {whole: tuple(split for split in ids if ids[split] < ids[whole]) for whole in ids}
    return {
        whole: smaller
        for whole, smaller in parts.items()
        if ids[whole] == frozenset().union(*(ids[split] for split in smaller))
    }


def apart(ids: Mapping[str, frozenset[str]]) -> list[tuple[str, str]]:
    """Every two splits that should share no image, in their order.

    Args:
        ids: the images of each split.
    """
    parts = made_of_others(ids)
    return [
        (one, other)
        for one, other in combinations(ids, 2)
        if other not in parts.get(one, ()) and one not in parts.get(other, ())
    ]
