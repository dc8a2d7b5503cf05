"""Sentences below the paper's tables: what their numbers are, and which runs they lack."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ccr_diag.metrics.presets import PRESETS
from ccr_diag.metrics.registry import METRICS, definitions
from ccr_diag.paper.kinds import Kind
from ccr_diag.paper.methods import BCE, METHODS, OF_REGULARIZER, PLACE, settings_of
from ccr_diag.paper.printed import Printed
from ccr_diag.report_sweep import Spread, notes, setting_said
from ccr_diag.sweep_table import COLUMN_OF, UNCALIBRATED, ZERO_SHOT

MOST_NAMED = 8
NO_SHARED_CONTEXT = ("clip_adapter",)
"""Frameworks that DOR has no part in."""
PAPER_PRESET = "paper"
SWEEP = "ccr-diag sweep FOLDER/grid.toml --output FOLDER --resume"
_SAID = {
    ZERO_SHOT: "zero-shot has the bias rule of its row, or the prior one beside a learned one",
    "plain": "plain is BCE alone, uncalibrated",
    "DAC": "DAC is the calibrator `dac` on top of plain",
    "DOR": "DOR is added to BCE",
    "CCR": "CCR is added to BCE",
}
BOLD = "Bold: the best of a row as rounded; whether it differs from the next, the ± must tell."


@dataclass(frozen=True)
class Gap:
    """A run that is not there.

    Args:
        where: its row.
        framework: of the row.
        method: of the column.
        column: what that is called.
        settings: of the runs beside it, and of the column.
    """

    where: str
    framework: str
    method: str
    column: str
    settings: tuple[tuple[str, Any], ...]

    @property
    def possible(self) -> bool:
        """Whether there are such runs."""
        return self.method != "DOR" or self.framework not in NO_SHARED_CONTEXT


def notes_of(kind: Kind, runs: pd.DataFrame, means: pd.DataFrame, spread: Spread) -> list[str]:
    """What the numbers of a table are.

    Args:
        kind: of the table.
        runs: its numbers, run by run.
        means: over splits.
        spread: what stands after ±.
    """
    said = "; ".join(_SAID[method] for method in kind.methods)
    there = set(zip(means["metric"], means["group"], strict=True))
    shown = {row: cell for row, cell in kind.rows.items() if cell in there}
    lines = [*notes(runs.drop(columns="method"), spread), f"{said[0].upper()}{said[1:]}.", BOLD]
    meant = definitions(list(dict.fromkeys(metric for metric, _ in shown.values())))
    lines += [f"`{key}`: {entry['definition']}." for key, entry in meant.items()]
    left_out = [row for row in kind.rows if row not in shown]
    if left_out:
        lines.append(f"Left out, as no run has such a number: {', '.join(left_out)}.")
    if kind.across_data and "train_data" not in means:
        lines.append(
            "On which data set runs were tuned stands in the grid.toml of their sweep, not in its "
            "table, so none is marked as the source."
        )
    return lines


def unsaid(means: pd.DataFrame) -> list[str]:
    """Which settings differ without a word in the labels."""
    tuned = means[means["method"] != ZERO_SHOT]
    labels = (tuned["row"] + ", " + tuned["column"]).str.split(", ")
    unsaid = []
    for name in settings_of(tuned):
        of = ["method"] if name in OF_REGULARIZER else []
        several = tuned.groupby([*PLACE, *of])[name].transform("nunique") > 1
        shown = zip(several, tuned[name], labels, strict=True)
        if any(differs and setting_said(name, value) not in said for differs, value, said in shown):
            unsaid.append("λ" if name == "lambda" else name.replace("_", " "))
    if not unsaid:
        return []
    return [f"Runs also differ in {', '.join(unsaid)}, as the CSV of this table says."]


def gap_notes(gaps: Sequence[Gap]) -> list[str]:
    """Which runs a table lacks; one sentence a method and reason."""
    of: defaultdict[tuple[str, bool], list[Gap]] = defaultdict(list)
    for gap in dict.fromkeys(gaps):
        of[gap.method, gap.possible].append(gap)
    return [
        f"Missing runs (–): {_named(found)}."
        if possible
        else f"{_named(found)}: there is none, as no context is learned that nouns share."
        for (_, possible), found in of.items()
    ]


def _named(gaps: Sequence[Gap]) -> str:
    names = [f"{gap.column} of {gap.where}" for gap in gaps]
    more = len(names) - MOST_NAMED
    return "; ".join(names[:MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")


def how_to_fill(gaps: Sequence[Gap], calibrators: Sequence[str]) -> list[str]:
    """What to change in the grid of a sweep, and what to run then; nothing without gaps.

    Args:
        gaps: of ``lay_out_means``.
        calibrators: that the table of the sweep holds, which it would lose otherwise.
    """
    missing = [gap for gap in gaps if gap.possible]
    asked = dict.fromkeys([*calibrators, *(METHODS[gap.method][1] for gap in missing)])
    changes = dict.fromkeys(_block(gap) for gap in missing if METHODS[gap.method][0] != "none")
    lines = []
    if any(METHODS[gap.method][1] != UNCALIBRATED for gap in missing):
        lines.append(
            "To fill gaps, with nothing tuned anew, have in FOLDER/grid.toml, the grid of the "
            f"sweep, under [calibration]:\n\ncalibrators = {json.dumps(list(asked))}"
        )
    if changes:
        lines.append(
            "To fill gaps, add to FOLDER/grid.toml, the grid of the sweep, with settings as of the "
            "runs beside them:\n\n" + "\n\n".join(changes)
        )
    return lines and [*lines, f"Then: {SWEEP}"]


def _block(gap: Gap) -> str:
    """What a grid says of a run."""
    name_of = {column: name for name, column in COLUMN_OF.items()}
    said = {
        "framework": gap.framework,
        "loss": BCE,
        "regularizer": METHODS[gap.method][0],
        **dict(gap.settings),
    }
    lines = [f"{name_of.get(name, name)} = {json.dumps(_plain(v))}" for name, v in said.items()]
    return "\n".join(["[[grid]]", *lines])


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def paper_notes(known: Printed, means: pd.DataFrame) -> list[str]:
    """What stands between the paper's numbers and these.

    Args:
        known: what the paper prints.
        means: of the table.
    """
    return [*known.notes, *(note for note, _ in _differing(means))]


def paper_remarks(unanswered: Sequence[str], means: pd.DataFrame) -> list[str]:
    """What else there is of the paper, and how to follow its definitions.

    Args:
        unanswered: numbers that it prints and no row here is of the kind of.
        means: of the table.
    """
    lines = [how for _, how in _differing(means)]
    if unanswered:
        lines.append(f"Printed in the paper, without a row here: {'; '.join(unanswered)}.")
    return lines


def _differing(means: pd.DataFrame) -> list[tuple[str, str]]:
    """How the definitions of calibration errors differ, and how to measure the paper's."""
    followed, n_bins = means["preset"].iloc[0], means["n_bins"].iloc[0]
    paper = PRESETS[PAPER_PRESET]
    errors = [m for m in means["metric"].unique() if m in METRICS and METRICS[m].distance]
    if not errors or (followed, n_bins) == (PAPER_PRESET, paper.n_bins):
        return []
    return [
        (
            f"Definitions differ: here preset {followed}, {n_bins} bins; the paper most likely "
            f"follows preset {PAPER_PRESET}, {paper.n_bins} bins.",
            f"To measure by preset {PAPER_PRESET}: {SWEEP} --set preset={PAPER_PRESET}",
        )
    ]
