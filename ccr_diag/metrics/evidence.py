"""What the numbers of some classes are computed from, gathered once."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Num

from ccr_diag.metrics import recalibration, scoring
from ccr_diag.metrics.bins import ReliabilityBins
from ccr_diag.metrics.discrimination import Confusion
from ccr_diag.metrics.scoring import ScoreSums

Values = Float64[np.ndarray, "*batch"]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the numbers of some classes are computed from; None where it was not gathered.

    Bins are pooled over the classes; counts, scores, precision and ``classwise`` keep them as first
    axis. Replicates, if any, are an axis after it.

    Args:
        positive: equal-width bins, confidence p against y.
        decision: equal-width bins, confidence max(p, 1 − p) against "the decision is right".
        called: ``positive`` over entries with p ≥ 0.5.
        top: ``positive`` over the k most probable classes of each image.
        above: ``positive`` over entries with p at least the threshold.
        mass_positive: equal-mass bins, positive.
        mass_decision: equal-mass bins, decision.
        cells: fine cells, positive.
        proximity: joint bins of proximity and decision confidence, flattened.
        classwise: ECE (positive) of each class.
        counts: decisions p ≥ 0.5.
        top_counts: decisions "among the k most probable".
        scores: sums of squared errors and log losses.
        precision: average precision.
        subset: images whose known labels are all decided right, and images with a known label.
    """

    positive: ReliabilityBins
    decision: ReliabilityBins
    called: ReliabilityBins
    counts: Confusion
    scores: ScoreSums
    precision: Float64[np.ndarray, " classes *batch"]
    classwise: Float64[np.ndarray, " classes *batch"] | None = None
    top: ReliabilityBins | None = None
    above: ReliabilityBins | None = None
    mass_positive: ReliabilityBins | None = None
    mass_decision: ReliabilityBins | None = None
    cells: ReliabilityBins | None = None
    proximity: ReliabilityBins | None = None
    top_counts: Confusion | None = None
    subset: tuple[Num[np.ndarray, "*batch"], Num[np.ndarray, "*batch"]] | None = None

    @cached_property
    def platt(self) -> tuple[Values, Values] | None:
        """Slope and intercept of the logistic map that fits the outcomes best."""
        return None if self.cells is None else recalibration.platt(self.cells)

    @cached_property
    def mapped(self) -> ReliabilityBins | None:
        """``positive`` after that map."""
        if self.cells is None or self.platt is None:
            return None
        return recalibration.mapped(self.cells, *self.platt, self.positive.count.shape[-1])

    @cached_property
    def decomposition(self) -> scoring.BrierParts | None:
        """Of the Brier score."""
        return None if self.cells is None else scoring.decompose(self.cells)
