"""DualCoOp: two contexts, for presence and absence (Sun et al., 2022, arXiv:2206.09541).

    s⁺_cj = cos(l_j, f_text([v⁺₁ … v⁺_M] c .))      l_j: feature of the image's position j
    s⁻_cj = cos(l_j, f_text([v⁻₁ … v⁻_M] c .))
    w_cj  = softmax_j(20·s⁺_cj)                      positions where the class seems to be
    s_c   = Σ_j w_cj·(s⁺_cj − s⁻_cj) / 2

The paper's probability is the softmax over the pair, σ(100·Σ_j w_cj·(s⁺_cj − s⁻_cj)) in the
authors' code (20·5, whatever the model's own scale). s_c is the score that the probability map
reads; halved, it lies in [−1, 1] as cosines do, and τ is 200, b is 0. Their learning rate is of
ASL's sum times 0.03; of the mean taken here (``losses.asl``) it makes smaller steps, for 32 images
of 80 classes 77 times.

Here positions are those of the image tower's last layer (``local_features``); the authors' code has
the mean of that layer's map as one more.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from ccr_diag.backbone import Backbone
from ccr_diag.config import FinetuneConfig
from ccr_diag.frameworks.coop import CoOp, start_context

SHARPNESS = 20.0


class DualCoOp(CoOp):
    """A context of presence, ``context``, and one of absence, ``negative``.

    ``text_embeddings`` are those of presence: what text geometry is measured on, text regularizers
    act on, and ``encode_names`` gives of other names.

    Args:
        backbone: the frozen CLIP, with local image features.
        class_names: the classes to score, in the order of the label matrix.
        config: as for CoOp, for both contexts; a random start draws each. From a phrase both start
            as one, with scores of 0.
    """

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "loss": "asl",
        "context_init": "",
        "n_context": 16,
        "epochs": 50,
        "batch_size": 32,
        "learning_rate": 2e-3,
    }
    CHUNK = 512  # the texts of absence are encoded once a chunk
    LOCAL = True
    SCALE = 200.0

    def __init__(
        self, backbone: Backbone, class_names: Sequence[str], config: FinetuneConfig
    ) -> None:
        super().__init__(backbone, class_names, config)
        self.negative = nn.Parameter(start_context(backbone, len(class_names), config, draw=1))

    def scores(
        self,
        image_features: Float[Tensor, "images features dim"],
        text: Float[Tensor, "classes dim"],
    ) -> Float[Tensor, "images classes"]:
        """Scores of unit image features and these embeddings of presence.

        The features of the positions come after the global one, which plays no part.
        """
        positions = image_features[:, 1:].float()
        present = positions @ text.T
        weights = (SHARPNESS * present).softmax(dim=1)
        absent = positions @ self.encode(self.negative).T
        return (weights * (present - absent)).sum(dim=1) / 2
