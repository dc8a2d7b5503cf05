"""Shrinkage of the maps that have no parameters to shrink: mixtures with the shared map."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from ccr_diag.calibrators.maps import Entries, Map


@dataclass(frozen=True)
class Mixture:
    """A method: w · own + (1 − w) · shared, w = m/(m + κ), m the entries of the rarer outcome.

    Args:
        curve: the own map, to probabilities, of logits and outcomes 0 and 1; NaN where they say
            nothing.
    """

    curve: Callable[[Entries, Entries], Map]
    kind: str = "probs"

    def fit(self, z: Entries, y: Entries) -> "MixtureMap":
        """The map of these entries alone.

        Args:
            z: logits.
            y: outcomes 0 and 1, both there.
        """
        return MixtureMap(self.curve(z, y), 1.0, None)

    def towards(
        self, z: Entries, y: Entries, shared: "MixtureMap", strengths: Sequence[float]
    ) -> Iterator["MixtureMap"]:
        """The map of a pool for each strength κ; a pool that lacks an outcome takes the shared one.

        Args:
            z: logits of the pool.
            y: its outcomes.
            shared: the map of all pools.
            strengths: κ ≥ 0.
        """
        rarer = min(y.sum(), (1 - y).sum())
        own = self.curve(z, y) if rarer else None
        for strength in strengths:
            if own is None or np.isinf(strength):
                yield shared
            else:
                yield MixtureMap(own, float(rarer / (rarer + strength)), shared)


@dataclass(frozen=True)
class MixtureMap:
    """A fitted map of a pool.

    Args:
        own: the pool's own map.
        weight: w.
        shared: what it is mixed with, also taken where ``own`` says nothing; None is σ.
    """

    own: Map
    weight: float
    shared: "MixtureMap | None"

    def __call__(self, z: Entries) -> Entries:
        """Calibrated probabilities."""
        rest = expit(z) if self.shared is None else self.shared(z)
        own = self.own(z)
        return rest + self.weight * (np.where(np.isnan(own), rest, own) - rest)

    def as_dict(self) -> dict[str, Any]:
        """The weight, and what describes the pool's own map."""
        return {"weight": self.weight, **self.own.as_dict()}
