"""Images from captions: a real, random Stable Diffusion of a few thousand weights draws them."""

import json
import logging
import re
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ccr_diag import synthesis
from ccr_diag.checkpoint import load_checkpoint
from ccr_diag.data import load_dataset
from ccr_diag.errors import BadConfig, BadData, MissingExtra, OutputExists, RunFailed
from ccr_diag.synthesis import Recipe, generate_images

CAPTIONS = ("two dogs", "a cat, a dog", "Möwe; “7”", "a hot|dog")
NAMES = ("cat", "dog", "hot|dog", "Möwe")
LABELS = np.array([[0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]], dtype=np.int8)
CPU = torch.device("cpu")


def write_tokenizer(folder):
    """Characters as tokens, in the files that CLIP's tokenizer has on the hub."""
    letters = [chr(i) for i in range(ord("a"), ord("z") + 1)]
    tokens = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 16}')
    return len(tokens)


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    """Folder of the pipeline."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
    from diffusers import UNet2DConditionModel as Unet
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    folder = tmp_path_factory.mktemp("generator")
    n_tokens = write_tokenizer(folder / "written")
    torch.manual_seed(0)
    text = CLIPTextConfig(
        vocab_size=n_tokens,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        bos_token_id=n_tokens - 2,
        eos_token_id=n_tokens - 1,
    )
    sizes = {"layers_per_block": 1, "norm_num_groups": 4}
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            **sizes,
        ),
        text_encoder=CLIPTextModel(text),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "written"),
        unet=Unet(
            block_out_channels=(8,),
            down_block_types=("CrossAttnDownBlock2D",),
            up_block_types=("CrossAttnUpBlock2D",),
            cross_attention_dim=16,
            attention_head_dim=4,
            **sizes,
        ),
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder / "pipeline")
    return str(folder / "pipeline")


@pytest.fixture
def recipe(generator):
    return Recipe(generator, size=32, steps=2)


def generate(folder, recipe, captions=CAPTIONS, labels=LABELS, **options):
    return generate_images(
        captions, labels[: len(captions)], NAMES, folder, recipe, **{"device": CPU, **options}
    )


def pixels(folder):
    """Every image, by its name."""
    return {path.name: np.array(Image.open(path)) for path in sorted(folder.glob("*.png"))}


def same(a, b):
    """Equal but for the rounding of a batch."""
    return a.keys() == b.keys() and all(
        np.abs(a[n].astype(int) - b[n].astype(int)).max() <= 1 for n in a
    )


def test_images_and_labels_come_back_through_the_manifest(tmp_path, recipe):
    seen = []
    made = generate(
        tmp_path / "new" / "a",
        replace(recipe, per_caption=2),
        batch_size=3,
        progress=lambda *now: seen.append(now),
    )
    assert (made.made, made.kept, made.withheld) == (8, 0, 0)
    assert seen == [(0, 8), (3, 8), (6, 8), (8, 8)]
    data = load_dataset(f"manifest:{made.manifest}", "all", "negative")
    assert data.image_ids == tuple(f"{n:06d}.png" for n in range(8))
    columns = [sorted(NAMES).index(name) for name in NAMES]
    np.testing.assert_array_equal(data.labels[:, columns], LABELS.repeat(2, axis=0))
    assert {data.open_image(n).size for n in range(8)} == {(32, 32)}
    assert data.captions == tuple(caption for caption in CAPTIONS for _ in range(2))
    drawn = list(pixels(made.manifest.parent).values())
    assert all((a != b).any() for i, a in enumerate(drawn) for b in drawn[:i])


def test_images_are_what_the_pipeline_itself_draws(tmp_path, recipe, generator):
    from diffusers import StableDiffusionPipeline

    generate(tmp_path / "a", replace(recipe, guidance=3.0, steps=3), CAPTIONS[:1])
    pipeline = StableDiffusionPipeline.from_pretrained(generator)
    (expected,) = pipeline(
        CAPTIONS[0],
        height=32,
        width=32,
        num_inference_steps=3,
        guidance_scale=3.0,
        generator=synthesis._noise(1, 0),
    ).images
    np.testing.assert_array_equal(pixels(tmp_path / "a")["000000.png"], np.array(expected))


def test_an_image_depends_on_recipe_caption_and_number_alone(tmp_path, recipe):
    generate(tmp_path / "one", recipe, batch_size=1)
    generate(tmp_path / "all", recipe, batch_size=4)
    assert same(pixels(tmp_path / "one"), pixels(tmp_path / "all"))
    generate(tmp_path / "seed", replace(recipe, seed=2))
    first = pixels(tmp_path / "all")
    assert all((pixels(tmp_path / "seed")[name] != first[name]).any() for name in first)
    generate(tmp_path / "text", recipe, ("two cats", *CAPTIONS[1:]))
    other = pixels(tmp_path / "text")
    assert [name for name in first if np.abs(first[name] - 1.0 * other[name]).max() > 1] == [
        "000000.png"
    ]


def test_an_interrupted_folder_is_gone_on_with(tmp_path, recipe, monkeypatch):
    generate(tmp_path / "whole", recipe)
    save, saved = Image.Image.save, []

    def interrupted(image, path, **options):
        if len(saved) == 2:
            path.write_bytes(b"half a picture")
            raise KeyboardInterrupt
        saved.append(path)
        save(image, path, **options)

    monkeypatch.setattr(Image.Image, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "a", recipe, batch_size=3)
    assert {p.name for p in (tmp_path / "a").iterdir()} == {
        "recipe.json",
        "000000.png",
        "000001.png",
    }
    monkeypatch.undo()
    kept = (tmp_path / "a" / "000000.png").stat().st_mtime_ns
    seen = []
    made = generate(tmp_path / "a", recipe, progress=lambda *now: seen.append(now))
    assert (made.made, made.kept) == (2, 2)
    assert seen == [(2, 4), (4, 4)]
    assert (tmp_path / "a" / "000000.png").stat().st_mtime_ns == kept
    assert same(pixels(tmp_path / "a"), pixels(tmp_path / "whole"))
    manifests = [(tmp_path / name / "images.csv").read_bytes() for name in ("a", "whole")]
    assert manifests[0] == manifests[1]


def test_a_finished_folder_needs_no_generator_and_takes_new_labels_and_captions(
    tmp_path, recipe, monkeypatch
):
    generate(tmp_path / "a", recipe, CAPTIONS[:3])
    with monkeypatch.context() as patch:
        patch.setattr(synthesis, "load_pipeline", lambda *_: pytest.fail("loaded"))
        made = generate(tmp_path / "a", recipe, CAPTIONS[:3], LABELS[::-1][:3])
        assert (made.made, made.kept) == (0, 3)
        assert made.manifest.read_text("utf-8").splitlines()[1].endswith('"[""hot|dog""]"')
    assert generate(tmp_path / "a", recipe).made == 1
    generate(tmp_path / "whole", recipe)
    assert same(pixels(tmp_path / "a"), pixels(tmp_path / "whole"))


def test_the_recipe_is_recorded_with_what_made_the_images(tmp_path, recipe):
    generate(tmp_path, recipe, CAPTIONS[:1])
    content = json.loads((tmp_path / "recipe.json").read_text())
    assert Recipe(**content["recipe"]) == recipe
    (maker,) = content["made_with"]
    assert maker["pipeline"] == "StableDiffusionPipeline"
    assert (maker["folder"], maker["device"], maker["precision"]) == (
        recipe.generator,
        "cpu",
        "float32",
    )
    assert {"diffusers", "transformers", "torch", "ccr-diag"} <= maker["versions"].keys()
    generate(tmp_path, recipe, CAPTIONS[:2])
    assert json.loads((tmp_path / "recipe.json").read_text()) == content
    earlier = {**maker, "precision": "float16"}
    (tmp_path / "recipe.json").write_text(json.dumps({**content, "made_with": [earlier]}))
    generate(tmp_path, recipe, CAPTIONS[:3])
    found = json.loads((tmp_path / "recipe.json").read_text())
    assert found == {**content, "made_with": [earlier, maker]}


def test_what_the_safety_checker_blanks_is_left_out_and_not_drawn_again(
    tmp_path, recipe, monkeypatch
):
    from diffusers import StableDiffusionPipeline

    def check(pipeline, images, device, dtype):
        images[1] = 0
        return images, [False, True]

    monkeypatch.setattr(StableDiffusionPipeline, "run_safety_checker", check)
    made = generate(tmp_path, recipe, CAPTIONS[:2])
    assert (made.made, made.withheld) == (2, 1)
    data = load_dataset(f"manifest:{made.manifest}", "all", "negative")
    assert data.image_ids == ("000000.png",)
    assert data.class_names == ("dog",)
    made = generate(tmp_path, recipe, CAPTIONS[:2])
    assert (made.made, made.kept, made.withheld) == (0, 2, 1)


def test_neither_library_writes_to_the_terminal(tmp_path, recipe, capfd, monkeypatch):
    import diffusers.utils.logging as of_diffusers
    import transformers.utils.logging as of_transformers

    said = []
    handler = logging.Handler()
    handler.emit = said.append
    for log in (of_diffusers, of_transformers):
        log.set_verbosity_warning()
        log.enable_progress_bar()
    for name in ("diffusers", "transformers"):
        monkeypatch.setattr(logging.getLogger(name), "handlers", [handler])
    generate(tmp_path, recipe, ("a caption of more than sixteen letters",))
    assert capfd.readouterr() == ("", "")
    assert said == []


def test_a_hub_name_is_downloaded_as_safetensors(tmp_path, recipe, monkeypatch):
    from diffusers import DiffusionPipeline

    asked = []

    def download(name, **options):
        asked.append((name, options))
        return recipe.generator

    monkeypatch.setattr(DiffusionPipeline, "download", download)
    generate(tmp_path, replace(recipe, generator="org/name"), CAPTIONS[:1])
    assert asked == [("org/name", {"use_safetensors": True})]


@pytest.mark.parametrize(("device", "precision"), [("cuda", "float16"), ("cpu", "float32")])
def test_half_precision_is_for_the_gpu(generator, monkeypatch, device, precision):
    from diffusers import DiffusionPipeline

    monkeypatch.setattr(DiffusionPipeline, "to", lambda pipeline, where: (pipeline, where))
    pipeline, where = synthesis.load_pipeline(generator, torch.device(device))
    assert (str(pipeline.dtype), where.type) == (f"torch.{precision}", device)
    kinds = {p.dtype for part in (pipeline.unet, pipeline.text_encoder) for p in part.parameters()}
    assert kinds == {getattr(torch, precision)}


@pytest.mark.parametrize("part", ["unet/diffusion_pytorch_model", "text_encoder/model"])
def test_pickled_weights_are_never_read(tmp_path, recipe, part):
    from safetensors.torch import load_file

    copy = tmp_path / "copy"
    shutil.copytree(recipe.generator, copy)
    weights = copy / f"{part}.safetensors"
    name = weights.stem.replace("model", "pytorch_model").replace("pytorch_pytorch", "pytorch")
    torch.save(load_file(weights), weights.with_name(f"{name}.bin"))
    weights.unlink()
    with pytest.raises(BadConfig, match="in safetensors files, but .* could not be loaded"):
        generate(tmp_path / "a", replace(recipe, generator=str(copy)))


def test_a_folder_that_is_no_generator(tmp_path, recipe):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadConfig) as error:
        generate(tmp_path / "a", replace(recipe, generator=str(tmp_path / "empty")))
    text = str(error.value)
    assert text.startswith(
        "A generator must be a text-to-image pipeline of diffusers in safetensors files, but "
        f"{str(tmp_path / 'empty')!r} could not be loaded as one ("
    )
    assert text.endswith("; check the name, the folder, and the network.")
    assert "\n" not in text


def test_a_recipe_that_the_generator_refuses(tmp_path, recipe):
    with pytest.raises(BadConfig, match=r"refuses this recipe \(.*divisible by"):
        generate(tmp_path, replace(recipe, size=33))
    assert generate(tmp_path, recipe, CAPTIONS[:1]).made == 1  # as it left no image behind
    assert json.loads((tmp_path / "recipe.json").read_text())["recipe"]["size"] == 32


def test_too_little_memory_is_said_and_keeps_what_is_done(tmp_path, recipe, monkeypatch):
    from diffusers import StableDiffusionPipeline

    generate(tmp_path, recipe, CAPTIONS[:1])

    def full(*args, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(StableDiffusionPipeline, "__call__", full)
    with pytest.raises(RunFailed, match="than cpu has free, for 3 at once of 32 × 32 pixels"):
        generate(tmp_path, recipe)
    monkeypatch.setattr(StableDiffusionPipeline, "to", full)
    with pytest.raises(RunFailed, match="needs more memory than cpu has free; choose a smaller"):
        generate(tmp_path, recipe)
    assert list(pixels(tmp_path)) == ["000000.png"]


@pytest.mark.parametrize("missing", ["diffusers", "transformers"])
def test_the_extra_is_named_when_it_is_missing(tmp_path, monkeypatch, missing):
    monkeypatch.delitem(sys.modules, f"{missing}.utils", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtra) as error:
        generate(tmp_path, Recipe("org/name"))
    assert re.fullmatch(
        r"Generating images needs diffusers and transformers, which could not be imported "
        rf"\([^()]*{missing}[^()]*\); run pip install -U 'ccr-diag\[diffusers\]'\.",
        str(error.value),
    )


def test_finetune_makes_the_images_that_it_learns_from(
    ccr, tiny_clip, drawn_data, generator, tmp_path
):
    texts = tmp_path / "texts.txt"
    texts.write_text("two red squares\nnothing\na blue square\na green square\na red square\n")
    flags = [
        "--model", tiny_clip, "--data", drawn_data, "--new-class", "grey square", "--device", "cpu",
        "--framework", "t2i_pal", "--epochs", 1, "--shots", 1, "--captions", texts,
        "--images-from", "diffusers", "--generator", generator, "--generator-size", 32,
    ]  # fmt: skip
    result = ccr("finetune", *flags, "--generator-steps", 2, "-o", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "images: 3 of 3" in result.stderr
    facts = load_checkpoint(tmp_path / "run" / "split-1").facts
    assert facts["shots"] == [1, 1, 1]
    made = [Path(p) for p in (tmp_path / "run/split-1/examples.txt").read_text().splitlines()]
    assert [path.name for path in made] == [f"00000{n}.png" for n in range(3)]
    times = [path.stat().st_mtime_ns for path in made]
    again = ccr("finetune", *flags, "--generator-steps", 2, "-o", tmp_path / "again")
    assert again.exit_code == 0
    assert [path.stat().st_mtime_ns for path in made] == times  # they are kept
    result = ccr("finetune", *flags, "--generator-steps", 0, "-o", tmp_path / "no")
    assert result.exit_code == 2
    result = ccr("finetune", *flags, "--generator", tmp_path, "-o", tmp_path / "no")
    assert result.exit_code == 2
    assert "A generator must be a text-to-image pipeline of diffusers" in result.stderr
    assert not (tmp_path / "no").exists()


def begin(folder, recipe, number, caption):
    """A folder with one image, drawn by nobody."""
    made = {"recipe": asdict(recipe), "made_with": []}
    (folder / "recipe.json").write_text(json.dumps(made))
    synthesis._save(folder / f"{number:06d}.png", Image.new("RGB", (8, 8)), caption, False)


OTHERS = {"seed": 2, "per_caption": 2, "size": 64, "steps": 3, "guidance": 1.0, "generator": "x/y"}


@pytest.mark.parametrize(("name", "value"), OTHERS.items())
def test_another_recipe_is_refused_in_the_same_folder(tmp_path, name, value):
    first = Recipe("org/name")
    begin(tmp_path, first, 0, CAPTIONS[0])
    before = (tmp_path / "recipe.json").read_bytes()
    with pytest.raises(OutputExists) as error:
        generate(tmp_path, replace(first, **{name: value}))
    assert str(error.value) == (
        f"Images of a folder must have one recipe, but those of {tmp_path} were made with {name} "
        f"{getattr(first, name)!r}, not {value!r}; choose another folder, or the same recipe to go "
        "on with this one."
    )
    assert (tmp_path / "recipe.json").read_bytes() == before


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda path: path.write_bytes(b"none"), "carries none"),
        (lambda path: Image.new("RGB", (8, 8)).save(path), "carries none"),
        (lambda path: None, "shows 'a cow'"),
    ],
)
def test_images_of_other_captions_are_refused(tmp_path, write, said):
    begin(tmp_path, Recipe("org/name"), 1, "a cow")
    path = tmp_path / "000001.png"
    write(path)
    before = path.read_bytes()
    with pytest.raises(OutputExists) as error:
        generate(tmp_path, Recipe("org/name"))
    assert str(error.value) == (
        f"{path} must show the caption 'a cat, a dog' to be kept, but {said}; choose another "
        "folder, or keep the captions and their order."
    )
    assert path.read_bytes() == before


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputExists, match=r"holds files and no recipe\.json; choose another"):
        generate(tmp_path, Recipe("org/name"))
    with pytest.raises(OutputExists, match=r"but .*mine\.txt is a file"):
        generate(tmp_path / "mine.txt", Recipe("org/name"))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"recipe": 1, "made_with": []}'])
def test_a_damaged_recipe_is_said(tmp_path, text):
    begin(tmp_path, Recipe("org/name"), 0, CAPTIONS[0])
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises(BadData, match=r"recipe\.json must be the recipe of its images"):
        generate(tmp_path, Recipe("org/name"))


@pytest.mark.parametrize(
    ("name", "value", "least"), [("seed", -1, 0), ("per_caption", 0, 1), ("steps", 0, 1)]
)
def test_a_recipe_out_of_range(name, value, least):
    with pytest.raises(BadConfig) as error:
        Recipe("org/name", **{name: value})
    assert str(error.value) == f"{name} must be at least {least}, but got {value}."


def test_no_captions(tmp_path):
    with pytest.raises(BadData, match="at least one caption, but there is none"):
        generate(tmp_path / "a", Recipe("org/name"), ())
    assert not (tmp_path / "a").exists()
