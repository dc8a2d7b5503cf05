"""A calibrator on predictions: fitted on the images of one split, applied to those of another.

calibration ──logits; labels of new classes masked──► calibrators ──► maps of the classes
test ──logits──► the same maps ──► Predictions, with a record of what was fitted on what

Labels of new classes are never used, even where a file has them; what a new class gets is the
shared map, or none, as the choice says.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64
from scipy.special import logit

from ccr_diag.arrays import GIVEN, PRESENT, UNKNOWN, Embeddings, Labels, ProbabilityMap
from ccr_diag.calibration_split import CALIBRATOR, bring_together
from ccr_diag.calibrators import KIND, METHODS, cross_fit, fit
from ccr_diag.calibrators.dac import dac, dac_factors, dac_top1
from ccr_diag.calibrators.fitting import fold_of
from ccr_diag.errors import BadConfig, BadPredictions, nearest
from ccr_diag.predictions import Predictions

DAC, DAC_TOP1 = "dac", "dac_top1"
CHOICES = {
    "method": (*METHODS, DAC, DAC_TOP1),
    "scope": ("shared", "group", "class"),
    "unseen": ("refuse", "keep", "shared"),
    "centre": ("prior", "zero"),
}
NEW = "new"
SMALLEST_HALF = 2.0**-24
"""The smallest number of half precision."""
SHARED, UNSEEN = "shared", "(never seen)"
"""Pools: of all classes; of those without labels, whose map is then the shared one."""

Pools = tuple[str | None, ...]
Logits64 = Float64[np.ndarray, "images classes"]


@dataclass(frozen=True)
class Choice:
    """Which calibrator, and how it is fitted.

    Args:
        method: a key of ``calibrators.METHODS``, ``dac`` or ``dac_top1``.
        scope: which classes have one map: all, those of a group, or each its own.
        unseen: what a class gets that no label of the calibration images speaks about: ``refuse``,
            ``keep`` (no map) or ``shared`` (the map fitted on all classes). None shares a shared
            map, and refuses where maps are of a group or class.
        folds: parts of the images in cross-fitting.
        seed: of the parts.
        strength: κ, by which the maps of a scope are drawn to the shared one; None chooses it.
        k: DAC: nearest base classes.
        centre: ``dac``: the logit that scaling leaves alone: that of the share of positive labels
            of base classes in the calibration images (``prior``), or 0 (``zero``).

    Raises:
        BadConfig: a value is unknown or out of range, or contradicts another.
    """

    method: str
    scope: str = "shared"
    unseen: str | None = None
    folds: int = 5
    seed: int = 0
    strength: float | None = None
    k: int = 5
    centre: str = "prior"

    def __post_init__(self) -> None:
        for key, known in CHOICES.items():
            if (value := getattr(self, key)) not in (*known, None):
                said = f"must be one of {', '.join(known)}, but got {value!r}"
                raise BadConfig(f"A calibrator's {key} {said}{nearest(value, known)}")
        if self.folds < 2 or self.k < 1:
            raise BadConfig(
                f"A calibrator needs folds >= 2 and k >= 1, but got folds={self.folds} and "
                f"k={self.k}."
            )
        if self.strength is not None and not self.strength >= 0:
            raise BadConfig(f"The strength must be 0 or more, but got {self.strength:g}.")
        if self.strength is not None and self.scope == "shared":
            raise BadConfig(
                "The strength draws maps of a group or class to the shared one, but there is only "
                "that; choose a scope, or leave it out."
            )
        if self.from_texts and self.scope != "shared":
            raise BadConfig(
                f"{self.method} has a factor of its own for each class and takes no scope, but "
                f"got {self.scope!r}; leave it out."
            )

    @property
    def from_texts(self) -> bool:
        """Whether it is made of class text embeddings, not fitted on labels."""
        return self.method in (DAC, DAC_TOP1)

    @property
    def from_labels(self) -> bool:
        """Whether labels of calibration images play a part."""
        return not self.from_texts or (self.method == DAC and self.centre == "prior")

    @property
    def fitting(self) -> dict[str, Any]:
        """How ``calibrators.fit`` fits it."""
        return {"strength": self.strength, "folds": self.folds, "seed": self.seed}

    @property
    def name(self) -> str:
        """As people read it: “platt, by group”."""
        return self.method if self.scope == "shared" else f"{self.method}, by {self.scope}"


@dataclass(frozen=True, eq=False)
class TextPair:
    """Class text embeddings before and after tuning, for DAC.

    Args:
        class_names: one per row.
        zero_shot: (classes, dim), before.
        tuned: (classes, dim), after.

    Raises:
        BadConfig: the rows do not fit the names.
    """

    class_names: tuple[str, ...]
    zero_shot: Float[np.ndarray, "..."]  # any shape: a wrong one is refused, in words
    tuned: Float[np.ndarray, "..."]

    def __post_init__(self) -> None:
        rows = len(self.zero_shot), len(self.tuned)
        if rows != (len(self.class_names),) * 2:
            raise BadConfig(
                f"Text embeddings need a row for each of {len(self.class_names)} class names, "
                f"but have {rows[0]} before and {rows[1]} after tuning."
            )

    def of(self, class_names: Sequence[str]) -> tuple[Embeddings, Embeddings]:
        """Both, with rows in the order of these classes.

        Raises:
            BadConfig: one of them has no row.
        """
        row = {name: i for i, name in enumerate(self.class_names)}
        if lost := [name for name in class_names if name not in row]:
            raise BadConfig(
                "DAC needs the text embeddings of every class of the predictions, but "
                f"{lost[0]!r} has none; add its row."
            )
        rows = [row[name] for name in class_names]
        return self.zero_shot[rows], self.tuned[rows]


def calibrate(
    test: Predictions, calibration: Predictions, choice: Choice, texts: TextPair | None = None
) -> Predictions:
    """Fit on the images of ``calibration``, apply to those of ``test``.

    Args:
        test: what is calibrated; its labels play no part.
        calibration: other images, of the same model and map, with the same classes in any order.
        choice: which calibrator.
        texts: class text embeddings, for DAC.

    Returns:
        ``test`` with calibrated logits, or probabilities where the method gives these; the record
        is in its provenance under ``calibrator``.

    Raises:
        BadPredictions: the two share images, or differ in classes, groups, map or model.
        BadConfig: classes of no calibration label are refused, or what the method needs is not
            there.
    """
    test, calibration = bring_together(test, calibration)
    z, clipped = _logits(test)
    z_fitted, clipped_there = _logits(calibration)
    labels = _usable_labels(calibration)
    record = _record(choice, calibration, labels) | {
        "clipped": {"calibration": clipped_there, "calibrated": clipped}
    }
    if choice.from_texts:
        everywhere = np.ones(len(z), dtype=np.bool_)
        values, said = _by_dac(test, z, choice, texts, [(everywhere, _centre(choice, labels))])
        kind = "logits"
        record |= said
    else:
        pools, said = _pools(choice, calibration, labels)
        fitted = fit(choice.method, z_fitted, labels, pools, **choice.fitting)
        values, kind = fitted(z), fitted.kind
        record |= said | {"fit": fitted.as_dict()}
    return _calibrated(test, values, kind, choice, record)


def cross_calibrate(
    predictions: Predictions, choice: Choice, texts: TextPair | None = None
) -> Predictions:
    """Calibrate every image by a fit on the other folds of the images of the same file.

    Args:
        predictions: of images that the model was not tuned on.
        choice: which calibrator.
        texts: class text embeddings, for DAC.

    Raises:
        BadConfig: there are fewer images than folds, or as ``calibrate`` says.
    """
    z, clipped = _logits(predictions)
    labels = _usable_labels(predictions)
    record = _record(choice, predictions, labels) | {
        "cross_fitted": choice.from_labels, "clipped": {"calibrated": clipped}
    }  # fmt: skip
    if choice.from_texts:
        fold = fold_of(len(z), choice.folds, choice.seed)
        parts = [
            (fold == part, _centre(choice, labels[fold != part])) for part in range(choice.folds)
        ]
        values, said = _by_dac(predictions, z, choice, texts, parts)
        kind = "logits"
        record |= said
    else:
        pools, said = _pools(choice, predictions, labels)
        values = cross_fit(choice.method, z, labels, pools, **choice.fitting)
        kind = KIND[choice.method]
        strength = "chosen in each" if choice.strength is None else str(choice.strength)
        record |= said | {"strength": strength}
    return _calibrated(predictions, values, kind, choice, record)


def _calibrated(
    source: Predictions, values: Logits64, kind: str, choice: Choice, record: dict[str, Any]
) -> Predictions:
    if CALIBRATOR in source.provenance:
        record = record | {"before": source.provenance[CALIBRATOR]}
    name = f"{source.provenance['model']} + {choice.name}"
    return replace(
        source,
        values=values,
        kind=kind,
        map=ProbabilityMap(1.0, 0.0, GIVEN) if kind == "logits" else None,
        provenance=source.provenance | {"model": name, CALIBRATOR: record},
    )


def _record(choice: Choice, fitted_on: Predictions, labels: Labels) -> dict[str, Any]:
    """The choice, and what it was fitted on."""
    of_texts = ("k", "centre") if choice.method == DAC else ("k",)
    chosen = ("method", *(of_texts if choice.from_texts else ("scope",)))
    record = {key: getattr(choice, key) for key in chosen}
    if not choice.from_labels:
        return record
    record |= {"folds": choice.folds, "seed": choice.seed}
    origin = ("model", "file", "data", "split", "split_number")
    known = {key: value for key, value in fitted_on.provenance.items() if key in origin}
    counts = {
        "images": len(labels),
        "labels": int(np.count_nonzero(labels != UNKNOWN)),
        "positives": int(np.count_nonzero(labels == PRESENT)),
    }
    return record | {"fitted_on": known | counts}


def _logits(predictions: Predictions) -> tuple[Logits64, int]:
    """Log-odds of the predictions, and how many probabilities were moved for that.

    A probability nearer to 0 or 1 than its float type can tell from 1 counts as this near: 0 has no
    log-odds, and one of −700 would outweigh all others in a fit. Half precision knows small numbers
    much better than that, and keeps them.
    """
    if predictions.map is not None:
        return np.asarray(predictions.map.logits(predictions.values)), 0
    nearest_to_1 = float(np.finfo(predictions.values.dtype).epsneg)
    p = np.asarray(predictions.values, dtype=np.float64)
    kept = np.clip(p, min(nearest_to_1, SMALLEST_HALF), 1 - nearest_to_1)
    return np.asarray(logit(kept)), int(np.count_nonzero(kept != p))


def _new(predictions: Predictions) -> Bool[np.ndarray, " classes"]:
    groups = predictions.groups or ("",) * len(predictions.class_names)
    return np.array([group == NEW for group in groups], dtype=np.bool_)


def _usable_labels(predictions: Predictions) -> Labels:
    """The labels, those of new classes unknown."""
    labels = np.array(predictions.labels, dtype=np.int8)
    labels[:, _new(predictions)] = UNKNOWN
    return labels


def _pools(
    choice: Choice, predictions: Predictions, labels: Labels
) -> tuple[Pools, dict[str, Any]]:
    """The pool of each class, and the record of those that no label speaks about."""
    names = predictions.class_names
    seen = (labels != UNKNOWN).any(axis=0)
    if choice.scope == "group" and not predictions.groups:
        raise BadConfig(
            "A calibrator by group needs groups, but neither file has them; add --groups, or "
            "choose another scope."
        )
    own = {"shared": (SHARED,) * len(names), "group": predictions.groups, "class": names}
    pool_of = own[choice.scope]
    if choice.scope != "shared":
        with_labels = {pool for pool, there in zip(pool_of, seen, strict=True) if there}
        seen = np.array([pool in with_labels for pool in pool_of], dtype=np.bool_)
    unseen = [name for name, there in zip(names, seen, strict=True) if not there]
    if not unseen:
        return pool_of, {}
    unknown = choice.unseen or ("shared" if choice.scope == "shared" else "refuse")
    if unknown == "refuse":
        raise BadConfig(_never_seen(choice, unseen))
    keep = unknown == "keep"
    instead = None if keep else SHARED if choice.scope == "shared" else UNSEEN
    pools = tuple(p if there else instead for p, there in zip(pool_of, seen, strict=True))
    return pools, {"never_seen": {"classes": unseen, "map": "none" if keep else "shared"}}


def _never_seen(choice: Choice, classes: list[str]) -> str:
    first = ", ".join(map(repr, classes[:3])) + (" and others" if len(classes) > 3 else "")
    by = "" if choice.scope == "shared" else f" by {choice.scope}"
    return (
        f"A calibrator{by} can only speak about classes with labels in the calibration split, but "
        f"{choice.method} has never seen {len(classes)} ({first}); "
        "--unseen shared gives them the map fitted on all others, --unseen keep leaves them as "
        "they are."
    )


def _by_dac(
    predictions: Predictions,
    z: Logits64,
    choice: Choice,
    texts: TextPair | None,
    parts: Sequence[tuple[Bool[np.ndarray, " images"], float]],
) -> tuple[Logits64, dict[str, Any]]:
    """Scaled logits, and the record.

    Args:
        predictions: of all images.
        z: their logits.
        choice: ``dac`` or ``dac_top1``.
        texts: class text embeddings.
        parts: rows, and the centre of ``dac`` there.
    """
    factors = _factors(predictions, choice, texts)
    record = {"factors": dict(zip(predictions.class_names, factors.tolist(), strict=True))}
    if choice.method == DAC_TOP1:
        return np.asarray(dac_top1(z, factors)), record
    values = np.empty_like(z)
    for rows, centre in parts:
        values[rows] = dac(z[rows], factors, centre)
    return values, record | {"centre_logits": [centre for _, centre in parts]}


def _factors(
    predictions: Predictions, choice: Choice, texts: TextPair | None
) -> Float64[np.ndarray, " classes"]:
    """DAC's factor of each class."""
    if texts is None:
        raise BadConfig(
            f"{choice.method} is made of class text embeddings before and after tuning, but none "
            "came; give --zero-shot and --tuned, or the --run."
        )
    new = _new(predictions)
    if not new.any():
        raise BadConfig(
            f"{choice.method} changes only classes of group 'new', but the predictions have none; "
            "state the groups by --groups, or choose another method."
        )
    return dac_factors(*texts.of(predictions.class_names), ~new, choice.k)


def _centre(choice: Choice, labels: Labels) -> float:
    """The logit that stays where it is."""
    if not choice.from_labels:
        return 0.0
    positives, known = (np.count_nonzero(found) for found in (labels == PRESENT, labels != UNKNOWN))
    if not 0 < positives < known:
        raise BadPredictions(
            "The prior centre of DAC needs positive and negative labels of base classes, but of "
            f"{known} known ones {positives} are positive; take --centre zero."
        )
    return float(logit(positives / known))
