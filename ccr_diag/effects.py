"""A number against the value that would be right: how far off, how surely, and how to print it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64
from scipy.special import bdtr, bdtrc, stdtr
from scipy.stats import t as student

from ccr_diag.metrics.association import Correlation
from ccr_diag.metrics.intervals import LEVEL, normal_interval
from ccr_diag.metrics.measurement import ALL, Measurement
from ccr_diag.metrics.registry import bounds

CHANCE = 0.05
FEWEST_IMAGES = 20
FEWEST_CLASSES = 10  # for a correlation over classes
ROUNDING = 1e-9
FURTHEST = 1e6  # standard deviations; infinity is no JSON
DIGITS = 4
UNSEEN = 5e-6  # printed as 0 percent


@dataclass(frozen=True)
class Effect:
    """One number, its interval, and the chance of it if the neutral value were true.

    Args:
        name: group, class, or measure of the geometry.
        value: the number; NaN where undefined.
        low: lower end of its 95 % interval; NaN without one.
        high: upper end.
        neutral: the right value.
        distance: from neutral, in standard deviations.
        p: chance of that distance; NaN where it cannot be tested.
    """

    name: str
    value: float
    low: float
    high: float
    neutral: float
    distance: float
    p: float

    @property
    def numbers(self) -> dict[str, float]:
        """Value, interval, distance and p."""
        return {key: getattr(self, key) for key in ("value", "low", "high", "distance", "p")}

    @property
    def plain(self) -> str:
        """Value [low, high], as many digits as the interval supports."""
        return self._printed(1.0)

    @property
    def points(self) -> str:
        """Size [low, high] in percentage points; of a negative value the size of its negative."""
        return self._printed(100.0 if self.value >= 0 else -100.0, " points")

    def _printed(self, scale: float, unit: str = "") -> str:
        low, high = sorted((scale * self.low, scale * self.high))
        n = digits(low, high)
        said = f"{scale * self.value:.{n}f}{unit} [{low:.{n}f}, {high:.{n}f}]"
        return said.replace("-", "−")


def of_metric(
    m: Measurement, metric: str, pool: str = ALL, neutral: float = 0.0, least_sd: float = 0.0
) -> Effect:
    """A metric of a group against ``neutral``.

    Args:
        m: the measurement.
        metric: its key.
        pool: ``all``, ``base`` or a group.
        neutral: the right value.
        least_sd: the standard deviation is at least this.
    """
    value, drawn = m.value(metric, pool), m.replicates(metric, pool)
    low, high = m.interval(metric, pool) or (np.nan, np.nan)
    distance, p = _tested(value, drawn, neutral, least_sd)
    return Effect(
        pool, value, low, high, neutral, *((distance, p) if _enough(m) else (0.0, np.nan))
    )


def of_difference(m: Measurement, first: str, second: str) -> Effect:
    """``first`` − ``second`` of all classes against 0, from paired replicates."""
    value = m.value(first) - m.value(second)
    drawn = m.replicates(first) - m.replicates(second)
    if drawn.size < 2 or not _enough(m):
        return Effect(ALL, value, np.nan, np.nan, 0.0, 0.0, np.nan)
    low, high = normal_interval(np.asarray(value), drawn, (-np.inf, np.inf))
    return Effect(ALL, value, float(low), float(high), 0.0, *_tested(value, drawn, 0.0, 0.0))


def signed_errors_of_classes(m: Measurement) -> list[Effect]:
    """Signed error of each class against 0.

    The bootstrap knows little of a class with few positives, and nothing of one with none: p is at
    least that of the number of positives as a binomial count with chance mean p in each image,
    which varies more than independent labels of unequal chances do.
    """
    if "signed_error" not in m.class_drawn or not _enough(m):
        return []
    value, drawn = m.class_values["signed_error"], m.class_drawn["signed_error"]
    low, high = normal_interval(value, drawn, bounds("signed_error"))
    n, positives = np.maximum(m.n_known, 1), m.n_positive
    chance = np.clip(positives / n + np.nan_to_num(value), 0, 1)
    tails = bdtr(positives, n, chance), bdtrc(positives - 1, n, chance)
    least_p = np.minimum(2 * np.minimum(*tails), 1)
    found = []
    for i, name in enumerate(m.class_names):
        distance, p = _tested(float(value[i]), drawn[i], 0.0, 0.0)
        p = max(p, float(least_p[i])) if m.n_known[i] else np.nan
        ends = float(value[i]), float(low[i]), float(high[i])
        found.append(Effect(name, *ends, 0.0, distance, p))
    return found


def of_correlation(name: str, found: Correlation) -> Effect:
    """A correlation over classes against 0, by Student on the scale of artanh r as its interval."""
    if found.value is None or found.low is None or found.high is None or found.n < FEWEST_CLASSES:
        value = np.nan if found.value is None else found.value
        return Effect(name, value, np.nan, np.nan, 0.0, 0.0, np.nan)
    half = (math.atanh(found.high) - math.atanh(found.low)) / 2
    sd = half / float(student.ppf((1 + LEVEL) / 2, found.n - 2))
    distance = abs(math.atanh(found.value)) / sd
    p = 2 * float(student.sf(distance, found.n - 2))
    return Effect(name, found.value, found.low, found.high, 0.0, distance, p)


def told(effects: Sequence[Effect], families: int) -> list[Effect]:
    """The effects that chance does not explain, furthest from neutral first.

    Args:
        effects: one family of questions; p becomes p · ``families``, adjusted by Holm's method
            within the family: the k-th smallest of m times m − k + 1, and never below the one
            before.
        families: how many families are asked.

    Source: Holm 1979.
    """
    tested = sorted((e for e in effects if not math.isnan(e.p)), key=lambda e: e.p)
    found, least = [], 0.0
    for k, effect in enumerate(tested):
        least = max(least, min(effect.p * (len(tested) - k) * families, 1.0))
        apart = effect.low > effect.neutral or effect.high < effect.neutral
        if least < CHANCE and apart:
            found.append(replace(effect, p=least))
    return sorted(found, key=lambda e: -e.distance)


def digits(low: float, high: float) -> int:
    """Decimals that an interval supports: half-width of at least 3 last digits, no false 0.

    Args:
        low: lower end.
        high: upper end.
    """
    half = (high - low) / 2
    n = 1 if not half > 0 else min(max(math.ceil(math.log10(3 / half)), 0), DIGITS)
    while n < DIGITS and any(end and not round(end, n) for end in (low, high)):
        n += 1
    return n


def percent(value: float) -> str:
    """A fraction in percent, two digits; no unit."""
    if abs(value) < UNSEEN:
        return "0"
    return f"{100 * value:.0f}" if abs(value) >= 0.0995 else f"{100 * value:.2g}"


def _enough(m: Measurement) -> bool:
    return m.n_images >= FEWEST_IMAGES


def _tested(
    value: float, drawn: Float64[np.ndarray, " replicates"], neutral: float, least_sd: float
) -> tuple[float, float]:
    """Distance in standard deviations, and two-sided p by Student with replicates − 1 degrees.

    The replicates' own bias is taken off, as in the normal interval: 2 · value − mean(drawn).
    """
    drawn = drawn[~np.isnan(drawn)]
    if np.isnan(value) or drawn.size < 2:
        return 0.0, np.nan
    apart = abs(2 * value - float(drawn.mean()) - neutral)
    sd = max(float(drawn.std(ddof=1)), least_sd)
    if apart < ROUNDING:
        return 0.0, 1.0
    distance = min(apart / max(sd, ROUNDING), FURTHEST)
    return distance, 2 * float(stdtr(drawn.size - 1, -distance))
