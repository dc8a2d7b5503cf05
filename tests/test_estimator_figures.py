"""The comparison of estimators, read back from its artists."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from sweep_frames import rows, zero_shot

from ccr_diag.errors import BadData
from ccr_diag.figures.estimators import draw_estimators, estimator_pictures, estimator_table
from ccr_diag.figures.style import ESTIMATOR_LOOKS, LOOKS
from ccr_diag.sweep_table import check_table, summarise

NAMES = ("uncentred", "uncentred_inactive", "centred_inactive", "centred")


def study(values=(1.0, 10.0), splits=(1, 2, 3), rules=("none", "prior"), estimators=NAMES):
    """A table of a sweep as of the estimators; each estimator moves all by its own amount."""
    parts = zero_shot(estimator="centred", splits=splits)
    for rule in rules:
        of = "" if rule == "none" else f" ({rule} bias)"
        about = {"bias": rule, "splits": splits}
        parts += rows(0.0, **about, estimator="centred", run=f"bce{of}", model=f"bce{of}")
        for i, name in enumerate(estimators):

            def valued(split, lambda_, group, metric, i=i):
                return 0.1 * i + lambda_ / 100 + split / 1000 + 0.01 * (group == "new")

            for value in values:
                run = f"{name} {value}{of}"
                about |= {"estimator": name, "run": run, "model": f"bce+ccr{of}"}
                parts += rows(value, **about, valued=valued)
    return check_table(pd.DataFrame(parts), "here")


@pytest.fixture(scope="module")
def table():
    return study()


@pytest.fixture(scope="module")
def page(table):
    (picture,) = estimator_pictures(table)
    return picture


def lines_of(ax):
    return {line.get_gid(): line for line in ax.get_lines() if line.get_gid()}


def said(picture):
    return " ".join(picture.figure._supxlabel.get_text().split())


def test_a_line_an_estimator_and_a_level_without(table):
    ax = draw_estimators(table, "ece_positive", "prior", ("base", "new"))
    drawn = lines_of(ax)
    assert set(drawn) == {
        *(f"{name}/{group}" for name in NAMES for group in ("base", "new")),
        *(f"none/{group}/level" for group in ("base", "new")),
    }
    for name in NAMES:
        runs = table[(table["estimator"] == name) & (table["bias"] == "prior")]
        runs = runs[(runs["metric"] == "ece_positive") & (runs["group"] == "new")]
        means = summarise(runs[runs["regularizer"] == "ccr"], ["lambda"])
        line = drawn[f"{name}/new"]
        assert list(line.get_ydata()) == means["mean"].tolist()
        assert to_hex(line.get_color()).upper() == ESTIMATOR_LOOKS[name].colour
        assert (line.get_linestyle(), to_hex(line.get_markerfacecolor())) == ("--", "#ffffff")
    assert to_hex(drawn["none/base/level"].get_color()).upper() == LOOKS["bce"].colour
    assert ax.get_ylim()[0] == 0
    assert ax.get_xscale() == "log"


def test_looks_of_estimators_are_no_model_s():
    colours = {look.colour for look in ESTIMATOR_LOOKS.values()}
    assert len(colours) == len(ESTIMATOR_LOOKS)
    assert not colours & {look.colour for look in LOOKS.values()}


def test_a_column_a_bias_rule_and_a_row_a_metric(page):
    axes = page.figure.axes
    assert [ax.get_title() for ax in axes] == ["no bias", "prior bias", "", "", "", ""]
    assert [ax.get_ylabel().split("\n")[0] for ax in axes] == [
        "mAP", "", "positive ECE", "", "signed error", "",
    ]  # fmt: skip
    assert [ax.get_xlabel() for ax in axes] == ["", "", "", "", "λ", "λ"]
    legend = [text.get_text() for text in page.figure.legends[0].get_texts()]
    assert legend == [*NAMES, "BCE alone", "base", "new"]
    assert said(page) == (
        "Points: mean over 3 splits; bands, and bars at lone points: 95 % interval (Student t); "
        "level lines: no regularizer. Each panel has its own scale. Test: scenes."
    )


def test_the_table_holds_what_is_drawn(page):
    assert page.name == "estimators"
    assert len(page.table) == 2 * (1 + 2 + 2) * (4 * 2 + 1)
    ax = page.figure.axes[2]
    part = page.table[(page.table["bias"] == "none") & (page.table["metric"] == "ece_positive")]
    for (name, group), means in part.groupby(["estimator", "group"]):
        if name != "none":
            assert list(lines_of(ax)[f"{name}/{group}"].get_ydata()) == means["mean"].tolist()


def test_a_missing_run_is_a_gap_and_said(table):
    gone = (table["estimator"] == "centred") & (table["bias"] == "prior") & (table["lambda"] == 10)
    few = table[~gone & ~((table["run"] == "uncentred 1.0") & (table["split"] == 3))]
    means = estimator_table(few, "map", "prior", ("base",))
    y = means.loc[means["estimator"] == "centred", "mean"].to_numpy()
    assert np.isnan(y).tolist() == [False, True]
    (picture,) = estimator_pictures(few)
    assert said(picture).endswith(
        "Missing, so left out of lines and means: uncentred at λ 1, none bias, split 3; "
        "centred at λ 10, prior bias."
    )


def test_one_split_and_one_lambda_are_points_without_bands():
    (picture,) = estimator_pictures(study(values=(10.0,), splits=(1,), rules=("none",)))
    assert said(picture).startswith("Points: one split, without interval")
    ax = picture.figure.axes[0]
    assert list(lines_of(ax)["centred/base"].get_xdata()) == [10.0]
    below = picture.figure.axes[-1].get_xticklabels()
    assert [tick.get_text() for tick in below] == ["10"]
    assert picture.table["low"].isna().all()


def test_without_several_estimators_there_is_no_page(table):
    assert estimator_pictures(table.drop(columns="estimator")) == []
    assert estimator_pictures(study(estimators=("centred",))) == []
    with pytest.raises(BadData, match="needs map of base with bias 'mean', but the table has none"):
        draw_estimators(table, "map", "mean", ("base",))
