"""KgCoOp: CoOp's prompts, kept near the hand-written ones (Yao et al., 2023, arXiv:2303.13283).

    L = L_loss + 8 · (1/C) Σ_c (1 − cos(t_c, t⁰_c))

t are the texts under the learned context, t⁰ the hand-written prompts'. What is learned, and how it
scores, is CoOp's; the second term is the framework's own, whatever regularizer is added to it.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from ccr_diag.backbone import Backbone
from ccr_diag.config import FinetuneConfig
from ccr_diag.frameworks.coop import CoOp
from ccr_diag.losses.kgcoop import cosine_distance
from ccr_diag.prompts import zero_shot_embeddings

WEIGHT = 8.0  # of the authors' runs


class KgCoOp(CoOp):
    """CoOp with a term that keeps its texts.

    Args:
        backbone: the frozen CLIP.
        class_names: the classes to score, in the order of the label matrix.
        config: as for CoOp.
    """

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "context_init": "a photo of a",
        "n_context": 4,
        "epochs": 100,
        "batch_size": 128,
        "learning_rate": 2e-3,
    }
    zero_shot: Tensor

    def __init__(
        self, backbone: Backbone, class_names: Sequence[str], config: FinetuneConfig
    ) -> None:
        super().__init__(backbone, class_names, config)
        zero_shot = zero_shot_embeddings(backbone, class_names).to(backbone.device)
        self.register_buffer("zero_shot", zero_shot, persistent=False)  # made of the names

    def own_term(self, text: Float[Tensor, "classes dim"]) -> Float[Tensor, ""]:
        """The distance from the hand-written prompts."""
        return WEIGHT * cosine_distance(text, self.zero_shot)
