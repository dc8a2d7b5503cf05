"""CoOp: a learned context before every class name (Zhou et al., 2022, arXiv:2109.01134).

    prompt of class c:  [v₁ … v_M] c .       score s_c(x) = cos(f_image(x), f_text(prompt of c))

Only the context v is learned; it is shared by all classes, so it also speaks of classes never seen
in tuning.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ccr_diag.backbone import Backbone
from ccr_diag.prompts import context_prompts, word_embeddings


class CoOp(nn.Module):
    """Context vectors shared by the given classes.

    Args:
        backbone: the frozen CLIP.
        class_names: the classes to score, in the order of the label matrix.
        n_context: number of context vectors when they start at random.
        context_init: a phrase to start from (its tokens give the number of vectors); empty: normal,
            sd 0.02.
        seed: of the random start.
    """

    def __init__(
        self,
        backbone: Backbone,
        class_names: Sequence[str],
        n_context: int = 16,
        context_init: str = "",
        seed: int = 1,
    ) -> None:
        super().__init__()
        if context_init:
            start = word_embeddings(backbone, context_init)
        else:
            width = word_embeddings(backbone, "a").shape[1]
            generator = torch.Generator().manual_seed(seed)
            start = (0.02 * torch.randn(n_context, width, generator=generator)).to(backbone.device)
        self.context = nn.Parameter(start)
        self.backbone = backbone
        self.prompts = context_prompts(backbone, class_names, len(start))

    def text_embeddings(self) -> Float[Tensor, "classes dim"]:
        """Unit embeddings of the classes' prompts, differentiable in the context."""
        return self.backbone.encode_text(self.prompts.ids, self.context, self.prompts.at)

    def forward(
        self, image_features: Float[Tensor, "images dim"]
    ) -> Float[Tensor, "images classes"]:
        """Scores (cosines) of unit image features."""
        return image_features @ self.text_embeddings().T
