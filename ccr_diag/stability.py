"""How far a class correlation of one batch is from that of all images: predictions → a record.

CCR estimates its correlation anew from every batch, since negative evidence is said to be dense
where positive co-occurrence is sparse. Here many batches of each size are drawn from the images of
a file, and the correlation of each is compared with that of the whole file. Absence has presence
beside it, once among the predictions and once among the labels. The record is plain::

    schema_version, definitions
    models[]     name, map, n_images, n_classes
      whole[]    statistic, n_live (classes); mean, sd, min, max of entries off the diagonal
      batches[]  statistic, batch_size, measure, mean, sd, low, high, n: over n batches
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from ccr_diag.arrays import PRESENT
from ccr_diag.covariance import predicted_correlation
from ccr_diag.errors import BadConfig, BadData
from ccr_diag.measuring import unique_names
from ccr_diag.metrics.intervals import over_splits
from ccr_diag.predictions import Predictions
from ccr_diag.progress import UnitProgress, silent

SCHEMA_VERSION = 1
BATCH_SIZES = (8, 16, 32, 64, 128)
N_BATCHES = 100
CERTAIN = 1000.0  # a logit whose σ is exactly 1, and exactly 0 with the other sign
FEWEST_PAIRS = 3  # a correlation over fewer says nothing
ROUNDING = 1e-9  # of an entry of a correlation


@dataclass(frozen=True)
class Statistic:
    """A correlation between classes.

    Args:
        of: whose evidence: that of the "predictions" or of the "labels", as certain predictions.
        sign: 1 for absence, -1 for presence: 1 − σ(z) = σ(−z).
        estimator: a key of ``ESTIMATORS``.
        says: what it is.
    """

    of: str
    sign: int
    estimator: str
    says: str


STATISTICS = {
    "uncentred": Statistic(
        "predictions", 1, "uncentred", "joint absence as predicted, from q_i·q_j with q = 1 − p"
    ),
    "uncentred_inactive": Statistic(
        "predictions",
        1,
        "uncentred_inactive",
        "joint absence as predicted over entries labelled absent, from q_i·q_j where y_i = y_j = 0",
    ),
    "centred_inactive": Statistic(
        "predictions", 1, "centred_inactive", "covariance of q over entries labelled absent"
    ),
    "centred": Statistic("predictions", 1, "centred", "covariance of q, which is that of p"),
    "presence": Statistic(
        "predictions", -1, "uncentred", "joint presence as predicted, from p_i·p_j"
    ),
    "label_presence": Statistic(
        "labels", -1, "uncentred", "positive co-occurrence of labels, from y_i·y_j"
    ),
    "label_absence": Statistic(
        "labels", 1, "uncentred", "joint absence of labels, from (1 − y_i)·(1 − y_j)"
    ),
    "label_centred": Statistic(
        "labels", 1, "centred", "covariance of labels, the same for presence as for absence"
    ),
}

MEASURES = {
    "error": "‖C_B − C‖ / ‖C‖, with C_B the correlation in the batch and C that of all images",
    "spread_error": "‖C_B − C‖ / ‖C − mean of C‖; 1 is the error of the mean of C in every entry",
    "pearson": "Pearson's r between the entries of C_B and C; 0 where C_B is constant",
    "pearson_live": "Pearson's r over pairs of classes that both live in the batch",
    "pearson_pairs": "Pearson's r of what an entry has beyond its two classes: "
    "C_ij − m − a_i − a_j, by least squares",
    "evidence": "share of pairs of classes with C_B ≠ 0",
    "dead": "share of classes without evidence in the batch; their C_B is 0, as in the loss",
}

FAIR = (
    "Only entries off the diagonal count, each pair of classes once, among classes that live in "
    "all images.",
    "An uncentred correlation has a large part that all pairs share, which makes its error small "
    "whatever its pattern: spread_error and pearson leave that part out.",
    "Much of its pattern is one number a class, how often or how surely it is absent, and says "
    "nothing of pairs: pearson_pairs leaves that out as well.",
    "Predictions are dense of either sign, labels are not: absence is to be compared with presence "
    "of the same source, uncentred with presence and label_absence with label_presence.",
    "Centred, absence and presence are one and the same: there the sign of the evidence decides "
    "nothing.",
    "Batches are drawn without replacement from the file's images, the same for every correlation; "
    "few-shot training images show rare classes more often than these may.",
    "All images include the batch: where it is a large part of them, the error is small for that "
    "reason.",
    "Steady is not right: nothing here says that a correlation agrees with what the classes mean.",
)

INTERVAL = "mean, standard deviation and 95 % interval of the mean (Student's t) over batches"


def stability_of(
    predictions: Sequence[Predictions],
    progress: UnitProgress = silent,
    *,
    batch_sizes: Sequence[int] = (),
    n_batches: int = N_BATCHES,
    seed: int = 0,
) -> dict[str, Any]:
    """The record above, of each of the predictions.

    Args:
        predictions: at least one; each is held in memory as a whole.
        progress: called with the batch sizes done and in all.
        batch_sizes: images a batch; none are those of ``BATCH_SIZES`` that fit every file.
        n_batches: drawn of each size.
        seed: of the draws; each size has draws of its own.

    Raises:
        BadConfig: a batch of less than 2 images or of more than there are; less than 2 batches.
        BadData: fewer than 3 classes.
    """
    sizes = _checked_sizes(predictions, batch_sizes)
    if n_batches < 2:
        raise BadConfig(f"An interval needs at least 2 batches, but got {n_batches}.")
    names = unique_names([str(p.provenance["model"]) for p in predictions])
    models: list[dict[str, Any]] = []
    for name, p in zip(names, predictions, strict=True):
        if len(p.class_names) < FEWEST_PAIRS:
            raise BadData(
                f"A correlation between classes needs at least {FEWEST_PAIRS} of them to have a "
                f"pattern, but {name} has {len(p.class_names)}."
            )
        before = len(models) * len(sizes)

        def told(done: int, before: int = before) -> None:
            progress(before + done, len(predictions) * len(sizes))

        models.append(_model(name, p, sizes, n_batches, seed, told))
    return {
        "schema_version": SCHEMA_VERSION,
        "definitions": {
            "statistics": {key: statistic.says for key, statistic in STATISTICS.items()},
            "measures": MEASURES,
            "fair": list(FAIR),
            "interval": INTERVAL,
            "batch_sizes": list(sizes),
            "n_batches": n_batches,
            "seed": seed,
        },
        "models": models,
    }


def _checked_sizes(predictions: Sequence[Predictions], sizes: Sequence[int]) -> tuple[int, ...]:
    """The sizes, each once and in order, all of which every file can fill."""
    smallest = min(predictions, key=lambda p: len(p.values))
    most, name = len(smallest.values), smallest.provenance["model"]
    chosen = sorted(set(sizes)) or [size for size in BATCH_SIZES if size <= most]
    if not chosen or chosen[-1] > most:
        raise BadConfig(
            f"A batch must fit the {most} images of {name}, but was to hold "
            f"{chosen[-1] if chosen else BATCH_SIZES[0]}; choose smaller batches or more images."
        )
    if chosen[0] < 2:
        raise BadConfig(f"A batch must hold at least 2 images, but was to hold {chosen[0]}.")
    return tuple(chosen)


def _model(
    name: str,
    predictions: Predictions,
    sizes: Sequence[int],
    n_batches: int,
    seed: int,
    told: Callable[[int], None],
) -> dict[str, Any]:
    labels = torch.from_numpy(np.array(predictions.labels))
    logits = {
        "predictions": torch.from_numpy(predictions.logits),
        "labels": torch.where(labels == PRESENT, CERTAIN, -CERTAIN).double(),
    }
    references = {
        key: _Reference.of(*_correlation(statistic, logits[statistic.of], labels))
        for key, statistic in STATISTICS.items()
    }
    rows = []
    for done, size in enumerate(sizes, start=1):
        rng = np.random.default_rng((seed, size))
        found: dict[tuple[str, str], list[float]] = {}
        for _ in range(n_batches):
            batch = torch.from_numpy(rng.choice(len(labels), size, replace=False))
            drawn = {of: z[batch] for of, z in logits.items()}
            for key, statistic in STATISTICS.items():
                matrix, alive = _correlation(statistic, drawn[statistic.of], labels[batch])
                for measure, value in references[key].compare(matrix, alive).items():
                    found.setdefault((key, measure), []).append(value)
        rows += [
            {
                "statistic": key,
                "batch_size": size,
                "measure": measure,
                **asdict(over_splits(values)),
            }
            for (key, measure), values in found.items()
        ]
        told(done)
    return {
        "name": name,
        "map": None if predictions.map is None else predictions.map.as_dict(),
        "n_images": len(labels),
        "n_classes": labels.shape[1],
        "whole": [{"statistic": key, **ref.summary()} for key, ref in references.items()],
        "batches": rows,
    }


def _correlation(
    statistic: Statistic, logits: Tensor, labels: Tensor
) -> tuple[Float64[np.ndarray, "classes classes"], Bool[np.ndarray, " classes"]]:
    """The statistic on these images and the classes that live."""
    matrix, alive = predicted_correlation(statistic.sign * logits, labels, statistic.estimator)
    return matrix.numpy(), alive.numpy()


@dataclass(frozen=True, eq=False)
class _Reference:
    """The correlation of all images, which those of batches are held against.

    Args:
        live: its live classes; the others have nothing to be compared with.
        pairs: places among the live classes, first and second of each pair, once.
        entries: C of the pairs.
    """

    live: Bool[np.ndarray, " classes"]
    pairs: tuple[np.ndarray, np.ndarray]
    entries: Float64[np.ndarray, " pairs"]

    @classmethod
    def of(
        cls,
        matrix: Float64[np.ndarray, "classes classes"],
        live: Bool[np.ndarray, " classes"],
    ) -> "_Reference":
        """Of the matrix of all images and its live classes."""
        pairs = np.triu_indices(int(live.sum()), k=1)
        return cls(live, pairs, matrix[np.ix_(live, live)][pairs])

    def compare(
        self,
        matrix: Float64[np.ndarray, "classes classes"],
        alive: Bool[np.ndarray, " classes"],
    ) -> dict[str, float]:
        """The ``MEASURES`` of a batch, from its matrix and live classes; NaN where undefined."""
        if not self.entries.size:
            return dict.fromkeys(MEASURES, np.nan)
        c, found = self.entries, matrix[np.ix_(self.live, self.live)][self.pairs]
        there = alive[self.live]
        both = there[self.pairs[0]] & there[self.pairs[1]]
        error = float(np.linalg.norm(found - c))
        return {
            "error": _ratio(error, float(np.linalg.norm(c))),
            "spread_error": _ratio(error, _spread(c)),
            "pearson": _recovered(found, c),
            "pearson_live": _pearson(found[both], c[both]),
            "pearson_pairs": _recovered(self._beyond_classes(found), self._beyond_classes(c)),
            "evidence": float((found != 0).mean()),
            "dead": float((~there).mean()),
        }

    def summary(self) -> dict[str, float | int | None]:
        """Live classes, and the mean, standard deviation and limits of the entries."""
        c = self.entries
        numbers = (c.mean(), c.std(), c.min(), c.max()) if c.size else (None,) * 4
        plain = [None if value is None else float(value) for value in numbers]
        return {
            "n_live": int(self.live.sum()),
            **dict(zip(("mean", "sd", "min", "max"), plain, strict=True)),
        }

    def _beyond_classes(self, c: Float64[np.ndarray, " pairs"]) -> Float64[np.ndarray, " pairs"]:
        """c_ij − m − a_i − a_j, with m the mean and a by least squares; Σ a = 0.

        The sum of the n − 1 entries of class i is (n − 1)·m + (n − 2)·a_i.
        """
        first, second = self.pairs
        n = int(self.live.sum())
        if n < 4:  # as many a as pairs: nothing is left
            return np.zeros_like(c)
        m = c.mean()
        sums = np.bincount(first, c, n) + np.bincount(second, c, n)
        a = (sums - (n - 1) * m) / (n - 2)
        return np.asarray(c - m - a[first] - a[second])


def _recovered(found: Float64[np.ndarray, " pairs"], c: Float64[np.ndarray, " pairs"]) -> float:
    """Pearson's r with the pattern of C; 0 where the batch shows none, NaN where C has none."""
    if c.size < FEWEST_PAIRS or not _spread(c):
        return np.nan
    return _pearson(found, c) if _spread(found) else 0.0


def _pearson(x: Float64[np.ndarray, " pairs"], y: Float64[np.ndarray, " pairs"]) -> float:
    """Σ (x − x̄)(y − ȳ) / √(Σ (x − x̄)² · Σ (y − ȳ)²); NaN of few pairs or a constant side."""
    if x.size < FEWEST_PAIRS:
        return np.nan
    return _ratio(float((x - x.mean()) @ (y - y.mean())), _spread(x) * _spread(y))


def _spread(c: Float64[np.ndarray, " pairs"]) -> float:
    """‖c − c̄‖, and 0 where only rounding is left of entries that are at most 1."""
    size = float(np.linalg.norm(c - c.mean()))
    return size if size > ROUNDING * c.size**0.5 else 0.0


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else np.nan
