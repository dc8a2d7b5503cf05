"""What public prompt-tuning checkpoints hold → learned contexts → class text embeddings.

    file of           prompt learner's keys            a prompt learner for
    CoOp              ctx                              plain
    KgCoOp            ctx (and, never used, bias_vectors, meta_net.*)    plain
    CoCoOp            ctx, meta_net.linear{1,2}.*      plain, moved by each image
    TaI-DPT           ctx, ctx_double                  global, local
    DualCoOp          ctx_pos, ctx_neg                 positive, negative
    TaI-DPT's dual    ctx, ctx_neg                     positive, negative

A context is (context, width), shared by all classes, or (classes, context, width). The embeddings
of the words around it (token_prefix…, token_suffix…, tokenized_prompts…) are made again from the
class names, so that they are those of the classes asked for. Neither class names nor backbone nor
the place of the class name stand in such a file.

Source: the published code of Zhou et al., 2022 (arXiv:2109.01134, arXiv:2203.05557), Yao et al.,
2023 (arXiv:2303.13283), Guo et al., 2023 (arXiv:2211.12739), Sun et al., 2022 (arXiv:2206.09541).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ccr_diag.backbone import Backbone
from ccr_diag.errors import BadCheckpoint
from ccr_diag.prompts import Position, context_prompts
from ccr_diag.torch_files import Foreign, StoredTensor, TorchFile, read_torch_file

Kind = Literal["coop", "kgcoop", "cocoop", "tai_dpt", "dualcoop"]

KINDS: dict[frozenset[str], tuple[Kind, dict[str, str]]] = {
    frozenset({"ctx"}): ("coop", {"plain": "ctx"}),
    frozenset({"ctx", "ctx_double"}): ("tai_dpt", {"global": "ctx", "local": "ctx_double"}),
    frozenset({"ctx_pos", "ctx_neg"}): (
        "dualcoop",
        {"positive": "ctx_pos", "negative": "ctx_neg"},
    ),
    frozenset({"ctx", "ctx_neg"}): ("dualcoop", {"positive": "ctx", "negative": "ctx_neg"}),
}
LEARNER = "prompt_learner."
CONTEXTS = {"ctx", "ctx_double", "ctx_pos", "ctx_neg"}
META_NET = ("linear1.weight", "linear1.bias", "linear2.weight", "linear2.bias")
UNUSED = "bias_vectors"  # only KgCoOp's own code has them
NUMBERS = {"temperature", "spatial_T", "ranking_scale"}
MADE_AGAIN = ("token_prefix", "token_suffix", "tokenized_prompts")
TOKENS_BESIDE = 4  # start, a class name of one token, full stop, end
READABLE = "CoOp, KgCoOp, CoCoOp, TaI-DPT and DualCoOp"


@dataclass(frozen=True)
class Context:
    """Learned context vectors.

    Args:
        key: their name in the file.
        vectors: float32; with a first axis when each class has its own.
    """

    key: str
    vectors: Float[Tensor, "*classes context width"]

    @property
    def class_specific(self) -> bool:
        """Whether each class has vectors of its own."""
        return self.vectors.ndim == 3

    @property
    def n_context(self) -> int:
        """Number of vectors in a prompt."""
        return self.vectors.shape[-2]

    @property
    def width(self) -> int:
        """Width of the text tower they were learned in."""
        return self.vectors.shape[-1]


@dataclass(frozen=True)
class PublicCheckpoint:
    """What others learned.

    Args:
        path: the file.
        kind: the framework; a KgCoOp file without its unused tensors is one of CoOp.
        contexts: by role: ``plain``; ``global`` and ``local``; ``positive`` and ``negative``.
        meta_net: CoCoOp's two linear layers, float32, by their names; else empty.
        n_classes: number of classes in tuning, where the file tells.
        facts: plain numbers and words beside: epoch, best score, temperatures.
    """

    path: Path
    kind: Kind
    contexts: dict[str, Context]
    meta_net: dict[str, Float[Tensor, "..."]]
    n_classes: int | None
    facts: dict[str, int | float | str]

    @property
    def class_specific(self) -> bool:
        """Whether each class has a context of its own, so that no other class can be scored."""
        return any(context.class_specific for context in self.contexts.values())


def read_public_checkpoint(path: Path) -> PublicCheckpoint:
    """Read a public CoOp, KgCoOp, CoCoOp, TaI-DPT or DualCoOp file; nothing in it is executed.

    Args:
        path: in the layout of Dassl or of a training script (a dict with ``state_dict``, of the
            prompt learner or of the whole model), a bare state_dict, or a bare context tensor.

    Raises:
        BadCheckpoint: missing, damaged, of another framework, or its tensors do not fit together.
    """
    file = read_torch_file(path)
    learner = _prompt_learner(file)
    _require_known(path, learner)
    found = frozenset(CONTEXTS & learner.keys())
    if found not in KINDS:
        raise BadCheckpoint(
            f"A checkpoint of {READABLE} must hold the keys "
            f"{'; or '.join(' and '.join(sorted(keys)) for keys in KINDS)}, but {path} holds "
            f"{' and '.join(sorted(found)) or _some(learner)}."
        )
    kind, keys = KINDS[found]
    contexts = {role: Context(key, _context(file, learner, key)) for role, key in keys.items()}
    _require_one_size(path, contexts)
    meta_net = {}
    if UNUSED in learner and kind == "coop":
        kind = "kgcoop"
    elif any(key.startswith("meta_net.") for key in learner):
        kind, meta_net = "cocoop", _meta_net(file, learner, contexts)
    return PublicCheckpoint(
        path=path,
        kind=kind,
        contexts=contexts,
        meta_net=meta_net,
        n_classes=_n_classes(learner, contexts),
        facts=_facts(file, learner),
    )


def class_text_embeddings(
    checkpoint: PublicCheckpoint,
    backbone: Backbone,
    class_names: Sequence[str],
    position: Position = "end",
) -> dict[str, Float[Tensor, "classes dim"]]:
    """Unit text embeddings of the classes with each of the checkpoint's contexts, by its role.

    Args:
        checkpoint: as read.
        backbone: the CLIP it was tuned on; the file does not name it.
        class_names: for a class-specific context those of tuning, in their order; for a shared one
            any.
        position: where the class name stood in tuning; the file does not tell.

    Raises:
        BadCheckpoint: the contexts fit neither the classes nor the text tower, or (CoCoOp) depend
            on the image.
        BadData: a class name that does not fit beside the context.
    """
    if checkpoint.kind == "cocoop":
        raise BadCheckpoint(
            "Class text embeddings must be the same for all images, but CoCoOp moves the context "
            f"of {checkpoint.path} by each image; give a checkpoint of CoOp, KgCoOp, TaI-DPT or "
            "DualCoOp."
        )
    return {
        role: _embeddings(checkpoint.path, context, backbone, class_names, position)
        for role, context in checkpoint.contexts.items()
    }


@torch.no_grad()
def _embeddings(
    path: Path,
    context: Context,
    backbone: Backbone,
    class_names: Sequence[str],
    position: Position,
) -> Float[Tensor, "classes dim"]:
    """Class text embeddings with one context."""
    require_fit(path, context, backbone, class_names)
    prompts = context_prompts(backbone, class_names, context.n_context, position)
    encode = backbone.prompt_encoder(prompts.ids, prompts.at, context.class_specific)
    return encode(context.vectors.to(backbone.device)).cpu()


def require_fit(
    path: Path, context: Context, backbone: Backbone, class_names: Sequence[str]
) -> None:
    """Refuse a context of other classes, of another text tower, or with no room for a name.

    Raises:
        BadCheckpoint: any of these; it names the key, the shape that would fit, and the file's.
    """
    shape, width = tuple(context.vectors.shape), _width(backbone)
    of_classes = (len(class_names),) if context.class_specific else ()
    fitting = (*of_classes, context.n_context, width)
    what = f"Key {context.key} of {path} must have the shape {fitting} to fit"
    if context.width != width:
        raise BadCheckpoint(
            f"{what} the text tower of {backbone.name}, whose width is {width}, but has {shape}; "
            "give the --model and --pretrained that it was tuned on."
        )
    if shape != fitting:
        raise BadCheckpoint(
            f"{what} the {len(class_names)} classes given, as it holds a context for each class, "
            f"but has {shape}; give the {shape[0]} classes that it was tuned on, in their order."
        )
    most = backbone.context_length - TOKENS_BESIDE
    if context.n_context > most:
        raise BadCheckpoint(
            f"Key {context.key} of {path} must have the shape "
            f"{(*of_classes, most, width)} or fewer vectors, to leave room for a class name in the "
            f"{backbone.context_length} tokens of {backbone.name}, but has {shape}; give the "
            "--model and --pretrained that it was tuned on."
        )


def _width(backbone: Backbone) -> int:
    """Width of the text tower's token embeddings."""
    return int(backbone.token_embedding(backbone.tokenize(["a"])).shape[-1])


