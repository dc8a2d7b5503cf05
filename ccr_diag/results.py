"""The results file: what ``analyze`` measured of every model, read back and checked.

``results.json`` flows in; the parsed dictionary flows out to the figures and the tables, which only
lay it out. Undefined numbers are null. Its layout::

    {"schema_version": 2,
     "definitions": {"preset", "n_bins", …, "interval": text, "metrics": {metric: {…}},
                     "geometry" and "bias_rules": {name: text}, of checkpoints only},
     "provenance": {} or {"command", "versions", "inputs": [{"path", "sha256", "config" of runs}]},
     "data": {"name", "split"}, of checkpoints only,
     "differences": {} or {"method", "pairs": [{"a", "b", "rows": [{"metric", "group", "a", "b",
                     "difference", "low", "high", "p", "p_holm", "verdict"}]}]},
     "models": [{"name", "label", "map": {"scale", "bias", "rule"} or null, "map_rule",
                 "n_images", "n_classes", "n_unknown", "n_known", "n_positive", "effective_bins",
                 "metrics": {metric: {"value", "low", "high"}},
                 "reliability": {"positive", "decision", "mass_positive":
                                 {"count", "confidence", "frequency", "low", "high"}},
                 "groups": {group: {"n_classes", "n_known", "n_positive", "effective_bins",
                                    "metrics", "reliability"}},
                 "classes": [{"name", "group", "n_known", "n_positive", "n_training" or null,
                              "metrics",
                              "reliability": {"bin", "count", "confidence", "frequency", "low",
                                              "high"} of the filled positive bins}],
                 "provenance": {what is known of where it comes from},
                 "geometry": {} or {"summary": {measure: {"value", "low", "high"}}},
                 "associations": what the signed error of the classes goes with, see
                                 ``associations``; may be left out,
                 "findings": [{"text", "evidence"}],
                 "splits": [] or [{"split", "map", "metrics": {metric: number}, "reliability",
                                   "groups": {group: {"metrics", "reliability"}},
                                   "classes": [{"name", "metrics"}],
                                   "geometry": {} of a single class, or
                                               {"divergence", "preservation", "gap",
                                                "coordinates_text",
                                                "text": ``TextGeometry.to_json``}}]}],
     "image_coordinates": [[x, y], …], of checkpoints only,
     "class_image_coordinates": [[x, y] or null, …], the mean image of each class}

A model of several splits holds means over them with Student's interval; else the interval is that
of the bootstrap. Its counts and its reliability are those of the first split. Bins are of equal
width, but those of ``mass_positive`` of equal mass. A difference is of ``b`` against ``a``; models
that cannot be compared have none, and ``method`` says why.
"""

import json
from pathlib import Path
from typing import Any

from ccr_diag.errors import BadData

SCHEMA_VERSION = 2
Results = dict[str, Any]
"""A parsed results file."""

_TOP = ("definitions", "provenance", "differences", "models")
_DEFINITIONS = ("preset", "n_bins", "interval", "metrics")
_POOL = ("n_classes", "n_known", "n_positive", "effective_bins", "metrics", "reliability")
_MODEL = (
    "name", "label", "map_rule", "n_images", *_POOL, "groups", "classes", "provenance", "geometry",
    "findings", "splits",
)  # fmt: skip
_PAIR = ("a", "b", "rows")
_DIFFERENCE = (
    "metric", "group", "a", "b", "difference", "low", "high", "p", "p_holm", "verdict",
)  # fmt: skip
_CLASS = ("name", "group", "n_known", "n_positive", "n_training", "metrics", "reliability")
_SPLIT = ("split", "metrics", "reliability", "groups", "classes", "geometry")
_GEOMETRY = ("divergence", "preservation", "gap", "coordinates_text")
_CONVENTIONS = ("positive", "decision", "mass_positive")
_BINS = ("count", "confidence", "frequency", "low", "high")
_ENTRY = ("value", "low", "high")


def load_results(path: Path) -> Results:
    """Read and check a results file; not-a-number values come back as ``None``.

    Args:
        path: a ``results.json``.

    Returns:
        The parsed dictionary, in the layout that this module states.

    Raises:
        BadData: the file is missing, is not JSON, has another schema, or breaks the layout.
    """
    return check_results(read_json(path), path)


