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
        unit: what is counted; plain lines then say how many a second, and what time is left.
    """

    def __init__(self, prefix: str = "", unit: str = "") -> None:
        self.prefix, self.unit = prefix, unit
        self.stage = ""
        self.first = 0, 0.0  # units done when the stage was first told of, and when
        self.bar: tqdm[Never] | None = None  # it counts, and never iterates
        self.last_line = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` units of ``stage`` are done."""
        title = f"{self.prefix} {stage}".strip()
        if self.stage != title:
            self.close()
            # What is done already, say by the run that is gone on with, does not count as speed.
            self.stage, self.first = title, (done, time.monotonic())
        if sys.stderr.isatty():
            self._move_bar(done, total)
        elif done == total or time.monotonic() - self.last_line > SECONDS_BETWEEN_LINES:
            speed = self._speed(done, total)
            print(f"{title}: {done} of {total}{speed}", file=sys.stderr, flush=True)
            self.last_line = time.monotonic()

    def _move_bar(self, done: int, total: int) -> None:
        if self.bar is None:
            unit = f" {self.unit}" if self.unit else "it"
            self.bar = tqdm(total=total, initial=done, desc=self.stage, unit=unit, leave=False)
        self.bar.update(done - self.bar.n)
        if done == total:
            self.close()

    def _speed(self, done: int, total: int) -> str:
        """Of the stage so far, if it is asked for and there was any."""
        before, since = self.first
        if not self.unit or done <= before:
            return ""
        rate = (done - before) / max(time.monotonic() - since, 1e-6)
        left = tqdm.format_interval((total - done) / rate)
        return f", {rate:,.1f} {self.unit}/s, {left} left"

    def close(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
