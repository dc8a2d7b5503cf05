"""Logs of runs → one table → curves, read back from their artists."""

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from ccr_diag.config import FinetuneConfig
from ccr_diag.errors import BadConfig, BadData
from ccr_diag.figures.style import LOOKS
from ccr_diag.figures.training import draw_training, training_pictures, training_table
from ccr_diag.metrics.intervals import over_splits
from ccr_diag.runs import CONFIG, DONE, LOG
from ccr_diag.training_curves import COLUMNS, read_training

EPOCHS = 3


def write_run(folder, seeds=(1, 2), epochs=EPOCHS, np_from=1, done=True, **changes):
    """A run folder of made-up numbers, another for each seed and epoch."""
    for seed in seeds:
        split = folder / f"split-{seed}"
        split.mkdir(parents=True)
        config = FinetuneConfig(seed=seed, epochs=EPOCHS, **changes)
        (split / CONFIG).write_text(config.to_toml())
        lines = [
            {
                "epoch": epoch,
                "loss": 1 / (epoch + seed),
                "regularizer": 0.01 * epoch * seed,
                "dead": 0.0,
                "rate": 0.1,
                "bias": -3.0,
            }
            | ({"NP@5": 1 - 0.1 * epoch * seed} if epoch >= np_from else {})
            for epoch in range(1, epochs + 1)
        ]
        (split / LOG).write_text("".join(json.dumps(line) + "\n" for line in lines))
        if done:
            (split / DONE).touch()
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs")
    return [
        write_run(place / "bce", bias="mean"),
        write_run(place / "ranking", loss="ranking", bias="mean"),
        write_run(place / "ccr", regularizer="ccr", lambda_=10.0, bias="mean"),
    ]


@pytest.fixture(scope="module")
def curves(folders):
    return read_training(folders)


@pytest.fixture(scope="module")
def page(curves):
    (picture,) = training_pictures(curves)
    return picture


def lines_of(ax):
    return {line.get_gid(): line for line in ax.get_lines() if line.get_gid()}


def test_a_row_an_epoch(curves, folders):
    assert tuple(curves.columns) == COLUMNS
    assert len(curves) == 3 * 2 * EPOCHS
    row = curves[(curves["run"] == str(folders[2])) & (curves["split"] == 2)].iloc[1]
    assert (row["model"], row["lambda"], row["epoch"]) == ("bce+ccr (mean bias)", 10.0, 2)
    assert (row["loss"], row["regularizer"], row["NP@5"]) == (0.25, 0.04, 0.6)
    assert set(curves.loc[curves["added"] == "none", "lambda"]) == {0.0}


def test_a_folder_of_one_split_is_a_run(folders, curves):
    one = read_training([folders[0] / "split-2"])
    assert one["split"].tolist() == [2] * EPOCHS
    figure = training_pictures(one)[0].figure
    assert "one split, without interval" in figure._supxlabel.get_text()
    assert list(lines_of(figure.axes[0])) == [str(folders[0] / "split-2")]


def test_lines_are_means_over_splits_above_a_thin_line_each(curves, folders):
    ax = draw_training(curves, "λ × regularizer")
    run = str(folders[2])
    drawn = lines_of(ax)
    assert set(drawn) == {run, f"{run}/1", f"{run}/2"}
    assert drawn[run].get_ydata() == pytest.approx([0.15, 0.3, 0.45])
    assert drawn[f"{run}/2"].get_ydata() == pytest.approx([0.2, 0.4, 0.6])
    assert to_hex(drawn[run].get_color()).upper() == LOOKS["bce+ccr (mean bias)"].colour
    expected = over_splits([0.2, 0.4])
    assert training_table(curves, "λ × regularizer").loc[1, "low"] == pytest.approx(expected.low)
    vertices = {tuple(point) for point in np.round(ax.collections[0].get_paths()[0].vertices, 9)}
    assert (2.0, round(expected.low, 9)) in vertices
    assert (2.0, round(expected.high, 9)) in vertices


