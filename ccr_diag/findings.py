"""Measurements in, at most ten plain sentences out, each with its evidence.

Two sorts. *Tested* findings say that something differs from what it should be; they come from the
bootstrap over images (geometry: over classes) and are silent without it, for few images, and
wherever the 95 % interval holds the neutral value or the adjusted chance p is 5 % or more. p is
Student's, of distance over standard deviation, adjusted by Holm within a kind (groups, classes) and
by Bonferroni over the kinds, so that calibrated predictions should yield any tested finding in at
most 5 of 100 files. Slope and Platt map are also silent where a calibrated model shows as large an
ECE. *Stated* findings say what holds for the file as it is and need no test.

Order: the strongest tested finding of each kind, by distance from neutral in standard deviations,
then the others in the same way, then the stated ones. Beyond ten the last tested ones give way.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ccr_diag.effects import (
    FEWEST_IMAGES,
    ROUNDING,
    Effect,
    digits,
    of_correlation,
    of_difference,
    of_metric,
    percent,
    signed_errors_of_classes,
    told,
)
from ccr_diag.metrics.calibration import filled_bins
from ccr_diag.metrics.geometry import TextGeometry
from ccr_diag.metrics.measurement import ALL, Measurement

MOST = 10
SIGNED_SAID = 5  # all classes and four groups
NAMED = 3
APART = 2.0  # ratio from which two definitions disagree
SMALLEST = 5e-4  # an error that is printed as more than 0.0 %
SATURATED = 0.9  # share of entries in the outermost bins
KEPT = 0.5  # share of neighbours below which the text space was rearranged

ECES = (
    "ece_positive", "ece_decision", "ece_classwise", "ece_sweep", "ece_top_k", "ece_thresholded",
    "ece_called", "ace_positive", "ace_decision", "smece_positive", "piece_decision",
)  # fmt: skip
MCES = ("mce_positive", "mce_decision", "mce_weighted_positive", "mce_weighted_decision")


@dataclass(frozen=True)
class Finding:
    """One sentence and the numbers behind it.

    Args:
        text: for people.
        evidence: plain values: ``rule`` (which of the findings it is), metric keys, group, value,
            ends of the 95 % interval; of tested ones also the ``distance``
            from neutral in standard deviations and the adjusted ``p``.
    """

    text: str
    evidence: dict[str, Any]


def findings(measurement: Measurement, geometry: TextGeometry | None = None) -> list[Finding]:
    """What the numbers say, most important first; nothing where they say nothing.

    Args:
        measurement: of one model.
        geometry: what tuning did to its text space, of the same classes.
    """
    ranked: list[tuple[bool, float, Finding]] = []
    for kind in TESTED:
        of_kind = sorted(kind(measurement, geometry), key=lambda found: -_distance(found))
        ranked += [(nth > 0, -_distance(found), found) for nth, found in enumerate(of_kind)]
    tested = [found for *_, found in sorted(ranked, key=lambda entry: entry[:2])]
    stated = [
        *_no_skill_shown(measurement, tested),
        *_definitions(measurement),
        *_as_calibrated(measurement, tested),
        *_without_positives(measurement),
        *_rearranged(geometry),
    ]
    return tested[: max(MOST - len(stated), 0)] + stated[:MOST]


def _signed(m: Measurement, _: TextGeometry | None) -> Iterable[Finding]:
    for effect in _told(_signed_errors(m))[:SIGNED_SAID]:
        yield _signed_finding(m, effect)


def _trend(m: Measurement, _: TextGeometry | None) -> Iterable[Finding]:
    if "signed_error_slope" not in m.values[ALL]:
        return
    spearman = m.value("signed_error_spearman")
    for effect in _told([of_metric(m, "signed_error_slope")]):
        if effect.value * spearman > 0:
            correlation = f"{spearman:.2f}".replace("-", "−")
            which, moves = ("over", "rises") if effect.value < 0 else ("under", "falls")
            yield Finding(
                f"The rarer a class in training, the more it leans to {which}-confidence: the "
                f"signed error {moves} by {effect.points} with each tenfold drop in training "
                f"images (Spearman {correlation}).",
                {
                    "rule": "frequency_trend",
                    "metric": "signed_error_slope",
                    "group": ALL,
                    **effect.numbers,
                    "signed_error_spearman": spearman,
                },
            )


def _skill(m: Measurement, _: TextGeometry | None) -> Iterable[Finding]:
    found = _told([of_metric(m, "brier_skill", pool) for pool in _pools(m)])
    for effect in [effect for effect in found if effect.high < 0][:1]:
        yield Finding(
            f"{_who(effect.name)}: probabilities tell less than the frequency of each class "
            f"alone, Brier skill {effect.plain}, below 0.",
            {
                "rule": "less_than_prior",
                "metric": "brier_skill",
                "group": effect.name,
                **effect.numbers,
            },
        )


def _platt(m: Measurement, _: TextGeometry | None) -> Iterable[Finding]:
    before, after = m.value("ece_positive"), m.value("ece_after_platt")
    for effect in _told([of_difference(m, "ece_positive", "ece_after_platt")]):
        if effect.value > 0 and not _ece_by_chance(m, ALL):
            yield Finding(
                f"A two-parameter Platt map, fitted on these images, would bring the ECE "
                f"(positive) from {percent(before)} % to {percent(after)} %, "
                f"{effect.points} less.",
                {
                    "rule": "platt",
                    "metric": "ece_positive",
                    "group": ALL,
                    **effect.numbers,
                    "ece_positive": before,
                    "ece_after_platt": after,
                },
            )


def _slope(m: Measurement, _: TextGeometry | None) -> Iterable[Finding]:
    if _ece_by_chance(m, ALL) or filled_bins(m.reliability[ALL]["positive"]) < 2:
        return
    for effect in _told([of_metric(m, "calibration_slope", ALL, 1.0)]):
        which = "extreme" if effect.value < 1 else "timid"
        outer = _outermost(m)
        saturated = f"; {percent(outer)} % lie in the outermost bins" if outer > SATURATED else ""
        yield Finding(
            f"Probabilities are too {which}: calibration slope {effect.plain} instead of "
            f"1{saturated if which == 'extreme' else ''}.",
            {
                "rule": "slope",
                "metric": "calibration_slope",
                "group": ALL,
                **effect.numbers,
                "outermost_bins": outer,
            },
        )


def _classes(m: Measurement, _: TextGeometry | None) -> Iterable[Finding]:
    found = _told(signed_errors_of_classes(m))
    if found:
        worst = sorted(found, key=lambda effect: -abs(effect.value))[:NAMED]
        said = ", ".join(f"{e.name!r} ({_leaning(e)} by {e.points})" for e in worst)
        yield Finding(
            f"{len(found)} of {len(m.class_names)} classes are over- or under-confident beyond "
            f"chance, worst {said}.",
            {
                "rule": "classes",
                "metric": "signed_error",
                "n_classes": len(found),
                "distance": found[0].distance,
                "classes": [{"class": effect.name, **effect.numbers} for effect in worst],
            },
        )


def _geometry(m: Measurement, geometry: TextGeometry | None) -> Iterable[Finding]:
    if geometry is None or m.n_images < FEWEST_IMAGES:
        return
    subject = {
        "ED": "that lie further from their neighbours in the tuned text space (ED)",
        "delta_ED": "whose texts moved further apart from their neighbours (ΔED)",
        "NP": f"that kept more of their neighbours (NP@{geometry.k})",
    }
    found = geometry.correlations(m.class_values["signed_error"])
    for effect in _told([of_correlation(key, r) for key, r in found.items()])[:1]:
        which = "over" if effect.value > 0 else "under"
        n = found[effect.name].n
        yield Finding(
            f"Classes {subject[effect.name]} are more {which}-confident: Spearman "
            f"{effect.plain} over {n} classes.",
            {
                "rule": "geometry",
                "metric": "signed_error",
                "geometry": effect.name,
                **effect.numbers,
                "n_classes": n,
            },
        )


TESTED: tuple[Callable[[Measurement, TextGeometry | None], Iterable[Finding]], ...] = (
    _signed,
    _trend,
    _skill,
    _platt,
    _slope,
    _classes,
    _geometry,
)


def _no_skill_shown(m: Measurement, tested: Sequence[Finding]) -> Iterable[Finding]:
    """Groups for which the probabilities cannot be shown to tell more than the class prior."""
    said = {f.evidence["group"] for f in tested if f.evidence["rule"] == "less_than_prior"}
    found = [
        effect
        for effect in (of_metric(m, "brier_skill", pool) for pool in _pools(m))
        if not np.isnan(effect.low)
        and (effect.low <= 0 or effect.value < ROUNDING)
        and not (said and effect.high < 0)
    ]
    if found:
        who = ", ".join(f"{e.name} ({e.plain})" for e in found[:NAMED])
        yield Finding(
            "Probabilities cannot be shown to tell more than the frequency of each class: Brier "
            f"skill of {who}{_more(found)}.",
            {
                "rule": "no_skill_shown",
                "metric": "brier_skill",
                "groups": [
                    {"group": e.name, "value": e.value, "low": e.low, "high": e.high} for e in found
                ],
            },
        )


def _definitions(m: Measurement) -> Iterable[Finding]:
    """ECEs, then MCEs, of which the largest is more than twice the smallest."""
    for name, keys in (("ECE", ECES), ("MCE", MCES)):
        found = {key: m.values[ALL].get(key, np.nan) for key in keys}
        found = {key: value for key, value in found.items() if not np.isnan(value)}
        if not found:
            continue
        low, high = min(found, key=found.__getitem__), max(found, key=found.__getitem__)
        if found[high] > max(APART * found[low], SMALLEST):
            yield Finding(
                f"What is called {name} depends on the definition here: from "
                f"{percent(found[low])} % ({low}) to {percent(found[high])} % ({high}); "
                "say which one you report.",
                {"rule": "definitions", "metrics": found, "lowest": low, "highest": high},
            )


def _as_calibrated(m: Measurement, tested: Sequence[Finding]) -> Iterable[Finding]:
    """Groups whose ECE a calibrated model would exceed in at least 1 of 20 files."""
    wrong = {f.evidence["group"] for f in tested if "group" in f.evidence}
    found = [pool for pool in _pools(m) if pool not in wrong and _ece_by_chance(m, pool)]
    if found:
        ece, expected = (
            [m.value(key, pool) for pool in found]
            for key in ("ece_positive", "ece_expected_positive")
        )
        said = ", ".join(
            f"{pool} ({percent(e)} %, by chance {percent(x)} %)"
            for pool, e, x in zip(found[:NAMED], ece, expected, strict=False)
        )
        yield Finding(
            f"Cannot be told from calibrated by the ECE (positive): {said}{_more(found)}.",
            {
                "rule": "as_calibrated",
                "groups": [
                    {"group": pool, "ece_positive": e, "ece_expected_positive": x}
                    for pool, e, x in zip(found, ece, expected, strict=True)
                ],
            },
        )


def _without_positives(m: Measurement) -> Iterable[Finding]:
    empty = [name for name, n in zip(m.class_names, m.n_positive, strict=True) if not n]
    if empty:
        verb = "has" if len(empty) == 1 else "have"
        named = ", ".join(map(repr, empty[:NAMED]))
        yield Finding(
            f"{len(empty)} of {len(m.class_names)} classes {verb} no positive label "
            f"({named}{_more(empty)}): average precision and recall leave them out.",
            {"rule": "without_positives", "n_classes": len(empty), "classes": empty},
        )


def _rearranged(geometry: TextGeometry | None) -> Iterable[Finding]:
    if geometry is None:
        return
    kept, chance = float(geometry.preservation.mean()), geometry.k / (len(geometry.class_names) - 1)
    if kept < KEPT:
        yield Finding(
            f"Tuning rearranged the text space: of the {geometry.k} nearest classes "
            f"{percent(kept)} % stayed (NP@{geometry.k}; {percent(chance)} % would by chance).",
            {"rule": "rearranged", "geometry": "NP", "value": kept, "by_chance": chance},
        )


def _signed_finding(m: Measurement, effect: Effect) -> Finding:
    mask = m.of_pool(effect.name)
    prevalence = float(m.n_positive[mask].sum() / m.n_known[mask].sum())
    n = digits(100 * effect.low, 100 * effect.high)
    p = f"{100 * (prevalence + effect.value):.{n}f}"
    times = f", {1 + effect.value / prevalence:.2g} times as much" if prevalence else ""
    return Finding(
        f"{_who(effect.name)} are {_leaning(effect)} by {effect.points}: probabilities average "
        f"{p} %, positives {100 * prevalence:.{n}f} %{times}.",
        {
            "rule": "signed_error",
            "metric": "signed_error",
            "group": effect.name,
            **effect.numbers,
            "prevalence": prevalence,
        },
    )


def _signed_errors(m: Measurement) -> list[Effect]:
    """Of all classes and each group; the noise is at least that of independent labels."""
    found = []
    for pool in _pools(m):
        bins = m.reliability[pool]["positive"]
        least = float(np.sqrt(bins.sum_variance.sum())) / max(int(bins.count.sum()), 1)
        found.append(of_metric(m, "signed_error", pool, least_sd=least))
    return found


def _ece_by_chance(m: Measurement, pool: str) -> bool:
    """Whether ECE ≤ E + 1.645 s, mean and standard deviation that of a calibrated model.

    With |X_b − μ_b| of bin b that of a normal variable, s² = (1 − 2/π) Σ_b σ²_b / n².
    """
    bins = m.reliability[pool]["positive"]
    n = max(int(bins.count.sum()), 1)
    s = np.sqrt((1 - 2 / np.pi) * bins.sum_variance.sum()) / n
    return bool(m.value("ece_positive", pool) <= m.value("ece_expected_positive", pool) + 1.645 * s)


def _outermost(m: Measurement) -> float:
    """Share of the entries in the first and the last bin."""
    count = m.reliability[ALL]["positive"].count
    return float((count[0] + count[-1]) / count.sum())


def _pools(m: Measurement) -> list[str]:
    """All classes and, where there are several, the groups; ``base`` is made of others."""
    groups = [pool for pool in m.values if pool not in (ALL, "base")]
    return [ALL, *groups] if len(groups) > 1 else [ALL]


def _distance(finding: Finding) -> float:
    return float(finding.evidence["distance"])


def _told(effects: Sequence[Effect]) -> list[Effect]:
    return told(effects, len(TESTED))


def _who(pool: str) -> str:
    return "All classes together" if pool == ALL else f"Classes of group {pool}"


def _leaning(effect: Effect) -> str:
    return "over-confident" if effect.value > 0 else "under-confident"


def _more(found: Sequence[Any]) -> str:
    return f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
