"""Seconds and peak memory of a piece of work, for the benchmarks."""

import ctypes
import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Job = Callable[[], Any]


def timed(job: Job) -> tuple[float, Any]:
    """Seconds, and what came back."""
    start = time.perf_counter()
    value = job()
    return time.perf_counter() - start, value


def memory(field: str) -> float:
    """A field of this process's status, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def extra_memory(job: Job) -> float:
    """Peak above what was held before, in MB."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # or freed memory would be used again unseen
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    job()
    return memory("VmHWM") - before
