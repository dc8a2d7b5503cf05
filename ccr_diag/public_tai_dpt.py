"""TaI-DPT's scores of images (Guo et al., 2023, arXiv:2211.12739), of texts that are done learning.

    g_c = cos(f, t_c)              f: global feature of the image, t: texts of the global context
    l_c = Σ_j w_cj·cos(l_j, u_c)   l_j: feature of its position j, u: texts of the local context
    w_cj = softmax_j(40·cos(l_j, u_c))
    s_c = (g_c + l_c) / 2

The published logit is 4·s_c, without a bias.
"""

from jaxtyping import Float
from torch import Tensor, nn

from ccr_diag.frameworks.framework import Framework

SHARPNESS = 40.0
GLOBAL_SHARE = 0.5


class TaiDptScores(Framework):
    """Fixed class texts of both contexts.

    Args:
        text: unit embeddings of the global context; ``text_embeddings`` are these.
        local_text: unit embeddings of the local one.
    """

    CHUNK = 512
    LOCAL = True
    SCALE = 4.0

    def __init__(
        self, text: Float[Tensor, "classes dim"], local_text: Float[Tensor, "classes dim"]
    ) -> None:
        super().__init__()
        self.text = nn.Parameter(text, requires_grad=False)
        self.local_text = nn.Parameter(local_text, requires_grad=False)

    def text_embeddings(self) -> Float[Tensor, "classes dim"]:
        """Unit embeddings of the global context."""
        return self.text

    def scores(
        self,
        image_features: Float[Tensor, "images features dim"],
        text: Float[Tensor, "classes dim"],
    ) -> Float[Tensor, "images classes"]:
        """Scores of unit image features, the global one first, and these global texts."""
        features = image_features.float()
        cosines = features[:, 1:] @ self.local_text.T
        local = ((SHARPNESS * cosines).softmax(dim=1) * cosines).sum(dim=1)
        return GLOBAL_SHARE * features[:, 0] @ text.T + (1 - GLOBAL_SHARE) * local
