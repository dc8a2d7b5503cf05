"""The text geometry, read back from its artists."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from made_results import notes_of, overlaps, with_gid, without_splits
from matplotlib.figure import Figure

from ccr_diag.errors import BadConfig, BadData
from ccr_diag.figures.geometry import draw_geometry, geometry_pictures
from ccr_diag.figures.style import LOOKS


def test_geometry_rows_show_means_intervals_and_classes(results: dict[str, Any]):
    left, right = draw_geometry(results)
    assert [label.get_text() for label in left.get_yticklabels()] == [
        "zero-shot =\nzero-shot (prior bias)", "BCE", "Ranking =\nRanking (prior bias)",
        "BCE + CCR", "BCE (learned bias)",
    ]  # fmt: skip
    for ax, key, name in ((left, "divergence", "ED"), (right, "preservation", "NP@5")):
        assert ax.get_ylim()[0] > ax.get_ylim()[1]  # first model on top
        for row, i in enumerate((0, 2, 3, 4, 5)):
            model = results["models"][i]
            summary = model["geometry"]["summary"][name]
            point = with_gid(ax, f"{model['name']}/{name}")
            assert point.get_xydata().tolist() == [[summary["value"], row]]
            assert point.get_color() == LOOKS[model["name"]].colour
            strip = with_gid(ax, f"{model['name']}/classes").get_offsets()
            np.testing.assert_array_equal(strip[:, 0], model["splits"][0]["geometry"][key])
            assert np.abs(strip[:, 1] - row).max() <= 0.25
        bars = [c for c in ax.collections if isinstance(c, mpl.collections.LineCollection)]
        bce = results["models"][2]["geometry"]["summary"][name]
        np.testing.assert_allclose(bars[1].get_segments()[0][:, 0], [bce["low"], bce["high"]])


def test_geometry_needs_two_axes(results: dict[str, Any]):
    with pytest.raises(BadConfig) as error:
        draw_geometry(results, [Figure().subplots()])
    assert str(error.value) == "The geometry figure needs two axes (ED, NP@K), but got 1."


def test_geometry_names_a_missing_measure(results: dict[str, Any]):
    del results["models"][0]["geometry"]["summary"]["NP@5"]
    with pytest.raises(BadData) as error:
        draw_geometry(results)
    assert str(error.value) == (
        "The figure needs 'NP@K' in the geometry summary, but the results hold none; "
        "write them anew with 'ccr-diag analyze'."
    )


def test_geometry_table_holds_what_is_drawn(shared_results: dict[str, Any]):
    (picture,) = geometry_pictures(shared_results)
    assert picture.name == "text_geometry"
    assert "Small dots: one a class, first split." in notes_of(picture.figure)
    assert overlaps(picture.figure) == []
    table = picture.table.set_index(["model", "measure"])
    assert len(table) == 5 * 2 * (1 + 86)
    for name, key in (("ED", "divergence"), ("NP@5", "preservation")):
        model = shared_results["models"][4]
        mean, *classes = table.loc[("bce+ccr", name)].to_dict("records")
        assert {end: mean[end] for end in ("value", "low", "high")} == (
            model["geometry"]["summary"][name]
        )
        assert [row["value"] for row in classes] == model["splits"][0]["geometry"][key]
        assert [row["class"] for row in classes] == [of["name"] for of in model["classes"]]
        assert {row["split"] for row in classes} == {1}
    assert set(table.loc["ranking", "same_texts"]) == {"ranking = ranking (prior bias)"}


def test_geometry_leaves_out_models_without_texts_and_says_so(results: dict[str, Any]):
    results["models"][2].update(splits=[], geometry={})
    (picture,) = geometry_pictures(results)
    assert "Without class texts, not shown: BCE." in notes_of(picture.figure)
    assert "bce" not in set(picture.table["model"])
    assert geometry_pictures(without_splits(results)) == []
