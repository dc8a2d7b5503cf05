"""Which estimator of the correlation CCR takes: metrics against λ, a line an estimator.

The four are those of ``ccr_diag.covariance``. Without regularizer there is none: a level line.
"""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ccr_diag.errors import BadData
from ccr_diag.figures.curves import (
    Curve,
    dashes_of,
    group_handles,
    legend_above,
    missing_said,
    points_said,
    set_number_axis,
    splits_said,
    with_gaps,
)
from ccr_diag.figures.metric_names import LABELS
from ccr_diag.figures.paging import file_words
from ccr_diag.figures.picture import Picture
from ccr_diag.figures.signed_axis import SIGNED
from ccr_diag.figures.style import (
    ESTIMATOR_LOOKS,
    LOOKS,
    MUTED,
    PAGE_INCHES,
    Look,
    as_said,
    new_axes,
    new_figure,
    note,
    number,
    style,
)
from ccr_diag.metrics.registry import METRICS
from ccr_diag.records import label
from ccr_diag.sweep_table import UNCALIBRATED, ZERO_SHOT, identity, summarise

PANELS = {"map": ("base",), "ece_positive": ("base", "new"), SIGNED: ("base", "new")}
"""Metric → groups of a row of panels."""
WITHOUT = "none"
"""The regularizer of the level line, and its estimator in the table."""

_WITHIN = ("model", "bias", "regularizer", "estimator", "lambda", "preset", "n_bins")  # a page


def draw_estimators(
    frame: pd.DataFrame, metric: str, bias: str, groups: Sequence[str], ax: Axes | None = None
) -> Axes:
    """A line an estimator and group over λ, with 95 % bands, and level lines without regularizer.

    Args:
        frame: of ``read_table``, whose runs differ in estimator, λ, bias and split alone.
        metric: a metric of it.
        bias: the bias rule of the runs.
        groups: of the classes, each with a line style of its own.
        ax: where to draw; a new figure when left out.

    Raises:
        BadData: runs differ in more, or none is of these.
    """
    means = estimator_table(frame, metric, bias, groups)
    with style():
        ax = ax or new_axes()
        if metric == SIGNED:
            ax.axhline(0.0, color=MUTED, linewidth=0.5, zorder=1)
        for key, part in means.groupby(["estimator", "group"], sort=False):
            name, group = map(str, key)
            if name == WITHOUT:
                Curve(_look_without(frame), dashes_of(group), f"{name}/{group}").level(ax, part)
            else:
                look = ESTIMATOR_LOOKS[name]
                Curve(look, dashes_of(group), f"{name}/{group}").draw(ax, part, "lambda")
        values = sorted(means.loc[means["lambda"] > 0, "lambda"].unique().tolist())
        set_number_axis(ax, values, log=len(values) > 1)
        if metric in METRICS and METRICS[metric].distance:
            ax.set_ylim(bottom=0.0)
        ax.set_xlabel("λ")
        ax.set_ylabel(LABELS.get(metric, metric))
    return ax


def estimator_table(
    frame: pd.DataFrame, metric: str, bias: str, groups: Sequence[str]
) -> pd.DataFrame:
    """What ``draw_estimators`` shows, in its order: a row for each mean.

    Returns:
        Columns model, bias, estimator (``none`` without regularizer), lambda, group, metric, mean,
        sd, low, high and n (splits). A λ that another estimator has is a row without numbers.

    Raises:
        BadData: as ``draw_estimators``.
    """
    runs = _runs(frame)
    chosen = runs[(runs["metric"] == metric) & runs["group"].isin(groups) & (runs["bias"] == bias)]
    if chosen.empty:
        raise BadData(
            f"The comparison of estimators needs {metric} of {' or '.join(groups)} with bias "
            f"{bias!r}, but the table has none; sweep over these."
        )
    means = summarise(chosen, ["model", "bias", "estimator", "lambda"])
    values = means.loc[means["lambda"] > 0, "lambda"].unique()
    order = [name for name in (WITHOUT, *ESTIMATOR_LOOKS) if (means["estimator"] == name).any()]
    parts = []
    for name in order:
        for group in groups:
            part = means[(means["estimator"] == name) & (means["group"] == group)]
            if not part.empty:
                parts.append(part if name == WITHOUT else with_gaps(part, "lambda", values))
    table: pd.DataFrame = pd.concat(parts, ignore_index=True)
    return table


