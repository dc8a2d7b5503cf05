"""The only door to open_clip: a frozen CLIP that encodes images, texts, and learned contexts.

In: a model in open_clip's words (``--model``, ``--pretrained``). Out: unit embeddings, float32.
"""

import hashlib
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import open_clip
import torch
from huggingface_hub import constants
from jaxtyping import Bool, Float, Int
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from ccr_diag.causal_text import CausalTower, causal_tower
from ccr_diag.embedded import MODEL_DIR
from ccr_diag.errors import BadConfig, BadData, nearest
from ccr_diag.hub import without_waiting
from ccr_diag.local_features import Features, encode_positions
from ccr_diag.pretrained import Pretrained, build, find_pretrained
from ccr_diag.prompt_encoding import PromptEncoder, TextTower
from ccr_diag.token_features import encode_tokens

logger = logging.getLogger(__name__)

EMBEDDED = "embedded"
PRECISIONS = ("fp32", "amp_bf16")  # open_clip's words
# Settings of open_clip's modules that change what they compute, but not their weights.
WITHOUT_WEIGHTS = ("num_heads", "pool_type", "text_pool_type", "eos_id", "text_eos_id", "pad_id")
OF_TRANSFORMERS = ("model_type", "num_attention_heads", "num_heads", "pad_token_id")


@dataclass(frozen=True, eq=False)
class Backbone:
    """A frozen image and text tower.

    Args:
        name: the model in open_clip's words, with its pretrained tag or file.
        fingerprint: sha256 over weights, architecture and preprocessing; features and checkpoints
            are tied to it.
        scale: τ, the exponential of the learned logit scale.
        bias: the learned logit bias, if the model has one.
        causal: the text tower's parts, if its prompts need not be encoded whole.
    """

    name: str
    model: nn.Module
    tokenizer: Callable[..., Tensor]
    preprocess: Callable[[Image.Image], Tensor]
    fingerprint: str
    scale: float
    bias: float | None
    causal: CausalTower | None
    device: torch.device
    precision: str

    @property
    def context_length(self) -> int:
        """Longest text, in tokens."""
        return int(getattr(self.tokenizer, "context_length", 77))

    @property
    def token_embedding(self) -> nn.Module:
        """The module that turns token ids into vectors, where learned context enters."""
        return _token_embedding(self.model)

    def autocast(self) -> torch.autocast:
        """The precision asked for, on this device."""
        enabled = self.precision == "amp_bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    @torch.inference_mode()
    def encode_images(
        self, images: Float[Tensor, "images 3 height width"]
    ) -> Float[Tensor, "images dim"]:
        """Unit embeddings of preprocessed images, float32 on the CPU."""
        with self.autocast():
            features = self.model.encode_image(images.to(self.device))  # type: ignore[operator]
        return F.normalize(features.float(), dim=-1).cpu()

    @torch.inference_mode()
    def encode_positions(self, images: Float[Tensor, "images 3 height width"]) -> Features:
        """Unit embeddings of preprocessed images and of each of their positions, as float32.

        Returns:
            Global features, those of ``encode_images``, and local ones, (images, positions, dim).

        Raises:
            BadConfig: an image tower that does not project its positions one by one.
        """
        with self.autocast():
            found, local = encode_positions(self.model.visual, images.to(self.device))  # type: ignore[arg-type]
        return F.normalize(found.float(), dim=-1).cpu(), F.normalize(local.float(), dim=-1).cpu()

    @torch.inference_mode()
    def encode_tokens(self, ids: Int[Tensor, "texts tokens"]) -> Features:
        """Unit embeddings of texts and of each of their tokens, as float32; zeros for padding.

        Args:
            ids: token ids; columns after every text's end may be left out.

        Returns:
            Features of the texts, those of ``encode_text``, and of tokens, (texts, tokens, dim).

        Raises:
            BadConfig: a text tower that is not causal.
        """
        if self.causal is None:
            raise BadConfig(
                "Features of a caption's tokens need a causal text tower of open_clip's own, but "
                f"that of {self.name} is another; choose another model, or a framework that does "
                "not learn from captions."
            )
        with self.autocast():
            found, tokens = encode_tokens(self.causal, ids.to(self.device))
        return F.normalize(found.float(), dim=-1).cpu(), F.normalize(tokens.float(), dim=-1).cpu()

    def tokenize(
        self, texts: Sequence[str], class_names: Sequence[str] | None = None
    ) -> Int[Tensor, "texts tokens"]:
        """Token ids; a text that the tower would cut is refused.

        Args:
            texts: what to encode.
            class_names: the classes that the texts speak of, to name one that is too long.

        Raises:
            BadData: a text is longer than the context.
        """
        cut = self.too_long(texts)
        if cut.any():
            first = int(cut.nonzero()[0])
            which = (
                repr(texts[first])
                if class_names is None
                else f"that of class {class_names[first]!r}"
            )
            raise BadData(
                f"A prompt must fit the text tower's {self.context_length} tokens, "
                f"but {which} is longer; shorten the class name or learn fewer context tokens."
            )
        return self.tokenizer(list(texts)).to(self.device)

    def too_long(self, texts: Sequence[str]) -> Bool[Tensor, " texts"]:
        """Which texts the tower would cut."""
        room = self.tokenizer(["a"]).shape[1]
        one_more = self.tokenizer(["a", *texts], context_length=room + 1)
        # A closing token comes after all padding (mode ``clips``), or is made padding.
        closed = bool(one_more[0, room] != one_more[0, room - 1])
        hidden = closed or getattr(self.tokenizer, "strip_sep_token", False)
        last = one_more[:, room - hidden]
        return last[1:] != last[0]  # a short text ends in padding

    def prompt_encoder(
        self,
        ids: Int[Tensor, "texts tokens"],
        at: Int[Tensor, "texts context"] | None = None,
        specific: bool = False,
    ) -> PromptEncoder:
        """What encodes these texts again and again, with a context that changes.

        Args:
            ids: token ids with placeholders where the context goes.
            at: positions of the context's tokens; None for texts without.
            specific: whether every text has a context of its own.
        """
        tower = TextTower(self.model, self.token_embedding, self.causal, self.autocast)
        return PromptEncoder(tower, ids, at, specific)

    def encode_text(
        self,
        ids: Int[Tensor, "texts tokens"],
        context: Float[Tensor, "*texts context width"] | None = None,
        at: Int[Tensor, "texts context"] | None = None,
    ) -> Float[Tensor, "texts dim"]:
        """Unit embeddings of token ids, float32, differentiable in the context.

        Args:
            ids: token ids with placeholders where the context goes.
            context: vectors that replace the embeddings of the tokens ``at``, the same for every
                text or for each its own.
            at: their positions.
        """
        specific = context is not None and context.ndim == 3
        return self.prompt_encoder(ids, at, specific)(context)


