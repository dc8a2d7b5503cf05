"""A model in open_clip's words → its weights file, and the preprocessing they were trained with.

    ViT-B-16 + TAG      weights and preprocessing of open_clip's own list
    ViT-B-16 + FILE     preprocessing of ``open_clip_config.json`` beside the file; of OpenAI's
                        archives, that of the tag ``openai``; else what all tags of the model share
    local-dir:FOLDER    weights and ``open_clip_config.json`` in the folder
    hf-hub:ORG/REPO     the same files, of the hub or its cache

open_clip alone would start from random weights, or from a preprocessing that does not fit, where
something is missing. Here that is an error.
"""

import importlib.util
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import open_clip
from huggingface_hub import try_to_load_from_cache
from open_clip.pretrained import download_pretrained_from_hf
from torch import nn

from ccr_diag.errors import BadConfig, MissingExtra, nearest
from ccr_diag.hub import without_waiting
from ccr_diag.weights_file import is_torchscript, stored_shapes

CONFIG = "open_clip_config.json"
LOCAL, HUB = "local-dir:", "hf-hub:"
SHARED = ("mean", "std", "interpolation", "resize_mode")
OPENAI = {
    "mean": list(open_clip.OPENAI_DATASET_MEAN),
    "std": list(open_clip.OPENAI_DATASET_STD),
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}
# Names that a weights file may have, the first found is taken: open_clip's order.
WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
HUB_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
OPENAI_NUMBERS = {"input_resolution", "context_length", "vocab_size"}  # beside OpenAI's tensors
ADVICE = "`ccr-diag doctor` tells which weights are on this disk and how to get others"

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Pretrained:
    """What a model is made from.

    Args:
        source: the model's name for open_clip.
        weights: the file.
        model: open_clip's settings of the architecture.
        preprocess: open_clip's settings of the preprocessing: ``mean``, ``std`` and others.
    """

    source: str
    weights: Path
    model: Settings
    preprocess: Settings

    @property
    def text(self) -> Settings:
        """Settings of the text tower; files of a local model are named relative to its folder."""
        text = dict(self.model["text_cfg"])
        if not self.source.startswith(LOCAL):
            return text
        folder, tokenizer = self.weights.parent, dict(text.get("tokenizer_kwargs", {}))
        if "bpe_path" in tokenizer:
            text["tokenizer_kwargs"] = tokenizer | {"bpe_path": str(folder / tokenizer["bpe_path"])}
        name = text.get("hf_model_name")
        if name and (folder / name / "config.json").is_file():
            text["hf_model_name"] = str(folder / name)
        return text

    @property
    def of_hub(self) -> tuple[str, ...]:
        """What transformers takes of the hub: its text tower's settings, its tokenizer."""
        text = self.text
        model, tokenizer = (text.get(key) for key in ("hf_model_name", "hf_tokenizer_name"))
        names = [model, None if self.source.startswith(LOCAL) else tokenizer]
        return tuple(dict.fromkeys(name for name in names if name and not Path(name).exists()))

    @property
    def asks_hub(self) -> bool:
        """Whether making the model asks the hub, for files that it may have in its cache."""
        return self.source.startswith(HUB) or bool(self.of_hub)


def find_pretrained(source: str, tag: str | None) -> Pretrained:
    """The weights and preprocessing of a model.

    Args:
        source: a built-in name, ``local-dir:PATH`` or ``hf-hub:ORG/REPO``.
        tag: weights tag or file, for built-in names.

    Raises:
        BadConfig: unknown model; no weights; no preprocessing; activation that does not fit.
        MissingExtra: a text tower or tokenizer of transformers, which is not installed.
    """
    if source.startswith(LOCAL):
        found = _of_folder(source)
    elif source.startswith(HUB):
        found = _of_hub(source)
    else:
        found = _builtin(source, tag)
    text = found.text
    uses = [key for key in ("hf_model_name", "hf_tokenizer_name") if text.get(key)]
    if uses and importlib.util.find_spec("transformers") is None:
        raise MissingExtra(
            f"The text tower or tokenizer of {source!r} is transformers' {text[uses[0]]!r}, but "
            "transformers is not installed; run pip install 'ccr-diag[hf-text]'."
        )
    return found


