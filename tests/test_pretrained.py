"""Weights and preprocessing: where they are found, and what is refused rather than guessed."""

import json
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace

import open_clip
import pytest
import torch
from huggingface_hub import constants
from open_clip import factory
from safetensors.torch import load_file, save_file
from tiny import write_as_file, write_biased_clip, write_tiny_clip, write_tower

from ccr_diag import pretrained as module
from ccr_diag.backbone import load_backbone
from ccr_diag.errors import BadConfig, MissingExtra
from ccr_diag.pretrained import available_weights, find_pretrained

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
INCEPTION = ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5], "bicubic", "squash")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache of the hub, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "hub"


@pytest.fixture
def folder(tiny_clip, tmp_path):
    """A copy of the tiny model that may be damaged."""
    return Path(shutil.copytree(tiny_clip.removeprefix("local-dir:"), tmp_path / "clip"))


@pytest.fixture
def add(monkeypatch):
    """Adds a built-in model to open_clip, for this test."""
    monkeypatch.setattr(factory, "_MODEL_CONFIG_PATHS", list(factory._MODEL_CONFIG_PATHS))
    monkeypatch.setattr(factory, "_MODEL_CONFIGS", dict(factory._MODEL_CONFIGS))

    def add_model(name, settings, beside):
        (beside / f"{name}.json").write_text(json.dumps(settings))
        open_clip.add_model_config(beside / f"{name}.json")

    return add_model


def change(folder, **settings):
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | settings))


def refused(model, pretrained=None):
    with pytest.raises(BadConfig) as error:
        load_backbone(str(model), None if pretrained is None else str(pretrained), "cpu")
    assert "\n" not in str(error.value)
    return str(error.value)


def cache(hub, repo, *files):
    """Files as the hub's cache has them."""
    stored = hub / f"models--{repo.replace('/', '--')}"
    snapshot = stored / "snapshots" / "c0ffee"
    snapshot.mkdir(parents=True)
    (stored / "refs").mkdir()
    (stored / "refs" / "main").write_text("c0ffee")
    for file in files:
        shutil.copy(file, snapshot)
    return snapshot


# Folders


def test_a_folder_without_weights(folder):
    (folder / WEIGHTS).unlink()
    assert refused(f"local-dir:{folder}") == (
        f"A model needs its weights, but the folder {str(folder)!r} has none "
        f"({WEIGHTS}, or another .safetensors, .bin or .pth file); put them there, as random "
        "weights are never used."
    )


def test_a_folder_with_several_weights_must_say_which(folder):
    (folder / WEIGHTS).rename(folder / "one.safetensors")
    assert load_backbone(f"local-dir:{folder}", device="cpu").fingerprint
    shutil.copy(folder / "one.safetensors", folder / "two.safetensors")
    said = refused(f"local-dir:{folder}")
    assert f"one.safetensors, two.safetensors; name the right one {WEIGHTS}." in said


@pytest.mark.parametrize("text", ["{", "[]", '{"model_cfg": {}}', '{"model_cfg": null}'])
def test_a_folder_with_damaged_settings(folder, text):
    (folder / CONFIG).write_text(text)
    assert "must be JSON with open_clip's model_cfg" in refused(f"local-dir:{folder}")


def test_a_folder_without_settings(folder):
    (folder / CONFIG).unlink()
    assert "get the file that came with the weights." in refused(f"local-dir:{folder}")


@pytest.mark.parametrize("settings", [None, {}, {"mean": [0.5] * 3}, {"std": [0.5] * 3}])
def test_a_folder_without_preprocessing(folder, settings):
    change(folder, preprocess_cfg=settings)
    assert refused(f"local-dir:{folder}") == (
        f"Preprocessing must come with the weights, but {str(folder / CONFIG)!r} has no "
        "preprocess_cfg with mean and std of three channels; add those that the model was trained "
        "with."
    )


def test_a_plain_folder_is_told_its_word(folder):
    assert f"a folder is given as local-dir:{folder}." in refused(folder)


