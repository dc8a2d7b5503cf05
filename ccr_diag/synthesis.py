"""Images from captions, drawn by a text-to-image model through diffusers (extra ``diffusers``).

In: captions, and the classes that each of them names. Out: a folder that ``manifest:`` reads:

recipe.json   what the images were asked for, and what made them
000000.png    image n, of caption n // per_caption, which it carries in its PNG text
images.csv    columns image, caption, labels; written last

Image n follows from the recipe, its caption and n alone, whichever images were drawn before it, to
the rounding of the batch and the device. So a folder that a run left unfinished, or that further
captions were added to, is gone on with: what is there is kept.

A generator's safety checker blanks some images. They are kept, marked, and left out of the
manifest, as they show nothing that their caption says.
"""

import csv
import hashlib
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int8
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ccr_diag.arrays import PRESENT, Labels
from ccr_diag.errors import BadConfig, BadData, MissingExtra, OutputExists, RunFailed
from ccr_diag.progress import UnitProgress, silent
from ccr_diag.runs import versions, write_atomically, write_text

RECIPE, MANIFEST = "recipe.json", "images.csv"
CAPTION, WITHHELD = "Description", "Warning"  # keywords that the PNG standard registers

Pipeline = Any  # of diffusers, whose pipelines have no common type for being called


@dataclass(frozen=True)
class Recipe:
    """Everything but the captions that decides what is drawn.

    The defaults suit Stable Diffusion 1 and 2; XL draws at 1024, and distilled ones such as
    SD-Turbo need 1 to 4 steps and guidance 0.

    Args:
        generator: folder of a diffusers pipeline, or its name on the Hugging Face Hub.
        seed: of the noise that every image starts from.
        per_caption: images a caption.
        size: height and width, pixels.
        steps: of denoising.
        guidance: scale of classifier-free guidance.

    Raises:
        BadConfig: a number is out of range.
    """

    generator: str
    seed: int = 1
    per_caption: int = 1
    size: int = 512
    steps: int = 25
    guidance: float = 7.5

    def __post_init__(self) -> None:
        for name, least in (("seed", 0), ("per_caption", 1), ("size", 1), ("steps", 1)):
            if getattr(self, name) < least:
                raise BadConfig(f"{name} must be at least {least}, but got {getattr(self, name)}.")


@dataclass(frozen=True)
class Synthesis:
    """What a folder of synthetic images holds.

    Args:
        manifest: its CSV file.
        made: images drawn now.
        kept: images that were there.
        withheld: images among both that the generator's safety checker blanked.
    """

    manifest: Path
    made: int
    kept: int
    withheld: int


def generate_images(
    captions: Sequence[str],
    labels: Labels,
    class_names: Sequence[str],
    folder: Path,
    recipe: Recipe,
    *,
    device: torch.device,
    batch_size: int = 4,
    progress: UnitProgress = silent,
) -> Synthesis:
    """Draw the captions that have no image yet, then write the manifest.

    Args:
        captions: what to draw.
        labels: (captions, classes), 1 where the caption names the class.
        class_names: one name a class.
        folder: new, empty, or begun with this recipe.
        recipe: what decides the images.
        device: where the generator runs, in half precision on a GPU of NVIDIA or AMD.
        batch_size: images drawn together.
        progress: told the images that are there and the images in all.

    Raises:
        BadData: no captions.
        BadConfig: the generator cannot be loaded, or refuses the recipe.
        MissingExtra: diffusers, or a package that this generator needs, is not installed.
        OutputExists: the folder holds something else.
        RunFailed: memory or disk space ran out.
    """
    if not captions:
        raise BadData("Generating images needs at least one caption, but there is none.")
    named = [_named(class_names, row) for row in labels]
    wanted = [pair for pair in zip(captions, named, strict=True) for _ in range(recipe.per_caption)]
    prompts = [caption for caption, _ in wanted]
    content = _claim(folder, recipe)
    withheld = _withheld_images(folder, prompts)
    kept = len(withheld)
    missing = [n for n in range(len(prompts)) if n not in withheld]
    progress(kept, len(prompts))
    if missing:
        pipeline = load_pipeline(recipe.generator, device)
        _record_maker(folder, content, pipeline)
        for start in range(0, len(missing), batch_size):
            batch = missing[start : start + batch_size]
            drawn = _draw(pipeline, recipe, batch, [prompts[n] for n in batch])
            for n, (image, blanked) in zip(batch, drawn, strict=True):
                _save(_image_path(folder, n), image, prompts[n], blanked)
                withheld[n] = blanked
            progress(len(withheld), len(prompts))
    rows = [
        (_image_path(folder, n).name, *pair) for n, pair in enumerate(wanted) if not withheld[n]
    ]
    write_atomically(folder / MANIFEST, lambda partial: _write_rows(partial, rows))
    return Synthesis(folder / MANIFEST, len(missing), kept, sum(withheld.values()))


