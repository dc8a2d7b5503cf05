"""Class names → token ids: hand-written templates, and prompts with room for learned context."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ccr_diag.backbone import Backbone
from ccr_diag.errors import BadConfig

TEMPLATE = "a photo of a {}."
PLACEHOLDER = "X"  # one token in CLIP's vocabulary; its embedding is replaced, its place matters


def prompt_name(class_name: str) -> str:
    """A class name as it stands in a sentence: underscores are spaces."""
    return class_name.replace("_", " ")


@torch.no_grad()
def zero_shot_embeddings(
    backbone: Backbone, class_names: Sequence[str], template: str = TEMPLATE
) -> Float[Tensor, "classes dim"]:
    """Unit text embeddings of the hand-written prompts.

    Raises:
        BadConfig: a template without ``{}``.
        BadData: a prompt longer than the text tower's context.
    """
    if "{}" not in template:
        raise BadConfig(f"A template must contain {{}} for the class name, but got {template!r}.")
    ids = backbone.tokenize([template.format(prompt_name(name)) for name in class_names])
    return backbone.encode_text(ids).cpu()


@dataclass(frozen=True)
class ContextPrompts:
    """Token ids ``[start] context… class name . [end]`` with placeholders for the context.

    Args:
        ids: (classes, tokens).
        at: position of the first context token: 1, or 0 for towers without a start token.
    """

    ids: Int[Tensor, "classes tokens"]
    at: int


def context_prompts(
    backbone: Backbone, class_names: Sequence[str], n_context: int
) -> ContextPrompts:
    """Prompts in which ``n_context`` tokens before the class name are learned.

    Source: CoOp, Zhou et al., 2022.

    Raises:
        BadData: a class name that does not fit beside the context.
    """
    context = " ".join([PLACEHOLDER] * n_context)
    ids = backbone.tokenize([f"{context} {prompt_name(name)}." for name in class_names])
    return ContextPrompts(ids, _start(backbone))


def _start(backbone: Backbone) -> int:
    """Position of a text's first own token: the first column in which two words differ."""
    one, other = backbone.tokenize(["a", "the"])
    return int(one.ne(other).nonzero()[0])


@torch.no_grad()
def word_embeddings(backbone: Backbone, phrase: str) -> Float[Tensor, "tokens width"]:
    """Token embeddings of a phrase, to start a context from: as many rows as it has tokens."""
    at = _start(backbone)
    ids, empty = backbone.tokenize([phrase, ""])
    padding = empty[-1]
    n = int(ids.ne(padding).sum() - empty.ne(padding).sum())
    if n == 0:
        raise BadConfig(
            f"The phrase that the context starts from must have words, but got {phrase!r}."
        )
    rows: Tensor = backbone.token_embedding(ids[None])
    return rows[0, at : at + n].float().clone()
