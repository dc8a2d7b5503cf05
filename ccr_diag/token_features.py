"""Token features: what a text tower says of each token of a text, in the space of the images.

    lⱼ = LN(xⱼ)·P        x: last block's tokens, LN, P: as for the pooled token

The pooled token's is the text's own feature. What stands after it stands for nothing: in a causal
tower no other token sees it, and its features here are zero, as are those of padding (id 0).

Source: Guo et al., 2023 (arXiv:2211.12739), which takes captions for images and tokens for
positions.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ccr_diag.causal_text import CausalTower

PADDING = 0


def encode_tokens(
    tower: CausalTower, ids: Int[Tensor, "texts tokens"]
) -> tuple[Float[Tensor, "texts dim"], Float[Tensor, "texts tokens dim"]]:
    """Features of texts and of their tokens, before they are made unit.

    Args:
        tower: of open_clip's own kind.
        ids: token ids, with no more columns than the tower has positions; columns that come after
            every text's pooled token may be left out.
    """
    n = ids.shape[1]
    x = tower.token_embedding(ids).to(tower.dtype) + tower.positional_embedding[:n].to(tower.dtype)
    mask = torch.full((n, n), -torch.inf, device=ids.device, dtype=tower.dtype).triu(1)
    x = tower.project(tower.ln_final(tower.transformer(x, attn_mask=mask)))
    pooled = tower.pooled_positions(ids)
    whole = x[torch.arange(len(ids), device=ids.device), pooled]
    return whole, x * _told(ids, pooled)[..., None]


def _told(
    ids: Int[Tensor, "texts tokens"], pooled: Int[Tensor, " texts"]
) -> Bool[Tensor, "texts tokens"]:
    """The tokens that are part of the text."""
    position = torch.arange(ids.shape[1], device=ids.device)
    at_end = position == pooled[:, None]
    return at_end | ((position < pooled[:, None]) & (ids != PADDING))
