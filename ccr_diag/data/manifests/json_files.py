"""JSON: ``.jsonl`` with one record a line, and ``.json`` in whichever of these forms it has.

    [{"image": …, "labels": […], "negatives": […], "split": …, "caption": …}, …]      records
    {"images": [[path, [label, …]], …], "classes": […]}                               RAM
    {"metainfo": {"classes": […]}, "data_list": [{"img_path", "gt_label": […]}, …]}    mmpretrain
    {"classes": […], "labels": {stem: [label, …] | null}}, images in data/            FiftyOne
    [{"data": {"image"}, "annotations": [{"result": [{"type": "choices"}]}]}, …]      Label Studio

Records are those of the table with lists of names; ``image`` may be called ``file_name`` or
``path``. Where a file declares its classes, a label is a name or the number of one, from 0 (in
mmpretrain's ``categories``, its id). What a form leaves open is noted. Out: ``Listing``.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ccr_diag.data.listing import Listing, Row
from ccr_diag.data.manifests.fields import (
    image_and_labels,
    names_in_list,
    require_no_cells,
    require_no_near_name,
    shown,
)
from ccr_diag.data.unlisted import Says
from ccr_diag.errors import BadData

FORMS = (
    "records with image and labels, RAM's images and classes, mmpretrain's metainfo and "
    "data_list, FiftyOne's classes and labels, or tasks of Label Studio"
)


def read_json_lines(path: Path) -> Listing:
    """The records of a .jsonl file.

    Raises:
        BadData: it breaks a rule of this module.
    """
    return _records(path, _lines(path), "line")


def read_json(path: Path) -> Listing:
    """A .json file in one of the forms above.

    Raises:
        BadData: it has none of them, or breaks a rule of its own.
    """
    content: Any = _parsed(path, _text(path), f"{path} must be whole JSON")
    match content:
        case []:
            raise BadData(f"{path} needs at least one record, but has none.")
        case [{"data": {}, **_rest}, *_]:
            return _label_studio(path, content)
        case [*_]:
            return _records(path, enumerate(content, start=1), "record")
        case {"data_list": [*_], "metainfo": {}}:
            return _mmpretrain(path, content["data_list"], content["metainfo"])
        case {"images": [*_], "annotations": [*_]}:
            raise BadData(
                f"{path} holds COCO's images and annotations, which is no manifest; ask for "
                "coco:DIR, its folder."
            )
        case {"images": [*_], "classes": [*_]}:
            return _ram(path, content["images"], content["classes"])
        case {"labels": {}}:
            return _fiftyone(path, content["labels"], content.get("classes"))
    keys = f"the keys {', '.join(content) or '(none)'}" if isinstance(content, dict) else "no list"
    raise BadData(f"{path} must hold {FORMS}, but has {keys}.")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as e:
        raise BadData(f"A manifest must be a readable file, but {path}: {e.strerror}.") from e
    except UnicodeDecodeError as e:
        raise BadData(f"A manifest must be UTF-8 text, but {path} is not; save it as UTF-8.") from e


def _parsed(path: Path, text: str, rule: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as e:
        place = f"line {e.lineno} column {e.colno}" if rule.startswith(f"{path} must") else ""
        several = "; a file of one record a line ends in .jsonl" if e.msg == "Extra data" else ""
        raise BadData(f"{rule}, but is not ({e.msg}{place and f', {place}'}){several}.") from e
    except (RecursionError, ValueError) as e:  # too deep, or a number of too many digits
        raise BadData(f"{rule}, but is not ({e}).") from e


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Number and value of each line that is not blank."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for line, text in enumerate(file, start=1):
                if text.strip():
                    yield line, _parsed(path, text, f"{path} line {line} must be one JSON object")
    except OSError as e:
        raise BadData(f"A manifest must be a readable file, but {path}: {e.strerror}.") from e
    except UnicodeDecodeError as e:
        raise BadData(f"A manifest must be UTF-8 text, but {path} is not; save it as UTF-8.") from e


def _records(path: Path, records: Iterable[tuple[int, Any]], unit: str) -> Listing:
    """One record an image, with lists of names."""
    rows, met = [], Counter[str]()
    for at, record in records:
        where = f"{path} {unit} {at}"
        if not isinstance(record, dict):
            raise BadData(
                f"{where} must be an object with image and labels, but is {shown(record)}."
            )
        new_keys = [key for key in record if key not in met]
        require_no_near_name(path, new_keys)
        met.update(record.keys())
        rows.append(record_row(where, at, record))
    if not rows:
        raise BadData(f"{path} needs at least one record, but has none.")
    if 0 < met["split"] < len(rows):
        raise BadData(
            f"{path} must give a split in every {unit} or in none, but gives it in {met['split']} "
            f"of {len(rows)}."
        )
    says: Says = "unknown" if met["negatives"] else ""
    return Listing(path, rows, unit, says, splits_by="a key 'split'")


def record_row(where: str, at: int, record: Mapping[str, Any]) -> Row:
    """The row of a record with ``image`` and ``labels``.

    Raises:
        BadData: a key is missing, or holds something else.
    """
    key = image_and_labels(where, list(record))
    image = record[key]
    _require_text(where, key, image)
    if "split" in record:
        _require_text(where, "split", record["split"])
    caption = record.get("caption")
    if caption is not None and not isinstance(caption, str):
        raise BadData(f"{where} must hold text in 'caption', but holds {shown(caption)}.")
    return Row(
        at,
        image.strip(),
        names_in_list(where, "labels", record["labels"]),
        names_in_list(where, "negatives", record.get("negatives", [])),
        (),
        record.get("split", "").strip(),
        caption.strip() if caption is not None else None,
    )


def _require_text(where: str, key: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip():
        raise BadData(f"{where} must hold text in {key!r}, but holds {shown(value)}.")


def _ram(path: Path, images: list[Any], classes: list[Any]) -> Listing:
    """Pairs of a path and its labels, and the classes."""
    names = names_in_list(str(path), "classes", classes)
    known = _known(names)
    rows = []
    for at, pair in enumerate(images, start=1):
        where = f"{path} record {at}"
        match pair:
            case [str(image), [*labels]] if image.strip():
                rows.append(Row(at, image, _classes(where, labels, known)))
            case _:
                raise BadData(f"{where} must be a pair [path, [label, …]], but is {shown(pair)}.")
    return Listing(path, rows, "record", class_names=names)


def _mmpretrain(path: Path, records: list[Any], metainfo: Mapping[str, Any]) -> Listing:
    """Records with ``img_path`` and ``gt_label``, and the classes of ``metainfo``."""
    declared = metainfo.get("classes", metainfo.get("categories"))
    if isinstance(declared, list) and all(
        isinstance(c, dict) and isinstance(c.get("id"), int) and "name" in c for c in declared
    ):
        names = names_in_list(str(path), "categories", [c["name"] for c in declared])
        known = {c["id"]: name for c, name in zip(declared, names, strict=True)}
        if len(known) < len(names):
            raise BadData(f"{path} must number its categories apart, but repeats an id.")
    else:
        names = names_in_list(str(path), "metainfo classes", declared)
        known = _known(names)
    rows = []
    for at, record in enumerate(records, start=1):
        where = f"{path} record {at}"
        match record:
            case {"img_path": str(image), "gt_label": labels} if image.strip():
                several = labels if isinstance(labels, list) else [labels]
                rows.append(Row(at, image, _classes(where, several, known)))
            case _:
                raise BadData(f"{where} needs img_path and gt_label, but is {shown(record)}.")
    return Listing(path, rows, "record", class_names=names)


def _fiftyone(path: Path, labels: Mapping[str, Any], classes: Any) -> Listing:
    """Labels by the name of an image without its suffix; null where nobody labelled it."""
    names = None if classes is None else names_in_list(str(path), "classes", classes)
    known = None if names is None else _known(names)
    files = _stems(path.parent / "data", path)
    rows, unlabelled = [], 0
    for at, (stem, targets) in enumerate(labels.items(), start=1):
        where = f"{path} record {at}"
        if targets is None:
            unlabelled += 1
            continue
        if stem not in files:
            raise BadData(
                f"{where} must name an image in {path.parent / 'data'} without its suffix, but "
                f"there is none called {stem!r}."
            )
        several = targets if isinstance(targets, list) else [targets]
        plain = [t.get("label") if isinstance(t, dict) else t for t in several]
        found = (
            names_in_list(where, "labels", plain)
            if known is None
            else _classes(where, plain, known)
        )
        rows.append(Row(at, f"data/{files[stem]}", found))
    notes = (f"{unlabelled:,} images have no labels (null) and are left out.",) * bool(unlabelled)
    return Listing(path, rows, "record", class_names=names, notes=notes)


def _stems(folder: Path, path: Path) -> dict[str, str]:
    """Path below a folder without its suffix → with it."""
    files: dict[str, str] = {}
    for file in sorted(folder.rglob("*")):
        if not file.is_file() or file.name.startswith("."):
            continue
        name = file.relative_to(folder)
        stem = name.with_suffix("").as_posix()
        if stem in files:
            raise BadData(
                f"{path} names images without their suffix, so {folder} must hold one a name, but "
                f"holds {files[stem]} and {name.as_posix()}; rename one."
            )
        files[stem] = name.as_posix()
    return files


def _label_studio(path: Path, tasks: list[Any]) -> Listing:
    """Choices of annotators; a class that some chose and others did not is unknown."""
    rows, unlabelled, disputed = [], 0, 0
    questions: set[str] = set()
    others: set[str] = set()
    for at, task in enumerate(tasks, start=1):
        where = f"{path} record {at}"
        match task:
            case {"data": {"image": str(image)}, "annotations": [*annotations]} if image:
                pass
            case _:
                raise BadData(
                    f"{where} must be a task of Label Studio with data.image and annotations, but "
                    f"is {shown(task)}; export as JSON, not JSON_MIN."
                )
        chosen = [_choices(where, a, questions, others) for a in annotations if _counts(a)]
        if not chosen:
            unlabelled += 1
            continue
        by_all, by_some = set.intersection(*chosen), set.union(*chosen)
        disputed += by_all != by_some
        name = _local_name(path.parent, image)
        rows.append(Row(at, name, tuple(by_all), (), tuple(by_some - by_all)))
    if len(questions) > 1:
        raise BadData(
            f"{path} must ask for choices once, but asks for {', '.join(sorted(questions))}; "
            "export one of them."
        )
    notes = (f"{unlabelled:,} tasks have no annotation that counts and are left out.",) * bool(
        unlabelled
    ) + (
        f"In {disputed:,} images annotators chose differently: what only some chose is unknown.",
    ) * bool(disputed)
    notes += (f"Choices are read, and {', '.join(sorted(others))} are not.",) * bool(others)
    return Listing(path, rows, "record", notes=notes)


def _counts(annotation: Any) -> bool:
    """Whether an annotation was finished."""
    return isinstance(annotation, dict) and not annotation.get("was_cancelled")


def _choices(
    where: str, annotation: Mapping[str, Any], questions: set[str], others: set[str]
) -> set[str]:
    """What one annotator chose; the sets learn what was asked, and what else was answered."""
    results = annotation.get("result") or []
    if not isinstance(results, list):
        raise BadData(f"{where} must hold a list in 'result', but holds {shown(results)}.")
    chosen: set[str] = set()
    for result in results:
        match result:
            case {"type": "choices", "value": {"choices": choices}}:
                questions.add(str(result.get("from_name", "choices")))
                chosen.update(names_in_list(where, "choices", choices))
            case {"type": str(kind)}:
                others.add(kind)
    return chosen


def _local_name(folder: Path, image: str) -> str:
    """Where an image of Label Studio lies: what it serves is not named as it is stored."""
    if "/local-files/?d=" in image:
        inner = image.split("/local-files/?d=", 1)[1]
        places = [inner]
    elif image.startswith("/data/upload/"):
        inner = image.removeprefix("/data/")
        places = [inner, f"images/{Path(image).name}", Path(image).name]
    else:
        return image
    places += [unquote(place) for place in places]
    return next((place for place in places if os.path.isfile(folder / place)), inner)


def _known(names: Sequence[str]) -> dict[object, str]:
    """What stands for each class: its number, or its name."""
    return {number: name for number, name in enumerate(names)} | {name: name for name in names}


def _classes(where: str, labels: Iterable[Any], known: Mapping[Any, str]) -> tuple[str, ...]:
    """The class names of labels that are names or numbers."""
    found, labels = [], list(labels)
    if all(isinstance(label, int) for label in labels):
        require_no_cells(where, labels, len(set(known.values())))
    for label in labels:
        key = label.strip() if isinstance(label, str) else label
        if isinstance(key, bool) or not isinstance(key, str | int) or key not in known:
            count = len(set(known.values()))
            raise BadData(
                f"{where} must name one of the {count} classes, or its number, but has "
                f"{shown(label)}."
            )
        found.append(known[key])
    return tuple(found)
