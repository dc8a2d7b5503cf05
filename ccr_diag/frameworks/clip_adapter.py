"""CLIP-Adapter: a bottleneck on the image features (Gao et al., 2021, arXiv:2110.04544).

    A(f) = ReLU(W₂·ReLU(W₁·f))           W₁: dim → dim/4, W₂: dim/4 → dim, without biases
    s_c(x) = cos(α·A(f) + (1 − α)·f, t_c)

The texts t are the hand-written prompts' and stay as they are. The last ReLU is in the authors'
code, not in the paper's formula. A is positively homogeneous, so it does not matter that f comes
here with unit length.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ccr_diag.backbone import Backbone
from ccr_diag.config import FinetuneConfig
from ccr_diag.frameworks.framework import Framework
from ccr_diag.prompts import zero_shot_embeddings

REDUCTION = 4


class ResidualAdapter(nn.Sequential):
    """The bottleneck A, mixed with what comes in.

    Args:
        dim: of the features.
        config: ``residual_ratio`` is α; ``seed`` starts the weights.
    """

    def __init__(self, dim: int, config: FinetuneConfig) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            super().__init__(
                nn.Linear(dim, max(dim // REDUCTION, 1), bias=False),
                nn.ReLU(),
                nn.Linear(max(dim // REDUCTION, 1), dim, bias=False),
                nn.ReLU(),
            )
        self.ratio = config.residual_ratio

    def forward(self, features: Float[Tensor, " *items dim"]) -> Float[Tensor, " *items dim"]:
        """Unit features."""
        changed: Tensor = super().forward(features)  # type: ignore[no-untyped-call]
        mixed = self.ratio * changed + (1 - self.ratio) * features
        return F.normalize(mixed, dim=-1)


class ClipAdapter(Framework):
    """The adapter of image features, before fixed class texts.

    Args:
        backbone: the frozen CLIP.
        class_names: the classes to score, in the order of the label matrix.
        config: ``residual_ratio`` is α; ``seed`` starts the adapter.
    """

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "epochs": 50,
        "batch_size": 32,
        "learning_rate": 2e-3,
        "residual_ratio": 0.2,
    }
    text: Tensor

    def __init__(
        self, backbone: Backbone, class_names: Sequence[str], config: FinetuneConfig
    ) -> None:
        super().__init__()
        text = zero_shot_embeddings(backbone, class_names).to(backbone.device)
        # Made of the names, so no part of what is learned and saved.
        self.register_buffer("text", text, persistent=False)
        self.adapter = ResidualAdapter(text.shape[1], config).to(backbone.device)

    def text_embeddings(self) -> Float[Tensor, "classes dim"]:
        """Unit embeddings of the hand-written prompts, the same before and after tuning."""
        return self.text

    def scores(
        self, image_features: Float[Tensor, "images dim"], text: Float[Tensor, "classes dim"]
    ) -> Float[Tensor, "images classes"]:
        """Cosines of adapted image features and unit text embeddings."""
        adapted: Tensor = self.adapter(image_features)
        return adapted @ text.T
