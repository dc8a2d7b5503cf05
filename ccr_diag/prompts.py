"""Class names → token ids: hand-written templates, and prompts with room for learned context."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ccr_diag.backbone import Backbone
from ccr_diag.config import Position as Position
from ccr_diag.data.class_names import prompt_name
from ccr_diag.errors import BadConfig

TEMPLATE = "a photo of a {}."
PLACEHOLDER = "X"  # one token in CLIP's vocabulary; its embedding is replaced, its place matters


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


def over_long(
    backbone: Backbone, class_names: Sequence[str], template: str = TEMPLATE
) -> tuple[str, ...]:
    """The classes whose hand-written prompts the text tower would cut."""
    cut = backbone.too_long([template.format(prompt_name(name)) for name in class_names])
    return tuple(name for name, long in zip(class_names, cut.tolist(), strict=True) if long)


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
    opening = [" ".join([*before, name]) for name in names]  # a name's tokens may depend on a space
    skipped = (_n_tokens(backbone, opening) - n_before)[:, None] * (order >= n_before)
    at = start + order + skipped
    _check_places(backbone, ids.gather(1, at))
    return ContextPrompts(ids, at)


def _check_places(backbone: Backbone, found: Int[Tensor, "classes context"]) -> None:
    """The tokens to be replaced must be placeholders: at a text's start, or after a space."""
    start = _start(backbone)
    known = backbone.tokenize([f"{PLACEHOLDER} {PLACEHOLDER}"])[0, start : start + 2]
    if not torch.isin(found, known).all() or int(_n_tokens(backbone, [PLACEHOLDER])) != 1:
        raise BadConfig(
            f"A learned context needs a tokenizer to which {PLACEHOLDER!r} between spaces is one "
            f"token, but that of {backbone.name} splits or joins it; choose another model."
        )


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
