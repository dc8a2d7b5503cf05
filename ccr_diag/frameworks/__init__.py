"""Tuning frameworks: what is learned, and how it scores an image.

    FRAMEWORKS[name](backbone, class_names, config)     a module of what is learned
        .text_embeddings()                              (classes, dim), unit, differentiable
        .scores(image_features, text)                   (images, classes), cosines
        .forward(image_features)                        scores with its own text embeddings

One that scores positions says so (``LOCAL``), and is given their features after each image's own.
One that learns context also gives other names' prompts (``prompts_of``) and their embeddings under
its context (``encode_names``). ``DEFAULTS`` are the settings of its paper where they differ from
``FinetuneConfig``'s. Adding a framework is one file and one line here.
"""

from ccr_diag.frameworks.clip_adapter import ClipAdapter
from ccr_diag.frameworks.cocoop import CoCoOp
from ccr_diag.frameworks.coop import CoOp
from ccr_diag.frameworks.dualcoop import DualCoOp
from ccr_diag.frameworks.framework import Framework
from ccr_diag.frameworks.kgcoop import KgCoOp

FRAMEWORKS: dict[str, type[Framework]] = {
    "coop": CoOp,
    "cocoop": CoCoOp,
    "kgcoop": KgCoOp,
    "clip_adapter": ClipAdapter,
    "dualcoop": DualCoOp,
}
