"""What every tuning framework is: class text embeddings, and scores of images made with them."""

from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ccr_diag.progress import UnitProgress, silent

Examples = Literal["images", "captions", "images of captions"]


class Framework(nn.Module):
    """A module whose parameters are what is learned.

    Made as ``FRAMEWORKS[name](backbone, class_names, config)``: the frozen CLIP, the classes to
    score in the order of the label matrix, and the settings.

    Attributes:
        DEFAULTS: the settings of its paper, where they differ from ``FinetuneConfig``'s.
        CHUNK: images to score between two reports of progress; None where all are scored at once.
        LOCAL: whether it scores positions. Its image features are then (images, 1 + positions,
            dim), the global one first, in half precision; else (images, dim).
        SCALE: τ that its scores are made for; None where they are cosines, and τ the model's own.
        CLASS_SPECIFIC: whether it can learn a context of each class's own.
        TRAINED_ON: ``images`` with their labels; ``captions``, with the classes that they name; or
            ``images of captions``, with these.
    """

    DEFAULTS: ClassVar[dict[str, Any]] = {}
    CHUNK: ClassVar[int | None] = None
    LOCAL: ClassVar[bool] = False
    SCALE: ClassVar[float | None] = None
    CLASS_SPECIFIC: ClassVar[bool] = False
    TRAINED_ON: ClassVar[Examples] = "images"

    def text_embeddings(self) -> Float[Tensor, "classes dim"]:
        """Unit class text embeddings, differentiable in what is learned."""
        raise NotImplementedError

    def scores(
        self,
        image_features: Float[Tensor, "images *features dim"],
        text: Float[Tensor, "classes dim"],
    ) -> Float[Tensor, "images classes"]:
        """Cosines of unit image features and these, its own, class text embeddings."""
        return image_features @ text.T

    def forward(
        self, image_features: Float[Tensor, "images *features dim"]
    ) -> Float[Tensor, "images classes"]:
        """Scores of unit image features."""
        return self.scores(image_features, self.text_embeddings())

    def branches(
        self,
        features: Float[Tensor, "items *features dim"],
        text: Float[Tensor, "classes dim"],
    ) -> tuple[Float[Tensor, "items classes"], ...]:
        """What each term of the loss is taken of; the scores are their mean."""
        return (self.scores(features, text),)

    def own_term(self, text: Float[Tensor, "classes dim"]) -> Float[Tensor, ""]:
        """What its paper adds to any loss, of its own text embeddings; 0 for most."""
        return text.new_zeros(())

    @torch.no_grad()
    def scores_of_all(
        self,
        image_features: Float[Tensor, "images *features dim"],
        text: Float[Tensor, "classes dim"],
        progress: UnitProgress = silent,
    ) -> Float[Tensor, "images classes"]:
        """Scores without gradient, on the CPU, ``CHUNK`` images at a time.

        Args:
            image_features: unit image features.
            text: its class text embeddings.
            progress: told the images done and the images in all, if it has a ``CHUNK``.
        """
        device = next(self.parameters()).device
        text, parts, done = text.to(device), [], 0
        for rows in torch.split(image_features, self.CHUNK or len(image_features)):
            parts.append(self.scores(rows.to(device), text).float().cpu())
            done += len(rows)
            if self.CHUNK is not None:
                progress(done, len(image_features))
        return torch.cat(parts)
