"""What dialects share: the names of columns and keys, and how class names are listed in a field."""

import difflib
import json
import re
from collections.abc import Sequence
from pathlib import Path

from ccr_diag.errors import BadData

IMAGE = ("image", "file_name", "path")
"""Names of the column or key that holds the image; the first that is there counts."""
OPTIONAL = ("split", "negatives", "caption")
OTHER_NAMES = {
    "image": (
        *(*IMAGE, "image_name", "image_path", "img", "img_path", "filename", "file"),
        *("image_id", "imageid", "id"),
    ),
    "labels": (
        "labels",
        "tags",
        "classes",
        "categories",
        "class_names",
        "tag",
        "class",
        "category",
    ),
    "value": ("value", "values", "confidence", "score", "present"),
}
"""What other files call the columns, in any case: not read so, as they differ in more than that."""
HOW_TO_LIST = "separate names by ';' or '|', or write a JSON list like [\"cat\", \"dog, wet\"]"
HOW_IN_JSON = 'list names, as in ["cat", "dog"]'


def image_field(where: object, fields: Sequence[str]) -> str | None:
    """The column or key that holds the image, None where there is none.

    Raises:
        BadData: two of them could.
    """
    if "image" in fields:
        return "image"
    found = [name for name in IMAGE if name in fields]
    if len(found) > 1:
        raise BadData(
            f"{where} must name the image in one place, but has {' and '.join(found)}; call the "
            "right one 'image'."
        )
    return found[0] if found else None


def image_and_labels(where: object, fields: Sequence[str]) -> str:
    """The column or key that holds the image, where there is one for the labels, too.

    Raises:
        BadData: one is not there, or two could hold the image.
    """
    image = image_field(where, fields)
    for needed, has in (("image", image), ("labels", "labels" in fields)):
        if not has:
            raise BadData(
                f"{where} needs image and labels, but {needed!r} is not in it: "
                f"{', '.join(fields)}{rename(needed, fields)}."
            )
    return image or "image"


def rename(needed: str, fields: Sequence[str]) -> str:
    """How an error says which field likely is the needed one; empty where none is."""
    written = {name.strip().lower(): name for name in reversed(fields)}
    other = next((written[name] for name in OTHER_NAMES[needed] if name in written), "")
    return other and f"; call {other!r} {needed!r}"


def require_no_near_name(path: Path, fields: Sequence[str]) -> None:
    """No further column is too like an optional one, whose typing error would change labels.

    Raises:
        BadData: one is.
    """
    for name in fields:
        like = difflib.get_close_matches(name.strip().lower(), OPTIONAL, n=1, cutoff=0.8)
        if like and name not in OPTIONAL:
            raise BadData(
                f"{path} has {name!r}, which is too like {like[0]!r} to be ignored; "
                f"call it {like[0]!r} if it is that, or something else if it is not."
            )


def names_in_text(where: str, column: str, text: str) -> tuple[str, ...]:
    """The class names that a field of text lists.

    Raises:
        BadData: it is no such list.
    """
    if not text:
        return ()
    if text.startswith("["):
        try:
            listed = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as e:
            why = getattr(e, "msg", "it is too deep")
            raise BadData(
                f"{where} has a field in {column!r} that begins like a JSON list and is "
                f"none ({why}): {text}; {HOW_TO_LIST}."
            ) from e
    else:
        listed = re.split("[;|]", text)
        if "," in text:
            raise BadData(
                f"{where} has a comma in {column!r}, where it separates nothing: {text}; "
                f"{HOW_TO_LIST}."
            )
    return _stripped(where, column, listed, text, HOW_TO_LIST)


def require_no_cells(where: str, numbers: Sequence[object], n_classes: int) -> None:
    """Class numbers are no vector of 0 and 1, one a class, which would pass for classes 0 and 1.

    Raises:
        BadData: they are: as many as classes, and one repeats.
    """
    if 1 < len(numbers) == n_classes and set(numbers) <= {0, 1} and len(set(numbers)) < n_classes:
        raise BadData(
            f"{where} must give the numbers of its classes, but has a 0 or 1 for each of the "
            f"{n_classes}: {shown(list(numbers))}; give the places of the ones, or the names."
        )


def names_in_list(where: str, column: str, listed: object) -> tuple[str, ...]:
    """The class names of a value that must be a list of names.

    Raises:
        BadData: it is none.
    """
    if not isinstance(listed, list):
        raise BadData(
            f"{where} must hold a list in {column!r}, but holds {shown(listed)}; {HOW_IN_JSON}."
        )
    return _stripped(where, column, listed, shown(listed), HOW_IN_JSON)


def _stripped(
    where: str, column: str, listed: list[object], text: str, how: str
) -> tuple[str, ...]:
    names = tuple(name.strip() for name in listed if isinstance(name, str))
    if len(names) < len(listed) or not all(names):
        raise BadData(
            f"{where} has an empty name or something other than a name in {column!r}: "
            f"{text}; {how}."
        )
    return names


def shown(value: object) -> str:
    """A value as an error shows it: its JSON, cut short."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 60 else f"{text[:57]}…"
