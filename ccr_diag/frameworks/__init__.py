"""Tuning frameworks: what is learned, and how it scores an image.

Adding one is one file and one line here.
"""

from ccr_diag.frameworks.coop import CoOp

FRAMEWORKS = {"coop": CoOp}
