"""Signed error of each class against its frequency, ED and NP@K, read back from the artists."""

import math
import time
from typing import Any

import numpy as np
import pytest
from made_results import CLASSES, GROUPS, MODELS, fake_results, notes_of, overlaps, with_gid
from matplotlib.figure import Figure

from ccr_diag.associations import FREQUENCY, associations
from ccr_diag.errors import BadData
from ccr_diag.figures.association import (
    association_pictures,
    association_table,
    draw_association,
)
from ccr_diag.figures.class_scatter import draw_scatter, scatter_pages, scatter_table, trend_said
from ccr_diag.figures.frequency import frequency_pictures
from ccr_diag.figures.picture import Picture
from ccr_diag.figures.point_labels import LETTERS, label_points, short
from ccr_diag.figures.style import GROUP_COLOURS, new_axes
from ccr_diag.results import Results

DRAWN = ("zero-shot", "bce", "bce+ccr")


@pytest.fixture(scope="module")
def pages() -> dict[str, Picture]:
    """All pages of some models."""
    results = fake_results()
    results["models"] = [model for model in results["models"] if model["name"] in DRAWN]
    found = [*scatter_pages(results, FREQUENCY), *association_pictures(results)]
    return {picture.name: picture for picture in found}


def dots(ax: Any, model: str) -> np.ndarray:
    """All dots, in the order of the groups."""
    return np.concatenate([with_gid(ax, f"{model}/{group}").get_offsets() for group in GROUPS])


@pytest.mark.parametrize("quantity", ["ED", "NP@5"])
def test_a_dot_a_class_at_its_values(shared_results: Results, quantity: str):
    model = shared_results["models"][2]
    ax = draw_association(shared_results, "bce", quantity)
    error = [entry["metrics"]["signed_error"]["value"] for entry in model["classes"]]
    x = model["associations"][quantity]["x"]
    np.testing.assert_allclose(dots(ax, "bce"), np.stack([x, error], axis=1))
    for group in GROUPS:
        colour = with_gid(ax, f"bce/{group}").get_facecolor()[0]
        (bars,) = {tuple(c[:3]) for c in with_gid(ax, f"bce/{group}/intervals").get_colors()}
        assert tuple(colour[:3]) == bars
    assert len({GROUP_COLOURS[group] for group in GROUPS}) == 4
    bar = with_gid(ax, "bce/head/intervals").get_segments()[1]
    entry = model["classes"][1]["metrics"]["signed_error"]
    np.testing.assert_allclose(bar, [[x[1], entry["low"]], [x[1], entry["high"]]])


def test_the_line_and_its_band_are_those_of_the_record(shared_results: Results):
    fit = shared_results["models"][2]["associations"]["ED"]["fit"]
    ax = draw_association(shared_results, "bce")
    np.testing.assert_allclose(
        with_gid(ax, "line").get_xydata(), np.transpose([fit["x"], fit["y"]])
    )
    corners = {tuple(point) for point in with_gid(ax, "band").get_paths()[0].vertices}
    edges = np.transpose([2 * fit["x"], fit["low"] + fit["high"]])
    assert corners == {tuple(point) for point in edges}


def test_the_never_supervised_stand_apart_at_the_left(shared_results: Results):
    ax = draw_scatter(shared_results, "bce", FREQUENCY)
    there = np.concatenate(
        [with_gid(ax, f"bce/{group}").get_offsets()[:, 0] for group in ("head", "medium", "tail")]
    )
    counts = [entry["n_training"] for entry in shared_results["models"][2]["classes"][:66]]
    np.testing.assert_allclose(there, np.log10(counts))
    new = with_gid(ax, "bce/new").get_offsets()[:, 0]
    (edge,) = (line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == ":")
    assert new.max() < edge < there.min()
    names = [label.get_text() for label in ax.get_xticklabels()]
    assert names[0] == "new"
    assert new.min() < ax.get_xticks()[0] < new.max()
    for place, name in list(zip(ax.get_xticks(), names, strict=True))[1:]:
        assert place == pytest.approx(math.log10(float(name)))
    assert with_gid(ax, "line").get_xdata()[0] == pytest.approx(there.min())


