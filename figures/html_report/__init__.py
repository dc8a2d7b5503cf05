"""Results → one self-contained page: no network, nothing to install, opened by double-click.

results ──page──► what is shown, as plain records ──templates──► HTML with its own style and script

``numbers`` rounds and names, ``charts`` lays out marks, ``environment`` renders and escapes.
"""

from ccr_diag.figures.html_report.comparison import comparison_page
from ccr_diag.figures.html_report.page import results_page

__all__ = ["comparison_page", "results_page"]
