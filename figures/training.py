"""Tuning over its epochs: the loss, the regularizer with its λ, and the neighbourhoods kept."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ccr_diag.epoch_log import NEIGHBOURS, PRESERVATION
from ccr_diag.errors import BadConfig, nearest
from ccr_diag.figures.curves import Curve, legend_above, missing_said, splits_said
from ccr_diag.figures.paging import page_names, pages
from ccr_diag.figures.picture import Picture
from ccr_diag.figures.style import (
    PAGE_INCHES,
    Look,
    as_said,
    model_looks,
    new_axes,
    new_figure,
    note,
    style,
)
from ccr_diag.metrics.intervals import over_splits
from ccr_diag.records import label

WEIGHTED = "λ × regularizer"
TERMS = {
    WEIGHTED: WEIGHTED,
    PRESERVATION: f"{PRESERVATION}, share of the {NEIGHBOURS}\nneighbours kept",
}
"""What is drawn of each epoch beside the losses, and what its axis says."""
A_PAGE = 8  # runs
_LOSS = " loss"


def draw_training(curves: pd.DataFrame, term: str, ax: Axes | None = None) -> Axes:
    """A line a run, its mean over splits with a 95 % band, over a thin line for each split.

    Args:
        curves: of ``read_training``.
        term: of ``terms_of``: a loss draws the runs that minimise it.
        ax: where to draw; a new figure when left out.

    Raises:
        BadConfig: no run has the term.
    """
    means, looks = training_table(curves, term), _looks(curves)
    each = _valued(curves, term)
    with style():
        ax = ax or new_axes()
        for run, part in means.groupby("run", sort=False):
            look, splits = looks[str(run)], each[each["run"] == run].groupby("split")
            for split, line in splits if splits.ngroups > 1 else ():
                (thin,) = ax.plot(line["epoch"], line["value"], color=look.colour, linewidth=0.4)
                thin.set(alpha=0.5, zorder=1.8, gid=f"{run}/{split}")
            Curve(look, "-", str(run)).draw(ax, part, "epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        ax.set_xlabel("epoch")
        ax.set_ylabel(TERMS.get(term, f"{label(term.removesuffix(_LOSS))}{_LOSS}"))
        if term == PRESERVATION:
            ax.set_ylim(0.0, 1.03)
        elif not (means["mean"] < 0).any():
            ax.set_ylim(bottom=0.0)
    return ax


def terms_of(curves: pd.DataFrame) -> list[str]:
    """What the runs have: “bce loss” for each loss, as two kinds do not compare, then ``TERMS``.

    The loss's own and the regularizer's are of the steps of an epoch, NP@5 of its end.
    """
    terms = [f"{name}{_LOSS}" for name in curves["minimised"].unique()]
    return terms + [term for term in TERMS if _has(curves, term).any()]


def training_table(curves: pd.DataFrame, term: str) -> pd.DataFrame:
    """The means that ``draw_training`` shows, in its order.

    Returns:
        Columns term, run, model, epoch, mean, sd, low, high and n (splits). An epoch of which
        nothing was logged is NaN, and a gap in the line; runs that never have the term are left
        out, as those without regularizer.

    Raises:
        BadConfig: as ``draw_training``.
    """
    rows = []
    for key, part in _valued(curves, term).groupby(["run", "model", "epoch"], sort=False):
        found = over_splits(part["value"].to_list())
        rows.append((term, *key, found.mean, found.sd, found.low, found.high, found.n))
    columns = ["term", "run", "model", "epoch", "mean", "sd", "low", "high", "n"]
    table = pd.DataFrame(rows, columns=columns)
    return table.astype(dict.fromkeys(("mean", "sd", "low", "high"), float))


def training_pictures(curves: pd.DataFrame) -> list[Picture]:
    """A page for each ``A_PAGE`` runs: a panel for each of their terms.

    Its table has the means of ``training_table``, and of several splits each one's value as the
    ``mean`` of that ``split`` alone.

    Args:
        curves: of ``read_training``.
    """
    parts = pages(list(curves["run"].unique()), A_PAGE)
    return [
        _page(name, curves[curves["run"].isin(part)])
        for name, part in zip(page_names("training_curves", len(parts)), parts, strict=True)
    ]


def _page(name: str, curves: pd.DataFrame) -> Picture:
    """One page and its table."""
    terms = terms_of(curves)
    columns = min(len(terms), 2)
    rows = -(-len(terms) // columns)
    with style():
        figure = new_figure(PAGE_INCHES, 0.9 + 2.2 * rows)
        grid = figure.subplots(rows, columns, squeeze=False)
        for ax in grid.flat[len(terms) :]:
            ax.remove()
        for ax, term in zip(grid.flat, terms, strict=False):
            draw_training(curves, term, ax)
        looks, said = _looks(curves), _names(curves)
        legend_above(figure, [Curve(looks[run], "-", run).handle(said[run]) for run in looks])
        note(figure, as_said(_said(curves)))
    tables = [
        table for term in terms for table in (training_table(curves, term), _thin(curves, term))
    ]
    shown = pd.concat([table for table in tables if not table.empty], ignore_index=True)
    if "split" in shown:
        shown["split"] = shown["split"].astype("Int64")
    return Picture(name, figure, shown)


def _thin(curves: pd.DataFrame, term: str) -> pd.DataFrame:
    """What the thin lines show: the value of each split, where a run has several."""
    each = _valued(curves, term).assign(term=term, n=1)
    several = each.groupby("run")["split"].transform("nunique") > 1
    columns = ["term", "run", "model", "split", "epoch", "value", "n"]
    return each.loc[several, columns].rename(columns={"value": "mean"})


def _has(curves: pd.DataFrame, term: str) -> "pd.Series[bool]":
    """Rows of runs that have the term at all."""
    if term == WEIGHTED:
        return curves["lambda"] > 0
    if term == PRESERVATION:
        return curves[term].notna().groupby(curves["run"]).transform("any")
    return curves["minimised"] == term.removesuffix(_LOSS)


def _valued(curves: pd.DataFrame, term: str) -> pd.DataFrame:
    """The rows of runs that have the term, with its ``value``."""
    known = terms_of(curves)
    if term not in known:
        raise BadConfig(
            f"The term to draw must be one of {', '.join(known)}, but got {term!r}"
            f"{nearest(term, known)}"
        )
    rows = curves[_has(curves, term)]
    if term == WEIGHTED:
        return rows.assign(value=rows["lambda"] * rows["regularizer"])
    return rows.assign(value=rows[term if term in rows else "loss"])


def _models(curves: pd.DataFrame) -> "pd.Series[str]":
    """Run → model, in their order."""
    return curves.drop_duplicates("run").set_index("run")["model"]


def _looks(curves: pd.DataFrame) -> dict[str, Look]:
    """Run → look: its model's for the first of a model, a spare one for others."""
    models = _models(curves)
    again = models.duplicated()
    names = [
        str(run) if twice else model
        for (run, model), twice in zip(models.items(), again, strict=True)
    ]
    return dict(zip(models.index, model_looks(names).values(), strict=True))


