"""Signed error of each class against one quantity of it: a dot a class, a panel a model, a line.

The quantity, the line, its band and the correlation come ready from ``associations`` of each model.
Colours mean groups. Each panel has its own vertical scale: models differ tenfold in their errors.
"""

from collections.abc import Mapping, Sequence
from math import ceil, floor, log10
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ccr_diag.associations import FREQUENCY
from ccr_diag.data.groups import GROUPS
from ccr_diag.errors import BadData
from ccr_diag.figures.class_names import fitted
from ccr_diag.figures.fonts import any_script
from ccr_diag.figures.paging import page_names, pages
from ccr_diag.figures.panel_page import note_height
from ccr_diag.figures.picture import Picture
from ccr_diag.figures.point_labels import label_points, short
from ccr_diag.figures.signed_axis import SIGNED, draw_sides
from ccr_diag.figures.style import (
    MUTED,
    PAGE_INCHES,
    as_said,
    averages,
    defined,
    group_colour,
    group_label,
    interval,
    new_axes,
    new_figure,
    note,
    number,
    style,
    wrapped_note,
)
from ccr_diag.results import Results

Model = Mapping[str, Any]
COLUMNS, PANELS = 4, 12  # side by side, and on a page
NAMED = 2  # classes named at each end of the errors
_BARS = 100  # classes with an interval each; of more it would hide the dots
_TITLE_SIZE, _TITLE_INCHES = 6.5, 1.2  # of a model's name above its panel, the narrowest of all
_NAME = 40  # letters of it in the note
_MORE, _LESS, _UNCLEAR = "more over-confident", "less over-confident", "no clear trend"
_AXES = {FREQUENCY: "training images (log)", "ED": "ED (1 − cosine)"}
_SAID = {  # of the quantity: name of its file, what it is, and more of it
    FREQUENCY: (
        "training_images",
        "training images of the class; new: never supervised",
        "more training images",
    ),
    "ED": ("ed", "embedding divergence ED, how far the nearest class texts are", "higher ED"),
}


def draw_scatter(results: Results, model: str, quantity: str, ax: Axes | None = None) -> Axes:
    """A dot a class with its 95 % interval, and the line through them with its 95 % band.

    Args:
        results: a parsed results file.
        model: name of the model.
        quantity: a key of its ``associations``. Over training images, classes that were never
            supervised stand in a strip at the left, apart from the line.
        ax: where to draw; a new figure when left out.

    Returns:
        The axes; x is the quantity as recorded, so log10 for training images.

    Raises:
        BadData: the model is not there, or has no such quantity.
    """
    of = _model(results, model, quantity)
    with style():
        ax = ax or new_axes()
        rows = _placed(of, quantity)
        _draw_dots(ax, of, rows)
        _draw_line(ax, of["associations"][quantity]["fit"])
        if quantity == FREQUENCY:
            _set_frequency_axis(ax, of, rows)
        else:
            ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.update_datalim([(0.0, 0.0)], updatex=False)
        ax.autoscale_view(scalex=False)
        ax.margins(y=0.1)
        draw_sides(ax, named=False)
        ax.set(xlabel=_AXES.get(quantity, quantity), ylabel="signed error (confidence − frequency)")
    return ax


def scatter_table(results: Results, quantity: str) -> pd.DataFrame:
    """A row a model and class; the line and the correlation of its model beside it.

    Args:
        results: a parsed results file.
        quantity: a key of ``associations``; models without it are left out.
    """
    rows = []
    for model in _with(results, quantity):
        found = model["associations"][quantity]
        fit = found["fit"]
        line = {key: fit[key] for key in ("slope", "slope_low", "slope_high", "intercept")}
        r = {f"pearson{end}": fit["pearson"][key] for end, key in _ENDS.items()}
        for entry, x in zip(model["classes"], found["x"], strict=True):
            error = {f"{SIGNED}{end}": entry["metrics"][SIGNED][key] for end, key in _ENDS.items()}
            kept = {key: entry[key] for key in ("group", "n_training", "n_positive")}
            own = {"model": model["name"], "label": model["label"], "class": entry["name"]}
            rows.append(own | kept | {quantity: x} | error | line | r)
    return pd.DataFrame(rows)


_ENDS = {"": "value", "_low": "low", "_high": "high"}


