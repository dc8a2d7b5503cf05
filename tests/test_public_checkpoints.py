"""Public prompt-tuning files, in their real layouts: what they hold, and what comes of it."""

import os
from collections import OrderedDict

import pytest
import torch
from test_torch_files import FORMATS, Call, dassl_dict, save
from torch import nn

from ccr_diag.errors import BadCheckpoint, BadData
from ccr_diag.prompts import context_prompts, word_embeddings
from ccr_diag.public_checkpoints import class_text_embeddings, read_public_checkpoint

NAMES = ("dog", "hot_dog", "traffic light")
WIDTH = 32  # of the tiny text tower


def vectors(*shape, seed=0):
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def words(n_context, n_classes=3, suffix=""):
    """The fixed tensors that prompt learners save beside their contexts."""
    return {
        f"token_prefix{suffix}": vectors(n_classes, 1, WIDTH),
        f"token_suffix{suffix}": vectors(n_classes, 23 - n_context, WIDTH),
    }


def dassl(path, kind="archive", parameters=None, **tensors):
    """A file of Dassl: learned tensors have gone through a real optimizer and scheduler."""
    content = dassl_dict(**tensors)
    content["state_dict"] = OrderedDict(tensors | (parameters or {}))
    return save(content, path, kind)


def coop(path, shape=(4, WIDTH), kind="archive"):
    return dassl(path, kind, words(shape[-2]), ctx=vectors(*shape).half())


def tai_dpt(path, kind="archive"):
    numbers = {"temperature": 3.0, "spatial_T": 3.0, "ranking_scale": 4.0}
    fixed = words(4) | {"token_suffix_nocls": vectors(3, 20, WIDTH)}
    fixed |= {key: torch.tensor(value) for key, value in numbers.items()}
    ctx, ctx_double = vectors(4, WIDTH), vectors(4, WIDTH, seed=1)
    return dassl(path, kind, fixed, ctx=ctx, ctx_double=ctx_double)


def dualcoop(path, kind="archive", prefix="module.", classes=(), tower=True):
    """The whole model, as its training script saves it under DataParallel."""
    learned = {
        "ctx_pos": vectors(*classes, 4, WIDTH),
        "ctx_neg": vectors(*classes, 6, WIDTH, seed=1),
    }
    fixed = words(4, suffix="_pos") | words(6, suffix="_neg")
    fixed["tokenized_prompts"] = torch.zeros(6, 24, dtype=torch.long)
    state = {f"prompt_learner.{k}": v for k, v in (learned | fixed).items()}
    if tower:
        for name in ("image_encoder", "text_encoder"):
            layer = nn.Sequential(nn.Linear(5, 5), nn.BatchNorm1d(5)).state_dict()
            state |= {f"{name}.{k}": v for k, v in layer.items()}
    content = dassl_dict(**learned)
    content["state_dict"] = OrderedDict((prefix + k, v) for k, v in state.items())
    content |= {"arch": "rn101", "best_mAP": 81.5}
    return save(content, path, kind)


def cocoop(path, **changes):
    layers = {
        "linear1.weight": vectors(2, 16),
        "linear1.bias": vectors(2),
        "linear2.weight": vectors(WIDTH, 2),
        "linear2.bias": vectors(WIDTH),
    } | changes
    fixed = {f"meta_net.{k}": v.half() for k, v in layers.items() if v is not None}
    return dassl(path, parameters=words(4) | fixed, ctx=vectors(4, WIDTH))


def plain_text(backbone, names, context):
    """CoOp's own way: start, context, name and stop, through the whole tower."""
    prompts = context_prompts(backbone, names, context.shape[-2])
    return backbone.encode_text(prompts.ids, context, prompts.at).cpu()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("shape", [(4, WIDTH), (3, 4, WIDTH)])
def test_coop(tmp_path, tiny_backbone, kind, shape):
    saved = read_public_checkpoint(coop(tmp_path / "model.pth.tar-50", shape, kind))
    context = saved.contexts["plain"]
    assert (saved.kind, list(saved.contexts), saved.meta_net) == ("coop", ["plain"], {})
    assert (context.n_context, context.width, saved.n_classes) == (4, WIDTH, 3)
    assert saved.class_specific == (len(shape) == 3)
    assert saved.facts == {"epoch": 50}
    assert torch.equal(context.vectors, vectors(*shape).half().float())
    assert context.vectors.dtype == torch.float32
    ours = class_text_embeddings(saved, tiny_backbone, NAMES)
    assert list(ours) == ["plain"]
    torch.testing.assert_close(ours["plain"], plain_text(tiny_backbone, NAMES, context.vectors))


