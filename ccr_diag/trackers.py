"""Experiment trackers: each epoch of a run told to TensorBoard, Weights & Biases or Trackio.

In: the names of trackers, a run, and its epochs one by one. Out: nothing that a run depends on.
An epoch is told once it is saved, so a run that is gone on with tells none twice; one killed
between the two leaves that epoch out there (``metrics.jsonl`` has all). A tracker that fails is
warned of, left out from then on, and ends nothing else.
"""

import logging
import netrc
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from ccr_diag.errors import BadConfig, MissingExtra, nearest
from ccr_diag.runs import RUN_ID, write_text

if TYPE_CHECKING:
    from ccr_diag.config import FinetuneConfig

logger = logging.getLogger(__name__)

PROJECT = "ccr-diag"

Record = Mapping[str, int | float]


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of a run, beside its epochs.

    Args:
        folder: the run folder.
        config: its settings.
    """

    folder: Path
    config: "FinetuneConfig"

    @property
    def name(self) -> str:
        """The method and the split."""
        return f"{self.config.name}, split {self.config.seed}"

    def id(self) -> str:
        """By which a tracker finds the run again: drawn once, and kept in the run folder."""
        path = self.folder / RUN_ID
        if not path.exists():
            write_text(path, secrets.token_hex(4))  # of the system: no seeded draw is moved
        return path.read_text()


class Tracker(Protocol):
    """One run in one tracker, open from its making on."""

    def log(self, record: Record) -> None:
        """Tell the values of an epoch, its number under ``epoch``."""

    def close(self, failed: bool) -> None:
        """Leave all that was told where it can be read."""


class TensorBoard:
    """Event files in the run folder: ``tensorboard --logdir`` names runs by their folders."""

    def __init__(self, run: TrackedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter

        begun = any(run.folder.glob("events.out.tfevents.*"))
        self._writer: Any = SummaryWriter(str(run.folder))
        if not begun:
            lines = [run.name, "", *run.config.to_toml().splitlines()]
            text = "\n".join(f"    {line}" for line in lines)  # Markdown of a block as it stands
            self._writer.add_text("config", text)

    def log(self, record: Record) -> None:
        """One scalar a value, on the disk at once."""
        for key, value in _values(record).items():
            self._writer.add_scalar(key, value, int(record["epoch"]))
        self._writer.flush()

    def close(self, failed: bool) -> None:
        """Close the file."""
        self._writer.close()


class WandB:
    """A run of Weights & Biases, as its environment says; without a login, an offline one."""

    def __init__(self, run: TrackedRun) -> None:
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=run.id(),
            name=run.name,
            group=run.config.name,
            config=run.config.as_dict(),
            resume="allow",
            mode=None if _may_go_online(wandb.setup().settings) else "offline",
        )

    def log(self, record: Record) -> None:
        """One step; it drops steps that it has already."""
        self._run.log(_values(record), step=int(record["epoch"]))

    def close(self, failed: bool) -> None:
        """Finish the run, as done or as failed."""
        self._run.finish(exit_code=int(failed))


class Trackio:
    """A run of Trackio, by default in its local database."""

    def __init__(self, run: TrackedRun) -> None:
        import trackio

        self._finish = trackio.finish
        with redirect_stdout(sys.stderr):
            self._run = trackio.init(
                project=os.environ.get("TRACKIO_PROJECT", PROJECT),
                name=f"{run.name} ({run.id()})",  # it finds runs by name alone
                group=run.config.name,
                config=run.config.as_dict(),
                resume="allow",
            )

    def log(self, record: Record) -> None:
        """One step."""
        self._run.log(_values(record), step=int(record["epoch"]))

    def close(self, failed: bool) -> None:
        """Finish the run; it knows no failed ones."""
        with redirect_stdout(sys.stderr):
            self._finish()


TRACKERS: dict[str, Callable[[TrackedRun], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WandB,
    "trackio": Trackio,
}


def require(names: Sequence[str]) -> None:
    """Refuse trackers that are unknown or not installed; their packages are named as they are.

    Raises:
        BadConfig: an unknown tracker.
        MissingExtra: its package is not installed.
    """
    for name in names:
        if name not in TRACKERS:
            raise BadConfig(
                f"A tracker must be one of {', '.join(TRACKERS)}, but got {name!r}"
                f"{nearest(name, TRACKERS)}"
            )
        try:
            distribution(name)
        except PackageNotFoundError as error:
            raise MissingExtra(
                f"Reporting to {name} needs its package, which is not installed; "
                f"run pip install 'ccr-diag[{name}]', or leave it out of --report-to."
            ) from error


@contextmanager
def reporting(names: Sequence[str], run: TrackedRun) -> Iterator[Callable[[Record], None]]:
    """Open trackers and close them again, however the block ends.

    Args:
        names: of ``TRACKERS``.
        run: what they are told of it.

    Yields:
        What tells them all an epoch.
    """
    trackers: dict[str, Tracker] = {}

    def report(record: Record) -> None:
        for name, tracker in list(trackers.items()):
            try:
                tracker.log(record)
            except Exception as error:
                _warn(name, error, "it gets no more epochs")
                del trackers[name]
                with suppress(Exception):
                    tracker.close(failed=True)

    failed = True
    try:
        for name in names:
            try:
                trackers[name] = TRACKERS[name](run)
            except Exception as error:
                _warn(name, error, "the run goes on without it")
        yield report
        failed = False
    finally:
        for name, tracker in trackers.items():
            try:
                tracker.close(failed)
            except Exception as error:
                _warn(name, error, "its last epochs may be missing there")


def _warn(name: str, error: Exception, result: str) -> None:
    """One line about a tracker's failure, which is not the run's."""
    reason = " ".join(str(error).split()) or type(error).__name__
    logger.warning("Reporting to %s failed (%s); %s.", name, reason, result)


def _values(record: Record) -> dict[str, int | float]:
    """What is drawn over the epochs."""
    return {key: value for key, value in record.items() if key != "epoch"}


def _may_go_online(settings: Any) -> bool:
    """Whether the user has set up Weights & Biases, so that it asks for no login.

    Args:
        settings: those that it found in its environment and files.
    """
    if "WANDB_MODE" in os.environ or settings.mode != "online":
        return True
    if settings.api_key or settings.identity_token_file:
        return True
    try:
        hosts = netrc.netrc(os.environ.get("NETRC")).hosts
    except (OSError, netrc.NetrcParseError):
        return False
    return urlsplit(settings.base_url).hostname in hosts