def _names(curves: pd.DataFrame) -> dict[str, str]:
    """Run → what it is called, with its folder where a model has several."""
    models = _models(curves)
    several = models.duplicated(keep=False)
    return {
        str(run): f"{label(model)} [{run}]" if twice else label(model)
        for (run, model), twice in zip(models.items(), several, strict=True)
    }


def _said(curves: pd.DataFrame) -> str:
    """What lines and bands are, and which splits or numbers are missing."""
    n = curves["split"].nunique()
    lines = "Lines: one split, without interval"
    if n > 1:
        lines = f"Lines: mean over {n} splits, thin each split; bands: 95 % interval (Student t)"
    return (
        f"{lines}. Losses: mean over the steps of an epoch. {PRESERVATION}: texts of the tuned "
        f"classes at its end against zero-shot.{missing_said(_missing(curves))}"
    )


def _missing(curves: pd.DataFrame) -> list[str]:
    """Splits that other runs have, epochs that other splits have, and NP@5 that was not logged."""
    found, names = [], _names(curves)
    splits = set(curves["split"])
    for run, part in curves.groupby("run", sort=False):
        name = names[str(run)]
        lacking = sorted(splits - set(part["split"]))
        found += [f"{name}, {splits_said(lacking)}"] * bool(lacking)
        ends = part.groupby("split")["epoch"].max()
        short = ends[ends < ends.max()]
        found += [f"{name}, {splits_said(list(short.index))} after epoch {short.min()}"] * bool(
            len(short)
        )
        if part[PRESERVATION].isna().any():
            found.append(f"{name}, {PRESERVATION} of epochs that were logged without it")
    return found
