"""The story in one picture: zero-shot, BCE, Ranking and BCE + CCR, read with the same bias rule.

What tuning kept of the text geometry, how well the classes are ranked, and how far the
probabilities are off. It says what the results hold and draws no conclusion.
"""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from ccr_diag.data.groups import GROUPS
from ccr_diag.figures.frequency import frequency_table, headline_errors
from ccr_diag.figures.metric_names import LABELS
from ccr_diag.figures.picture import Picture
from ccr_diag.figures.signed_axis import SIGNED, draw_sides
from ccr_diag.figures.style import (
    LOOKS,
    MUTED,
    PAGE_INCHES,
    Entry,
    as_said,
    averages,
    defined,
    group_label,
    groups_present,
    interval,
    new_axes,
    new_figure,
    note,
    number,
    pool_of,
    style,
)
from ccr_diag.results import Results

METHODS = ("zero-shot", "bce", "ranking", "bce+ccr")
_WRITTEN = {
    "zero-shot": "Zero-shot",
    "bce": "BCE",
    "ranking": "Ranking",
    "bce+ccr": "BCE + CCR",
}
RANKING = "map"
_MARK = 4.0  # points, so small that short intervals show
_BIAS = {
    "none": "without a bias",
    "mean": "with the mean bias",
    "prior": "with the prior bias",
    "learned": "with a learned bias",
    "model": "with the bias of the weights",
}
Model = dict[str, Any]


def story_models(results: Results) -> dict[str, Model]:
    """The first model of each method, all of one bias rule: the first rule that has them all.

    Args:
        results: a parsed results file.

    Returns:
        Method → model; empty where no rule has all four with text geometry.
    """
    by_rule: dict[str, dict[str, Model]] = {}
    for model in results["models"]:
        method = model["name"].split(" (")[0]
        if method in METHODS and model["geometry"]:
            by_rule.setdefault(str(model["map_rule"]), {}).setdefault(method, model)
    for found in by_rule.values():
        if len(found) == len(METHODS):
            return {method: found[method] for method in METHODS}
    return {}


def draw_kept(models: dict[str, Model], ax: Axes | None = None) -> Axes:
    """A bar a method: the share of zero-shot neighbours that its class texts kept.

    Args:
        models: of ``story_models``.
        ax: where to draw; a new figure when left out.
    """
    with style():
        ax = ax or new_axes()
        for row, (method, model) in enumerate(models.items()):
            entry = model["geometry"]["summary"][_preserved(models)]
            if not defined(entry["value"]):
                continue
            (bar,) = ax.barh(row, entry["value"], 0.6, color=LOOKS[method].colour, zorder=2)
            bar.set_gid(method)
            ends = interval(entry)
            if ends is not None and ends[0] < ends[1]:
                line = ax.hlines(row, *ends, color="black", linewidth=1.2, zorder=3)
                # White around it, or it is lost on the dark bars.
                line.set_path_effects([withStroke(linewidth=3.0, foreground="white")])
            ax.plot(
                [0.05],
                [row],
                marker=LOOKS[method].marker,
                color=LOOKS[method].colour,
                markersize=6,
                markeredgecolor="white",
                zorder=3,
            )  # the mark of the method in the other panels
            end = max(entry["value"], *(ends or ()), 0.0)
            ax.text(end + 0.03, row, number(entry["value"], ".2f"), va="center", fontsize=8)
        ax.set_yticks(range(len(models)), [_WRITTEN[method] for method in models], fontsize=8.5)
        for label, method in zip(ax.get_yticklabels(), models, strict=True):
            label.set(color=LOOKS[method].colour, fontweight="bold")
        ax.tick_params(axis="y", length=0)
        ax.set(xlim=(0, 1.18), ylim=(len(models) - 0.4, -0.6), xticks=[0, 0.5, 1])
    return ax


def draw_by_group(
    results: Results, models: dict[str, Model], metric: str, ax: Axes | None = None
) -> Axes:
    """A line a method over the class groups, from head to new, with 95 % intervals.

    Args:
        results: a parsed results file.
        models: of ``story_models``.
        metric: of their groups.
        ax: where to draw; a new figure when left out.
    """
    groups = groups_present(results)
    with style():
        ax = ax or new_axes()
        for i, (method, model) in enumerate(models.items()):
            look, shift = LOOKS[method], 0.09 * (i - (len(models) - 1) / 2)
            entries = [_entry(model, group, metric) for group in groups]
            there = [(x + shift, e) for x, e in enumerate(entries) if e and defined(e["value"])]
            for x, entry in there:
                if (ends := interval(entry)) is not None:
                    ax.vlines(x, *ends, color=look.colour, linewidth=1.4, zorder=2)
            (line,) = ax.plot(
                [x for x, _ in there],
                [e["value"] for _, e in there],
                color=look.colour,
                marker=look.marker,
                markersize=_MARK,
                markeredgecolor="white",
                markeredgewidth=0.4,
                linewidth=1.1,
                zorder=2.5,
            )
            line.set_gid(f"{method}/{metric}")
        ax.set_xticks(range(len(groups)), [as_said(group_label(group)) for group in groups])
        ax.set_xlim(-0.35, len(groups) - 0.65)
        ax.update_datalim([(0.0, 0.0)], updatex=False)
        ax.autoscale_view(scalex=False)
        if metric == SIGNED:
            draw_sides(ax)
        else:
            ax.set_ylim(bottom=0)
            ax.yaxis.set_major_locator(MaxNLocator(5))
    return ax


