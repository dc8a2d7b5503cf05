"""Whether classes are absent together as CCR wants it: C̃_pred against Σ_text, pair by pair.

Both matrices come from the class matrices of an analysis, and so does how far they agree. The
target is zero-shot's in every panel, as the loss has it, so that panels differ only in what the
models predict.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from ccr_diag.class_matrices import Agreement, ClassMatrices, Square, agreement
from ccr_diag.errors import BadData
from ccr_diag.figures.paging import page_names, pages
from ccr_diag.figures.picture import Picture
from ccr_diag.figures.style import (
    COLUMN_INCHES,
    PAGE_INCHES,
    new_axes,
    new_figure,
    note,
    number,
    style,
)
from ccr_diag.figures.text_spaces import (
    TITLE_POINTS,
    Model,
    check_classes,
    left_out,
    panel_title,
    zero_shot_of,
)
from ccr_diag.results import Results

PANELS = 9  # on a page
HEXAGONS = 32  # from the left to the right end of a panel
ENDS = (-1.0, 1.0)  # of both axes: what a correlation may be
DENSITY = "cividis"
TARGET, PREDICTED = r"$\Sigma_\mathrm{text}$ of zero-shot", r"$\tilde{C}_\mathrm{pred}$"


@dataclass(frozen=True, eq=False)
class _Panel:
    """One model: what it is to reach and what it predicts."""

    model: Model
    target: Square
    predicted: Square
    estimator: str
    agreement: Agreement


def draw_predicted_correlation(
    target: Square, predicted: Square, ax: Axes | None = None, *, norm: LogNorm | None = None
) -> Axes:
    """Pairs of classes i < j, counted in hexagons, over the line of equality; square, equal axes.

    Args:
        target: Σ_text of zero-shot.
        predicted: C̃_pred of the model; NaN in the rows and columns of dead classes, left out.
        ax: where to draw; a new figure when left out.
        norm: from pairs in a hexagon to colours; up to the fullest when left out.

    Returns:
        The axes.
    """
    above = np.triu_indices(len(target), k=1)
    x, y = target[above], predicted[above]
    live = np.isfinite(y)
    with style():
        ax = ax or new_axes(height=COLUMN_INCHES)
        counted = ax.hexbin(
            x[live], y[live], gridsize=HEXAGONS, extent=(*ENDS, *ENDS), mincnt=1, cmap=DENSITY,
            linewidths=0.1,
        )  # fmt: skip
        counted.set_norm(norm or _norm([counted]))
        counted.set_gid("pairs")
        ax.plot(ENDS, ENDS, color="black", linewidth=0.7, linestyle=(0, (4, 2)), zorder=3)
        ax.set(xlim=ENDS, ylim=ENDS, aspect="equal", xlabel=TARGET, ylabel=PREDICTED)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_ticks([-1, 0, 1], ["−1", "0", "1"])
            axis.set_ticks([-0.5, 0.5], minor=True)
    return ax


def predicted_correlation_pictures(
    results: Results, matrices: Mapping[str, ClassMatrices]
) -> list[Picture]:
    """A panel a model, nine a page, zero-shot among them; one scale of colours.

    Args:
        results: a parsed results file.
        matrices: of its models, by name.

    Returns:
        ``predicted_correlation``, numbered where there are several pages; none without matrices of
        zero-shot, or of a single class. The table holds the hexagons: their middles and numbers of
        pairs, and the agreement of the model.

    Raises:
        BadData: matrices of other classes than the results, or of another estimator than zero-shot.
    """
    panels = _panels(results, matrices)
    parts = [_page(part) for part in pages(panels, PANELS)]
    norm = _norm([counted for _, drawn in parts for counted in drawn])
    missing = left_out(results, [panel.model for panel in panels], "matrices")
    found = []
    names = page_names("predicted_correlation", len(parts))
    for part, (figure, drawn), file in zip(pages(panels, PANELS), parts, names, strict=True):
        _finish(figure, drawn, norm, part[0].estimator, missing)
        found.append(Picture(file, figure, _table(part, drawn)))
    return found


def _panels(results: Results, matrices: Mapping[str, ClassMatrices]) -> list[_Panel]:
    models = [model for model in results["models"] if model["name"] in matrices]
    start = zero_shot_of(models)
    if start is None or start["n_classes"] < 2:
        return []
    before = matrices[start["name"]]
    found = []
    for model in models:
        own = matrices[model["name"]]
        check_classes(model, own)
        if own.estimator != before.estimator:
            raise BadData(
                "Predicted correlations in one figure must be of one estimator, but that of "
                f"{start['name']!r} is {before.estimator!r} and that of {model['name']!r} "
                f"{own.estimator!r}; write both with one 'ccr-diag analyze checkpoint'."
            )
        agrees = agreement(before.target, own.predicted)
        found.append(_Panel(model, before.target, own.predicted, own.estimator, agrees))
    return found


def _page(panels: Sequence[_Panel]) -> tuple[Figure, list[PolyCollection]]:
    """The panels, and the hexagons of each."""
    columns = min(3 if len(panels) > 4 else 2, len(panels))
    rows = -(-len(panels) // columns)
    width = PAGE_INCHES if columns == 3 else max(COLUMN_INCHES, 2.6 * columns)
    drawn = []
    with style():
        lines = 3 if any(panel.agreement.dead for panel in panels) else 2  # of the titles
        ragged = 0.35 * (rows > 1 and len(panels) % columns > 0)  # labels above an empty cell
        figure = new_figure(width, rows * (width / columns + 0.14 * lines) + 1.25 + ragged)
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for i, ax in enumerate(axes.flat):
            if i >= len(panels):
                ax.remove()
                continue
            panel = panels[i]
            draw_predicted_correlation(panel.target, panel.predicted, ax)
            title = panel_title([panel.model], width / columns - 0.2)
            ax.set_title(f"{title}\n{_said(panel.agreement)}", fontsize=TITLE_POINTS)
            last = i + columns >= len(panels)
            ax.tick_params(labelbottom=last)
            ax.set(xlabel=TARGET if last else "", ylabel="" if i % columns else PREDICTED)
            drawn += [c for c in ax.collections if isinstance(c, PolyCollection)]
    return figure, drawn


def _finish(
    figure: Figure, drawn: Sequence[PolyCollection], norm: LogNorm, estimator: str, missing: str
) -> None:
    """The common scale of colours and the note."""
    for counted in drawn:
        counted.set_norm(norm)
    with style():
        bar = figure.colorbar(
            drawn[0], ax=figure.axes, location="bottom", shrink=0.5, aspect=35, format="{x:g}"
        )
        bar.minorticks_off()
        bar.set_label("pairs of classes in a hexagon")
        text = (
            f"Zero-shot: before tuning. First split, all test images, estimator {estimator}. "
            "Dashed: equal, as CCR would have it. r: Pearson's over pairs; RMS: root mean square "
            f"difference.{missing}"
        )
        note(figure, text)


def _said(found: Agreement) -> str:
    r = "r undefined" if found.r is None else f"r = {number(found.r, '.3f')}"
    dead = f"\n{found.dead} dead classes left out" if found.dead else ""
    return f"{r}, RMS {number(found.rms, '.3f')}{dead}"


def _norm(drawn: Sequence[PolyCollection]) -> LogNorm:
    """From one pair to as many as the fullest hexagon has, but at least to 10."""
    counts = [counted.get_array() for counted in drawn]
    return LogNorm(1, max([10, *(int(c.max()) for c in counts if c is not None and len(c))]))


def _table(panels: Sequence[_Panel], drawn: Sequence[PolyCollection]) -> pd.DataFrame:
    """The hexagons of a page; a model without pairs has one row without a hexagon."""
    parts = []
    for panel, counted in zip(panels, drawn, strict=True):
        middles = np.asarray(counted.get_offsets())
        agrees = panel.agreement
        hexagons = {
            "target": middles[:, 0],
            "predicted": middles[:, 1],
            "pairs_in_hexagon": np.asarray(counted.get_array(), dtype=int),
        }
        parts.append(
            pd.DataFrame(hexagons if agrees.pairs else {key: [None] for key in hexagons}).assign(
                model=panel.model["name"],
                pairs=agrees.pairs,
                dead_classes=agrees.dead,
                r=agrees.r,
                rms=agrees.rms,
            )
        )
    table = pd.concat(parts, ignore_index=True)
    return table[["model", *table.columns.drop("model")]]