def load_backbone(
    model: str = EMBEDDED,
    pretrained: str | None = None,
    device: str = "auto",
    precision: str = "fp32",
) -> Backbone:
    """Load a CLIP by its open_clip name and freeze it.

    Args:
        model: ``embedded``, a built-in name such as ``ViT-B-16``, ``local-dir:PATH`` or
            ``hf-hub:ORG/REPO``.
        pretrained: weights tag or file, for built-in names; ``ccr_diag.pretrained`` says where
            the preprocessing comes from.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        precision: ``fp32``, or ``amp_bf16`` for bfloat16 where autocast allows it.

    Raises:
        BadConfig: unknown model or device; weights or preprocessing that are missing, or do not
            fit; a tokenizer that pads on the left.
        MissingExtra: a text tower or tokenizer of transformers, which is not installed.
    """
    where = find_device(device)
    _check_precision(precision, where)
    source = f"local-dir:{MODEL_DIR}" if model == EMBEDDED else model
    if ":" in source and pretrained is not None:
        raise BadConfig(
            f"--pretrained goes with a built-in model, but {model!r} brings its own weights; "
            "leave it out."
        )
    with _quiet():
        found = find_pretrained(source, pretrained)
        loaded, tokenizer = _build(found)
    loaded.to(where)
    preprocess = image_transform_v2(PreprocessCfg(**loaded.visual.preprocess_cfg), is_train=False)
    loaded.eval().requires_grad_(False)
    bias = getattr(loaded, "logit_bias", None)
    causal = causal_tower(loaded)
    logger.info(
        "Text tower of %s: %s.",
        model,
        "encodes prompts whole, as it is of no causal kind known here"
        if causal is None
        else "causal, so prompts are encoded up to their pooled token, their common prefix once",
    )
    return Backbone(
        name=model if pretrained is None else f"{model}:{pretrained}",
        model=loaded,
        tokenizer=tokenizer,
        preprocess=preprocess,
        fingerprint=_fingerprint(loaded, preprocess),
        scale=float(loaded.logit_scale.exp()),
        bias=None if bias is None else float(bias),
        causal=causal,
        device=where,
        precision=precision,
    )


