"""Tuning frameworks: what is learned, and how it scores an image.

    FRAMEWORKS[name](backbone, class_names, config)     a module of what is learned
        .text_embeddings()                              (classes, dim), unit, differentiable
        .scores(image_features, text)                   (images, classes), cosines
        .forward(image_features)                        scores with its own text embeddings
        .branches(image_features, text)                 what each term of the loss is taken of
        .own_term(text)                                 what its paper adds to any loss

One that scores positions says so (``LOCAL``), and is given their features after each image's own.
One that does not learn from the data set's images and labels says from what (``TRAINED_ON``).
One that learns context also gives other names' prompts (``prompts_of``) and their embeddings under
its context (``encode_names``). ``DEFAULTS`` are the settings of its paper where they differ from
``FinetuneConfig``'s. Adding a framework is one file and one line here.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ccr_diag.frameworks.framework import Framework

# Its name, which is also its file's → its class.
CLASSES = {
    "coop": "CoOp",
    "cocoop": "CoCoOp",
    "kgcoop": "KgCoOp",
    "clip_adapter": "ClipAdapter",
    "dualcoop": "DualCoOp",
    "tai_dpt": "TaIDPT",
    "t2i_pal": "T2IPAL",
}


class _Frameworks(Mapping[str, "type[Framework]"]):
    """The classes by name, imported when asked for: settings know the names without torch."""

    def __getitem__(self, name: str) -> "type[Framework]":
        class_ = CLASSES[name]
        found: type[Framework] = getattr(import_module(f"{__name__}.{name}"), class_)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(CLASSES)

    def __len__(self) -> int:
        return len(CLASSES)


FRAMEWORKS = _Frameworks()
