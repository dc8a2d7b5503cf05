"""Only the tokens that matter, and the same features and gradients as the whole tower's."""

import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ccr_diag.causal_text import causal_tower, encode_rows, find_rows
from ccr_diag.prompt_encoding import PromptEncoder, TextTower

VISION = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
LENGTH, VOCABULARY, END = 24, 40, 39  # the largest id ends a text, as in CLIP
POSITIONS = ("end", "middle", "front")


def make_model(kind=open_clip.CLIP, width=32, heads=2, layers=2, seed=0, quick_gelu=False, **text):
    """A random CLIP in which every part of the text tower counts."""
    sizes = {"context_length": LENGTH, "vocab_size": VOCABULARY, "width": width, "heads": heads}
    torch.manual_seed(seed)
    model = kind(16, VISION, sizes | {"layers": layers} | text, quick_gelu=quick_gelu)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter)) if parameter.ndim > 0 else None
    return model.eval().requires_grad_(False)


def make_prompts(n_prompts, n_context, position="end", seed=0):
    """Token ids of random names of one to four words, and where the context goes."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.zeros(n_prompts, LENGTH, dtype=torch.long)
    at = torch.empty(n_prompts, n_context, dtype=torch.long)
    before = {"end": n_context, "middle": n_context // 2, "front": 0}[position]
    for prompt in range(n_prompts):
        n_words = int(torch.randint(1, 5, (), generator=generator))
        name = torch.randint(3, END, (n_words,), generator=generator).tolist()
        tokens = [1, *[2] * before, *name, *[2] * (n_context - before), 3, END]
        ids[prompt, : len(tokens)] = torch.tensor(tokens)
        behind = torch.arange(n_context) >= before
        at[prompt] = 1 + torch.arange(n_context) + n_words * behind
    return ids, at


def text_tower(model, precision=torch.float32, whole=False):
    """The model's text tower; ``whole`` hides that it is causal."""
    return TextTower(
        model,
        getattr(model, "text", model).token_embedding,
        None if whole else causal_tower(model),
        lambda: torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16),
    )


def whole_prompts(model, ids, context, at):
    """Features from the definition: the model's own forward, all columns, embeddings written in."""
    embedding = getattr(model, "text", model).token_embedding

    def write(_module, _inputs, output):
        output = output.clone()
        for prompt in range(len(ids)):
            output[prompt, at[prompt]] = context if context.ndim == 2 else context[prompt]
        return output

    handle = embedding.register_forward_hook(write)
    try:
        return torch.nn.functional.normalize(model.encode_text(ids).float(), dim=-1)
    finally:
        handle.remove()


def values_and_gradient(encode, context, seed=0):
    """Features, and the context's gradient of a random sum of them."""
    context = context.clone().requires_grad_()
    features = encode(context)
    weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(seed))
    (features * weights).sum().backward()
    assert context.grad.norm() > 0
    return features.detach(), context.grad


def error(found, expected):
    """‖found − expected‖ / ‖expected‖."""
    return float((found - expected).norm() / expected.norm())


def assert_same(found, expected, tolerance):
    for one, other in zip(found, expected, strict=True):
        assert error(one, other) < tolerance


def random_context(at, width, specific, seed=0):
    shape = (*(at.shape if specific else at.shape[1:]), width)
    return 0.3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


towers = st.fixed_dictionaries(
    {
        "kind": st.sampled_from([open_clip.CLIP, open_clip.CustomTextCLIP]),
        "width": st.sampled_from([16, 32, 48]),
        "heads": st.sampled_from([1, 2, 4]),
        "layers": st.integers(1, 4),
        "quick_gelu": st.booleans(),
        "pool_type": st.sampled_from(["argmax", "eos", "last"]),
        "eos_id": st.sampled_from([END, 3]),  # 3 is also a word: its first place counts
        "proj_bias": st.booleans(),
        "proj_type": st.sampled_from(["linear", "none"]),
        "ls_init_value": st.sampled_from([None, 0.5]),
        "seed": st.integers(0, 5),
    }
)


@given(
    towers,
    st.integers(1, 40),
    st.integers(1, 12),
    st.sampled_from(POSITIONS),
    st.booleans(),
    st.sampled_from([1, 40, 100, 10_000]),
)
def test_rows_equal_the_whole_tower_in_value_and_gradient(
    settings, n_prompts, n_context, position, specific, chunk_rows
):
    model = make_model(**settings)
    ids, at = make_prompts(n_prompts, n_context, position, settings["seed"])
    context = random_context(at, settings["width"], specific)
    expected = values_and_gradient(lambda c: whole_prompts(model, ids, c, at), context)
    for whole in (False, True):
        tower = text_tower(model, whole=whole)
        assert (tower.causal is None) == whole
        encoder = PromptEncoder(tower, ids, at, specific, chunk_rows)
        assert_same(values_and_gradient(encoder, context), expected, 1e-5)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("specific", [False, True])
