"""The settings of a fine-tuning run: one frozen record, TOML in, TOML out.

Defaults are the paper's where it states them (16 shots a class, 10 epochs, batches of 32, no bias),
CoOp's for the optimizer, and for learning rates, CCR's λ and estimator what did best on the
calibration split of the embedded scenes. ``config_from_dict`` puts the defaults of the framework in
their place, each from its own paper. Every field is also a flag of ``ccr-diag finetune``.
"""

import dataclasses
import math
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ccr_diag.arrays import BIAS_RULES, Unlisted
from ccr_diag.errors import BadConfig, nearest
from ccr_diag.frameworks import FRAMEWORKS
from ccr_diag.written_toml import to_toml

if TYPE_CHECKING:
    from ccr_diag.frameworks.framework import Framework

# Most are written out, as importing what they name takes seconds; a test holds them against it.
CHOICES = {
    "framework": tuple(FRAMEWORKS),
    "loss": ("bce", "ranking", "asl"),
    "regularizer": ("none", "ccr", "kgcoop", "dor"),
    "estimator": ("uncentred", "uncentred_inactive", "centred_inactive", "centred"),
    "target": ("auto", "raw", "centred"),
    "reduction": ("sum", "mean"),
    "bias": tuple(BIAS_RULES),
    "position": ("end", "middle", "front"),
    "unlisted": ("stated", "negative", "unknown"),
    "precision": ("fp32", "amp_bf16"),
}
AT_LEAST_1 = (
    "epochs", "batch_size", "n_context", "n_outliers", "generator_steps", "generator_size",
)  # fmt: skip
AT_LEAST_0 = (
    "shots", "top_outliers", "scale", "generator_guidance", "lambda_", "learning_rate", "momentum",
    "weight_decay", "warmup_epochs", "warmup_rate",
)  # fmt: skip
CLASS_SPLITS = ("first-half", "coco-48-17", "coco-65-15")
Position = Literal["end", "middle", "front"]
DIFFUSERS, IMAGES_OF_CAPTIONS = "diffusers", "images of captions"

# Each on its own scale: BCE is a mean over classes. Chosen on the calibration split of the scenes.
LEARNING_RATES = {"bce": 0.2, "ranking": 3e-4, "asl": 0.2}
# CCR's chosen there too; KgCoOp's and DOR's from their papers, DOR's being 8 for CoOp.
LAMBDAS = {"none": 10.0, "ccr": 10.0, "kgcoop": 8.0, "dor": 2.0}
DOR_LAMBDA_OF_COOP = 8.0