def test_the_page_has_a_panel_a_kind_of_loss(page, folders):
    shown = [ax.get_ylabel().split("\n")[0] for ax in page.figure.axes]
    assert shown == ["BCE loss", "Ranking loss", "λ × regularizer", "NP@5, share of the 5"]
    runs = [{gid for gid in lines_of(ax) if "/split" not in gid} for ax in page.figure.axes]
    bce, ranking, ccr = map(str, folders)
    means = [{gid for gid in panel if gid in (bce, ranking, ccr)} for panel in runs]
    assert means == [{bce, ccr}, {ranking}, {ccr}, {bce, ranking, ccr}]
    assert page.figure.axes[3].get_ylim()[0] == 0
    legend = [text.get_text() for text in page.figure.legends[0].get_texts()]
    assert legend == ["BCE (mean bias)", "Ranking (mean bias)", "BCE + CCR (mean bias)"]
    assert "Missing" not in page.figure._supxlabel.get_text()


def test_the_table_holds_every_mean_and_the_value_of_every_split(page):
    assert len(page.table) == (2 + 1 + 1 + 3) * EPOCHS * (1 + 2)
    assert page.name == "training_curves"
    table = page.table.fillna({"split": 0})  # 0: a mean
    for ax, (_, part) in zip(page.figure.axes, table.groupby("term", sort=False), strict=True):
        drawn = lines_of(ax)
        for (run, split), rows in part.groupby(["run", "split"]):
            line = drawn[f"{run}/{split}" if split else run]
            assert list(line.get_ydata()) == rows["mean"].tolist()


def test_older_logs_have_a_gap_that_is_said(tmp_path):
    curves = read_training([write_run(tmp_path / "a", np_from=3)])
    ax = draw_training(curves, "NP@5")
    np.testing.assert_allclose(
        lines_of(ax)[str(tmp_path / "a")].get_ydata(), [np.nan, np.nan, 0.55]
    )
    figure = training_pictures(curves)[0].figure
    said = " ".join(figure._supxlabel.get_text().split())
    assert "Missing, so left out of lines and means: BCE, NP@5 of epochs that were" in said
    none = read_training([write_run(tmp_path / "b", np_from=9)])
    assert len(training_pictures(none)[0].figure.axes) == 1
    with pytest.raises(BadConfig, match="must be one of bce loss, but got 'NP@5'"):
        draw_training(none, "NP@5")


def test_a_missing_split_and_an_unfinished_run_are_said(tmp_path):
    whole = write_run(tmp_path / "a")
    part = write_run(tmp_path / "b", seeds=(1,), epochs=2, done=False, loss="ranking")
    figure = training_pictures(read_training([whole, part]))[0].figure
    said = " ".join(figure._supxlabel.get_text().split())
    assert "Ranking, split 2" in said


def test_runs_of_one_model_are_told_apart_by_their_folders(tmp_path):
    names = ["first", "_second_$x$_" + "n" * 80]
    curves = read_training([write_run(tmp_path / name) for name in names])
    figure = training_pictures(curves)[0].figure
    figure.draw_without_rendering()
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[0] == f"BCE [{tmp_path / 'first'}]"
    colours = {line.get_color() for line in lines_of(figure.axes[0]).values()}
    assert len(colours) == 2


def test_many_runs_take_several_pages(curves):
    parts = [curves.assign(run=f"{i}", model=f"m{i}") for i in range(9)]
    assert [p.name for p in training_pictures(pd.concat(parts))] == [
        "training_curves_1",
        "training_curves_2",
    ]


@pytest.mark.parametrize(
    ("keep", "done", "text"),
    [([0, 2], False, "from 1 to 2, but .* has 1, 3"), ([0, 1], True, "from 1 to 3, but .* 1, 2;")],
)
def test_missing_lines_are_refused(tmp_path, keep, done, text):
    run = write_run(tmp_path / "run", seeds=(1,), done=done)
    log = run / "split-1" / LOG
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[i] for i in keep))
    with pytest.raises(BadData, match=text):
        read_training([run])


def test_what_is_no_run_or_no_comparison_is_refused(tmp_path, folders):
    with pytest.raises(BadData, match=r"holds no config.toml"):
        read_training([tmp_path])
    with pytest.raises(BadData, match="at least one run"):
        read_training([])
    with pytest.raises(BadData, match="given twice"):
        read_training([folders[0], folders[0]])
    other = write_run(tmp_path / "other", data="coco:there")
    with pytest.raises(BadData, match="the same data, but .* 'scenes' and .* 'coco:there'"):
        read_training([folders[0], other])
    mixed = write_run(tmp_path / "mixed", seeds=(1,))
    write_run(mixed, seeds=(2,), loss="ranking")
    with pytest.raises(BadData, match="differ in their seed alone"):
        read_training([mixed])
