"""What tuning minimises: L = L_loss + λ·L_reg. One loss a file, its formula on top.

A loss is called as ``loss(logits, labels)`` and gives a scalar tensor. So is a regulariser, once it
is made from the zero-shot class text embeddings: ``REGULARIZERS["ccr"](text_embeddings, …)``.
Adding one is one file and one line here.
"""

from collections.abc import Callable

from torch import Tensor

from ccr_diag.losses.bce import bce
from ccr_diag.losses.ccr import CCR
from ccr_diag.losses.ranking import ranking

Loss = Callable[[Tensor, Tensor], Tensor]

LOSSES: dict[str, Loss] = {"bce": bce, "ranking": ranking}

REGULARIZERS: dict[str, Callable[..., CCR]] = {"ccr": CCR.from_text}
