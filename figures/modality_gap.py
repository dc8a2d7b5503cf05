"""Where images and class texts lie: image points and class text embeddings in one plane.

The coordinates (two singular vectors of the zero-shot features, uncentred, one basis for all
models) and the gap ‖mean image − mean text‖₂ come ready from the results file.
"""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ccr_diag.errors import BadConfig, BadData, nearest
from ccr_diag.figures.style import (
    IMAGE_COLOUR,
    MUTED,
    PAGE_INCHES,
    Entry,
    Look,
    as_said,
    averages,
    defined,
    entry_of,
    interval,
    new_axes,
    new_figure,
    note,
    results_looks,
    style,
)
from ccr_diag.results import Results

Point = Sequence[Any]  # x, y
_FROM = "they come with the results of 'ccr-diag analyze checkpoint'"


def draw_modality_gap(
    results: Results,
    ax: Axes | None = None,
    *,
    models: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """Image points and the class text embeddings of each model, first split, in one plane.

    Args:
        results: a parsed results file.
        ax: where to draw; a new figure when left out.
        models: names to draw; all of them when left out. Models with the same text embeddings (they
            differ only in the probability map) are drawn once, under joined labels.
        legend: name the models and their gap values beside the axes.

    Returns:
        The axes.

    Raises:
        BadConfig: a name in ``models`` is not in the results.
        BadData: the results hold no images or no class texts.
    """
    looks = results_looks(results)
    with style():
        ax = ax or new_axes(4.6, 2.8)
        ax.scatter(
            *_columns(_images(results)),
            s=3,
            c=IMAGE_COLOUR,
            linewidths=0,
            alpha=0.6,
            label="images",
            rasterized=True,
            zorder=1,
        )
        for same in same_texts(_chosen(results, models)):
            label = f"{joined_label(same)}: {gap_text(same[0])}"
            _draw_texts(ax, same[0], looks[same[0]["name"]], label)
        ax.set(xlabel="singular vector 1", ylabel="singular vector 2")
        if legend:
            ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), handletextpad=0.3)
    return ax


