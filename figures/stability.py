"""How steady a correlation of one batch is against its size: negative evidence beside positive.

Of a record of ``ccr_diag.stability``; the correlations and measures are defined there.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from ccr_diag.errors import BadConfig, BadData, nearest
from ccr_diag.figures.curves import (
    Curve,
    Dashes,
    legend_above,
    set_number_axis,
)
from ccr_diag.figures.paging import file_words
from ccr_diag.figures.picture import Picture
from ccr_diag.figures.style import (
    ESTIMATOR_LOOKS,
    PAGE_INCHES,
    as_said,
    new_axes,
    new_figure,
    note,
    style,
)
from ccr_diag.records import label

Record = Mapping[str, Any]

MEASURES = {
    "error": "error of the batch’s correlation\n$‖C_B − C‖ / ‖C‖$",
    "pearson": "pattern kept in the batch\nPearson’s r of entries",
    "pearson_pairs": "pattern of pairs kept\nr beyond each class’s own",
    "dead": "classes without evidence\nshare",
}
"""Measure → what its axis says, in the order of the panels."""

STATISTICS: dict[str, tuple[str, Dashes, str]] = {
    "uncentred": ("uncentred", "-", "joint absence (uncentred)"),
    "uncentred_inactive": ("uncentred_inactive", "-", "the same where absent (uncentred_inactive)"),
    "centred": ("centred", "-", "covariance of absence (centred)"),
    "centred_inactive": ("centred_inactive", "-", "the same where absent (centred_inactive)"),
    "presence": ("presence", "-", "joint presence"),
    "label_absence": ("uncentred", "--", "labels: joint absence"),
    "label_centred": ("centred", "--", "labels: covariance"),
    "label_presence": ("presence", "--", "labels: co-occurrence"),
}
"""Statistic of the record → key of its look, dashes (of labels or predictions), name."""


def draw_stability(record: Record, model: str, measure: str, ax: Axes | None = None) -> Axes:
    """A line a correlation over the batch size, with the 95 % interval of the mean over batches.

    Args:
        record: of ``stability_of``.
        model: one of its models.
        measure: of ``MEASURES``.
        ax: where to draw; a new figure when left out.

    Raises:
        BadConfig: no such model or measure.
        BadData: the record lacks the measure.
    """
    means = stability_table(record, model, measure)
    with style():
        ax = ax or new_axes()
        for name, part in means.groupby("statistic", sort=False):
            look, dashes, _ = STATISTICS[str(name)]
            Curve(ESTIMATOR_LOOKS[look], dashes, str(name)).draw(ax, part, "batch_size")
        set_number_axis(ax, sorted(means["batch_size"].unique().tolist()), log=True, base=2)
        ax.set_xlabel("batch size, images")
        ax.set_ylabel(MEASURES[measure])
        ax.set_ylim(bottom=min(0.0, means["low"].min() if measure != "dead" else 0.0))
    return ax


def stability_table(record: Record, model: str, measure: str) -> pd.DataFrame:
    """What ``draw_stability`` shows, in its order.

    Returns:
        Columns model, measure, statistic, batch_size (images), mean, sd, low, high and n (batches);
        undefined numbers are NaN.

    Raises:
        BadConfig: as ``draw_stability``.
        BadData: as ``draw_stability``.
    """
    models = {entry["name"]: entry for entry in record["models"]}
    for word, given, known in (("model", model, models), ("measure", measure, MEASURES)):
        if given not in known:
            raise BadConfig(
                f"The {word} to draw must be one of {', '.join(map(repr, known))}, but got "
                f"{given!r}{nearest(given, known)}"
            )
    columns = ["statistic", "batch_size", "mean", "sd", "low", "high", "n"]
    found = pd.DataFrame(
        [
            [row[name] for name in columns]
            for row in models[model]["batches"]
            if row["measure"] == measure and row["statistic"] in STATISTICS
        ],
        columns=columns,
    )
    if found.empty:
        raise BadData(
            f"The figure of stability needs {measure!r} of {model!r}, but the record has none; "
            "write it anew with 'ccr-diag analyze correlation'."
        )
    numbers = ("mean", "sd", "low", "high")
    found = found.astype(dict.fromkeys(numbers, float))
    found.insert(0, "measure", measure)
    found.insert(0, "model", model)
    rank = {name: i for i, name in enumerate(STATISTICS)}
    found["rank"] = found["statistic"].map(rank)
    return found.sort_values(["rank", "batch_size"], ignore_index=True).drop(columns="rank")


def stability_pictures(record: Record) -> list[Picture]:
    """A page of the four measures for each model.

    Args:
        record: of ``stability_of``.

    Raises:
        BadData: a model lacks a measure.
    """
    several = len(record["models"]) > 1
    pictures = []
    for i, model in enumerate(record["models"], start=1):
        which = f"_{i}_{file_words(model['name'])}" if several else ""
        pictures.append(_page(f"correlation_stability{which}".rstrip("_"), record, model))
    return pictures


def _page(name: str, record: Record, model: Mapping[str, Any]) -> Picture:
    """One page and its table."""
    tables = [stability_table(record, model["name"], measure) for measure in MEASURES]
    there = set(tables[0]["statistic"])
    with style():
        figure = new_figure(PAGE_INCHES, 5.6)
        for ax, measure in zip(figure.subplots(2, 2).flat, MEASURES, strict=True):
            draw_stability(record, model["name"], measure, ax)
        handles = [
            Curve(ESTIMATOR_LOOKS[look], dashes, key).handle(said)
            for key, (look, dashes, said) in STATISTICS.items()
            if key in there
        ]
        legend_above(figure, handles)
        note(figure, as_said(_said(record, model)))
    return Picture(name, figure, pd.concat(tables, ignore_index=True))


def _said(record: Record, model: Mapping[str, Any]) -> str:
    """What is drawn, of how much, and what makes the comparison fair."""
    n = record["definitions"]["n_batches"]
    return (
        f"{label(model['name'])}: correlations between {model['n_classes']:,} classes; lines: mean "
        f"over {n:,} batches drawn from {model['n_images']:,} images; bands: 95 % interval of the "
        "mean (Student t). Solid: as predicted; dashed: of labels. Compare absence with presence "
        "of one source: all uncentred entries share a large part, which makes their error small; r "
        "leaves it out."
    )
