"""How much a number of the settings matters: metrics against λ, batch size or another.

The means over splits and their 95 % intervals come ready from ``sweep_table``.
"""

from collections.abc import Iterator, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ccr_diag.errors import BadConfig, BadData, nearest
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
    ALL,
    ESTIMATOR_LOOKS,
    MUTED,
    PAGE_INCHES,
    Look,
    as_said,
    model_looks,
    new_axes,
    new_figure,
    note,
    style,
)
from ccr_diag.metrics.registry import METRICS
from ccr_diag.report_sweep import labels, setting_said
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
    means = robustness_table(frame, metric, setting, groups)
    looks = _looks(frame, setting)
    with style():
        ax = ax or new_axes(5.0, 2.6)
        if metric == SIGNED:
            ax.axhline(0.0, color=MUTED, linewidth=0.8, zorder=1)
        for key, part in means.groupby(["line", "group"], sort=False):
            line, group = map(str, key)
            drawn = Curve(looks[line], dashes_of(group), f"{line}/{group}")
            drawn.level(ax, part[part["level"]])
            drawn.draw(ax, part[~part["level"]], setting)
        values = sorted(means.loc[~means["level"], setting].unique().tolist())
        base = 2 if setting == "batch_size" else 10
        set_number_axis(ax, values, _is_log(setting, values), base)
        ax.set_xlabel(_AXES.get(setting, setting.replace("_", " ")))
        if metric in METRICS and METRICS[metric].distance:
            ax.set_ylim(bottom=0.0)
        ax.set_ylabel(LABELS.get(metric, metric))
        if legend:
            handles = _handles(frame, setting, groups)
            ax.legend(
                handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0), handlelength=2.6
            )
    return ax


def robustness_table(
    frame: pd.DataFrame, metric: str, setting: str, groups: Sequence[str] = ("base", "new")
) -> pd.DataFrame:
    """What ``draw_robustness`` shows, in its order: a row for each mean.

    Returns:
        Columns of the settings, group, metric, mean, sd, low, high, n (splits), line (its name) and
        level (whether it has no value of the setting). A value that other runs of the same
        regularizer have and a line lacks is a row without numbers, and a gap in the line.

    Raises:
        BadConfig: as ``draw_robustness``.
        BadData: as ``draw_robustness``.
    """
    _check(frame, metric, setting, groups)
    chosen = frame[(frame["metric"] == metric) & frame["group"].isin(groups)]
    means = summarise(chosen, [name for name in identity(frame) if name not in _DATA])
    means["line"], means["level"] = labels(means, setting), _is_level(means, setting)
    values = _values(means[~means["level"]], setting)
    parts = [
        part
        if part["level"].all()
        else pd.concat(
            [
                part[part["level"]],
                with_gaps(part[~part["level"]], setting, values[part["regularizer"].iloc[-1]]),
            ]
        )
        for _, part in means.groupby(["line", "group"], sort=False)
    ]
    table: pd.DataFrame = pd.concat(parts, ignore_index=True)
    return table


def robustness_page(frame: pd.DataFrame, setting: str) -> Figure:
    """The metrics of ``PANELS`` against one setting, as small multiples.

    Args:
        frame: of ``read_table``, on one data set.
        setting: a column of numbers.

    Raises:
        BadData: the table has none of the metrics.
    """
    panels = _panels(frame)
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
        groups = tuple(dict.fromkeys(sum(panels.values(), ())))
        legend_above(figure, _handles(frame, setting, groups))
        note(figure, as_said(_said(frame, setting)))
    return figure


