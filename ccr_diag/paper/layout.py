"""Means of the paper's methods → rows and columns of text; beside them what it prints itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ccr_diag.metrics.registry import better
from ccr_diag.paper.kinds import Kind
from ccr_diag.paper.methods import OF_REGULARIZER, PLACE, settings_of
from ccr_diag.paper.notes import Gap
from ccr_diag.paper.printed import SHOTS, Printed
from ccr_diag.records import label
from ccr_diag.report_sweep import Spread, entry_of
from ccr_diag.report_tables import cells
from ccr_diag.sweep_table import ZERO_SHOT

SOURCE = "source"
DECIMALS = 2  # in percent, as the paper prints
OF_CAPTIONS = 0  # shots of a framework that learns from captions


@dataclass(frozen=True)
class Row:
    """A framework with its settings, and a number of it.

    Args:
        label: of the framework and its settings.
        framework: its name.
        shots: images a class.
        place: data set and split.
        source: whether it was tuned on that data set; unknown where the sweep does not vary that.
        said: what the row is called.
        metric: of the number.
        group: of classes.
        settings: of its runs, those that tell the runs of the table apart.
    """

    label: str
    framework: str
    shots: int
    place: tuple[str, str]
    source: bool
    said: str
    metric: str
    group: str
    settings: tuple[tuple[str, Any], ...]

    @property
    def data_said(self) -> str:
        """The data set."""
        return f"{self.place[0]} ({SOURCE})" if self.source else self.place[0]

    def answers(self, value: dict[Any, Any]) -> bool:
        """Whether a number that the paper prints is of the same kind."""
        of = [value[name] for name in ("framework", "metric", "group")]
        same = of == [self.framework, self.metric, self.group]
        there = value["data"] == "" or (value["data"] == SOURCE and self.source)
        return same and there and self.shots in (SHOTS, OF_CAPTIONS)


def rows_of(kind: Kind, means: pd.DataFrame) -> list[Row]:
    """The rows of a table, those of a framework together; numbers that no run has are left out."""
    tuned = means[means["method"] != ZERO_SHOT]
    cells_there = set(zip(tuned["metric"], tuned["group"], strict=True))
    told = _telling(tuned, of_regularizer=False)
    found = []
    for first in tuned.drop_duplicates(["row", *PLACE]).to_dict("records"):
        place = (first["data"], first["test_split"])
        source = first.get("train_data") == first["data"]
        about = (first["row"], first["framework"], first["shots"], place, source)
        settings = tuple((name, first[name]) for name in told)
        found += [
            Row(*about, said, *cell, settings)
            for said, cell in kind.rows.items()
            if cell in cells_there
        ]
    order = {label_: i for i, label_ in enumerate(tuned["row"].unique())}
    return sorted(found, key=lambda row: order[row.label])


def _telling(means: pd.DataFrame, *, of_regularizer: bool) -> list[str]:
    """Settings, of regularizers or others, that are not the same everywhere."""
    of = [name for name in settings_of(means) if (name in OF_REGULARIZER) == of_regularizer]
    return [name for name in of if means[name].nunique() > 1]


def _settings_of_columns(means: pd.DataFrame) -> dict[str, tuple[tuple[str, Any], ...]]:
    """Column → settings of its regularizer, where the method stands in several."""
    found: dict[str, tuple[tuple[str, Any], ...]] = {}
    for _, part in means.groupby("method", sort=False):
        told = _telling(part, of_regularizer=True)
        for first in part.drop_duplicates("column").to_dict("records"):
            found[first["column"]] = tuple((name, first[name]) for name in told)
    return found


def columns_of(kind: Kind, means: pd.DataFrame) -> dict[str, str]:
    """Column → method: each method's kinds of runs, or itself where there are none."""
    found: dict[str, str] = {}
    for method in kind.methods:
        there = means.loc[means["method"] == method, "column"].unique()
        found |= dict.fromkeys([str(name) for name in there] or [method], method)
    return found


def lay_out_means(
    kind: Kind, means: pd.DataFrame, rows: Sequence[Row], columns: dict[str, str], spread: Spread
) -> tuple[list[str], list[list[str]], list[Gap]]:
    """Header, body and gaps of a table; the best of each row is marked.

    Args:
        kind: of the table.
        means: with zero-shot beside each row.
        rows: of ``rows_of``.
        columns: of ``columns_of``.
        spread: what stands after ±.
    """
    place_of = ["row", "column", *PLACE]
    found = {
        tuple(mean[name] for name in (*place_of, "metric", "group")): mean
        for mean in means.to_dict("records")
    }
    run = set(means[place_of].itertuples(index=False, name=None))
    run_anywhere = {key[:2] for key in run}
    added = _settings_of_columns(means)
    body, gaps = [], []
    for row in rows:
        keys = [(row.label, column, *row.place) for column in columns]
        means_there = [found.get((*key, row.metric, row.group)) for key in keys]
        entries = [None if mean is None else entry_of(mean, spread) for mean in means_there]
        texts = cells(entries, 100.0, several=True, way=better(row.metric), digits=DECIMALS)
        data = [row.data_said] if kind.across_data else []
        body.append([row.label, *data, row.said, *texts])
        for key in keys:
            if key not in run and columns[key[1]] != ZERO_SHOT:
                on = f" on {row.place[0]}" if key[:2] in run_anywhere else ""
                settings = (*row.settings, *added.get(key[1], ()))
                gaps.append(Gap(row.label + on, row.framework, columns[key[1]], key[1], settings))
    data = ["data"] if kind.across_data else []
    return ["framework", *data, kind.rows_are, *columns], body, gaps


def beside(
    known: Printed, title: str, header: list[str], body: list[list[str]], rows: Sequence[Row]
) -> tuple[str, list[str], list[list[str]]]:
    """The table with columns of what the paper prints, unmarked; as it is where nothing answers."""
    values = known.values.to_dict("records")
    answers = [{v["method"]: v["printed"] for v in values if row.answers(v)} for row in rows]
    methods = [m for m in known.values["method"].unique() if any(m in found for found in answers)]
    if not methods:
        return title, header, body
    more = [
        [f"{found[method]:.{DECIMALS}f}" if method in found else "" for method in methods]
        for found in answers
    ]
    return (
        f"{title}; columns (paper): as printed there, empty where that is not known",
        [*header, *(f"{method} (paper)" for method in methods)],
        [[*ours, *theirs] for ours, theirs in zip(body, more, strict=True)],
    )


def unanswered(kind: Kind, known: Printed, rows: Sequence[Row]) -> list[str]:
    """What the paper prints and no row is of the kind of: “CoOp, ECE: plain 13.25, DAC 10.85”."""
    said = {cell: name for name, cell in kind.rows.items()}
    found: dict[str, list[str]] = {}
    for value in known.values.to_dict("records"):
        if not any(row.answers(value) for row in rows):
            data = [value["data"]] if value["data"] else []
            words = [label(value["framework"]), *data, said[value["metric"], value["group"]]]
            number = f"{value['method']} {value['printed']:.{DECIMALS}f}"
            found.setdefault(", ".join(words), []).append(number)
    return [f"{words}: {', '.join(numbers)}" for words, numbers in found.items()]
