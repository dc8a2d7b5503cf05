"""Frozen features of captions: each goes through the text tower once, then lives in the cache.

In: a backbone and texts. Out: (captions, 1 + tokens, dim), float16, the feature of the whole text
first, as ``local_features`` has it of images; texts shorter than the longest end in zeros.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxtyping import Float, Int
from torch import Tensor

from ccr_diag.backbone import Backbone
from ccr_diag.local_features import Features
from ccr_diag.progress import UnitProgress, silent
from ccr_diag.runs import cache_folder
from ccr_diag.text_feature_files import stored_pairs


def caption_features(
    backbone: Backbone,
    captions: Sequence[str],
    *,
    cache: Path | None = None,
    batch_size: int = 256,
    progress: UnitProgress = silent,
) -> Float[Tensor, "captions features dim"]:
    """Unit embeddings of captions and of their tokens, read from their file as they are asked for.

    Args:
        backbone: the frozen CLIP.
        captions: none longer than its context.
        cache: folder of the cache, by default ``cache_folder()``.
        batch_size: captions a forward pass.
        progress: told the captions done and the captions in all.

    Raises:
        BadConfig: a text tower that is not causal.
        BadData: a caption longer than the context.
        RunFailed: the disk has no room for them.
    """
    key = hashlib.sha256(f"{backbone.fingerprint} {backbone.precision}".encode())
    for caption in captions:
        key.update(hashlib.sha256(caption.encode()).digest())
    path = (cache or cache_folder()) / "features" / f"{key.hexdigest()}-captions.npy"

    def encode() -> Iterator[Features]:
        ids = _told_columns(backbone, captions)
        for start in range(0, len(ids), batch_size):
            yield backbone.encode_tokens(ids[start : start + batch_size])
            progress(min(start + batch_size, len(ids)), len(ids))

    return stored_pairs(path, len(captions), encode)


def _told_columns(backbone: Backbone, captions: Sequence[str]) -> Int[Tensor, "captions tokens"]:
    """Token ids without the columns that come after the end of every caption."""
    ids = backbone.tokenize(captions)
    if backbone.causal is None:
        return ids
    return ids[:, : int(backbone.causal.pooled_positions(ids).max()) + 1]
