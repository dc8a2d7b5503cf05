import json
import shutil

import pytest
import torch
from tiny import write_tiny_clip

from ccr_diag import backbone as module
from ccr_diag.backbone import load_backbone
from ccr_diag.embedded import MODEL_DIR
from ccr_diag.errors import BadConfig, BadData
from ccr_diag.prompts import context_prompts, word_embeddings, zero_shot_embeddings

NAMES = ["dog", "traffic light", "a very long name of some kind"]


def test_real_words_as_context_give_open_clips_own_embeddings(tiny_backbone):
    phrase = "a photo of a"
    context = word_embeddings(tiny_backbone, phrase)
    prompts = context_prompts(tiny_backbone, NAMES, len(context))
    plain = tiny_backbone.tokenize([f"{phrase} {name}." for name in NAMES])
    expected = tiny_backbone.model.encode_text(plain, normalize=True)
    found = tiny_backbone.encode_text(prompts.ids, context, prompts.at)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "said"),
    [({}, "causal, so prompts are encoded up to"), ({"pool_type": "first"}, "prompts whole")],
)
def test_the_way_of_encoding_is_said_once(tmp_path, caplog, text, said):
    with caplog.at_level("INFO"):
        backbone = load_backbone(write_tiny_clip(tmp_path, **text), device="cpu")
        zero_shot_embeddings(backbone, NAMES)
    (message,) = (r.getMessage() for r in caplog.records if r.name == "ccr_diag.backbone")
    assert said in message
    assert (backbone.causal is None) == ("whole" in said)


def test_embeddings_are_unit_float32_and_weights_take_no_gradient(tiny_backbone):
    images = tiny_backbone.encode_images(torch.rand(3, 3, 32, 32))
    texts = zero_shot_embeddings(tiny_backbone, NAMES)
    for features in (images, texts):
        assert features.dtype == torch.float32
        torch.testing.assert_close(features.norm(dim=1), torch.ones(3))
    assert not any(p.requires_grad for p in tiny_backbone.model.parameters())
    assert not tiny_backbone.model.training


def test_bf16_stays_near_float32(tiny_clip, tiny_backbone):
    rounded = load_backbone(tiny_clip, device="cpu", precision="amp_bf16")
    image = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    difference = rounded.encode_images(image) - tiny_backbone.encode_images(image)
    assert 0 < difference.abs().max() < 0.05


@pytest.mark.parametrize("precision", ["fp32", "amp_bf16"])
def test_positions_are_unit_float32_beside_the_images_own_features(tiny_clip, precision):
    backbone = load_backbone(tiny_clip, device="cpu", precision=precision)
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    found, local = backbone.encode_positions(images)
    assert torch.equal(found, backbone.encode_images(images))
    assert local.dtype == torch.float32
    assert local.shape == (3, 4, 16)
    torch.testing.assert_close(local.norm(dim=2), torch.ones(3, 4))
    exact = load_backbone(tiny_clip, device="cpu").encode_positions(images)[1]
    error = (local - exact).abs().max()
    assert error == 0 if precision == "fp32" else 0 < error < 0.05


def test_fingerprint_follows_the_weights(tmp_path, tiny_backbone, tiny_clip):
    assert load_backbone(tiny_clip, device="cpu").fingerprint == tiny_backbone.fingerprint
    other = load_backbone(write_tiny_clip(tmp_path, seed=1), device="cpu")
    assert other.fingerprint != tiny_backbone.fingerprint


@pytest.mark.parametrize(
    "text",
    [
        {"pool_type": "last"},
        {"pool_type": "eos", "eos_id": 49407},
        {"no_causal_mask": True},
        {"heads": 4},
    ],
    ids=lambda text: next(iter(text)),
)
def test_fingerprint_follows_what_computes_with_the_weights(tmp_path, tiny_backbone, text):
    other = load_backbone(write_tiny_clip(tmp_path / "clip", **text), device="cpu")
    ours, theirs = tiny_backbone.model.state_dict(), other.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert other.fingerprint != tiny_backbone.fingerprint


def test_fingerprint_follows_the_activation(tmp_path, tiny_backbone, tiny_clip):
    folder = tmp_path / "clip"
    shutil.copytree(tiny_clip.removeprefix("local-dir:"), folder)
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["quick_gelu"] = True
    path.write_text(json.dumps(config))
    other = load_backbone(f"local-dir:{folder}", device="cpu")
    assert other.fingerprint != tiny_backbone.fingerprint


def test_fingerprint_follows_the_preprocessing_but_not_where_it_lies_in_memory(tiny_backbone):
    model = tiny_backbone.model
    first, second, other = (
        module._fingerprint(model, text)
        for text in (
            "Compose(Resize(32), <function rgb at 0x7fe1>)",
            "Compose(Resize(32), <function rgb at 0x55ab>)",
            "Compose(Resize(64), <function rgb at 0x7fe1>)",
        )
    )
    assert first == second != other


def test_a_prompt_that_would_be_cut_is_refused_with_its_text(tiny_backbone):
    fits = " ".join(["dog"] * 22)
    assert tiny_backbone.tokenize([fits]).shape == (1, 24)
    with pytest.raises(BadData) as error:
        tiny_backbone.tokenize(["cat", fits + " dog"])
    assert str(error.value) == (
        f"A prompt must fit the text tower's 24 tokens, but {fits + ' dog'!r} is longer; "
        "shorten the class name or learn fewer context tokens."
    )


@pytest.mark.parametrize(
    ("model", "pretrained", "text"),
    [
        ("ViT-B-61", None, "did you mean 'ViT-B-16'?"),
        ("ViT-B-16", None, "random weights are never used."),
        ("ViT-B-16", "opnai", "did you mean 'openai'?"),
        ("local-dir:nowhere", None, "there is no folder 'nowhere'; check the path."),
        ("embedded", "openai", "brings its own weights; leave it out."),
    ],
)
def test_models_that_cannot_be_loaded(model, pretrained, text):
    with pytest.raises(BadConfig) as error:
        load_backbone(model, pretrained, "cpu")
    assert text in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("precision", "device", "text"),
    [
        ("amp_b16", "cpu", "did you mean 'amp_bf16'?"),
        ("fp16", "cpu", "must be fp32 or amp_bf16, but got 'fp16'"),
        ("amp_bf16", "meta", "needs bfloat16, which meta has not (.*); use --precision fp32."),
    ],
)
def test_a_precision_that_is_not_here_is_refused(tiny_clip, precision, device, text):
    with pytest.raises(BadConfig, match=text):
        load_backbone(tiny_clip, device=device, precision=precision)


def test_a_model_bias_is_read(biased_clip, tiny_backbone):
    assert load_backbone(biased_clip, device="cpu").bias == 8.0
    assert tiny_backbone.bias is None


def test_the_embedded_model_loads_with_its_own_vocabulary():
    backbone = load_backbone(device="cpu")
    config = json.loads((MODEL_DIR / "open_clip_config.json").read_text())["model_cfg"]["text_cfg"]
    ids = backbone.tokenize(["a photo of a dog."])
    assert ids.max() == config["vocab_size"] - 1  # the end token has the largest id
    assert backbone.tokenizer.decode(ids[0, 1:7].tolist()).strip() == "a photo of a dog ."


@pytest.mark.parametrize("device", ["foo", "cuda:77"])
def test_a_device_that_is_not_here_is_named(tiny_clip, device):
    with pytest.raises(BadConfig, match=f"but got '{device}'"):
        load_backbone(tiny_clip, device=device)
