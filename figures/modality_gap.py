"""Where images and class texts lie: image points and class text embeddings in one plane.

The coordinates (two singular vectors of the zero-shot features, uncentred, one basis for all
models) and the gap ‖mean image − mean text‖₂ come ready from the results file.
"""

from collections.abc import Callable, Sequence

import matplotlib.patheffects as effects
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ccr_diag.figures.gap_points import (
    class_images_of,
    columns_of,
    gap_of,
    gap_text,
    images_of,
    mean_point,
    modality_gap_table,
    texts_of,
)
from ccr_diag.figures.paging import page_names, pages
from ccr_diag.figures.picture import Picture
from ccr_diag.figures.style import (
    IMAGE_COLOUR,
    MUTED,
    PAGE_INCHES,
    Look,
    averages,
    new_axes,
    new_figure,
    note,
    results_looks,
    style,
)
from ccr_diag.figures.text_spaces import (
    TITLE_POINTS,
    Model,
    Point,
    chosen,
    joined_label,
    left_out,
    panel_title,
    same_texts,
    with_texts,
    zero_shot_of,
)
from ccr_diag.results import Results

PANELS = 6  # on a page
CROWD = 150  # classes above which marks shrink
_PAIR_COLOUR = "#5E82A8"  # a darker IMAGE_COLOUR: what belongs to images
Join = Callable[[Axes, Results, Model], None]
"""Draws the lines of one panel."""


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
    drawn = chosen(results, models)
    for model in drawn:
        texts_of(model)
    with style():
        ax = ax or new_axes(4.6, 2.8)
        x, y = columns_of(images_of(results))
        ax.scatter(
            x,
            y,
            s=3,
            c=IMAGE_COLOUR,
            linewidths=0,
            alpha=0.6,
            label="images",
            rasterized=True,
            zorder=1,
        )
        for same in same_texts(drawn):
            label = f"{joined_label(same)}: {gap_text(same[0])}"
            _draw_texts(ax, same[0], looks[same[0]["name"]], label)
        ax.set(xlabel="singular vector 1", ylabel="singular vector 2")
        if legend:
            ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), handletextpad=0.3)
    return ax


def modality_gap_pictures(results: Results) -> list[Picture]:
    """Panels of all text spaces on common axes, twice: pairs and gap, and moves from zero-shot.

    Args:
        results: a parsed results file.

    Returns:
        ``modality_gap``: each class text joined with the mean of its own images, and the means of
        all images and all texts joined. ``modality_gap_moves``: each joined with its zero-shot
        place; left out where nothing was tuned. Numbered where six panels do not hold all. None
        where the results hold no images or no class texts.
    """
    if not with_texts(results) or not results.get("image_coordinates"):
        return []
    made = [("modality_gap", _draw_pairs, _pair_keys(), _PAIR_NOTE)]
    start = zero_shot_of(with_texts(results))
    spaces = same_texts(with_texts(results))
    if start is not None and len(spaces) > 1:
        made.append(("modality_gap_moves", _draw_moves, _move_keys(), ""))
    table = modality_gap_table(results)
    found = []
    for name, join, keys, says in made:
        parts = pages(spaces, PANELS)
        for part, file in zip(parts, page_names(name, len(parts)), strict=True):
            figure = _page(results, part, join, keys, says)
            shown = table["model"].isin(["", *(same[0]["name"] for same in part)])
            if join is _draw_moves and start is not None:
                shown &= table["mark"].isin(["image", "class text", "gap"])
                shown |= (table["model"] == start["name"]) & (table["mark"] == "class text")
            found.append(Picture(file, figure, table[shown]))
    return found


