"""A causal text tower without the work that cannot matter.

In a causal tower a token sees only itself and what stands before it. So of a batch of prompts only
these tokens, the rows, are computed; every linear layer sees them as one matrix:

    prefix | rest of prompt 0 … pooled | rest of prompt 1 … pooled | …

The prefix is what all prompts begin with (start token, shared context): it has the same keys and
values in each of them. Nothing after a prompt's pooled token is seen by it. In the last block only
the pooled tokens ask; all others have given their keys and values.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from open_clip import CLIP, CustomTextCLIP
from open_clip.transformer import ResidualAttentionBlock, TextTransformer, Transformer
from torch import Tensor, nn
from torch.nn import functional as F

BIN_ROWS = 32  # rows that share one matrix of attention; more is more masked work


@dataclass(frozen=True)
class CausalTower:
    """The parts of a causal text tower, from open_clip's own modules.

    Args:
        transformer: its ``resblocks`` are attention blocks, first to last.
        pool_type: ``argmax`` (the largest id), ``eos`` (the first end token) or ``last``.
        eos_id: the end token of ``eos``.
    """

    token_embedding: nn.Embedding
    positional_embedding: Float[Tensor, "tokens width"]
    transformer: Transformer
    ln_final: nn.Module
    text_projection: nn.Linear | Float[Tensor, "width dim"] | None
    pool_type: str
    eos_id: int

    @property
    def blocks(self) -> nn.ModuleList:
        """Attention blocks, first to last."""
        found: nn.ModuleList = self.transformer.resblocks
        return found

    @property
    def dtype(self) -> torch.dtype:
        """What the blocks take."""
        weights: Any = self.blocks[0]
        return weights.get_weight_dtype()  # type: ignore[no-any-return]

    def pooled_positions(self, ids: Int[Tensor, "prompts tokens"]) -> Int[Tensor, " prompts"]:
        """Position of the token whose features stand for the prompt."""
        if self.pool_type == "last":
            return torch.full_like(ids[:, 0], ids.shape[1] - 1)
        if self.pool_type == "argmax":  # the end token of CLIP's vocabulary has the largest id
            return ids.argmax(dim=1)
        return (ids == self.eos_id).int().argmax(dim=1)

    def project(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows dim"]:
        """Normalised tokens in the space of the images."""
        projection = self.text_projection
        if projection is None:
            return x
        found: Tensor = projection(x) if isinstance(projection, nn.Linear) else x @ projection
        return found


def causal_tower(model: nn.Module) -> CausalTower | None:
    """The model's text tower, or None if it is of a kind that ``encode_rows`` does not know."""
    text: Any = getattr(model, "text", model)
    if type(model) is CLIP:
        pool_type, eos_id = text.text_pool_type, text.text_eos_id
    elif type(model) is CustomTextCLIP and type(text) is TextTransformer:
        pool_type, eos_id = text.pool_type, text.eos_id
    else:
        return None
    mask: Tensor | None = text.attn_mask
    if (
        getattr(text, "cls_emb", None) is not None
        or getattr(text, "output_tokens", False)
        or pool_type not in ("argmax", "eos", "last")
        or mask is None
        or not torch.equal(mask, torch.full_like(mask, -torch.inf).triu(1))
        or type(text.transformer) is not Transformer
        or not all(_is_plain(block) for block in text.transformer.resblocks)
    ):
        return None
    return CausalTower(
        text.token_embedding,
        text.positional_embedding,
        text.transformer,
        text.ln_final,
        text.text_projection,
        pool_type,
        eos_id,
    )


def _is_plain(block: nn.Module) -> bool:
    """Whether a block's only mixing of tokens is multi-head attention as torch has it."""
    return (
        type(block) is ResidualAttentionBlock
        and not hasattr(block, "ln_1_kv")
        and type(attention := block.attn) is nn.MultiheadAttention
        and attention.in_proj_weight is not None
        and attention.in_proj_bias is not None
        and attention.bias_k is None
        and not attention.add_zero_attn
        and attention.dropout == 0
    )


@dataclass(frozen=True)
class Attention:
    """Which rows ask which: prompts beside each other in bins, so that few pairs are masked.

    Args:
        asking: the rows that ask, ascending; None for all.
        queries: numbers of asking rows, by bin; filled up with rows of other bins.
        keys: rows that are asked, by bin: the prefix, then the bin's own.
        allowed: whether a query may see a key.
        places: where in the flattened ``queries`` each asking row stands.
    """

    asking: Int[Tensor, " asking"] | None
    queries: Int[Tensor, "bins queries"]
    keys: Int[Tensor, "bins keys"]
    allowed: Bool[Tensor, "bins 1 queries keys"]
    places: Int[Tensor, " asking"]


@dataclass(frozen=True)
class Rows:
    """The tokens of a batch of prompts that have to be computed.

    Args:
        ids: token ids.
        positions: positions in their prompts.
        learned: rows that are learned context, not words.
        vectors: which of the flattened context's vectors each of them is.
        every: attention of all rows.
        pooled: attention of the pooled rows, one for each prompt.
    """

    ids: Int[Tensor, " rows"]
    positions: Int[Tensor, " rows"]
    learned: Int[Tensor, " learned"]
    vectors: Int[Tensor, " learned"]
    every: Attention
    pooled: Attention