def test_words_as_context_give_the_plain_text(tmp_path, tiny_backbone):
    context = word_embeddings(tiny_backbone, "a photo of a")
    saved = read_public_checkpoint(save(context, tmp_path / "ctx.pt"))
    ids = tiny_backbone.tokenize([f"a photo of a {n.replace('_', ' ')}." for n in NAMES])
    expected = tiny_backbone.encode_text(ids)
    assert torch.equal(class_text_embeddings(saved, tiny_backbone, NAMES)["plain"], expected)
    saved = read_public_checkpoint(save(context[1:], tmp_path / "ctx.pt"))
    ids = tiny_backbone.tokenize(["dog photo of a."])
    front = class_text_embeddings(saved, tiny_backbone, ["dog"], "front")["plain"]
    assert torch.equal(front, tiny_backbone.encode_text(ids))


@pytest.mark.parametrize("kind", FORMATS)
def test_tai_dpt(tmp_path, tiny_backbone, kind):
    saved = read_public_checkpoint(tai_dpt(tmp_path / "model-best.pth.tar", kind))
    assert (saved.kind, saved.class_specific, saved.n_classes) == ("tai_dpt", False, 3)
    numbers = {"temperature": 3.0, "spatial_T": 3.0, "ranking_scale": 4.0}
    assert saved.facts == {"epoch": 50} | numbers
    ours = class_text_embeddings(saved, tiny_backbone, ["cat", *NAMES])
    for seed, role in enumerate(("global", "local")):
        expected = plain_text(tiny_backbone, ["cat", *NAMES], vectors(4, WIDTH, seed=seed))
        torch.testing.assert_close(ours[role], expected)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("classes", [(), (3,)])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_dualcoop(tmp_path, tiny_backbone, kind, classes, prefix):
    path = dualcoop(tmp_path / "model_best.pth.tar", kind, prefix, classes)
    saved = read_public_checkpoint(path)
    assert (saved.kind, saved.class_specific, saved.n_classes) == ("dualcoop", bool(classes), 3)
    assert saved.facts == {"epoch": 50, "arch": "rn101", "best_mAP": 81.5}
    assert [c.n_context for c in saved.contexts.values()] == [4, 6]
    ours = class_text_embeddings(saved, tiny_backbone, NAMES)
    positive, negative = vectors(*classes, 4, WIDTH), vectors(*classes, 6, WIDTH, seed=1)
    torch.testing.assert_close(ours["positive"], plain_text(tiny_backbone, NAMES, positive))
    torch.testing.assert_close(ours["negative"], plain_text(tiny_backbone, NAMES, negative))


def test_dual_of_tai_dpt(tmp_path):
    path = save({"ctx": vectors(4, WIDTH), "ctx_neg": vectors(4, WIDTH, seed=1)}, tmp_path / "a.pt")
    saved = read_public_checkpoint(path)
    assert saved.kind == "dualcoop"
    assert {role: c.key for role, c in saved.contexts.items()} == {
        "positive": "ctx",
        "negative": "ctx_neg",
    }


def test_kgcoop(tmp_path):
    unused = {
        "bias_vectors": vectors(1, WIDTH),
        "meta_net.linear1.weight": vectors(8, 8),
        "meta_net.linear1.bias": vectors(8),
    }
    path = dassl(tmp_path / "a.pt", parameters=words(4) | unused, ctx=vectors(4, WIDTH))
    saved = read_public_checkpoint(path)
    assert (saved.kind, saved.meta_net) == ("kgcoop", {})


def test_cocoop(tmp_path, tiny_backbone):
    saved = read_public_checkpoint(cocoop(tmp_path / "a.pt"))
    assert saved.kind == "cocoop"
    assert {k: tuple(v.shape) for k, v in saved.meta_net.items()} == {
        "linear1.weight": (2, 16),
        "linear1.bias": (2,),
        "linear2.weight": (WIDTH, 2),
        "linear2.bias": (WIDTH,),
    }
    assert all(tensor.dtype == torch.float32 for tensor in saved.meta_net.values())
    with pytest.raises(BadCheckpoint, match="CoCoOp moves the context of .* by each image"):
        class_text_embeddings(saved, tiny_backbone, NAMES)