# Damaged and foreign weights


def test_weights_without_some_tensor(folder):
    state = load_file(folder / WEIGHTS)
    del state["ln_final.bias"]
    save_file(state, folder / WEIGHTS)
    said = refused(f"local-dir:{folder}")
    assert 'Missing key(s) in state_dict: "ln_final.bias"' in said
    assert said.endswith("check that the weights are those of the model.")


def test_weights_of_another_architecture(folder):
    wider = write_tiny_clip(folder.parent / "other", width=64).removeprefix("local-dir:")
    shutil.copy(Path(wider) / WEIGHTS, folder)
    assert "Weights must be those of the model" in refused(f"local-dir:{folder}")
    deeper = write_tiny_clip(folder.parent / "deeper", layers=3).removeprefix("local-dir:")
    shutil.copy(Path(deeper) / WEIGHTS, folder)
    assert "check that the weights are those of the model" in refused(f"local-dir:{folder}")


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
def test_weights_of_nothing(folder, add, name):
    add("tiny", json.loads((folder / CONFIG).read_text())["model_cfg"], folder)
    file = folder / name
    for tensors, text in (({}, "must have tensors"), ({"a": torch.ones(1)}, "Missing key")):
        save_file(tensors, file) if name.endswith("s") else torch.save(tensors, file)
        assert text in refused("tiny", file)
    file.write_bytes(file.read_bytes()[:50])
    assert "cannot be read so" in refused("tiny", file)
    file.write_bytes(b"")
    assert "cannot be read so" in refused("tiny", file)


def test_a_pickle_is_not_run(folder, add, tmp_path):
    class Touch:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "touched",))

    add("tiny", json.loads((folder / CONFIG).read_text())["model_cfg"], folder)
    torch.save({"a": Touch()}, folder / "w.pt")
    assert "other things than tensors, which is never run" in refused("tiny", folder / "w.pt")
    assert not (tmp_path / "touched").exists()


def test_a_bias_is_never_made_up_nor_dropped(folder):
    biased = Path(write_biased_clip(folder.parent / "biased", -3.0).removeprefix("local-dir:"))
    plain = folder / WEIGHTS
    with_bias = shutil.copy(biased / WEIGHTS, folder.parent / "kept.safetensors")
    shutil.copy(plain, biased / WEIGHTS)
    assert "the model has a logit bias and the file has none" in refused(f"local-dir:{biased}")
    shutil.copy(with_bias, plain)
    assert "the file has a logit bias and the model has none" in refused(f"local-dir:{folder}")


@pytest.mark.parametrize(
    ("tower", "size"),
    [({"image_size": 64}, "(17, 32) .* (5, 32)"), ({"context_length": 12}, "(12, 32) .* (24, 32)")],
    ids=["image", "text"],
)
def test_positions_are_not_resized(folder, tower, size):
    vision, text = (tower, {}) if "image_size" in tower else (None, tower)
    other = write_tiny_clip(folder.parent / "other", vision=vision, **text)
    shutil.copy(Path(other.removeprefix("local-dir:")) / WEIGHTS, folder)
    said = refused(f"local-dir:{folder}")
    stored, own = size.split(" .* ")
    assert f"positional_embedding is {stored} in " in said
    assert f"and {own} in the model" in said


# Preprocessing of a file


def write_some(folder, **tensors):
    save_file(tensors or {"a": torch.ones(1)}, folder / "some.safetensors")
    return str(folder / "some.safetensors")


def test_a_file_takes_the_preprocessing_that_all_weights_of_its_model_share(tmp_path):
    found = find_pretrained("ViT-B-16-SigLIP", write_some(tmp_path))
    assert tuple(found.preprocess.values()) == INCEPTION
    clipa = find_pretrained("ViT-L-14-CLIPA", write_some(tmp_path)).preprocess
    assert (clipa["interpolation"], clipa["resize_mode"]) == ("bilinear", "squash")