def test_chunked_equals_unchunked(specific, whole):
    model = make_model(width=48, heads=4, layers=4)
    ids, at = make_prompts(150, 6, "middle")
    context, tower = random_context(at, 48, specific), text_tower(model, whole=whole)
    one = PromptEncoder(tower, ids, at, specific)
    many = PromptEncoder(tower, ids, at, specific, chunk_rows=100)
    assert len(one.chunks) == 1
    assert len(many.chunks) > 10
    assert_same(values_and_gradient(many, context), values_and_gradient(one, context), 1e-6)


@pytest.mark.parametrize("whole", [False, True])
def test_only_the_last_chunk_keeps_its_graph(whole):
    model = make_model()
    ids, at = make_prompts(60, 6)
    context = random_context(at, 32, specific=False).requires_grad_()
    kept = {}
    for n_chunks in (1, 2, 6):
        saved = {}

        def pack(tensor, saved=saved):
            saved[tensor.data_ptr()] = tensor.numel()
            return tensor

        encoder = PromptEncoder(text_tower(model, whole=whole), ids, at)
        rows = ids.numel() if whole else len(encoder.chunks[0].rows.ids)
        encoder = PromptEncoder(encoder.tower, ids, at, chunk_rows=-(-rows // n_chunks))
        weights = {p.data_ptr() for p in model.parameters()}
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            encoder(context)
        kept[n_chunks] = sum(n for pointer, n in saved.items() if pointer not in weights)
    assert kept[2] < 0.7 * kept[1]
    assert kept[6] < 0.35 * kept[1]


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("specific", [False, True])
def test_bfloat16_errs_no_more_than_the_whole_tower_in_bfloat16(position, specific):
    model = make_model(width=64, heads=4, layers=4)
    ids, at = make_prompts(40, 6, position)
    context = random_context(at, 64, specific)
    exact = values_and_gradient(PromptEncoder(text_tower(model), ids, at, specific), context)
    rounded = [
        values_and_gradient(
            PromptEncoder(text_tower(model, torch.bfloat16, whole), ids, at, specific, 400), context
        )
        for whole in (False, True)
    ]
    for rows, whole, value in zip(*rounded, exact, strict=True):
        assert rows.dtype == torch.float32
        assert 1e-4 < error(rows, value) < 1.5 * error(whole, value) < 0.1


def test_the_prefix_is_computed_once_and_nothing_behind_the_end():
    tower = causal_tower(make_model())
    ids, at = make_prompts(30, 8)
    vectors = torch.full_like(ids, -1)
    shared = vectors.scatter(1, at, torch.arange(8).expand(30, -1))
    own = vectors.scatter(1, at, torch.arange(240).view(30, 8))
    lengths = ids.argmax(dim=1) + 1
    assert len(find_rows(tower, ids, shared).ids) == 9 + int((lengths - 9).sum())
    assert len(find_rows(tower, ids, own).ids) == 1 + int((lengths - 1).sum())
    assert len(find_rows(tower, ids, vectors).ids) == 9 + int((lengths - 9).sum())
    same = find_rows(tower, ids[:1].expand(30, -1), shared[:1].expand(30, -1))
    assert len(same.ids) == lengths[0] - 1 + 30  # a prompt's pooled token is always its own
    two = find_rows(tower, torch.tensor([[1, 5, 6, END], [1, 5, 7, END]]), vectors[:2, :4])
    assert two.ids.tolist() == [1, 5, 6, END, 7, END]
    assert two.positions.tolist() == [0, 1, 2, 3, 2, 3]


def test_every_query_may_see_a_key():  # or its softmax would be 0/0, also where it fills a bin
    tower = causal_tower(make_model())
    ids, _ = make_prompts(60, 3)
    ids[:, 0] = torch.arange(60) % 30  # no common start
    rows = find_rows(tower, ids, torch.full_like(ids, -1))
    for attention in (rows.every, rows.pooled):
        assert len(attention.places) < attention.queries.numel()  # some are filled
        assert attention.allowed.any(dim=-1).all()


@pytest.mark.parametrize("eos_id", [1, 38])  # the start token; none, which pools the first
def test_an_end_that_begins_the_text_leaves_one_token(eos_id):
    model = make_model(pool_type="eos", eos_id=eos_id)
    ids, at = make_prompts(9, 3)
    ids[ids == 38] = 37
    context = random_context(at, 32, specific=False)
    encode = PromptEncoder(text_tower(model), ids, at)
    assert len(encode.chunks[0].rows.ids) == 9
    assert error(encode(context), whole_prompts(model, ids, context, at)) < 1e-5


def test_each_prompt_is_blind_to_the_others():
    model = make_model()
    ids, at = make_prompts(25, 4)
    context = random_context(at, 32, specific=True).requires_grad_()
    features = PromptEncoder(text_tower(model), ids, at, specific=True)(context)
    (gradient,) = torch.autograd.grad(features[7, 0], context)
    assert gradient[7].abs().max() > 1e-4
    assert gradient[torch.arange(25) != 7].abs().max() == 0


def test_learned_weights_get_the_whole_towers_gradients():
    found = []
    for whole in (False, True):
        model = make_model(layers=3).requires_grad_()
        ids, _ = make_prompts(20, 2)
        words = torch.full_like(ids, -1)
        tower = causal_tower(model)
        features = (
            model.encode_text(ids)
            if whole
            else encode_rows(tower, find_rows(tower, ids, words), None)
        )
        (features * torch.arange(16)).sum().backward()
        names = [name for name, _ in model.named_parameters() if "visual" not in name]
        found.append({n: model.get_parameter(n).grad for n in names if "logit" not in n})
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "unlike",
    [
        {"pool_type": "first"},
        {"no_causal_mask": True},
        {"embed_cls": True},
        {"output_tokens": True},
        {"qk_norm": True},
        {"scale_attn": True},
        {"scaled_cosine_attn": True},
        {"block_type": "custom"},
    ],
)
def test_other_towers_are_encoded_whole(unlike):
    assert causal_tower(make_model(open_clip.CustomTextCLIP)) is not None
    assert causal_tower(make_model(open_clip.CustomTextCLIP, **unlike)) is None


def test_changed_towers_are_encoded_whole():
    class OwnForward(open_clip.CLIP):
        pass

    assert causal_tower(make_model(OwnForward)) is None
    for change in (
        lambda model: model.attn_mask[3, 5].zero_(),
        lambda model: setattr(model.transformer.resblocks[1], "attn", torch.nn.Identity()),
        lambda model: setattr(model.transformer.resblocks[0].attn, "dropout", 0.1),
        lambda model: setattr(model.transformer.resblocks[0].attn, "add_zero_attn", True),
        lambda model: model.transformer.resblocks.append(torch.nn.Identity()),
    ):
        model = make_model()
        assert causal_tower(model) is not None
        change(model)
        assert causal_tower(model) is None


def test_the_hook_is_gone_after_use_and_after_an_error():
    model = make_model()
    ids, at = make_prompts(5, 3)
    before = model.encode_text(ids)
    encode = PromptEncoder(text_tower(model, whole=True), ids, at)
    encode(random_context(at, 32, specific=False))
    with pytest.raises(RuntimeError):
        encode(random_context(at, 31, specific=False))
    assert torch.equal(model.encode_text(ids), before)


@pytest.mark.parametrize("n_context", [0, 2, 4])
def test_a_context_of_another_length_is_refused(n_context):
    ids, at = make_prompts(5, 3)
    encode = PromptEncoder(text_tower(make_model()), ids, at)
    with pytest.raises(ValueError, match=f"places for 3 context vectors, but got {n_context}."):
        encode(torch.zeros(n_context, 32) if n_context else None)


@pytest.mark.gpu
@pytest.mark.parametrize("specific", [False, True])
def test_rows_equal_the_whole_tower_on_a_gpu(specific):
    model = make_model(width=64, heads=4, layers=4).to("cuda")
    ids, at = (t.to("cuda") for t in make_prompts(100, 6, "middle"))
    context = random_context(at.cpu(), 64, specific).to("cuda").requires_grad_()
    weights = torch.randn(100, 16, generator=torch.Generator().manual_seed(0)).to("cuda")
    found = []
    for whole in (False, True):
        features = PromptEncoder(text_tower(model, whole=whole), ids, at, specific, 500)(context)
        found.append((features, *torch.autograd.grad((features * weights).sum(), context)))
    assert_same(*found, 1e-5)
