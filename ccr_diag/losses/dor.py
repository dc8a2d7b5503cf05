"""Dynamic outlier regularization: tuned embeddings of other nouns in, one number out.

    L_dor = 1 − (1/N) Σ_n cos(t_n, t⁰_n),    added to a loss as  L + λ·L_dor

t_n is the embedding of noun n under the learned context, t⁰_n its zero-shot embedding: where no
class is tuned, the context must say what CLIP said. The nouns are no base classes, but near them:
the K nouns of a list (``losses/nouns``) with the highest

    s_o = (1/C) Σ_c cos(t⁰_o, t⁰_c)

over the base classes c. N of them are drawn anew in each step. The paper has K = 5000 and λ = 8 for
CoOp, 2 for other frameworks; its N is not known here.

Source: Wang, Li, Wei, "Understanding and Mitigating Miscalibration in Prompt Tuning for
Vision-Language Models", ICML 2025, arXiv:2410.02681.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ccr_diag.backbone import Backbone
from ccr_diag.config import FinetuneConfig
from ccr_diag.data.class_names import prompt_name
from ccr_diag.errors import BadConfig, BadData
from ccr_diag.losses.kgcoop import cosine_distance
from ccr_diag.losses.nouns import WORDNET, read_nouns
from ccr_diag.prompts import PLACEHOLDER, ContextPrompts, zero_shot_embeddings
from ccr_diag.runs import cache_folder
from ccr_diag.text_feature_files import stored

BATCH = 512  # nouns encoded at once


class DORLoss(nn.Module):
    """The regularizer: call it with tuned and zero-shot embeddings of the same nouns.

    Args:
        prompts: of the nouns to draw from, with room for the learned context.
        zero_shot: t⁰ of these nouns.
        n_drawn: N; all nouns where there are fewer.
        seed: decides the draws, together with the step.

    Attributes:
        step: the number of the next draw in ``of_step``; to go on with an interrupted run, set it
            to the steps already done.

    Raises:
        BadConfig: N below 1, or another number of prompts than of embeddings.
    """

    zero_shot: Tensor

    def __init__(
        self,
        prompts: ContextPrompts,
        zero_shot: Float[Tensor, "nouns dim"],
        n_drawn: int = 64,
        seed: int = 1,
    ) -> None:
        super().__init__()
        if n_drawn < 1:
            raise BadConfig(f"DOR must draw 1 noun a step or more, but got {n_drawn}.")
        if len(prompts.ids) != len(zero_shot):
            raise BadConfig(
                f"DOR needs one embedding a noun, but got {len(zero_shot)} embeddings and "
                f"{len(prompts.ids)} prompts."
            )
        self.register_buffer("zero_shot", zero_shot.detach())
        self.prompts = prompts
        self.n_drawn, self.seed, self.step = min(n_drawn, len(zero_shot)), seed, 0

    @classmethod
    def from_config(
        cls,
        config: FinetuneConfig,
        backbone: Backbone,
        framework: nn.Module,
        class_names: Sequence[str],
        zero_shot: Float[Tensor, "classes dim"],
    ) -> "DORLoss":
        """The regularizer of a run; see ``REGULARIZERS``.

        Raises:
            BadData: a bad list of nouns, or one that holds none to draw.
        """
        path = Path(config.outliers) if config.outliers else WORDNET
        nouns = without_names(read_nouns(path), class_names)
        nouns = _fitting(backbone, nouns, len(framework.context))  # type: ignore[arg-type]
        if not nouns:
            raise BadData(
                f"DOR needs nouns that are no base class and fit beside the context, but {path} "
                "holds none."
            )
        embeddings = noun_embeddings(backbone, nouns)
        rows = nearest_rows(embeddings, zero_shot, config.top_outliers or len(nouns))
        prompts = framework.prompts_of([nouns[row] for row in rows.tolist()])  # type: ignore[operator]
        return cls(prompts, embeddings[rows], config.n_outliers, config.seed).to(backbone.device)

    def draw(self, step: int) -> Int[Tensor, " drawn"]:
        """Rows of the nouns of a step: N different ones, by (seed, step) alone."""
        generator = np.random.default_rng([self.seed, step])
        return torch.from_numpy(generator.choice(len(self.zero_shot), self.n_drawn, replace=False))

    def forward(
        self, tuned: Float[Tensor, "drawn dim"], zero_shot: Float[Tensor, "drawn dim"]
    ) -> Float[Tensor, ""]:
        """L_dor of these nouns."""
        return cosine_distance(tuned, zero_shot)

    def of_step(
        self,
        logits: Float[Tensor, "images classes"],
        labels: Int[Tensor, "images classes"],
        text: Tensor,
        framework: nn.Module,
    ) -> Float[Tensor, ""]:
        """L_dor in a training step, of the next draw, under the framework's learned context."""
        rows = self.draw(self.step).to(self.zero_shot.device)
        self.step += 1
        drawn = ContextPrompts(self.prompts.ids[rows], self.prompts.at[rows])
        tuned = framework.encode_names(drawn)  # type: ignore[operator]
        return self.forward(tuned, self.zero_shot[rows])


def _fitting(backbone: Backbone, nouns: Sequence[str], n_context: int) -> list[str]:
    """The nouns whose prompts the text tower takes whole."""
    room = " ".join([PLACEHOLDER] * n_context)
    too_long = backbone.too_long([f"{room} {prompt_name(noun)}." for noun in nouns])
    return [noun for noun, cut in zip(nouns, too_long.tolist(), strict=True) if not cut]


def noun_embeddings(backbone: Backbone, nouns: Sequence[str]) -> Float[Tensor, "nouns dim"]:
    """Zero-shot text embeddings, from the cache where they are there."""
    key = hashlib.sha256(repr((backbone.fingerprint, backbone.precision, list(nouns))).encode())
    starts = range(0, len(nouns), BATCH)
    return stored(
        cache_folder() / "features" / f"{key.hexdigest()}-nouns.npy",
        (zero_shot_embeddings(backbone, nouns[start : start + BATCH]) for start in starts),
    )


def without_names(nouns: Sequence[str], names: Sequence[str]) -> list[str]:
    """The nouns that are none of these names, whatever the case; underscores are spaces."""
    taken = {prompt_name(name).casefold() for name in names}
    return [noun for noun in nouns if prompt_name(noun).casefold() not in taken]


def nearest_rows(
    nouns: Float[Tensor, "nouns dim"], classes: Float[Tensor, "classes dim"], k: int
) -> Int[Tensor, " chosen"]:
    """Rows of the k nouns with the highest mean cosine to the classes, the highest first.

    Of equal ones the first comes first; all where there are fewer than k.
    """
    centre = F.normalize(classes.to(nouns)).mean(dim=0)
    return (F.normalize(nouns) @ centre).argsort(descending=True, stable=True)[:k]
