"""How much a number of the settings matters: metrics against λ, batch size or another.

The means over splits and their 95 % intervals come ready from ``sweep_table``.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ccr_diag.errors import BadConfig, BadData, nearest
from ccr_diag.figures.frequency import LABELS, SIGNED
from ccr_diag.figures.style import (
    ALL,
    MUTED,
    PAGE_INCHES,
    Look,
    as_said,
    group_label,
    model_looks,
    new_axes,
    new_figure,
    note,
    number,
    style,
)
from ccr_diag.metrics.registry import METRICS
from ccr_diag.report_sweep import labels
from ccr_diag.sweep_table import (
    COLUMNS,
    SETTINGS,
    UNCALIBRATED,
    ZERO_SHOT,
    identity,
    summarise,
)

PANELS = {
    "map": ("base", "new"),
    "ece_positive": ("base", "new"),
    "ece_decision": ("base", "new"),
    SIGNED: ("head", "new"),
}
"""Metric → groups of a page."""

_AXES = {"lambda": "λ", "batch_size": "batch size, images", "shots": "shots, images a class"}
_LOG = ("lambda", "batch_size", "shots", "learning_rate", "scale")  # whose 0 is no number of theirs
_WIDE = 10.0  # largest over smallest value, from which any setting has a log axis
_FEW = 6  # values that are all named on the axis
_LINE = 110  # letters of the legend in a line of the page
Dashes = Literal["-", "--", "-.", ":"] | tuple[float, Sequence[float]]
_STYLES: dict[str, Dashes] = {"base": "-", ALL: "-", "new": "--", "head": "-.", "tail": ":"}
_OTHER: Dashes = (0, (5, 1, 1, 1, 1, 1))
_DATA = ("data", "test_split")


def draw_robustness(
    frame: pd.DataFrame,
    metric: str,
    setting: str,
    groups: Sequence[str] = ("base", "new"),
    ax: Axes | None = None,
    *,
    legend: bool = True,
) -> Axes:
    """A line a model and group, with a band for its 95 % interval over splits.

    What has no value of the setting is level: zero-shot, and at λ what is tuned without a
    regularizer.

    Args:
        frame: of ``read_table``, on one data set.
        metric: a metric of it.
        setting: a column of numbers.
        groups: of the classes, each with a line style of its own.
        ax: where to draw; a new figure when left out.
        legend: name models and groups beside the axes.

    Raises:
        BadConfig: no such setting, metric or group.
        BadData: several data sets, or runs that the table cannot tell apart.
    """
    _check(frame, metric, setting, groups)
    chosen = frame[(frame["metric"] == metric) & frame["group"].isin(groups)]
    means = summarise(chosen, [name for name in identity(frame) if name not in _DATA])
    means["line"], means["level"] = labels(means, setting), _is_level(means, setting)
    looks = _looks(frame, setting)
    with style():
        ax = ax or new_axes(5.0, 2.6)
        if metric == SIGNED:
            ax.axhline(0.0, color=MUTED, linewidth=0.8, zorder=1)
        for key, part in means.groupby(["line", "group"], sort=False):
            line, group = map(str, key)
            drawn = _Line(looks[line], _STYLES.get(group, _OTHER), f"{line}/{group}")
            drawn.levels(ax, part[part["level"]])
            drawn.curve(ax, part[~part["level"]].sort_values(setting), setting)
        _set_axis(ax, setting, sorted(means.loc[~means["level"], setting].unique().tolist()))
        if metric in METRICS and METRICS[metric].distance:
            ax.set_ylim(bottom=0.0)
        ax.set_ylabel(LABELS.get(metric, metric))
        if legend:
            handles = _handles(looks, groups)
            ax.legend(
                handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0), handlelength=2.6
            )
    return ax


def robustness_page(frame: pd.DataFrame, setting: str) -> Figure:
    """The metrics of ``PANELS`` against one setting, as small multiples.

    Args:
        frame: of ``read_table``, on one data set.
        setting: a column of numbers.

    Raises:
        BadData: the table has none of the metrics.
    """
    panels = {metric: _groups(frame, metric, asked) for metric, asked in PANELS.items()}
    panels = {metric: groups for metric, groups in panels.items() if groups}
    if not panels:
        raise BadData(
            f"The page of a sweep shows {', '.join(PANELS)}, but the table holds none of them; "
            "write it anew with 'ccr-diag sweep'."
        )
    rows = -(-len(panels) // 2)
    with style():
        figure: Figure = new_figure(PAGE_INCHES, 0.9 + 2.2 * rows)
        grid = figure.subplots(rows, 2, sharex=True, squeeze=False)
        for ax in grid.flat[len(panels) :]:
            ax.remove()
        for i, (ax, (metric, groups)) in enumerate(zip(grid.flat, panels.items(), strict=False)):
            draw_robustness(frame, metric, setting, groups, ax, legend=False)
            below = i + 2 < len(panels)  # another, which shows the same values
            ax.tick_params(labelbottom=not below)
            ax.set_xlabel("" if below else ax.get_xlabel())
        handles = _handles(_looks(frame, setting), list(dict.fromkeys(sum(panels.values(), ()))))
        longest = max(len(str(handle.get_label())) for handle in handles)
        columns = max(1, min(4, _LINE // (longest + 8)))
        figure.legend(handles=handles, loc="outside upper center", ncols=columns, handlelength=2.6)
        note(figure, _said(frame, setting))
    return figure


def robustness_pages(frame: pd.DataFrame) -> dict[str, Figure]:
    """File name without ending → page, for each number that is varied, data set and calibrator.

    Args:
        frame: of ``read_table``.

    Raises:
        BadData: no number has several values.
    """
    pages = {}
    apart = [*_DATA, "calibrator"]
    for key, part in frame.groupby(apart, sort=False):
        for setting in _varied_numbers(part):
            named = zip(apart, map(str, key), strict=True)
            several = [value for name, value in named if frame[name].nunique() > 1]
            words = "_".join(["robustness", setting, *several])
            pages[re.sub(r"[^a-z0-9]+", "_", words.lower())] = robustness_page(part, setting)
    if not pages:
        raise BadData(
            "Figures of a sweep need a setting of numbers, such as lambda or batch_size, with "
            "several values, but the table has none."
        )
    return pages


@dataclass(frozen=True)
class _Line:
    """How the means of some runs and a group are drawn."""

    look: Look
    dashes: Dashes
    gid: str

    def levels(self, ax: Axes, means: pd.DataFrame) -> None:
        """A level line each, with its band."""
        for value, low, high in means[["mean", "low", "high"]].itertuples(index=False, name=None):
            if not isnan(value):
                level = ax.axhline(value, color=self.look.colour, linestyle=self.dashes)
                level.set(linewidth=0.9, alpha=0.8, zorder=1.5, gid=f"{self.gid}/level")
            if not isnan(low):
                ax.axhspan(low, high, color=self.look.colour, alpha=0.1, linewidth=0, zorder=0.5)

    def curve(self, ax: Axes, means: pd.DataFrame, setting: str) -> None:
        """The means, joined, and the band; undefined ones are gaps."""
        if means.empty:
            return
        x = means[setting].to_numpy()
        (line,) = ax.plot(
            x,
            means["mean"],
            color=self.look.colour,
            linestyle=self.dashes,
            marker=self.look.marker,
            linewidth=1.1,
            markersize=3.5,
            markeredgewidth=0,
            zorder=2.5,
        )
        line.set_gid(self.gid)
        ends = means["low"], means["high"]
        ax.fill_between(x, *ends, color=self.look.colour, alpha=0.15, linewidth=0, zorder=2)


def _check(frame: pd.DataFrame, metric: str, setting: str, groups: Sequence[str]) -> None:
    """Refuse what the table does not hold."""
    numbers = _numbers(frame)
    if setting not in numbers:
        raise BadConfig(
            f"The setting to draw against must be a column of numbers, but got {setting!r}"
            f"{nearest(setting, numbers)}"
        )
    for name, given in (("metric", [metric]), ("group", groups)):
        known = frame[name].unique()
        for word in given:
            if word not in known:
                raise BadConfig(
                    f"The {name} to draw must be in the table, but got {word!r}"
                    f"{nearest(word, known)}"
                )


def _numbers(frame: pd.DataFrame) -> list[str]:
    """The settings that are numbers."""
    kinds = COLUMNS | SETTINGS
    settings = [n for n in identity(frame) if n not in (*_DATA, "n_bins")]
    return [name for name in settings if kinds[name] in (int, float)]


def _varied_numbers(frame: pd.DataFrame) -> list[str]:
    """Those of them along which some line has several points."""
    found = []
    for name in _numbers(frame):
        runs = frame[~_is_level(frame, name)]
        if (runs.groupby(labels(runs, name))[name].nunique() > 1).any():
            found.append(name)
    return found


def _is_level(frame: pd.DataFrame, setting: str) -> "pd.Series[bool]":
    """Rows that have no value of the setting."""
    level = frame["framework"] == ZERO_SHOT  # unless its bias is of several numbers of shots
    level &= frame.loc[level, setting].nunique() == 1
    if _is_log(setting, frame[setting].unique().tolist()):
        level |= frame[setting] == 0
    return level


def _is_log(setting: str, values: Sequence[float | int]) -> bool:
    """Whether the axis is logarithmic."""
    above = [value for value in values if value > 0]
    return setting in _LOG or (bool(above) and max(above) >= _WIDE * min(above))


def _set_axis(ax: Axes, setting: str, values: Sequence[float | int]) -> None:
    """The scale, and few values themselves as ticks."""
    ax.set_xlabel(_AXES.get(setting, setting.replace("_", " ")))
    if _is_log(setting, values):
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(lambda value, _: number(value, "g"))
    if 1 < len(values) <= _FEW:
        ax.set_xticks(values, [number(value, "g") for value in values])
    ax.minorticks_off()


def _looks(frame: pd.DataFrame, setting: str) -> dict[str, Look]:
    """Line → look: its model's, unless the model has several lines."""
    lines = pd.DataFrame({"line": labels(frame, setting), "model": frame["model"]})
    lines = lines.drop_duplicates()
    alone = ~lines["model"].duplicated(keep=False)
    names = lines["model"].where(alone, lines["line"])
    return dict(zip(lines["line"], model_looks(names).values(), strict=True))


