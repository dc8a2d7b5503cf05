"""C_pred against Σ_text, read back from its hexagons."""

from typing import Any

import numpy as np
import pytest
from made_results import fake_matrices, notes_of, overlaps, with_gid
from scipy.stats import pearsonr

from ccr_diag.class_matrices import ClassMatrices
from ccr_diag.errors import BadData
from ccr_diag.figures.picture import Picture
from ccr_diag.figures.predicted_correlation import (
    draw_predicted_correlation,
    predicted_correlation_pictures,
)

PAIRS = 86 * 85 // 2


@pytest.fixture(scope="module")
def matrices(shared_results: dict[str, Any]) -> dict[str, ClassMatrices]:
    return fake_matrices(shared_results)


@pytest.fixture(scope="module")
def pictures(shared_results, matrices) -> list[Picture]:
    return predicted_correlation_pictures(shared_results, matrices)


def panels(pictures: list[Picture]) -> list[Any]:
    return [ax for picture in pictures for ax in picture.figure.axes if ax.get_title()]


def with_predicted(own: ClassMatrices, predicted: np.ndarray, **change: Any) -> ClassMatrices:
    return ClassMatrices(
        own.class_names, own.cosines, own.target, predicted, change.get("estimator", own.estimator)
    )


def test_every_model_has_a_panel_with_its_agreement(shared_results, matrices, pictures):
    assert [picture.name for picture in pictures] == ["predicted_correlation"]
    above = np.triu_indices(86, k=1)
    x = matrices["zero-shot"].target[above].astype(np.float64)
    assert len(panels(pictures)) == 7
    for ax, model in zip(panels(pictures), shared_results["models"], strict=True):
        y = matrices[model["name"]].predicted[above].astype(np.float64)
        r, rms = pearsonr(x, y).statistic, np.sqrt(np.square(y - x).mean())
        assert ax.get_title() == f"{model['label']}\nr = {r:.3f}, RMS {rms:.3f}"


def test_axes_are_square_equal_and_hold_the_line_of_equality(pictures):
    for ax in panels(pictures):
        assert ax.get_xlim() == ax.get_ylim() == (-1, 1)
        assert ax.get_aspect() == 1
        (line,) = ax.lines
        np.testing.assert_array_equal(line.get_xydata(), [[-1, -1], [1, 1]])


def test_hexagons_count_every_pair_where_it_lies(matrices, pictures):
    ax = panels(pictures)[2]
    counted = with_gid(ax, "pairs")
    counts, middles = np.asarray(counted.get_array()), counted.get_offsets()
    assert counts.sum() == PAIRS
    above = np.triu_indices(86, k=1)
    x, y = matrices["zero-shot"].target[above], matrices["bce"].predicted[above]
    assert np.average(middles[:, 0], weights=counts) == pytest.approx(x.mean(), abs=0.005)
    assert np.average(middles[:, 1], weights=counts) == pytest.approx(y.mean(), abs=0.005)
    assert np.corrcoef(np.repeat(middles, counts.astype(int), axis=0).T)[0, 1] == pytest.approx(
        np.corrcoef(x, y)[0, 1], abs=0.01
    )


def test_all_pages_have_one_scale_of_colours(pictures):
    counted = [with_gid(ax, "pairs") for ax in panels(pictures)]
    fullest = max(c.get_array().max() for c in counted)
    assert {c.get_clim() for c in counted} == {(1, fullest)}


def test_table_holds_the_hexagons_and_the_agreement(shared_results, matrices, pictures):
    table = pictures[0].table
    names = [model["name"] for model in shared_results["models"]]
    assert table["model"].unique().tolist() == names
    assert (table.groupby("model")["pairs_in_hexagon"].sum() == PAIRS).all()
    assert set(table["pairs"]) == {PAIRS}
    own = table[table["model"] == "bce"]
    counted = with_gid(panels(pictures)[2], "pairs")
    np.testing.assert_array_equal(own[["target", "predicted"]], counted.get_offsets())
    assert own["r"].nunique() == 1


def test_no_texts_cover_one_another(pictures):
    assert overlaps(pictures[0].figure) == []
    assert "estimator centred_inactive" in notes_of(pictures[0].figure)


def test_dead_classes_are_left_out_and_counted(shared_results, matrices):
    predicted = matrices["bce"].predicted.copy()
    predicted[[3, 7]], predicted[:, [3, 7]] = np.nan, np.nan
    pair = {"zero-shot": matrices["zero-shot"]}
    pair["bce"] = with_predicted(matrices["bce"], predicted)
    (picture,) = predicted_correlation_pictures(shared_results, pair)
    first, second = panels([picture])
    assert "dead" not in first.get_title()
    assert second.get_title().endswith("\n2 dead classes left out")
    assert with_gid(second, "pairs").get_array().sum() == 84 * 83 / 2
    assert set(picture.table.query("model == 'bce'")["dead_classes"]) == {2}
    assert "Without matrices, not shown: zero-shot (prior bias), Ranking," in notes_of(
        picture.figure
    )


def test_a_model_of_dead_classes_alone_has_an_empty_panel(shared_results, matrices):
    own = matrices["bce"]
    pair = {
        "zero-shot": matrices["zero-shot"],
        "bce": with_predicted(own, np.full_like(own.predicted, np.nan)),
    }
    (picture,) = predicted_correlation_pictures(shared_results, pair)
    title = panels([picture])[1].get_title()
    assert title == "BCE\nr undefined, RMS –\n86 dead classes left out"
    (row,) = picture.table.query("model == 'bce'").to_dict("records")
    assert (row["pairs"], row["dead_classes"]) == (0, 86)
    assert overlaps(picture.figure) == []


def test_estimators_are_not_mixed(shared_results, matrices):
    own = matrices["bce"]
    other = with_predicted(own, own.predicted, estimator="uncentred")
    with pytest.raises(BadData) as error:
        predicted_correlation_pictures(shared_results, {**matrices, "bce": other})
    assert str(error.value) == (
        "Predicted correlations in one figure must be of one estimator, but that of 'zero-shot' is "
        "'centred_inactive' and that of 'bce' 'uncentred'; write both with one "
        "'ccr-diag analyze checkpoint'."
    )


def test_nothing_is_drawn_without_zero_shot(shared_results, matrices):
    assert predicted_correlation_pictures(shared_results, {}) == []
    assert predicted_correlation_pictures(shared_results, {"bce": matrices["bce"]}) == []


def test_many_pairs_and_a_single_one_draw_alone():
    rng = np.random.default_rng(0)
    target = np.tanh(rng.normal(0, 0.4, (1203, 1203))).astype(np.float32)
    ax = draw_predicted_correlation(target, np.clip(target + 0.1, -1, 1))
    assert with_gid(ax, "pairs").get_array().sum() == 1203 * 1202 / 2
    two = np.array([[1, 0.3], [0.3, 1]], dtype=np.float32)
    alone = draw_predicted_correlation(two, two, ax)
    assert alone is ax
