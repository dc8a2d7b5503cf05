"""The tables beside the figures → files: Markdown, CSV and LaTeX of each.

``NAME.md`` and ``NAME.tex`` are rounded, for people; ``NAME.csv`` is tidy, in full precision.
"""

from collections.abc import Callable
from typing import Any

import pandas as pd

from ccr_diag import report
from ccr_diag.report_stability import render_stability
from ccr_diag.report_sweep import Spread, render_sweep
from ccr_diag.results import Results

FORMS = {"md": "markdown", "csv": "csv", "tex": "latex"}
"""Ending → form."""

Files = dict[str, str]
"""Name of a file → what stands in it."""


def results_tables(results: Results) -> Files:
    """``models``: the tables of an analysis, with findings and definitions.

    Args:
        results: a parsed results file.
    """
    return _in_all_forms("models", lambda form: report.render(results, form))


def sweep_tables(frame: pd.DataFrame, spread: Spread = "interval") -> Files:
    """``sweep``: the means of a sweep.

    Args:
        frame: of ``read_table``.
        spread: what stands after ± in Markdown and LaTeX.

    Raises:
        BadData: runs that a table cannot tell apart.
    """
    return _in_all_forms("sweep", lambda form: render_sweep(frame, form, spread=spread))


def record_tables(record: dict[str, Any]) -> Files:
    """``correlation``: how steady the class correlations of batches are.

    Args:
        record: of ``analyze correlation``.
    """
    return _in_all_forms("correlation", lambda form: render_stability(record, form))


def _in_all_forms(name: str, render: Callable[[str], str]) -> Files:
    """One file a form."""
    return {f"{name}.{ending}": render(form) for ending, form in FORMS.items()}