def modality_gap_page(results: Results) -> Figure:
    """One panel a model on common axes; thin lines lead from each class's zero-shot place."""
    panels = same_texts(results["models"])
    start = _zero_shot(results)
    limits = _limits(results)
    ratio = (limits[1][1] - limits[1][0]) / (limits[0][1] - limits[0][0])
    rows = -(-len(panels) // (5 if ratio > 1.2 else 3))  # tall panels stand closer
    columns = -(-len(panels) // rows)
    width = min(PAGE_INCHES, 2.6 * columns)
    several = any(len(model["splits"]) > 1 for model in results["models"])
    gaps = [_gap(model) for model in results["models"]]
    with style():
        lines = max(map(len, panels)) + 2  # of the titles
        height = rows * (ratio * (width / columns - 0.25) + 0.14 * lines + 0.2) + 0.85
        figure: Figure = new_figure(width, height)
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for i, ax in enumerate(axes.flat):
            if i >= len(panels):
                ax.remove()
                continue
            _draw_panel(ax, results, panels[i], start)
            # A panel with an empty cell below it carries the tick labels of its column.
            last = i + columns >= len(panels)
            ax.tick_params(labelbottom=last, labelleft=i % columns == 0)
            ax.set_xlabel("singular vector 1" if last else "")
            ax.set_ylabel("singular vector 2" if i % columns == 0 else "")
        axes.flat[0].set(xlim=limits[0], ylim=limits[1])
        figure.legend(
            handles=_keys(),
            loc="outside upper center",
            ncols=2 if width < 5 else 4,
            handletextpad=0.3,
        )
        note(
            figure,
            "Axes: first two singular vectors of the uncentred zero-shot features."
            f"{' Points: first split.' if several else ''}\n"
            f"Gap ‖mean image − mean text‖₂: {averages(results, gaps)}.",
        )
    return figure


def same_texts(models: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Models gathered by equal text coordinates, in their first order."""
    gathered: list[list[dict[str, Any]]] = []
    for model in models:
        for same in gathered:
            if _texts(same[0]) == _texts(model):
                same.append(model)
                break
        else:
            gathered.append([model])
    return gathered


def joined_label(models: Sequence[dict[str, Any]], separator: str = " = ") -> str:
    """The labels of models that are drawn as one."""
    return separator.join(as_said(model["label"]) for model in models)


def gap_text(model: dict[str, Any], separator: str = " ") -> str:
    """The gap of a model in words, with its interval where there is one."""
    gap = _gap(model)
    if not defined(gap["value"]):
        return "gap undefined"
    text = f"gap {gap['value']:.3f}"
    ends = interval(gap)
    if ends is None:
        return text
    low, high = (f"{end:.3f}" for end in ends)
    # Zero width: a model that is not tuned is the same in every split.
    return text if low == high else f"{text}{separator}[{low}, {high}]"


def _gap(model: dict[str, Any]) -> Entry:
    summary = model["geometry"].get("summary", {})
    return entry_of(summary, "gap", f"the geometry of model {model['name']!r}")


def _draw_texts(ax: Axes, model: dict[str, Any], look: Look, label: str) -> None:
    x, y = _columns(_texts(model))
    faces = ["white" if of["group"] == "new" else look.colour for of in model["classes"]]
    # Opaque, so that a new class's open marker stays open over the cloud of images.
    dots = ax.scatter(
        x, y, s=11, marker=look.marker, c=faces, edgecolors=look.colour, linewidths=0.7, zorder=3
    )
    dots.set_gid(model["name"])
    ax.scatter([], [], s=16, marker=look.marker, c=look.colour, label=label)


def _draw_panel(
    ax: Axes, results: Results, same: list[dict[str, Any]], start: dict[str, Any] | None
) -> None:
    model = same[0]
    draw_modality_gap(results, ax, models=[model["name"]], legend=False)
    if start is not None and model is not start:
        _draw_moves(ax, start, model)
    title = [joined_label(same, " =\n"), gap_text(model, "\n")]
    ax.set_title("\n".join(title), fontsize=7.5)
    ax.set_aspect("equal")


def _draw_moves(ax: Axes, start: dict[str, Any], end: dict[str, Any]) -> None:
    moves = [[a, b] for a, b in zip(_texts(start), _texts(end), strict=True)]
    ax.add_collection(LineCollection(moves, colors=MUTED, linewidths=0.35, alpha=0.6, zorder=2))


def _keys() -> list[Line2D]:
    return [
        _dot("image", IMAGE_COLOUR, IMAGE_COLOUR),
        _dot("class text, tuned", MUTED, MUTED),
        _dot("class text, new", "white", MUTED),
        Line2D([], [], color=MUTED, linewidth=0.6, label="from its zero-shot place"),
    ]


def _dot(label: str, face: str, edge: str) -> Line2D:
    return Line2D(
        [],
        [],
        linestyle="none",
        marker="o",
        markersize=4.5,
        markerfacecolor=face,
        markeredgecolor=edge,
        label=label,
    )


def _limits(results: Results) -> tuple[tuple[float, float], tuple[float, float]]:
    """Common limits around everything, the shorter side widened to at least 60 % of the longer."""
    points = [*_images(results), *(p for m in results["models"] for p in _texts(m))]
    spans = [(min(column), max(column)) for column in _columns(points)]
    longest = max(high - low for low, high in spans) or 1.0
    limits = []
    for low, high in spans:
        half = 1.1 * max(high - low, 0.6 * longest) / 2
        limits.append(((low + high) / 2 - half, (low + high) / 2 + half))
    return limits[0], limits[1]


def _chosen(results: Results, names: Sequence[str] | None) -> list[dict[str, Any]]:
    by_name = {model["name"]: model for model in results["models"]}
    for name in names or ():
        if name not in by_name:
            raise BadConfig(
                f"A model to draw must be in the results, but got {name!r}{nearest(name, by_name)}"
            )
    return [by_name[name] for name in (by_name if names is None else names)]


def _zero_shot(results: Results) -> dict[str, Any] | None:
    return next((m for m in results["models"] if m["name"].startswith("zero-shot")), None)


def _images(results: Results) -> list[Point]:
    if not results.get("image_coordinates"):
        raise BadData(f"The figure needs 'image_coordinates', but the results hold none; {_FROM}.")
    coordinates: list[Point] = results["image_coordinates"]
    return coordinates


def _texts(model: dict[str, Any]) -> list[Point]:
    if not model["splits"]:
        raise BadData(
            f"The figure needs the class texts of model {model['name']!r}, "
            f"but the results hold none; {_FROM}."
        )
    coordinates: list[Point] = model["splits"][0]["geometry"]["coordinates_text"]
    return coordinates


def _columns(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [p[0] for p in points], [p[1] for p in points]
