"""All figures of a results file, read back from their artists."""

import copy
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from made_results import (
    BINS_OF_FIVE,
    MODELS,
    diagonals,
    overlaps,
    texts_of,
    with_gid,
    without_splits,
)
from matplotlib.figure import Figure

from ccr_diag.errors import BadConfig, BadData
from ccr_diag.figures.frequency import LABELS, draw_frequency, frequency_page
from ccr_diag.figures.gallery import all_figures, draw_all
from ccr_diag.figures.geometry import draw_geometry
from ccr_diag.figures.modality_gap import draw_modality_gap
from ccr_diag.figures.reliability import draw_reliability, reliability_pages
from ccr_diag.figures.style import LOOKS, model_looks, number, style
from ccr_diag.metrics import METRICS as REGISTRY

FIGURES = (
    "modality_gap",
    "reliability_by_group_1",
    "reliability_by_group_2",
    "calibration_by_frequency",
    "text_geometry",
)


# results of ``analyze predictions``: no splits, no geometry, any groups


def test_results_without_splits_give_the_calibration_figures_alone(results: dict[str, Any]):
    figures = all_figures(without_splits(results))
    assert list(figures) == [
        "reliability_by_group_1", "reliability_by_group_2", "calibration_by_frequency",
    ]  # fmt: skip
    diagram = figures["reliability_by_group_1"].subfigs[0].axes[0]
    (large,) = [c for c in diagram.collections if c.get_gid() != "band"]
    table = results["models"][0]["groups"]["head"]["reliability"]["positive"]
    filled = [i for i, count in enumerate(table["count"]) if count]
    np.testing.assert_array_equal(
        large.get_offsets(), [(table["confidence"][i], table["frequency"][i]) for i in filled]
    )


def test_without_groups_all_classes_are_one(results: dict[str, Any]):
    without_splits(results, groups=False)
    (page,) = reliability_pages(results)
    assert sum(map(diagonals, page.axes)) == len(MODELS)
    entry = results["models"][1]["metrics"]
    assert (
        f"zero-shot (prior bias)\nECE {entry['ece_positive']['value']:.3f}   signed "
        f"{number(entry['signed_error']['value'], '+z.3f')}"
    ) in texts_of(page)
    ax = draw_frequency(results)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["all classes"]
    assert with_gid(ax, "bce/all").get_ydata() == [
        results["models"][2]["metrics"]["ece_positive"]["value"]
    ]
    assert "training frequency" not in texts_of(frequency_page(results))


def test_base_is_not_drawn_and_groups_of_other_names_are(results: dict[str, Any]):
    for model in results["models"]:
        of = model["groups"]
        model["groups"] = {"rare": of["head"], "base": of["tail"], "tail": of["tail"]}
    without_splits(results)
    ax = draw_frequency(results)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["tail", "rare"]
    assert "training frequency" not in texts_of(frequency_page(results))


