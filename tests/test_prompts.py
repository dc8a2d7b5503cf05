import pytest
import torch

from ccr_diag.errors import BadConfig, BadData
from ccr_diag.prompts import context_prompts, word_embeddings, zero_shot_embeddings


def test_template_and_underscores(tiny_backbone):
    ours = zero_shot_embeddings(tiny_backbone, ["traffic_light"], "one {} here")
    ids = tiny_backbone.tokenizer(["one traffic light here"])
    expected = tiny_backbone.model.encode_text(ids, normalize=True)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)


def test_a_template_needs_its_place(tiny_backbone):
    with pytest.raises(BadConfig, match="must contain {} for the class name, but got 'a photo'"):
        zero_shot_embeddings(tiny_backbone, ["dog"], "a photo")


def test_context_stands_between_start_and_name(tiny_backbone):
    prompts = context_prompts(tiny_backbone, ["dog", "hot dog"], 3)
    tokenizer = tiny_backbone.tokenizer
    x, dog, hot, stop = (tokenizer.encode(w)[0] for w in ("X", "dog", "hot", "."))
    start, end = tokenizer.sot_token_id, tokenizer.eot_token_id
    assert prompts.at.tolist() == [[1, 2, 3]] * 2
    assert prompts.ids[0, :7].tolist() == [start, x, x, x, dog, stop, end]
    assert prompts.ids[1, :8].tolist() == [start, x, x, x, hot, dog, stop, end]


@pytest.mark.parametrize(
    ("position", "layout"),
    [("front", ["name", "XXXXX", "."]), ("middle", ["XX", "name", "XXX", "."])],
)
def test_context_stands_behind_or_around_the_name(tiny_backbone, position, layout):
    tokenizer = tiny_backbone.tokenizer
    names = ["dog", "X hot X", "!!! !"]  # names like placeholders, and like CLIP's padding
    prompts = context_prompts(tiny_backbone, names, 5, position)
    for name, ids, at in zip(names, prompts.ids.tolist(), prompts.at.tolist(), strict=True):
        words, places = [tokenizer.sot_token_id], []
        for part in layout:
            if part.startswith("X"):
                places += range(len(words), len(words) + len(part))
            words += tokenizer.encode(name if part == "name" else " ".join(part))
        assert at == places
        assert ids[: len(words) + 1] == [*words, tokenizer.eot_token_id]


def test_a_class_name_too_long_for_the_context_is_named(tiny_backbone):
    with pytest.raises(BadData, match="that of class '(dog ){5}dog' is longer; shorten"):
        context_prompts(tiny_backbone, ["cat", " ".join(["dog"] * 6)], 16)


def test_a_phrase_gives_one_row_a_token(tiny_backbone):
    rows = word_embeddings(tiny_backbone, "a photo of a")
    ids = tiny_backbone.tokenizer.encode("a photo of a")
    assert torch.equal(rows, tiny_backbone.token_embedding.weight[ids])
    with pytest.raises(BadConfig, match="must have words, but got ' '"):
        word_embeddings(tiny_backbone, " ")