def _page(
    results: Results, panels: Sequence[list[Model]], join: Join, keys: list[Line2D], says: str
) -> Figure:
    """One panel a text space."""
    limits = _limits(results)
    ratio = (limits[1][1] - limits[1][0]) / (limits[0][1] - limits[0][0])
    rows = -(-len(panels) // (5 if ratio > 1.2 else 3))  # tall panels stand closer
    columns = -(-len(panels) // rows)
    width = min(PAGE_INCHES, 2.6 * columns)
    with style():
        lines = max(map(len, panels)) + 2  # of the titles
        height = rows * (ratio * (width / columns - 0.25) + 0.14 * lines + 0.2) + 0.85
        figure: Figure = new_figure(width, height)
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for i, ax in enumerate(axes.flat):
            if i >= len(panels):
                ax.remove()
                continue
            draw_modality_gap(results, ax, models=[panels[i][0]["name"]], legend=False)
            join(ax, results, panels[i][0])
            title = [panel_title(panels[i], width / columns - 0.2), gap_text(panels[i][0], "\n")]
            ax.set_title("\n".join(title), fontsize=TITLE_POINTS)
            ax.set_aspect("equal")
            # A panel with an empty cell below it carries the tick labels of its column.
            last = i + columns >= len(panels)
            ax.tick_params(labelbottom=last, labelleft=i % columns == 0)
            ax.set_xlabel("singular vector 1" if last else "")
            ax.set_ylabel("singular vector 2" if i % columns == 0 else "")
        axes.flat[0].set(xlim=limits[0], ylim=limits[1])
        figure.legend(
            handles=keys,
            loc="outside upper center",
            ncols=2 if width < 5 else len(keys),
            handletextpad=0.3,
            columnspacing=1.0,
        )
        note(figure, _note(results, says))
    return figure


def _note(results: Results, says: str) -> str:
    several = any(len(model["splits"]) > 1 for model in results["models"])
    gaps = [gap_of(model) for model in with_texts(results)]
    return (
        "Axes: first two singular vectors of the uncentred zero-shot features."
        f"{' Points: first split.' if several else ''}{_images_said(results)} "
        f"Gap ‖mean image − mean text‖₂, in all dimensions: {averages(results, gaps)}."
        f"{says}{left_out(results, with_texts(results))}"
    )


def _images_said(results: Results) -> str:
    """Which images are drawn; nothing where all of them are."""
    drawn, n = len(images_of(results)), results["models"][0]["n_images"]
    return f" Images: the first {drawn:,} of {n:,}." if drawn < n else ""


def _draw_texts(ax: Axes, model: Model, look: Look, label: str) -> None:
    x, y = columns_of(texts_of(model))
    faces = ["white" if of["group"] == "new" else look.colour for of in model["classes"]]
    # Opaque, so that a new class's open marker stays open over the cloud of images.
    dots = ax.scatter(
        x,
        y,
        s=11 * _thinned(len(x)),
        marker=look.marker,
        c=faces,
        edgecolors=look.colour,
        linewidths=0.7 * _thinned(len(x)),
        zorder=3,
        rasterized=len(x) > CROWD,
    )
    dots.set_gid(model["name"])
    ax.scatter([], [], s=16, marker=look.marker, c=look.colour, label=label)


def _draw_pairs(ax: Axes, results: Results, model: Model) -> None:
    """Each class text with the mean of its own images, and both means with one another."""
    pairs = [
        [text, image]
        for text, image in zip(texts_of(model), class_images_of(results), strict=True)
        if image is not None
    ]
    if pairs:
        _draw_lines(ax, pairs, _PAIR_COLOUR, "pairs")
        x, y = columns_of([image for _, image in pairs])
        ends = ax.scatter(x, y, s=5 * _thinned(len(x)), c=_PAIR_COLOUR, linewidths=0, zorder=2.5)
        ends.set_gid("class image means")
    halo = [effects.Stroke(linewidth=4, foreground="white"), effects.Normal()]
    (gap,) = ax.plot(
        *columns_of([mean_point(images_of(results)), mean_point(texts_of(model))]),
        color="black",
        linewidth=2.2,
        solid_capstyle="round",
        path_effects=halo,
        zorder=4,
    )
    gap.set_gid("gap")


def _draw_moves(ax: Axes, results: Results, model: Model) -> None:
    """Each class text with its zero-shot place."""
    start = zero_shot_of(with_texts(results))
    if start is None or model is start:
        return
    moves = [[a, b] for a, b in zip(texts_of(start), texts_of(model), strict=True)]
    _draw_lines(ax, moves, MUTED, "moves")


def _draw_lines(ax: Axes, ends: Sequence[Sequence[Point]], colour: str, gid: str) -> None:
    """Thin lines between pairs of points, paler where there are many."""
    lines = LineCollection(
        ends, colors=colour, linewidths=0.35, alpha=0.6 * _thinned(len(ends)), zorder=2
    )
    lines.set(gid=gid, rasterized=len(ends) > CROWD)
    ax.add_collection(lines)


def _thinned(n: int) -> float:
    """How much smaller and paler the marks of n classes are than those of a few."""
    return min(1.0, max(0.25, CROWD / n))


_PAIR_NOTE = " Its line joins the means of the points drawn, and in this plane it is shorter."


def _pair_keys() -> list[Line2D]:
    return [
        _dot("image", IMAGE_COLOUR, IMAGE_COLOUR),
        _dot("class text", MUTED, MUTED),
        _dot("class text, new class", "white", MUTED),
        Line2D(
            [], [], color=_PAIR_COLOUR, linewidth=0.6, marker="o", markersize=2.5, markevery=[1],
            label="to the mean of its own images",
        ),
        Line2D([], [], color="black", linewidth=2.2, label="gap"),
    ]  # fmt: skip


def _move_keys() -> list[Line2D]:
    move = Line2D([], [], color=MUTED, linewidth=0.6, label="from its zero-shot place")
    return [*_pair_keys()[:3], move]


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
    points = [*images_of(results), *(p for m in with_texts(results) for p in texts_of(m))]
    spans = [(min(column), max(column)) for column in columns_of(points)]
    longest = max(high - low for low, high in spans) or 1.0
    limits = []
    for low, high in spans:
        half = 1.1 * max(high - low, 0.6 * longest) / 2
        limits.append(((low + high) / 2 - half, (low + high) / 2 + half))
    return limits[0], limits[1]
