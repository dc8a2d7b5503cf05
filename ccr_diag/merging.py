"""Several analyses → one, as if they had been one: refused where their numbers do not compare.

Models stand side by side only if they were measured on the same labels by the same definitions, and
in one text space. A model that stands in several, zero-shot above all, is kept once.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ccr_diag.class_matrices import ClassMatrices
from ccr_diag.errors import BadData
from ccr_diag.records import OVER_SPLITS
from ccr_diag.results import Results

Part = tuple[Path, Results]
Parts = Sequence[Part]

TOGETHER = "analyse the runs together with one 'ccr-diag analyze checkpoint'"
ZERO_SHOT = "zero-shot"
_DRAWN = ("interval", "n_bootstrap", "seed", "metrics", "geometry", "bias_rules")
"""Definitions that do not change a value: how intervals were drawn, and what names mean."""
_COUNTS = {"n_known": "known labels", "n_positive": "positive labels"}
_APART = ("provenance", "findings")  # of a model: where from, and what was made of its numbers
_SHARED = ("data", "image_coordinates", "class_image_coordinates")


def merge_results(parts: Parts) -> Results:
    """Put analyses into one.

    Args:
        parts: the file that each was read from, and its results; at least one.

    Returns:
        The results of all models in their order, without provenance.

    Raises:
        BadData: they differ in classes, groups, labels, definitions, data or text space, or hold
            other numbers under one model name.
    """
    first = parts[0]
    for other in parts[1:]:
        _check_definitions(first, other)
        _check_classes(first, other)
        _check_labels(first, other)
    _check_shared(parts, "data", _data_said)
    _check_shared(parts, "image_coordinates", _images_said)
    _check_scale(parts)
    if len(parts) == 1:
        return first[1]
    merged: Results = {
        "schema_version": first[1]["schema_version"],
        "definitions": _definitions([results for _, results in parts]),
        "provenance": {},
        "differences": _differences([results for _, results in parts]),
        "models": _models(parts),
    }
    for key in _SHARED:
        if found := [results[key] for _, results in parts if key in results]:
            merged[key] = found[0]
    return merged


def merge_matrices(parts: Sequence[Mapping[str, ClassMatrices]]) -> dict[str, ClassMatrices]:
    """The class matrices of all models; of one in several parts the first.

    Args:
        parts: model → its matrices, of analyses that ``merge_results`` takes.
    """
    return {name: found for part in reversed(parts) for name, found in part.items()}


def merge_stability(parts: Sequence[tuple[Path, dict[str, Any]]]) -> dict[str, Any]:
    """Put records of ``analyze correlation`` into one.

    Args:
        parts: the file that each was read from, and the record; at least one.

    Raises:
        BadData: they were drawn otherwise, or hold other numbers under one model name.
    """
    path, first = parts[0]
    models: dict[str, Any] = {}
    for other, record in parts:
        for key, value in first["definitions"].items():
            if record["definitions"].get(key) != value:
                raise BadData(
                    f"Records of class correlations are put together if drawn alike, but {path} "
                    f"and {other} differ in {key!r}; run one 'ccr-diag analyze correlation' on all "
                    "files."
                )
        for model in record["models"]:
            if models.setdefault(model["name"], model) != model:
                raise BadData(
                    f"A model name must stand for the same numbers, but {model['name']!r} has "
                    f"others in {other} than before; run one 'ccr-diag analyze correlation' on all "
                    "files."
                )
    return first | {"models": list(models.values())}


def _check_definitions(first: Part, other: Part) -> None:
    """Refuse numbers of other meaning."""
    a, b = (part[1]["definitions"] for part in (first, other))
    for key in dict.fromkeys([*a, *b]):
        if key not in _DRAWN and a.get(key) != b.get(key):
            _refuse(
                "by the same definitions",
                f"{key} is {a.get(key)!r} in {first[0]} and {b.get(key)!r} in {other[0]}",
                "measure them alike, with the same --preset, --bins and other options",
            )
    for metric in a["metrics"].keys() & b["metrics"].keys():
        if a["metrics"][metric] != b["metrics"][metric]:
            _refuse(
                "by the same definitions",
                f"{metric} is defined otherwise in {first[0]} than in {other[0]}",
                "measure them with one version of ccr-diag",
            )


def _check_classes(first: Part, other: Part) -> None:
    """Refuse other classes, or classes of other groups."""
    a, b = (_groups(part[1]) for part in (first, other))
    apart = [(name, first, other) for name in a if name not in b]
    apart += [(name, other, first) for name in b if name not in a]
    for name, here, there in apart[:1]:
        _refuse(
            "on the same classes",
            f"{name!r} is a class of {here[0]} and none of {there[0]}",
            "draw them apart, or analyse both on one list of classes",
        )
    if list(a) != list(b):
        _refuse(
            "on the same classes",
            f"they stand in another order in {other[0]} than in {first[0]}",
            "analyse both on one list of classes",
        )
    for name, group in a.items():
        if b[name] != group:
            _refuse(
                "with the same class groups",
                f"{name!r} is {_group_said(group)} in {first[0]} and {_group_said(b[name])} in "
                f"{other[0]}",
                "analyse both with the same groups",
            )


def _groups(results: Results) -> dict[str, str | None]:
    """Class → group."""
    return {entry["name"]: entry["group"] for entry in results["models"][0]["classes"]}


def _group_said(group: str | None) -> str:
    return "of no group" if group is None else repr(group)


def _check_labels(first: Part, other: Part) -> None:
    """Refuse other images, or other labels of them."""
    a, b = (part[1]["models"][0] for part in (first, other))
    remedy = "analyse both on the same images and labels"
    if a["n_images"] != b["n_images"]:
        said = f"there are {a['n_images']:,} in {first[0]} and {b['n_images']:,} in {other[0]}"
        _refuse("on the same images", said, remedy)
    for mine, yours in zip(a["classes"], b["classes"], strict=True):
        for key, what in _COUNTS.items():
            if mine[key] != yours[key]:
                _refuse(
                    "on the same labels",
                    f"class {mine['name']!r} has {mine[key]:,} {what} in {first[0]} and "
                    f"{yours[key]:,} in {other[0]}",
                    remedy,
                )


def _check_shared(parts: Parts, key: str, said: Callable[[Any, Any, str], str]) -> None:
    """Refuse parts that hold something about the images and do not agree on it."""
    holding = [(path, results[key]) for path, results in parts if results.get(key)]
    for path, found in holding[1:]:
        if not _equal(found, holding[0][1]):
            where = f"in {holding[0][0]} and {path}"
            _refuse("on the same data", said(holding[0][1], found, where), TOGETHER)


def _equal(a: Any, b: Any) -> bool:
    """Exactly, or coordinates up to the rounding of another machine."""
    if isinstance(a, dict):
        return bool(a == b)
    x, y = np.asarray(a), np.asarray(b)
    return x.shape == y.shape and np.allclose(x, y, rtol=0, atol=1e-4)


def _data_said(a: dict[str, str], b: dict[str, str], where: str) -> str:
    names = (f"{data['name']}, split {data['split']}" for data in (a, b))
    return f"it is {' and '.join(names)} {where}"


def _images_said(a: Any, b: Any, where: str) -> str:
    return f"images and zero-shot texts lie elsewhere {where}, as those of another CLIP do"


def _check_scale(parts: Parts) -> None:
    """Refuse text spaces whose cosines are read through scales apart."""
    found = [
        (path, model["map"]["scale"])
        for path, results in parts
        for model in results["models"]
        if model["name"].startswith(ZERO_SHOT) and model["map"] is not None
    ]
    for path, scale in found:
        if scale != found[0][1]:
            _refuse(
                "through one scale τ of the text space",
                f"zero-shot's is {found[0][1]:g} in {found[0][0]} and {scale:g} in {path}",
                TOGETHER,
            )


def _models(parts: Parts) -> list[dict[str, Any]]:
    """All models, each name once."""
    kept: dict[str, tuple[Path, dict[str, Any]]] = {}
    for path, results in parts:
        for model in results["models"]:
            before, known = kept.setdefault(model["name"], (path, model))
            what = _difference(known, model)
            if what is not None:
                _refuse(
                    "under names of their own",
                    f"{model['name']!r} has {what} in {path} than in {before}",
                    f"{TOGETHER}, or give other predictions another model name",
                )
    return [model for _, model in kept.values()]


def _difference(a: dict[str, Any], b: dict[str, Any]) -> str | None:
    """In what two models of one name differ, if they do."""
    if [s["map"] for s in a["splits"]] != [s["map"] for s in b["splits"]] or a["map"] != b["map"]:
        return "another probability map, fitted on other training images or by another rule,"
    same = all(a[key] == b[key] for key in a.keys() | b.keys() if key not in _APART)
    return None if same else "other numbers"


def _definitions(parts: Sequence[Results]) -> dict[str, Any]:
    """Of all parts; the interval is said as it is for most splits."""
    found = [results["definitions"] for results in parts]
    said = list(dict.fromkeys(each["interval"] for each in found))
    merged = {key: value for each in reversed(found) for key, value in each.items()}
    for key in ("metrics", "geometry", "bias_rules"):
        if held := [each[key] for each in found if key in each]:
            merged[key] = {name: text for each in reversed(held) for name, text in each.items()}
    return merged | {"interval": OVER_SPLITS if OVER_SPLITS in said else "; or ".join(said)}


def _differences(parts: Sequence[Results]) -> dict[str, Any]:
    """All pairs of models that were compared, as they are."""
    found = [results["differences"] for results in parts if results["differences"]]
    if not found:
        return {}
    pairs = {(pair["a"], pair["b"]): pair for each in reversed(found) for pair in each["pairs"]}
    merged: dict[str, Any] = found[0] | {"pairs": list(pairs.values())}
    return merged


def _refuse(rule: str, came: str, remedy: str) -> None:
    """One sentence: the rule, what came, and what to do."""
    raise BadData(f"Analyses go into one figure if measured {rule}, but {came}; {remedy}.")
