"""Calibration by class frequency: calibration errors by class group, models side by side.

The values and their 95 % intervals, over splits or from a bootstrap, come ready from the results
file. Every error axis is linear and begins at 0; where a few models err so much more that the
others would lie on the axis, a second column shows the same enlarged.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from ccr_diag.associations import FREQUENCY
from ccr_diag.data.groups import GROUPS
from ccr_diag.figures.class_scatter import scatter_pages
from ccr_diag.figures.metric_names import LABELS
from ccr_diag.figures.picture import Picture
from ccr_diag.figures.signed_axis import SIGNED, draw_sides
from ccr_diag.figures.style import (
    ALL,
    PAGE_INCHES,
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
    metrics_present,
    new_axes,
    new_figure,
    note,
    pool_of,
    results_looks,
    style,
)
from ccr_diag.metrics.presets import preset
from ccr_diag.results import Results

_ERRORS = ("ece_positive", "ece_decision")
_SIDES_INCHES = 0.55  # width of the names of the sides, beside the axes
_ENLARGED = 1 / 5  # worth a column of its own: half of the models lie in this share of the axis
_ROOM = 1.15  # of an axis, above its marks
_LETTERS = 60  # of the groups' names side by side in the width of a page; more stand aslant
_LINE = 125  # letters of the legend in a line of the page


def headline_errors(results: Results) -> list[str]:
    """The calibration errors to show by group: first the one that the preset's tables lead with.

    Args:
        results: a parsed results file.

    Returns:
        Positive and decision ECE, in the preset's order, as far as the results hold them.

    Raises:
        BadConfig: an unknown preset.
    """
    first = [name for name in preset(results["definitions"]["preset"]).columns if name in _ERRORS]
    present = metrics_present(results)
    return [name for name in dict.fromkeys([*first, *_ERRORS]) if name in present]


def draw_frequency(
    results: Results,
    metric: str | None = None,
    ax: Axes | None = None,
    *,
    legend: bool = True,
    end: float | None = None,
) -> Axes:
    """A point a model and group, with its 95 % interval where there is one.

    Args:
        results: a parsed results file.
        metric: a metric of its groups; ``signed_error`` gets a zero line with the sides named. The
            preset's own calibration error when left out.
        ax: where to draw; a new figure when left out.
        legend: name the models beside the axes.
        end: where the axis of an error ends, to both sides of a signed one; marks beyond are not
            seen. Room for all when left out.

    Returns:
        The axes; the groups (all classes where there are none) stand at 0, 1, … and the models
        around them.

    Raises:
        BadConfig: no model has the metric.
        BadData: a group of some model lacks the metric.
    """
    metric = metric or next(iter(headline_errors(results)), _ERRORS[0])
    check_metric(results, metric)
    groups, models = groups_present(results), results["models"]
    looks = results_looks(results)
    with style():
        ax = ax or new_axes(5.0, 2.6)
        step = 0.76 / len(models)
        for i, model in enumerate(models):
            shift = (i - (len(models) - 1) / 2) * step
            _draw_model(ax, model, groups, metric, shift, looks[model["name"]], end)
        for edge in range(1, len(groups)):
            ax.axvline(edge - 0.5, color="#E3E3E3", linewidth=0.6, zorder=0)
        names = [as_said(group_label(group)) for group in groups]
        ax.set_xticks(range(len(groups)), names)
        if len(groups) * max(map(len, names)) > _LETTERS:
            ax.set_xticks(ax.get_xticks(), names, rotation=25, ha="right", rotation_mode="anchor")
        ax.set(xlim=(-0.5, len(groups) - 0.5), ylabel=LABELS.get(metric, metric))
        ax.tick_params(axis="x", length=0)
        if metric == SIGNED:
            _set_signed_axis(ax, end)
        elif _is_error(results, metric):
            _hold_zero(ax)
            ax.set_ylim(0, end)
            ax.yaxis.set_major_locator(MaxNLocator(5))
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


def frequency_table(results: Results, metrics: Sequence[str]) -> pd.DataFrame:
    """A row a model, group and metric, in the order drawn; undefined numbers are missing.

    Args:
        results: a parsed results file.
        metrics: of its groups.

    Raises:
        BadData: a group of some model lacks a metric.
    """
    rows = [
        {
            "metric": metric,
            "model": model["name"],
            "label": model["label"],
            "group": group,
            "n_classes": pool["n_classes"],
            **entry_of(pool["metrics"], metric, _where(model, group)),
        }
        for metric in metrics
        for model in results["models"]
        for group in groups_present(results)
        if (pool := pool_of(model, group)) is not None
    ]
    return pd.DataFrame(rows).astype({"value": float, "low": float, "high": float})


def frequency_page(results: Results, metrics: Sequence[str] | None = None) -> Figure:
    """A row a metric; where a few models err much more than the rest, also enlarged.

    Args:
        results: a parsed results file.
        metrics: of its groups; the calibration errors and the signed error when left out.

    Raises:
        BadConfig: no model has a metric.
        BadData: a group of some model lacks a metric.
    """
    metrics = list(metrics or [*headline_errors(results), SIGNED])
    groups = groups_present(results)
    ends = [_enlarged_end(results, metric) for metric in metrics]
    columns = 2 if any(ends) else 1
    with style():
        figure: Figure = new_figure(PAGE_INCHES, 0.75 + 1.5 * len(metrics))
        axes = figure.subplots(len(metrics), columns, squeeze=False)
        for (whole, *enlarged), metric, end in zip(axes, metrics, ends, strict=True):
            draw_frequency(results, metric, whole, legend=False)
            for ax in enlarged:
                if end is None:
                    ax.remove()
                    continue
                draw_frequency(results, metric, ax, legend=False, end=end)
                ax.set_ylabel("")
                for side in tuple(whole.texts):  # said once, at the edge of the page
                    side.remove()
                ax.set_title(f"enlarged{_beyond(results, metric, groups, end)}", loc="left")
        if groups != [ALL]:
            by = " by training frequency" if set(groups) <= set(GROUPS) else ""
            axes[-1][0].set_xlabel(f"class group{by}")
        handles, labels = axes[0][0].get_legend_handles_labels()
        wide = max(1, min(4, len(labels), _LINE // (max(map(len, labels), default=0) + 7)))
        figure.legend(handles, labels, loc="outside upper center", ncols=wide, handletextpad=0.4)
        entries = [e for name in metrics for _, e in _entries(results, groups, name)]
        said = f"Points: {averages(results, entries)}.{_beside(entries)} {_defined_by(results)}"
        note(figure, said)
    return figure


def frequency_pictures(results: Results) -> list[Picture]:
    """Calibration errors by class group, and the signed error of each class by its frequency.

    Args:
        results: a parsed results file.

    Returns:
        What the results hold numbers for; nothing by frequency without training frequencies.

    Raises:
        BadData: a group of some model lacks a metric that others have.
    """
    metrics = [*headline_errors(results), *({SIGNED} & metrics_present(results))]
    if not metrics:
        return []
    page = frequency_page(results, metrics)
    table = frequency_table(results, metrics)
    return [Picture("calibration_by_frequency", page, table), *scatter_pages(results, FREQUENCY)]


def _draw_model(
    ax: Axes,
    model: dict[str, Any],
    groups: list[str],
    metric: str,
    shift: float,
    look: Look,
    end: float | None,
) -> None:
    label = as_said(model["label"])
    for position, group in enumerate(groups):
        entry = _entry(model, group, metric)
        if entry is None or not defined(entry["value"]):
            continue
        ends = interval(entry)
        if ends is not None:
            ax.vlines(position + shift, *ends, color=look.colour, linewidth=1.0, zorder=2)
        if end is not None and abs(entry["value"]) > end:
            ax.update_datalim([(0.0, entry["value"])], updatex=False)  # so the axis reaches its end
            continue
        (point,) = ax.plot(
            [position + shift],
            [entry["value"]],
            color=look.colour,
            linestyle="none",
            marker=look.marker,
            markersize=4.5,
            markeredgewidth=0,
            zorder=2.5,
            clip_on=False,  # a point on the edge shows whole
            label=label,
        )
        point.set_gid(f"{model['name']}/{group}")
        label = "_nolegend_"


def _where(model: dict[str, Any], group: str) -> str:
    return f"model {model['name']!r}, group {group!r}"


def _entry(model: dict[str, Any], group: str, metric: str) -> Entry | None:
    pool = pool_of(model, group)
    return None if pool is None else entry_of(pool["metrics"], metric, _where(model, group))


def _entries(results: Results, groups: list[str], metric: str) -> list[tuple[str, Entry]]:
    """Model and entry of each mark that is drawn."""
    found = ((m["name"], _entry(m, group, metric)) for m in results["models"] for group in groups)
    return [(name, e) for name, e in found if e is not None and defined(e["value"])]


def _is_error(results: Results, metric: str) -> bool:
    """Whether 0 is the best and the smallest value."""
    said: dict[str, Any] = results["definitions"]["metrics"].get(metric, {})
    return bool(said.get("better") == "lower")


def _reach(entry: Entry) -> float:
    """How far from 0 a mark goes, with its interval."""
    reach: float = max(abs(end) for end in (entry["value"], *(interval(entry) or ())))
    return reach


def _enlarged_end(results: Results, metric: str) -> float | None:
    """Where an axis ends that fits the half of the models that err less.

    None where that is no gain, or where 0 is not the place to look from.
    """
    if metric != SIGNED and not _is_error(results, metric):
        return None
    farthest: dict[str, float] = {}
    for name, entry in _entries(results, groups_present(results), metric):
        farthest[name] = max(farthest.get(name, 0.0), _reach(entry))
    ranked = sorted(farthest.values())
    if not ranked:
        return None
    half = ranked[(len(ranked) - 1) // 2]
    return _ROOM * half if 0 < half < _ENLARGED * ranked[-1] else None


def _beyond(results: Results, metric: str, groups: list[str], end: float) -> str:
    """How many points an enlarged axis does not show."""
    entries = _entries(results, groups, metric)
    left_out = sum(abs(entry["value"]) > end for _, entry in entries)
    return f" ({left_out} of {len(entries)} points lie beyond)" if left_out else ""


def _beside(entries: Sequence[Entry]) -> str:
    """Why an interval may miss its point, where one does."""
    ends = [(interval(entry), entry["value"]) for entry in entries]
    if all(e is None or e[0] <= value <= e[1] for e, value in ends):
        return ""
    return " It takes back that errors err upwards, so it may lie below its point."


def _defined_by(results: Results) -> str:
    said = results["definitions"]
    return f"Definitions: preset {said['preset']}, {said['n_bins']} bins."


def _hold_zero(ax: Axes) -> None:
    """Make room for 0 and for the marks that lie farthest from it."""
    ax.update_datalim([(0.0, 0.0)], updatex=False)
    ax.autoscale_view(scalex=False)


def _set_signed_axis(ax: Axes, end: float | None) -> None:
    """The zero line, and which side of it means what."""
    _hold_zero(ax)
    low, high = ax.get_ylim()
    if end is not None:
        low, high = max(low, -end), min(high, end)
    ax.set_ylim(low, high)
    draw_sides(ax)