def _panels(frame: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """Metric → groups of the page, of what the table has."""
    panels = {metric: _groups(frame, metric, asked) for metric, asked in PANELS.items()}
    panels = {metric: groups for metric, groups in panels.items() if groups}
    if not panels:
        raise BadData(
            f"The page of a sweep shows {', '.join(PANELS)}, but the table holds none of them; "
            "write it anew with 'ccr-diag sweep'."
        )
    return panels


def robustness_pictures(frame: pd.DataFrame) -> list[Picture]:
    """A page for each number that is varied, data set, calibrator and bias rule.

    Args:
        frame: of ``read_table``.

    Returns:
        Nothing where no number has several values.

    Raises:
        BadData: the table has none of the metrics.
    """
    pictures = []
    apart = [*_DATA, "calibrator"]
    frame = frame[frame["metric"].isin(PANELS)] if frame["metric"].isin(PANELS).any() else frame
    for key, part in frame.groupby(apart, sort=False):
        for setting in _varied_numbers(part):
            named = zip(apart, map(str, key), strict=True)
            several = [value for name, value in named if frame[name].nunique() > 1]
            for rule, page in _by_rule(part, setting):
                words = "_".join(["robustness", setting, *several, *rule])
                tables = [
                    robustness_table(page, metric, setting, groups)
                    for metric, groups in _panels(page).items()
                ]
                pictures.append(
                    Picture(
                        file_words(words),
                        robustness_page(page, setting),
                        pd.concat(tables, ignore_index=True),
                    )
                )
    return pictures


def _by_rule(frame: pd.DataFrame, setting: str) -> Iterator[tuple[list[str], pd.DataFrame]]:
    """Where curves are of several bias rules, each rule with what it is compared to.

    A learned bias without regularizer and zero-shot with the prior's are beside every rule.
    """
    curves = frame[~_is_level(frame, setting) & (frame["framework"] != ZERO_SHOT)]
    plain = frame["regularizer"] == "none"
    regularized = curves[~plain[curves.index]]
    rules = list((curves if regularized.empty else regularized)["bias"].unique())
    if regularized.empty and "learned" in rules:
        rules.remove("learned")
    if len(rules) < 2:
        yield [], frame
        return
    beside = (frame["bias"] == "learned") & plain
    beside |= (frame["framework"] == ZERO_SHOT) & (frame["bias"] == "prior")
    for rule in rules:
        yield [rule], frame[(frame["bias"] == rule) | beside]


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


def _values(curves: pd.DataFrame, setting: str) -> dict[str, list[float | int]]:
    """Regularizer → the values of the setting that runs with it have."""
    return {
        str(name): sorted(values.unique().tolist())
        for name, values in curves.groupby("regularizer", sort=False)[setting]
    }


def _looks(frame: pd.DataFrame, setting: str) -> dict[str, Look]:
    """Line → look: its model's, or where the model has several lines, its estimator's or another.

    An estimator's look is taken once.
    """
    lines = pd.DataFrame({"line": labels(frame, setting), "model": frame["model"]})
    lines["estimator"] = frame.get("estimator", "")
    lines = lines.drop_duplicates("line")
    alone = ~lines["model"].duplicated(keep=False)
    of_estimator = ~alone & ~lines.loc[~alone, "estimator"].duplicated(keep=False)
    of_estimator &= lines["estimator"].isin(ESTIMATOR_LOOKS)
    looks = {
        line: ESTIMATOR_LOOKS[name]
        for line, name in lines.loc[of_estimator, ["line", "estimator"]].itertuples(index=False)
    }
    others = lines[~of_estimator]
    names = others["model"].where(alone[~of_estimator], others["line"])
    looks |= dict(zip(others["line"], model_looks(names).values(), strict=True))
    return {line: looks[line] for line in lines["line"]}


def _groups(frame: pd.DataFrame, metric: str, asked: tuple[str, ...]) -> tuple[str, ...]:
    """The groups that the metric has numbers for; all classes where it has none of those asked."""
    there = frame.loc[(frame["metric"] == metric) & frame["value"].notna(), "group"].unique()
    found = tuple(group for group in asked if group in there)
    return found or tuple(group for group in (ALL,) if group in there)


def _handles(frame: pd.DataFrame, setting: str, groups: Sequence[str]) -> list[Line2D]:
    """Of the lines, and of the groups where there are several."""
    level = _is_level(frame, setting).groupby(labels(frame, setting), sort=False).all()
    lines = [
        Curve(look, "-", line).handle(line, level=bool(level[line]))
        for line, look in _looks(frame, setting).items()
    ]
    named: list[Line2D] = group_handles(groups)
    return lines + named


def _missing(frame: pd.DataFrame, setting: str) -> list[str]:
    """Runs that other lines or splits have: “BCE + CCR at λ 10, split 3”."""
    splits = set(frame["split"])
    level = _is_level(frame, setting)
    values = _values(frame[~level], setting)
    found = []
    for line, part in frame.groupby(labels(frame, setting), sort=False):
        if level[part.index].all():
            lacking = sorted(splits - set(part["split"]))
            found += [f"{line}, {splits_said(lacking)}"] * bool(lacking)
            continue
        for value in values[part["regularizer"].iloc[-1]]:
            lacking = sorted(splits - set(part.loc[part[setting] == value, "split"]))
            if lacking:
                of = "" if len(lacking) == len(splits) else f", {splits_said(lacking)}"
                found.append(f"{line} at {setting_said(setting, value)}{of}")
    return found


def _said(frame: pd.DataFrame, setting: str) -> str:
    """What points, bands and level lines are."""
    points = points_said(frame["split"].nunique())
    level = frame[_is_level(frame, setting)]
    untuned = level["framework"] == ZERO_SHOT
    zero = "λ = 0, no regularizer" if setting == "lambda" else f"{setting.replace('_', ' ')} 0"
    whose = [what for what, some in (("zero-shot", untuned), (zero, ~untuned)) if some.any()]
    lines = f"; level lines: {' and '.join(whose)}" if whose else ""
    data, calibrator = str(frame["data"].iloc[0]), frame["calibrator"].iloc[0]
    test = data if calibrator == UNCALIBRATED else f"{data}, {calibrator}"
    return f"{points}{lines}. Test: {test}.{missing_said(_missing(frame, setting))}"