def story_table(results: Results) -> pd.DataFrame:
    """A row a mark: metric, model, group (``all`` of the geometry), value and interval."""
    models = story_models(results)
    preserved = _preserved(models)
    kept = [
        {"metric": preserved, "model": m["name"], "label": m["label"], "group": "all",
         "n_classes": m["n_classes"], **m["geometry"]["summary"][preserved]}
        for m in models.values()
    ]  # fmt: skip
    only = results | {"models": list(models.values())}
    table: pd.DataFrame = pd.concat(
        [pd.DataFrame(kept), frequency_table(only, _metrics(only))], ignore_index=True
    )
    return table


def story_pictures(results: Results) -> list[Picture]:
    """The picture that a reader sees first.

    Args:
        results: a parsed results file.

    Returns:
        Nothing where the four methods are not all there under one bias rule, or lack a number.
    """
    models = story_models(results)
    if not models or len(_metrics(results)) < 3:
        return []
    return [Picture("story", _page(results, models), story_table(results))]


def _page(results: Results, models: dict[str, Model]) -> Figure:
    ranking, signed, error = _metrics(results)
    with style():
        figure: Figure = new_figure(PAGE_INCHES, 4.5)
        (kept, ranked), (off, gap) = figure.subplots(2, 2)
        draw_kept(models, kept)
        _head(kept, "Text geometry", f"share of each class's neighbours kept, {_preserved(models)}")
        draw_by_group(results, models, ranking, ranked)
        _head(ranked, "Retrieval", "mean average precision, higher is better")
        draw_by_group(results, models, signed, off)
        _head(
            off, "Calibration error: direction", "mean probability − share of positives, 0 is best"
        )
        draw_by_group(results, models, error, gap)
        _head(gap, "Calibration error: size", f"{LABELS[error]}, lower is better")
        entries = [e for m in models.values() for e in _drawn(results, m)]
        note(figure, _said(results, models, entries, error))
    return figure


def _head(ax: Axes, title: str, measure: str) -> None:
    """What a panel shows, in words, over how it is measured."""
    ax.set_title(title, loc="left", fontsize=9.5, fontweight="bold", pad=16)
    ax.annotate(
        measure, (0, 1), (0, 5), xycoords="axes fraction", textcoords="offset points",
        fontsize=7.5, color=MUTED,
    )  # fmt: skip


def _said(results: Results, models: dict[str, Model], entries: list[Entry], error: str) -> str:
    """Where the numbers are from, and how the same methods fare with another bias."""
    rule = next(iter(models.values()))["map_rule"]
    data = results.get("data", {}).get("name", "")
    where = f"Test images of {as_said(data)}. " if data else ""
    by_frequency = set(groups_present(results)) <= set(GROUPS)
    frequent = " Groups by training frequency; new: never supervised." if by_frequency else ""
    others = [
        f"{as_said(model['label'])} {number(model['metrics'][error]['value'], '.3f')}"
        for model in results["models"]
        if model["name"].split(" (")[0] in METHODS and model["map_rule"] != rule
    ]
    read = (
        f"{where}All four are read {_BIAS.get(str(rule), str(rule))}. "
        f"Points: {averages(results, entries)}; one shorter than its mark is hidden.{frequent}"
    )
    if not others:
        return read
    return f"{read} With another bias, {LABELS[error]} over all classes: {', '.join(others)}."


def _metrics(results: Results) -> list[str]:
    """Those of the panels by group, as far as all methods have them."""
    wanted = [RANKING, SIGNED, *headline_errors(results)[:1]]
    models = story_models(results).values()
    return [name for name in wanted if all(name in model["metrics"] for model in models)]


def _preserved(models: dict[str, Model]) -> str:
    summary = next(iter(models.values()))["geometry"]["summary"]
    return str(next(name for name in summary if name.startswith("NP@")))


def _entry(model: Model, group: str, metric: str) -> Entry | None:
    pool = pool_of(model, group)
    return None if pool is None else pool["metrics"].get(metric)


def _drawn(results: Results, model: Model) -> list[Entry]:
    found = [_entry(model, g, name) for g in groups_present(results) for name in _metrics(results)]
    return [entry for entry in found if entry is not None]