def load_pipeline(generator: str, device: torch.device) -> Pipeline:
    """A text-to-image pipeline from safetensors files, which hold no code.

    Args:
        generator: its folder, or its name on the Hugging Face Hub, whose ``HF_HUB_OFFLINE`` keeps
            to what was downloaded before.
        device: where it is to run.

    Raises:
        BadConfig: there is none, or none that is safe to load.
        MissingExtra: diffusers, or a package that this pipeline needs, is not installed.
        RunFailed: it does not fit into memory.
    """
    try:
        from diffusers import AutoPipelineForText2Image, DiffusionPipeline
        from diffusers.utils import logging as diffusers_logging
        from transformers.utils import logging as transformers_logging
    except (ImportError, RuntimeError) as error:  # the latter where their versions do not fit
        raise MissingExtra(
            "Generating images needs diffusers and transformers, which could not be imported "
            f"({_in_one_line(error)}); run pip install -U 'ccr-diag[diffusers]'."
        ) from error
    precision = torch.float16 if device.type == "cuda" else torch.float32
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for log in (diffusers_logging, transformers_logging):
                log.set_verbosity_error()
            folder = generator
            if not Path(generator).exists():  # on its own, so that it shows the hub's bar
                folder = DiffusionPipeline.download(generator, use_safetensors=True)
            for log in (diffusers_logging, transformers_logging):
                log.disable_progress_bar()
            pipeline = AutoPipelineForText2Image.from_pretrained(
                folder, torch_dtype=precision, use_safetensors=True
            )
            pipeline.set_progress_bar_config(disable=True)
            return pipeline.to(device)
    except ImportError as error:
        raise MissingExtra(
            f"Generator {generator!r} needs a package that is not installed "
            f"({_in_one_line(error)}); install it too."
        ) from error
    except torch.OutOfMemoryError as error:
        raise RunFailed(
            f"Generator {generator!r} needs more memory than {device} has free; choose a smaller "
            "one or another device."
        ) from error
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise BadConfig(
            "A generator must be a text-to-image pipeline of diffusers in safetensors files, but "
            f"{generator!r} could not be loaded as one ({_in_one_line(error)}); check the name, "
            "the folder, and the network."
        ) from error


