"""Maps fitted after tuning, from logits to calibrated logits or probabilities.

logits + labels of the calibration split ──► fit ──► Calibration ──► values of any other split

A pool is the classes that share one map. The maps of several pools are shrunk towards the map
fitted on all of them. ``dac`` needs no labels: it scales by where the class texts have moved.
"""

from ccr_diag.calibrators.fitting import KIND, METHODS, Calibration, cross_fit, fit, fold_of

__all__ = ["KIND", "METHODS", "Calibration", "cross_fit", "fit", "fold_of"]
