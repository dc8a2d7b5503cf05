"""Calibration by frequency, read back from its artists."""

from typing import Any

import numpy as np
import pytest
from made_results import GROUPS, MODELS, notes_of, overlaps, with_gid, without_splits

from ccr_diag.errors import BadConfig
from ccr_diag.figures.frequency import (
    draw_frequency,
    frequency_page,
    frequency_pictures,
    headline_errors,
)
from ccr_diag.figures.geometry import geometry_pictures
from ccr_diag.figures.modality_gap import modality_gap_pictures
from ccr_diag.figures.reliability import reliability_pages
from ccr_diag.figures.style import LOOKS, averages


@pytest.mark.parametrize("metric", ["ece_positive", "signed_error", "map"])
def test_frequency_points_are_the_means(results: dict[str, Any], metric: str):
    ax = draw_frequency(results, metric)
    assert [label.get_text() for label in ax.get_xticklabels()] == list(GROUPS)
    middle = (len(MODELS) - 1) / 2
    for i, model in enumerate(results["models"]):
        for position, group in enumerate(GROUPS):
            point = with_gid(ax, f"{model['name']}/{group}")
            ((x, y),) = point.get_xydata()
            assert y == model["groups"][group]["metrics"][metric]["value"]
            assert x == pytest.approx(position + (i - middle) * 0.76 / len(MODELS))
            assert point.get_color() == LOOKS[model["name"]].colour
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == [label for label, _, _ in MODELS.values()]


def test_frequency_bars_are_the_intervals(results: dict[str, Any]):
    ax = draw_frequency(results, "signed_error")
    entry = results["models"][0]["groups"]["head"]["metrics"]["signed_error"]
    segments = [bar.get_segments()[0][:, 1] for bar in ax.collections]
    assert len(segments) == len(MODELS) * len(GROUPS)
    np.testing.assert_allclose(segments[0], [entry["low"], entry["high"]])


def test_frequency_without_intervals_has_no_bars(results: dict[str, Any]):
    for model in results["models"]:
        for pool in model["groups"].values():
            pool["metrics"]["ece_positive"].update(low=None, high=None)
    assert len(draw_frequency(results).collections) == 0


def test_frequency_leaves_out_an_undefined_mean(results: dict[str, Any]):
    entry = results["models"][0]["groups"]["head"]["metrics"]["map"]
    entry.update(value=None, low=None, high=None)
    gids = {line.get_gid() for line in draw_frequency(results, "map").lines}
    assert "zero-shot/head" not in gids
    assert "zero-shot/tail" in gids


def test_signed_error_names_its_sides_around_zero(results: dict[str, Any]):
    ax = draw_frequency(results, "signed_error")
    assert sum(np.array_equal(line.get_ydata(), [0, 0]) for line in ax.lines) == 1
    sides = {text.get_text(): text.get_position()[1] for text in ax.texts}
    assert sides["over-\nconfident"] > sides["under-\nconfident"]
    assert ax.get_ylim()[0] < 0 < ax.get_ylim()[1]


def spread_apart(results: dict[str, Any]) -> None:
    """Every other model errs 95 times as much."""
    for i, model in enumerate(results["models"]):
        for pool in model["groups"].values():
            entry = {"value": 0.01 if i % 2 else 0.95, "low": None, "high": None}
            pool["metrics"].update(ece_positive=entry, signed_error=entry)


def test_error_axes_are_linear_from_0(results: dict[str, Any]):
    del results["models"][2:]
    for errs in (lambda _: None, spread_apart):
        errs(results)
        for metric in ("ece_positive", "ece_decision"):
            ax = draw_frequency(results, metric)
            assert ax.get_yscale() == "linear"
            assert ax.get_ylim()[0] == 0
            marks = [y for line in ax.lines if line.get_gid() for y in line.get_ydata()]
            assert len(marks) == 2 * len(GROUPS)
            assert max(marks) < ax.get_ylim()[1]


def test_what_a_few_models_would_flatten_is_also_enlarged(results: dict[str, Any]):
    spread_apart(results)
    del results["models"][0]  # half of the other six err little
    page = frequency_page(results)
    whole, enlarged, decision, signed, signed_enlarged = page.axes
    assert whole.get_ylim()[1] > 0.95
    assert enlarged.get_ylim() == (0, pytest.approx(0.01 * 1.15))
    assert signed_enlarged.get_ylim()[1] == pytest.approx(0.01 * 1.15)
    assert decision.get_ylabel() == "decision ECE"
    assert signed.get_ylabel().startswith("signed error")
    assert enlarged.get_title("left") == "enlarged (12 of 24 points lie beyond)"
    assert all(line.get_ydata()[0] <= 0.0115 for line in enlarged.lines if line.get_gid())
    assert len([line for line in enlarged.lines if line.get_gid()]) == 12
    assert not any(line.get_clip_on() for line in whole.lines if line.get_gid())
    assert not signed.texts
    assert [text.get_text() for text in signed_enlarged.texts][0] == "over-\nconfident"
    assert not overlaps(page)


