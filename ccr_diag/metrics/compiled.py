"""The one door to numba: loops over entries that no array operation does in one pass."""

import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from numba import njit

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a loop on its first call for each kind of array, and keep the result on disk.

    The arguments are not checked; callers pass what the annotations say. Division follows numpy.
    """
    bare = inspect.unwrap(function)  # a runtime type checker may have wrapped it
    loop: Callable[P, R] = njit(cache=True, nogil=True, error_model="numpy")(bare)
    return loop
