"""Which classes are alike to the text tower: cosines of all pairs, and what tuning changed.

Maps of every text space in one order of classes, that of a hierarchical clustering of zero-shot
(average linkage on 1 − cosine), so that alike classes stand together. Only the order is made here;
the cosines come from the class matrices of an analysis.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from ccr_diag.class_matrices import ClassMatrices, Square
from ccr_diag.data.groups import GROUPS
from ccr_diag.figures.class_names import fitted
from ccr_diag.figures.paging import page_names, pages
from ccr_diag.figures.picture import Picture
from ccr_diag.figures.style import (
    PAGE_INCHES,
    as_said,
    group_colour,
    group_label,
    new_axes,
    new_figure,
    note,
    style,
)
from ccr_diag.figures.text_spaces import (
    TITLE_POINTS,
    Model,
    check_classes,
    geometry_of,
    left_out,
    panel_title,
    same_texts,
    with_texts,
    zero_shot_of,
)
from ccr_diag.results import Results

PANELS, COLUMNS = 6, 3  # on a page; side by side
OPTIMAL = 300  # classes up to which also the order within clusters is sought: it takes n³ steps
IN_PAIRS = 150  # classes up to which the tables list every pair
NAMED = 96  # classes whose names fit on a page
NAME_INCHES = 1.4  # of a class name
ROW_INCHES, NAME_POINTS = 0.092, 6.0  # of a named row
STRIP = (-0.035, 0, 0.022, 1)  # where the groups stand beside a map: left, bottom, width, height
COSINES, CHANGES = "viridis", "RdBu_r"  # in one direction; in two, around white


@dataclass(frozen=True, eq=False)
class _Space:
    """A text space: its values in the order of the maps."""

    models: list[Model]
    values: Square


@dataclass(frozen=True, eq=False)
class _Maps:
    """One kind of map: cosines, or their changes."""

    file: str
    quantity: str
    colours: str
    norm: Normalize
    spaces: list[_Space]
    names: list[str]
    groups: list[str | None]
    missing: str


def draw_similarity(
    values: Square, ax: Axes | None = None, *, change: bool = False, norm: Normalize | None = None
) -> Axes:
    """A class × class map, the first class at the top left.

    Args:
        values: cosines of the class texts, or what tuning changed of them.
        ax: where to draw; a new figure when left out.
        change: the values are changes: colours in two directions around 0.
        norm: from values to colours; the values' own when left out.

    Returns:
        The axes.
    """
    own = change_norm if change else cosine_norm
    with style():
        ax = ax or new_axes()
        ax.imshow(values, cmap=CHANGES if change else COSINES, norm=norm or own([values]))
        ax.set(xticks=[], yticks=[])
    return ax


def similarity_pictures(results: Results, matrices: Mapping[str, ClassMatrices]) -> list[Picture]:
    """Maps of every distinct text space, and of its change from zero-shot.

    Args:
        results: a parsed results file.
        matrices: of its models, by name.

    Returns:
        ``text_similarity`` and ``text_similarity_change``, six panels a page; for up to 96 classes
        also ``text_similarity_named``, zero-shot's map with the names of all classes, which stand
        in this order in every map. None where there are no matrices of zero-shot.

    Raises:
        BadData: matrices of other classes than the results.
    """
    found = []
    for maps in _maps(results, matrices):
        parts = pages(maps.spaces, PANELS)
        for part, file in zip(parts, page_names(maps.file, len(parts)), strict=True):
            found.append(Picture(file, _overview(maps, part), _table(maps, part)))
        if maps.colours == COSINES and len(maps.names) <= NAMED:
            start = maps.spaces[0]
            found.append(Picture(f"{maps.file}_named", _named(maps, start), _table(maps, [start])))
    return found


def clustered_order(cosines: Square) -> list[int]:
    """Classes as the leaves of a hierarchical clustering: average linkage on 1 − cosine.

    Args:
        cosines: of the class texts.

    Returns:
        Indices of the classes, from the first place to the last.
    """
    if len(cosines) < 3:
        return list(range(len(cosines)))
    distances = np.clip(1 - (cosines + cosines.T) / 2, 0, None)
    np.fill_diagonal(distances, 0)
    tree = linkage(squareform(distances), "average", optimal_ordering=len(cosines) <= OPTIMAL)
    return [int(leaf) for leaf in leaves_list(tree)]


def cosine_norm(maps: Sequence[Square]) -> Normalize:
    """One scale for maps of cosines: from the tenth below the lowest to 1."""
    lowest = min(float(values.min()) for values in maps)
    return Normalize(min(floor(10 * lowest) / 10, 0.9), 1)


def change_norm(maps: Sequence[Square]) -> Normalize:
    """One scale for maps of changes: as far to either side of 0 as the largest goes."""
    largest = max(float(np.abs(values).max()) for values in maps) or 0.1
    return Normalize(-largest, largest)


def _maps(results: Results, matrices: Mapping[str, ClassMatrices]) -> list[_Maps]:
    models = [model for model in with_texts(results) if model["name"] in matrices]
    start = zero_shot_of(models)
    if start is None:
        return []
    for model in models:
        check_classes(model, matrices[model["name"]])
    before = matrices[start["name"]]
    order = clustered_order(before.cosines)
    of = np.ix_(order, order)
    same = sorted(same_texts(models), key=lambda models: start not in models)
    cosines = [_Space(s, matrices[s[0]["name"]].cosines[of]) for s in same]
    changes = [_Space(s, matrices[s[0]["name"]].cosine_change(before)[of]) for s in same[1:]]
    found = []
    for file, quantity, spaces in (
        ("text_similarity", "cosine of class texts", cosines),
        ("text_similarity_change", "change of the cosine, tuned − zero-shot", changes),
    ):
        if not spaces:
            continue
        values = [space.values for space in spaces]
        changed = spaces is changes
        found.append(
            _Maps(
                file=file,
                quantity=quantity,
                colours=CHANGES if changed else COSINES,
                norm=change_norm(values) if changed else cosine_norm(values),
                spaces=spaces,
                names=[before.class_names[i] for i in order],
                groups=[start["classes"][i]["group"] for i in order],
                missing=left_out(results, models, "class texts or matrices"),
            )
        )
    return found


def _overview(maps: _Maps, spaces: Sequence[_Space]) -> Figure:
    """Small maps without names."""
    columns = min(COLUMNS, len(spaces))
    rows = -(-len(spaces) // columns)
    width = PAGE_INCHES * max(columns, 2) / COLUMNS
    lines = max(len(space.models) for space in spaces) + (maps.colours == CHANGES)
    side = width / columns
    with style():
        figure: Figure = new_figure(width, rows * (side + 0.13 * lines) + 1.0)
        axes = figure.subplots(rows, columns, squeeze=False)
        for ax, space in zip(axes.flat, spaces, strict=False):
            _draw(ax, maps, space)
        for ax in axes.flat[len(spaces) :]:
            ax.remove()
        shown = list(axes.flat[: len(spaces)])
        _finish(figure, shown, maps, "The table of this figure names the classes in this order.")
    return figure


def _named(maps: _Maps, space: _Space) -> Figure:
    """One map with the name of each row; taller than wide where the names need it."""
    n = len(maps.names)
    side = min(5.2, max(2.6, 0.25 * n))
    with style():
        figure: Figure = new_figure(side + 1.8, max(side, ROW_INCHES * n) + 1.25)
        ax = figure.subplots()
        _draw(ax, maps, space)
        ax.set_aspect("auto")
        names = [as_said(fitted(name, NAME_INCHES, NAME_POINTS)) for name in maps.names]
        ax.set_yticks(range(n), names, fontsize=NAME_POINTS)
        strip = -72 * STRIP[0] * side if _grouped(maps) else 0  # points that it takes
        ax.tick_params(axis="y", length=0, pad=5 + strip)
        _finish(figure, [ax], maps, "Columns stand in the order of the rows.")
    return figure


def _draw(ax: Axes, maps: _Maps, space: _Space) -> None:
    draw_similarity(space.values, ax, change=maps.colours == CHANGES, norm=maps.norm)
    for spine in ax.spines.values():
        spine.set_visible(False)
    title = panel_title(space.models, PAGE_INCHES / COLUMNS - 0.15)
    drift = geometry_of(space.models[0]).get("text", {}).get("summary", {}).get("pair_drift")
    if maps.colours == CHANGES and drift is not None:
        title += f"\nroot mean square {drift:.3f}"
    ax.set_title(title, fontsize=TITLE_POINTS)
    groups = _grouped(maps)
    if groups:
        strip = ax.inset_axes(STRIP)
        strip.imshow(
            [[groups.index(group)] for group in maps.groups],
            cmap=ListedColormap([group_colour(group) for group in groups]),
            norm=Normalize(0, max(len(groups) - 1, 1)),
            aspect="auto",
            interpolation="nearest",  # no mixtures, which would be colours of no group
        )
        strip.set_axis_off()
        strip.set(xticks=[], yticks=[], label="groups")


def _finish(figure: Figure, axes: Sequence[Axes], maps: _Maps, says: str) -> None:
    """The colour bar, the key of the groups and the note."""
    bar = figure.colorbar(
        axes[0].images[0], ax=list(axes), location="bottom", shrink=0.5, aspect=35, pad=0.02
    )
    bar.set_label(maps.quantity)
    bar.outline.set_visible(False)
    groups = _grouped(maps)
    if groups:
        keys = [
            Patch(color=group_colour(g), label=as_said(group_label(g or "no group")))
            for g in groups
        ]
        figure.legend(handles=keys, loc="outside upper center", ncols=len(keys), handlelength=1)
    text = (
        "Classes in the order of a clustering of the zero-shot texts (average linkage on "
        f"1 − cosine); first split. {says}{maps.missing}"
    )
    note(figure, text)


def _grouped(maps: _Maps) -> list[str | None]:
    """The groups of the classes, from head to new; none where no class has one."""
    own = dict.fromkeys(maps.groups)
    groups: list[str | None] = [group for group in GROUPS if group in own]
    groups += [group for group in own if group not in groups]
    return [] if groups == [None] else groups


def _table(maps: _Maps, spaces: Sequence[_Space]) -> pd.DataFrame:
    """The pairs above the diagonal, in the order of the map; of many classes, their order alone."""
    classes = pd.DataFrame({"class": maps.names, "group": maps.groups})
    if len(classes) > IN_PAIRS:
        return classes.rename_axis("position").reset_index()
    a, b = np.triu_indices(len(classes), k=1)
    shared = {
        "position_a": a,
        "position_b": b,
        **{f"{key}_a": classes[key].to_numpy()[a] for key in classes},
        **{f"{key}_b": classes[key].to_numpy()[b] for key in classes},
    }
    column = "change" if maps.colours == CHANGES else "cosine"
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "model": space.models[0]["name"],
                    "same_texts": " = ".join(model["name"] for model in space.models),
                    **shared,
                    column: space.values[a, b],
                }
            )
            for space in spaces
        ],
        ignore_index=True,
    )
