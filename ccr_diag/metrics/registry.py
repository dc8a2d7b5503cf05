"""METRICS: every number by name: what it is computed from, which way is better, its source.

Tables, figures, files and tests read it from here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

from ccr_diag.metrics import calibration, discrimination, scoring, smooth, sweep
from ccr_diag.metrics.evidence import Evidence
from ccr_diag.metrics.scoring import ScoreSums

Values = Float64[np.ndarray, "*batch"]


@dataclass(frozen=True)
class Metric:
    """One number about some classes.

    Args:
        function: the field of the evidence that it ``needs`` → value; NaN where undefined.
        needs: a field of ``Evidence``.
        better: which way is good; ``none`` for a reference value.
        bounds: smallest and largest value.
        definition: in words.
        source: where it comes from.
        per_class: also given for each class alone.
        drawn: whether it has a bootstrap interval.
        distance: whether it is a size of gaps, which chance alone makes larger; its interval is
            then found by inversion.
    """

    function: Callable[[Any], Values]
    needs: str
    better: Literal["lower", "higher", "zero", "one", "none"]
    bounds: tuple[float, float]
    definition: str
    source: str
    per_class: bool = False
    drawn: bool = True
    distance: bool = False

    def value(self, evidence: Evidence) -> Values | None:
        """The number, or None where its evidence was not gathered."""
        found = getattr(evidence, self.needs)
        return None if found is None else np.asarray(self.function(found), dtype=np.float64)


def _share(subset: tuple[Any, Any]) -> Values:
    right, images = (np.asarray(part, dtype=np.float64) for part in subset)
    share = np.divide(right, images, out=np.full(right.shape, np.nan), where=images != 0)
    return np.asarray(share)


def _pooled(function: Callable[[ScoreSums], Values]) -> Callable[[ScoreSums], Values]:
    return lambda sums: function(sums.pooled())


_UNIT, _SIGNED, _ANY = (0.0, 1.0), (-1.0, 1.0), (-np.inf, np.inf)
_NAEINI, _GUO, _XIONG = "Naeini et al. 2015", "Guo et al. 2017", "Xiong et al. 2023 (ProCal)"
_NIXON, _DIMITRIADIS = "Nixon et al. 2019", "Dimitriadis et al. 2021"
_ECE = "Σ share of the bin × |confidence − frequency|"

METRICS: dict[str, Metric] = {
    "ece_positive": Metric(
        calibration.ece, "positive", "lower", _UNIT,
        f"{_ECE}; equal-width bins of p against y over all known entries",
        _NAEINI, True, distance=True,
    ),
    "ece_decision": Metric(
        calibration.ece, "decision", "lower", _UNIT,
        f"{_ECE}; equal-width bins of max(p, 1 − p) against “decision right”",
        _GUO, True, distance=True,
    ),
    "ece_expected_positive": Metric(
        calibration.expected_ece, "positive", "none", _UNIT,
        "mean ECE (positive) of a calibrated model with the same probabilities and independent "
        "labels", "Bröcker and Smith 2007", True, False,
    ),
    "ece_expected_decision": Metric(
        calibration.expected_ece, "decision", "none", _UNIT,
        "mean ECE (decision) of a calibrated model with the same probabilities and independent "
        "labels", "Bröcker and Smith 2007", True, False,
    ),
    "ece_classwise": Metric(
        discrimination.mean_over_classes, "classwise", "lower", _UNIT,
        "mean over classes of their ECE (positive)", "Kull et al. 2019", distance=True,
    ),
    "ece_sweep": Metric(
        sweep.ece_sweep, "cells", "lower", _UNIT,
        "ECE (positive) over as many equal-mass bins as keep the frequencies rising",
        "Roelofs et al. 2022", distance=True,
    ),
    "ece_top_k": Metric(
        calibration.ece, "top", "lower", _UNIT,
        "ECE (positive) over the k most probable classes of each image", "Ullah 2024",
         distance=True,
    ),
    "ece_thresholded": Metric(
        calibration.ece, "above", "lower", _UNIT,
        "ECE (positive) over entries with p at least the threshold", _NIXON, distance=True,
    ),
    "ece_called": Metric(
        calibration.ece, "called", "lower", _UNIT,
        "ECE (positive) over entries with p ≥ 0.5", "predicted positives", distance=True,
    ),
    "ace_positive": Metric(
        calibration.ece, "mass_positive", "lower", _UNIT,
        f"{_ECE}; equal-mass bins of p against y", _NIXON, distance=True,
    ),
    "ace_decision": Metric(
        calibration.ece, "mass_decision", "lower", _UNIT,
        f"{_ECE}; equal-mass bins of max(p, 1 − p) against “decision right”", _NIXON, distance=True,
    ),
    "mce_positive": Metric(
        calibration.mce, "positive", "lower", _UNIT,
        "largest |confidence − frequency| of a bin (positive)", _NAEINI, True, distance=True,
    ),
    "mce_decision": Metric(
        calibration.mce, "decision", "lower", _UNIT,
        "largest |confidence − frequency| of a bin (decision)", _NAEINI, True, distance=True,
    ),
    "mce_weighted_positive": Metric(
        calibration.weighted_mce, "positive", "lower", _UNIT,
        "largest share of the bin × |confidence − frequency| (positive)",
        _XIONG, True, distance=True,
    ),
    "mce_weighted_decision": Metric(
        calibration.weighted_mce, "decision", "lower", _UNIT,
        "largest share of the bin × |confidence − frequency| (decision)",
        _XIONG, True, distance=True,
    ),
    "rmsce_positive": Metric(
        calibration.rmsce, "positive", "lower", _UNIT,
        "√Σ share of the bin × (confidence − frequency)² (positive)", "Hendrycks et al. 2019",
        True, distance=True,
    ),
    "l2_debiased_positive": Metric(
        calibration.l2_debiased, "positive", "zero", _SIGNED,
        "signed root of the squared ℓ2 error less its expected sampling part (positive); around 0 "
        "for a calibrated model", "Bröcker 2012; Kumar et al. 2019", True, distance=True,
    ),
    "piece_decision": Metric(
        calibration.ece, "proximity", "lower", _UNIT,
        "ECE (decision) over joint bins of proximity (equal mass) and confidence (equal width)",
        _XIONG, distance=True,
    ),
    "smece_positive": Metric(
        smooth.smece, "cells", "lower", _UNIT,
        "smooth ECE: reflected Gaussian kernel, bandwidth equal to the error (positive)",
        "Błasiok and Nakkiran 2024", distance=True,
    ),
    "signed_error": Metric(
        calibration.signed_error, "positive", "zero", _SIGNED,
        "mean p − mean y; above 0 over-confident, below 0 under-confident", "Cox 1958", True,
    ),
    "calibration_slope": Metric(
        lambda platt: platt[0], "platt", "one", _ANY,
        "slope of the logistic regression of y on the log odds of p; below 1: p too extreme",
        "Cox 1958",
    ),
    "calibration_intercept": Metric(
        lambda platt: platt[1], "platt", "zero", _ANY,
        "intercept of that regression", "Cox 1958",
    ),
    "ece_after_platt": Metric(
        calibration.ece, "mapped", "lower", _UNIT,
        "ECE (positive) left after that two-parameter map, fitted on the same images",
        "Platt 1999", distance=True,
    ),
    "brier": Metric(
        _pooled(scoring.brier), "scores", "lower", _UNIT, "mean (p − y)²", "Brier 1950", True
    ),
    "brier_skill": Metric(
        scoring.brier_skill, "scores", "higher", (-np.inf, 1.0),
        "1 − Brier score / that of each class's own frequency", "Murphy 1973",
    ),
    "brier_miscalibration": Metric(
        lambda cells: scoring.decompose(cells).miscalibration, "cells", "lower", _UNIT,
        "MCB: what an increasing map of p would save of the Brier score",
        _DIMITRIADIS, distance=True,
    ),
    "brier_discrimination": Metric(
        lambda parts: parts.discrimination, "decomposition", "higher", _UNIT,
        "DSC: what p so mapped saves over the constant frequency", _DIMITRIADIS,
    ),
    "brier_uncertainty": Metric(
        lambda parts: parts.uncertainty, "decomposition", "none", (0.0, 0.25),
        "UNC: Brier score of the constant frequency", _DIMITRIADIS,
    ),
    "nll": Metric(
        _pooled(scoring.nll), "scores", "lower", (0.0, np.inf),
        "mean −log of the probability given to the label that holds, p kept from 0 and 1 by the "
        "resolution of its type", "Good 1952", True,
    ),
    "map": Metric(
        discrimination.mean_over_classes, "precision", "higher", _UNIT,
        "mean over classes of average precision; for one class its average precision",
        "scikit-learn", True,
    ),
    "accuracy_elementwise": Metric(
        discrimination.accuracy, "counts", "higher", _UNIT,
        "share of known entries with the right decision", "Hamming accuracy", True,
    ),
    "accuracy_balanced": Metric(
        discrimination.balanced_accuracy, "counts", "higher", _UNIT,
        "mean of the shares of positives and of negatives decided right",
        "Brodersen et al. 2010", True,
    ),
    "accuracy_subset": Metric(
        _share, "subset", "higher", _UNIT,
        "share of images whose known labels are all decided right", "exact match",
    ),
    "recall_macro": Metric(
        discrimination.macro_recall, "counts", "higher", _UNIT,
        "CR: mean over classes with a positive of the share of positives found", "CR", True,
    ),
    "f1_macro": Metric(
        discrimination.f1_macro, "counts", "higher", _UNIT,
        "mean over classes with a positive of their F1", "Opitz and Burst 2019", True,
    ),
    "cf1": Metric(
        discrimination.cf1, "counts", "higher", _UNIT,
        "harmonic mean of CP and CR, the mean precision and recall of classes with a positive",
        "Wang et al. 2016",
    ),
    "of1": Metric(discrimination.of1, "counts", "higher", _UNIT, "F1 of all entries", "micro F1"),
    "cf1_top_k": Metric(
        discrimination.cf1, "top_counts", "higher", _UNIT,
        "CF1 where the k most probable classes of each image are called", "Wang et al. 2016",
    ),
    "of1_top_k": Metric(
        discrimination.of1, "top_counts", "higher", _UNIT,
        "OF1 where the k most probable classes of each image are called", "Wang et al. 2016",
    ),
}  # fmt: skip

HARMONIC = ("map", "cf1", "accuracy_balanced")  # of base and new, under "all": KEY_harmonic
TREND = {
    "signed_error_slope": "least-squares slope of the classes' signed error on log10 of their "
    "training images; below 0: the rarer, the more over-confident",
    "signed_error_spearman": "Spearman correlation of the same two",
}


def bounds(metric: str) -> tuple[float, float]:
    """Smallest and largest value of a metric, derived ones too."""
    if metric in METRICS:
        return METRICS[metric].bounds
    return (-np.inf, np.inf) if metric == "signed_error_slope" else (-1.0, 1.0)


def better(metric: str) -> str:
    """Which way is good of a metric, derived ones too: a value of ``Metric.better``."""
    return str(definitions([metric])[metric]["better"])


def definitions(metrics: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Of each metric: its definition in words, which way is better, bounds, source."""
    found = {}
    for key in metrics:
        if key in METRICS:
            m = METRICS[key]
            low, high = (None if np.isinf(end) else end for end in m.bounds)
            found[key] = {
                "definition": m.definition,
                "better": m.better,
                "bounds": [low, high],
                "source": m.source,
            }
        elif key in TREND:
            found[key] = {"definition": TREND[key], "better": "zero", "source": "least squares"}
        else:
            of = key.removesuffix("_harmonic")
            found[key] = {
                "definition": f"harmonic mean of {of} of base and new classes",
                "better": METRICS[of].better,
                "source": "Xian et al. 2017",
            }
    return found
