"""The modality gap, read back from its artists."""

import copy
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_results import notes_of, overlaps, texts_of, with_gid, without_splits
from matplotlib.colors import to_hex

from ccr_diag.errors import BadConfig, BadData
from ccr_diag.figures.modality_gap import draw_modality_gap, modality_gap_pictures
from ccr_diag.figures.picture import Picture
from ccr_diag.figures.style import LOOKS

SPACES = ["zero-shot", "bce", "ranking", "bce+ccr", "bce (learned bias)"]


@pytest.fixture(scope="module")
def pictures(shared_results: dict[str, Any]) -> dict[str, Picture]:
    return {picture.name: picture for picture in modality_gap_pictures(shared_results)}


def coordinates(results: dict[str, Any], name: str) -> list[list[float]]:
    (model,) = (model for model in results["models"] if model["name"] == name)
    found: list[list[float]] = model["splits"][0]["geometry"]["coordinates_text"]
    return found


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


def test_gap_panels_have_common_axes_and_name_their_gap(shared_results, pictures):
    assert list(pictures) == ["modality_gap", "modality_gap_moves"]
    for picture in pictures.values():
        axes = picture.figure.axes
        assert len({(ax.get_xlim(), ax.get_ylim()) for ax in axes}) == 1
        assert [ax.get_title().split("\n")[0] for ax in axes] == [
            "zero-shot =", "BCE", "Ranking =", "BCE + CCR", "BCE (learned bias)",
        ]  # fmt: skip
        gap = shared_results["models"][2]["geometry"]["summary"]["gap"]
        assert axes[1].get_title().split("\n")[1:] == [
            f"gap {gap['value']:.3f}", f"[{gap['low']:.3f}, {gap['high']:.3f}]",
        ]  # fmt: skip
        assert {ax.get_aspect() for ax in axes} == {1.0}
        assert overlaps(picture.figure) == []


def test_each_text_is_joined_with_the_mean_of_its_own_images(shared_results, pictures):
    images = shared_results["class_image_coordinates"]
    for ax, name in zip(pictures["modality_gap"].figure.axes, SPACES, strict=True):
        segments = with_gid(ax, "pairs").get_segments()
        assert images[-1] is None  # no image shows the last class
        np.testing.assert_array_equal(
            segments,
            list(zip(coordinates(shared_results, name)[:-1], images[:-1], strict=True)),
        )
        np.testing.assert_array_equal(with_gid(ax, "class image means").get_offsets(), images[:-1])


def test_the_gap_leads_from_the_mean_image_to_the_mean_text(shared_results, pictures):
    image = np.mean(shared_results["image_coordinates"], axis=0)
    for ax, name in zip(pictures["modality_gap"].figure.axes, SPACES, strict=True):
        text = np.mean(coordinates(shared_results, name), axis=0)
        np.testing.assert_allclose(with_gid(ax, "gap").get_xydata(), [image, text])
    said = notes_of(pictures["modality_gap"].figure)
    assert "in all dimensions" in said
    assert "in this plane it is shorter" in said


def test_moves_lead_from_zero_shot(shared_results, pictures):
    start = coordinates(shared_results, "zero-shot")
    first, *others = pictures["modality_gap_moves"].figure.axes
    assert "moves" not in {artist.get_gid() for artist in first.get_children()}
    for ax, name in zip(others, SPACES[1:], strict=True):
        moves = with_gid(ax, "moves").get_segments()
        end = coordinates(shared_results, name)
        np.testing.assert_array_equal(moves, list(zip(start, end, strict=True)))
        assert "pairs" not in {artist.get_gid() for artist in ax.get_children()}


def test_gap_table_holds_every_point_and_gap(shared_results, pictures):
    table = pictures["modality_gap"].table
    of = dict(iter(table.groupby("mark")))
    assert {mark: len(rows) for mark, rows in of.items()} == {
        "image": 400, "class image mean": 85, "mean image": 1, "class text": 5 * 86,
        "mean text": 5, "gap": 5,
    }  # fmt: skip
    np.testing.assert_array_equal(of["image"][["x", "y"]], shared_results["image_coordinates"])
    bce = of["class text"].query("model == 'bce'")
    np.testing.assert_array_equal(bce[["x", "y"]], coordinates(shared_results, "bce"))
    assert bce["group"].tolist() == [c["group"] for c in shared_results["models"][2]["classes"]]
    gap = of["gap"].set_index("model").loc["ranking"]
    assert gap["same_texts"] == "ranking = ranking (prior bias)"
    assert (
        gap[["value", "low", "high"]].to_dict()
        == (shared_results["models"][3]["geometry"]["summary"]["gap"])
    )


