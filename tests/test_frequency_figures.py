"""Calibration by frequency, read back from its artists."""

from typing import Any

import numpy as np
import pytest
from made_results import GROUPS, MODELS, notes_of, with_gid, without_splits

from ccr_diag.errors import BadConfig
from ccr_diag.figures.frequency import draw_frequency, frequency_page
from ccr_diag.figures.geometry import geometry_page
from ccr_diag.figures.modality_gap import modality_gap_page
from ccr_diag.figures.reliability import reliability_pages
from ccr_diag.figures.style import LOOKS


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


def test_axes_turn_logarithmic_where_a_linear_one_would_hide_models(results: dict[str, Any]):
    assert draw_frequency(results).get_yscale() == "linear"
    for i, model in enumerate(results["models"]):
        for pool in model["groups"].values():
            entry = {"value": 0.01 if i % 2 else 0.95, "low": None, "high": None}
            pool["metrics"].update(ece_positive=entry, signed_error=entry)
    ece, signed = frequency_page(results).axes
    assert (ece.get_yscale(), signed.get_yscale()) == ("log", "symlog")
    assert ece.get_ylabel() == "positive ECE, log scale"
    for ax in (ece, signed):
        low, high = ax.get_ylim()
        assert low < 0.01 < 0.95 < high


def test_frequency_refuses_a_metric_that_is_not_there(results: dict[str, Any]):
    with pytest.raises(BadConfig) as error:
        draw_frequency(results, "ece_positiv")
    assert str(error.value) == (
        "The metric to draw must be in the results, but got 'ece_positiv'; "
        "did you mean 'ece_positive'?"
    )


def test_frequency_page_shows_the_metric_above_the_signed_error(results: dict[str, Any]):
    above, below = frequency_page(results, "map").axes
    assert above.get_ylabel() == "mAP"
    assert below.get_ylabel().startswith("signed error")


def test_notes_say_where_the_intervals_are_from(results: dict[str, Any]):
    results["models"] = results["models"][:2]
    splits = "mean over splits with its 95 % interval (Student t)"
    assert splits in notes_of(frequency_page(results))
    assert splits in notes_of(geometry_page(results))
    assert splits in notes_of(modality_gap_page(results))
    assert "means over splits" in notes_of(reliability_pages(results)[0])
    results["models"][0]["splits"] = results["models"][0]["splits"][:1]
    assert "(Student t; of a single split: bootstrap over images)" in notes_of(
        frequency_page(results)
    )
    for model in results["models"]:
        model["splits"] = model["splits"][:1]
        for entry in model["geometry"]["summary"].values():
            entry.update(low=None, high=None)
    assert "value with its 95 % interval (bootstrap over images)" in notes_of(
        frequency_page(results)
    )
    assert "value, without interval" in notes_of(geometry_page(results))
    assert "value, without interval" in notes_of(modality_gap_page(results))
    pages = [frequency_page, geometry_page, modality_gap_page, lambda r: reliability_pages(r)[0]]
    assert not any("split" in notes_of(page(results)) for page in pages)


def test_an_interval_may_miss_its_point(results: dict[str, Any]):
    assert "below its point" not in notes_of(frequency_page(results))
    entry = results["models"][0]["groups"]["head"]["metrics"]["ece_positive"]
    entry.update(low=0.5 * entry["value"], high=0.9 * entry["value"])
    page = frequency_page(results)
    np.testing.assert_allclose(
        page.axes[0].collections[0].get_segments()[0][:, 1], [entry["low"], entry["high"]]
    )
    assert "it may lie below its point" in notes_of(page)


def test_a_mark_alone_lies_inside_its_axes(results: dict[str, Any]):
    results["models"] = results["models"][:1]
    without_splits(results, groups=False)
    entry = {"value": 0.076, "low": 0.075, "high": 0.077}
    results["models"][0]["metrics"].update(ece_positive=entry, signed_error=entry)
    for ax in frequency_page(results).axes:
        assert 0.079 < ax.get_ylim()[1] < 0.1
        assert ax.get_yscale() == "linear"
