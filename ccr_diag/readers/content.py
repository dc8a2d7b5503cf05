"""What every reader hands over, and how it becomes checked ``Predictions``."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ccr_diag.arrays import GIVEN, UNKNOWN, ProbabilityMap
from ccr_diag.checks import blocks
from ccr_diag.errors import BadConfig, BadPredictions, nearest
from ccr_diag.predictions import Predictions
from ccr_diag.readers.conversion import as_columns, as_labels, as_values


@dataclass(frozen=True)
class Declared:
    """What the user says about a file.

    Args:
        kind: ``scores``, ``logits`` or ``probs``; None if the file says it.
        scale: τ of the probability map, if stated.
        bias: b of the probability map, if stated.
        unlisted: ``"unknown"`` if labels that are left out are unknown.
    """

    kind: str | None = None
    scale: float | None = None
    bias: float | None = None
    unlisted: str | None = None


@dataclass(frozen=True, eq=False)
class Content:
    """What a file holds, before it is checked.

    Args:
        kind: what the values are.
        values: numbers of any type.
        labels: numbers of any type.
        class_names: one per column; None for numbered classes.
        image_ids: one per row, or none.
        groups: one per column, or none.
        columns: ``class_counts`` and ``proximity`` where they are known.
    """

    kind: str
    values: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...] | None = None
    image_ids: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    columns: dict[str, np.ndarray] = field(default_factory=dict)


def choose_array(
    path: Path, present: tuple[str, ...], names: Mapping[str, str | None], kind: str | None
) -> tuple[str, str]:
    """Which of the arrays or columns holds the values, and what they are.

    Args:
        path: the file, for the text of an error.
        present: names of its arrays or columns.
        names: the names that values may have; for each, the kind that it declares, or None.
        kind: the kind that the user declares.

    Raises:
        BadPredictions: there are no values.
        BadConfig: what is declared contradicts the file, or is not enough.
    """
    found = [name for name in present if name in names]
    if not found:
        raise BadPredictions(
            f"{path} must hold one of {', '.join(names)}, but holds {', '.join(present) or 'none'}."
        )
    fitting = [name for name in found if kind is None or names[name] in (kind, None)]
    if not fitting:
        raise BadConfig(
            f"{path} holds {', '.join(found)}, but --{kind} was declared; "
            "leave that out or rename the array."
        )
    if len(fitting) > 1:
        raise BadConfig(
            f"{path} must hold values of one kind, but holds {' and '.join(fitting)}; "
            "say which to read by --scores, --logits or --probs, or remove all but one."
        )
    return fitting[0], require_kind(path, names[fitting[0]] or kind)


def require_kind(path: Path, kind: str | None) -> str:
    """The kind, which must be known.

    Raises:
        BadConfig: nobody declared it.
    """
    if kind is None:
        raise BadConfig(
            f"What the numbers are must be declared, but {path} does not say it; "
            "add --scores (cosines), --logits or --probs."
        )
    return kind


def to_predictions(
    path: Path, content: Content, declared: Declared, groups: Path | None
) -> Predictions:
    """Check what a file holds, whatever the format.

    Raises:
        BadPredictions: a rule is broken.
        BadConfig: the probability map is missing, or stated for probabilities.
    """
    probability_map = _map(path, content.kind, declared)
    _refuse_swapped(content)
    values = as_values(content.kind, content.values)
    columns = values.shape[1] if values.ndim == 2 else 0
    names = content.class_names or tuple(str(i) for i in range(columns))
    labels = as_labels(content.labels, names, declared.unlisted)
    predictions = Predictions(
        values=values,
        labels=labels,
        class_names=names,
        groups=read_groups(groups, names) if groups else content.groups,
        map=probability_map,
        image_ids=content.image_ids,
        provenance={"model": path.stem, "file": str(path)},
        kind=content.kind,
        **as_columns(content.columns),
    )
    if all((block == UNKNOWN).all() for block in blocks(labels)):
        raise BadPredictions(
            f"At least one label must be known, but all {labels.size} are -1; "
            "nothing can be measured."
        )
    return predictions


def _map(path: Path, kind: str, declared: Declared) -> ProbabilityMap | None:
    scale, bias = declared.scale, declared.bias
    if kind == "probs":
        if scale is not None or bias is not None:
            raise BadConfig(
                f"A scale or bias needs scores or logits, but {path} holds probabilities; "
                "leave it out."
            )
        return None
    if kind == "scores" and (scale is None or bias is None):
        raise BadConfig(
            f"Scores become probabilities by σ(scale·score + bias), but {path} states neither; "
            "add --scale and --bias."
        )
    return ProbabilityMap(
        1.0 if scale is None else float(scale), 0.0 if bias is None else float(bias), GIVEN
    )


def _refuse_swapped(content: Content) -> None:
    """Fractions among the labels and none among the values: each is in the other's place."""
    values, labels = content.values, content.labels
    if labels.dtype.kind != "f" or values.dtype.kind not in "biuf" or labels.ndim != 2:
        return
    fractions = any((np.isfinite(b) & (b != np.round(b))).any() for b in blocks(labels))
    if fractions and values.ndim == 2 and all(np.isin(b, (1, 0, -1)).all() for b in blocks(values)):
        raise BadPredictions(
            f"Labels hold fractions and {content.kind} only 1, 0 or -1: the two seem swapped; "
            "exchange them."
        )


def read_text(path: Path) -> str:
    """A UTF-8 text file.

    Raises:
        BadPredictions: it is missing or no text.
    """
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadPredictions(f"{path} must be a UTF-8 text file, but is not ({error}).") from error


def read_names(path: Path) -> tuple[str, ...]:
    """Class names from a text file, one a line.

    Raises:
        BadPredictions: the file is missing, empty, no text, or has an empty line.
    """
    names = tuple(line.strip() for line in read_text(path).splitlines())
    if not all(names) or not names:
        line = names.index("") + 1 if names else 1
        raise BadPredictions(f"{path} must name one class a line, but line {line} is empty.")
    return names


def read_groups(path: Path, class_names: tuple[str, ...]) -> tuple[str, ...]:
    """The group of each class from a CSV file with the columns ``class`` and ``group``.

    Raises:
        BadPredictions: a column or a class is missing, unknown, or comes twice.
    """
    try:
        rows = list(csv.reader(read_text(path).splitlines(), strict=True))
    except csv.Error as error:
        raise BadPredictions(f"{path} must be a CSV file, but is not ({error}).") from error
    header = rows[0] if rows else []
    if sorted(header) != ["class", "group"]:
        raise BadPredictions(
            f"{path} must have the header class,group, but has {','.join(header) or 'none'}."
        )
    group_of: dict[str, str] = {}
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise BadPredictions(f"{path}, line {line} must have 2 cells, but has {len(row)}.")
        name, group = row[header.index("class")], row[header.index("group")]
        if name not in class_names:
            raise BadPredictions(
                f"{path} names a class {name!r} that the predictions lack"
                f"{nearest(name, class_names)}"
            )
        if name in group_of:
            raise BadPredictions(f"{path} must name each class once, but {name!r} comes twice.")
        group_of[name] = group
    missing = [name for name in class_names if name not in group_of]
    if missing:
        raise BadPredictions(f"{path} must give every class a group, but lacks {missing[0]!r}.")
    return tuple(group_of[name] for name in class_names)
