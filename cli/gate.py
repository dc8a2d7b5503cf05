"""``--fail-if``: the exit code says whether the measured models are good enough."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from .options import Command

if TYPE_CHECKING:
    from ccr_diag.gate import Condition

FAILED = 3
"""Exit code of a gate that was not passed."""


def fail_if_option(command: Command) -> Command:
    """``--fail-if``."""
    return click.option(
        "--fail-if", metavar="CONDITION", multiple=True, callback=_readable,
        help="Exit with 3 if it holds of a model: METRIC[@GROUP] OP NUMBER, as 'ece@tail>0.1', "
        "with numbers as in results.json, fractions (repeatable).",
    )(command)  # fmt: skip


def _readable(
    context: click.Context, option: click.Parameter, texts: tuple[str, ...]
) -> tuple[str, ...]:
    """The texts, if they state conditions: a file is then named by its line."""
    read_gate(texts)
    return texts


def read_gate(texts: Sequence[str]) -> list["Condition"]:
    """The conditions that the texts state."""
    if not texts:
        return []
    from ccr_diag.gate import read_conditions

    return read_conditions(texts)


def require_passed(conditions: Sequence["Condition"], models: Sequence[dict[str, Any]]) -> None:
    """Say which models fail which conditions, and end with the exit code of the gate."""
    if not conditions:
        return
    from ccr_diag.gate import violations

    said = list(violations(conditions, models))
    for line in said:
        click.echo(line, err=True)
    if said:
        raise click.exceptions.Exit(FAILED)
