"""CoCoOp: a context that each image shifts (Zhou et al., 2022, arXiv:2203.05557).

    π(x) = W₂·ReLU(W₁·f(x) + b₁) + b₂      f(x): unit image feature, W₁: dim → dim/16
    s_c(x) = cos(f(x), f_text([v₁ + π(x) … v_M + π(x)] c .))

Context v and meta-net π are learned. Every image has class texts of its own, so the cost is images
× classes texts, in tuning and in prediction: the paper's batch is a single image.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ccr_diag.backbone import Backbone
from ccr_diag.config import FinetuneConfig
from ccr_diag.frameworks.coop import CoOp

REDUCTION = 16


class CoCoOp(CoOp):
    """A shared context and the meta-net that shifts it.

    ``text_embeddings`` are those of the context without a shift: what text geometry is measured on
    and text regularizers act on. The scores never use them.

    Args:
        backbone: the frozen CLIP.
        class_names: the classes to score, in the order of the label matrix.
        config: as for CoOp, with a shared context; ``seed`` also starts the meta-net.
    """

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "context_init": "a photo of a",
        "n_context": 4,
        "epochs": 10,
        "batch_size": 1,
        "learning_rate": 2e-3,
    }
    CHUNK = 64
    CLASS_SPECIFIC = False

    def __init__(
        self, backbone: Backbone, class_names: Sequence[str], config: FinetuneConfig
    ) -> None:
        super().__init__(backbone, class_names, config)
        dim, width = backbone.encode_text(backbone.tokenize(["a"])).shape[1], self.context.shape[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            meta_net = nn.Sequential(
                nn.Linear(dim, max(dim // REDUCTION, 1)),
                nn.ReLU(),
                nn.Linear(max(dim // REDUCTION, 1), width),
            )
        self.meta_net = meta_net.to(backbone.device)

    def scores(
        self,
        image_features: Float[Tensor, "images dim"],
        text: Float[Tensor, "classes dim"] | None = None,
    ) -> Float[Tensor, "images classes"]:
        """Cosines of unit image features and the class texts of each; ``text`` plays no part.

        Image by image, as all prompts of an image share its context, which is then encoded once.
        Only the last image's graph is kept; the others are made again when the gradient comes.
        """
        *others, last = zip(self.meta_net(image_features), image_features, strict=True)
        rows = [
            checkpoint(self._row, *image, use_reentrant=False, preserve_rng_state=False)
            for image in others
        ]
        rows.append(self._row(*last))  # the gradient comes here first
        return torch.stack(rows)

    def _row(
        self, shift: Float[Tensor, " width"], image_feature: Float[Tensor, " dim"]
    ) -> Float[Tensor, " classes"]:
        """Scores of one image."""
        return self.encode(self.context + shift) @ image_feature

    def forward(
        self, image_features: Float[Tensor, "images dim"]
    ) -> Float[Tensor, "images classes"]:
        """Scores of unit image features."""
        return self.scores(image_features)
