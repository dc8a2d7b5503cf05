"""Runs of a sweep → the methods that the paper compares, and what tells them apart.

A method is a column of the paper's tables, a framework with its settings a row:

zero-shot  untuned
plain      BCE alone
DAC        plain, with the calibrator ``dac``
DOR, CCR   BCE with the regularizer
"""

import numpy as np
import pandas as pd

from ccr_diag.errors import BadData
from ccr_diag.grids import PARTS
from ccr_diag.records import label
from ccr_diag.report_sweep import setting_said
from ccr_diag.sweep_table import UNCALIBRATED, ZERO_SHOT, identity, summarise

BCE = "bce"
METHODS = {
    "plain": ("none", UNCALIBRATED),
    "DAC": ("none", "dac"),
    "DOR": ("dor", UNCALIBRATED),
    "CCR": ("ccr", UNCALIBRATED),
}
"""Method → regularizer and calibrator."""

PLACE = ["data", "test_split"]
ACCURACY = "accuracy_elementwise"
"""Its harmonic mean of base and new classes is formed here, run by run."""

OF_REGULARIZER = {name.rstrip("_") for part in PARTS.values() for name in part}
"""Settings that say nothing of a run without a regularizer."""
_NO_SETTINGS = (
    *("model", "framework", "loss", "regularizer", "calibrator", "method"),
    *("preset", "n_bins", *PLACE),
)


def runs_of_methods(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of BCE in the paper's methods, with a column ``method``, and of zero-shot.

    Args:
        frame: of ``sweep_table.read_table``.
    """
    method = pd.Series("", index=frame.index, dtype=object)
    for name, (regularizer, calibrator) in METHODS.items():
        tuned = (frame["loss"] == BCE) & (frame["regularizer"] == regularizer)
        method[tuned & (frame["calibrator"] == calibrator)] = name
    untuned = (frame["framework"] == ZERO_SHOT) & (frame["calibrator"] == UNCALIBRATED)
    method[untuned] = ZERO_SHOT
    return frame.assign(method=method)[method != ""]


def means_of_methods(runs: pd.DataFrame) -> pd.DataFrame:
    """Means over splits, labelled.

    Args:
        runs: of ``runs_of_methods``.

    Returns:
        The columns of ``summarise``, and ``row``, the framework with those of its settings that
        differ within a method, and ``column``, the method with those of its regularizer.

    Raises:
        BadData: runs that no column tells apart.
    """
    means = summarise(runs, identity(runs))
    common = [name for name in settings_of(means) if name not in OF_REGULARIZER]
    added = [name for name in settings_of(means) if name in OF_REGULARIZER]
    labelled = means.assign(
        row=_labels(means, "framework", common), column=_labels(means, "method", added)
    )
    _check_told_apart(labelled[labelled["method"] != ZERO_SHOT])
    return labelled


def _check_told_apart(means: pd.DataFrame) -> None:
    """Refuse two kinds of runs for one cell."""
    cell = ["row", "column", *PLACE, "metric", "group"]
    twice = means[means.duplicated(cell)]
    if len(twice):
        row = twice.iloc[0]
        models = means.loc[(means[cell] == row[cell]).all(axis=1), "model"].unique()
        raise BadData(
            f"A cell of the paper's tables is of one kind of run, but {row['column']} of "
            f"{row['row']} has several that no setting tells apart, of model "
            f"{' and '.join(map(repr, models))}; leave one of them out."
        )


def settings_of(means: pd.DataFrame) -> list[str]:
    """Columns of settings, which the name of a method does not tell."""
    found = ("row", "column", "mean", "sd", "low", "high", "n")
    return [name for name in identity(means) if name not in (*_NO_SETTINGS, *found)]


def _labels(means: pd.DataFrame, of: str, settings: list[str]) -> "pd.Series[str]":
    """“CoOp, bias prior” or “CCR, λ 10”: with settings that differ within a method's runs."""
    said = means[of].map({name: _named(name) for name in means[of].unique()})
    for _, part in means.groupby(of, sort=False):
        several = part.groupby(["framework", "method", *PLACE])[settings].nunique() > 1
        for setting in several.columns[several.any()]:
            said[part.index] += ", " + part[setting].map(lambda v, s=setting: setting_said(s, v))
    return said


def _named(name: str) -> str:
    return name if name in (*METHODS, ZERO_SHOT) else label(name)


def _zero_shot_of(row: pd.DataFrame, untuned: pd.DataFrame) -> pd.DataFrame:
    """The zero-shot means that go with a row: of its settings, as far as any are.

    A learned bias is not zero-shot's; beside it stands the prior one.

    Args:
        row: means of one row and place.
        untuned: means of zero-shot at that place.

    Returns:
        Of one kind of run; empty where several fit.
    """
    settings = [name for name in settings_of(untuned) if name not in OF_REGULARIZER]
    for name in settings:
        same = untuned[untuned[name] == row[name].iloc[0]]
        if name == "bias" and same.empty:
            same = untuned[untuned[name] == "prior"]
        untuned = untuned if same.empty else same
    return untuned if len(untuned[settings].drop_duplicates()) == 1 else untuned[:0]


def with_zero_shot(means: pd.DataFrame) -> pd.DataFrame:
    """The means of tuned runs, and beside each row the zero-shot ones that go with it."""
    untuned = means[means["method"] == ZERO_SHOT]
    tuned = means[means["method"] != ZERO_SHOT]
    parts = [tuned]
    for (label_, *place), row in tuned.groupby(["row", *PLACE], sort=False):
        there = untuned[(untuned[PLACE] == place).all(axis=1)]
        parts.append(_zero_shot_of(row, there).assign(row=str(label_)))
    return pd.concat(parts, ignore_index=True)


def with_harmonic_accuracy(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows, and of each run the harmonic mean of accuracy over base and new classes."""
    parts = frame[(frame["metric"] == ACCURACY)]
    shared = [name for name in frame.columns if name not in ("group", "value")]
    base, new = (parts[parts["group"] == group] for group in ("base", "new"))
    both = base.merge(new.drop(columns="group"), on=shared, suffixes=("", "_new"))
    sums = both["value"] + both["value_new"]
    both["value"] = (2 * both["value"] * both["value_new"] / sums).where(sums > 0, np.nan)
    made = both.drop(columns="value_new").assign(group="all", metric=f"{ACCURACY}_harmonic")
    return pd.concat([frame, made], ignore_index=True)