def estimator_pictures(frame: pd.DataFrame) -> list[Picture]:
    """A page for each kind of run otherwise alike: a column a bias rule, a row a metric.

    Args:
        frame: of ``read_table``.

    Returns:
        Nothing where no such runs of CCR have several estimators.

    Raises:
        BadData: runs that the table cannot tell apart.
    """
    if "estimator" not in frame:
        return []
    runs = _runs(frame[frame["metric"].isin(PANELS)])
    apart = [name for name in identity(runs) if name not in _WITHIN]
    pictures = []
    for key, part in runs.groupby(apart, sort=False):
        ccr = part[part["regularizer"] == "ccr"]
        if ccr["estimator"].nunique() < 2:
            continue
        named = zip(apart, key, strict=True)
        several = [f"{name} {value}" for name, value in named if runs[name].nunique() > 1]
        if several and ccr["lambda"].nunique() < 2:  # a curve over what varies says more
            continue
        pictures.append(_page(file_words("_".join(["estimators", *several])), part))
    return pictures


def _runs(frame: pd.DataFrame) -> pd.DataFrame:
    """Those of CCR and those without regularizer; these have no estimator, and no model's name."""
    chosen = frame["regularizer"].isin(["ccr", WITHOUT]) & (frame["framework"] != ZERO_SHOT)
    runs = frame[chosen].copy()
    runs["estimator"] = runs["estimator"].where(runs["regularizer"] == "ccr", WITHOUT)
    return runs


def _look_without(frame: pd.DataFrame) -> Look:
    """That of the loss alone, whatever its bias rule: each has a panel of its own."""
    return LOOKS.get(_loss(frame), Look(MUTED, "o"))


def _loss(frame: pd.DataFrame) -> str:
    """The loss that is minimised."""
    return str(frame.loc[frame["framework"] != ZERO_SHOT, "loss"].iloc[0])


def _page(name: str, runs: pd.DataFrame) -> Picture:
    """One page and its table."""
    ccr = runs[runs["regularizer"] == "ccr"]
    rules = list(ccr["bias"].unique())
    there = set(
        runs.loc[runs["value"].notna(), ["metric", "group"]].itertuples(index=False, name=None)
    )
    panels = {
        metric: found
        for metric, groups in PANELS.items()
        if (found := tuple(group for group in groups if (metric, group) in there))
    }
    if not panels:
        raise BadData(
            f"The comparison of estimators shows {', '.join(PANELS)} of base and new classes, but "
            "the table holds none of them; sweep with new classes or groups."
        )
    tables = []
    with style():
        figure = new_figure(PAGE_INCHES, 1.0 + 1.6 * len(panels))
        grid = figure.subplots(len(panels), len(rules), sharex=True, squeeze=False)
        for i, (metric, groups) in enumerate(panels.items()):
            for j, rule in enumerate(rules):
                ax = grid[i, j]
                tables.append(estimator_table(runs, metric, rule, groups))
                draw_estimators(runs, metric, rule, groups, ax)
                ax.set_xlabel("λ" if i == len(panels) - 1 else "")
                ax.set_ylabel("" if j else ax.get_ylabel())
                if i == 0:
                    ax.set_title("no bias" if rule == "none" else f"{rule} bias")
        legend_above(figure, _handles(runs, panels))
        note(figure, as_said(_said(runs, ccr)))
    return Picture(name, figure, pd.concat(tables, ignore_index=True))


def _handles(runs: pd.DataFrame, panels: dict[str, tuple[str, ...]]) -> list[Line2D]:
    there = set(runs["estimator"])
    lines = [
        Curve(look, "-", name).handle(name)
        for name, look in ESTIMATOR_LOOKS.items()
        if name in there
    ]
    if WITHOUT in there:
        said = f"{label(_loss(runs))} alone"
        lines.append(Curve(_look_without(runs), "-", WITHOUT).handle(said, level=True))
    named: list[Line2D] = group_handles(list(dict.fromkeys(sum(panels.values(), ()))))
    return lines + named


def _said(runs: pd.DataFrame, ccr: pd.DataFrame) -> str:
    """What points, bands and level lines are, and which runs are missing."""
    points = points_said(runs["split"].nunique())
    level = "; level lines: no regularizer" * bool((runs["estimator"] == WITHOUT).any())
    data, calibrator = str(runs["data"].iloc[0]), runs["calibrator"].iloc[0]
    test = data if calibrator == UNCALIBRATED else f"{data}, {calibrator}"
    return (
        f"{points}{level}. Each panel has its own scale. Test: {test}.{missing_said(_missing(ccr))}"
    )


def _missing(ccr: pd.DataFrame) -> list[str]:
    """“centred at λ 10, mean bias, split 3”: what other estimators, rules or splits have."""
    splits, found = set(ccr["split"]), []
    have = {key: set(part) for key, part in ccr.groupby(["estimator", "bias", "lambda"])["split"]}
    for name in ccr["estimator"].unique():
        for rule in ccr["bias"].unique():
            for value in sorted(ccr["lambda"].unique()):
                lacking = sorted(splits - have.get((name, rule, value), set()))
                if lacking:
                    which = f", {splits_said(lacking)}"
                    found.append(
                        f"{name} at λ {number(value, 'g')}, {rule} bias"
                        f"{which if len(lacking) < len(splits) else ''}"
                    )
    return found
