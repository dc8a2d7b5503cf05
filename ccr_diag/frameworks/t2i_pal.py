"""T2I-PAL: images made from captions in place of photos (Feng et al., 2025, arXiv:2506.10575).

    A(f)  = unit(α·ReLU(W₂·ReLU(W₁·f)) + (1 − α)·f)
    g_c   = cos(A(f), f_text([v₁ … v_M] c .))    f: global feature of the image
    a_cj  = cos(A(l_j), f_text([u₁ … u_M] c .))  l_j: of its position j
    H_cj  = softmax_j(κ·a_cj)                    heatmap of class c, κ = 40
    s_c   = (g_c + Σ_j H_cj·a_cj) / 2

Learned are both contexts and the adapter. Training images are synthetic, made from captions by a
text-to-image model; their labels are the classes that the captions name.

There is no public code. The paper's words are kept: captions filtered by nouns, images generated
from them, frozen towers, global and local features, class-wise heatmaps, prototypes that are
learned, prompts and adapter together, what is learned mixed with what was known by α. Our reading:
the prototypes are the local texts, learned through their context, so that they exist for new
classes; the heatmap is TaI-DPT's, the adapter CLIP-Adapter's, one for all features; the captions
themselves are no training examples; loss, scale and optimizer are TaI-DPT's, batch and α
CLIP-Adapter's.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from ccr_diag.backbone import Backbone
from ccr_diag.config import FinetuneConfig
from ccr_diag.frameworks.clip_adapter import ResidualAdapter
from ccr_diag.frameworks.tai_dpt import TaIDPT


class T2IPAL(TaIDPT):
    """TaI-DPT's contexts before adapted features of synthetic images.

    Args:
        backbone: the frozen CLIP, with local image features.
        class_names: the classes to score, in the order of the label matrix.
        config: as for TaI-DPT; ``residual_ratio`` is α.
    """

    DEFAULTS: ClassVar[dict[str, Any]] = {
        **TaIDPT.DEFAULTS,
        "batch_size": 32,
        "residual_ratio": 0.2,
    }
    SHARPNESS = 40.0, 40.0
    TRAINED_ON = "images of captions"

    def __init__(
        self, backbone: Backbone, class_names: Sequence[str], config: FinetuneConfig
    ) -> None:
        super().__init__(backbone, class_names, config)
        dim = backbone.encode_text(backbone.tokenize(["a"])).shape[1]
        self.adapter = ResidualAdapter(dim, config).to(backbone.device)

    def branches(
        self, features: Float[Tensor, "items features dim"], text: Float[Tensor, "classes dim"]
    ) -> tuple[Float[Tensor, "items classes"], ...]:
        """Cosines of the adapted image, and of its adapted positions under the heatmaps."""
        return super().branches(self.adapter(features.float()), text)
