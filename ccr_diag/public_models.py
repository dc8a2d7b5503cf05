"""A public checkpoint, with what its file does not say, → the model that scores images.

    CoOp, KgCoOp    s_c(x) = cos(f_image(x), f_text([context] c .))
    CoCoOp          the same, the context moved by the image: ``frameworks.cocoop``
    TaI-DPT         half of that, half of the image's positions: ``frameworks.tai_dpt``
    DualCoOp        positions, presence less absence: ``frameworks.dualcoop``
    probabilities   p = σ(τ·s + b)

The file holds neither the CLIP, nor the classes, nor where their names stand, nor τ and b. Unless
stated these are those of the published code: τ is the CLIP's own in CoOp, KgCoOp and CoCoOp, 4 in
TaI-DPT and, of half the difference, 200 in DualCoOp; b is 0. Only DualCoOp's code takes these
logits for log odds: the first three take a softmax over classes, TaI-DPT ranks. With many labels
b = 0 then seldom fits. Scores are stored, so predictions can be read through another map later.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ccr_diag.arrays import GIVEN, ProbabilityMap
from ccr_diag.backbone import Backbone
from ccr_diag.config import FinetuneConfig
from ccr_diag.errors import BadCheckpoint, BadConfig, nearest
from ccr_diag.frameworks import FRAMEWORKS
from ccr_diag.frameworks.cocoop import CoCoOp
from ccr_diag.frameworks.dualcoop import DualCoOp
from ccr_diag.frameworks.framework import Framework
from ccr_diag.frameworks.tai_dpt import TaIDPT
from ccr_diag.predict import TextSpace
from ccr_diag.prompts import Position
from ccr_diag.public_checkpoints import PublicCheckpoint, class_text_embeddings, require_fit

PUBLISHED = "that of the published code"
STATED = "stated by the user"
SCALES = {"tai_dpt": TaIDPT.SCALE, "dualcoop": DualCoOp.SCALE}  # of others the CLIP's own
DIFFERS = {
    "tai_dpt": "features of a ResNet keep the positional embedding, which TaI-DPT's code leaves "
    "out of its attention pool",
    "dualcoop": "positions are those of the last map, to which DualCoOp's code adds its mean as "
    "one more",
}
"""Where scores are not exactly those of the published code."""
PAIRS = {"dualcoop": "negative", "tai_dpt": "local_context"}
"""What the second context is called in the frameworks that have two."""
META_NET = {
    "linear1.weight": "meta_net.0.weight",
    "linear1.bias": "meta_net.0.bias",
    "linear2.weight": "meta_net.2.weight",
    "linear2.bias": "meta_net.2.bias",
}  # in the file, in our module


def require_scored(saved: PublicCheckpoint) -> None:
    """Refuse what no published scores are known of.

    Raises:
        BadCheckpoint: TaI-DPT's variant of DualCoOp, or contexts of different lengths.
    """
    if saved.kind not in PAIRS:
        return
    first, second = saved.contexts.values()
    if saved.kind == "dualcoop" and first.key == "ctx":
        raise BadCheckpoint(
            f"A checkpoint of DualCoOp must be of its own code, but {saved.path} is of TaI-DPT's "
            "variant of it, which learns its temperatures; such files are not scored."
        )
    if first.n_context != second.n_context:
        raise BadCheckpoint(
            f"Key {second.key} of {saved.path} must have as many vectors as {first.key}, "
            f"{first.n_context}, but has {second.n_context}; such files are not scored."
        )


def public_map(
    kind: str | None, backbone: Backbone, scale: float | None, bias: float | None
) -> ProbabilityMap:
    """The probability map stated, or that of the published code.

    Args:
        kind: whose code that is; None for zero-shot.
        backbone: the CLIP, whose own scale most of it takes.
        scale: τ.
        bias: b; 0 if not stated.

    Raises:
        BadConfig: numbers that make no map.
    """
    stated = scale is not None or bias is not None
    return ProbabilityMap(
        SCALES.get(kind or "", backbone.scale) if scale is None else scale,
        0.0 if bias is None else bias,
        GIVEN if stated else "none",
    )


def public_space(
    saved: PublicCheckpoint,
    backbone: Backbone,
    class_names: Sequence[str],
    map_: ProbabilityMap,
    *,
    tuned_names: Sequence[str] | None = None,
    position: Position = "end",
) -> TextSpace:
    """What a public checkpoint says of the classes of a data set.

    Args:
        saved: as read.
        backbone: the CLIP it was tuned on.
        class_names: the classes to score.
        map_: the map that its scores are read through.
        tuned_names: the classes of tuning in their order, for a class-specific context only.
        position: where the class name stood in tuning.

    Raises:
        BadCheckpoint: its tensors do not fit the towers or the classes, or are not scored.
        BadConfig: ``tuned_names`` are missing, or given for a shared context.
        BadData: a class name that does not fit beside the context.
    """
    require_scored(saved)
    require_names(saved, tuned_names)
    name = f"{saved.kind} [{saved.path.name}]"
    if saved.kind == "cocoop":
        framework: Framework = _cocoop(saved, backbone, class_names, position)
        return _space(name, framework, map_)
    contexts_of = class_names if tuned_names is None else tuned_names
    texts = class_text_embeddings(saved, backbone, contexts_of, position)
    rows = list(range(len(class_names)))
    if tuned_names is not None:
        rows = _rows(saved, class_names, tuned_names)
    if saved.kind in PAIRS:
        return _space(name, _of_pair(saved, backbone, class_names, rows, position), map_)
    return TextSpace(name, 0, texts["plain"][rows], map_)


def _space(name: str, framework: Framework, map_: ProbabilityMap) -> TextSpace:
    """Of a framework whose scores are not cosines with its texts alone."""
    with torch.no_grad():
        return TextSpace(name, 0, framework.text_embeddings().cpu(), map_, framework)


def require_names(saved: PublicCheckpoint, tuned_names: Sequence[str] | None) -> None:
    """Refuse a class-specific context without the names of its classes, and names for none.

    Raises:
        BadConfig: either.
    """
    if saved.class_specific and tuned_names is None:
        raise BadConfig(
            f"{saved.path} holds a context for each of {saved.n_classes} classes, but not their "
            "names; add --class-names with one a line, in the order of tuning."
        )
    if not saved.class_specific and tuned_names is not None:
        raise BadConfig(
            f"--class-names goes with a context for each class, but {saved.path} holds one for "
            "all, which takes the classes of the data in any order; leave it out."
        )


def public_provenance(
    saved: PublicCheckpoint,
    backbone: Backbone,
    position: Position,
    scale: float | None,
    bias: float | None,
) -> dict[str, Any]:
    """What is recorded about the origin of its predictions, and about what the user stated."""
    with saved.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "backbone": {"name": backbone.name, "fingerprint": backbone.fingerprint},
        "checkpoint": {
            "file": str(saved.path),
            "sha256": digest,
            "framework": saved.kind,
            "class_specific": saved.class_specific,
            "position": position,
            "facts": saved.facts,
        },
        "map": {
            "scale": PUBLISHED if scale is None else STATED,
            "bias": PUBLISHED if bias is None else STATED,
        },
        "differs": DIFFERS.get(saved.kind, ""),
    }


def _rows(
    saved: PublicCheckpoint, class_names: Sequence[str], tuned_names: Sequence[str]
) -> list[int]:
    """Where each class stands among those of tuning."""
    place = {name: row for row, name in enumerate(tuned_names)}
    unknown = [name for name in class_names if name not in place]
    if unknown:
        raise BadCheckpoint(
            f"{saved.path} has a context only for the classes of --class-names, but class "
            f"{unknown[0]!r} of the data is not among them{nearest(unknown[0], place)}"
        )
    return [place[name] for name in class_names]


def _cocoop(
    saved: PublicCheckpoint, backbone: Backbone, class_names: Sequence[str], position: Position
) -> CoCoOp:
    """The framework with what the file holds."""
    context = saved.contexts["plain"]
    require_fit(saved.path, context, backbone, class_names)
    config = FinetuneConfig(
        framework="cocoop", context_init="", n_context=context.n_context, position=position
    )
    framework = CoCoOp(backbone, class_names, config)
    learned = {"context": context.vectors}
    learned |= {META_NET[key]: tensor for key, tensor in saved.meta_net.items()}
    _require_shapes(saved, backbone, learned, framework.state_dict())
    framework.load_state_dict(learned)
    return framework


def _of_pair(
    saved: PublicCheckpoint,
    backbone: Backbone,
    class_names: Sequence[str],
    rows: Sequence[int],
    position: Position,
) -> Framework:
    """The framework with both contexts; of class-specific ones, those in these rows."""
    first, second = saved.contexts.values()
    specific = saved.class_specific
    config = FinetuneConfig(
        framework=saved.kind,
        context_init="",
        n_context=first.n_context,
        position=position,
        class_specific=specific,
    )
    framework = FRAMEWORKS[saved.kind](backbone, class_names, config)
    learned = {"context": first.vectors, PAIRS[saved.kind]: second.vectors}
    framework.load_state_dict({k: v[list(rows)] if specific else v for k, v in learned.items()})
    return framework.eval()


def _require_shapes(
    saved: PublicCheckpoint,
    backbone: Backbone,
    learned: dict[str, Float[Tensor, "..."]],
    fitting: dict[str, Float[Tensor, "..."]],
) -> None:
    """Refuse a meta-net of another image tower."""
    for theirs, ours in META_NET.items():
        found, wanted = tuple(learned[ours].shape), tuple(fitting[ours].shape)
        if found != wanted:
            raise BadCheckpoint(
                f"Key meta_net.{theirs} of {saved.path} must have the shape {wanted} to fit the "
                f"image features of {backbone.name}, but has {found}; give the --model and "
                "--pretrained that it was tuned on."
            )
