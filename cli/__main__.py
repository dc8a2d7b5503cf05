"""``python -m ccr_diag.cli`` is ``ccr-diag``."""

from .main import main

main()