def find_rows(
    tower: CausalTower,
    ids: Int[Tensor, "prompts tokens"],
    vectors: Int[Tensor, "prompts tokens"],
) -> Rows:
    """The rows of a batch of prompts, on the device of ``ids``.

    Args:
        tower: says which token is pooled.
        ids: token ids; where the context goes, any that is not the one to be pooled.
        vectors: which of the flattened context's vectors stands at a place; −1 for a word.
    """
    device, ids, vectors = ids.device, ids.cpu(), vectors.cpu()
    ends, columns = tower.pooled_positions(ids), torch.arange(ids.shape[1])
    common = (vectors == vectors[:1]) & ((vectors >= 0) | (ids == ids[:1]))
    prefix = min(int(common.all(dim=0).cumprod(0).sum()), int(ends.min()))
    needed = (columns >= prefix) & (columns <= ends[:, None])
    needed[0] |= columns < prefix
    prompts, positions = needed.nonzero(as_tuple=True)
    vectors = vectors[needed]
    lengths = needed.sum(dim=1)
    stops = lengths.cumsum(0)
    starts = (stops - lengths) // BIN_ROWS
    bins = (starts.diff(prepend=starts[:1]) > 0).cumsum(0)
    every = torch.arange(len(prompts))
    learned = (vectors >= 0).nonzero()[:, 0]
    return Rows(
        ids=ids[needed].to(device),
        positions=positions.to(device),
        learned=learned.to(device),
        vectors=vectors[learned].to(device),
        every=_attention(every, bins[prompts], prompts, positions, prefix, device),
        pooled=_attention(stops - 1, bins[prompts], prompts, positions, prefix, device),
    )


def _attention(
    asking: Int[Tensor, " asking"],
    bins: Int[Tensor, " rows"],
    prompts: Int[Tensor, " rows"],
    positions: Int[Tensor, " rows"],
    prefix: int,
    device: torch.device,
) -> Attention:
    """Attention of the asking rows, given every row's bin, prompt and position."""
    queries, is_query = _by_bin(bins[asking])
    own, is_own = _by_bin(bins)
    shared = torch.arange(prefix).expand(len(own), -1)
    keys = torch.cat([shared, own], dim=1)
    visible = torch.cat([shared >= 0, is_own & (own >= prefix)], dim=1)
    query, key = asking[queries][:, :, None], keys[:, None, :]
    allowed = (
        visible[:, None, :]
        & ((key < prefix) | (prompts[key] == prompts[query]))
        & (positions[key] <= positions[query])
    )
    allowed |= ~is_query[:, :, None]  # a row that sees nothing would be not a number
    return Attention(
        asking=None if len(asking) == len(bins) else asking.to(device),
        queries=queries.to(device),
        keys=keys.to(device),
        allowed=allowed[:, None].to(device),
        places=is_query.flatten().nonzero()[:, 0].to(device),
    )


def _by_bin(
    bins: Int[Tensor, " items"],
) -> tuple[Int[Tensor, "bins most"], Bool[Tensor, "bins most"]]:
    """Item numbers as a table with a line for each bin, and which of its entries are real."""
    counts = bins.bincount()
    columns = torch.arange(int(counts.max()))
    numbers = (counts.cumsum(0) - counts)[:, None] + columns
    return numbers.clamp(max=len(bins) - 1), columns < counts[:, None]


def encode_rows(
    tower: CausalTower, rows: Rows, context: Float[Tensor, "*classes context width"] | None
) -> Float[Tensor, "prompts dim"]:
    """Features of the prompts before normalisation, as the tower's own forward gives them."""
    x: Tensor = tower.token_embedding(rows.ids)
    if context is not None:
        learned = context.flatten(0, -2).index_select(0, rows.vectors)
        x = x.index_copy(0, rows.learned, learned.to(x.dtype))
    dtype = tower.dtype
    x = x.to(dtype) + tower.positional_embedding.index_select(0, rows.positions).to(dtype)
    for block in tower.blocks[:-1]:
        x = _block(block, x, rows.every)
    return tower.project(tower.ln_final(_block(tower.blocks[-1], x, rows.pooled)))


def _block(
    block: ResidualAttentionBlock, x: Float[Tensor, "rows width"], attention: Attention
) -> Float[Tensor, "asking width"]:
    """Attention, then the MLP, each added to its input; of the asking rows."""
    normed = block.ln_1(x)
    asking = normed
    if attention.asking is not None:
        x, asking = (t.index_select(0, attention.asking) for t in (x, normed))
    x = x + block.ls_1(_attend(block.attn, asking, normed, attention))
    found: Tensor = x + block.ls_2(block.mlp(block.ln_2(x)))
    return found


def _attend(
    module: nn.MultiheadAttention,
    asking: Float[Tensor, "asking width"],
    asked: Float[Tensor, "rows width"],
    attention: Attention,
) -> Float[Tensor, "asking width"]:
    """softmax(q·kᵀ/√d) v of every head, and the projection of the heads together."""
    width, n = asked.shape[1], module.num_heads
    w, b = module.in_proj_weight, module.in_proj_bias
    q = _rows_of_bins(F.linear(asking, w[:width], b[:width]), attention.queries)
    k, v = _rows_of_bins(F.linear(asked, w[width:], b[width:]), attention.keys).chunk(2, dim=-1)
    q, k, v = (_split_heads(x, n) for x in (q, k, v))
    mixed = F.scaled_dot_product_attention(q, k, v, attention.allowed)
    mixed = mixed.transpose(1, 2).flatten(2).flatten(0, 1).index_select(0, attention.places)
    return F.linear(mixed, module.out_proj.weight, module.out_proj.bias)


def _rows_of_bins(
    x: Float[Tensor, "rows width"], numbers: Int[Tensor, "bins most"]
) -> Float[Tensor, "bins most width"]:
    """The rows with these numbers."""
    return x.index_select(0, numbers.flatten()).view(*numbers.shape, -1)


def _split_heads(
    x: Float[Tensor, "bins rows width"], heads: int
) -> Float[Tensor, "bins heads rows {x.shape[2]//heads}"]:
    """Each head's share of the width."""
    return x.view(*x.shape[:-1], heads, -1).transpose(1, 2)
