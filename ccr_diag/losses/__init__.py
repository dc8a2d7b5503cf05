"""What tuning minimises: L = L_loss + λ·L_reg. One loss a file, its formula on top.

A loss is called as ``loss(logits, labels)`` and gives a scalar tensor; ``make_loss`` gives one by
its name and settings. A regularizer is a module of its own, ``CCRLoss(…)(logits, labels)``,
``KgCoOpLoss(…)(text)``, ``DORLoss(…)(tuned, zero_shot)``, that fits into any training loop. Ours
makes each by

    REGULARIZERS[name](config, backbone, framework, class_names, zero_shot)

with the names and zero-shot text embeddings of the base classes, and calls each as
``regularizer.of_step(logits, labels, text, framework)``. Adding one is one file and one line here.
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from ccr_diag.errors import BadConfig, nearest
from ccr_diag.losses.asl import asl
from ccr_diag.losses.bce import bce
from ccr_diag.losses.ccr import CCRLoss
from ccr_diag.losses.dor import DORLoss
from ccr_diag.losses.kgcoop import KgCoOpLoss
from ccr_diag.losses.ranking import ranking

Loss = Callable[[Tensor, Tensor], Tensor]

LOSSES: dict[str, Callable[..., Tensor]] = {"bce": bce, "ranking": ranking, "asl": asl}
SMOOTHED = ("bce",)  # ranking knows no probabilities, and an asymmetric loss no soft labels

REGULARIZERS: dict[str, Callable[..., nn.Module]] = {
    "ccr": CCRLoss.from_config,
    "kgcoop": KgCoOpLoss.from_config,
    "dor": DORLoss.from_config,
}


def make_loss(name: str, smoothing: float = 0.0) -> Loss:
    """The loss of this name.

    Args:
        name: a key of ``LOSSES``.
        smoothing: ε of label smoothing.

    Raises:
        BadConfig: unknown name, or smoothing with a loss that does not know it.
    """
    if name not in LOSSES:
        raise BadConfig(f"The loss must be a known one, but got {name!r}{nearest(name, LOSSES)}")
    if smoothing == 0:
        return LOSSES[name]
    if name not in SMOOTHED:
        raise BadConfig(
            f"Labels are smoothed for {', '.join(SMOOTHED)} only, but got {name!r} with label "
            f"smoothing {smoothing}; set it to 0."
        )
    return partial(LOSSES[name], smoothing=smoothing)