@dataclass(frozen=True)
class FinetuneConfig:
    """Everything that decides the numbers of a run.

    Args:
        model: a CLIP in open_clip's words, or ``embedded``.
        pretrained: its weights tag or file, empty for none.
        data: data set, as ``NAME`` or ``NAME:PLACE``.
        split: which split of it to tune on.
        unlisted: what a class means that an image does not list, where the data do not state it.
        new_classes: classes to leave out of tuning, beside those that the data set itself declares
            new.
        class_split: which classes are new, in place of what the data set declares: a name of
            ``CLASS_SPLITS``, a TOML file, or empty.
        framework: what is learned.
        loss: what is minimised.
        regularizer: what is added, times ``lambda_``.
        lambda_: λ of ``L + λ·L_reg``.
        label_smoothing: ε of BCE with labels (1 − ε)·y + ε/2.
        estimator: of the predicted co-inactivation matrix (CCR).
        target: text correlation that CCR aims at; ``auto`` centres it when the estimator is
            centred.
        reduction: of CCR, over class pairs.
        outliers: DOR's file of nouns, one a line; empty for the packaged ones.
        top_outliers: K, how many of them, the nearest to the base classes, are drawn from; 0 takes
            all.
        n_outliers: N, nouns drawn a step.
        captions: file of captions in place of the data set's (TaI-DPT; T2I-PAL, to make images of).
        synonyms: file of other words for the classes in captions, in place of the data set's.
        images_from: T2I-PAL's images of captions: a data set that has both, ``diffusers`` to make
            them, or empty for the run's own data set.
        generator: diffusers pipeline that makes them, a folder or a name on the Hugging Face Hub.
        generator_steps: its steps of denoising.
        generator_guidance: its classifier-free guidance.
        generator_size: height and width of its images, in pixels.
        bias: rule of the probability map's bias.
        scale: τ; 0 takes the framework's, or else the model's own.
        shots: training images per class; 0 takes all.
        examples: file that lists the training images, one id a line, in place of ``shots``.
        seed: split number; decides which images are drawn, their order, and random starts.
        n_context: learned context tokens, when they start at random.
        context_init: phrase that the context starts from instead.
        position: where the class name stands among the context.
        class_specific: whether each class learns a context of its own.
        residual_ratio: α of CLIP-Adapter and T2I-PAL, the share of the adapted feature.
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
    unlisted: Unlisted = "stated"
    new_classes: tuple[str, ...] = ()
    class_split: str = ""
    framework: str = "coop"
    loss: str = "bce"
    regularizer: str = "none"
    lambda_: float = LAMBDAS["ccr"]
    label_smoothing: float = 0.0
    estimator: str = "centred_inactive"
    target: str = "auto"
    reduction: str = "mean"
    outliers: str = ""
    top_outliers: int = 5000
    n_outliers: int = 64
    captions: str = ""
    synonyms: str = ""
    images_from: str = ""
    generator: str = ""
    generator_steps: int = 25
    generator_guidance: float = 7.5
    generator_size: int = 512
    bias: str = "none"
    scale: float = 0.0
    shots: int = 16
    examples: str = ""
    seed: int = 1
    n_context: int = 16
    context_init: str = "a photo of a"
    position: Position = "end"
    class_specific: bool = False
    residual_ratio: float = 0.2
    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup_epochs: int = 1
    warmup_rate: float = 1e-5
    precision: str = "fp32"

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_setting(field.name, getattr(self, field.name))
        self._check_combinations()

    def _check_combinations(self) -> None:
        """Refuse settings that contradict each other."""
        split = self.class_split
        if split and split not in CLASS_SPLITS and not split.endswith(".toml"):
            raise BadConfig(
                f"class_split must be one of {', '.join(CLASS_SPLITS)} or a TOML file, but got "
                f"{split!r}{nearest(split, CLASS_SPLITS)}"
            )
        if self.class_split and self.new_classes:
            raise BadConfig(
                "New classes are named one by one or by a class split, but got new_classes "
                f"{', '.join(self.new_classes)} with class_split {self.class_split!r}; leave one "
                "out."
            )
        if self.examples and self.shots:
            raise BadConfig(
                "Training images are listed in a file or drawn, but got examples "
                f"{self.examples!r} with shots {self.shots}; leave one out, or set shots to 0."
            )
        if self.loss == "ranking" and self.bias == "learned":
            raise BadConfig(
                "A bias is not learned by the ranking loss, in which it cancels, but got loss "
                "'ranking' with bias 'learned'; choose another bias rule."
            )
        if self.label_smoothing and self.loss != "bce":
            raise BadConfig(
                f"Label smoothing goes with loss 'bce', but got {self.loss!r} with "
                f"label_smoothing {self.label_smoothing}; leave it out."
            )
        self._check_regularizer()
        self._check_part("class_specific", lambda it: it.CLASS_SPECIFIC)
        self._check_part("captions", lambda it: "captions" in it.TRAINED_ON)
        self._check_part("synonyms", lambda it: "captions" in it.TRAINED_ON)
        self._check_part("images_from", lambda it: it.TRAINED_ON == IMAGES_OF_CAPTIONS)
        self._check_captions()

    def _check_regularizer(self) -> None:
        """Refuse a regularizer that has nothing to act on."""
        if self.regularizer == "ccr" and self.batch_size == 1:
            from ccr_diag.covariance import CENTRED  # here: it brings torch

            if CENTRED[self.estimator]:
                raise BadConfig(
                    "A centred estimator of CCR needs batches of 2 images or more, but got "
                    f"{self.estimator!r} with batch_size 1; raise it, or take an uncentred "
                    "estimator."
                )
        if self.regularizer == "dor" and (self.class_specific or not self._names_anything):
            raise BadConfig(
                "Regularizer dor needs a learned context that all names share, but framework "
                f"{self.framework!r} learns none{' with class_specific' * self.class_specific}; "
                "choose another framework or regularizer."
            )

    @property
    def _names_anything(self) -> bool:
        """Whether what is learned also suits names that are no class."""
        return hasattr(FRAMEWORKS[self.framework], "encode_names")

    def _check_part(self, name: str, takes: "Callable[[type[Framework]], bool]") -> None:
        """Refuse a setting that has no part in the framework."""
        if getattr(self, name) and not takes(FRAMEWORKS[self.framework]):
            known = " or ".join(other for other in FRAMEWORKS if takes(FRAMEWORKS[other]))
            raise BadConfig(
                f"Setting {name} goes with framework {known}, but got {self.framework!r} with "
                f"{name} {getattr(self, name)!r}; leave it out."
            )

    def _check_captions(self) -> None:
        """Refuse what captions, or images of them, do not give."""
        of_images = self.captions and FRAMEWORKS[self.framework].TRAINED_ON == IMAGES_OF_CAPTIONS
        if of_images and self.images_from != DIFFUSERS:
            raise BadConfig(
                f"Framework {self.framework!r} learns from images of captions, which a file of "
                "captions alone does not give; add --images-from diffusers to make them, or leave "
                "captions out."
            )
        if self.examples and self.images_from == DIFFUSERS:
            raise BadConfig(
                "Images that are yet to be made cannot be listed, but got examples "
                f"{self.examples!r} with images_from {DIFFUSERS!r}; leave examples out."
            )
        if bool(self.generator) != (self.images_from == DIFFUSERS):
            raise BadConfig(
                "Making images needs both --images-from diffusers and its --generator, a folder or "
                f"a name, but got {self.images_from!r} and {self.generator!r}."
            )
        of_scores = self.bias in ("mean", "prior")
        if of_scores and FRAMEWORKS[self.framework].TRAINED_ON == "captions":
            raise BadConfig(
                f"Bias rule {self.bias!r} is fitted on scores of training images, but framework "
                f"{self.framework!r} learns from captions, whose scores are others; choose none, "
                "or learned, which learns it from these."
            )

    @property
    def peak_rate(self) -> float:
        """The learning rate after warm-up."""
        return self.learning_rate or LEARNING_RATES[self.loss]

    @property
    def method(self) -> str:
        """Framework unless CoOp, loss and regularizer: ``bce``, ``bce+ccr``, ``cocoop bce``."""
        framework = "" if self.framework == "coop" else f"{self.framework} "
        added = "" if self.regularizer == "none" else f"+{self.regularizer}"
        return f"{framework}{self.loss}{added}"

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
        """One ``name = value`` line a field."""
        return to_toml(self.as_dict())


def check_setting(name: str, value: Any) -> None:
    """Refuse a value that no run can have, whatever its other settings.

    Raises:
        BadConfig: it is none of the known words, or out of range.
    """
    if name in CHOICES and value not in CHOICES[name]:
        raise BadConfig(
            f"{name} must be one of {', '.join(CHOICES[name])}, but got {value!r}"
            f"{nearest(str(value), CHOICES[name])}"
        )
    if name == "seed" and not 0 <= value < 2**31:
        raise BadConfig(f"seed must lie in 0 … 2³¹ − 1, but got {value}.")
    if name in AT_LEAST_1 and value < 1:
        raise BadConfig(f"{name} must be at least 1, but got {value}.")
    if name in AT_LEAST_0 and (not math.isfinite(value) or value < 0):
        raise BadConfig(f"{name.rstrip('_')} must be a finite number, 0 or more, but got {value}.")
    if name == "label_smoothing" and not 0 <= value < 1:
        raise BadConfig(f"label_smoothing must be 0 or more and below 1, but got {value}.")
    if name == "residual_ratio" and not 0 < value <= 1:
        raise BadConfig(f"residual_ratio must be above 0 and at most 1, but got {value}.")


def config_from_dict(values: dict[str, Any]) -> FinetuneConfig:
    """A config from plain values; what is not among them is the framework's own default.

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
            named = "list" if kind is tuple else kind.__name__
            raise BadConfig(f"Setting {key!r} must be of kind {named}, but got {value!r}.")
        checked[key] = given
    return FinetuneConfig(**_defaults(checked) | checked)


def _defaults(given: dict[str, Any]) -> dict[str, Any]:
    """The settings of the framework's paper, and λ of the regularizer's."""
    framework = given.get("framework", FinetuneConfig.framework)
    if framework not in CHOICES["framework"]:
        return {}
    defaults: dict[str, Any] = dict(FRAMEWORKS[framework].DEFAULTS)
    if given.get("examples"):
        defaults["shots"] = 0
    loss = defaults.get("loss", FinetuneConfig.loss)
    if given.get("loss", loss) != loss:  # a learning rate belongs to its loss
        defaults.pop("learning_rate", None)
    if "n_context" in given and "context_init" not in given:  # of a phrase the tokens are counted
        defaults["context_init"] = ""
    regularizer = (defaults | given).get("regularizer", FinetuneConfig.regularizer)
    if (regularizer, framework) == ("dor", "coop"):
        return defaults | {"lambda_": DOR_LAMBDA_OF_COOP}
    return defaults | {"lambda_": LAMBDAS.get(regularizer, FinetuneConfig.lambda_)}


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