def test_pages_have_a_panel_a_model_and_nothing_overlaps(pages: dict[str, Picture]):
    assert list(pages) == [
        "signed_error_by_training_images",
        "signed_error_by_ed",
        "signed_error_by_np",
    ]
    for picture in pages.values():
        axes = picture.figure.axes
        titles = [ax.get_title("left").split("\n")[0] for ax in axes]
        assert titles == [MODELS[name][0] for name in DRAWN]
        assert not overlaps(picture.figure)
        for ax in axes:
            low, high = ax.get_ylim()
            assert low < 0 < high
        keys = [text.get_text() for text in picture.figure.legends[0].get_texts()]
        assert keys == list(GROUPS)


def test_the_farthest_classes_are_named(pages: dict[str, Picture]):
    picture = pages["signed_error_by_ed"]
    for ax, name in zip(picture.figure.axes, DRAWN, strict=True):
        rows = picture.table[picture.table["model"] == name].sort_values("signed_error")
        ends = [*rows["class"][:2], *rows["class"][-2:]]
        named = [text.get_text() for text in ax.texts if text.get_text()]
        assert len(named) >= 2
        assert set(named) <= set(ends)


def test_names_cover_neither_dots_nor_each_other():
    ax = new_axes()
    rng = np.random.default_rng(0)
    xy = rng.uniform(0, 1, (40, 2))
    ax.scatter(*xy.T)
    ax.figure.draw_without_rendering()
    texts = label_points(ax, [(x, y, f"class {i}") for i, (x, y) in enumerate(xy)])
    assert len(texts) > 5
    boxes = [text.get_window_extent() for text in texts]
    pixels = ax.transData.transform(xy)
    for i, box in enumerate(boxes):
        assert not any(box.contains(*pixel) for pixel in pixels)
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
        assert ax.bbox.contains(box.x0, box.y0)
        assert ax.bbox.contains(box.x1, box.y1)


def test_a_name_hides_as_little_of_lines_as_it_can():
    ax = new_axes()
    ax.scatter([0.1], [0.5])
    ax.set(xlim=(0, 1), ylim=(0, 1))
    ax.axhline(0.5)
    ax.axvline(0.2)  # no place is clear of it
    ax.figure.draw_without_rendering()
    (text,) = label_points(ax, [(0.1, 0.5, "a name of a class")])
    box = text.get_window_extent()
    (zero,) = ax.transData.transform([(0.0, 0.5)])
    assert not box.y0 < zero[1] < box.y1


def test_the_strip_holds_classes_of_old_groups_too(results: dict[str, Any]):
    model = results["models"][2]
    model["classes"][0]["n_training"] = 0
    model["classes"][1]["metrics"]["signed_error"] = {"value": None, "low": None, "high": None}
    model["associations"] = associations(model)
    ax = draw_scatter(results, "bce", FREQUENCY)
    assert ax.get_xticklabels()[0].get_text() == "new, 0"


def test_long_names_are_cut():
    assert short("x" * LETTERS) == "x" * LETTERS
    assert short("y" * 80) == "y" * (LETTERS - 1) + "…"


def test_titles_and_note_say_what_the_record_says(
    pages: dict[str, Picture], shared_results: Results
):
    picture = pages["signed_error_by_ed"]
    r = shared_results["models"][2]["associations"]["ED"]["fit"]["pearson"]
    said = f"r = {r['value']:.2f} [{r['low']:.2f}, {r['high']:.2f}]".replace("-", "−")
    assert picture.figure.axes[1].get_title("left").split("\n")[1] == said
    assert "own vertical scale" in notes_of(picture.figure)
    models = shared_results["models"]
    fits = {m["label"]: m["associations"]["ED"]["fit"]["pearson"] for m in models}
    clear = {name for name, r in fits.items() if r["low"] > 0 or r["high"] < 0}
    unclear = trend_said(models, "ED").split("no clear trend")[-1]
    assert {name for name in fits if name not in clear and name in unclear} == set(fits) - clear
    over = {name: notes_of(page.figure) for name, page in pages.items()}
    assert "over the classes with training images" in over["signed_error_by_training_images"]
    assert "least squares over the classes, with" in over["signed_error_by_ed"]


def test_the_note_names_the_way(results: dict[str, Any]):
    models = results["models"][2:5]
    ends = [(0.5, 0.1, 0.8), (-0.5, -0.8, -0.1), (0.1, -0.3, 0.4)]
    for model, (value, low, high) in zip(models, ends, strict=True):
        model["associations"]["ED"]["fit"]["pearson"].update(value=value, low=low, high=high)
    assert trend_said(models, "ED") == (
        "With higher ED: more over-confident in BCE; less over-confident in Ranking; "
        "no clear trend in BCE + CCR."
    )
    models[0]["associations"]["ED"]["fit"]["pearson"].update(value=None, low=None, high=None)
    assert trend_said(models[:1], "ED") == ""


