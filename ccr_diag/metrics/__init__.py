"""Predictions in, numbers out: tables in one pass, measures on them, intervals, METRICS."""
