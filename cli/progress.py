"""How far long work is, on stderr: a bar on a terminal, now and then a plain line when piped."""

import sys
import time
from typing import Never

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10


class Progress:
    """Call it with the stage, the units done and the units in all.

    Args:
        prefix: what the stages belong to, e.g. the name of a run.
    """

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.stage = ""
        self.bar: tqdm[Never] | None = None  # it counts, and never iterates
        self.last_line = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` units of ``stage`` are done."""
        title = f"{self.prefix} {stage}".strip()
        if sys.stderr.isatty():
            self._move_bar(title, done, total)
        elif done == total or time.monotonic() - self.last_line > SECONDS_BETWEEN_LINES:
            print(f"{title}: {done} of {total}", file=sys.stderr, flush=True)
            self.last_line = time.monotonic()

    def _move_bar(self, title: str, done: int, total: int) -> None:
        if self.bar is None or self.stage != title:
            self.close()
            # What is done already, say by the run that is gone on with, does not count as speed.
            self.bar = tqdm(total=total, initial=done, desc=title, leave=False)
            self.stage = title
        self.bar.update(done - self.bar.n)
        if done == total:
            self.close()

    def close(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