def test_tables_hold_every_class(shared_results: Results):
    table = association_table(shared_results, "NP@5")
    assert len(table) == len(MODELS) * CLASSES
    model = shared_results["models"][3]
    rows = table.query("model == 'ranking'")
    assert rows["NP@5"].tolist() == model["associations"]["NP@5"]["x"]
    assert rows["slope"].nunique() == 1
    assert rows["slope"].iloc[0] == model["associations"]["NP@5"]["fit"]["slope"]
    entries = [entry["metrics"]["signed_error"] for entry in model["classes"]]
    for column, key in {"signed_error": "value", "signed_error_high": "high"}.items():
        assert rows[column].tolist() == [entry[key] for entry in entries]
    assert scatter_table(shared_results, FREQUENCY)[FREQUENCY].isna().sum() == 20 * len(MODELS)


def test_without_numbers_there_is_no_page(results: dict[str, Any]):
    del results["models"][:2], results["models"][1:]
    for model in results["models"]:
        del model["associations"]["ED"], model["associations"]["NP@5"]
    assert association_pictures(results) == []
    assert [picture.name for picture in frequency_pictures(results)][1:] == [
        "signed_error_by_training_images"
    ]
    with pytest.raises(BadData, match="needs 'associations' with 'ED' of model 'bce'"):
        draw_association(results, "bce")
    for model in results["models"]:
        del model["associations"]
    assert len(frequency_pictures(results)) == 1
    with pytest.raises(BadData, match="write them anew"):
        draw_scatter(results, "nobody", FREQUENCY)


def with_classes(results: dict[str, Any], n: int, name: str) -> dict[str, Any]:
    """One model of that many classes."""
    model = results["models"][2]
    model["classes"] = [
        model["classes"][i % CLASSES]
        | {"name": f"{name}{i}", "group": GROUPS[i % 4] if n > 1 else None}
        for i in range(n)
    ]
    for split in model["splits"]:
        for key in ("divergence", "preservation"):
            values = split["geometry"][key]
            split["geometry"][key] = [values[i % CLASSES] for i in range(n)]
    results["models"] = [model]
    model["associations"] = associations(model)
    return results


def drawn(figure: Figure) -> None:
    assert not overlaps(figure)


def test_one_class_draws(results: dict[str, Any]):
    with_classes(results, 1, "$lone_<&>")
    pictures = [*association_pictures(results), *scatter_pages(results, FREQUENCY)]
    assert len(pictures) == 3
    for picture in pictures:
        assert "no line" in picture.figure.axes[0].get_title("left")
        drawn(picture.figure)


def test_many_classes_of_long_names_draw_in_time(results: dict[str, Any]):
    with_classes(results, 1203, "自転車 and a very long name of a class that goes on and on " * 2)
    start = time.process_time()
    (picture,) = scatter_pages(results, FREQUENCY)
    assert time.process_time() - start < 2
    sizes = [len(with_gid(picture.figure.axes[0], f"bce/{g}").get_offsets()) for g in GROUPS]
    assert sum(sizes) == 1203
    drawn(picture.figure)


def test_more_models_than_a_page_holds(results: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ccr_diag.figures.class_scatter.PANELS", 2)
    results["models"] = results["models"][:3]
    for model in results["models"]:
        model["label"] = "a label of many words that goes on " * 3
    first, second = scatter_pages(results, "ED")
    drawn(first.figure)
    assert (first.name, second.name) == ("signed_error_by_ed_1", "signed_error_by_ed_2")
    assert (len(first.figure.axes), len(second.figure.axes)) == (2, 1)
    assert set(second.table["model"]) == {"bce"}
    drawn(second.figure)


def test_without_errors_there_is_a_line_but_no_correlation(results: dict[str, Any]):
    model = results["models"][2]
    for entry in model["classes"]:
        entry["metrics"]["signed_error"] = {"value": 0.0, "low": 0.0, "high": 0.0}
    model["associations"] = associations(model)
    results["models"] = [model]
    (page,) = scatter_pages(results, "ED")
    assert page.figure.axes[0].get_title("left") == "BCE\nno r: errors alike"


def test_a_class_without_error_has_no_dot(results: dict[str, Any]):
    entry = results["models"][2]["classes"][0]
    entry["metrics"]["signed_error"] = {"value": None, "low": None, "high": None}
    ax = draw_association(results, "bce")
    assert len(dots(ax, "bce")) == CLASSES - 1
