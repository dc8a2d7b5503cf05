"""Reliability diagrams of single classes, read back from their artists."""

import copy
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from made_results import filled_bins, notes_of, overlaps, texts_of, with_gid, without_splits
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from ccr_diag.errors import BadConfig, BadData
from ccr_diag.figures.class_reliability import (
    class_order,
    class_reliability_pictures,
    class_reliability_table,
    draw_class_reliability,
)
from ccr_diag.figures.picture import Picture
from ccr_diag.figures.reliability_marks import point_areas
from ccr_diag.figures.style import GROUP_COLOURS, LOOKS, PAGE_INCHES, number

PAGE = 36
ODD_NAMES = (
    "a very long name of a class " * 3,
    "<script> & $x_1$ _of",
    "_under",
    "длинное имя класса " * 5,
    "W" * 80,
    "猫" * 80,
)


def entry(
    name: str = "cat", signed: float | None = 0.25, positive: int = 10, known: int = 40, **more: Any
) -> dict[str, Any]:
    return {
        "name": name,
        "group": "tail",
        "n_known": known,
        "n_positive": positive,
        "metrics": {"signed_error": {"value": signed, "low": None, "high": None}},
        "reliability": filled_bins(np.random.default_rng(3)),
        **more,
    }


def title_of(ax: Axes) -> str:
    return ax.get_title(loc="left")


# one class


def test_a_class_shows_its_bins_and_numbers():
    ax = draw_class_reliability(entry(positive=1_234), look=LOOKS["bce"])
    bins = entry()["reliability"]
    points, band = with_gid(ax, "points"), with_gid(ax, "band")
    np.testing.assert_array_equal(
        points.get_offsets(), np.transpose([bins["confidence"], bins["frequency"]])
    )
    np.testing.assert_allclose(points.get_sizes(), point_areas(bins["count"]))
    assert to_hex(points.get_facecolor()[0]).upper() == LOOKS["bce"].colour
    ends = np.array(band.get_segments())[:, :, 1]
    np.testing.assert_allclose(ends, np.transpose([bins["low"], bins["high"]]))
    assert title_of(ax) == "cat\n+0.250, 1,234 pos."
    assert ax.get_xlim() == ax.get_ylim() == (0, 1)
    assert ax.get_aspect() == 1
    assert to_hex(with_gid(ax, "group").get_color()).upper() == GROUP_COLOURS["tail"]
    assert overlaps(ax.figure) == []


@pytest.mark.parametrize("group", [None, "rare"])
def test_only_groups_with_a_colour_have_a_square(group: str | None):
    ax = draw_class_reliability(entry(group=group))
    assert not [a for a in ax.get_children() if a.get_gid() == "group"]


def test_a_class_without_positives_lies_on_the_ground():
    bins = {"bin": [0, 4], "count": [30, 2], "confidence": [0.01, 0.3], "frequency": [0.0, 0.0],
            "low": [0.0, 0.0], "high": [0.1, 1.0]}  # fmt: skip
    ax = draw_class_reliability(entry(positive=0, reliability=bins))
    np.testing.assert_array_equal(with_gid(ax, "points").get_offsets(), [(0.01, 0), (0.3, 0)])
    assert title_of(ax).endswith("0 pos.")


def test_a_class_of_one_image_has_one_point():
    bins = {"bin": [14], "count": [1], "confidence": [0.97], "frequency": [1.0],
            "low": [0.0], "high": [1.0]}  # fmt: skip
    ax = draw_class_reliability(entry(positive=1, known=1, reliability=bins))
    np.testing.assert_array_equal(with_gid(ax, "points").get_offsets(), [(0.97, 1)])


def test_a_class_without_images_says_so():
    none = {key: [] for key in entry()["reliability"]}
    ax = draw_class_reliability(entry(signed=None, positive=0, known=0, reliability=none))
    assert title_of(ax) == "cat\n–, 0 pos."
    assert "no images" in texts_of(ax.figure)
    assert len(with_gid(ax, "points").get_offsets()) == 0


# the order


def test_classes_stand_in_order_of_signed_error_times_frequency():
    classes = [
        entry("undefined", None, 40),
        entry("rare", 0.9, 1),  # 0.0225
        entry("no images", 0.5, 0, 0),
        entry("under", -0.4, 20),  # 0.2
        entry("few known", 0.1, 2, 4),  # 0.05
        entry("frequent", 0.1, 40),  # 0.1
        entry("never", 0.9, 0),
        entry("tie", -0.1, 40),
    ]
    assert [c["name"] for c in class_order(classes)] == [
        "under", "frequent", "tie", "few known", "rare", "never", "undefined", "no images",
    ]  # fmt: skip


# pages


@pytest.fixture(scope="module")
def many(shared_results: dict[str, Any]) -> dict[str, Any]:
    """One model of 1,203 classes, some of odd names before all others."""
    model = copy.deepcopy(shared_results["models"][2])
    made = model["classes"]
    model["classes"] = [made[i % len(made)] | {"name": f"class {i}"} for i in range(1_203)]
    for i, name in enumerate(ODD_NAMES):
        worst = {"value": 1.0 - 0.1 * i, "low": None, "high": None}
        model["classes"][i] |= {
            "name": name, "n_positive": 399, "metrics": {"signed_error": worst}
        }  # fmt: skip
    return shared_results | {"models": [model]}


