"""KgCoOp: CoOp's prompts, kept near the hand-written ones (Yao et al., 2023, arXiv:2303.13283).

What is learned, and how it scores, is CoOp's; the regularizer of the same name does the keeping.
"""

from typing import Any, ClassVar

from ccr_diag.frameworks.coop import CoOp


class KgCoOp(CoOp):
    """CoOp with the settings of KgCoOp's paper and code."""

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "regularizer": "kgcoop",
        "context_init": "a photo of a",
        "n_context": 4,
        "epochs": 100,
        "batch_size": 128,
        "learning_rate": 2e-3,
    }
