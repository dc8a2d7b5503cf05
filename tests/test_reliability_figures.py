"""Reliability diagrams, read back from their artists."""

from typing import Any

import numpy as np
import pytest
from made_results import (
    BINS_OF_FIVE,
    COLUMNS,
    GROUPS,
    MODELS,
    bars_of,
    diagonals,
    texts_of,
    with_gid,
)
from matplotlib.colors import to_hex

from ccr_diag.errors import BadData
from ccr_diag.figures.reliability import draw_reliability, reliability_pages
from ccr_diag.figures.style import LOOKS, OVER_COLOUR, UNDER_COLOUR


def test_reliability_draws_filled_bins_at_their_place():
    ax = draw_reliability(BINS_OF_FIVE, look=LOOKS["bce"], title="BCE")
    above, histogram = ax.figure.axes
    assert above is ax
    bars = bars_of(ax)
    np.testing.assert_allclose(bars[:3], [(0, 0, 0.05), (0.4, 0, 0.8), (0.6, 0, 0)])
    np.testing.assert_allclose(bars[3:], [(0, 0.05, 0), (0.4, 0.8, -0.3), (0.6, 0, 0.7)])
    np.testing.assert_allclose([(x, h) for x, _, h in bars_of(histogram)],
                               [(0, 1000), (0.4, 10), (0.6, 1)])  # fmt: skip
    assert histogram.get_yscale() == "log"
    assert histogram.get_ylim()[0] < 1  # one count shows
    assert diagonals(ax) == 1
    assert ax.get_title() == "BCE"
    band, points = ax.collections
    np.testing.assert_allclose(points.get_offsets(), [(0.05, 0.05), (0.5, 0.8), (0.7, 0.0)])
    assert to_hex(points.get_facecolor()[0]).upper() == LOOKS["bce"].colour
    assert band.get_gid() == "band"


def test_reliability_shows_what_calibrated_models_would():
    band = with_gid(draw_reliability(BINS_OF_FIVE), "band")
    np.testing.assert_allclose(
        band.get_segments(),
        [[(0.05, 0.03), (0.05, 0.06)], [(0.5, 0.2), (0.5, 0.8)], [(0.7, 0.0), (0.7, 1.0)]],
    )
    assert band.get_capstyle() == "butt"  # other caps would lengthen it


def test_reliability_shades_the_sign_of_the_gap():
    ax = draw_reliability(BINS_OF_FIVE)
    under, over = ax.patches[4], ax.patches[5]
    assert to_hex(under.get_facecolor()).upper() == UNDER_COLOUR
    assert to_hex(over.get_facecolor()).upper() == OVER_COLOUR


def test_reliability_shows_the_other_splits_as_points():
    other = {"count": [0, 0, 0, 0, 4], "confidence": [None] * 4 + [0.9],
             "frequency": [None] * 4 + [0.6]}  # fmt: skip
    ax = draw_reliability(BINS_OF_FIVE, splits=[other])
    _, small, large = ax.collections
    np.testing.assert_allclose(small.get_offsets(), [(0.9, 0.6)])
    assert small.get_sizes()[0] < large.get_sizes()[0]


def test_reliability_of_no_data_is_empty_but_drawn():
    ax = draw_reliability({"count": [0, 0], **dict.fromkeys(COLUMNS, [None, None])})
    assert [bars_of(part) for part in ax.figure.axes] == [[], []]
    assert diagonals(ax) == 1


def test_reliability_pages_have_a_panel_for_each_model_and_group(results: dict[str, Any]):
    pages = reliability_pages(results)
    assert [len(page.axes) for page in pages] == [2 * 4 * 4, 2 * 3 * 4]
    diagrams = [ax for page in pages for ax in page.axes if diagonals(ax)]
    assert len(diagrams) == len(MODELS) * len(GROUPS)
    for page, part in zip(pages, (results["models"][:4], results["models"][4:]), strict=True):
        said = texts_of(page)
        for model in part:
            rule = model["map_rule"]
            assert model["label"] in said
            assert f"(bias rule: {rule})" in said or f"({rule} bias)" in said
            for group in GROUPS:
                metrics = model["groups"][group]["metrics"]
                signed = f"{metrics['signed_error']['value']:+z.3f}".replace("-", "−")
                ece = f"{metrics['ece_positive']['value']:.3f}"
                assert f"{group}\nECE {ece}   signed {signed}" in said


def test_reliability_pages_show_the_first_split_large_and_the_others_small(results: dict[str, Any]):
    results["models"] = results["models"][:1]
    (page,) = reliability_pages(results)
    tables = [
        split["groups"]["tail"]["reliability"]["positive"]
        for split in results["models"][0]["splits"]
    ]
    *small, large = (c for c in page.axes[2].collections if c.get_gid() != "band")
    for points, table in zip([large, *small], tables, strict=True):
        filled = [y for y, count in zip(table["frequency"], table["count"], strict=True) if count]
        np.testing.assert_array_equal(points.get_offsets()[:, 1], filled)


def test_reliability_pages_leave_out_groups_without_classes(results: dict[str, Any]):
    for model in results["models"]:
        for part in (model, *model["splits"]):
            del part["groups"]["medium"]
    pages = reliability_pages(results)
    assert [len(page.axes) for page in pages] == [2 * 4 * 3, 2 * 3 * 3]
    assert "medium" not in texts_of(pages[0])


def test_an_undefined_number_is_a_dash(results: dict[str, Any]):
    metrics = results["models"][0]["groups"]["tail"]["metrics"]
    metrics["ece_positive"]["value"] = None
    metrics["signed_error"]["value"] = float("nan")
    assert "tail\nECE –   signed –" in texts_of(reliability_pages(results)[0])


def test_reliability_pages_name_what_is_missing(results: dict[str, Any]):
    del results["models"][2]["groups"]["tail"]["metrics"]["signed_error"]
    with pytest.raises(BadData) as error:
        reliability_pages(results)
    assert str(error.value) == (
        "The figure needs 'signed_error' for model 'bce', group 'tail', but the results hold "
        "'ece_positive', 'map'; write them anew with 'ccr-diag analyze'."
    )
