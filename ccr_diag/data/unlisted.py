"""What a class that an image does not list means: said by the format, or declared by the user.

COCO and VOC label exhaustively, so what is not listed is absent; Open Images lists what people have
verified, so the rest is unknown. Most files say nothing, and scoring their unlisted classes as
absent has cost people half of their mAP: it is never guessed.
"""

from typing import Literal

from ccr_diag.arrays import ABSENT, UNKNOWN, Unlisted
from ccr_diag.errors import BadData

Says = Literal["negative", "unknown", ""]
FILLS = {"negative": ABSENT, "unknown": UNKNOWN}


class Undeclared(BadData):
    """Nobody says what a class means that an image does not list."""


def fill_of(where: str, says: Says, declared: Unlisted) -> int:
    """The label of every class that an image does not list.

    Args:
        where: the data set, as an error names it.
        says: what the format or the file says, empty where it says nothing.
        declared: what the user declares; ``stated`` leaves it to the format.

    Returns:
        0 (absent) or −1 (unknown).

    Raises:
        Undeclared: nobody says it.
        BadData: the two contradict each other.
    """
    if not says and declared == "stated":
        raise Undeclared(
            f"{where} does not say what a class means that an image does not list; add --unlisted "
            "negative if every class was looked for in every image, else --unlisted unknown."
        )
    if says and declared not in ("stated", says):
        raise BadData(
            f"{where} says itself that a class that an image does not list is "
            f"{'absent' if says == 'negative' else 'unknown'}, but got --unlisted {declared}; "
            "leave it out."
        )
    return FILLS[says or declared]
