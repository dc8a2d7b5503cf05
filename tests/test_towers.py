"""Every family of towers, through both doors: a folder, and a file with a built-in name."""

from dataclasses import replace
from typing import NamedTuple

import open_clip
import pytest
import torch
from open_clip import factory
from tiny import TOWERS, write_as_file, write_tower

from ccr_diag.backbone import Backbone, load_backbone
from ccr_diag.config import FinetuneConfig
from ccr_diag.embedded import MODEL_DIR
from ccr_diag.errors import BadConfig, BadData
from ccr_diag.frameworks.coop import CoOp
from ccr_diag.prompts import context_prompts, word_embeddings, zero_shot_embeddings

NAMES = ["dog", "traffic light", "a cat"]
LOCAL_FEATURES = {"vit": 4, "resnet": 4, "custom": 4, "clipa": 4, "hf": 4, "embedded": 4}
CAUSAL = {"vit", "resnet", "custom", "embedded"}


class Doors(NamedTuple):
    """One model, loaded twice."""

    family: str
    local: str
    model: str
    file: str
    backbone: Backbone
    by_file: Backbone


@pytest.fixture(scope="module")
def registry():
    """Names that are added to open_clip are gone afterwards."""
    paths = list(factory._MODEL_CONFIG_PATHS)
    yield
    factory._MODEL_CONFIG_PATHS[:] = paths
    factory._MODEL_CONFIGS.clear()
    factory._rescan_model_configs()


@pytest.fixture(scope="module", params=[*TOWERS, "embedded"])
def doors(request, registry, tmp_path_factory):
    family, folder = request.param, tmp_path_factory.mktemp("tower")
    local = f"local-dir:{MODEL_DIR}"
    if family != "embedded":
        local = write_tower(folder / "local", family)
    file = write_as_file(folder / "file", local, f"tiny-{family}")
    open_clip.add_model_config(file.with_name(f"tiny-{family}.json"))
    return Doors(
        family,
        local,
        f"tiny-{family}",
        str(file),
        load_backbone(local, device="cpu"),
        load_backbone(f"tiny-{family}", str(file), "cpu"),
    )


def images(backbone, n=2):
    size = backbone.model.visual.image_size
    side = size[0] if isinstance(size, tuple) else size
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(1))


def test_both_doors_lead_to_one_model(doors):
    ours, theirs = doors.backbone, doors.by_file
    assert ours.fingerprint == theirs.fingerprint
    assert str(ours.preprocess) == str(theirs.preprocess)
    assert torch.equal(ours.encode_images(images(ours)), theirs.encode_images(images(ours)))
    assert torch.equal(zero_shot_embeddings(ours, NAMES), zero_shot_embeddings(theirs, NAMES))


def test_features_are_open_clips_own(doors):
    backbone = doors.backbone
    model, x = backbone.model, images(backbone)
    with torch.no_grad():
        image = model.encode_image(x)
        text = model.encode_text(backbone.tokenizer([f"a photo of a {name}." for name in NAMES]))
    norm = torch.nn.functional.normalize
    torch.testing.assert_close(backbone.encode_images(x), norm(image, dim=-1))
    found = zero_shot_embeddings(backbone, NAMES)
    torch.testing.assert_close(found, norm(text, dim=-1), rtol=1e-4, atol=1e-5)
    assert (found[0] - found[1]).abs().max() > 1e-3
    assert (image[0] - image[1]).abs().max() > 1e-4


def test_the_way_in_is_open_clips_own_model_from_its_weights(doors):
    expected = open_clip.create_model_from_pretrained(
        doors.model, doors.file, return_transform=False
    )
    assert not doors.backbone.model.training
    assert not any(p.requires_grad for p in doors.backbone.model.parameters())
    for key, value in expected.state_dict().items():
        assert torch.equal(doors.backbone.model.state_dict()[key], value)


def test_scale_and_bias_are_read(doors):
    model = doors.backbone.model
    assert doors.backbone.scale == pytest.approx(float(model.logit_scale.exp()))
    assert doors.backbone.bias == (-3.5 if doors.family == "siglip" else None)


def test_causal_towers_are_known(doors):
    assert (doors.backbone.causal is not None) == (doors.family in CAUSAL)


