"""The tables of the paper on CCR, of the numbers of a sweep: Markdown, LaTeX, and tidy CSV.

A row is a framework and a number, a column a method (``methods``); the best of a row is
marked. What was not run is a gap, and a note says how to fill it. What the paper itself prints
stands in columns of its own, on request, and takes no part in what is best.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ccr_diag.paper.kinds import KINDS, Kind
from ccr_diag.paper.layout import beside, columns_of, lay_out_means, rows_of, unanswered
from ccr_diag.paper.methods import (
    PLACE,
    means_of_methods,
    runs_of_methods,
    with_harmonic_accuracy,
    with_zero_shot,
)
from ccr_diag.paper.notes import (
    gap_notes,
    how_to_fill,
    notes_of,
    paper_notes,
    paper_remarks,
    unsaid,
)
from ccr_diag.paper.printed import printed
from ccr_diag.report_layout import Table, as_latex, as_markdown
from ccr_diag.report_sweep import Spread
from ccr_diag.runs import write_atomically, write_text
from ccr_diag.sweep_table import ZERO_SHOT, check_table

OURS, PAPER = "ours", "paper"


@dataclass(frozen=True, eq=False)
class PaperTable:
    """One table and the numbers in it.

    Args:
        name: of its files, without ending.
        table: as it is shown.
        notes: sentences that it cannot be read without.
        remarks: how to fill its gaps, and what else there is to know.
        frame: the numbers in full precision, one a row; ``origin`` says whose they are, ``ours``
            or ``paper``.
    """

    name: str
    table: Table
    notes: tuple[str, ...]
    remarks: tuple[str, ...]
    frame: pd.DataFrame


def paper_tables(
    frame: pd.DataFrame, *, with_paper: bool = False, spread: Spread = "interval"
) -> list[PaperTable]:
    """The paper's tables, those of them that a sweep holds two methods of.

    Args:
        frame: of ``sweep_table.read_table``.
        with_paper: add what the paper prints.
        spread: what stands after ±.

    Raises:
        BadData: the rows are no table of a sweep, follow different definitions, or hold runs that
            no column tells apart.
    """
    table = check_table(frame, "the table of a sweep")
    runs = runs_of_methods(with_harmonic_accuracy(table))
    runs = runs[runs["metric"].isin({metric for kind in KINDS for metric, _ in kind.rows.values()})]
    if runs.empty:
        return []
    means, calibrators = means_of_methods(runs), table["calibrator"].unique().tolist()
    found: dict[str, PaperTable] = {}
    for kind in KINDS:
        for name, title, places in _cuts(kind, runs):
            there = _cut(kind, places, means)
            if there["method"].nunique() > 1:
                free, of = _free(name, found), _cut(kind, places, runs)
                found[free] = _made(kind, free, title, of, there, calibrators, spread, with_paper)
    return list(found.values())


def write_tables(tables: Sequence[PaperTable], folder: Path) -> list[Path]:
    """Write ``NAME.md``, ``NAME.csv`` and ``NAME.tex`` of each.

    Args:
        tables: of ``paper_tables``.
        folder: made if it is not there.

    Returns:
        The files written, each whole.

    Raises:
        NoSpace: the disk is full.
    """
    written = []
    for made in tables:
        markdown, csv, latex = (folder / f"{made.name}.{ending}" for ending in ("md", "csv", "tex"))
        below = "".join(f"\n{_fenced(line)}\n" for line in (*made.notes, *made.remarks))
        write_text(markdown, as_markdown([made.table]) + below)
        _write_csv(csv, made.frame)
        comments = [f"% {line}".rstrip() for r in made.remarks for line in [*r.splitlines(), ""]]
        write_text(latex, "\n".join([as_latex([made.table], made.notes), *comments]))
        written += [markdown, csv, latex]
    return written


def _fenced(remark: str) -> str:
    """In Markdown, what follows a sentence set as code."""
    said, _, code = remark.partition("\n\n")
    return f"{said}\n\n```toml\n{code}\n```" if code else said


def _write_csv(path: Path, frame: pd.DataFrame) -> None:
    write_atomically(path, lambda partial: frame.to_csv(partial, index=False, lineterminator="\n"))


def _cuts(kind: Kind, runs: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Name, title and places of each table: one a place, or one of all that runs are tested on."""
    tuned = runs[runs["method"] != ZERO_SHOT]
    if kind.across_data:
        followed = tuned.groupby("run")["data"].transform("nunique") > 1
        if followed.any():
            yield kind.name, kind.title, tuned.loc[followed, PLACE].drop_duplicates()
        return
    places = tuned[PLACE].drop_duplicates()
    for data, split in places.itertuples(index=False, name=None):
        place = places[(places["data"] == data) & (places["test_split"] == split)]
        if len(places) == 1:
            yield kind.name, kind.title, place
        else:
            yield (
                f"{kind.name}_{_slug(f'{data} {split}')}",
                f"{kind.title}, {data} ({split})",
                place,
            )


def _slug(words: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")[:60]


def _free(name: str, taken: dict[str, Any]) -> str:
    """The name, with a number where that of another data set looks the same."""
    numbered = (name if i == 1 else f"{name}_{i}" for i in range(1, len(taken) + 2))
    return next(one for one in numbered if one not in taken)


def _cut(kind: Kind, places: pd.DataFrame, part: pd.DataFrame) -> pd.DataFrame:
    """The rows of some places that a kind of table asks for."""
    asked = pd.DataFrame(list(kind.rows.values()), columns=["metric", "group"])
    return part[part["method"].isin(kind.methods)].merge(places, on=PLACE).merge(asked)


def _made(
    kind: Kind,
    name: str,
    title: str,
    runs: pd.DataFrame,
    means: pd.DataFrame,
    calibrators: Sequence[str],
    spread: Spread,
    with_paper: bool,
) -> PaperTable:
    """One table of means, and what they are means of."""
    shown = with_zero_shot(means)
    rows, columns = rows_of(kind, shown), columns_of(kind, shown)
    title = f"{title}, × 100"
    header, body, missing = lay_out_means(kind, shown, rows, columns, spread)
    lines = [*notes_of(kind, runs, means, spread), *gap_notes(missing)]
    remarks = [*how_to_fill(missing, calibrators), *unsaid(means)]
    frame = shown.assign(table=name, origin=OURS)
    known = printed(kind.name) if with_paper else None
    if known is not None:
        title, header, body = beside(known, title, header, body, rows)
        lines += paper_notes(known, means)
        remarks += paper_remarks(unanswered(kind, known, rows), means)
        theirs = known.values.assign(table=name, origin=PAPER)
        whole = dict.fromkeys(frame.select_dtypes("int64").columns, "Int64")  # some are unknown
        frame = pd.concat([frame, theirs], ignore_index=True).astype(whole)
    table = (title, header, body)
    return PaperTable(name, table, tuple(lines), tuple(remarks), frame[_ordered(frame)])


def _ordered(frame: pd.DataFrame) -> list[str]:
    """Columns of the tidy table, what a number is about before the number."""
    first = ["table", "origin", "row", "column"]
    return first + [name for name in frame.columns if name not in first]
