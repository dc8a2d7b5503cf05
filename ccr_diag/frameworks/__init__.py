"""Tuning frameworks: what is learned, and how it scores an image.

    FRAMEWORKS[name](backbone, class_names, config)     a module of what is learned
        .text_embeddings()                              (classes, dim), unit, differentiable
        .scores(image_features, text)                   (images, classes), cosines
        .forward(image_features)                        scores with its own text embeddings
        .branches(image_features, text)                 what each term of the loss is taken of

One that scores positions says so (``LOCAL``), and is given their features after each image's own.
One that does not learn from the data set's images and labels says from what (``TRAINED_ON``).
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
from ccr_diag.frameworks.t2i_pal import T2IPAL
from ccr_diag.frameworks.tai_dpt import TaIDPT

FRAMEWORKS: dict[str, type[Framework]] = {
    "coop": CoOp,
    "cocoop": CoCoOp,
    "kgcoop": KgCoOp,
    "clip_adapter": ClipAdapter,
    "dualcoop": DualCoOp,
    "tai_dpt": TaIDPT,
    "t2i_pal": T2IPAL,
}