def test_the_table_of_moves_holds_what_they_join_and_no_means(pictures):
    table, moves = (pictures[name].table for name in ("modality_gap", "modality_gap_moves"))
    drawn = table["mark"].isin(["image", "class text", "gap"])
    pd.testing.assert_frame_equal(table[drawn], moves)


def test_gap_limits_hold_every_point(shared_results, pictures):
    ax = pictures["modality_gap"].figure.axes[0]
    spaces = [coordinates(shared_results, name) for name in SPACES]
    points = np.concatenate([shared_results["image_coordinates"], *spaces])
    low, high = np.transpose([ax.get_xlim(), ax.get_ylim()])
    assert (points > low).all()
    assert (points < high).all()


def test_the_note_says_which_images_are_drawn(results, pictures):
    assert "Images:" not in notes_of(pictures["modality_gap"].figure)
    results["models"] = results["models"][:1]
    results["models"][0]["n_images"] = 1234
    said = notes_of(modality_gap_pictures(results)[0].figure)
    assert "Images: the first 400 of 1,234." in said


def test_gap_of_models_without_texts_is_left_out_and_said(results):
    results["models"][3].update(splits=[], geometry={})
    for picture in modality_gap_pictures(results):
        assert "Without class texts, not shown: Ranking." in notes_of(picture.figure)
        assert "ranking" not in set(picture.table["model"])


def test_no_texts_or_images_make_no_picture(results):
    assert modality_gap_pictures({**results, "image_coordinates": []}) == []
    assert modality_gap_pictures(without_splits(results)) == []


def test_zero_shot_alone_has_no_moves(results):
    results["models"] = results["models"][:2]
    del results["class_image_coordinates"]
    (picture,) = modality_gap_pictures(results)
    assert picture.name == "modality_gap"
    assert "pairs" not in {artist.get_gid() for artist in picture.figure.axes[0].get_children()}


def test_more_than_six_text_spaces_take_pages(results):
    rng = np.random.default_rng(0)
    for i in range(4):
        more = copy.deepcopy(results["models"][2])
        more.update(name=f"more {i}", label=f"more_{i} $x$")
        more["splits"][0]["geometry"]["coordinates_text"] = rng.normal(0.7, 0.1, (86, 2)).tolist()
        results["models"].append(more)
    found = {picture.name: picture for picture in modality_gap_pictures(results)}
    assert [name for name in found if "moves" not in name] == ["modality_gap_1", "modality_gap_2"]
    first, second = (found[f"modality_gap_{i}"] for i in (1, 2))
    assert [len(p.figure.axes) for p in (first, second)] == [5, 4]
    assert first.figure.axes[0].get_xlim() == second.figure.axes[0].get_xlim()
    assert r"more_3 \$x\$" in texts_of(second.figure)
    assert set(second.table["model"]) == {"", "more 0", "more 1", "more 2", "more 3"}
    moves = found["modality_gap_moves_2"].table
    assert set(moves["model"]) == {"zero-shot", *second.table["model"]}
    assert set(moves.query("model == 'zero-shot'")["mark"]) == {"class text"}


def test_mean_images_of_other_classes_are_refused(results):
    results["class_image_coordinates"].pop()
    with pytest.raises(BadData) as error:
        modality_gap_pictures(results)
    assert str(error.value) == (
        "'class_image_coordinates' must have one entry a class, 86, but the results have 85; "
        "write them anew with 'ccr-diag analyze checkpoint'."
    )


def test_gap_refuses_a_model_that_is_not_there(results: dict[str, Any]):
    with pytest.raises(BadConfig) as error:
        draw_modality_gap(results, models=["rankin"])
    assert str(error.value) == (
        "A model to draw must be in the results, but got 'rankin'; did you mean 'ranking'?"
    )
