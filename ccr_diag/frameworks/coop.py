"""CoOp: a learned context around every class name (Zhou et al., 2022, arXiv:2109.01134).

    prompt of class c:  [v₁ … v_M] c .       score s_c(x) = cos(f_image(x), f_text(prompt of c))

Only the context v is learned. Shared by all classes, it also speaks of classes never seen in
tuning; class-specific, each class has its own, and a class without tuning keeps what it started
from.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ccr_diag.backbone import Backbone
from ccr_diag.config import FinetuneConfig
from ccr_diag.frameworks.framework import Framework
from ccr_diag.prompts import ContextPrompts, context_prompts, word_embeddings


class CoOp(Framework):
    """Context vectors, shared or a class's own.

    Args:
        backbone: the frozen CLIP.
        class_names: the classes to score, in the order of the label matrix.
        config: its ``context_init`` is a phrase to start from (its tokens give the number of
            vectors); if empty, ``n_context`` vectors start normal, sd 0.02, from ``seed``.
            ``position`` and ``class_specific`` say where they stand and whose they are.

    Raises:
        BadData: a class name that does not fit beside the context.
    """

    CLASS_SPECIFIC = True

    def __init__(
        self, backbone: Backbone, class_names: Sequence[str], config: FinetuneConfig
    ) -> None:
        super().__init__()
        start = start_context(backbone, len(class_names), config)
        self.context = nn.Parameter(start)
        self.backbone = backbone
        self.position = config.position
        prompts = self.prompts_of(class_names)
        self.encode = backbone.prompt_encoder(prompts.ids, prompts.at, config.class_specific)

    def text_embeddings(self) -> Float[Tensor, "classes dim"]:
        """Unit embeddings of the classes' prompts, differentiable in the context."""
        return self.encode(self.context)

    def prompts_of(self, names: Sequence[str]) -> ContextPrompts:
        """Prompts of any names with room for this context."""
        return context_prompts(self.backbone, names, self.context.shape[-2], self.position)

    def encode_names(self, prompts: ContextPrompts) -> Float[Tensor, "names dim"]:
        """Unit embeddings of other names under the learned context, which must be a shared one."""
        return self.backbone.prompt_encoder(prompts.ids, prompts.at)(self.context)


def start_context(
    backbone: Backbone, n_classes: int, config: FinetuneConfig, draw: int = 0
) -> Float[Tensor, "*classes context width"]:
    """What a context starts from.

    Args:
        backbone: the frozen CLIP.
        n_classes: the contexts to make, if each class has its own.
        config: says which start.
        draw: which of the random starts of this seed.
    """
    copies = [n_classes] if config.class_specific else []
    if config.context_init:
        phrase = word_embeddings(backbone, config.context_init)
        return phrase.expand(*copies, *phrase.shape).clone()
    width = word_embeddings(backbone, "a").shape[1]
    generator = torch.Generator().manual_seed(config.seed + 2**31 * draw)  # no other run's seed
    start = 0.02 * torch.randn(*copies, config.n_context, width, generator=generator)
    return start.to(backbone.device)
