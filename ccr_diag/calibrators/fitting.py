"""Fit a calibrator to labelled logits: one map a pool of classes, shrunk towards the shared one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int8, Int64
from scipy.special import expit

from ccr_diag.arrays import PRESENT, UNKNOWN
from ccr_diag.calibrators.histogram import histogram
from ccr_diag.calibrators.isotonic import isotonic
from ccr_diag.calibrators.logistic import BETA, BIAS, PLATT, TEMPERATURE, TEMPERATURE_BIAS
from ccr_diag.calibrators.maps import Entries, Map, Method
from ccr_diag.calibrators.mixture import Mixture
from ccr_diag.errors import BadConfig, BadPredictions, nearest

LARGEST = 1e100  # of a logit: its square is still a number
STRENGTHS = (np.inf, 1024.0, 256.0, 64.0, 16.0, 4.0, 1.0, 0.0)  # of equals, the first is taken

Logits = Float[np.ndarray, "images classes"]
Labels = Int8[np.ndarray, "images classes"]
Values = Float64[np.ndarray, "images classes"]
Folds = Int64[np.ndarray, " images"]
Pools = Sequence[str | None]

METHODS: dict[str, Method] = {
    "temperature": TEMPERATURE,
    "bias": BIAS,
    "temperature_bias": TEMPERATURE_BIAS,
    "platt": PLATT,
    "beta": BETA,
    "isotonic": Mixture(isotonic),
    "histogram": Mixture(histogram),
}
KIND = {name: method.kind for name, method in METHODS.items()}


@dataclass(frozen=True)
class Calibration:
    """A fitted calibrator.

    Args:
        method: a key of ``METHODS``.
        pools: of each class, the pool whose map it takes; None leaves the class as it is.
        maps: of each pool.
        strength: κ of the shrinkage; None where there is one pool, and so nothing to shrink.
        counts: known entries and positives of each pool.
    """

    method: str
    pools: tuple[str | None, ...]
    maps: Mapping[str, Map]
    strength: float | None
    counts: Mapping[str, tuple[int, int]]

    @property
    def kind(self) -> str:
        """What the values are: "logits" or "probs"."""
        return KIND[self.method]

    def __call__(self, logits: Logits) -> Values:
        """Calibrated values of ``kind``; a class without pool keeps its own.

        Args:
            logits: one column a class, in the order of ``pools``.

        Raises:
            BadPredictions: another number of classes.
        """
        _check_width(logits, self.pools)
        z = logits.astype(np.float64)
        values = z if self.kind == "logits" else np.asarray(expit(z))
        for pool, columns in _columns(self.pools).items():
            part = z[:, columns]
            values[:, columns] = self.maps[pool](part.ravel()).reshape(part.shape)
        return values

    def as_dict(self) -> dict[str, Any]:
        """What was fitted, as JSON values; an infinite strength is the text "inf"."""
        return {
            "method": self.method,
            "kind": self.kind,
            "strength": "inf" if self.strength == np.inf else self.strength,
            "pools": {
                pool: {"entries": entries, "positives": positives, **self.maps[pool].as_dict()}
                for pool, (entries, positives) in self.counts.items()
            },
        }


def fit(
    method: str,
    logits: Logits,
    labels: Labels,
    pools: Pools,
    *,
    strength: float | None = None,
    folds: int = 5,
    seed: int = 0,
) -> Calibration:
    """A calibrator fitted to all known labels of the classes that have a pool.

    The strength κ, in entries of the rarer outcome, is the one under which the folds of images
    that a fit has not seen are likeliest (maps to probabilities: have the least Brier score).
    0 takes each pool's own fit, inf the shared one. A pool without positives or without negatives
    takes the shared map at 0, and where it has no known label at all, always.

    Args:
        method: a key of ``METHODS``.
        logits: of the calibration split.
        labels: 1 present, 0 absent, -1 unknown (takes no part).
        pools: of each class: the classes of one pool share a map; None takes no part.
        strength: κ ≥ 0; None chooses among ``STRENGTHS``.
        folds: of images, for that choice.
        seed: of the folds.

    Raises:
        BadConfig: an unknown method, a strength below 0, or folds that the images cannot fill.
        BadPredictions: another number of pools than classes, logits beyond 1e100, or the known
            labels, or those of all folds but one, lack positives or negatives.
    """
    _check(method, logits, pools, strength)
    chosen: Method = METHODS[method]
    data = _pooled(logits, labels, pools)
    shared = _shared(chosen, data)
    if len(data) == 1:
        strength, maps = None, dict.fromkeys(data, shared)
    else:
        if strength is None:
            strength = _choose(chosen, logits, labels, pools, folds, seed)
        maps = {
            pool: next(chosen.towards(*entries, shared, (strength,)))
            for pool, entries in data.items()
        }
    counts = {pool: (len(entries.y), int(entries.y.sum())) for pool, entries in data.items()}
    return Calibration(method, tuple(pools), maps, strength, counts)


def cross_fit(
    method: str,
    logits: Logits,
    labels: Labels,
    pools: Pools,
    *,
    strength: float | None = None,
    folds: int = 5,
    seed: int = 0,
) -> Values:
    """Each image's calibrated values, by a calibrator fitted to the other folds of images.

    The strength, too, is chosen anew within those other folds.

    Args:
        method: as in ``fit``.
        logits: as in ``fit``.
        labels: as in ``fit``.
        pools: as in ``fit``.
        strength: as in ``fit``.
        folds: of images.
        seed: of the folds.

    Raises:
        BadConfig: as in ``fit``.
        BadPredictions: as in ``fit``, of each part that is fitted to.
    """
    _check(method, logits, pools, strength)
    values = np.empty(logits.shape)
    fold = fold_of(len(logits), folds, seed)
    for number in range(folds):
        out = fold == number
        calibration = fit(
            method,
            logits[~out],
            labels[~out],
            pools,
            strength=strength,
            folds=folds,
            seed=seed,
        )
        values[out] = calibration(logits[out])
    return values


def fold_of(images: int, folds: int, seed: int) -> Folds:
    """The fold of each image; their sizes differ by 1 at most.

    Raises:
        BadConfig: fewer than 2 folds, or more than images.
    """
    if not 2 <= folds <= images:
        raise BadConfig(
            f"Cross-fitting needs at least 2 folds and at most one per image, but got {folds} "
            f"folds for {images} images; change the folds."
        )
    return np.random.default_rng(seed).permutation(np.arange(images) % folds)


class _Pool(NamedTuple):
    """The known entries of a pool: logits and outcomes 0 and 1."""

    z: Entries
    y: Entries


def _choose(
    method: Method, logits: Logits, labels: Labels, pools: Pools, folds: int, seed: int
) -> float:
    """The strength whose maps cost unseen images least."""
    cost = np.zeros(len(STRENGTHS))
    fold = fold_of(len(logits), folds, seed)
    for number in range(folds):
        out = fold == number
        data = _pooled(logits[~out], labels[~out], pools)
        unseen = _pooled(logits[out], labels[out], pools)
        shared = _shared(method, data)
        for pool, entries in data.items():
            z, y = unseen[pool]
            maps = method.towards(*entries, shared, STRENGTHS)
            cost += [_cost(method.kind, fitted(z), y) for fitted in maps]
    return STRENGTHS[int(np.argmin(cost))]


def _cost(kind: str, values: Entries, y: Entries) -> float:
    """Negative log-likelihood of logits, Brier score of probabilities; summed over entries."""
    if kind == "probs":
        return float(((values - y) ** 2).sum())
    softplus = np.maximum(values, 0) + np.log1p(np.exp(-np.abs(values)))
    return float(softplus.sum() - values @ y)


def _columns(pools: Pools) -> dict[str, list[int]]:
    """The columns of each pool, in the order in which the pools first come."""
    columns: dict[str, list[int]] = {}
    for column, pool in enumerate(pools):
        if pool is not None:
            columns.setdefault(pool, []).append(column)
    return columns


def _pooled(logits: Logits, labels: Labels, pools: Pools) -> dict[str, _Pool]:
    """The known entries of each pool."""
    data = {}
    for pool, columns in _columns(pools).items():
        z, y = logits[:, columns], labels[:, columns]
        known = y != UNKNOWN
        data[pool] = _Pool(z[known].astype(np.float64), (y[known] == PRESENT).astype(np.float64))
    return data


def _shared(method: Method, data: dict[str, _Pool]) -> Any:
    """The map of all pools together."""
    none = [np.empty(0)]  # lets no pool at all fall to the sentence below
    z, y = (np.concatenate(none + [entries[i] for entries in data.values()]) for i in (0, 1))
    if not 0 < y.sum() < len(y):
        raise BadPredictions(
            "A calibrator is fitted to positives and negatives, but of the "
            f"{len(y)} known labels it may use {int(y.sum())} are positive; "
            "take a larger calibration split."
        )
    return method.fit(z, y)


def _check(method: str, logits: Logits, pools: Pools, strength: float | None) -> None:
    if method not in METHODS:
        raise BadConfig(f"There is no calibrator {method!r}{nearest(method, METHODS)}")
    if strength is not None and not strength >= 0:
        raise BadConfig(f"The strength must be 0 or more, but got {strength}.")
    _check_width(logits, pools)
    if (size := float(max(logits.max(), -logits.min()))) > LARGEST:
        raise BadPredictions(
            f"A calibrator is fitted to logits up to {LARGEST:g}, but they reach {size:g}; "
            "check what the file holds."
        )


def _check_width(logits: Logits, pools: Pools) -> None:
    if logits.shape[1] != len(pools):
        raise BadPredictions(
            f"The calibrator is for {len(pools)} classes, but the logits have {logits.shape[1]}; "
            "use the same class list."
        )