def known_before(source: str, tag: str | None) -> tuple[int | None, Path | None]:
    """What can be told of a model without fetching or loading its weights.

    Args:
        source: see ``find_pretrained``.
        tag: see ``find_pretrained``.

    Returns:
        Numbers of an embedding, and the file of the weights; None where they are not known.

    Raises:
        BadConfig: see ``find_pretrained``, as far as it can be told.
        MissingExtra: see ``find_pretrained``.
    """
    if source.startswith(HUB):
        return None, None
    if tag in open_clip.list_pretrained_tags_by_model(source):
        return int(open_clip.get_model_config(source)["embed_dim"]), None
    found = find_pretrained(source, tag)
    return int(found.model["embed_dim"]), found.weights


def _of_folder(source: str) -> Pretrained:
    """A folder with weights and settings."""
    folder = Path(source.removeprefix(LOCAL))
    if not folder.is_dir():
        raise BadConfig(
            f"local-dir: must name a folder with {CONFIG} and weights, but there is no folder "
            f"{str(folder)!r}; check the path."
        )
    names = sorted(p.name for p in folder.iterdir() if p.suffix in (".safetensors", ".bin", ".pth"))
    known = [name for name in WEIGHTS if name in names] or names
    if not known:
        raise BadConfig(
            f"A model needs its weights, but the folder {str(folder)!r} has none "
            f"({WEIGHTS[0]}, or another .safetensors, .bin or .pth file); put them there, as "
            "random weights are never used."
        )
    if known == names and len(names) > 1 and names[0] not in WEIGHTS:
        raise BadConfig(
            f"Which weights are meant must be clear, but the folder {str(folder)!r} has "
            f"{', '.join(names)}; name the right one {WEIGHTS[0]}."
        )
    model, preprocess = _read_config(folder / CONFIG)
    return Pretrained(source, folder / known[0], model, preprocess)


def _of_hub(source: str) -> Pretrained:
    """The same files of a repository."""
    repo = source.removeprefix(HUB)
    with without_waiting() as silence:
        try:
            config = download_pretrained_from_hf(repo, filename=CONFIG)
            weights = download_pretrained_from_hf(repo)
        except Exception as error:  # of the hub, of its network library, of open_clip
            raise _not_fetched(source, repo, silence, error) from error
    return Pretrained(source, Path(weights), *_read_config(Path(config)))


def _builtin(model: str, tag: str | None) -> Pretrained:
    """A name that open_clip knows, with a tag or file."""
    if model not in open_clip.list_models():
        folder = f"; a folder is given as {LOCAL}{model}." if Path(model).is_dir() else ""
        raise BadConfig(
            "The model must be 'embedded', a name that open_clip knows, local-dir:PATH or "
            f"hf-hub:ORG/REPO, but got {model!r}"
            f"{folder or nearest(model, open_clip.list_models())}"
        )
    tags = open_clip.list_pretrained_tags_by_model(model)
    if tag is None:
        fit = ", ".join(usable_tags(model)) or "none known"
        raise BadConfig(
            f"Model {model!r} needs --pretrained, a tag ({fit}) "
            "or a weights file, as random weights are never used."
        )
    if tag in tags:
        return _of_tag(model, tag)
    if Path(tag).is_file():
        return _of_file(model, Path(tag))
    raise BadConfig(
        f"--pretrained of {model!r} must be a known tag or a weights file, "
        f"but got {tag!r}{nearest(tag, tags) if tags else '; no tag is known, so check the path.'}"
    )


def _of_tag(model: str, tag: str) -> Pretrained:
    """Weights of open_clip's own list, downloaded if they are not on this disk."""
    settings, entry = open_clip.get_model_config(model), open_clip.get_pretrained_cfg(model, tag)
    repo = os.path.split(entry.get("hf_hub", ""))[0]
    instead = f"{HUB}{repo}, which brings its activation" if repo else "a model of another name"
    _check_activation(f"{model}:{tag}", model, _is_quick(model, tag), instead)
    weights = _in_hub_cache(entry) or _in_own_cache(entry)
    if weights is None:
        with without_waiting() as silence:
            try:
                weights = Path(open_clip.download_pretrained(entry))
            except Exception as error:  # of the hub, of its network library, of open_clip
                raise _not_fetched(f"{model}:{tag}", repo, silence, error) from error
    return Pretrained(model, weights, settings, _preprocessing(entry))


