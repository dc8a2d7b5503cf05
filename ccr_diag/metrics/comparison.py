"""Two measurements of the same images in, "better", "worse" or "cannot tell" out.

The replicates of both drew the same images: their differences are paired, and what makes an image
hard for both cancels.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64, Int64
from scipy.stats import t as student

from ccr_diag.errors import BadConfig, BadData, nearest
from ccr_diag.metrics.intervals import LEVEL, moments
from ccr_diag.metrics.measurement import ALL, Measurement
from ccr_diag.metrics.registry import HARMONIC, METRICS, TREND, bounds, definitions

By = Literal["group", "class"]
Verdict = Literal["better", "worse", "cannot tell"]

IDEAL = {"zero": 0.0, "one": 1.0}
OF_POSITIVES = ("map", "recall_macro", "f1_macro", "cf1", "cf1_top_k", "accuracy_balanced")
ROUNDING = 1e-12  # a smaller spread, relative to the values, is none
METHOD = (
    "Paired bootstrap over images: B − A (where 0 or 1 is ideal, of the distances from it), less "
    "its bias in the replicates, against its standard deviation there; 95 % interval and two-sided "
    "p by Student's t, p Holm-corrected over the rows of a metric (not over metrics). A verdict "
    "needs a corrected p below 0.05 and, by a calibration error, a worse model whose own interval "
    "lies above 0."
)


@dataclass(frozen=True)
class Difference:
    """What changes from A to B in one metric; NaN where it is undefined.

    Args:
        metric: its key.
        group: ``all``, ``base`` or a group.
        class_: a class, instead of a group.
        a: value of A.
        b: value of B.
        difference: b − a; where the ideal is 0 or 1, how much further B is from it than A.
        low: lower end of its 95 % interval.
        high: upper end.
        sd: its standard deviation in the replicates.
        p: two-sided, of "no difference".
        p_holm: p, corrected over all rows that were compared together.
        verdict: of B, against A.
    """

    metric: str
    group: str
    class_: str | None
    a: float
    b: float
    difference: float
    low: float
    high: float
    sd: float
    p: float
    p_holm: float
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        """Plain values in full precision; undefined ones are null."""
        row = {key.rstrip("_"): value for key, value in asdict(self).items()}
        return {
            key: None if isinstance(value, float) and np.isnan(value) else value
            for key, value in row.items()
        }


def compare(a: Measurement, b: Measurement, metric: str, by: By | None = None) -> list[Difference]:
    """B − A of one metric, for all classes, for each group or for each class.

    With d = s(b) − s(a) on all images and d* in the replicates, where s(v) = v, or |v − ideal|
    where 0 or 1 is ideal::

        u         d − (mean d* − d), the difference less its bias
        interval  u ± t_{0.975, n−1} · sd d*
        p         P(|T_{n−1}| ≥ |u| / sd d*), n images with a known label, or with a positive
                  one where a metric lives on these

    p comes from the spread of the replicates, not from counting them: R replicates resolve no p
    below 2/R, which Holm's correction over many classes would need. |v − ideal| has a kink, at
    which the bootstrap fails; in the replicates it is replaced by its tangent at v.

    Of a calibration error a part is chance, a larger one where probabilities are less extreme; it
    does not cancel in a difference. So a model is called worse by such an error only if its own
    interval lies above 0: one that may be calibrated is not worse than another. Of two that both
    are off, the part remains: prefer ``l2_debiased_positive``, which is free of it.

    Args:
        a: the one.
        b: the other, of the same images, classes and groups, measured with the same seed.
        metric: a key of ``METRICS`` or one derived from them, which has a better and a worse.
        by: ``group`` for base and each group, ``class`` for each class; these are the family of
            Holm's correction.

    Raises:
        BadConfig: the metric was not measured or has no better and worse; there are no groups or
            no replicates; the two were not measured alike.
        BadData: the two are not of the same images, classes or groups.

    Source: the normal interval of Davison and Hinkley 1997, §5.2; Holm 1979.
    """
    better = direction(metric)
    check_alike(a, b)
    rows = compared_rows(a, by)
    values = [np.array([m.value(metric, *row) for row in rows]) for m in (a, b)]
    drawn = [np.stack([m.replicates(metric, *row) for row in rows]) for m in (a, b)]
    if not drawn[0].size:
        raise BadConfig(f"A comparison needs replicates, but {metric} was measured without.")
    losses = [from_ideal(v, d, better) for v, d in zip(values, drawn, strict=True)]
    d, d_drawn = (losses[1][i] - losses[0][i] for i in range(2))
    size = np.abs(values).max(axis=0)
    low, high, sd, p = _significance(d, d_drawn, size, _sample_sizes(a, metric, rows))
    least, most = bounds(metric)
    low, high = np.clip([low, high], least - most, most - least)
    columns = np.stack([*values, d, low, high, sd, p, holm(p)], axis=1).tolist()
    return [
        judged((a, b), metric, better, row, numbers)
        for row, numbers in zip(rows, columns, strict=True)
    ]


def direction(metric: str) -> str:
    """Which way a metric is better: ``lower``, ``higher``, ``zero`` or ``one``.

    Raises:
        BadConfig: there is no such metric, or it is a reference that is neither good nor bad.
    """
    known = {*METRICS, *TREND, *(f"{key}_harmonic" for key in HARMONIC)}
    if metric not in known:
        raise BadConfig(f"There is no metric {metric!r}{nearest(metric, known)}")
    better = str(definitions([metric])[metric]["better"])
    if better == "none":
        raise BadConfig(
            f"Only a metric with a better and a worse can be compared, but {metric} is a "
            "reference; leave it out."
        )
    return better


def holm(p: Float64[np.ndarray, " tests"]) -> Float64[np.ndarray, " tests"]:
    """Holm's corrected p: max over the smaller ones of (tests left) · p, at most 1.

    Args:
        p: of each test; NaN is no test, and stays.

    Source: Holm 1979.
    """
    order = np.argsort(p, kind="stable")  # NaN comes last
    left = np.count_nonzero(~np.isnan(p)) - np.arange(len(p))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate(left * p[order]), 1.0)
    return corrected


def compared_rows(a: Measurement, by: By | None) -> list[tuple[str, str | None]]:
    """(group, class) of each difference."""
    if by == "class":
        return [(ALL, name) for name in a.class_names]
    if by is None:
        return [(ALL, None)]
    if not a.groups:
        raise BadConfig("A comparison by group needs groups, but the classes have none.")
    return [(group, None) for group in a.values if group != ALL]


def from_ideal(
    value: Float64[np.ndarray, " rows"],
    drawn: Float64[np.ndarray, "rows replicates"],
    better: str,
) -> tuple[Float64[np.ndarray, " rows"], Float64[np.ndarray, "rows replicates"]]:
    """What is subtracted: the value, or its distance from the ideal, linear around the value.

    Args:
        value: of each row.
        drawn: the same in replicates, or on splits.
        better: direction of the metric.
    """
    if better not in IDEAL:
        return value, drawn
    sign = np.where(value < IDEAL[better], -1.0, 1.0)
    return sign * (value - IDEAL[better]), sign[:, None] * (drawn - IDEAL[better])


def _significance(
    d: Float64[np.ndarray, " rows"],
    drawn: Float64[np.ndarray, "rows replicates"],
    size: Float64[np.ndarray, " rows"],
    n: Int64[np.ndarray, " rows"],
) -> tuple[Float64[np.ndarray, " rows"], ...]:
    """Interval, sd and p; NaN where d is, or is undefined in every other replicate or more.

    p is 1 where nothing differs and where there is one image alone, which shows no spread.
    """
    defined = ((~np.isnan(drawn)).mean(axis=1) > 0.5) & ~np.isnan(d)
    mean, sd = (np.where(defined, moment, np.nan) for moment in moments(drawn))
    unbiased, freedom = 2 * d - mean, np.maximum(n - 1, 1)
    half = student.ppf((1 + LEVEL) / 2, freedom) * sd
    off, least = np.abs(unbiased), ROUNDING * size
    z = np.divide(off, sd, out=np.where(off > least, np.inf, 0.0), where=sd > least)
    p = np.where(n > 1, np.where(defined, 2 * student.sf(z, freedom), np.nan), 1.0)
    return unbiased - half, unbiased + half, sd, np.where(np.isnan(d), np.nan, p)


def _sample_sizes(
    a: Measurement, metric: str, rows: Sequence[tuple[str, str | None]]
) -> Int64[np.ndarray, " rows"]:
    """At most how many images each row rests on."""
    labels = a.n_positive if metric.removesuffix("_harmonic") in OF_POSITIVES else a.n_known
    found = [
        labels[a.of_pool(group)].sum() if class_ is None else labels[a.class_names.index(class_)]
        for group, class_ in rows
    ]
    return np.minimum(np.array(found, dtype=np.int64), a.n_images)


def judged(
    models: tuple[Measurement, Measurement],
    metric: str,
    better: str,
    row: tuple[str, str | None],
    numbers: list[float],
) -> Difference:
    """One row with its verdict.

    Args:
        models: A and B, whose own intervals may forbid a verdict.
        metric: its key.
        better: its direction.
        row: group and class.
        numbers: the fields of a ``Difference`` from ``a`` to ``p_holm``.
    """
    a, b, difference, low, high, sd, p, p_holm = numbers
    verdict: Verdict = "cannot tell"
    if p_holm < 1 - LEVEL and _surely_off(models[difference > 0], metric, row):
        verdict = "better" if (difference > 0) == (better == "higher") else "worse"
    return Difference(metric, *row, a, b, difference, low, high, sd, p, p_holm, verdict)


def _surely_off(worse: Measurement, metric: str, row: tuple[str, str | None]) -> bool:
    """Whether a calibration error of the seemingly worse model lies above 0; of others always."""
    if metric not in METRICS or not METRICS[metric].distance:
        return True
    ends = worse.interval(metric, *row)
    return ends is not None and ends[0] > 0


def check_alike(a: Measurement, b: Measurement, but: Sequence[str] = ()) -> None:
    """Refuse two measurements of other classes or labels, or of other definitions.

    Args:
        a: the one.
        b: the other.
        but: definitions that may differ.

    Raises:
        BadData: of other classes, groups, images or labels.
        BadConfig: measured in another way.
    """
    same = {
        "class names": a.class_names == b.class_names,
        "groups": a.groups == b.groups,
        "images": a.n_images == b.n_images,
        "labels": np.array_equal([a.n_known, a.n_positive], [b.n_known, b.n_positive]),
    }
    for what, agree in same.items():
        if not agree:
            raise BadData(
                f"Two measurements can only be compared on the same {what}, but theirs differ; "
                "align the predictions first."
            )
    for key, chosen in a.definitions.items():
        if b.definitions[key] != chosen and key not in but:
            raise BadConfig(
                f"Two measurements can only be compared with the same {key}, but have {chosen} and "
                f"{b.definitions[key]}; measure both alike."
            )
