"""Numbers of a results record as a page shows them: named, defined, and rounded in one place."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import floor, log10
from typing import Any

from ccr_diag.effects import digits
from ccr_diag.figures.metric_names import LABELS
from ccr_diag.figures.style import defined, number
from ccr_diag.results import Results

NONE = "–"
DIGITS = 3  # that count
MOST_DECIMALS = 4


@dataclass(frozen=True)
class Term:
    """What a number is.

    Args:
        key: as in the results file.
        label: as it is shown.
        definition: in words.
        better: which way is good, in words; empty where neither is.
        source: where it comes from; may be empty.
        unit: ``%`` (a share times 100), ``points`` (a signed one), ``count``, ``signed`` (neither,
            with its sign), or nothing.
    """

    key: str
    label: str
    definition: str
    better: str = ""
    source: str = ""
    unit: str = ""

    @property
    def anchor(self) -> str:
        """Its place among the definitions of the page."""
        return "def-" + re.sub(r"[^A-Za-z0-9_]+", "-", self.key)


@dataclass(frozen=True)
class Shown:
    """A number as it is shown; what is undefined is a dash.

    Args:
        term: what it is.
        value: in full precision.
        low: lower end of its interval, None without one.
        high: upper end.
        text: rounded, with its unit.
        ends: “2.4 to 2.8”, rounded as the value is; empty without an interval.
    """

    term: Term
    value: float | int | None
    low: float | None
    high: float | None
    text: str
    ends: str


_PERCENT, _POINTS, _COUNT, _SIGNED = "%", "points", "count", "signed"
_BETTER = {"none": "", "zero": "nearer 0", "one": "nearer 1"}
_LABELS = {  # metric → name, unit; of those that pages show, the others being defined there alone
    "ece_positive": ("ECE, positive", _PERCENT),
    "ece_decision": ("ECE, decision", _PERCENT),
    "ece_expected_positive": ("ECE if calibrated", _PERCENT),
    "ece_expected_decision": ("ECE if calibrated, decision", _PERCENT),
    "signed_error": ("signed error", _POINTS),
    "map": ("mAP", _PERCENT),
    "mce_positive": ("MCE, positive", _PERCENT),
    "mce_decision": ("MCE, decision", _PERCENT),
    "ece_classwise": ("ECE, class-wise", _PERCENT),
    "ace_positive": ("ACE, positive", _PERCENT),
    "ace_decision": ("ACE, decision", _PERCENT),
    "mce_weighted_decision": ("weighted MCE, decision", _PERCENT),
    "piece_decision": ("PIECE", _PERCENT),
    "brier": ("Brier score", ""),
    "brier_skill": ("Brier skill", ""),
    "nll": ("NLL", ""),
    "ece_after_platt": ("ECE after Platt", _PERCENT),
    "calibration_slope": ("calibration slope", ""),
}
_GEOMETRY = {  # measure → key of its definition, name
    "ED": ("ED", "ED"),
    "delta_ED": ("delta_ED", "ΔED"),
    "NP": ("NP", "NP"),
    "gap": ("modality_gap", "modality gap"),
    "RBO": ("RBO", "RBO"),
    "kendall": ("kendall", "Kendall's τ_b"),
    "pair_drift": ("pair_drift", "pair drift"),
    "effective_rank": ("effective_rank", "effective rank"),
    "drift": ("drift", "drift"),
}
OWN_TERMS = {
    term.key: term
    for term in (
        Term("n_images", "images", "images that were measured on", unit=_COUNT),
        Term("n_classes", "classes", "classes that were measured", unit=_COUNT),
        Term("n_known", "labels", "labels that are known to be present or absent", unit=_COUNT),
        Term("n_positive", "positives", "labels that say present", unit=_COUNT),
        Term("n_training", "in training", "training images that show the class", unit=_COUNT),
        Term("effective_bins", "filled bins", "bins with at least one label", unit=_COUNT),
        Term("count", "labels in the bin", "known labels whose confidence lies in it", unit=_COUNT),
        Term("confidence", "confidence", "mean confidence of the labels in the bin"),
        Term("frequency", "frequency", "share of them that are present (decision: decided right)"),
        Term("band_low", "calibrated, from", "2.5 % of calibrated models show a lower frequency"),
        Term("band_high", "calibrated, to", "2.5 % of calibrated models show a higher frequency"),
        Term("difference", "difference", "the second model less the first, on the same images"),
        Term("p", "p", "chance of such a difference if there were none"),
        Term("p_holm", "p, Holm", "the same, corrected for the number of rows of a metric"),
        Term("scale", "τ", "factor of the score in p = σ(τ · score + b)"),
        Term("bias", "b", "logit bias in p = σ(τ · score + b)"),
    )
}
"""What pages show beside metrics and geometry."""


def terms(results: Results) -> dict[str, Term]:
    """Every number that the results define, by its key, then those of every page."""
    said = results["definitions"]
    found = {key: _metric(key, about) for key, about in said["metrics"].items()}
    return found | geometry_terms(said.get("geometry", {})) | OWN_TERMS


def geometry_terms(definitions: Mapping[str, str]) -> dict[str, Term]:
    """The measures of the text space that have a definition."""
    return {
        key: Term(key, label, definitions[of])
        for key, (of, label) in _GEOMETRY.items()
        if of in definitions
    }


def _metric(key: str, about: Mapping[str, Any]) -> Term:
    label, unit = _LABELS.get(key, (LABELS.get(key, key), ""))
    better = _BETTER.get(about["better"], about["better"])
    return Term(key, label, about["definition"], better, about["source"], unit)


def term_of(known: Mapping[str, Term], key: str) -> Term:
    """The term of a number, without words where the file has none; NP@5 is NP of 5 neighbours."""
    name = key.split("@")[0]
    term = known.get(name) or Term(name, name, "")
    return replace(term, label=key) if "@" in key else term


def of_class(term: Term) -> Term:
    """The mean over classes of average precision is of one class its average precision."""
    return replace(term, label="AP") if term.key == "map" else term


def shown(
    term: Term, entry: Mapping[str, Any] | float | int | None, places: int | None = None
) -> Shown:
    """A value, or an entry ``{"value", "low", "high"}``, rounded.

    Args:
        term: what it is.
        entry: the number.
        places: decimals of one without an interval, more only where it would round to 0; of
            None as many as count.
    """
    whole = entry if isinstance(entry, Mapping) else {"value": entry}
    value, low, high = (whole.get(key) for key in ("value", "low", "high"))
    if not defined(value) or value is None:
        return Shown(term, None, None, None, NONE, "")
    if term.unit == _COUNT:
        return Shown(term, value, None, None, f"{value:,}", "")
    scale, signed = factor(term), term.unit in (_POINTS, _SIGNED)
    suffix = {_PERCENT: "\u00a0%", _POINTS: "\u00a0pts"}.get(term.unit, "")
    if low is None or high is None or not (defined(low) and defined(high)):
        exact = scale * value
        n = decimals(exact) if places is None else max(places, _fewest(exact))
        text = _rounded(exact, n, signed=signed)
        return Shown(term, value, None, None, text + suffix, "")
    furthest = max(abs(scale * end) for end in (low, high))
    n = min(digits(scale * low, scale * high), decimals(furthest))
    text, *ends = (_rounded(scale * end, n, signed=signed) for end in (value, low, high))
    return Shown(term, value, low, high, text + suffix, " to ".join(ends))


def column(term: Term, entries: Sequence[Mapping[str, Any] | float | int | None]) -> list[Shown]:
    """The numbers of a column: without intervals they have the decimals of the largest."""
    cells = [shown(term, entry) for entry in entries]
    alone = [abs(cell.value) for cell in cells if cell.value is not None and cell.low is None]
    places = decimals(factor(term) * max(alone, default=0.0))
    return [shown(term, entry, places) for entry in entries]


def decimals_of(cell: Shown) -> int:
    """As many as it is shown with."""
    return len(re.sub(r"[^\d.]", "", cell.text).partition(".")[2])


def factor(term: Term) -> float:
    """What values are multiplied by where they are shown."""
    return 100.0 if term.unit in (_PERCENT, _POINTS) else 1.0


def chance(term: Term, value: float | None) -> Shown:
    """A p-value: small ones only as “< 0.001”."""
    if value is not None and value < 0.001:
        return Shown(term, value, None, None, "< 0.001", "")
    return shown(term, value)


def decimals(value: float) -> int:
    """Of a number without an interval: so many that ``DIGITS`` count: 40.6, 2.57, 0.680."""
    if not value:
        return 1
    return min(max(DIGITS - 1 - floor(log10(abs(value))), 0), MOST_DECIMALS)


def _fewest(value: float) -> int:
    """So many that it does not round to 0."""
    return min(max(-floor(log10(abs(value))), 0), MOST_DECIMALS) if value else 0


def _rounded(value: float, n: int, *, signed: bool) -> str:
    """With a true minus sign; zero has none."""
    text = number(value, f"z.{n}f")
    return f"+{text}" if signed and float(f"{value:.{n}f}") > 0 else text