def scatter_pages(results: Results, quantity: str) -> list[Picture]:
    """Pages of panels, a model each, with the classes of the largest errors named.

    Args:
        results: a parsed results file.
        quantity: a key of ``associations``.

    Returns:
        Nothing where no model has the quantity.
    """
    models = _with(results, quantity)
    table = scatter_table(results, quantity)
    parts = pages(models, PANELS)
    names = page_names(f"signed_error_by_{_said(quantity)[0]}", len(parts))
    return [
        Picture(
            name,
            _page(results, part, quantity),
            table[table["model"].isin([model["name"] for model in part])].reset_index(drop=True),
        )
        for name, part in zip(names, parts, strict=True)
    ]


def _said(quantity: str) -> tuple[str, str, str]:
    kept = f"neighbourhood preservation {quantity}, the share of zero-shot neighbours kept"
    return _SAID.get(quantity, ("np", kept, f"higher {quantity}"))


def _page(results: Results, models: Sequence[Model], quantity: str) -> Figure:
    columns = min(COLUMNS, len(models))
    rows = -(-len(models) // columns)
    wide, high = (PAGE_INCHES, 1.75) if columns > 2 else (3.5 * columns, 2.4)
    said = wrapped_note(_explained(results, models, quantity), wide)
    with style():
        figure: Figure = new_figure(wide, 0.4 + high * rows + note_height(said))
        axes = figure.subplots(rows, columns, sharex=True, squeeze=False)
        for i, ax in enumerate(axes.flat):
            if i >= len(models):
                ax.remove()
                continue
            draw_scatter(results, models[i]["name"], quantity, ax)
            last = i + columns >= len(models)
            ax.set_xlabel(ax.get_xlabel() if last else "")
            ax.set_ylabel("signed error" if i % columns == 0 else "")
            ax.tick_params(labelbottom=last)
            ax.set_title(
                _title(models[i], quantity), loc="left", fontsize=_TITLE_SIZE, linespacing=1.3
            )
        _draw_keys(figure, models)
        note(figure, said)
        with any_script(figure):
            figure.draw_without_rendering()
            for ax, model in zip(figure.axes, models, strict=True):
                label_points(ax, _farthest(_placed(model, quantity)))
    return figure


def _explained(results: Results, models: Sequence[Model], quantity: str) -> str:
    """What the marks of a page mean, and which way they go."""
    entries = [entry["metrics"][SIGNED] for m in models for entry in m["classes"]]
    barred = any(len(model["classes"]) <= _BARS for model in models)
    values = averages(results, entries) if barred else "value"
    through = "the classes with training images" if quantity == FREQUENCY else "the classes"
    return (
        f"Across: {_said(quantity)[1]}. A dot is a class: {values}; signed error is confidence − "
        f"frequency, so above 0 it is over-confident. Line: least squares over {through}, with its "
        "95 % band; r with its 95 % interval. Each panel has its own vertical scale. "
        f"{trend_said(models, quantity)}"
    )


def trend_said(models: Sequence[Model], quantity: str) -> str:
    """Which way the error goes with the quantity in each model, as the interval of r decides."""
    ways: dict[str, list[str]] = {_MORE: [], _LESS: [], _UNCLEAR: []}
    for model in models:
        r = model["associations"][quantity]["fit"]["pearson"]
        if r["low"] is None:
            continue
        way = _MORE if r["low"] > 0 else _LESS if r["high"] < 0 else _UNCLEAR
        ways[way].append(as_said(short(model["label"], _NAME)))
    said = [f"{way} in {', '.join(names)}" for way, names in ways.items() if names]
    return f"With {_said(quantity)[2]}: {'; '.join(said)}." if said else ""


def _title(model: Model, quantity: str) -> str:
    """The model, and what the line says."""
    fit = model["associations"][quantity]["fit"]
    r = fit["pearson"]
    if fit["slope"] is None:
        said = "no line: values alike"
    elif r["value"] is None:
        said = "no r: errors alike"
    elif r["low"] is None:
        said = f"r = {number(r['value'], '.2f')}"
    else:
        low, high = (number(r[end], ".2f") for end in ("low", "high"))
        said = f"r = {number(r['value'], '.2f')} [{low}, {high}]"
    return f"{as_said(fitted(model['label'], _TITLE_INCHES, _TITLE_SIZE))}\n{said}"


def _draw_keys(figure: Figure, models: Sequence[Model]) -> None:
    met = dict.fromkeys(entry["group"] for model in models for entry in model["classes"])
    groups = [g for g in GROUPS if g in met] + [g for g in met if g not in GROUPS]
    keys = [
        Line2D([], [], marker="o", color=group_colour(group), markersize=3.5, linestyle="none",
               label=as_said(group_label(group or "class")))
        for group in groups
    ]  # fmt: skip
    figure.legend(
        handles=keys, loc="outside upper center", ncols=min(len(keys), 6), handletextpad=0.2
    )


def _with(results: Results, quantity: str) -> list[Model]:
    return [model for model in results["models"] if quantity in model.get("associations", {})]


def _model(results: Results, name: str, quantity: str) -> Model:
    for model in _with(results, quantity):
        if model["name"] == name:
            return model
    raise BadData(
        f"The figure needs 'associations' with {quantity!r} of model {name!r}, but the results "
        "hold none; write them anew with 'ccr-diag analyze'."
    )


def _placed(model: Model, quantity: str) -> list[tuple[float, Mapping[str, Any]]]:
    """X and class of each dot; the never supervised spread over their strip."""
    found = model["associations"][quantity]["x"]
    centre, width = _strip(found)
    placed = []
    for i, (x, entry) in enumerate(zip(found, model["classes"], strict=True)):
        if not defined(entry["metrics"][SIGNED]["value"]):
            continue
        if x is not None:
            placed.append((x, entry))
        elif quantity == FREQUENCY:
            # Spread by the golden ratio: even, and the same each time.
            placed.append((centre + 0.7 * width * ((i * 0.618034) % 1.0 - 0.5), entry))
    return placed


def _strip(found: list[float | None]) -> tuple[float, float]:
    """Centre and width of the place of classes without training images, left of the others."""
    there = [x for x in found if x is not None] or [1.0]
    width = 0.25 * max(max(there) - min(there), 0.5)
    return min(there) - width, width


def _draw_dots(ax: Axes, model: Model, rows: list[tuple[float, Mapping[str, Any]]]) -> None:
    bars = len(model["classes"]) <= _BARS
    for group in dict.fromkeys(entry["group"] for _, entry in rows):
        own = [(x, e["metrics"][SIGNED]) for x, e in rows if e["group"] == group]
        colour = group_colour(group)
        ends = [(x, *found) for x, e in own if bars and (found := interval(e)) is not None]
        if ends:
            lines = ax.vlines(*zip(*ends, strict=True), color=colour, linewidth=0.6, alpha=0.35)
            lines.set_gid(f"{model['name']}/{group}/intervals")
        dots = ax.scatter(
            [x for x, _ in own],
            [e["value"] for _, e in own],
            s=9 if bars else 3,
            color=colour,
            alpha=0.9 if bars else 0.5,
            linewidths=0.3 if bars else 0,
            edgecolors="white",
            zorder=2.5,
        )
        dots.set_gid(f"{model['name']}/{group}")


def _draw_line(ax: Axes, fit: Mapping[str, Any]) -> None:
    if fit["low"]:
        band = ax.fill_between(
            fit["x"], fit["low"], fit["high"], color="black", alpha=0.15, linewidth=0, zorder=2
        )
        band.set_gid("band")
    if fit["x"]:
        (line,) = ax.plot(fit["x"], fit["y"], color="black", linewidth=1.0, zorder=3)
        line.set_gid("line")


def _set_frequency_axis(
    ax: Axes, model: Model, rows: list[tuple[float, Mapping[str, Any]]]
) -> None:
    """Images as they are counted under their logarithms, and the strip of classes without any."""
    found = model["associations"][FREQUENCY]["x"]
    there = [x for x in found if x is not None]
    ticks = _round_counts(min(there), max(there)) if there else []
    places, names = [log10(n) for n in ticks], [f"{n:g}" for n in ticks]
    centre, width = _strip(found)
    without = {entry["group"] for x, entry in rows if x < centre + width / 2}
    if without:
        places, names = [centre, *places], ["new" if without == {"new"} else "new, 0", *names]
        ax.axvline(centre + width / 2, color=MUTED, linewidth=0.6, linestyle=":")
    ax.set_xticks(places, names)


def _round_counts(low: float, high: float) -> list[float]:
    """Powers of ten, with 2 and 5 between where there are few."""
    powers = range(floor(low), ceil(high) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5)):
        found = [step * 10.0**p for p in powers for step in steps]
        inside = [n for n in found if low - 0.01 <= log10(n) <= high + 0.01]
        if len(inside) > 2:
            return inside
    return inside or [10.0**low]


def _farthest(rows: list[tuple[float, Mapping[str, Any]]]) -> list[tuple[float, float, str]]:
    """The classes of the highest and the lowest errors, to be named."""
    ranked = sorted((entry["metrics"][SIGNED]["value"], x, entry["name"]) for x, entry in rows)
    ends = {i: ranked[i] for k in range(min(NAMED, len(ranked))) for i in (len(ranked) - 1 - k, k)}
    return [(x, error, name) for error, x, name in ends.values()]