def _of_file(model: str, weights: Path) -> Pretrained:
    """Weights of a file, whose preprocessing has to be known from elsewhere."""
    settings, config = open_clip.get_model_config(model), weights.parent / CONFIG
    beside, preprocess = _read_config(config, needs_model=False) if config.is_file() else ({}, None)
    tags = usable_tags(model)
    if stored_shapes(weights).keys() >= OPENAI_NUMBERS:
        _check_activation(str(weights), model, True, f"{LOCAL}FOLDER with {CONFIG}")
        tags = [tag for tag in tags if tag == "openai"]
    elif beside:
        quick = beside.get("quick_gelu", False)
        _check_activation(str(weights), model, quick, f"{LOCAL}{weights.parent}")
    if preprocess is not None:
        return Pretrained(model, weights, settings, preprocess)
    known = [_preprocessing(open_clip.get_pretrained_cfg(model, tag)) for tag in tags]
    if known and all(each == known[0] for each in known):
        return Pretrained(model, weights, settings, known[0])
    why = "differ in theirs" if known else "are none"
    example, of = (known[0], f"{model}:{tags[0]}") if known else (OPENAI, "OpenAI's CLIP")
    raise BadConfig(
        f"Preprocessing must come with the weights, but {str(weights)!r} has none with it and "
        f"open_clip's weights of {model!r} {why}; write that which they were trained with into "
        f"{str(config)!r}, which for {of} is {json.dumps({'preprocess_cfg': example})}."
    )


def _preprocessing(entry: Settings) -> dict[str, Any]:
    """Of a tag in open_clip's list, as JSON has it: features are of one model by either way."""
    return {key: list(entry[key]) if key in ("mean", "std") else entry[key] for key in SHARED}


def usable_tags(model: str) -> list[str]:
    """Tags of open_clip's list that have the activation of the model by which it lists them."""
    tags = open_clip.list_pretrained_tags_by_model(model)
    return [tag for tag in tags if _fits(model, _is_quick(model, tag))]


def _is_quick(model: str, tag: str) -> bool:
    """Whether a tag's weights were trained with QuickGELU."""
    return bool(open_clip.get_pretrained_cfg(model, tag).get("quick_gelu", False))


def _fits(model: str, quick: bool) -> bool:
    """Whether weights have the activation of a model."""
    return bool(open_clip.get_model_config(model).get("quick_gelu", False)) == bool(quick)


def _check_activation(weights: str, model: str, quick: bool, instead: str) -> None:
    """Weights need the activation that they were trained with."""
    if _fits(model, quick):
        return
    name = f"{model}-quickgelu" if quick else model.removesuffix("-quickgelu")
    instead = name if name != model and name in open_clip.list_models() else instead
    raise BadConfig(
        f"QuickGELU mismatch: the weights {weights} were trained {'with' if quick else 'without'} "
        f"QuickGELU, but the model {model!r} is {'without' if quick else 'with'} it; "
        f"use --model {instead}."
    )


