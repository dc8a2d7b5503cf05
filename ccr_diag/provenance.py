"""What a results file was made from: the command, the software, and every file that was read."""

import hashlib
import shlex
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ccr_diag.runs import CHECKPOINT, CONFIG, versions


def provenance(command: Sequence[str], inputs: Iterable[Path]) -> dict[str, Any]:
    """The record that lets a reader make the same file again, and see that it is the same.

    Args:
        command: the words of the command line.
        inputs: files, or folders of runs, of which the checkpoint of each split counts.

    Returns:
        ``{"command", "versions", "inputs": [{"path", "sha256", "config"}]}``, paths as they were
        given; a checkpoint alone has the ``config`` that lies beside it.

    Raises:
        OSError: a file cannot be read.
    """
    return {
        "command": shlex.join(command),
        "versions": versions(),
        "inputs": [_record(path) for given in inputs for path in _files(given)],
    }


def sha256(path: Path) -> str:
    """Of the bytes of a file, however large, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _record(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"path": str(path), "sha256": sha256(path)}
    config = path.with_name(CONFIG)
    if path.name == CHECKPOINT and config.exists():
        found["config"] = tomllib.loads(config.read_text(encoding="utf-8"))
    return found


def _files(path: Path) -> Iterator[Path]:
    """The file itself, or the checkpoints below the folder of a run."""
    if not path.is_dir():
        yield path
    elif (path / CHECKPOINT).exists():
        yield path / CHECKPOINT
    else:
        yield from sorted(path.glob(f"split-*/{CHECKPOINT}"))