def _groups(frame: pd.DataFrame, metric: str, asked: tuple[str, ...]) -> tuple[str, ...]:
    """The groups that the metric has numbers for; all classes where it has none of those asked."""
    there = frame.loc[(frame["metric"] == metric) & frame["value"].notna(), "group"].unique()
    found = tuple(group for group in asked if group in there)
    return found or tuple(group for group in (ALL,) if group in there)


def _handles(looks: dict[str, Look], groups: Sequence[str]) -> list[Line2D]:
    """Of the lines, and of the groups where there are several."""
    lines = [
        Line2D([], [], color=look.colour, marker=look.marker, markersize=3.5, label=as_said(line))
        for line, look in looks.items()
    ]
    named = [
        Line2D([], [], color=MUTED, linestyle=_STYLES.get(group, _OTHER), label=group_label(group))
        for group in groups
    ]
    return lines + named * (len(groups) > 1)


def _said(frame: pd.DataFrame, setting: str) -> str:
    """What points, bands and level lines are."""
    n = frame["split"].nunique()
    points = "Points: one split, without interval"
    if n > 1:
        points = f"Points: mean over {n} splits; bands: 95 % interval (Student t)"
    level = frame[_is_level(frame, setting)]
    untuned = level["framework"] == ZERO_SHOT
    zero = "λ = 0, no regularizer" if setting == "lambda" else f"{setting.replace('_', ' ')} 0"
    whose = [what for what, some in (("zero-shot", untuned), (zero, ~untuned)) if some.any()]
    lines = f"; level lines: {' and '.join(whose)}" if whose else ""
    data, calibrator = str(frame["data"].iloc[0]), frame["calibrator"].iloc[0]
    return (
        f"{points}{lines}. Test: {data if calibrator == UNCALIBRATED else f'{data}, {calibrator}'}."
    )
