"""What every calibrator gives and how it is fitted: maps from logits, one a pool of classes."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64

Entries = Float64[np.ndarray, " entries"]


@runtime_checkable
class Map(Protocol):
    """A fitted map of one pool."""

    def __call__(self, z: Entries) -> Entries:
        """Calibrated values of logits."""

    def as_dict(self) -> dict[str, Any]:
        """What was fitted, as JSON values."""


@runtime_checkable
class Method(Protocol):
    """How the map of a pool is fitted, and shrunk towards the map of all pools."""

    @property
    def kind(self) -> str:
        """What the maps give: "logits" or "probs"."""

    def fit(self, z: Entries, y: Entries) -> Any:
        """The best map of entries with outcomes 0 and 1, both there."""

    def towards(
        self, z: Entries, y: Entries, shared: Any, strengths: Sequence[float]
    ) -> Iterator[Any]:
        """The map of a pool for each strength: 0 gives its own fit, inf the shared map."""