# What the file holds


def _prompt_learner(file: TorchFile) -> dict[str, StoredTensor]:
    """The prompt learner's tensors by their names in it."""
    content = file.content
    if isinstance(content, StoredTensor):
        content = {"ctx": content}
    state = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(state, dict):
        what = state.name[:80] if isinstance(state, Foreign) else type(state).__name__
        raise BadCheckpoint(
            f"A checkpoint of {READABLE} must hold a state_dict of tensors, but {file.path} holds "
            f"a {what}, which is not run; save its state_dict() with torch.save."
        )
    named: dict[str, StoredTensor] = {}
    for key, value in state.items():
        if isinstance(key, str) and isinstance(value, StoredTensor):
            name = ".".join(part for part in key.split(".") if part != "module")  # DataParallel's
            if name in named:
                raise BadCheckpoint(
                    f"A checkpoint must hold each tensor once, but {file.path} holds "
                    f"{name[:80]} with and without 'module.'; keep one."
                )
            named[name] = value
    own = {k.removeprefix(LEARNER): v for k, v in named.items() if k.startswith(LEARNER)}
    return own or named


def _require_known(path: Path, learner: Mapping[str, StoredTensor]) -> None:
    """Refuse prompt learners that learn more than is read here: their scores would be wrong."""
    layers = {f"meta_net.{name}" for name in META_NET}
    known = CONTEXTS | NUMBERS | layers | {UNUSED}
    odd = [k for k in learner if k not in known and not k.startswith(MADE_AGAIN)]
    if odd:
        raise BadCheckpoint(
            f"A checkpoint must be one of {READABLE}, whose prompt learners hold "
            f"{', '.join(sorted(CONTEXTS))}, but {path} also holds {_some(odd)}; other frameworks "
            "are not read."
        )


