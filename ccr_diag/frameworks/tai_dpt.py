"""TaI-DPT: captions in place of training images (Guo et al., 2023, arXiv:2211.12739).

    g_c  = cos(h, f_text([v₁ … v_M] c .))        h: feature of a caption, in tests of an image
    a_cj = cos(h_j, f_text([u₁ … u_M] c .))      h_j: of its token j, in tests of its position j
    l_c  = Σ_j softmax_j(κ·a_cj)·a_cj            κ: 50 for tokens, 40 for positions
    s_c  = (g_c + l_c) / 2

Both contexts are learned, v from g and u from l: the loss is taken of each, and added up. Labels
are the classes that a caption names. The published logit is 4·s_c, without a bias.

The authors' code takes COCO's captions, their tokens with start and end among them, for ResNet-50,
whose attention pool then does without its positional embedding; here features of positions are
those of ``local_features``. It takes the images of NUS-WIDE at κ = 4, adds single names in
templates to its captions, calls a class by its first synonym, and chooses the epoch on test images;
here names are the data set's, and the last epoch stands.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ccr_diag.backbone import Backbone
from ccr_diag.config import FinetuneConfig
from ccr_diag.frameworks.coop import CoOp, start_context
from ccr_diag.frameworks.framework import Examples


class TaIDPT(CoOp):
    """A context of the whole, ``context``, and one of positions, ``local_context``.

    ``text_embeddings`` are those of the whole: what text geometry is measured on, text regularizers
    act on, and ``encode_names`` gives of other names. In training mode it scores captions, else
    images.

    Args:
        backbone: the frozen CLIP, with local image features.
        class_names: the classes to score, in the order of the label matrix.
        config: as for CoOp, for both contexts; a random start draws each.
    """

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "loss": "ranking",
        "context_init": "",
        "n_context": 16,
        "shots": 0,
        "epochs": 20,
        "batch_size": 512,
        "learning_rate": 1e-4,
    }
    SHARPNESS: ClassVar[tuple[float, float]] = 50.0, 40.0  # κ in training and in tests
    CHUNK = 512  # the local texts are encoded once a chunk
    LOCAL = True
    SCALE = 4.0
    TRAINED_ON: ClassVar[Examples] = "captions"

    def __init__(
        self, backbone: Backbone, class_names: Sequence[str], config: FinetuneConfig
    ) -> None:
        super().__init__(backbone, class_names, config)
        start = start_context(backbone, len(class_names), config, draw=1)
        self.local_context = nn.Parameter(start)

    def branches(
        self, features: Float[Tensor, "items features dim"], text: Float[Tensor, "classes dim"]
    ) -> tuple[Float[Tensor, "items classes"], ...]:
        """Cosines g of the whole and l of its parts.

        Args:
            features: unit features, the global one first; parts of zeros stand for nothing.
            text: unit embeddings of the classes in the context of the whole.
        """
        whole, parts = features[:, 0].float(), features[:, 1:].float()
        cosines = parts @ self.encode(self.local_context).T
        sharpness = self.SHARPNESS[0 if self.training else 1]
        nothing = ~parts.any(dim=-1, keepdim=True)
        least = torch.finfo(cosines.dtype).min  # not −∞, of which a softmax would be no number
        weights = (sharpness * cosines).masked_fill(nothing, least).softmax(dim=1)
        return whole @ text.T, (weights * cosines).sum(dim=1)

    def scores(
        self,
        image_features: Float[Tensor, "items features dim"],
        text: Float[Tensor, "classes dim"],
    ) -> Float[Tensor, "items classes"]:
        """The mean of both branches."""
        return torch.stack(self.branches(image_features, text)).mean(dim=0)
