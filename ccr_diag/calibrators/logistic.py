"""Calibrators of one to three parameters: σ of a line in features of the logit.

Each pool is pulled towards the shared map by (κ/2) (θ − θ_shared)ᵀ F (θ − θ_shared), where F is
the curvature of the shared loss for each entry of the rarer outcome. To second order that adds κ
such entries, with all that goes with them, to the pool's own; no unit of z or θ comes into it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import log_expit

from ccr_diag.calibrators.maps import Entries
from ccr_diag.calibrators.newton import Design, Matrix, Quadratic, Vector, minimise, start_of

LEAST_SLOPE = 1e-4  # of 1/T: no temperature turns the order around or is infinite
PULL = 1e-6  # of every penalty, in squared units of θ; decides only what the data leave open


@dataclass(frozen=True)
class Logistic:
    """A method: z' = offset + X(z)ᵀ θ, with the most likely θ.

    Args:
        design: z → X, one row a parameter.
        identity: the θ that changes nothing.
        lower: least value of each parameter.
        describe: θ → the parameters in the method's usual terms.
        moves: whether the offset is z, not 0.
        smoothed: whether the targets are Platt's, (N₊ + 1)/(N₊ + 2) and 1/(N₋ + 2), not 1 and 0.
    """

    design: Callable[[Entries], Design]
    identity: tuple[float, ...]
    lower: tuple[float, ...]
    describe: Callable[..., dict[str, float]]
    moves: bool = False
    smoothed: bool = False
    kind: str = "logits"

    def fit(self, z: Entries, y: Entries) -> "LogisticMap":
        """The most likely map of these entries.

        Args:
            z: logits.
            y: outcomes 0 and 1, both there.
        """
        identity = np.array(self.identity)
        penalty = Quadratic(identity, PULL * np.eye(len(identity)))
        theta, curvature = self._minimise(z, y, penalty, None)
        return LogisticMap(self, theta, curvature / min(y.sum(), (1 - y).sum()))

    def towards(
        self, z: Entries, y: Entries, shared: "LogisticMap", strengths: Sequence[float]
    ) -> Iterator["LogisticMap"]:
        """The map of a pool for each strength κ: 0 its own fit, inf the shared map.

        Its own fit does not exist where an outcome is missing; then 0 gives the shared map too.

        Args:
            z: logits of the pool.
            y: its outcomes.
            shared: the map of all pools.
            strengths: κ ≥ 0.
        """
        theta, both = shared.theta, 0 < y.sum() < len(y)
        for strength in strengths:
            if np.isinf(strength) or (strength == 0 and not both):
                yield shared
                continue
            weight = strength * shared.information + PULL * np.eye(len(theta))
            theta, _ = self._minimise(z, y, Quadratic(shared.theta, weight), theta)
            yield LogisticMap(self, theta, shared.information)

    def line(self, z: Entries, theta: Vector) -> Entries:
        """The calibrated logits z'."""
        return np.asarray(theta @ self.design(z) + (z if self.moves else 0))

    def _minimise(
        self, z: Entries, y: Entries, penalty: Quadratic, start: Vector | None
    ) -> tuple[Vector, Matrix]:
        design, lower = self.design(z), np.array(self.lower)
        offset = z if self.moves else np.zeros_like(z)
        target = smoothed_targets(y) if self.smoothed else y
        if start is None:
            start = start_of(design, offset, target, lower)
        return minimise(design, offset, target, penalty, lower, start)


@dataclass(frozen=True, eq=False)
class LogisticMap:
    """A fitted map of a pool.

    Args:
        method: whose parameters these are.
        theta: θ.
        information: F of the shared map.
    """

    method: Logistic
    theta: Vector
    information: Matrix

    def __call__(self, z: Entries) -> Entries:
        """Calibrated logits."""
        return np.asarray(self.method.line(z, self.theta))

    def as_dict(self) -> dict[str, Any]:
        """The parameters, and whether one of them is at its bound."""
        bound = bool((self.theta <= np.array(self.method.lower)).any())
        named = self.method.describe(*self.theta.tolist())
        return {**named, "at_bound": True} if bound else named


def smoothed_targets(y: Entries) -> Entries:
    """(N₊ + 1)/(N₊ + 2) for positives and 1/(N₋ + 2) for negatives (Platt 1999)."""
    positives = y.sum()
    negatives = len(y) - positives
    return np.asarray(np.where(y == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2)))


def _scale(z: Entries) -> Design:
    return z[None, :]


def _shift(z: Entries) -> Design:
    return np.ones((1, len(z)))


def _line(z: Entries) -> Design:
    return np.stack([z, np.ones_like(z)])


def _logs(z: Entries) -> Design:
    """The rows ln p, −ln(1 − p) and 1, without rounding p."""
    return np.stack([log_expit(z), -log_expit(-z), np.ones_like(z)])


TEMPERATURE = Logistic(
    _scale, (1.0,), (LEAST_SLOPE,), lambda slope: {"temperature": 1 / slope}
)  # σ(z / T). Source: Guo et al. 2017.
BIAS = Logistic(_shift, (0.0,), (-np.inf,), lambda b: {"bias": b}, moves=True)  # σ(z + b)
TEMPERATURE_BIAS = Logistic(
    _line,
    (1.0, 0.0),
    (LEAST_SLOPE, -np.inf),
    lambda slope, b: {"temperature": 1 / slope, "bias": b},
)  # σ(z / T + b)
PLATT = Logistic(
    _line,
    (1.0, 0.0),
    (-np.inf, -np.inf),
    lambda a, b: {"slope": a, "intercept": b},
    smoothed=True,
)  # σ(a z + b). Source: Platt 1999.
BETA = Logistic(
    _logs,
    (1.0, 1.0, 0.0),
    (0.0, 0.0, -np.inf),
    lambda a, b, c: {"a": a, "b": b, "c": c},
)  # σ(a ln p − b ln(1 − p) + c), a, b ≥ 0. Source: Kull, Silva Filho and Flach 2017.