def _read_config(path: Path, needs_model: bool = True) -> tuple[Settings, Settings]:
    """Settings of the architecture, if they are needed or there, and of the preprocessing."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        model = config.get("model_cfg", {})
        complete = not (needs_model or model) or all(
            isinstance(model[key], dict) for key in ("vision_cfg", "text_cfg")
        )
        preprocess = dict(config.get("preprocess_cfg") or {})
        for key in ("mean", "std"):
            preprocess[key] = [float(value) for value in preprocess.get(key) or ()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        complete, reason = False, f"{type(error).__name__}: {error}"
    else:
        reason = "no vision_cfg and text_cfg"
    if not complete:
        raise BadConfig(
            f"A model's settings must be JSON with open_clip's model_cfg and preprocess_cfg, but "
            f"{str(path)!r} cannot be read so ({' '.join(reason.split())}); get the file that came "
            "with the weights."
        )
    if not all(len(preprocess[key]) == len("RGB") for key in ("mean", "std")):
        raise BadConfig(
            f"Preprocessing must come with the weights, but {str(path)!r} has no preprocess_cfg "
            "with mean and std of three channels; add those that the model was trained with."
        )
    return model, preprocess


def _not_fetched(name: str, repo: str, silence: str, error: Exception) -> BadConfig:
    """What to say where the hub does not answer, or has no such files."""
    last = str(error).rsplit("Last error: ", 1)[-1]
    why = silence or " ".join(last.split()).split(". ")[0][:200]
    return BadConfig(
        f"The weights of {name} are not on this disk and could not be fetched ({why}); where there "
        f"is a network run `hf download {repo} --local-dir FOLDER`, copy it here and give --model "
        f"{LOCAL}FOLDER, or choose --model embedded; {ADVICE}."
    )


def build(found: Pretrained) -> nn.Module:
    """The model with its weights.

    Raises:
        BadConfig: weights that are not those of the model.
        Exception: whatever else open_clip, timm and transformers raise.
    """
    own_text = {"text_cfg": {**found.text, "hf_model_pretrained": False}}
    model: nn.Module = open_clip.create_model(
        found.source,
        load_weights=False,  # they are loaded below, or this fails
        pretrained_text=False,
        force_preprocess_cfg={
            key: found.preprocess[key] for key in found.preprocess.keys() - {"size"}
        },
        **(own_text if found.text.get("hf_model_name") else {}),
    )
    check_tensors(model, found.weights)
    scripted = is_torchscript(found.weights)
    open_clip.load_checkpoint(model, str(found.weights), strict=True, weights_only=not scripted)
    return model


def check_tensors(model: nn.Module, weights: Path) -> None:
    """What open_clip would make up on its own, or resize, must be stored as the model has it.

    Raises:
        BadConfig: a logit bias or positions that do not fit.
    """
    stored = stored_shapes(weights)
    if not stored:
        return
    own = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    if ("logit_bias" in own) != ("logit_bias" in stored):
        has, lacks = ("the model", "the file") if "logit_bias" in own else ("the file", "the model")
        raise BadConfig(
            f"Weights must be those of the model, but {has} has a logit bias and {lacks} has none "
            f"({str(weights)!r}); choose the model that the weights were trained as."
        )
    for key in ("visual.positional_embedding", "positional_embedding", "text.positional_embedding"):
        mine = own.get(key, own.get(f"text.{key}"))
        if key in stored and mine not in (None, stored[key]):
            raise BadConfig(
                f"Weights must be those of the model, but {key} is {stored[key]} in "
                f"{str(weights)!r} and {mine} in the model; choose the model that the weights "
                "were trained as."
            )


class Available(NamedTuple):
    """Weights on this disk: the model and tag that open_clip knows them by."""

    model: str
    tag: str
    file: Path


def available_weights() -> list[Available]:
    """What of open_clip's list is in the hub's cache or in open_clip's own, without a network."""
    return list(_on_disk())


def _on_disk() -> Iterator[Available]:
    """Looks for each tag's file."""
    for model, tag in open_clip.list_pretrained():
        entry = open_clip.get_pretrained_cfg(model, tag)
        file = _in_hub_cache(entry) or _in_own_cache(entry)
        if file is not None and _fits(model, _is_quick(model, tag)):
            yield Available(model, tag, file)


def _in_hub_cache(entry: Settings) -> Path | None:
    """Where the hub's cache has these weights."""
    repo, name = os.path.split(entry.get("hf_hub", ""))
    if not repo:
        return None
    names = (Path(name).with_suffix(".safetensors").name, name) if name else HUB_WEIGHTS
    found = (try_to_load_from_cache(repo, each) for each in names)
    return next((Path(path) for path in found if isinstance(path, str)), None)


def _in_own_cache(entry: Settings) -> Path | None:
    """Where open_clip's cache has these weights, as has that of OpenAI's package."""
    name = os.path.basename(entry.get("url", ""))
    file = Path("~/.cache/clip").expanduser() / name
    return file if name and file.is_file() else None
