"""Calibration by class frequency: one metric by class group, models side by side.

The values and their 95 % intervals, over splits or from a bootstrap, come ready from the results
file.
"""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, SymmetricalLogLocator
from matplotlib.transforms import ScaledTranslation

from ccr_diag.data.groups import GROUPS
from ccr_diag.figures.style import (
    ALL,
    MUTED,
    OVER_COLOUR,
    PAGE_INCHES,
    UNDER_COLOUR,
    Entry,
    Look,
    as_said,
    averages,
    check_metric,
    defined,
    entry_of,
    group_label,
    groups_present,
    interval,
    new_axes,
    new_figure,
    note,
    number,
    pool_of,
    results_looks,
    style,
)
from ccr_diag.results import Results

SIGNED = "signed_error"
_SIDES_INCHES = 0.55  # width of the names of the sides, beside the axes
# A log axis where a quarter of the points would share the lowest 5 % of a linear one.
_CROWDED = 0.05
_LINEAR_BELOW = 0.01  # the straight part of the signed log axis
_TICKS = (1.0, 3.0)  # of each power of ten
_LETTERS = 60  # of the groups' names side by side; more stand aslant
_LINE = 125  # letters of the legend in a line of the page
LABELS = {
    "ece_positive": "positive ECE",
    "ece_decision": "decision ECE",
    "ece_expected_positive": "positive ECE of a calibrated model",
    "ece_expected_decision": "decision ECE of a calibrated model",
    "ece_classwise": "class-wise ECE",
    "ece_sweep": "ECE, monotone sweep",
    "ece_top_k": "ECE, top k",
    "ece_thresholded": "ECE above threshold",
    "ece_called": "ECE, p ≥ 0.5",
    "ece_after_platt": "ECE after Platt",
    "ace_positive": "positive ACE",
    "ace_decision": "decision ACE",
    "mce_positive": "positive MCE",
    "mce_decision": "decision MCE",
    "mce_weighted_positive": "weighted positive MCE",
    "mce_weighted_decision": "weighted decision MCE",
    "rmsce_positive": "positive RMSCE",
    "l2_debiased_positive": "debiased L2 error",
    "piece_decision": "PIECE",
    "smece_positive": "smooth ECE",
    "signed_error": "signed error\n(confidence − frequency)",
    "calibration_slope": "calibration slope",
    "calibration_intercept": "calibration intercept",
    "brier": "Brier score",
    "brier_skill": "Brier skill",
    "brier_miscalibration": "Brier, miscalibration",
    "brier_discrimination": "Brier, discrimination",
    "brier_uncertainty": "Brier, uncertainty",
    "nll": "log loss",
    "map": "mAP",
    "accuracy_elementwise": "accuracy",
    "accuracy_balanced": "balanced accuracy",
    "accuracy_subset": "subset accuracy",
    "recall_macro": "macro recall",
    "f1_macro": "macro F1",
    "cf1": "CF1",
    "of1": "OF1",
    "cf1_top_k": "CF1, top k",
    "of1_top_k": "OF1, top k",
}


