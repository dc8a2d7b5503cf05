"""What long work tells how far it is. The library prints nothing; the command line shows it."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Told the stage, the units done and the units in all."""

UnitProgress = Callable[[int, int], None]
"""Told the units done and the units in all, of work that has one stage."""


def silent(*told: object) -> None:
    """Tells nobody."""