def test_the_error_of_the_preset_comes_first(results: dict[str, Any]):
    del results["models"][2:]
    above, below, _ = frequency_page(results).axes
    assert (above.get_ylabel(), below.get_ylabel()) == ("positive ECE", "decision ECE")
    results["definitions"].update(preset="paper", n_bins=10)
    page = frequency_page(results)
    above, below, _ = page.axes
    assert (above.get_ylabel(), below.get_ylabel()) == ("decision ECE", "positive ECE")
    assert "preset paper, 10 bins" in notes_of(page)
    assert draw_frequency(results).get_ylabel() == "decision ECE"
    for model in results["models"]:
        for pool in (model, *model["groups"].values()):
            del pool["metrics"]["ece_positive"]
    assert headline_errors(results) == ["ece_decision"]
    (page, *_) = frequency_pictures(results)
    assert set(page.table["metric"]) == {"ece_decision", "signed_error"}


def test_the_table_holds_what_is_drawn(results: dict[str, Any]):
    del results["models"][2:]
    picture = frequency_pictures(results)[0]
    assert picture.name == "calibration_by_frequency"
    ax = picture.figure.axes[0]
    rows = picture.table.query("metric == 'ece_positive'")
    assert len(rows) == 2 * len(GROUPS)
    for row in rows.itertuples():
        ((_, y),) = with_gid(ax, f"{row.model}/{row.group}").get_xydata()
        assert y == row.value
        entry = results["models"][list(MODELS).index(row.model)]["groups"][row.group]["metrics"]
        assert (row.low, row.high) == (entry["ece_positive"]["low"], entry["ece_positive"]["high"])


def test_without_calibration_errors_there_is_no_picture(results: dict[str, Any]):
    for model in results["models"]:
        for pool in (model, *model["groups"].values()):
            pool["metrics"] = {"map": pool["metrics"]["map"]}
    assert frequency_pictures(results) == []


def test_frequency_refuses_a_metric_that_is_not_there(results: dict[str, Any]):
    with pytest.raises(BadConfig) as error:
        draw_frequency(results, "ece_positiv")
    assert str(error.value) == (
        "The metric to draw must be in the results, but got 'ece_positiv'; "
        "did you mean 'ece_positive'?"
    )


def test_frequency_page_shows_the_metric_above_the_signed_error(results: dict[str, Any]):
    above, below = frequency_page(results, ["map", "signed_error"]).axes
    assert above.get_ylabel() == "mAP"
    assert below.get_ylabel().startswith("signed error")


def test_notes_say_where_the_intervals_are_from(results: dict[str, Any]):
    results["models"] = results["models"][:2]
    entry = results["models"][0]["groups"]["head"]["metrics"]["map"]
    splits = "mean over splits with its 95 % interval (Student t)"
    assert averages(results, [entry]) == splits
    pictures = [geometry_pictures(results)[0].figure, modality_gap_pictures(results)[0].figure]
    assert all(splits in notes_of(page) for page in [frequency_page(results, ["map"]), *pictures])
    assert "means over splits" in notes_of(reliability_pages(results)[0])
    results["models"][0]["splits"] = results["models"][0]["splits"][:1]
    assert averages(results, [entry]) == (
        "mean over splits with its 95 % interval (Student t; of a single split: "
        "bootstrap over images)"
    )
    results["models"][1]["splits"] = results["models"][1]["splits"][:1]
    assert averages(results, [entry]) == "value with its 95 % interval (bootstrap over images)"
    entry.update(low=None, high=None)
    assert averages(results, [entry]) == "value, without interval"
    assert "split" not in notes_of(reliability_pages(results)[0])


def test_an_interval_may_miss_its_point(results: dict[str, Any]):
    del results["models"][1:]
    assert "below its point" not in notes_of(frequency_page(results, ["ece_positive"]))
    entry = results["models"][0]["groups"]["head"]["metrics"]["ece_positive"]
    entry.update(low=0.5 * entry["value"], high=0.9 * entry["value"])
    page = frequency_page(results, ["ece_positive"])
    np.testing.assert_allclose(
        page.axes[0].collections[0].get_segments()[0][:, 1], [entry["low"], entry["high"]]
    )
    assert "it may lie below its point" in notes_of(page)


def test_a_mark_alone_lies_inside_its_axes(results: dict[str, Any]):
    results["models"] = results["models"][:1]
    without_splits(results, groups=False)
    entry = {"value": 0.076, "low": 0.075, "high": 0.077}
    names = ("ece_positive", "ece_decision", "signed_error")
    results["models"][0]["metrics"].update(dict.fromkeys(names, entry))
    for ax in frequency_page(results).axes:
        assert 0.079 < ax.get_ylim()[1] < 0.1
        assert ax.get_yscale() == "linear"
