"""The settings of a fine-tuning run: one frozen record, TOML in, TOML out.

Defaults are the paper's where it states them (16 shots a class, 10 epochs, batches of 32, no bias),
CoOp's for the optimizer, and for learning rates, λ and estimator what did best on the calibration
split of the embedded scenes. Every field is also a flag of ``ccr-diag finetune``.
"""

import dataclasses
import json
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccr_diag.arrays import BIAS_RULES
from ccr_diag.errors import BadConfig, nearest

CHOICES = {
    "framework": ("coop",),
    "loss": ("bce", "ranking"),
    "regularizer": ("none", "ccr"),
    "estimator": ("uncentred", "uncentred_inactive", "centred_inactive", "centred"),
    "target": ("auto", "raw", "centred"),
    "reduction": ("sum", "mean"),
    "bias": tuple(BIAS_RULES),
    "precision": ("fp32", "amp_bf16"),
}
# Each on its own scale: BCE is a mean over classes. Chosen on the calibration split of the scenes.
LEARNING_RATES = {"bce": 0.2, "ranking": 3e-4}


@dataclass(frozen=True)
class FinetuneConfig:
    """Everything that decides the numbers of a run.

    Args:
        model: a CLIP in open_clip's words, or ``embedded``.
        pretrained: its weights tag or file, empty for none.
        data: data set, as ``NAME`` or ``NAME:PLACE``.
        split: which split of it to tune on.
        new_classes: classes to leave out of tuning, beside those that the data set itself declares
            new.
        framework: what is learned.
        loss: what is minimised.
        regularizer: what is added, times ``lambda_``.
        lambda_: λ of ``L + λ·L_reg``.
        estimator: of the predicted co-inactivation matrix (CCR).
        target: text correlation that CCR aims at; ``auto`` centres it when the estimator is
            centred.
        reduction: of CCR, over class pairs.
        bias: rule of the probability map's bias.
        scale: τ; 0 takes the model's own.
        shots: training images per class; 0 takes all.
        seed: split number; decides which images are drawn, their order, and random starts.
        n_context: learned context tokens, when they start at random.
        context_init: phrase that the context starts from instead.
        epochs: passes over the shots.
        batch_size: images a step.
        learning_rate: peak; 0 takes the loss's default.
        momentum: of SGD.
        weight_decay: of SGD.
        warmup_epochs: epochs at ``warmup_rate`` before the cosine.
        warmup_rate: learning rate of those.
        precision: of the towers.
    """

    model: str = "embedded"
    pretrained: str = ""
    data: str = "scenes"
    split: str = "train"
    new_classes: tuple[str, ...] = ()
    framework: str = "coop"
    loss: str = "bce"
    regularizer: str = "none"
    lambda_: float = 10.0
    estimator: str = "centred_inactive"
    target: str = "auto"
    reduction: str = "mean"
    bias: str = "none"
    scale: float = 0.0
    shots: int = 16
    seed: int = 1
    n_context: int = 16
    context_init: str = "a photo of a"
    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup_epochs: int = 1
    warmup_rate: float = 1e-5
    precision: str = "fp32"

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise BadConfig(
                    f"{name} must be one of {', '.join(allowed)}, but got "
                    f"{getattr(self, name)!r}{nearest(str(getattr(self, name)), allowed)}"
                )
        if self.loss == "ranking" and self.bias == "learned":
            raise BadConfig(
                "A bias is learned by bce only, as it cancels in the ranking loss, but got loss "
                "'ranking' with bias 'learned'; choose another bias rule."
            )
        if not 0 <= self.seed < 2**31:
            raise BadConfig(f"seed must lie in 0 … 2³¹ − 1, but got {self.seed}.")
        for name in ("epochs", "batch_size", "n_context"):
            if getattr(self, name) < 1:
                raise BadConfig(f"{name} must be at least 1, but got {getattr(self, name)}.")
        for name in (
            "shots",
            "scale",
            "lambda_",
            "learning_rate",
            "momentum",
            "weight_decay",
            "warmup_epochs",
            "warmup_rate",
        ):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0:
                raise BadConfig(
                    f"{name.rstrip('_')} must be a finite number, 0 or more, but got {value}."
                )

    @property
    def peak_rate(self) -> float:
        """The learning rate after warm-up."""
        return self.learning_rate or LEARNING_RATES[self.loss]

    @property
    def method(self) -> str:
        """Loss and regularizer: ``bce``, ``ranking``, ``bce+ccr``."""
        return self.loss if self.regularizer == "none" else f"{self.loss}+{self.regularizer}"

    @property
    def name(self) -> str:
        """The method, and the bias rule unless the paper's: ``bce+ccr``, ``bce (learned bias)``."""
        return self.method if self.bias == "none" else f"{self.method} ({self.bias} bias)"

    def replace(self, **changes: Any) -> "FinetuneConfig":
        """A copy with some fields changed, checked again."""
        return dataclasses.replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for files; tuples as lists."""
        return {
            k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()
        }

    def to_toml(self) -> str:
        """One ``name = value`` line a field.

        JSON writes these values as TOML does, but for one character.
        """
        lines = [
            f"{name} = {json.dumps(value, ensure_ascii=False)}\n"
            for name, value in self.as_dict().items()
        ]
        return "".join(lines).replace("\x7f", "\\u007f")


def config_from_dict(values: dict[str, Any]) -> FinetuneConfig:
    """A config from plain values.

    Raises:
        BadConfig: an unknown key (the nearest known one is named) or a value of the wrong kind.
    """
    fields = {field.name: field for field in dataclasses.fields(FinetuneConfig)}
    checked: dict[str, Any] = {}
    for key, value in values.items():
        key = "lambda_" if key == "lambda" else key
        if key not in fields:
            raise BadConfig(f"Unknown setting {key!r}{nearest(key, fields)}")
        kind = type(fields[key].default)
        given = tuple(value) if kind is tuple and isinstance(value, list) else value
        given = float(given) if kind is float and type(given) is int else given
        if type(given) is not kind:
            raise BadConfig(f"Setting {key!r} must be of kind {kind.__name__}, but got {value!r}.")
        checked[key] = given
    return FinetuneConfig(**checked)


def load_config(path: Path) -> FinetuneConfig:
    """Read a TOML file of settings.

    Raises:
        BadConfig: no such file, not TOML, or a bad setting.
    """
    try:
        return config_from_dict(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise BadConfig(
            f"The config must be a TOML file, but {path} cannot be read ({error.strerror})."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(f"The config must be a TOML file, but {path} is not ({error}).") from error