def read_json(path: Path) -> object:
    """What a file of JSON holds; not-a-number values come back as ``None``.

    Raises:
        BadData: the file is missing, or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
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


def check_results(content: object, path: Path) -> Results:
    """The content of a file of JSON as results.

    Args:
        content: of ``read_json``.
        path: the file, for errors.

    Raises:
        BadData: it has another schema, or breaks the layout.
    """
    results: Any = content
    found = results.get("schema_version") if isinstance(results, dict) else None
    if found != SCHEMA_VERSION:
        raise BadData(
            f"A results file must have schema_version {SCHEMA_VERSION}, but {path} has {found!r}; "
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
    _keys(results["definitions"], _DEFINITIONS, "'definitions'")
    n_bins = int(results["definitions"]["n_bins"])
    if not isinstance(results["models"], list) or not results["models"]:
        raise BadData("A results file must hold at least one model, but 'models' is empty")
    for model in results["models"]:
        _keys(model, _MODEL, "a model")
        if not isinstance(model["label"], str):
            raise BadData(f"A model needs a label in words, but {model['name']!r} has none")
        _check_model(model, n_bins, f"of model {model['name']!r}")
    names = [model["name"] for model in results["models"]]
    if len(set(names)) < len(names):
        raise BadData(f"Model names must differ, but they are {', '.join(names)}")
    if results["differences"]:
        _check_differences(results["differences"], names)


def _check_differences(differences: dict[str, Any], names: list[str]) -> None:
    """Pairs of models that are there, each row whole."""
    _keys(differences, ("method", "pairs"), "'differences'")
    for pair in differences["pairs"]:
        _keys(pair, _PAIR, "a pair of 'differences'")
        unknown = [pair[side] for side in ("a", "b") if pair[side] not in names]
        if unknown:
            raise BadData(
                f"Differences must be between models of the file, but {unknown[0]!r} is none"
            )
        for row in pair["rows"]:
            _keys(row, _DIFFERENCE, f"a difference of {pair['a']!r} and {pair['b']!r}")


def _check_model(model: dict[str, Any], n_bins: int, where: str) -> None:
    _check_pool(model, n_bins, where)
    for group, pool in model["groups"].items():
        _keys(pool, _POOL, f"group {group!r} {where}")
        _check_pool(pool, n_bins, f"of group {group!r} {where}")
    n_classes = int(model["n_classes"])
    _length(model["classes"], n_classes, f"'classes' {where}")
    for entry in model["classes"]:
        _keys(entry, _CLASS, f"a class {where}")
        _check_entries(entry["metrics"], f"of class {entry['name']!r} {where}")
    if model["geometry"]:
        _keys(model["geometry"], ("summary",), f"'geometry' {where}")
        _check_entries(model["geometry"]["summary"], f"of the geometry {where}")
    for finding in model["findings"]:
        _keys(finding, ("text",), f"a finding {where}")
    for split in model["splits"]:
        _check_split(split, n_classes, n_bins, where)


def _check_pool(pool: dict[str, Any], n_bins: int, where: str) -> None:
    _check_entries(pool["metrics"], where)
    _check_bins(pool["reliability"], n_bins, where)


def _check_entries(metrics: dict[str, Any], where: str) -> None:
    for metric, entry in metrics.items():
        _keys(entry, _ENTRY, f"metric {metric!r} {where}")


def _check_bins(reliability: dict[str, Any], n_bins: int, where: str) -> None:
    _keys(reliability, _CONVENTIONS, f"'reliability' {where}")
    for convention in _CONVENTIONS:
        table = reliability[convention]
        _keys(table, _BINS, f"'reliability', {convention}, {where}")
        for name in _BINS:
            _length(table[name], n_bins, f"{name!r} of 'reliability', {convention}, {where}")


def _check_split(split: dict[str, Any], n_classes: int, n_bins: int, where: str) -> None:
    _keys(split, _SPLIT, f"a split {where}")
    _check_bins(split["reliability"], n_bins, f"of a split {where}")
    for group, pool in split["groups"].items():
        _keys(pool, ("metrics", "reliability"), f"group {group!r} of a split {where}")
        _check_bins(pool["reliability"], n_bins, f"of group {group!r} of a split {where}")
    _length(split["classes"], n_classes, f"'classes' of a split {where}")
    for entry in split["classes"]:
        _keys(entry, ("name", "metrics"), f"a class of a split {where}")
    if not split["geometry"]:
        return
    _keys(split["geometry"], _GEOMETRY, f"'geometry' {where}")
    for name in ("divergence", "preservation", "coordinates_text"):
        _length(split["geometry"][name], n_classes, f"'{name}' {where}")


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
