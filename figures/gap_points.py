"""The points and the gaps that a results file holds, checked, and their tidy table."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ccr_diag.errors import BadData
from ccr_diag.figures.style import Entry, defined, entry_of, interval
from ccr_diag.figures.text_spaces import Model, Point, geometry_of, same_texts, with_texts
from ccr_diag.results import Results

_FROM = "they come with the results of 'ccr-diag analyze checkpoint'"


def modality_gap_table(results: Results) -> pd.DataFrame:
    """Every point, and the gap of each text space: long form, in the order of the file.

    Args:
        results: a parsed results file with images and class texts.

    Returns:
        Columns ``mark`` (image, class image mean, class text, mean image, mean text, gap),
        ``model`` (empty for images), ``same_texts`` (models drawn as that one), ``split``,
        ``class``, ``group``, ``x``, ``y`` (coordinates of the plane), and of a gap ``value``,
        ``low``, ``high``.
    """
    classes = with_texts(results)[0]["classes"]
    rows: list[dict[str, Any]] = [
        {"mark": "image", "model": "", "x": x, "y": y} for x, y in images_of(results)
    ]
    rows += [
        {"mark": "class image mean", "model": "", **_class(of), "x": at[0], "y": at[1]}
        for of, at in zip(classes, class_images_of(results), strict=True)
        if at is not None
    ]
    rows.append({"mark": "mean image", "model": "", **_at(mean_point(images_of(results)))})
    for same in same_texts(with_texts(results)):
        model = same[0]
        shared = {
            "model": model["name"],
            "same_texts": " = ".join(other["name"] for other in same),
            "split": model["splits"][0]["split"],
        }
        rows += [
            {"mark": "class text", **shared, **_class(of), **_at(place)}
            for of, place in zip(classes, texts_of(model), strict=True)
        ]
        rows.append({"mark": "mean text", **shared, **_at(mean_point(texts_of(model)))})
        gap = {key: gap_of(model)[key] for key in ("value", "low", "high")}
        rows.append({"mark": "gap", **shared, "split": None, **gap})
    columns = ["mark", "model", "same_texts", "split", "class", "group", "x", "y"]
    return pd.DataFrame(rows, columns=[*columns, "value", "low", "high"])


def gap_text(model: Model, separator: str = " ") -> str:
    """The gap of a model in words, with its interval where there is one."""
    gap = gap_of(model)
    if not defined(gap["value"]):
        return "gap undefined"
    text = f"gap {gap['value']:.3f}"
    ends = interval(gap)
    if ends is None:
        return text
    low, high = (f"{end:.3f}" for end in ends)
    # Zero width: a model that is not tuned is the same in every split.
    return text if low == high else f"{text}{separator}[{low}, {high}]"


def gap_of(model: Model) -> Entry:
    """‖mean image − mean text‖₂ in all dimensions, with its interval.

    Raises:
        BadData: the summary of the model's geometry lacks it.
    """
    summary = model["geometry"].get("summary", {})
    return entry_of(summary, "gap", f"the geometry of model {model['name']!r}")


def images_of(results: Results) -> list[Point]:
    """Coordinates of the images drawn.

    Raises:
        BadData: the results hold none.
    """
    if not results.get("image_coordinates"):
        raise BadData(f"The figure needs 'image_coordinates', but the results hold none; {_FROM}.")
    coordinates: list[Point] = results["image_coordinates"]
    return coordinates


def class_images_of(results: Results) -> list[Point | None]:
    """Where the mean image of each class lies; None of a class that no image shows.

    Raises:
        BadData: not one entry a class.
    """
    n = results["models"][0]["n_classes"]
    coordinates: list[Point | None] = results.get("class_image_coordinates") or [None] * n
    if len(coordinates) != n:
        raise BadData(
            f"'class_image_coordinates' must have one entry a class, {n}, but the results have "
            f"{len(coordinates)}; write them anew with 'ccr-diag analyze checkpoint'."
        )
    return coordinates


def texts_of(model: Model) -> list[Point]:
    """Coordinates of the class texts of a model, first split.

    Raises:
        BadData: the results hold none.
    """
    if not model["splits"] or not geometry_of(model):
        raise BadData(
            f"The figure needs the class texts of model {model['name']!r}, "
            f"but the results hold none; {_FROM}."
        )
    coordinates: list[Point] = geometry_of(model)["coordinates_text"]
    return coordinates


def mean_point(points: Sequence[Point]) -> Point:
    """Where the mean is drawn: that of the coordinates."""
    return [sum(column) / len(points) for column in columns_of(points)]


def columns_of(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    """All x and all y."""
    return [p[0] for p in points], [p[1] for p in points]


def _class(of: dict[str, Any]) -> dict[str, Any]:
    return {"class": of["name"], "group": of["group"]}


def _at(point: Point) -> dict[str, float]:
    return {"x": point[0], "y": point[1]}