@pytest.mark.parametrize(
    ("model", "why", "of"),
    [
        ("ViT-L-14", "differ in theirs", "ViT-L-14:laion400m_e31"),
        ("ViT-S-16", "are none", "OpenAI's CLIP"),
    ],
)
def test_a_file_without_preprocessing_is_told_what_to_write_where(tmp_path, model, why, of):
    file = write_some(tmp_path)
    said = refused(model, file)
    assert said.startswith(
        f"Preprocessing must come with the weights, but {file!r} has none with it and open_clip's "
        f"weights of {model!r} {why}; write that which they were trained with into "
        f"{str(tmp_path / CONFIG)!r}, which for {of} is {{"
    )
    (tmp_path / CONFIG).write_text(said[said.index("{") : -1])  # as it is told
    assert find_pretrained(model, file).preprocess["mean"] == list(open_clip.OPENAI_DATASET_MEAN)


def test_a_tags_weights_are_one_model_with_the_same_in_a_folder(hub, folder, add):
    settings = json.loads((folder / CONFIG).read_text())["model_cfg"]
    add("ViT-B-16-quickgelu", settings | {"quick_gelu": True}, folder)
    cache(hub, "timm/vit_base_patch16_clip_224.openai", folder / WEIGHTS)
    by_tag = load_backbone("ViT-B-16-quickgelu", "openai", "cpu")
    preprocess = {
        key: open_clip.get_pretrained_cfg("ViT-B-16-quickgelu", "openai")[key]
        for key in ("mean", "std", "interpolation", "resize_mode")
    }
    change(folder, model_cfg=settings | {"quick_gelu": True}, preprocess_cfg=preprocess)
    assert load_backbone(f"local-dir:{folder}", device="cpu").fingerprint == by_tag.fingerprint


def test_settings_beside_the_file_come_first(folder):
    found = find_pretrained("ViT-L-14", write_some(folder))
    assert found.preprocess["mean"] == [0.5] * 3
    change(folder, preprocess_cfg={"mean": [0.1] * 3, "std": [0.2] * 3})
    assert find_pretrained("ViT-L-14", write_some(folder)).preprocess["mean"] == [0.1] * 3


def test_preprocessing_is_done_as_found(folder, add):
    preprocess = {"mean": [0.1, 0.2, 0.3], "std": [0.4] * 3, "resize_mode": "squash", "size": 99}
    change(folder, preprocess_cfg=preprocess | {"interpolation": "bilinear"})
    add("tiny", json.loads((folder / CONFIG).read_text())["model_cfg"], folder)
    for backbone in (
        load_backbone("tiny", str(folder / WEIGHTS), "cpu"),
        load_backbone(f"local-dir:{folder}", device="cpu"),
    ):
        resize, *_, norm = backbone.preprocess.transforms
        assert (resize.size, resize.interpolation.value) == ((32, 32), "bilinear")
        assert (norm.mean, norm.std) == ([0.1, 0.2, 0.3], [0.4] * 3)


# Activation


@pytest.mark.parametrize(
    ("model", "tag", "advice"),
    [
        ("ViT-B-16", "openai", "--model ViT-B-16-quickgelu."),
        ("RN50", "cc12m", "--model RN50-quickgelu."),
        ("roberta-ViT-B-32", "laion2b_s12b_b32k", "--model hf-hub:laion/CLIP-ViT-B-32-roberta"),
    ],
)
def test_a_tag_of_another_activation_names_the_right_model(hub, model, tag, advice):
    assert f"QuickGELU mismatch: the weights {model}:{tag} were" in refused(model, tag)
    assert f"use {advice}" in refused(model, tag)


def test_settings_beside_a_file_name_its_activation(folder):
    config = json.loads((folder / CONFIG).read_text())
    change(folder, model_cfg=config["model_cfg"] | {"quick_gelu": True})
    assert refused("ViT-B-16", write_some(folder)).endswith("use --model ViT-B-16-quickgelu.")
    change(folder, model_cfg=config["model_cfg"] | {"quick_gelu": False})
    assert refused("ViT-B-16-quickgelu", write_some(folder)).endswith("use --model ViT-B-16.")


