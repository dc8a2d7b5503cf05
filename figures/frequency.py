"""Calibration by class frequency: one metric by class group, models side by side.

The means and 95 % intervals over splits come ready from the results file.
"""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from ccr_diag.figures.style import (
    MUTED,
    OVER_COLOUR,
    PAGE_INCHES,
    UNDER_COLOUR,
    Look,
    averages,
    check_metric,
    defined,
    error_bar,
    groups_present,
    interval_of,
    new_axes,
    new_figure,
    note,
    number,
    results_looks,
    style,
)
from ccr_diag.results import Results

SIGNED = "signed_error"
_SIDES_INCHES = 0.55  # width of the names of the sides, beside the axes
ERRORS = ("ece_positive", "ece_decision", "mce", "mce_weighted")
# A log axis where a quarter of the points would share the lowest 5 % of a linear one.
_CROWDED = 0.05
_LINEAR_BELOW = 0.01  # the straight part of the signed log axis
LABELS = {
    "ece_positive": "positive ECE",
    "ece_decision": "decision ECE",
    "mce": "MCE",
    "mce_weighted": "weighted MCE",
    "signed_error": "signed error\n(confidence − frequency)",
    "mAP": "mAP",
    "accuracy": "accuracy",
    "accuracy_balanced": "balanced accuracy",
    "f1_macro": "macro F1",
    "f1_micro": "micro F1",
}


def draw_frequency(
    results: Results, metric: str = "ece_positive", ax: Axes | None = None, *, legend: bool = True
) -> Axes:
    """A point a model and group, with its 95 % interval over splits where there is one.

    Args:
        results: a parsed results file.
        metric: a metric of its summaries; ``signed_error`` gets a zero line with the sides named.
        ax: where to draw; a new figure when left out.
        legend: name the models beside the axes.

    Returns:
        The axes; the groups stand at 0, 1, … and the models around them.

    Raises:
        BadConfig: no model has the metric.
        BadData: a group of some model lacks the metric.
    """
    check_metric(results, metric)
    groups, models = groups_present(results), results["models"]
    looks = results_looks(results)
    with style():
        ax = ax or new_axes(5.0, 2.6)
        step = 0.76 / len(models)
        for i, model in enumerate(models):
            shift = (i - (len(models) - 1) / 2) * step
            _draw_model(ax, model, groups, metric, shift, looks[model["name"]])
        for edge in range(1, len(groups)):
            ax.axvline(edge - 0.5, color="#E3E3E3", linewidth=0.6, zorder=0)
        ax.set_xticks(range(len(groups)), groups)
        ax.set(xlim=(-0.5, len(groups) - 0.5), ylabel=LABELS.get(metric, metric))
        ax.tick_params(axis="x", length=0)
        sizes = sorted(abs(value) for value in _means(results, groups, metric))
        crowded = bool(sizes) and sizes[len(sizes) // 4] < _CROWDED * sizes[-1]
        if metric == SIGNED:
            _set_signed_axis(ax, crowded)
        elif metric in ERRORS:
            _set_error_axis(ax, crowded, sizes)
        if legend:
            # Beside the names of the sides, where there are any.
            aside = ScaledTranslation(
                _SIDES_INCHES if metric == SIGNED else 0.0, 0.0, ax.figure.dpi_scale_trans
            )
            ax.legend(
                loc="upper left",
                bbox_to_anchor=(1.0, 1.0),
                bbox_transform=ax.transAxes + aside,
                handletextpad=0.4,
            )
    return ax


def frequency_page(results: Results, metric: str = "ece_positive") -> Figure:
    """The metric above, the signed error below."""
    with style():
        figure: Figure = new_figure(PAGE_INCHES, 4.6)
        above, below = figure.subplots(2, 1, sharex=True)
        draw_frequency(results, metric, above, legend=False)
        draw_frequency(results, SIGNED, below, legend=False)
        above.tick_params(labelbottom=False)
        below.set_xlabel("class group by training frequency")
        handles, labels = above.get_legend_handles_labels()
        columns = min(4, len(labels))
        figure.legend(handles, labels, loc="outside upper center", ncols=columns, handletextpad=0.4)
        note(figure, f"Points: {averages(results)}.")
    return figure


def _draw_model(
    ax: Axes, model: dict[str, Any], groups: list[str], metric: str, shift: float, look: Look
) -> None:
    label = model["label"]
    for position, group in enumerate(groups):
        if group not in model["summary"]:
            continue
        where = f"model {model['name']!r}, group {group!r}"
        entry = interval_of(model["summary"][group], metric, where)
        if not defined(entry["mean"]):
            continue
        container = ax.errorbar(
            [position + shift],
            [entry["mean"]],
            yerr=error_bar(entry),
            color=look.colour,
            marker=look.marker,
            markersize=4.5,
            markeredgewidth=0,
            elinewidth=1.0,
            label=label,
        )
        container.lines[0].set_gid(f"{model['name']}/{group}")
        label = "_nolegend_"


def _means(results: Results, groups: list[str], metric: str) -> list[float]:
    summaries = [
        m["summary"][group] for m in results["models"] for group in groups if group in m["summary"]
    ]
    return [s[metric]["mean"] for s in summaries if defined(s[metric]["mean"])]


def _plain(value: float, _: object) -> str:
    text: str = number(value, "g")
    return text


def _set_error_axis(ax: Axes, crowded: bool, sizes: list[float]) -> None:
    if not crowded:
        ax.set_ylim(bottom=0)
        return
    smallest = next(size for size in sizes if size > 0)
    ax.set_yscale("log")
    ax.set_ylim(smallest / 2, 1.5 * ax.get_ylim()[1])
    ax.minorticks_off()
    ax.yaxis.set_major_formatter(_plain)
    ax.set_ylabel(f"{ax.get_ylabel()}, log scale")


def _set_signed_axis(ax: Axes, crowded: bool) -> None:
    """The zero line, and which side of it means what."""
    if crowded:
        ax.set_yscale("symlog", linthresh=_LINEAR_BELOW, linscale=0.5)
        ax.set_ylabel("signed error, log scale\n(confidence − frequency)")
        ax.yaxis.set_major_formatter(_plain)
    room = 1.5 if crowded else 1.0  # a log axis leaves no margin of its own above the points
    low, high = (room * edge for edge in ax.get_ylim())
    low, high = min(low, -0.15 * high), max(high, -0.15 * low)
    ax.set_ylim(low, high)
    ax.axhline(0.0, color=MUTED, linewidth=0.8, zorder=1)
    ax.axhspan(0.0, high, color=OVER_COLOUR, alpha=0.16, linewidth=0, zorder=0)
    ax.axhspan(low, 0.0, color=UNDER_COLOUR, alpha=0.2, linewidth=0, zorder=0)
    # Outside the axes on the right, so that no point is covered.
    for edge, va, text in ((1.0, "top", "over-\nconfident"), (0.0, "bottom", "under-\nconfident")):
        ax.text(1.01, edge, text, transform=ax.transAxes, ha="left", va=va, fontsize=7, color=MUTED)