def test_many_groups_are_spread_over_pages(results: dict[str, Any]):
    results["models"] = results["models"][:5]
    for model in results["models"]:
        model["groups"] = {f"group {i}": model["groups"]["head"] for i in range(9)}
    pages = reliability_pages(without_splits(results))
    assert [len(page.axes) for page in pages] == [2 * 3 * 3] * 3 + [2 * 2 * 3] * 3
    assert [f"group {i}" in texts_of(pages[i // 3]) for i in range(9)] == [True] * 9
    assert overlaps(pages[0]) == []


@pytest.mark.parametrize("name", ["_run_$1$_of_$x^{$", "averylongfilename_" * 3])
def test_a_file_name_is_shown_as_it_is(results: dict[str, Any], name: str):
    results["models"] = results["models"][:2]
    results["models"][0].update(name=name, label=name)
    for pools in (True, False):
        figures = all_figures(without_splits(copy.deepcopy(results), groups=pools))
        for figure in figures.values():
            assert overlaps(figure) == []
            said = texts_of(figure).replace("\n", "").replace("\\$", "$")
            assert name in said
    (legend,) = figures["calibration_by_frequency"].legends
    assert len(legend.get_texts()) == 2


def test_results_without_texts_are_refused_by_the_figures_of_texts(results: dict[str, Any]):
    with_images = results["image_coordinates"]
    without_splits(results)
    rule = "they come with the results of 'ccr-diag analyze checkpoint'."
    with pytest.raises(BadData) as error:
        draw_modality_gap(results)
    assert str(error.value) == (
        f"The figure needs 'image_coordinates', but the results hold none; {rule}"
    )
    results["image_coordinates"] = with_images
    for draw in (draw_modality_gap, draw_geometry):
        with pytest.raises(BadData) as error:
            draw(results)
        assert str(error.value) == (
            "The figure needs the class texts of model 'zero-shot', "
            f"but the results hold none; {rule}"
        )


def test_the_gap_alone_needs_image_points(results: dict[str, Any]):
    results["models"] = results["models"][:1]
    del results["image_coordinates"]
    assert {"modality_gap", "text_geometry"} & set(all_figures(results)) == {"text_geometry"}


def test_nothing_to_draw_is_refused(results: dict[str, Any], tmp_path: Path):
    without_splits(results)
    for model in results["models"]:
        for pool in (model, *model["groups"].values()):
            del pool["metrics"]["ece_positive"]
    with pytest.raises(BadData) as error:
        draw_all(results, tmp_path / "figures")
    assert str(error.value) == (
        "Figures need calibration errors or the text geometry, but the results hold neither; "
        "write them anew with 'ccr-diag analyze'."
    )
    assert not (tmp_path / "figures").exists()


def test_every_metric_has_a_label_of_its_own():
    assert set(LABELS) == set(REGISTRY)
    assert len(set(LABELS.values())) == len(LABELS)


def test_the_axes_passed_in_are_drawn_on(results: dict[str, Any]):
    figure = Figure()
    a, b, c, d, e = figure.subplots(1, 5)
    assert draw_modality_gap(results, a) is a
    assert draw_reliability(BINS_OF_FIVE, b) is b
    assert draw_frequency(results, "map", c) is c
    assert draw_geometry(results, [d, e]) == (d, e)
    assert all(ax.has_data() for ax in figure.axes)
    assert [child.get_ylabel() for child in b.child_axes] == ["count"]
    assert figure.axes == [a, b, c, d, e]


def test_known_models_keep_their_colour_whatever_else_is_there():
    names = list(MODELS)
    looks = model_looks(["something new", *reversed(names), "asl"])
    assert {name: looks[name] for name in names} == {name: LOOKS[name] for name in names}
    assert len({look.colour for look in looks.values()}) == len(looks)


def test_looks_of_many_unknown_models_differ():
    looks = model_looks([f"model {i}" for i in range(32)])
    assert len(set(looks.values())) == 32


def test_nothing_global_is_changed(results: dict[str, Any], tmp_path: Path):
    before = dict(mpl.rcParams)
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - that global state is what is tested
    results["models"] = results["models"][:2]
    draw_all(results, tmp_path, ("png",))
    assert dict(mpl.rcParams) == before
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert plt.get_fignums() == []
    with style():
        assert dict(mpl.rcParams) != before


def test_results_are_not_changed(results: dict[str, Any], shared_results: dict[str, Any]):
    all_figures(results)
    assert results == shared_results


@pytest.fixture(scope="module")
def figures(shared_results: dict[str, Any]) -> dict[str, Figure]:
    return all_figures(shared_results)


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_covers_another_or_leaves_the_page(figures: dict[str, Figure], name: str):
    assert overlaps(figures[name]) == []


def test_no_text_of_a_lone_axes_covers_another_or_leaves_the_page(shared_results: dict[str, Any]):
    axes = [
        draw_modality_gap(shared_results),
        draw_frequency(shared_results, "signed_error"),
        draw_frequency(shared_results, "map"),
        draw_geometry(shared_results)[0],
        draw_reliability(BINS_OF_FIVE, title="BCE"),
    ]
    assert [overlaps(ax.figure) for ax in axes] == [[]] * len(axes)


def test_the_overlap_check_finds_an_overlap():
    figure = Figure()
    figure.text(0.5, 0.5, "one")
    figure.text(0.51, 0.5, "two")
    figure.text(0.99, 0.9, "leaves the page")
    assert overlaps(figure) == [("leaves the page", "page"), ("one", "two")]


def test_draw_all_writes_every_figure_in_every_format(results: dict[str, Any], tmp_path: Path):
    results["models"] = results["models"][:5]  # still two pages of reliability diagrams
    written = draw_all(results, tmp_path / "new" / "figures", ("png", "svg", "pdf"))
    assert [path.name for path in written] == [
        f"{name}.{ending}" for name in FIGURES for ending in ("png", "svg", "pdf")
    ]
    starts = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}
    assert all(path.read_bytes().startswith(starts[path.suffix]) for path in written)
    assert sorted(written) == sorted((tmp_path / "new" / "figures").iterdir())


def test_draw_all_refuses_an_unknown_format(results: dict[str, Any], tmp_path: Path):
    with pytest.raises(BadConfig) as error:
        draw_all(results, tmp_path / "figures", ("png", "gif"))
    assert str(error.value) == "A figure format must be one of png, svg, pdf, but got 'gif'."
    assert not (tmp_path / "figures").exists()


def test_a_mean_bias_keeps_the_methods_colour_unless_the_plain_method_is_there_too():
    assert model_looks(["bce (mean bias)"])["bce (mean bias)"] == LOOKS["bce"]
    both = model_looks(["bce", "bce (mean bias)"])
    assert both["bce"] == LOOKS["bce"] != both["bce (mean bias)"]