def _in_one_line(error: Exception) -> str:
    """What a library says went wrong, as part of a sentence."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _claim(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """What the recipe file of this folder holds, or is to hold once there are images.

    Raises:
        OutputExists: its images have another recipe, or it holds files and no recipe.
        BadData: its recipe cannot be read.
    """
    path = folder / RECIPE
    if folder.exists() and not folder.is_dir():
        raise OutputExists(f"Images need a folder, but {folder} is a file; choose another.")
    if not path.exists() and folder.exists() and any(folder.iterdir()):
        raise OutputExists(
            f"The folder of images must be new, empty or one that this program began, but {folder} "
            f"holds files and no {RECIPE}; choose another."
        )
    # A recipe that failed before its first image binds nobody.
    if not path.exists() or not any(folder.glob("[0-9]*.png")):
        return {"recipe": asdict(recipe), "made_with": []}
    content = _read_recipe(path)
    for name, value in asdict(recipe).items():
        earlier = content["recipe"].get(name)
        if earlier != value:
            raise OutputExists(
                f"Images of a folder must have one recipe, but those of {folder} were made with "
                f"{name} {earlier!r}, not {value!r}; choose another folder, or the same recipe to "
                "go on with this one."
            )
    return content


def _record_maker(folder: Path, content: dict[str, Any], pipeline: Pipeline) -> None:
    """Add to the recipe file what draws from now on, if it is not what drew before."""
    packages = {name: version(name) for name in ("diffusers", "transformers")}
    maker = {
        "pipeline": type(pipeline).__name__,
        # Of a pipeline from the hub, the name of this folder is the commit.
        "folder": str(pipeline.config["_name_or_path"]),
        "device": pipeline.device.type,
        "precision": str(pipeline.dtype).removeprefix("torch."),
        "versions": versions() | packages,
    }
    if content["made_with"][-1:] != [maker]:
        content = {**content, "made_with": [*content["made_with"], maker]}
        write_text(folder / RECIPE, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _read_recipe(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
        if isinstance(content["recipe"], dict) and isinstance(content["made_with"], list):
            return dict(content)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise BadData(
        f"{path} must be the recipe of its images, but is damaged; choose another folder."
    )


def _image_path(folder: Path, n: int) -> Path:
    return folder / f"{n:06d}.png"


def _withheld_images(folder: Path, prompts: Sequence[str]) -> dict[int, bool]:
    """Number of each image that is there → whether it was withheld.

    Raises:
        OutputExists: an image is of another caption.
    """
    found: dict[int, bool] = {}
    for n, prompt in enumerate(prompts):
        path = _image_path(folder, n)
        if not path.exists():
            continue
        try:
            with Image.open(path) as image:  # reads no pixels
                caption, found[n] = image.info.get(CAPTION), WITHHELD in image.info
        except OSError:
            caption = None
        if caption != prompt:
            raise OutputExists(
                f"{path} must show the caption {prompt!r} to be kept, but "
                + ("carries none" if caption is None else f"shows {str(caption)!r}")
                + "; choose another folder, or keep the captions and their order."
            )
    return found


def _draw(
    pipeline: Pipeline, recipe: Recipe, numbers: Sequence[int], prompts: Sequence[str]
) -> Iterator[tuple[Image.Image, bool]]:
    """The images of these numbers, and whether the safety checker blanked them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            drawn = pipeline(
                prompt=list(prompts),
                height=recipe.size,
                width=recipe.size,
                num_inference_steps=recipe.steps,
                guidance_scale=recipe.guidance,
                generator=[_noise(recipe.seed, n) for n in numbers],
            )
    except torch.OutOfMemoryError as error:
        raise RunFailed(
            f"Generating images needs more memory than {pipeline.device} has free, for "
            f"{len(numbers)} at once of {recipe.size} × {recipe.size} pixels; ask for fewer at "
            "once. The images that are done are kept."
        ) from error
    except ValueError as error:
        raise BadConfig(
            f"Generator {recipe.generator!r} refuses this recipe ({_in_one_line(error)}); "
            "change it."
        ) from error
    blanked = getattr(drawn, "nsfw_content_detected", None) or [False] * len(numbers)
    return zip(drawn.images, map(bool, blanked), strict=True)


def _noise(seed: int, n: int) -> torch.Generator:
    """The random numbers of image n; drawn on the CPU, so the same on every device."""
    digest = hashlib.sha256(f"{seed} {n}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4]))


def _save(path: Path, image: Image.Image, caption: str, withheld: bool) -> None:
    """Write an image with its caption, whole or not at all."""
    text = PngInfo()
    text.add_itxt(CAPTION, caption)
    if withheld:
        text.add_itxt(WITHHELD, "blanked by the safety checker of its generator")
    write_atomically(path, lambda partial: image.save(partial, pnginfo=text))


def _named(class_names: Sequence[str], labels: Int8[np.ndarray, " classes"]) -> str:
    """The classes that are present, as a manifest lists them: JSON, as names may hold anything."""
    present = [name for name, label in zip(class_names, labels, strict=True) if label == PRESENT]
    return json.dumps(present, ensure_ascii=False)


def _write_rows(path: Path, rows: Sequence[tuple[str, str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("image", "caption", "labels"), *rows])
