"""Predictions in, numbers out: tables in one pass, measures on them, intervals, METRICS.

probs + labels ──► blocks ──► tables, cells (sums that add up) ──► METRICS ──► Measurement
"""

from ccr_diag.metrics.engine import measure
from ccr_diag.metrics.measurement import Measurement
from ccr_diag.metrics.registry import METRICS

__all__ = ["METRICS", "Measurement", "measure"]