def draw_frequency(
    results: Results, metric: str = "ece_positive", ax: Axes | None = None, *, legend: bool = True
) -> Axes:
    """A point a model and group, with its 95 % interval where there is one.

    Args:
        results: a parsed results file.
        metric: a metric of its groups; ``signed_error`` gets a zero line with the sides named.
        ax: where to draw; a new figure when left out.
        legend: name the models beside the axes.

    Returns:
        The axes; the groups (all classes where there are none) stand at 0, 1, … and the models
        around them.

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
        names = [as_said(group_label(group)) for group in groups]
        slant: dict[str, Any] = {"rotation": 25, "ha": "right", "rotation_mode": "anchor"}
        crowd = len(groups) * max(map(len, names)) > _LETTERS
        ax.set_xticks(range(len(groups)), names, **(slant if crowd else {}))
        ax.set(xlim=(-0.5, len(groups) - 0.5), ylabel=LABELS.get(metric, metric))
        ax.tick_params(axis="x", length=0)
        entries = _entries(results, groups, metric)
        sizes = sorted(abs(e["value"]) for e in entries if defined(e["value"]))
        crowded = bool(sizes) and sizes[len(sizes) // 4] < _CROWDED * sizes[-1]
        if metric == SIGNED:
            _set_signed_axis(ax, crowded)
        elif _is_error(results, metric):
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
        groups = groups_present(results)
        if groups != [ALL]:
            by = " by training frequency" if set(groups) <= set(GROUPS) else ""
            below.set_xlabel(f"class group{by}")
        handles, labels = above.get_legend_handles_labels()
        columns = max(1, min(4, len(labels), _LINE // (max(map(len, labels), default=0) + 7)))
        figure.legend(handles, labels, loc="outside upper center", ncols=columns, handletextpad=0.4)
        entries = [e for name in (metric, SIGNED) for e in _entries(results, groups, name)]
        note(figure, f"Points: {averages(results, entries)}.{_beside(entries)}")
    return figure


def _draw_model(
    ax: Axes, model: dict[str, Any], groups: list[str], metric: str, shift: float, look: Look
) -> None:
    label = as_said(model["label"])
    for position, group in enumerate(groups):
        entry = _entry(model, group, metric)
        if entry is None or not defined(entry["value"]):
            continue
        ends = interval(entry)
        if ends is not None:
            ax.vlines(position + shift, *ends, color=look.colour, linewidth=1.0, zorder=2)
        (point,) = ax.plot(
            [position + shift],
            [entry["value"]],
            color=look.colour,
            linestyle="none",
            marker=look.marker,
            markersize=4.5,
            markeredgewidth=0,
            zorder=2.5,
            label=label,
        )
        point.set_gid(f"{model['name']}/{group}")
        label = "_nolegend_"


def _entry(model: dict[str, Any], group: str, metric: str) -> Entry | None:
    pool = pool_of(model, group)
    if pool is None:
        return None
    return entry_of(pool["metrics"], metric, f"model {model['name']!r}, group {group!r}")


def _entries(results: Results, groups: list[str], metric: str) -> list[Entry]:
    found = (_entry(model, group, metric) for model in results["models"] for group in groups)
    return [entry for entry in found if entry is not None]


def _is_error(results: Results, metric: str) -> bool:
    """Whether 0 is the best and the smallest value."""
    said: dict[str, Any] = results["definitions"]["metrics"].get(metric, {})
    return bool(said.get("better") == "lower")


def _beside(entries: list[Entry]) -> str:
    """Why an interval may miss its point, where one does."""
    ends = [(interval(entry), entry["value"]) for entry in entries]
    if all(e is None or e[0] <= value <= e[1] for e, value in ends):
        return ""
    return " It takes back that errors err upwards, so it may lie below its point."


def _plain(value: float, _: object) -> str:
    text: str = number(value, "g")
    return text


def _set_error_axis(ax: Axes, crowded: bool, sizes: list[float]) -> None:
    if not crowded:
        _hold_zero(ax)
        ax.set_ylim(bottom=0)
        return
    smallest = next(size for size in sizes if size > 0)
    ax.set_yscale("log")
    ax.set_ylim(smallest / 2, 1.5 * ax.get_ylim()[1])
    ax.minorticks_off()
    ax.yaxis.set_major_locator(LogLocator(subs=_TICKS))
    ax.yaxis.set_major_formatter(_plain)
    ax.set_ylabel(f"{ax.get_ylabel()}, log scale")


def _hold_zero(ax: Axes) -> None:
    """Make room for 0 and for the marks that lie farthest from it."""
    ax.update_datalim([(0.0, 0.0)], updatex=False)
    ax.autoscale_view(scalex=False)


def _set_signed_axis(ax: Axes, crowded: bool) -> None:
    """The zero line, and which side of it means what."""
    if crowded:
        ax.set_yscale("symlog", linthresh=_LINEAR_BELOW, linscale=0.5)
        ax.set_ylabel("signed error, log scale\n(confidence − frequency)")
        transform = ax.yaxis.get_transform()
        ax.yaxis.set_major_locator(SymmetricalLogLocator(transform, subs=_TICKS))
        ax.yaxis.set_major_formatter(_plain)
    else:
        _hold_zero(ax)
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
