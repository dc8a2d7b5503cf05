"""The training loop: frozen image features and labels in, learned prompts out.

    L = L_loss(z, y) + λ · L_reg(z, y, t),   z = τ·s + b,   t: class text embeddings

Of a framework with several branches (TaI-DPT), L_loss is the sum of each one's, L_reg of their
mean; of one with a term of its own (KgCoOp), L_loss has that, too.

SGD with momentum; the learning rate holds at a small value while warming up, then follows a cosine
over the epochs (CoOp's recipe). The order of images in an epoch depends on (seed, epoch) alone, so
a run that was interrupted between epochs and resumed ends with the same numbers.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Int8
from threadpoolctl import ThreadpoolController
from torch import Tensor, nn

from ccr_diag.config import FinetuneConfig
from ccr_diag.epoch_log import NEIGHBOURS, EpochRecord
from ccr_diag.errors import RunFailed
from ccr_diag.frameworks.framework import Framework
from ccr_diag.losses import make_loss
from ccr_diag.losses.ccr import CCRLoss
from ccr_diag.losses.dor import DORLoss
from ccr_diag.losses.ranking import SCALE as RANKING_SCALE
from ccr_diag.metrics.neighbourhoods import Neighbours, nearest_classes, preserved
from ccr_diag.progress import UnitProgress, silent

_BLAS = ThreadpoolController()  # made once, as it looks for libraries


@dataclass
class Tuning:
    """The state of a run between two epochs.

    Args:
        framework: scores images; its parameters are learned.
        bias: b of the probability map; learned when it requires a gradient.
        optimizer: SGD over what is learned.
        epoch: epochs done.
    """

    framework: Framework
    bias: nn.Parameter
    optimizer: torch.optim.SGD
    epoch: int = 0

    @property
    def learned(self) -> list[Tensor]:
        """What the optimizer changes, in its order."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]


def start_tuning(framework: Framework, bias: float, config: FinetuneConfig) -> Tuning:
    """A run at its beginning. The bias is not decayed: it is a location, not a weight."""
    device = next(framework.parameters()).device
    b = nn.Parameter(torch.tensor(bias, device=device), requires_grad=config.bias == "learned")
    groups = [
        {"params": list(framework.parameters()), "weight_decay": config.weight_decay},
        {"params": [b] if b.requires_grad else [], "weight_decay": 0.0},
    ]
    return Tuning(
        framework, b, torch.optim.SGD(groups, lr=config.peak_rate, momentum=config.momentum)
    )


def learning_rate(config: FinetuneConfig, epoch: int) -> float:
    """η of an epoch: the warm-up rate, then η_peak·½(1 + cos(π·epoch/epochs))."""
    if epoch < config.warmup_epochs:
        return config.warmup_rate
    return config.peak_rate * (1 + math.cos(math.pi * epoch / config.epochs)) / 2


def tune(
    tuning: Tuning,
    features: Float[Tensor, "images *features dim"],
    labels: Int8[Tensor, "images classes"],
    scale: float,
    regularizer: nn.Module | None,
    config: FinetuneConfig,
    on_step: UnitProgress = silent,
    zero_shot: Float[Tensor, "classes dim"] | None = None,
) -> Iterator[EpochRecord]:
    """Run the epochs that are left, and yield after each one.

    Args:
        tuning: where the run stands; changed in place.
        features: unit image features, as the framework takes them; read a batch at a time.
        labels: 1, 0, −1 (unknown), of the classes that the framework scores.
        scale: τ.
        regularizer: its ``of_step`` is added, times λ; None for none.
        config: the settings.
        on_step: told the steps done and the steps in all.
        zero_shot: class texts before tuning, which those of each epoch are held against.

    Raises:
        RunFailed: a loss or a text that is not a number; the epoch's changes must not be saved.
    """
    device = tuning.bias.device
    labels = labels.to(device)
    tuning.framework.train()
    before = None
    if zero_shot is not None and len(zero_shot) > 1:
        before = _neighbours(zero_shot)
    steps = math.ceil(len(features) / config.batch_size)
    if isinstance(regularizer, DORLoss):
        regularizer.step = tuning.epoch * steps  # its draws go on where they stood
    while tuning.epoch < config.epochs:
        rate = learning_rate(config, tuning.epoch)
        for group in tuning.optimizer.param_groups:
            group["lr"] = rate
        parts = []
        for step, rows in enumerate(_batches(len(features), config, tuning.epoch)):
            batch = features[rows].to(device)  # they may lie on the disk
            parts.append(_step(tuning, batch, labels[rows], scale, regularizer, config))
            on_step(tuning.epoch * steps + step + 1, config.epochs * steps)
        values = torch.stack(parts).cpu()  # one synchronisation an epoch
        with torch.no_grad():
            text = tuning.framework.text_embeddings()
        _check_finite(values, tuning, text)
        tuning.epoch += 1
        loss, regularization, dead = values.mean(dim=0).tolist()
        yield EpochRecord(
            epoch=tuning.epoch,
            loss=loss,
            regularizer=regularization,
            dead=dead,
            rate=rate,
            bias=float(tuning.bias.detach()),
            preservation=None if before is None else _preserved(before, text),
        )


