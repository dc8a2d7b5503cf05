"""What can go wrong, in the user's words. Every text says the rule, what came, and what to do.

The library raises these and prints nothing; the command line prints the text as one line and exits
with code 2, or with 1 where a run that began well could not go on.
"""

import difflib
from collections.abc import Iterable


class CcrDiagError(Exception):
    """A mistake in what the user gave: arguments, files, data. Nothing was changed."""


class BadData(CcrDiagError):
    """Images, labels or class names break a rule."""


class BadConfig(CcrDiagError):
    """A setting is unknown, out of range or contradicts another."""


class BadCheckpoint(CcrDiagError):
    """A checkpoint is missing, damaged, or belongs to another backbone or class list."""


class BadPredictions(BadData):
    """A file of predictions, or of arrays, is missing, damaged or inconsistent."""


class OutputExists(CcrDiagError):
    """The output is already there."""


class MissingExtra(CcrDiagError):
    """An optional package is not installed."""


class RunFailed(CcrDiagError):
    """A run that began well could not go on (a loss that is not a number, a killed process).

    What was saved is kept.
    """


class NoSpace(RunFailed):
    """The disk is full."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for a mistyped word: “; did you mean 'x'?”, or the known words when none is near."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}."
