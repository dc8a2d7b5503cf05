"""Token features against a tower's own output and a plain loop, and their file."""

import numpy as np
import pytest
import torch
from open_clip.transformer import text_global_pool
from tiny import write_tiny_clip
from torch.nn import functional as F

from ccr_diag.backbone import load_backbone
from ccr_diag.caption_features import caption_features
from ccr_diag.errors import BadConfig, BadData
from ccr_diag.token_features import encode_tokens

CAPTIONS = ["a dog", "two dogs and a wine glass on the street", "a"]


def slow_tokens(backbone, caption):
    """Every token's feature of one caption, from a hook on the tower's last normalisation."""
    kept = []
    handle = backbone.model.ln_final.register_forward_hook(lambda *args: kept.append(args[2]))
    ids = backbone.tokenizer([caption])
    with torch.no_grad():
        whole = backbone.model.encode_text(ids)
    handle.remove()
    return ids, whole, kept[0] @ backbone.model.text_projection


def test_tokens_are_projected_one_by_one_up_to_the_end(tiny_backbone):
    ids = tiny_backbone.tokenize(CAPTIONS)
    whole, tokens = encode_tokens(tiny_backbone.causal, ids)
    for i, caption in enumerate(CAPTIONS):
        own, expected_whole, expected = slow_tokens(tiny_backbone, caption)
        torch.testing.assert_close(whole[i], expected_whole[0], rtol=0, atol=1e-5)
        end = int(own.argmax())
        for j in range(own.shape[1]):
            blank = j > end or own[0, j] == 0
            row = torch.zeros(16) if blank else expected[0, j]
            torch.testing.assert_close(tokens[i, j], row, rtol=0, atol=1e-5)
        pooled = text_global_pool(expected, own, "argmax")
        torch.testing.assert_close(tokens[i, end], pooled[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("pool", ["argmax", "eos", "last"])
def test_columns_after_every_end_make_no_difference(tmp_path, pool):
    settings = {} if pool == "argmax" else {"pool_type": pool, "eos_id": 49407}
    backbone = load_backbone(write_tiny_clip(tmp_path / pool, **settings), device="cpu")
    ids = backbone.tokenize(CAPTIONS)
    whole, tokens = backbone.encode_tokens(ids)
    torch.testing.assert_close(whole, backbone.encode_text(ids).detach(), rtol=0, atol=1e-6)
    n = int(backbone.causal.pooled_positions(ids).max()) + 1
    assert (n < ids.shape[1]) == (pool != "last")
    fewer = backbone.encode_tokens(ids[:, :n])
    torch.testing.assert_close(fewer[0], whole, rtol=0, atol=1e-6)
    torch.testing.assert_close(fewer[1], tokens[:, :n], rtol=0, atol=1e-6)
    assert not tokens[:, n:].any()
    if n < ids.shape[1]:
        ids[:, -1] = 7  # no padding, but after the end
        assert not backbone.encode_tokens(ids)[1][:, -1].any()


def test_captions_are_kept_in_a_file_that_follows_their_texts(tiny_backbone, tmp_path):
    told = []
    found = caption_features(
        tiny_backbone, CAPTIONS, cache=tmp_path, batch_size=2, progress=lambda *at: told.append(at)
    )
    assert told == [(2, 3), (3, 3)]
    assert (found.dtype, found.shape[0], found.shape[2]) == (torch.float16, 3, 16)
    whole, tokens = tiny_backbone.encode_tokens(tiny_backbone.tokenize(CAPTIONS))
    expected = torch.cat([whole[:, None], tokens], dim=1)[:, : found.shape[1]]
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=1e-3)
    lengths = F.normalize(found.float(), dim=-1).norm(dim=-1)
    assert set(np.round(lengths.numpy().ravel(), 3)) == {0.0, 1.0}
    assert not (tokens[:, found.shape[1] - 1 :]).any()
    again = caption_features(tiny_backbone, CAPTIONS, cache=tmp_path)
    assert torch.equal(again, found)
    assert len(list(tmp_path.rglob("*.npy"))) == 1
    caption_features(tiny_backbone, CAPTIONS[::-1], cache=tmp_path)
    assert len(list(tmp_path.rglob("*.npy"))) == 2


def test_a_long_caption_and_a_tower_that_is_not_causal_are_refused(tmp_path, tiny_backbone):
    long = " ".join(["dog"] * 30)
    assert tiny_backbone.too_long([*CAPTIONS, long]).tolist() == [False] * 3 + [True]
    with pytest.raises(BadData, match="must fit the text tower's 24 tokens"):
        caption_features(tiny_backbone, [long], cache=tmp_path)
    name = write_tiny_clip(tmp_path / "clip", no_causal_mask=True)
    with pytest.raises(BadConfig, match=r"need a causal text tower .* learn from captions\."):
        caption_features(load_backbone(name, device="cpu"), CAPTIONS, cache=tmp_path)
    assert not list(tmp_path.rglob("*.npy"))