def _neighbours(text: Float[Tensor, "classes dim"]) -> Neighbours:
    """The nearest of each class, of ``NEIGHBOURS`` or of all others."""
    # One thread: those of numpy's BLAS wait busily for more, in the way of torch's next step.
    with _BLAS.limit(limits=1, user_api="blas"):
        return nearest_classes(text.detach().float().cpu().numpy(), NEIGHBOURS)


def _preserved(before: Neighbours, text: Float[Tensor, "classes dim"]) -> float:
    """Mean NP@K."""
    return float(preserved(before, _neighbours(text)).mean())


def _batches(n_images: int, config: FinetuneConfig, epoch: int) -> list[Int[Tensor, " batch"]]:
    """Rows of each step of an epoch."""
    generator = torch.Generator().manual_seed(1_000_003 * config.seed + epoch)
    rows, size = torch.randperm(n_images, generator=generator), config.batch_size
    return [rows[start : start + size] for start in range(0, n_images, size)]


def _step(
    tuning: Tuning,
    features: Float[Tensor, "batch *features dim"],
    labels: Int8[Tensor, "batch classes"],
    scale: float,
    regularizer: nn.Module | None,
    config: FinetuneConfig,
) -> Float[Tensor, " parts"]:
    """One step of SGD; returns the loss, the regularizer without its λ, its dead classes."""
    text = tuning.framework.text_embeddings()
    branches = torch.stack(tuning.framework.branches(features, text))
    logits = scale * branches + tuning.bias
    # Ranking loss knows no probabilities: it has its own scale, and a bias would cancel.
    minimised = make_loss(config.loss, config.label_smoothing)
    seen = RANKING_SCALE * branches if config.loss == "ranking" else logits
    loss = torch.stack([minimised(each, labels) for each in seen]).sum()
    loss = loss + tuning.framework.own_term(text)
    logits = logits.mean(dim=0)
    regularization = dead = torch.zeros_like(loss)
    if isinstance(regularizer, CCRLoss):
        regularization, dead = regularizer.with_dead_count(logits, labels)
    elif regularizer is not None:
        regularization = regularizer.of_step(logits, labels, text, tuning.framework)  # type: ignore[operator]
    tuning.optimizer.zero_grad()
    (loss + config.lambda_ * regularization).backward()  # type: ignore[no-untyped-call]
    tuning.optimizer.step()
    return torch.stack([loss.detach(), regularization.detach(), dead.to(loss.dtype)])


def _check_finite(
    values: Float[Tensor, "steps parts"],
    tuning: Tuning,
    text: Float[Tensor, "classes dim"],
) -> None:
    """Refuse an epoch in which a loss, or what was learned or made of it, is not a number."""
    broken = (~values.isfinite()).any(dim=1).nonzero()
    momenta = [tuning.optimizer.state[p].get("momentum_buffer") for p in tuning.learned]
    found = [*tuning.learned, *momenta, text]
    if len(broken):
        step = int(broken[0]) + 1
    elif not all(bool(t.isfinite().all()) for t in found if t is not None):
        step = len(values)
    else:
        return
    raise RunFailed(
        f"Training must stay finite, but it was not at step {step} of epoch {tuning.epoch + 1}; "
        "what was saved before that epoch is kept; lower --learning-rate or --lambda."
    )