@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_learned_context_that_equals_words_gives_their_embeddings(doors, position):
    backbone = doors.backbone
    names = ["dog", "traffic light"]
    prompts = context_prompts(backbone, names, 4, position)
    layout = {"end": "a the a the {}.", "middle": "a the {} a the.", "front": "{} a the a the."}
    plain = backbone.tokenizer([layout[position].format(name) for name in names])
    with torch.no_grad():
        expected = backbone.encode_text(plain)
        words = backbone.token_embedding(plain)
        context = torch.stack([row[at] for row, at in zip(words, prompts.at, strict=True)])
        found = backbone.encode_text(prompts.ids, context, prompts.at)
        other = backbone.encode_text(prompts.ids, context.flip(-1), prompts.at)
    rest = torch.ones_like(plain, dtype=torch.bool).scatter(1, prompts.at, False)
    assert torch.equal(plain[rest], prompts.ids[rest])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert (other - expected).abs().max() > 1e-3


def test_a_phrases_rows_as_context_give_the_sentences_embeddings(doors):
    backbone = doors.backbone
    context = word_embeddings(backbone, "a photo of a")
    prompts = context_prompts(backbone, ["cat", "dog"], len(context))
    plain = backbone.tokenizer(["a photo of a cat.", "a photo of a dog."])
    with torch.no_grad():
        found = backbone.encode_text(prompts.ids, context, prompts.at)
        torch.testing.assert_close(found, backbone.encode_text(plain), rtol=1e-4, atol=1e-5)


def dogs(tokenizer, room):
    """The longest text of dogs that has room, and one more dog; of tokens that are not padding."""
    ids = tokenizer(["dog", "dog dog"], context_length=99)
    one, two = ids.ne(ids[0, -1]).sum(dim=1).tolist()  # the embedded vocabulary ends each word
    fits = 1 + (room - one) // (two - one)
    return [" ".join(["dog"] * n) for n in (fits, fits + 1)]


def test_a_text_that_would_be_cut_is_refused(doors):
    backbone = doors.backbone
    room = backbone.context_length
    texts = dogs(backbone.tokenizer, room - (doors.family == "clipa"))  # the end counts, unseen
    assert backbone.too_long(texts).tolist() == [False, True]
    assert backbone.tokenize(texts[:1]).shape == (1, room)
    with pytest.raises(BadData, match=f"must fit the text tower's {room} tokens"):
        backbone.tokenize(texts)


def test_a_text_that_would_be_cut_before_a_closing_token_is_refused(tmp_path):
    backbone = load_backbone(write_tower(tmp_path / "tower", "hf"), device="cpu")
    plain = backbone.tokenizer

    def closed(texts, context_length=24):
        ids = plain(texts, context_length=context_length - 1)
        return torch.cat([ids, torch.full((len(ids), 1), 5)], dim=1)

    texts = dogs(plain, 23)
    assert replace(backbone, tokenizer=closed).too_long(texts).tolist() == [False, True]


def test_one_step_of_tuning_moves_only_the_context(doors):
    backbone = doors.backbone
    weights = {key: value.clone() for key, value in backbone.model.state_dict().items()}
    coop = CoOp(backbone, NAMES, FinetuneConfig(context_init="", n_context=3))
    start = coop.context.detach().clone()
    optimizer = torch.optim.SGD(coop.parameters(), lr=0.1)
    features = backbone.encode_images(images(backbone)).clone()
    before = coop(features).mean()
    before.backward()
    assert (coop.context.grad.norm(dim=1) > 0).all()
    optimizer.step()
    assert not torch.equal(coop.context, start)
    assert coop(features).mean() < before
    for key, value in backbone.model.state_dict().items():
        assert torch.equal(value, weights[key])


def test_local_features_work_or_are_refused(doors):
    backbone = doors.backbone
    if doors.family in LOCAL_FEATURES:
        found, local = backbone.encode_positions(images(backbone))
        torch.testing.assert_close(found, backbone.encode_images(images(backbone)))
        assert local.shape == (2, LOCAL_FEATURES[doors.family], found.shape[1])
    else:
        with pytest.raises(BadConfig, match="project.* positions one by one"):
            backbone.encode_positions(images(backbone))


def test_half_precision_stays_near(doors):
    rounded = load_backbone(doors.local, device="cpu", precision="amp_bf16")
    x = images(rounded)
    for ours, exact in (
        (rounded.encode_images(x), doors.backbone.encode_images(x)),
        (zero_shot_embeddings(rounded, NAMES), zero_shot_embeddings(doors.backbone, NAMES)),
    ):
        assert ours.dtype == torch.float32
        assert 0 < (ours - exact).abs().max() < 0.1
