"""The modality gap, read back from its artists."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from made_results import with_gid
from matplotlib.colors import to_hex

from ccr_diag.errors import BadConfig
from ccr_diag.figures.modality_gap import draw_modality_gap, modality_gap_page
from ccr_diag.figures.style import LOOKS


def test_gap_draws_images_and_each_distinct_text_space_once(results: dict[str, Any]):
    ax = draw_modality_gap(results)
    images = ax.collections[0]
    np.testing.assert_array_equal(images.get_offsets(), results["image_coordinates"])
    for model in results["models"]:
        if "prior" in model["name"]:
            assert model["name"] not in {artist.get_gid() for artist in ax.collections}
            continue
        points = with_gid(ax, model["name"])
        where = model["splits"][0]["geometry"]["coordinates_text"]
        np.testing.assert_array_equal(points.get_offsets(), where)
        assert to_hex(points.get_edgecolor()[0]).upper() == LOOKS[model["name"]].colour
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    gap = results["models"][0]["geometry"]["summary"]["gap"]["value"]
    assert labels[:2] == ["images", f"zero-shot = zero-shot (prior bias): gap {gap:.3f}"]
    bce = results["models"][2]["geometry"]["summary"]["gap"]
    assert labels[2] == f"BCE: gap {bce['value']:.3f} [{bce['low']:.3f}, {bce['high']:.3f}]"
    assert len(labels) == 6


def test_gap_marks_new_classes_open(results: dict[str, Any]):
    faces = with_gid(draw_modality_gap(results), "bce").get_facecolor()
    opened = [to_hex(face) == "#ffffff" for face in faces]
    assert opened == [entry["group"] == "new" for entry in results["models"][0]["classes"]]


def test_gap_page_has_common_axes_and_leads_from_zero_shot(results: dict[str, Any]):
    figure = modality_gap_page(results)
    assert len(figure.axes) == 5
    limits = {(ax.get_xlim(), ax.get_ylim()) for ax in figure.axes}
    assert len(limits) == 1
    lines = [c for c in figure.axes[1].collections if isinstance(c, mpl.collections.LineCollection)]
    assert len(lines) == 1
    start, end = (results["models"][i]["splits"][0]["geometry"]["coordinates_text"] for i in (0, 2))
    np.testing.assert_array_equal(lines[0].get_segments(), list(zip(start, end, strict=True)))
    assert [ax.get_title().split("\n")[0] for ax in figure.axes] == [
        "zero-shot =", "BCE", "Ranking =", "BCE + CCR", "BCE (learned bias)",
    ]  # fmt: skip


def test_gap_limits_hold_every_point(results: dict[str, Any]):
    ax = modality_gap_page(results).axes[0]
    spaces = [m["splits"][0]["geometry"]["coordinates_text"] for m in results["models"]]
    points = np.concatenate([results["image_coordinates"], *spaces])
    low, high = np.transpose([ax.get_xlim(), ax.get_ylim()])
    assert (points > low).all()
    assert (points < high).all()


def test_gap_refuses_a_model_that_is_not_there(results: dict[str, Any]):
    with pytest.raises(BadConfig) as error:
        draw_modality_gap(results, models=["rankin"])
    assert str(error.value) == (
        "A model to draw must be in the results, but got 'rankin'; did you mean 'ranking'?"
    )