@pytest.fixture(scope="module")
def page(many: dict[str, Any]) -> Picture:
    (picture,) = class_reliability_pictures(many)
    return picture


def test_the_first_page_shows_the_classes_that_matter_most(page: Picture, many: dict[str, Any]):
    ordered = class_order(many["models"][0]["classes"])[:PAGE]
    assert page.name == "reliability_classes_bce_1"
    assert len(page.figure.axes) == PAGE
    for ax, shown in zip(page.figure.axes, ordered, strict=True):
        bins = shown["reliability"]
        points = with_gid(ax, "points")
        np.testing.assert_array_equal(points.get_offsets()[:, 1], bins["frequency"])
        signed = number(shown["metrics"]["signed_error"]["value"], "+.3f")
        assert title_of(ax).endswith(f"\n{signed}, {shown['n_positive']} pos.")
    assert "BCE: classes 1–36 of 1,203" in texts_of(page.figure)


def test_long_names_are_shortened_on_the_page_and_whole_in_the_table(page: Picture):
    written = [title_of(ax).split("\n")[0] for ax in page.figure.axes]
    assert written[1].startswith("<script> & \\$x")  # a plain $ would begin a formula
    names = [name.replace("\\$", "$") for name in written]
    for name, shown in zip(ODD_NAMES, names, strict=False):
        kept = shown.strip().removesuffix("…")
        assert name.startswith(kept)
        assert shown.endswith("…") == (kept != name)
    assert list(page.table["class"].unique()[: len(ODD_NAMES)]) == list(ODD_NAMES)


def test_no_text_of_the_page_is_small_or_covers_another(page: Picture):
    assert overlaps(page.figure) == []
    texts = page.figure.findobj(mpl.text.Text)
    assert min(text.get_fontsize() for text in texts if text.get_text().strip()) >= 6


def test_panels_of_the_page_are_square(page: Picture):
    width, height = page.figure.get_size_inches()
    assert width == pytest.approx(PAGE_INCHES)
    assert height < 9.5
    for ax in page.figure.axes:
        box = ax.get_position()
        assert box.width * width == pytest.approx(box.height * height)


def test_the_table_has_a_row_a_bin(page: Picture, many: dict[str, Any]):
    shown = class_order(many["models"][0]["classes"])[:PAGE]
    table = page.table
    assert list(table.columns) == [
        "model", "class", "group", "convention", "split", "n_known", "n_positive", "signed_error",
        "bin", "count", "confidence", "frequency", "low", "high",
    ]  # fmt: skip
    for column in ("bin", "count", "confidence", "frequency", "low", "high"):
        assert list(table[column]) == [v for c in shown for v in c["reliability"][column]]
    assert set(table["split"]) == {1}
    whole = class_reliability_table(many)
    pd.testing.assert_frame_equal(whole[: len(table)], table)
    assert whole["class"].nunique() == 1_203


def test_the_page_says_what_its_marks_mean(page: Picture):
    said = notes_of(page.figure)
    assert "|signed error| × share of positives" in said
    assert "Points: the larger, the more images" in said
    assert "Bins: first split" in said
    (legend,) = page.figure.legends
    keys = [text.get_text() for text in legend.get_texts()]
    assert keys[0] == "95 % of calibrated models"
    assert {"bin of 1", "bin of 100", "head"} <= set(keys)


def test_all_pages_show_every_class(results: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ccr_diag.figures.class_reliability.DOWN", 1)  # six classes a page
    model = results["models"][1]
    model["classes"] = model["classes"][:8]
    results["models"] = [model]
    pictures = class_reliability_pictures(without_splits(results), pages=None)
    assert [p.name for p in pictures] == [
        f"reliability_classes_zero_shot_prior_bias_{i}" for i in (1, 2)
    ]
    assert [len(p.figure.axes) for p in pictures] == [6, 2]
    assert "classes 7–8 of 8" in texts_of(pictures[1].figure)
    assert sum(p.table["class"].nunique() for p in pictures) == 8
    assert "split" not in notes_of(pictures[1].figure)


def test_one_class_of_one_model_draws(results: dict[str, Any]):
    results["models"] = results["models"][:1]
    results["models"][0] |= {"name": "模型", "classes": results["models"][0]["classes"][:1]}
    (picture,) = class_reliability_pictures(results)
    assert picture.name == "reliability_classes_model_1"
    assert len(picture.figure.axes) == 1
    assert overlaps(picture.figure) == []


def test_without_signed_errors_there_are_no_pages(results: dict[str, Any]):
    del results["models"][0]["classes"][5]["metrics"]["signed_error"]
    with pytest.raises(BadData, match="needs 'signed_error' for class 'class 5'"):
        class_reliability_pictures(results)
    for model in results["models"]:
        for one in model["classes"]:
            one["metrics"].pop("signed_error", None)
    assert class_reliability_pictures(results) == []


def test_no_pages_at_all_are_refused(results: dict[str, Any]):
    with pytest.raises(BadConfig) as error:
        class_reliability_pictures(results, pages=0)
    assert str(error.value) == (
        "A model needs at least one page of classes, but got 0; give 1 or more, or none for all."
    )