def _some(keys: Sequence[str] | Mapping[str, Any]) -> str:
    """The first keys, in words."""
    first = [repr(key[:60]) for key in list(keys)[:3]]
    more = len(keys) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "") if first else "no tensors"


def _tensor(file: TorchFile, learner: Mapping[str, StoredTensor], key: str) -> Float[Tensor, "..."]:
    """A tensor of floating-point numbers, all finite, as float32."""
    tensor = file.tensor(learner[key])
    if not tensor.is_floating_point() or not bool(tensor.isfinite().all()):
        raise BadCheckpoint(
            f"Key {key} of {file.path} must hold finite floating-point numbers, but holds "
            f"{'NaN or infinity' if tensor.is_floating_point() else tensor.dtype}; tuning broke, "
            "or the file is another's."
        )
    return tensor.float()


def _context(
    file: TorchFile, learner: Mapping[str, StoredTensor], key: str
) -> Float[Tensor, "*classes context width"]:
    """Context vectors."""
    shape = learner[key].shape
    if len(shape) not in (2, 3) or 0 in shape:
        raise BadCheckpoint(
            f"Key {key} of {file.path} must have the shape (context, width) or (classes, context, "
            f"width), but has {shape}."
        )
    return _tensor(file, learner, key)


def _require_one_size(path: Path, contexts: Mapping[str, Context]) -> None:
    """Refuse two contexts of different towers or class lists; their lengths may differ."""
    one, *others = contexts.values()
    for other in others:
        fitting = (*one.vectors.shape[:-2], other.n_context, one.width)
        if tuple(other.vectors.shape) != fitting:
            raise BadCheckpoint(
                f"Key {other.key} of {path} must have the shape {fitting} to fit {one.key}, "
                f"{tuple(one.vectors.shape)}, but has {tuple(other.vectors.shape)}."
            )


def _meta_net(
    file: TorchFile, learner: Mapping[str, StoredTensor], contexts: Mapping[str, Context]
) -> dict[str, Float[Tensor, "..."]]:
    """CoCoOp's layers: image dim → hidden → width."""
    keys = {name: f"meta_net.{name}" for name in META_NET}
    missing = [key for key in keys.values() if key not in learner]
    if missing or set(contexts) != {"plain"} or contexts["plain"].class_specific:
        raise BadCheckpoint(
            "A checkpoint of CoCoOp must hold one shared context and both layers of its meta net, "
            f"but {file.path} {'lacks ' + _some(missing) if missing else 'holds other contexts'}."
        )
    hidden, width = learner[keys["linear1.bias"]].shape[:1], (contexts["plain"].width,)
    fitting = {
        "linear1.weight": hidden + learner[keys["linear1.weight"]].shape[-1:],
        "linear1.bias": hidden,
        "linear2.weight": width + hidden,
        "linear2.bias": width,
    }
    for name, key in keys.items():
        if learner[key].shape != fitting[name]:
            raise BadCheckpoint(
                f"Key {key} of {file.path} must have the shape {fitting[name]} to fit the other "
                f"layer and the context, but has {learner[key].shape}."
            )
    return {name: _tensor(file, learner, key) for name, key in keys.items()}


def _n_classes(learner: Mapping[str, StoredTensor], contexts: Mapping[str, Context]) -> int | None:
    """Number of classes: of class-specific contexts, else of the words around a shared one."""
    for context in contexts.values():
        if context.class_specific:
            return len(context.vectors)
    rows = {
        stored.shape[0]
        for key, stored in learner.items()
        if key.startswith("token_prefix") and len(stored.shape) == 3
    }
    return rows.pop() if len(rows) == 1 else None


def _facts(file: TorchFile, learner: Mapping[str, StoredTensor]) -> dict[str, int | float | str]:
    """Numbers and words beside the state_dict, and the prompt learner's own numbers."""
    content = file.content if isinstance(file.content, dict) else {}
    facts: dict[str, int | float | str] = {
        key: value for key, value in content.items() if isinstance(key, str) and _is_fact(value)
    }
    for key in sorted(NUMBERS & learner.keys()):
        if learner[key].shape not in ((), (1,)):
            raise BadCheckpoint(
                f"Key {key} of {file.path} must be one number, but has the shape "
                f"{learner[key].shape}."
            )
        facts[key] = float(_tensor(file, learner, key))
    return facts


def _is_fact(value: object) -> bool:
    """Whether a value is a number or a word that can be written down again."""
    if isinstance(value, str):
        return len(value) <= 200
    return isinstance(value, int | float) and abs(value) < 2**63
