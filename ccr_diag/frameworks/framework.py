"""What every tuning framework is: class text embeddings, and scores of images made with them."""

from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn


class Framework(nn.Module):
    """A module whose parameters are what is learned.

    Made as ``FRAMEWORKS[name](backbone, class_names, config)``: the frozen CLIP, the classes to
    score in the order of the label matrix, and the settings.

    Attributes:
        DEFAULTS: the settings of its paper, where they differ from ``FinetuneConfig``'s.
        CHUNK: images to score between two reports of progress; None where all are scored at once.
    """

    DEFAULTS: ClassVar[dict[str, Any]] = {}
    CHUNK: ClassVar[int | None] = None

    def text_embeddings(self) -> Float[Tensor, "classes dim"]:
        """Unit class text embeddings, differentiable in what is learned."""
        raise NotImplementedError

    def scores(
        self, image_features: Float[Tensor, "images dim"], text: Float[Tensor, "classes dim"]
    ) -> Float[Tensor, "images classes"]:
        """Cosines of unit image features and these, its own, class text embeddings."""
        return image_features @ text.T

    def forward(
        self, image_features: Float[Tensor, "images dim"]
    ) -> Float[Tensor, "images classes"]:
        """Scores of unit image features."""
        return self.scores(image_features, self.text_embeddings())
