"""Class names → token ids: hand-written templates, and prompts with room for learned context."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ccr_diag.backbone import Backbone
from ccr_diag.config import Position as Position
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
    texts = [template.format(prompt_name(name)) for name in class_names]
    ids = backbone.tokenize(texts, class_names)
    return backbone.encode_text(ids).cpu()


@dataclass(frozen=True)
class ContextPrompts:
    """Token ids with placeholders for a learned context.

    Args:
        ids: token ids.
        at: positions of the context's tokens, in their order.
    """

    ids: Int[Tensor, "classes tokens"]
    at: Int[Tensor, "classes context"]


def context_prompts(
    backbone: Backbone,
    class_names: Sequence[str],
    n_context: int,
    position: Position = "end",
) -> ContextPrompts:
    """Prompts in which the class name is given and ``n_context`` tokens around it are learned.

        end      [v₁ … v_M] name .
        middle   [v₁ … v_⌊M/2⌋] name [v_⌊M/2⌋₊₁ … v_M] .
        front    name [v₁ … v_M] .

    Args:
        backbone: tokenizes.
        class_names: the classes.
        n_context: M.
        position: where the class name stands.

    Raises:
        BadData: a class name that does not fit beside the context.

    Source: CoOp, Zhou et al., 2022.
    """
    n_before = {"end": n_context, "middle": n_context // 2, "front": 0}[position]
    before, after = ([PLACEHOLDER] * n for n in (n_before, n_context - n_before))
    names = [prompt_name(name) for name in class_names]
    texts = [" ".join([*before, name, *after]) + "." for name in names]
    ids = backbone.tokenize(texts, class_names)
    start, order = _start(backbone), torch.arange(n_context, device=ids.device)
    skipped = _n_tokens(backbone, names)[:, None] * (order >= n_before)
    return ContextPrompts(ids, start + order + skipped)


def _n_tokens(backbone: Backbone, texts: Sequence[str]) -> Int[Tensor, " texts"]:
    """Number of tokens of each text, without those that the tower adds."""
    ids = backbone.tokenize([*texts, ""])
    columns = torch.arange(1, ids.shape[1] + 1, device=ids.device)
    lengths = (ids.ne(ids[-1, -1]) * columns).amax(dim=1)  # a padding id may also be a word
    return lengths[:-1] - lengths[-1]


def _start(backbone: Backbone) -> int:
    """Position of a text's first own token: the first column in which two words differ."""
    one, other = backbone.tokenize(["a", "the"])
    return int(one.ne(other).nonzero()[0])


@torch.no_grad()
def word_embeddings(backbone: Backbone, phrase: str) -> Float[Tensor, "tokens width"]:
    """Token embeddings of a phrase, to start a context from: as many rows as it has tokens."""
    at, n = _start(backbone), int(_n_tokens(backbone, [phrase]))
    if n == 0:
        raise BadConfig(
            f"The phrase that the context starts from must have words, but got {phrase!r}."
        )
    rows: Tensor = backbone.token_embedding(backbone.tokenize([phrase]))
    return rows[0, at : at + n].float().clone()
