"""Prompts with learned context → unit text embeddings: the quickest exact way, in bounded memory.

Three ways of one value and one gradient:

    whole     every tower: the context replaces embeddings on their way into ``model.encode_text``
    rows      causal towers: only the tokens that matter (``causal_text``)
    chunked   beyond ``CHUNK_ROWS`` tokens: a chunk's graph is dropped, and made again when the
              gradient comes to it (Gao et al., 2021, arXiv:2101.06983)
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ccr_diag.causal_text import CausalTower, Rows, encode_rows, find_rows

CHUNK_ROWS = 4096  # about 1 GB of graph at a width of 512 and 12 layers


@dataclass(frozen=True)
class TextTower:
    """A text encoder and how learned context gets into it.

    Args:
        model: has ``encode_text``.
        token_embedding: its module that turns token ids into vectors.
        causal: its parts, if its prompts need not be encoded whole.
        autocast: the precision, as a context manager that can be entered many times.
    """

    model: nn.Module
    token_embedding: nn.Module
    causal: CausalTower | None
    autocast: Callable[[], torch.autocast]


class PromptEncoder:
    """Encodes the same prompts again and again, with a context that changes.

    Args:
        tower: the frozen text tower.
        ids: token ids, with placeholders where the context goes.
        at: positions of the context's tokens; None for prompts without.
        specific: whether every prompt has a context of its own.
        chunk_rows: the most tokens that keep their graph.
    """

    def __init__(
        self,
        tower: TextTower,
        ids: Int[Tensor, "prompts tokens"],
        at: Int[Tensor, "prompts context"] | None = None,
        specific: bool = False,
        chunk_rows: int = CHUNK_ROWS,
    ) -> None:
        self.tower = tower
        self.n_vectors = 0 if at is None else at.numel() if specific else at.shape[1]
        vectors = torch.full_like(ids, -1)
        if at is not None:
            numbers = torch.arange(self.n_vectors, device=ids.device)
            each = numbers.reshape(-1, at.shape[1]).expand(at.shape)
            vectors.scatter_(1, at.to(ids.device), each)
        whole = self._chunk(ids, vectors)
        n_rows = ids.numel() if whole.rows is None else len(whole.rows.ids)
        n_chunks = min(ceil(n_rows / chunk_rows), len(ids))
        split = zip(ids.tensor_split(n_chunks), vectors.tensor_split(n_chunks), strict=True)
        self.chunks = [whole] if n_chunks == 1 else [self._chunk(*part) for part in split]

    def __call__(
        self, context: Float[Tensor, "*prompts context width"] | None = None
    ) -> Float[Tensor, "prompts dim"]:
        """Unit embeddings, float32, differentiable in the context.

        Raises:
            ValueError: a context of another size than the prompts have room for.
        """
        n_vectors = 0 if context is None else context.shape[:-1].numel()
        if n_vectors != self.n_vectors:
            raise ValueError(
                f"These prompts have places for {self.n_vectors} context vectors, "
                f"but got {n_vectors}."
            )
        *others, last = self.chunks
        features = [
            checkpoint(self._encode, chunk, context, use_reentrant=False, preserve_rng_state=False)
            for chunk in others
        ]
        features.append(self._encode(last, context))  # the gradient comes here first
        return F.normalize(torch.cat(features).float(), dim=-1)

    def _chunk(
        self, ids: Int[Tensor, "prompts tokens"], vectors: Int[Tensor, "prompts tokens"]
    ) -> "_Chunk":
        """What does not depend on the context."""
        causal = self.tower.causal
        learned = (vectors.flatten() >= 0).nonzero()[:, 0]
        return _Chunk(
            ids=ids,
            learned=learned,
            vectors=vectors.flatten()[learned],
            rows=None if causal is None else find_rows(causal, ids, vectors),
        )

    def _encode(
        self, chunk: "_Chunk", context: Float[Tensor, "*prompts context width"] | None
    ) -> Float[Tensor, "prompts dim"]:
        """Features before normalisation."""
        tower = self.tower
        with tower.autocast():
            if tower.causal is not None and chunk.rows is not None:
                return encode_rows(tower.causal, chunk.rows, context)
            with _replaced(tower.token_embedding, chunk, context):
                features: Tensor = tower.model.encode_text(chunk.ids)  # type: ignore[operator]
                return features


@dataclass(frozen=True)
class _Chunk:
    """Prompts that are encoded together.

    Args:
        ids: token ids.
        learned: tokens, numbered through all prompts, that are learned context.
        vectors: which of the flattened context's vectors each of them is.
        rows: the tokens that matter, if the tower is causal.
    """

    ids: Int[Tensor, "prompts tokens"]
    learned: Int[Tensor, " learned"]
    vectors: Int[Tensor, " learned"]
    rows: Rows | None


@contextmanager
def _replaced(
    embedding: nn.Module,
    chunk: _Chunk,
    context: Float[Tensor, "*prompts context width"] | None,
) -> Iterator[None]:
    """While open, the embeddings of the learned tokens are the context's vectors."""
    if context is None:
        yield
        return

    def replace(_module: nn.Module, _inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        learned = context.flatten(0, -2).index_select(0, chunk.vectors)
        tokens = output.flatten(0, 1).index_copy(0, chunk.learned, learned.to(output.dtype))
        return tokens.view_as(output)

    handle = embedding.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()