def test_bare_files_and_nothing_run(tmp_path):
    sentinel = tmp_path / "was here"
    state = {"ctx": vectors(4, WIDTH), "epoch": 3, "x": Call(os.system, f"touch '{sentinel}'")}
    saved = read_public_checkpoint(save(state, tmp_path / "a.pt"))
    assert torch.equal(saved.contexts["plain"].vectors, vectors(4, WIDTH))
    assert (saved.n_classes, saved.facts) == (None, {"epoch": 3})
    assert not sentinel.exists()
    with pytest.raises(BadCheckpoint, match=r"holds a .*\.system, which is not run"):
        read_public_checkpoint(save(state["x"], tmp_path / "a.pt"))
    assert not sentinel.exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({}, "must hold the keys ctx; or .* but .* holds no tensors"),
        ([1], "must hold a state_dict of tensors, but .* holds a list"),
        (nn.Linear(2, 2), r"holds a torch\.nn\.modules\.linear\.Linear, which is not run"),
        ({"ctx_pos": vectors(4, 8)}, "must hold the keys .* but .* holds ctx_pos"),
        ({"weight": vectors(4)}, "other frameworks are not read"),
        (
            {"prompt_learner.ctx": vectors(2, 8), "prompt_learner.proj.weight": vectors(8, 8)},
            r"also holds 'proj\.weight'; other",
        ),
        ({"ctx": vectors(8)}, r"ctx of .* must have the shape \(context, width\) or .* has \(8,\)"),
        ({"ctx": vectors(0, 8)}, r"but has \(0, 8\)"),
        ({"ctx": torch.ones(2, 8, dtype=torch.long)}, r"but holds torch\.int64"),
        ({"ctx": vectors(2, 8) / 0}, "but holds NaN or infinity"),
        (
            {"ctx_pos": vectors(3, 4, 8), "ctx_neg": vectors(2, 4, 8)},
            r"ctx_neg of .* shape \(3, 4, 8\) to fit ctx_pos, \(3, 4, 8\), but has \(2, 4, 8\)",
        ),
        (
            {"ctx": vectors(4, 8), "ctx_double": vectors(4, 9)},
            r"ctx_double of .* shape \(4, 8\) to fit ctx, \(4, 8\), but has \(4, 9\)",
        ),
        ({"ctx": vectors(2, 8), "module.ctx": vectors(2, 8)}, "with and without 'module.'"),
        ({"ctx": vectors(2, 8), "temperature": vectors(2)}, r"temperature of .* shape \(2,\)"),
    ],
)
def test_what_is_no_prompt_learner_is_refused(tmp_path, content, reason):
    with pytest.raises(BadCheckpoint, match=reason) as refusal:
        read_public_checkpoint(save(content, tmp_path / "a.pt"))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"linear1.bias": None}, r"lacks 'meta_net\.linear1\.bias'"),
        ({"linear2.bias": vectors(5)}, r"linear2\.bias of .* shape \(32,\) .* has \(5,\)"),
        ({"linear2.weight": vectors(32, 3)}, r"linear2\.weight of .* shape \(32, 2\) .*\(32, 3\)"),
        ({"linear1.weight": vectors(2)}, r"linear1\.weight of .* has \(2,\)"),
    ],
)
def test_a_meta_net_must_fit(tmp_path, changes, reason):
    with pytest.raises(BadCheckpoint, match=reason):
        read_public_checkpoint(cocoop(tmp_path / "a.pt", **changes))


@pytest.mark.parametrize(
    ("shape", "names", "reason"),
    [
        (
            (3, 4, WIDTH),
            NAMES[:2],
            r"Key ctx of .* shape \(2, 4, 32\) to fit the 2 classes .* has \(3, 4, 32\)",
        ),
        (
            (4, 512),
            NAMES,
            r"Key ctx of .* shape \(4, 32\) to fit the text tower of .* has \(4, 512\); give the",
        ),
        ((21, WIDTH), NAMES, r"shape \(20, 32\) or fewer vectors, .* has \(21, 32\)"),
    ],
)
def test_what_does_not_fit_is_one_sentence(tmp_path, tiny_backbone, shape, names, reason):
    saved = read_public_checkpoint(save({"ctx": vectors(*shape)}, tmp_path / "a.pt"))
    with pytest.raises(BadCheckpoint, match=reason):
        class_text_embeddings(saved, tiny_backbone, names)


def test_the_longest_context_fits_a_short_name(tmp_path, tiny_backbone):
    saved = read_public_checkpoint(save({"ctx": vectors(20, WIDTH)}, tmp_path / "a.pt"))
    assert class_text_embeddings(saved, tiny_backbone, ["dog"])["plain"].shape == (1, 16)
    with pytest.raises(BadData, match="class 'hot dog' is longer"):
        class_text_embeddings(saved, tiny_backbone, ["dog", "hot dog"])
