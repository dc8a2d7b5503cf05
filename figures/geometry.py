"""What tuning did to the class texts: embedding divergence and neighbourhood preservation.

Per-class values, and their means with 95 % intervals where there are several splits, come ready
from the results file.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from ccr_diag.errors import BadConfig, BadData
from ccr_diag.figures.picture import Picture
from ccr_diag.figures.style import (
    PAGE_INCHES,
    Entry,
    Look,
    averages,
    defined,
    entry_of,
    interval,
    new_figure,
    note,
    results_looks,
    style,
)
from ccr_diag.figures.text_spaces import (
    Model,
    geometry_of,
    left_out,
    panel_title,
    same_texts,
    with_texts,
)
from ccr_diag.results import Results

LABEL_INCHES = 1.9  # at most, of the name of a row


def draw_geometry(results: Results, axes: Sequence[Axes] | None = None) -> tuple[Axes, Axes]:
    """Mean and 95 % interval of ED and of NP@K, a row a model, over a strip of its classes.

    Models with the same text embeddings (they differ only in the probability map) share a row.

    Args:
        results: a parsed results file.
        axes: two axes, for ED and for NP@K; a new figure when left out.

    Returns:
        The two axes; the rows stand at 0, 1, … from the top.

    Raises:
        BadConfig: not two axes.
        BadData: ED or NP@K is missing in the summary of a model.
    """
    if axes is not None and len(axes) != 2:
        raise BadConfig(f"The geometry figure needs two axes (ED, NP@K), but got {len(axes)}.")
    models = with_texts(results)
    rows = same_texts(models)
    looks = results_looks(results)
    names = _preserved_name(models)
    with style():
        if axes is None:
            axes = new_figure(PAGE_INCHES, 0.36 * len(rows) + 0.95).subplots(1, 2, sharey=True)
        left, right = axes
        for row, same in enumerate(rows):
            model, look = same[0], looks[same[0]["name"]]
            _draw_row(left, model, "ED", "divergence", row, look)
            _draw_row(right, model, names, "preservation", row, look)
        for ax in (left, right):
            ax.set_yticks(range(len(rows)), [panel_title(same, LABEL_INCHES) for same in rows])
            ax.set_ylim(len(rows) - 0.5, -0.5)
            ax.tick_params(axis="y", length=0)
        right.tick_params(labelleft=False)
        left.set_xlabel("embedding divergence ED (1 − cosine)")
        right.set_xlabel(f"neighbourhood preservation {names}")
        left.set_xlim(left=0)
        right.set_xlim(-0.03, 1.03)
    return left, right


def geometry_pictures(results: Results) -> list[Picture]:
    """``text_geometry``: both panels with a note on the marks.

    Args:
        results: a parsed results file.

    Returns:
        One picture; none where the results hold no text geometry.

    Raises:
        BadData: ED or NP@K is missing in the summary of a model.
    """
    models = with_texts(results)
    if not models:
        return []
    with style():
        rows = same_texts(models)
        lines = sum(max(2, len(same)) for same in rows)
        figure = new_figure(PAGE_INCHES, 0.18 * lines + 0.95)
        draw_geometry(results, list(figure.subplots(1, 2, sharey=True)))
        several = any(len(model["splits"]) > 1 for model in models)
        entries = [entry for model in models for entry in _summary(model).values()]
        text = (
            f"Large marks: {averages(results, entries)}. "
            f"Small dots: one a class{', first split' if several else ''}."
            f"{left_out(results, models)}"
        )
        note(figure, text)
    return [Picture("text_geometry", figure, geometry_table(results))]


def geometry_table(results: Results) -> pd.DataFrame:
    """Means and their intervals, and the value of each class.

    Args:
        results: a parsed results file with text geometry.

    Returns:
        Columns ``model``, ``same_texts`` (models drawn as that one), ``measure`` (ED or NP@K),
        ``class`` and ``group`` (empty of a mean over classes), ``split`` (empty of a mean over
        splits), ``value``, ``low``, ``high``.
    """
    models = with_texts(results)
    rows: list[dict[str, Any]] = []
    for same in same_texts(models):
        model = same[0]
        shared = {"model": model["name"], "same_texts": " = ".join(m["name"] for m in same)}
        first = model["splits"][0]
        whole = {"split": first["split"]} if len(model["splits"]) == 1 else {}
        for name, key in (("ED", "divergence"), (_preserved_name(models), "preservation")):
            entry = entry_of(_summary(model), name, f"the geometry of model {model['name']!r}")
            ends = {end: entry[end] for end in ("value", "low", "high")}
            rows.append({**shared, "measure": name, **whole, **ends})
            rows += [
                {
                    **shared,
                    "measure": name,
                    "class": of["name"],
                    "group": of["group"],
                    "split": first["split"],
                    "value": value,
                }
                for of, value in zip(model["classes"], geometry_of(model)[key], strict=True)
            ]
    columns = ["model", "same_texts", "measure", "class", "group", "split", "value", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def _draw_row(ax: Axes, model: dict[str, Any], name: str, key: str, row: int, look: Look) -> None:
    values = geometry_of(model)[key]
    # Spread the strip by the golden ratio: even, and the same each time.
    heights = [row + 0.5 * ((i * 0.618034) % 1.0 - 0.5) for i in range(len(values))]
    strip = ax.scatter(
        [float("nan") if v is None else v for v in values],
        heights,
        s=4,
        c=look.colour,
        alpha=0.3,
        linewidths=0,
        zorder=1,
    )
    strip.set_gid(f"{model['name']}/classes")
    entry = entry_of(_summary(model), name, f"the geometry of model {model['name']!r}")
    if not defined(entry["value"]):
        return
    ends = interval(entry)
    if ends is not None:
        ax.hlines(row, *ends, color=look.colour, linewidth=1.4, zorder=3)
    (point,) = ax.plot(
        [entry["value"]],
        [row],
        color=look.colour,
        marker=look.marker,
        markersize=6.5,
        markeredgecolor="white",
        markeredgewidth=0.8,
        zorder=3,
    )
    point.set_gid(f"{model['name']}/{name}")


def _summary(model: dict[str, Any]) -> dict[str, Entry]:
    found: dict[str, Entry] = model["geometry"].get("summary", {})
    return found


def _preserved_name(models: Sequence[Model]) -> str:
    """The one NP@K that the results hold, for the K they were made with."""
    found = [name for model in models[:1] for name in _summary(model) if name.startswith("NP@")]
    if not found:
        raise BadData(
            "The figure needs 'NP@K' in the geometry summary, but the results hold none; "
            "write them anew with 'ccr-diag analyze'."
        )
    return str(found[0])
