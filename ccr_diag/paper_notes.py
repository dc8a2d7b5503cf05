"""Sentences below the paper's tables: what their numbers are, and which runs they lack."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ccr_diag.metrics.presets import PRESETS
from ccr_diag.metrics.registry import METRICS, definitions
from ccr_diag.paper_kinds import Kind
from ccr_diag.paper_methods import METHODS, OF_REGULARIZER, PLACE, settings_of
from ccr_diag.paper_values import Printed
from ccr_diag.report_sweep import Spread, notes, setting_said
from ccr_diag.sweep_table import UNCALIBRATED, ZERO_SHOT

MOST_NAMED = 8
NO_SHARED_CONTEXT = ("clip_adapter",)
"""Frameworks that DOR has no part in."""
PAPER_PRESET = "paper"
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
    """

    where: str
    framework: str
    method: str
    column: str


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
    return lines + _unsaid(means)


def _unsaid(means: pd.DataFrame) -> list[str]:
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
    """Which runs a table lacks, and what would fill it; one sentence a method."""
    of_method: defaultdict[str, list[Gap]] = defaultdict(list)
    for gap in dict.fromkeys(gaps):
        of_method[gap.method].append(gap)
    return [line for method, found in of_method.items() for line in _gap_notes(method, found)]


def _gap_notes(method: str, gaps: Sequence[Gap]) -> list[str]:
    without = [gap for gap in gaps if method == "DOR" and gap.framework in NO_SHARED_CONTEXT]
    missing = [gap for gap in gaps if gap not in without]
    lines = []
    if without:
        lines.append(
            f"{_named(without)}: there is none, as no context is learned that nouns share."
        )
    if missing:
        lines.append(f"Missing runs: {_named(missing)}; {_fill(method)}.")
    return lines


def _named(gaps: Sequence[Gap]) -> str:
    names = [f"{gap.column} of {gap.where}" for gap in gaps]
    more = len(names) - MOST_NAMED
    return "; ".join(names[:MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _fill(method: str) -> str:
    """What makes the runs of a method, beside those that are there."""
    regularizer, calibrator = METHODS[method]
    sweep = "ccr-diag sweep FOLDER/grid.toml --output FOLDER --resume"
    if calibrator != UNCALIBRATED:
        asked = f'--set \'calibration.calibrators=["none", "{calibrator}"]\''
        return f"to fill in, in the FOLDER of the sweep, with nothing tuned anew: {sweep} {asked}"
    return (
        f'to fill in, add such a [[grid]] with regularizer = "{regularizer}" to the grid.toml in '
        f"the FOLDER of the sweep: {sweep}"
    )


def paper_notes(known: Printed, unanswered: Sequence[str], means: pd.DataFrame) -> list[str]:
    """What stands between the paper's numbers and these.

    Args:
        known: what the paper prints.
        unanswered: its numbers that no row here is of the kind of.
        means: of the table.
    """
    lines = list(known.notes)
    followed, n_bins = means["preset"].iloc[0], means["n_bins"].iloc[0]
    paper = PRESETS[PAPER_PRESET]
    errors = [m for m in means["metric"].unique() if m in METRICS and METRICS[m].distance]
    if errors and (followed, n_bins) != (PAPER_PRESET, paper.n_bins):
        lines.append(
            f"Definitions differ: here preset {followed}, {n_bins} bins; the paper most likely "
            f"follows preset {PAPER_PRESET}, {paper.n_bins} bins, which ccr-diag sweep "
            f"FOLDER/grid.toml --output FOLDER --resume --set preset={PAPER_PRESET} measures."
        )
    if unanswered:
        lines.append(f"Printed in the paper, without a row here: {'; '.join(unanswered)}.")
    return lines
