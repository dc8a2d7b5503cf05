"""The quality gate: conditions under which measured models fail, “ece>0.1” or “map@new <= 0.5”.

    METRIC[@GROUP] OP NUMBER

METRIC is a key of ``METRICS``, in letters of any case; without its view it means the positive one,
or else the one of decisions: ``ece`` is ``ece_positive``, ``piece`` is ``piece_decision``. GROUP is
one of ``GROUPS``, all classes where it is left out. OP is >, >=, < or <=. Numbers are those of the
results file: fractions, not percent.
"""

import math
import operator
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ccr_diag.data.groups import GROUPS as OF_CLASSES
from ccr_diag.errors import BadConfig, nearest
from ccr_diag.metrics.measurement import ALL
from ccr_diag.metrics.registry import METRICS

GROUPS = (ALL, "base", *OF_CLASSES)
OPERATORS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
VIEWS = ("positive", "decision")
SHAPE = re.compile(r"\s*([\w-]+)\s*(?:@\s*([\w-]+)\s*)?(>=|<=|>|<)\s*(\S+)\s*", re.ASCII)


@dataclass(frozen=True)
class Condition:
    """What a model must not be.

    Args:
        metric: a key of ``METRICS``.
        group: one of ``GROUPS``.
        sign: a key of ``OPERATORS``.
        limit: what the number is held against.
    """

    metric: str
    group: str
    sign: str
    limit: float

    def holds(self, value: float) -> bool:
        """Whether a number fails the gate."""
        return bool(OPERATORS[self.sign](value, self.limit))


def read_conditions(texts: Sequence[str]) -> list[Condition]:
    """The conditions that these texts state.

    Raises:
        BadConfig: a text of another form, or an unknown metric or group.
    """
    return [_condition(text) for text in texts]


def _condition(text: str) -> Condition:
    found = SHAPE.fullmatch(text)
    if found is None:
        raise BadConfig(
            "A condition of --fail-if must be METRIC[@GROUP] OP NUMBER, with >, >=, < or <=, as "
            f"'ece@tail>0.1', but got {text!r}."
        )
    metric, group, sign, number = found.groups(default=ALL)
    try:
        limit = float(number)
    except ValueError:
        limit = math.nan
    if not math.isfinite(limit):
        raise BadConfig(
            f"The number of a --fail-if condition must be finite, and a fraction (0.1 is 10 %), "
            f"but got {number!r} in {text!r}."
        )
    if group not in GROUPS:
        raise BadConfig(
            f"The group of a --fail-if condition is not known in {text!r}: {group!r}"
            f"{nearest(group, GROUPS)}"
        )
    return Condition(_metric(metric, text), group, sign, limit)


def _metric(name: str, text: str) -> str:
    """The key that a name means."""
    plain = name.lower().replace("-", "_")
    for key in (plain, *(f"{plain}_{view}" for view in VIEWS)):
        if key in METRICS:
            return key
    short = {key.removesuffix(f"_{view}") for key in METRICS for view in VIEWS}
    raise BadConfig(
        f"The metric of a --fail-if condition is not known in {text!r}: {name!r}"
        f"{nearest(plain, short | METRICS.keys())}"
    )


def violations(conditions: Sequence[Condition], models: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A sentence for each model and condition that fails it, or that could not be measured.

    Args:
        conditions: of the gate.
        models: records of a results file.
    """
    for model in models:
        for condition in conditions:
            value = _value(condition, model)
            what = f"{condition.metric} of {condition.group}"
            limit = f"{condition.sign} {condition.limit:g}"
            if value is None:
                yield (
                    f"Gate: {what} could not be measured in model {model['name']}, so that it is "
                    f"not known whether it is {limit}"
                )
            elif condition.holds(value):
                yield (
                    f"Gate: {what} is {_shown(value, condition)} in model {model['name']}, which "
                    f"is {limit}"
                )


def _value(condition: Condition, model: dict[str, Any]) -> float | None:
    """The number of a model, None where there is none."""
    pool = model if condition.group == ALL else model["groups"].get(condition.group)
    entry = None if pool is None else pool["metrics"].get(condition.metric)
    return None if entry is None else entry["value"]


def _shown(value: float, condition: Condition) -> str:
    """Three digits, or as many as show that the condition holds."""
    return next(
        text
        for digits in (*range(3, 17), 17)
        if condition.holds(float(text := f"{value:.{digits}g}"))
    )
