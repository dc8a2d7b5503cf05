"""Two models measured on several splits in, "better", "worse" or "cannot tell" out.

Models are paired by split: both were tuned on its training images, and what makes these a good or a
bad draw for both cancels.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from scipy.stats import t as student

from ccr_diag.errors import BadConfig
from ccr_diag.metrics.comparison import (
    ROUNDING,
    By,
    Difference,
    check_alike,
    compared_rows,
    direction,
    from_ideal,
    holm,
    judged,
)
from ccr_diag.metrics.intervals import LEVEL, moments
from ccr_diag.metrics.measurement import Measurement
from ccr_diag.metrics.registry import bounds

METHOD = (
    "Student's t over splits, models paired by split: mean of B − A (where 0 or 1 is ideal, of the "
    "distances of both means from it) ± t · sd / √n; two-sided p, Holm-corrected over the rows of "
    "a metric (not over metrics). It holds for other training images, on these test images. Two "
    "models that no split changes have no p. A verdict needs a corrected p below 0.05 and, by a "
    "calibration error, a worse model whose own interval over images, on the first split, lies "
    "above 0."
)


def compare_splits(
    a: Sequence[Measurement], b: Sequence[Measurement], metric: str, by: By | None = None
) -> list[Difference]:
    """B − A of one metric over splits, for all classes, for each group or for each class.

    With the n splits on which both are defined, the means ā and b̄ over them, and s(v) = v, or
    sign(v̄ − ideal) · (v − ideal) where 0 or 1 is ideal::

        d_i       s(b_i) − s(a_i); its mean is the difference of what is shown, |b̄| − |ā| for 0
        interval  d̄ ± t_{0.975, n−1} · sd d / √n
        p         P(|T_{n−1}| ≥ |d̄| √n / sd d)

    A size of gaps is above 0 on every split, by chance alone, so its interval over splits cannot
    say that a model is off. As in ``comparison.compare`` a model is called worse by one only if its
    interval over images lies above 0, here on its first split.

    Args:
        a: the one, at least two splits; replicates, if any, of the first.
        b: the other, on the same splits.
        metric: a key of ``METRICS`` or one derived from them, which has a better and a worse.
        by: as for ``compare``.

    Raises:
        BadConfig: fewer than two splits, or not as many of both; and as ``compare``.
        BadData: as ``compare``.
    """
    if len(a) != len(b) or len(a) < 2:
        raise BadConfig(
            "A comparison over splits needs the same splits of both models, at least 2, but got "
            f"{len(a)} and {len(b)}."
        )
    better = direction(metric)
    check_alike(a[0], b[0], but=("n_bootstrap",))
    rows = compared_rows(a[0], by)
    values = np.array(
        [[[m.value(metric, *row) for m in splits] for row in rows] for splits in (a, b)]
    )
    values[:, np.isnan(values).any(axis=0)] = np.nan
    means = np.stack([moments(of_model)[0] for of_model in values])
    first, second = (
        from_ideal(mean, of_model, better)[1] for mean, of_model in zip(means, values, strict=True)
    )
    d, low, high, sd, p = _significance(second - first, np.abs(means).max(axis=0))
    least, most = bounds(metric)
    low, high = np.clip([low, high], least - most, most - least)
    columns = np.stack([*means, d, low, high, sd, p, holm(p)], axis=1).tolist()
    return [
        judged((a[0], b[0]), metric, better, row, numbers)
        for row, numbers in zip(rows, columns, strict=True)
    ]


def _significance(
    d: Float64[np.ndarray, "rows splits"], size: Float64[np.ndarray, " rows"]
) -> tuple[Float64[np.ndarray, " rows"], ...]:
    """Mean, interval, its sd and p; NaN where fewer than 2 splits are defined.

    Where nothing differs p is 1; where the splits differ by nothing else they show no spread, and
    p is undefined, as is the interval.
    """
    mean, spread = moments(d)
    n = (~np.isnan(d)).sum(axis=1)
    least = ROUNDING * size
    sd = np.where(spread > least, spread, np.nan) / np.sqrt(np.maximum(n, 1))
    freedom = np.maximum(n - 1, 1)
    half = student.ppf((1 + LEVEL) / 2, freedom) * sd
    alike = (np.abs(mean) <= least) & np.isnan(sd)
    p = np.where(alike, 1.0, 2 * student.sf(np.abs(mean) / sd, freedom))
    return mean, mean - half, mean + half, sd, p
