"""Isotonic regression: the rising step curve nearest to the outcomes.

Source: Zadrozny and Elkan 2002, “Transforming classifier scores into accurate multiclass
probability estimates”; scikit-learn's solver.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.isotonic import IsotonicRegression

from ccr_diag.calibrators.maps import Entries


@dataclass(frozen=True, eq=False)
class IsotonicCurve:
    """Probabilities at rising logits, straight between them and flat beyond the ends."""

    z: Entries
    p: Entries

    def __call__(self, z: Entries) -> Entries:
        """Probabilities."""
        return np.asarray(np.interp(z, self.z, self.p))

    def as_dict(self) -> dict[str, Any]:
        """The corners of the curve."""
        return {"logits": self.z.tolist(), "probabilities": self.p.tolist()}


def isotonic(z: Entries, y: Entries) -> IsotonicCurve:
    """The curve with the least squared error; logits, not σ of them, so that none round together.

    Args:
        z: logits.
        y: outcomes 0 and 1.
    """
    fitted = IsotonicRegression().fit(z, y)
    return IsotonicCurve(fitted.X_thresholds_, fitted.y_thresholds_)
