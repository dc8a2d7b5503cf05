"""The vocabulary of arrays, and the one place where scores become probabilities.

A *score* is the cosine between a unit image feature and a unit text feature; it is what our own
files store. A *logit* is ``τ·s + b``; a *probability* is ``σ(τ·s + b)``. Which τ and b is never
guessed: they travel as a ``ProbabilityMap`` that names the rule they come from. Arrays may be
larger than memory: a source is read slice by slice.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int8
from scipy.special import expit

from ccr_diag.errors import BadConfig, BadData

Scores = Float[np.ndarray, "images classes"]
Logits = Float[np.ndarray, "images classes"]
Probs = Float[np.ndarray, "images classes"]
Labels = Int8[np.ndarray, "images classes"]
Embeddings = Float[np.ndarray, "rows dim"]

PRESENT, ABSENT, UNKNOWN = 1, 0, -1

Unlisted = Literal["stated", "negative", "unknown"]
"""What a class that an image does not list means; ``stated`` leaves it to the data."""

BIAS_RULES = {
    "none": "b = 0, as the paper writes it",
    "model": "the logit bias that came with the backbone's weights",
    "mean": "b = −τ·(mean training score), so that p = 0.5 at the mean score",
    "prior": "b such that the mean probability of the drawn training images equals the share of "
    "their labels that are positive",
    "learned": "b learned together with the prompts, starting from the prior rule",
}
GIVEN = "given"
MAP_RULES = BIAS_RULES | {GIVEN: "scale and b as the user stated them"}


@dataclass(frozen=True)
class ProbabilityMap:
    """p = σ(τ·s + b).

    Args:
        scale: τ > 0.
        bias: b.
        rule: where b comes from, a key of ``MAP_RULES``.
    """

    scale: float
    bias: float
    rule: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale > 0 and math.isfinite(self.bias)):
            raise BadConfig(
                f"A probability map needs a finite scale above 0 and a finite bias, but got {self}."
            )
        if self.rule not in MAP_RULES:
            raise BadConfig(
                f"The bias rule must be one of {', '.join(MAP_RULES)}, but got {self.rule!r}."
            )

    def logits(self, scores: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """τ·s + b, in float64."""
        return self.scale * np.asarray(scores, dtype=np.float64) + self.bias

    def probabilities(self, scores: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """σ(τ·s + b), in float64."""
        return np.asarray(expit(self.logits(scores)))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for files."""
        return asdict(self)


class StoredBlocks:
    """A stored array, read by ``source[rows]`` or ``source[rows, columns]``.

    A slice is an aligned array in C order and in the machine's byte order, whatever the file's.
    """

    def __init__(self, stored: Float[np.ndarray, "images classes"]) -> None:
        self.stored = stored

    @property
    def shape(self) -> tuple[int, ...]:
        """(images, classes)."""
        return self.stored.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of what a slice holds."""
        return self.stored.dtype.newbyteorder("=")

    def __getitem__(self, index: Any) -> Float[np.ndarray, "..."]:
        """That slice, in memory or as a view of the file."""
        return np.require(self.stored[index], dtype=self.dtype, requirements=["C", "A", "E"])


class MappedBlocks(StoredBlocks):
    """Probabilities of stored scores or logits, computed for the slice that is read."""

    def __init__(
        self, stored: Float[np.ndarray, "images classes"], probability_map: ProbabilityMap
    ) -> None:
        super().__init__(stored)
        self.map = probability_map

    @property
    def dtype(self) -> np.dtype[Any]:
        """float64."""
        return np.dtype(np.float64)

    def __getitem__(self, index: Any) -> Float[np.ndarray, "..."]:
        """σ(τ·s + b) of that slice."""
        return self.map.probabilities(self.stored[index])


Source = Float[np.ndarray, "images classes"] | StoredBlocks


def stored_source(stored: Float[np.ndarray, "images classes"]) -> Source:
    """The array itself where its memory is plain, else a source of plain slices."""
    plain = stored.flags.c_contiguous and stored.flags.aligned and stored.dtype.isnative
    return stored if plain else StoredBlocks(stored)


def fit_map(
    rule: str, scale: float, scores: Scores, labels: Labels, model_bias: float | None = None
) -> ProbabilityMap:
    """The probability map that a bias rule gives on these training scores.

    Args:
        rule: a key of ``BIAS_RULES``; ``learned`` gives the value that learning starts from.
        scale: τ.
        scores: (images, classes).
        labels: (images, classes); unknown entries are left out.
        model_bias: the backbone's own logit bias, for ``model``.

    Raises:
        BadConfig: ``model`` for a backbone without a logit bias.
        BadData: the prior rule on labels that are all 0 or all 1.
    """
    if rule == "none":
        return ProbabilityMap(scale, 0.0, rule)
    if rule == "model":
        if model_bias is None:
            raise BadConfig(
                "Bias rule 'model' needs a backbone that carries a logit bias, "
                "but this one has none; use 'prior' or 'mean'."
            )
        return ProbabilityMap(scale, model_bias, rule)
    known = labels != UNKNOWN
    z = scale * np.asarray(scores, dtype=np.float64)[known]
    if rule == "mean":
        return ProbabilityMap(scale, -float(z.mean()), rule)
    prior = float((labels[known] == PRESENT).mean())
    if not 0 < prior < 1:
        raise BadData(
            "The prior bias rule needs both positive and negative training labels, "
            f"but a share of {prior:g} is positive; choose another bias rule."
        )
    from scipy.optimize import brentq  # every command imports this module, few need a root

    span = 40.0  # σ(±40) is 0 or 1 to 4e-18: the root lies between
    bias = brentq(lambda b: float(expit(z + b).mean()) - prior, -z.max() - span, -z.min() + span)
    return ProbabilityMap(scale, float(bias), rule)