def find_device(device: str) -> torch.device:
    """The device meant by ``auto`` or by its name."""
    if device != "auto":
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            raise BadConfig(
                f"The device must be auto, or one that torch finds here, but got {device!r} "
                f"({str(error).splitlines()[0]})."
            ) from error
        return torch.device(device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _check_precision(precision: str, device: torch.device) -> None:
    """A precision is known, and the device has it."""
    if precision not in PRECISIONS:
        raise BadConfig(
            f"The precision must be {' or '.join(PRECISIONS)}, but got {precision!r}"
            f"{nearest(precision, PRECISIONS)}"
        )
    if precision == "fp32":
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # torch warns, and goes on in float32
            torch.autocast(device.type, torch.bfloat16)
    except (RuntimeError, UserWarning) as error:
        raise BadConfig(
            f"The precision amp_bf16 needs bfloat16, which {device} has not "
            f"({str(error).splitlines()[0]}); use --precision fp32."
        ) from error


def _build(found: Pretrained) -> tuple[Any, Callable[..., Tensor]]:
    """The model with its weights, and its tokenizer."""
    with without_waiting() if found.asks_hub else nullcontext():
        try:
            tokenizer = open_clip.get_tokenizer(
                found.source, **found.text.get("tokenizer_kwargs", {})
            )
        except Exception as error:  # of open_clip, transformers and what they read
            raise BadConfig(
                f"The tokenizer of model {found.source!r} could not be loaded ({_reason(error)}); "
                f"{_of_transformers(found) or 'check the tokenizer_kwargs in its settings'}."
            ) from error
        try:
            loaded = build(found)
        except BadConfig:
            raise
        except Exception as error:  # of open_clip, timm, transformers and what they read
            advice = _of_transformers(found)
            raise BadConfig(
                f"Model {found.source!r} could not be loaded with the weights "
                f"{str(found.weights)!r} ({_reason(error)}); check that the weights are those of "
                f"the model{advice and f', and {advice}'}."
            ) from error
    padding = getattr(getattr(tokenizer, "tokenizer", None), "padding_side", "right")
    if padding != "right":
        raise BadConfig(
            f"The tokenizer must pad texts on the right, but that of {found.source!r} pads on the "
            f'{padding}; set "padding_side" to "right" in its tokenizer_config.json.'
        )
    return loaded, tokenizer


def _reason(error: Exception) -> str:
    """An error in one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def _of_transformers(found: Pretrained) -> str:
    """What to do about files that transformers needs beside the weights, if it needs some."""
    if found.of_hub:
        cache = ", ".join(f"models--{name.replace('/', '--')}" for name in found.of_hub)
        fetch = "; ".join(f"hf download {name}" for name in found.of_hub)
        return (
            f"transformers takes {' and '.join(found.of_hub)} of the hub: where there is a network "
            f"run `{fetch}` and copy {cache} of the hub's cache there into {constants.HF_HUB_CACHE}"
        )
    if {"hf_tokenizer_name", "hf_model_name"} & found.text.keys():
        return (
            "tokenizer.json, tokenizer_config.json and a text tower's config.json, as transformers "
            f"stores them, must be in {str(found.weights.parent)!r}"
        )
    return ""


@contextmanager
def _quiet() -> Iterator[None]:
    """No log lines and no warnings from open_clip and what it loads with."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _fingerprint(model: nn.Module, preprocess: object) -> str:
    """sha256 over names and bytes of all weights, what computes with them, and preprocessing."""
    steps = re.sub(r" at 0x[0-9a-f]+", "", repr(preprocess))  # a function's address is no setting
    digest = hashlib.sha256(steps.encode())
    if text_settings := getattr(getattr(model, "text", None), "config", None):  # of transformers
        digest.update(
            str([getattr(text_settings, setting, None) for setting in OF_TRANSFORMERS]).encode()
        )
    for name, module in model.named_modules():
        settings = [getattr(module, setting, None) for setting in WITHOUT_WEIGHTS]
        masked = getattr(module, "attn_mask", None) is not None
        digest.update(f"{name} {type(module).__name__} {settings} {masked}".encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(
            tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        )
    return digest.hexdigest()


def _token_embedding(model: Any) -> nn.Module:
    """The token embedding of CLIP, of a custom text tower, or of a Hugging Face tower."""
    text = getattr(model, "text", model)
    found = getattr(text, "token_embedding", None)
    if found is None:
        found = text.transformer.get_input_embeddings()
    return found  # type: ignore[no-any-return]