@pytest.fixture
def archive(folder):
    """The tiny model's weights in half precision, as OpenAI published theirs."""
    root = torch.nn.Module()
    for name, value in load_file(folder / WEIGHTS).items():
        *path, last = name.split(".")
        at = root
        for part in path:
            if part not in at._modules:
                at.add_module(part, torch.nn.Module())
            at = at._modules[part]
        at.register_buffer(last, value.half())
    for name in ("input_resolution", "context_length", "vocab_size"):
        root.register_buffer(name, torch.tensor(32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(root), folder / "ViT-B-16.pt")
    return folder / "ViT-B-16.pt"


def test_openais_archives_have_their_activation_and_preprocessing(archive, tmp_path):
    alone = str(shutil.copy(archive, tmp_path / "alone.pt"))
    assert refused("ViT-B-16", alone).endswith("use --model ViT-B-16-quickgelu.")
    found = find_pretrained("ViT-L-14-quickgelu", alone)  # in a dry run too, without a warning
    assert found.preprocess["mean"] == list(open_clip.OPENAI_DATASET_MEAN)
    assert found.preprocess["resize_mode"] == "shortest"
    assert "weights of 'ViT-H-14-quickgelu' are none" in refused("ViT-H-14-quickgelu", alone)


def test_openais_archives_load(archive, folder, add):
    settings = json.loads((folder / CONFIG).read_text())["model_cfg"] | {"quick_gelu": True}
    add("tiny-quickgelu", settings, folder)
    found = load_backbone("tiny-quickgelu", str(archive), "cpu")
    assert found.model.visual.conv1.weight.dtype == torch.float32
    rounded = {key: value.half().float() for key, value in load_file(folder / WEIGHTS).items()}
    save_file(rounded, folder / WEIGHTS)
    change(folder, model_cfg=settings)
    other = load_backbone(f"local-dir:{folder}", device="cpu")
    assert found.fingerprint == other.fingerprint


# The hub


@pytest.mark.parametrize(
    ("model", "tag"), [("ViT-B-32", "laion2b_s34b_b79k"), ("hf-hub:org/some", None)]
)
def test_weights_that_cannot_be_fetched(hub, model, tag):
    said = refused(model, tag)
    name = model if tag is None else f"{model}:{tag}"
    assert f"The weights of {name} are not on this disk" in said
    assert "HF_HUB_OFFLINE is set" in said
    assert "run `hf download " in said
    assert "`ccr-diag doctor` tells" in said


@pytest.mark.parametrize(
    ("model", "tag"), [("ViT-B-32", "laion2b_s34b_b79k"), ("hf-hub:org/some", None)]
)
def test_a_hub_that_cannot_be_reached_is_asked_once(hub, monkeypatch, model, tag):
    asked = []

    def head(address, timeout):
        asked.append(address)
        raise OSError("no network")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://hub.invalid")
    monkeypatch.setattr("ccr_diag.hub.get_session", lambda: SimpleNamespace(head=head))
    assert "could not be fetched (no network)" in refused(model, tag)
    assert asked == ["http://hub.invalid"]
    assert not constants.HF_HUB_OFFLINE


def test_weights_in_the_cache_need_no_hub(hub, folder, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(module, "without_waiting", pytest.fail)
    cache(hub, "timm/vit_base_patch16_clip_224.openai", folder / WEIGHTS)
    assert find_pretrained("ViT-B-16-quickgelu", "openai").weights.is_file()


def test_a_tokenizer_that_cannot_be_fetched(hub, tmp_path):
    said = refused("ViT-B-16-SigLIP", write_some(tmp_path))
    assert said.startswith("The tokenizer of model 'ViT-B-16-SigLIP' could not be loaded (")
    assert "run `hf download timm/ViT-B-16-SigLIP` and copy models--timm--ViT-B-16-SigLIP" in said


def test_a_folder_without_its_tokenizer(hf):
    (hf / "tokenizer.json").unlink()
    said = refused(f"local-dir:{hf}")
    assert said.startswith("The tokenizer of model 'local-dir:")
    assert f"as transformers stores them, must be in {str(hf)!r}." in said


def test_a_cached_repository_loads_without_a_network(hub, folder):
    snapshot = cache(hub, "org/some", folder / CONFIG, folder / WEIGHTS)
    by_hub = load_backbone("hf-hub:org/some", device="cpu")
    by_folder = load_backbone(f"local-dir:{folder}", device="cpu")
    assert by_hub.fingerprint == by_folder.fingerprint
    (snapshot / WEIGHTS).unlink()
    assert "not on this disk" in refused("hf-hub:org/some")


def test_weights_on_this_disk_are_listed(hub, folder, tmp_path):
    assert available_weights() == []
    cached = cache(hub, "timm/vit_base_patch16_clip_224.openai", folder / WEIGHTS) / WEIGHTS
    own = tmp_path / "home" / ".cache" / "clip" / "RN50.pt"
    own.parent.mkdir(parents=True)
    shutil.copy(folder / WEIGHTS, own)
    assert set(available_weights()) == {
        ("ViT-B-16-quickgelu", "openai", cached),
        ("RN50-quickgelu", "openai", own),
    }
    assert find_pretrained("ViT-B-16-quickgelu", "openai").weights == cached


# transformers


@pytest.fixture
def hf(tmp_path):
    """A folder with a text tower of transformers."""
    return Path(write_tower(tmp_path / "hf", "hf").removeprefix("local-dir:"))


@pytest.mark.parametrize("family", ["hf", "siglip"])
def test_a_tower_or_tokenizer_of_transformers_needs_it(tmp_path, monkeypatch, family):
    name = write_tower(tmp_path / "tower", family)
    find_spec = module.importlib.util.find_spec
    monkeypatch.setattr(
        module.importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "transformers" else find_spec(name, *rest),
    )
    with pytest.raises(MissingExtra, match=r"run pip install 'ccr-diag\[hf-text\]'."):
        load_backbone(name, device="cpu")


def test_a_text_tower_whose_settings_are_elsewhere_is_named(hf, hub):
    (hf / "config.json").rename(hf / "kept.json")
    config = json.loads((hf / CONFIG).read_text())["model_cfg"]
    config["text_cfg"]["hf_model_name"] = "org/some-text"
    change(hf, model_cfg=config)
    said = refused(f"local-dir:{hf}")
    assert "run `hf download org/some-text` and copy models--org--some-text of the hub" in said
    assert said.endswith(f" into {hub}.")
    (hf / "org" / "some-text").mkdir(parents=True)
    (hf / "kept.json").rename(hf / "org" / "some-text" / "config.json")
    assert load_backbone(f"local-dir:{hf}", device="cpu").fingerprint


def test_fingerprint_follows_the_heads_of_a_text_tower(hf):
    before = load_backbone(f"local-dir:{hf}", device="cpu").fingerprint
    config = json.loads((hf / "config.json").read_text())
    (hf / "config.json").write_text(json.dumps(config | {"num_attention_heads": 4}))
    assert load_backbone(f"local-dir:{hf}", device="cpu").fingerprint != before


def test_a_tokenizer_that_pads_on_the_left_is_refused(hf):
    path = hf / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"padding_side": "left"}))
    assert "but that of 'local-dir:" in refused(f"local-dir:{hf}")
    assert 'set "padding_side" to "right"' in refused(f"local-dir:{hf}")


def test_the_file_door_says_what_is_wrong_with_the_weights(hf, add, tmp_path):
    file = write_as_file(tmp_path / "file", f"local-dir:{hf}", "tiny-hf")
    add("tiny-hf", json.loads(file.with_name("tiny-hf.json").read_text()), tmp_path)
    state = torch.load(file)["state_dict"]
    torch.save({"state_dict": dict(list(state.items())[:-1])}, file)
    assert "Missing key(s) in state_dict" in refused("tiny-hf", file)
