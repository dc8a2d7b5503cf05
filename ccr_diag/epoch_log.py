"""``metrics.jsonl`` of a run folder: what each epoch of tuning came to, one JSON object a line.

Its keys are the fields of ``EpochRecord``, the preservation under ``NP@5``.
"""

import json
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from ccr_diag.errors import BadData
from ccr_diag.runs import LOG, write_text

NEIGHBOURS = 5
PRESERVATION = f"NP@{NEIGHBOURS}"


@dataclass(frozen=True)
class EpochRecord:
    """One epoch; losses and dead classes are means over its steps.

    Args:
        epoch: from 1.
        loss: what is minimised, without the regularizer.
        regularizer: without its λ.
        dead: classes that CCR could not see.
        rate: η.
        bias: b at its end.
        preservation: NP@5 of the tuned classes' texts at its end against zero-shot, their mean;
            None of a single class, and of runs that logged none.
    """

    epoch: int
    loss: float
    regularizer: float
    dead: float
    rate: float
    bias: float
    preservation: float | None = None

    def as_dict(self) -> dict[str, int | float]:
        """As it is logged: the preservation under ``NP@5``, or left out."""
        values = asdict(self)
        preservation = values.pop("preservation")
        return values | ({} if preservation is None else {PRESERVATION: preservation})


def append_epoch(folder: Path, record: EpochRecord) -> None:
    """Add an epoch to the log, in the place of it and of later ones."""
    before = read_epochs(folder) if (folder / LOG).exists() else []
    kept = [each for each in before if each.epoch < record.epoch]
    lines = [json.dumps(each.as_dict()) + "\n" for each in [*kept, record]]
    write_text(folder / LOG, "".join(lines))


def read_epochs(folder: Path) -> list[EpochRecord]:
    """The epochs of a run folder's log, in its order.

    Raises:
        BadData: no log, or a line of it is no epoch.
    """
    path = folder / LOG
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise BadData(
            f"The epochs of a run stand in its {LOG}, but {path} cannot be read ({reason}); "
            "give the folder of a run of 'ccr-diag finetune'."
        ) from error
    return [_parsed(line, f"line {i} of {path}") for i, line in enumerate(lines, start=1)]


def _parsed(line: str, where: str) -> EpochRecord:
    """One line; keys that are not known are passed over."""
    try:
        found = json.loads(line)
        values: dict[str, Any] = {name: found[name] for name in EpochRecord.__match_args__[:-1]}
    except (ValueError, TypeError, KeyError) as error:
        missing = f"without {error}" if isinstance(error, KeyError) else "damaged"
        raise BadData(
            f"Each line of a run's log is one epoch, but {where} is {missing}; tune the run anew."
        ) from error
    values["preservation"] = found.get(PRESERVATION)
    whole = isinstance(values["epoch"], int) and values["epoch"] >= 1
    logged = [
        value for name, value in values.items() if name != "preservation" or value is not None
    ]
    if not whole or not all(map(_is_number, logged)):
        raise BadData(
            f"Each line of a run's log is numbers, its epoch a whole one from 1, but {where} is "
            f"{line[:200]!r}; tune the run anew."
        )
    return EpochRecord(**values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
