"""The results file: what ``analyze`` measured for every model and split, read back and checked.

``results.json`` flows in; the parsed dictionary flows out to the figures and the tables, which only
lay it out. Its layout::

    {"schema": 1, "definitions": {...}, "bins": 15, "classes": [...], "groups": [one a class],
     "models": [{"name", "label", "map_rule",
                 "splits": [{"split", "map",
                             "measurements": {"values", "reliability", "per_class"},
                             "geometry": {"divergence", "preservation", "gap",
                                          "coordinates_text"}}],
                 "summary": {group: {metric: {"mean", "sd", "low", "high", "n"}}},
                 "geometry_summary": {"ED": {...}, "NP@5": {...}, "gap": {...}}}],
     "image_coordinates": [[x, y], ...]}
"""

import json
from pathlib import Path
from typing import Any

from ccr_diag.errors import BadData

SCHEMA = 1
Results = dict[str, Any]
"""A parsed results file."""

_TOP = ("definitions", "bins", "classes", "groups", "models", "image_coordinates")
_MODEL = ("name", "label", "map_rule", "splits", "summary", "geometry_summary")
_SPLIT = ("split", "map", "measurements", "geometry")
_GEOMETRY = ("divergence", "preservation", "gap", "coordinates_text")
_RELIABILITY = ("count", "confidence", "frequency")


def load_results(path: Path) -> Results:
    """Read and check a results file; not-a-number values come back as ``None``.

    Args:
        path: a ``results.json``.

    Returns:
        The parsed dictionary, in the layout that this module states.

    Raises:
        BadData: the file is missing, is not JSON, has another schema, or breaks the layout.
    """
    try:
        results = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except OSError as error:
        raise BadData(
            f"The results file must be readable, but {path} is not ({error.strerror}); "
            "write it with 'ccr-diag analyze'."
        ) from error
    except ValueError as error:
        raise BadData(
            f"A results file must be JSON, but {path} is not ({error}); "
            "write it anew with 'ccr-diag analyze'."
        ) from error
    found = results.get("schema") if isinstance(results, dict) else None
    if found != SCHEMA:
        raise BadData(
            f"A results file must have schema {SCHEMA}, but {path} has {found!r}; "
            "write it anew with 'ccr-diag analyze'."
        )
    try:
        _check(results)
    except BadData as error:
        raise BadData(f"{error} (in {path}); write it anew with 'ccr-diag analyze'.") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise BadData(
            f"A results file must keep the layout that 'ccr-diag analyze' writes, but {path} "
            f"breaks it ({error}); write it anew."
        ) from error
    return dict(results)


def _check(results: Results) -> None:
    """Keys and lengths of every part."""
    _keys(results, _TOP, "the file")
    classes = len(results["classes"])
    _length(results["groups"], classes, "'groups'")
    if not isinstance(results["models"], list) or not results["models"]:
        raise BadData("A results file must hold at least one model, but 'models' is empty")
    for model in results["models"]:
        _keys(model, _MODEL, "a model")
        if not (isinstance(model["label"], str) and isinstance(model["summary"], dict)):
            raise BadData(
                f"A model needs a label and a summary, but {model['name']!r} has not both"
            )
        if not isinstance(model["splits"], list) or not model["splits"]:
            raise BadData(f"A model must have at least one split, but {model['name']!r} has none")
        for split in model["splits"]:
            _check_split(split, classes, int(results["bins"]), f"of model {model['name']!r}")
    names = [model["name"] for model in results["models"]]
    if len(set(names)) < len(names):
        raise BadData(f"Model names must differ, but they are {', '.join(names)}")


def _check_split(split: dict[str, Any], classes: int, bins: int, where: str) -> None:
    _keys(split, _SPLIT, f"a split {where}")
    _keys(split["geometry"], _GEOMETRY, f"'geometry' {where}")
    for name in ("divergence", "preservation", "coordinates_text"):
        _length(split["geometry"][name], classes, f"'{name}' {where}")
    _keys(split["measurements"], ("values", "reliability"), f"'measurements' {where}")
    for group, table in split["measurements"]["reliability"].items():
        _keys(table, _RELIABILITY, f"'reliability' of group {group!r} {where}")
        for name in _RELIABILITY:
            _length(table[name], bins, f"'{name}' of group {group!r} {where}")


def _keys(part: object, keys: tuple[str, ...], where: str) -> None:
    missing = [key for key in keys if not isinstance(part, dict) or key not in part]
    if missing:
        raise BadData(
            f"A results file needs {', '.join(map(repr, keys))} in {where}, "
            f"but {', '.join(map(repr, missing))} is missing"
        )


def _length(part: object, length: int, where: str) -> None:
    found = len(part) if isinstance(part, list) else type(part).__name__
    if found != length:
        raise BadData(f"A results file needs {length} entries in {where}, but has {found}")
