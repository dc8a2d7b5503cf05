"""KgCoOp's regularizer: tuned class text embeddings in, one number out.

    L_kg = 1 − (1/C) Σ_c cos(t_c, t⁰_c),    added to a loss as  L + λ·L_kg

t_c is the tuned and t⁰_c the zero-shot text embedding of class c: what is learned stays near what
CLIP knew. For unit embeddings this is half their mean squared distance. λ is 8 in the paper's code.

Source: Yao, Zhang, Xu, "Visual-Language Prompt Tuning with Knowledge-guided Context Optimization",
CVPR 2023, arXiv:2303.13283.
"""

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ccr_diag.backbone import Backbone
from ccr_diag.config import FinetuneConfig
from ccr_diag.errors import BadConfig


class KgCoOpLoss(nn.Module):
    """The regularizer: call it with the tuned text embeddings.

    Args:
        zero_shot: t⁰, (classes, dim); of any length.
    """

    zero_shot: Tensor

    def __init__(self, zero_shot: Float[Tensor, "classes dim"]) -> None:
        super().__init__()
        self.register_buffer("zero_shot", zero_shot.detach())

    @classmethod
    def from_config(
        cls,
        config: FinetuneConfig,
        backbone: Backbone,
        framework: nn.Module,
        class_names: Sequence[str],
        zero_shot: Float[Tensor, "classes dim"],
    ) -> "KgCoOpLoss":
        """The regularizer of a run; see ``REGULARIZERS``.

        Raises:
            BadConfig: a framework that learns nothing of its text embeddings.
        """
        if not framework.text_embeddings().requires_grad:  # type: ignore[operator]
            raise BadConfig(
                "Regularizer kgcoop keeps learned text embeddings near zero-shot, but framework "
                f"{config.framework!r} learns none; choose another framework or regularizer."
            )
        return cls(zero_shot)

    def forward(self, text: Float[Tensor, "classes dim"]) -> Float[Tensor, ""]:
        """L_kg of these text embeddings, in the class order of the zero-shot ones."""
        return cosine_distance(text, self.zero_shot)

    def of_step(
        self,
        logits: Float[Tensor, "images classes"],
        labels: Int[Tensor, "images classes"],
        text: Float[Tensor, "classes dim"],
        framework: nn.Module,
    ) -> Float[Tensor, ""]:
        """L_kg in a training step."""
        return self.forward(text)


def cosine_distance(
    tuned: Float[Tensor, "texts dim"], zero_shot: Float[Tensor, "texts dim"]
) -> Float[Tensor, ""]:
    """1 − the mean cosine between a row of one and the same row of the other."""
    return 1 - F.cosine_similarity(tuned, zero_shot.to(tuned), dim=1).mean()
