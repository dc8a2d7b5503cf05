"""What this machine offers, and how weights get onto it. Nothing is written.

In: the machine. Out: plain values, as JSON takes them: versions, extras, devices, caches, weights
that need no network, the hub, and problems: sentences on what makes every command fail.
"""

import os
import platform
import shutil
import warnings
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Any

from huggingface_hub import constants
from packaging.requirements import Requirement

from ccr_diag.hub import Question
from ccr_diag.runs import cache_folder

MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container
TESTS = "test"  # the extra of developers
# Weights to name as an example: open_clip's name and tag, and the repository that it takes them of.
EXAMPLE = ("ViT-B-16-quickgelu", "openai", "timm/vit_base_patch16_clip_224.openai")


def examine() -> dict[str, Any]:
    """All of it; takes what importing torch takes, or the patience with a silent hub."""
    question = Question(constants.ENDPOINT)
    problems = list(_problems_of_cache(cache_folder()))
    devices: dict[str, Any] = {}
    weights: list[dict[str, str]] = []
    try:
        devices, weights = _devices(), _weights()
    except Exception as error:  # what a broken installation raises is anybody's guess
        problems.append(
            "Every command needs torch and open_clip, but they fail "
            f"({type(error).__name__}: {' '.join(str(error).split())}); install them again."
        )
    return {
        "versions": _versions(),
        "extras": list(_extras()),
        "cpus": _cpus(),
        "memory": _memory(),
        "devices": devices,
        "caches": {"features": _cache(cache_folder()), "hub": _cache(Path(constants.HF_HUB_CACHE))},
        "weights": weights,
        "hub": {"address": constants.ENDPOINT, "unreachable": question.answer()},
        "problems": problems,
    }


def _versions() -> dict[str, str]:
    """Of this program, of Python, and of every package it needs."""
    needed = [r for r in map(Requirement, requires("ccr-diag") or []) if _is_for(r, "")]
    found = {r.name: _installed(r) or f"none, but needs {r.specifier}" for r in needed}
    own = {"ccr-diag": version("ccr-diag"), "python": platform.python_version()}
    return own | {"platform": platform.platform()} | found


def _extras() -> Iterator[dict[str, Any]]:
    """Each optional part, which of its packages are missing or too old, and how to get them."""
    lines = [Requirement(line) for line in requires("ccr-diag") or []]
    for extra in metadata("ccr-diag").get_all("Provides-Extra") or []:
        if extra == TESTS:
            continue
        needed = [r for r in lines if _is_for(r, extra) and not _is_for(r, "")]
        missing = [str(r).split(";")[0].strip() for r in needed if _installed(r) is None]
        install = f"pip install 'ccr-diag[{extra}]'"
        yield {"name": extra, "missing": missing, "install": install}


def _is_for(requirement: Requirement, extra: str) -> bool:
    """Whether a package is needed here when this extra is installed, or none ("")."""
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _installed(requirement: Requirement) -> str | None:
    """The version of a package, if it is there and is one that is asked for."""
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return None
    return found if requirement.specifier.contains(found, prereleases=True) else None


def _cpus() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> int | None:
    """Bytes of memory, of a container those that it may use; None where the system tells none."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    limit = MEMORY_LIMIT.read_text().strip() if MEMORY_LIMIT.is_file() else ""
    return min(memory, int(limit)) if limit.isdigit() else memory


def _devices() -> dict[str, Any]:
    """What torch finds, what ``auto`` takes, and where ``amp_bf16`` works."""
    import torch

    from ccr_diag.backbone import find_device

    with warnings.catch_warnings(record=True) as said:  # of a driver that does not fit, say
        warnings.simplefilter("always")
        cuda = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        auto = find_device("auto").type
    kinds = ["cpu", *(["cuda"] if cuda else []), *(["mps"] if auto == "mps" else [])]
    return {
        "threads": torch.get_num_threads(),
        "cuda": [{"name": each.name, "memory": each.total_memory} for each in cuda],
        "mps": torch.backends.mps.is_available(),
        "auto": auto,
        "amp_bf16": [kind for kind in kinds if _works_in_bf16(kind)],
        "warnings": [" ".join(str(each.message).split()) for each in said],
    }


def _works_in_bf16(kind: str) -> bool:
    """Whether autocast to bfloat16 multiplies matrices here."""
    import torch

    try:
        with torch.autocast(kind, torch.bfloat16):
            one = torch.ones(2, 2, device=kind)
            return (one @ one).dtype == torch.bfloat16
    except RuntimeError:
        return False


def _weights() -> list[dict[str, str]]:
    """``--model`` and ``--pretrained`` of all weights that are on this disk."""
    from ccr_diag.backbone import EMBEDDED
    from ccr_diag.pretrained import available_weights

    found = [{"model": each.model, "pretrained": each.tag} for each in available_weights()]
    return [{"model": EMBEDDED, "pretrained": ""}, *found]


def _cache(folder: Path) -> dict[str, Any]:
    """Where a cache is, its size, and whether it can grow."""
    place = _nearest(folder)
    return {
        "path": str(folder),
        "bytes": sum(_size(path) for path in folder.rglob("*")),
        "writable": place.is_dir() and os.access(place, os.W_OK | os.X_OK),
        "free": shutil.disk_usage(place).free,
    }


def _nearest(folder: Path) -> Path:
    """The folder, or what of its path is there."""
    return next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))


def _size(path: Path) -> int:
    """Bytes of a file itself: none of a link, or of what has gone meanwhile."""
    try:
        return path.stat().st_size if path.is_file() and not path.is_symlink() else 0
    except OSError:
        return 0


def _problems_of_cache(folder: Path) -> Iterator[str]:
    """A cache that cannot be written."""
    found = _cache(folder)
    if not found["writable"]:
        yield (
            f"The cache must be a folder that can be written, but {folder} is not; "
            "set CCR_DIAG_CACHE to one that can."
        )
    elif found["free"] == 0:
        yield f"The cache needs room, but the disk of {folder} is full; free some."
