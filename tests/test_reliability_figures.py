"""Reliability diagrams, read back from their artists."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from made_results import (
    BINS_OF_FIVE,
    COLUMNS,
    GROUPS,
    diagonals,
    notes_of,
    overlaps,
    texts_of,
    with_gid,
    without_splits,
)
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from ccr_diag.errors import BadData
from ccr_diag.figures.picture import Picture
from ccr_diag.figures.reliability import (
    reliability_pages,
    reliability_pictures,
    reliability_table,
)
from ccr_diag.figures.reliability_diagram import (
    draw_log_reliability,
    draw_reliability,
    log_start,
)
from ccr_diag.figures.reliability_marks import count_keys, filled, point_areas
from ccr_diag.figures.style import (
    LOOKS,
    OVER_COLOUR,
    PAGE_INCHES,
    UNDER_COLOUR,
    number,
)

ECE = {"positive": "ece_positive", "decision": "ece_decision", "mass_positive": "ece_positive"}
NAMES = {"positive": "positive", "decision": "decision", "mass_positive": "log"}


def bins(*rows: tuple[float, ...]) -> dict[str, list[Any]]:
    """Bins of (count, confidence, frequency, low, high); an empty one is (0,)."""
    return {
        "count": [row[0] for row in rows],
        **{key: [row[i + 1] if row[0] else None for row in rows] for i, key in enumerate(COLUMNS)},
    }


def offsets(ax: Axes, gid: str = "points") -> np.ndarray:
    return np.asarray(with_gid(ax, gid).get_offsets())


def histogram_of(ax: Axes) -> Axes:
    (child,) = ax.child_axes
    return child


# one diagram


def test_filled_bins_stand_at_their_place():
    ax = draw_reliability(BINS_OF_FIVE, look=LOOKS["bce"], title="BCE")
    np.testing.assert_allclose(offsets(ax), [(0.05, 0.05), (0.5, 0.8), (0.7, 0.0)])
    assert to_hex(with_gid(ax, "points").get_facecolor()[0]).upper() == LOOKS["bce"].colour
    assert diagonals(ax) == 1
    assert ax.get_title() == "BCE"
    assert overlaps(ax.figure) == []


def test_counts_stand_below_on_a_log_axis_that_shows_one():
    histogram = histogram_of(draw_reliability(BINS_OF_FIVE))
    (steps,) = histogram.patches
    counts, edges, bottom = steps.get_data()
    np.testing.assert_allclose(edges, np.linspace(0, 1, 6))
    assert list(np.where(counts > bottom, counts, 0)) == BINS_OF_FIVE["count"]
    assert histogram.get_yscale() == "log"
    low, high = histogram.get_ylim()
    assert low < 1 < 1000 < high
    assert [label.get_text() for label in histogram.get_yticklabels()] == ["1", "1k"]


def test_counts_of_several_diagrams_can_share_their_axis():
    histogram = histogram_of(draw_reliability(BINS_OF_FIVE, most=250_000))
    assert histogram.get_ylim()[1] > 250_000
    assert [label.get_text() for label in histogram.get_yticklabels()] == ["1", "100k"]


def test_gaps_reach_from_frequency_to_confidence_and_show_their_sign():
    gaps = with_gid(draw_reliability(BINS_OF_FIVE), "gap")
    boxes = [path.get_extents().extents for path in gaps.get_paths()]
    np.testing.assert_allclose(
        boxes, [(0, 0.05, 0.2, 0.05), (0.4, 0.5, 0.6, 0.8), (0.6, 0, 0.8, 0.7)]
    )
    colours = [to_hex(colour).upper() for colour in gaps.get_facecolor()]
    assert colours[1:] == [UNDER_COLOUR, OVER_COLOUR]


def test_the_band_shows_what_calibrated_models_would():
    band = with_gid(draw_reliability(BINS_OF_FIVE), "band")
    np.testing.assert_allclose(
        band.get_segments(),
        [[(0.05, 0.03), (0.05, 0.06)], [(0.5, 0.2), (0.5, 0.8)], [(0.7, 0.0), (0.7, 1.0)]],
    )
    assert band.get_capstyle() == "butt"  # other caps would lengthen it


def test_the_band_holds_the_diagonal_even_where_one_count_is_all_but_certain():
    sure = bins((4200, 4.8e-6, 0.0, 0.0, 0.0), (1, 0.98, 1.0, 1.0, 1.0))
    for draw in (draw_reliability, draw_log_reliability):
        for (x, low), (_, high) in with_gid(draw(sure), "band").get_segments():
            assert low <= x <= high
    segments = with_gid(draw_reliability(sure), "band").get_segments()
    np.testing.assert_allclose(segments[1], [(0.98, 0.98), (0.98, 1.0)])


def test_points_grow_with_the_count_and_stay_legible():
    areas = with_gid(draw_reliability(BINS_OF_FIVE), "points").get_sizes()
    assert areas[0] > areas[1] > areas[2]  # 1000, 10, 1
    wide = point_areas([1, 2, 10, 1_000, 10**7])
    assert (np.diff(wide) > 0).all()
    assert wide[0] ** 0.5 > 2  # points across
    assert wide[-1] ** 0.5 < 7
    assert set(areas) == set(point_areas([1000, 10, 1]))


def test_the_key_says_the_size_of_counts():
    keys = count_keys([0, 3, 20, 61_000])
    assert [key.get_label() for key in keys] == ["bin of 1", "bin of 100", "bin of 10,000"]
    sizes = [key.get_markersize() ** 2 for key in keys]
    np.testing.assert_allclose(sizes, point_areas([1, 100, 10_000]))
    assert count_keys([0, 0]) == []


def test_other_splits_are_faint_points_without_bands():
    other = bins((0,), (0,), (0,), (0,), (4, 0.9, 0.6, 0.3, 1.0))
    ax = draw_reliability(BINS_OF_FIVE, splits=[other])
    np.testing.assert_allclose(offsets(ax, "points of another split"), [(0.9, 0.6)])
    faint, clear = (with_gid(ax, gid) for gid in ("points of another split", "points"))
    assert faint.get_alpha() < clear.get_alpha()
    assert len(with_gid(ax, "band").get_segments()) == 3


def test_a_diagram_of_no_data_is_empty_but_drawn():
    nothing = bins((0,), (0,))
    for draw in (draw_reliability, draw_log_reliability):
        ax = draw(nothing)
        assert len(offsets(ax)) == 0
        assert len(ax.lines) == 1


def test_decisions_start_at_a_half_on_both_axes():
    some = bins(*[(0,)] * 3, (5, 0.55, 0.2, 0.3, 0.9), (50, 0.9, 0.95, 0.8, 1.0))
    ax = draw_reliability(some, start=0.5)
    assert ax.get_xlim() == ax.get_ylim() == histogram_of(ax).get_xlim() == (0.5, 1)
    assert ax.get_aspect() == 1
    np.testing.assert_allclose(offsets(ax), [(0.9, 0.95)])
    arrow = with_gid(ax, "frequency below")
    np.testing.assert_allclose(arrow.get_offsets(), [(0.55, 0.5)])
    assert to_hex(arrow.get_facecolor()[0]) == "#ffffff"
    np.testing.assert_allclose(with_gid(ax, "band").get_segments()[0], [(0.55, 0.5), (0.55, 0.9)])


# logarithmic axes


LOW_BINS = bins(
    (1000, 3e-6, 0.0, 0.0, 0.001),
    (1000, 5e-6, 0.002, 0.0, 0.002),
    (1000, 0.003, 0.0, 0.001, 0.006),
    (1000, 0.2, 0.1, 0.18, 0.22),
)


def test_log_axes_are_square_and_equal():
    ax = draw_log_reliability(LOW_BINS)
    assert ax.get_xscale() == ax.get_yscale() == "log"
    assert ax.get_xlim() == ax.get_ylim() == (1e-4, 1)
    assert ax.get_aspect() == 1
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [(1e-4, 1e-4), (1, 1)])
    assert overlaps(ax.figure) == []


def test_log_axes_show_zero_as_an_open_arrow_at_the_edge():
    ax = draw_log_reliability(LOW_BINS)
    np.testing.assert_allclose(offsets(ax), [(0.2, 0.1)])
    np.testing.assert_allclose(offsets(ax, "frequency below"), [(1e-4, 1e-4), (0.003, 1e-4)])
    np.testing.assert_allclose(offsets(ax, "confidence below"), [(1e-4, 1e-4), (1e-4, 0.002)])
    for gid in ("frequency below", "confidence below"):
        assert to_hex(with_gid(ax, gid).get_facecolor()[0]) == "#ffffff"
    np.testing.assert_allclose(
        with_gid(ax, "band").get_segments()[2], [(0.003, 0.001), (0.003, 0.006)]
    )


@pytest.mark.parametrize(
    ("largest", "start"), [(0, 0.1), (1, 0.1), (9, 0.1), (10, 0.01), (17_200, 1e-5)]
)
def test_log_axes_start_below_one_positive_in_the_largest_bin(largest: int, start: float):
    assert log_start([{"count": [0, largest]}, {"count": [0]}]) == pytest.approx(start)


def test_log_ticks_are_plain_numbers():
    ax = draw_log_reliability(LOW_BINS, start=1e-6)
    ax.figure.draw_without_rendering()
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "0.01", "1e−4"]


# pages


@pytest.fixture(scope="module")
def one_model(shared_results: dict[str, Any]) -> dict[str, Any]:
    """One model of three splits."""
    return shared_results | {"models": shared_results["models"][1:2]}


@pytest.fixture(scope="module")
def pictures(one_model: dict[str, Any]) -> dict[str, Picture]:
    return {picture.name: picture for picture in reliability_pictures(one_model)}


@pytest.fixture(scope="module")
def pages(shared_results: dict[str, Any]) -> list[Figure]:
    """Of five models."""
    return reliability_pages(shared_results | {"models": shared_results["models"][:5]})


def diagrams(figure: Figure) -> list[Axes]:
    return [ax for ax in figure.axes if any(c.get_gid() == "points" for c in ax.collections)]


def test_pages_have_a_panel_for_each_model_and_group(
    pages: list[Figure], shared_results: dict[str, Any]
):
    assert [len(diagrams(page)) for page in pages] == [3 * 5, 2 * 5]
    models = shared_results["models"]
    for page, part in zip(pages, (models[:3], models[3:5]), strict=True):
        said = texts_of(page)
        for model in part:
            rule = model["map_rule"]
            assert model["label"] in said
            assert f"(bias rule: {rule})" in said or f"({rule} bias)" in said


@pytest.mark.parametrize("convention", ECE)
def test_panels_print_the_error_of_their_convention(
    convention: str, pictures: dict[str, Picture], one_model: dict[str, Any]
):
    said = texts_of(pictures[f"reliability_{NAMES[convention]}_1"].figure)
    model = one_model["models"][0]
    for group, pool in {"all classes": model, **model["groups"]}.items():
        ece = number(pool["metrics"][ECE[convention]]["value"], ".3f")
        signed = number(pool["metrics"]["signed_error"]["value"], "+z.3f")
        assert f"{group}\nECE {ece}   signed {signed}" in said


@pytest.mark.parametrize("convention", ECE)
def test_panels_are_square_and_equal(convention: str, pictures: dict[str, Picture]):
    figure = pictures[f"reliability_{NAMES[convention]}_1"].figure
    panels = diagrams(figure)
    assert len(panels) == 1 + len(GROUPS)
    width, height = figure.get_size_inches()
    assert width == pytest.approx(PAGE_INCHES)
    for ax in panels:
        assert ax.get_position().width * width == pytest.approx(ax.get_position().height * height)
        assert ax.get_xlim() == ax.get_ylim()
    assert len({ax.get_xlim() for ax in panels}) == 1


@pytest.mark.parametrize("convention", ECE)
def test_no_text_of_a_page_is_small_or_covers_another(
    convention: str, pictures: dict[str, Picture]
):
    figure = pictures[f"reliability_{NAMES[convention]}_1"].figure
    assert overlaps(figure) == []
    sizes = [t.get_fontsize() for t in figure.findobj(mpl.text.Text) if t.get_text().strip()]
    assert min(sizes) >= 6


def test_all_counts_of_a_page_share_their_axis(pictures: dict[str, Picture]):
    axes = [ax for ax in pictures["reliability_positive_1"].figure.axes if ax.patches]
    assert len(axes) == 1 + len(GROUPS)
    assert len({ax.get_ylim() for ax in axes}) == 1


def test_pages_say_what_their_marks_mean(pictures: dict[str, Picture]):
    notes = {name: notes_of(picture.figure) for name, picture in pictures.items()}
    assert all("Points: the larger, the more entries" in note for note in notes.values())
    assert all("faint points: other splits" in note for note in notes.values())
    assert "▽: frequency 0" in notes["reliability_log_1"]
    assert "▽: below 0.5" in notes["reliability_decision_1"]


@pytest.mark.parametrize("convention", ECE)
def test_tables_hold_what_the_marks_show(
    convention: str, pictures: dict[str, Picture], one_model: dict[str, Any]
):
    picture = pictures[f"reliability_{NAMES[convention]}_1"]
    table = picture.table
    assert list(table.columns[:4]) == ["model", "group", "convention", "split"]
    assert set(table["convention"]) == {convention}
    start = {"decision": 0.5, "mass_positive": diagrams(picture.figure)[0].get_xlim()[0]}
    low = start.get(convention, 0.0)
    for ax, group in zip(diagrams(picture.figure), ("all", *GROUPS), strict=True):
        rows = table[(table["group"] == group) & (table["split"] == 1)]
        drawn = [c for c in ax.collections if c.get_gid() in ("points", "frequency below")]
        marks = np.concatenate([c.get_offsets() for c in drawn])
        where = rows[["confidence", "frequency"]].clip(lower=low).to_numpy()
        np.testing.assert_allclose(sorted(map(tuple, marks)), sorted(map(tuple, where)))
        model = one_model["models"][0]
        pool = model if group == "all" else model["groups"][group]
        kept = pool["reliability"][convention]
        np.testing.assert_array_equal(rows["low"], [kept["low"][i] for i in rows["bin"]])
        assert rows["count"].sum() == sum(kept["count"])
        for (x, bottom), (_, top) in with_gid(ax, "band").get_segments():
            assert bottom <= x <= top
    pd.testing.assert_frame_equal(table, reliability_table(one_model, convention))


def test_the_first_split_is_clear_and_the_others_faint(
    pictures: dict[str, Picture], one_model: dict[str, Any]
):
    ax = diagrams(pictures["reliability_positive_1"].figure)[3]
    splits = [
        filled(split["groups"]["tail"]["reliability"]["positive"])["frequency"]
        for split in one_model["models"][0]["splits"]
    ]
    faint = [c for c in ax.collections if c.get_gid() == "points of another split"]
    for points, frequency in zip([with_gid(ax, "points"), *faint], splits, strict=True):
        np.testing.assert_array_equal(points.get_offsets()[:, 1], frequency)


def test_groups_without_classes_are_left_out_with_a_note(results: dict[str, Any]):
    results["models"] = results["models"][:1]
    for part in (results["models"][0], *results["models"][0]["splits"]):
        del part["groups"]["medium"]
    (page,) = reliability_pages(results)
    assert len(diagrams(page)) == 4
    assert "Without classes: medium." in notes_of(page)


def test_a_model_that_lacks_a_group_says_so(results: dict[str, Any]):
    results["models"] = results["models"][:2]
    for part in (results["models"][0], *results["models"][0]["splits"]):
        del part["groups"]["tail"]
    (page,) = reliability_pages(results)
    assert len(diagrams(page)) == 9
    assert "tail\nno classes" in texts_of(page)


def test_without_groups_models_stand_across(results: dict[str, Any]):
    results["models"] = results["models"][:3]
    (page,) = reliability_pages(without_splits(results, groups=False), "decision")
    assert len(diagrams(page)) == 3
    assert overlaps(page) == []
    assert "split" not in notes_of(page)
    assert set(reliability_table(results)["group"]) == {"all"}
    assert reliability_table(results)["split"].isna().all()


def test_an_undefined_number_is_a_dash(results: dict[str, Any]):
    results["models"] = results["models"][:1]
    metrics = results["models"][0]["groups"]["tail"]["metrics"]
    metrics["ece_positive"]["value"] = None
    metrics["signed_error"]["value"] = float("nan")
    assert "tail\nECE –   signed –" in texts_of(reliability_pages(results)[0])


def test_pages_name_what_is_missing(results: dict[str, Any]):
    del results["models"][2]["groups"]["tail"]["metrics"]["signed_error"]
    with pytest.raises(BadData) as error:
        reliability_pages(results)
    assert str(error.value) == (
        "The figure needs 'signed_error' for model 'bce', group 'tail', but the results hold "
        "'ece_positive', 'ece_decision', 'map'; write them anew with 'ccr-diag analyze'."
    )


def test_a_convention_without_its_error_is_left_out(results: dict[str, Any]):
    results["models"] = results["models"][:1]
    for pool in (results["models"][0], *results["models"][0]["groups"].values()):
        del pool["metrics"]["ece_positive"]
    assert [p.name for p in reliability_pictures(results)] == ["reliability_decision_1"]
    for pool in (results["models"][0], *results["models"][0]["groups"].values()):
        del pool["metrics"]["signed_error"]
    assert reliability_pictures(results) == []


def test_many_groups_are_spread_over_pages(results: dict[str, Any]):
    results["models"] = results["models"][:1]
    head = results["models"][0]["groups"]["head"]
    results["models"][0]["groups"] = {f"group {i}": head for i in range(6)}
    pages = reliability_pages(without_splits(results))
    assert [len(diagrams(page)) for page in pages] == [4, 3]
    assert [f"group {i}" in texts_of(pages[i > 2]) for i in range(6)] == [True] * 6


def test_names_of_models_are_shown_as_they_are(results: dict[str, Any]):
    names = ("_run_$1$_of_$x^{$", "averylongfilename_" * 4, "<b> & модель")
    results["models"] = results["models"][: len(names)]
    for model, name in zip(results["models"], names, strict=True):
        model["label"] = name
        for part in (model, *model["splits"]):
            part["groups"] = {"head": part["groups"]["head"]}
    (down,) = reliability_pages(results)
    (across,) = reliability_pages(without_splits(results, groups=False))
    assert overlaps(down) == overlaps(across) == []
    said = [texts_of(page).replace("\n", "").replace("\\$", "$") for page in (down, across)]
    assert all(name in said[1] for name in names)
    assert all(name in said[0] for name in (names[0], names[1][:30], names[2]))
    assert "…  (bias rule: prior)" in said[0]  # a page of two panels has no room for all of it


def test_the_axes_passed_in_are_drawn_on():
    figure = Figure()
    a, b = figure.subplots(1, 2)
    assert draw_reliability(BINS_OF_FIVE, a) is a
    assert draw_log_reliability(LOW_BINS, b) is b
    assert figure.axes == [a, b]
    assert histogram_of(a).get_ylabel() == "count"
