"""Class × class maps, read back from their artists."""

import copy
import time
from typing import Any

import numpy as np
import pytest
from made_results import cosines, fake_matrices, notes_of, overlaps, texts_of, without_splits
from matplotlib.colors import to_hex
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from ccr_diag.class_matrices import ClassMatrices
from ccr_diag.errors import BadData
from ccr_diag.figures.picture import Picture
from ccr_diag.figures.similarity import clustered_order, draw_similarity, similarity_pictures
from ccr_diag.figures.style import GROUP_COLOURS

SPACES = ["zero-shot", "bce", "ranking", "bce+ccr", "bce (learned bias)"]


@pytest.fixture(scope="module")
def matrices(shared_results: dict[str, Any]) -> dict[str, ClassMatrices]:
    return fake_matrices(shared_results)


@pytest.fixture(scope="module")
def pictures(shared_results, matrices) -> dict[str, Picture]:
    return {picture.name: picture for picture in similarity_pictures(shared_results, matrices)}


def drawn(picture: Picture) -> list[np.ndarray]:
    return [np.asarray(ax.images[0].get_array()) for ax in panels(picture)]


def panels(picture: Picture) -> list[Any]:
    return [ax for ax in picture.figure.axes if ax.images and ax.get_title()]


def few(results: dict[str, Any], n: int) -> tuple[dict[str, Any], dict[str, ClassMatrices]]:
    """The same of n classes, in zero-shot and two tuned spaces."""
    rng = np.random.default_rng(n)
    results = {**results, "models": copy.deepcopy([results["models"][i] for i in (0, 2, 4)])}
    for model in results["models"]:
        model["n_classes"] = n
        kinds = ("head", "medium", "tail", "new")
        model["classes"] = [{"name": f"class {c}", "group": kinds[c % 4]} for c in range(n)]
        geometry = model["splits"][0]["geometry"]
        geometry["coordinates_text"] = rng.normal(0, 1, (n, 2)).tolist()
    start = rng.normal(0.4, 1, (n, 32))
    found = {}
    for model in results["models"]:
        own = cosines(start + rng.normal(0, 0.3, (n, 32)))
        names = tuple(entry["name"] for entry in model["classes"])
        found[model["name"]] = ClassMatrices(names, own, own, own, "centred")
    return results, found


def test_classes_stand_in_the_order_of_the_zero_shot_clustering(matrices, pictures):
    zero_shot = matrices["zero-shot"].cosines.astype(np.float64)
    distances = 1 - zero_shot
    np.fill_diagonal(distances, 0)
    condensed = squareform(distances, checks=False)
    expected = leaves_list(linkage(condensed, "average", optimal_ordering=True))
    order = clustered_order(matrices["zero-shot"].cosines)
    assert sorted(order) == list(range(86))
    adjacent = [distances[a, b] for a, b in zip(order, order[1:], strict=False)]
    best = [distances[a, b] for a, b in zip(expected, expected[1:], strict=False)]
    assert sum(adjacent) == pytest.approx(sum(best), rel=1e-5)
    of = np.ix_(order, order)
    for values, name in zip(drawn(pictures["text_similarity"]), SPACES, strict=True):
        np.testing.assert_array_equal(values, matrices[name].cosines[of])
    for values, name in zip(drawn(pictures["text_similarity_change"]), SPACES[1:], strict=True):
        change = matrices[name].cosines - matrices["zero-shot"].cosines
        np.testing.assert_array_equal(values, change[of])


def test_one_scale_a_kind_and_changes_around_zero(pictures):
    for name in ("text_similarity", "text_similarity_change"):
        images = [ax.images[0] for ax in panels(pictures[name])]
        values = np.stack(drawn(pictures[name]))
        (limits,) = {image.get_clim() for image in images}
        if name == "text_similarity":
            assert limits[1] == 1
            assert values.min() - 0.1 <= limits[0] <= values.min()
            assert {image.get_cmap().name for image in images} == {"viridis"}
        else:
            assert limits == (-np.abs(values).max(), np.abs(values).max())
            assert {image.get_cmap().name for image in images} == {"RdBu_r"}


def test_titles_name_models_and_the_recorded_change(shared_results, pictures):
    titles = [ax.get_title() for ax in panels(pictures["text_similarity"])]
    assert titles[:2] == ["zero-shot =\nzero-shot (prior bias)", "BCE"]
    drift = shared_results["models"][2]["splits"][0]["geometry"]["text"]["summary"]["pair_drift"]
    titles = [ax.get_title() for ax in panels(pictures["text_similarity_change"])]
    assert titles[0] == f"BCE\nroot mean square {drift:.3f}"


def test_a_strip_shows_the_group_of_each_class(shared_results, matrices, pictures):
    order = clustered_order(matrices["zero-shot"].cosines)
    groups = [shared_results["models"][0]["classes"][i]["group"] for i in order]
    for ax in panels(pictures["text_similarity"]):
        (strip,) = ax.child_axes
        image = strip.images[0]
        colours = image.cmap(image.norm(np.asarray(image.get_array())[:, 0]))
        assert [to_hex(colour).upper() for colour in colours] == [GROUP_COLOURS[g] for g in groups]
    legend = pictures["text_similarity"].figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["head", "medium", "tail", "new"]


def test_a_page_alone_names_every_class(matrices, pictures):
    order = clustered_order(matrices["zero-shot"].cosines)
    names = [matrices["zero-shot"].class_names[i] for i in order]
    assert list(pictures) == ["text_similarity", "text_similarity_named", "text_similarity_change"]
    named = pictures["text_similarity_named"]
    (ax,) = panels(named)
    assert [label.get_text() for label in ax.get_yticklabels()] == names
    assert {label.get_fontsize() for label in ax.get_yticklabels()} == {6}
    assert overlaps(named.figure) == []
    left = ax.child_axes[0].get_window_extent().x0
    assert max(label.get_window_extent().x1 for label in ax.get_yticklabels()) < left
    assert set(named.table["model"]) == {"zero-shot"}


def test_tables_hold_every_pair_of_every_map(matrices, pictures):
    pairs = 86 * 85 // 2
    table = pictures["text_similarity_change"].table
    assert len(table) == 4 * pairs
    row = table.sample(1, random_state=0).iloc[0]
    names = matrices["bce"].class_names
    a, b = names.index(row["class_a"]), names.index(row["class_b"])
    own, start = matrices[row["model"]].cosines, matrices["zero-shot"].cosines
    assert row["change"] == own[a, b] - start[a, b]
    order = clustered_order(start)
    assert (order[row["position_a"]], order[row["position_b"]]) == (a, b)
    table = pictures["text_similarity"].table
    assert len(table) == 5 * pairs
    bce = table[table["model"] == "bce"].set_index(["class_a", "class_b"])["cosine"]
    first, last = names[order[0]], names[order[-1]]
    assert bce[first, last] == matrices["bce"].cosines[order[0], order[-1]]


def test_no_texts_cover_one_another(pictures):
    for name in ("text_similarity", "text_similarity_change"):
        assert overlaps(pictures[name].figure) == []


def test_models_without_matrices_are_named(shared_results, matrices):
    part = {name: matrices[name] for name in ("zero-shot", "bce")}
    picture = similarity_pictures(shared_results, part)[0]
    assert len(panels(picture)) == 2
    assert "not shown: zero-shot (prior bias), Ranking," in notes_of(picture.figure)


def test_nothing_is_drawn_without_zero_shot_or_matrices(results, matrices):
    assert similarity_pictures(results, {}) == []
    assert similarity_pictures(results, {"bce": matrices["bce"]}) == []
    assert similarity_pictures(without_splits(results), matrices) == []


@pytest.mark.parametrize(
    ("names", "differs"),
    [
        (lambda names: ("wolf", *names[1:]), "'class 0' is in one only"),
        (lambda names: names[::-1], "the order differs"),
    ],
)
def test_matrices_of_other_classes_are_refused(shared_results, matrices, names, differs):
    own = matrices["bce"]
    other = ClassMatrices(names(own.class_names), own.cosines, own.target, own.predicted, "centred")
    with pytest.raises(BadData) as error:
        similarity_pictures(shared_results, {**matrices, "bce": other})
    assert str(error.value) == (
        "The class matrices of model 'bce' must have the classes of the results, "
        f"but {differs}; write both anew with one 'ccr-diag analyze checkpoint'."
    )


def test_two_classes_with_long_odd_names_and_no_groups(shared_results):
    results, matrices = few(shared_results, 2)
    names = ("$x$_" * 20, "東京" * 30)
    for model in results["models"]:
        model["classes"] = [{"name": name, "group": None} for name in names]
        own = matrices[model["name"]]
        same = ClassMatrices(names, own.cosines, own.cosines, own.cosines, "centred")
        matrices[model["name"]] = same
    named = similarity_pictures(results, matrices)[1]
    (ax,) = panels(named)
    shown = [label.get_text().replace("\\", "") for label in ax.get_yticklabels()]
    assert all(text.endswith("…") and 10 < len(text) < 40 for text in shown)
    assert named.figure.legends == []
    assert ax.child_axes == []
    assert overlaps(named.figure) == []
    assert set(named.table["class_a"]) | set(named.table["class_b"]) == set(names)


def test_equal_spaces_have_a_white_map(shared_results):
    results, matrices = few(shared_results, 3)
    start = matrices["zero-shot"]
    pictures = similarity_pictures(results, {"zero-shot": start, "bce": start})
    (change,) = (p for p in pictures if p.name == "text_similarity_change")
    assert panels(change)[0].images[0].get_clim() == (-0.1, 0.1)


def test_many_classes_draw_in_time_without_names(shared_results):
    results, matrices = few(shared_results, 300)
    before = time.process_time()
    pictures = similarity_pictures(results, matrices)
    pictures[0].figure.draw_without_rendering()
    assert time.process_time() - before < 4
    assert [picture.name for picture in pictures] == ["text_similarity", "text_similarity_change"]
    assert "names the classes in this order" in texts_of(pictures[0].figure).replace("\n", " ")
    table = pictures[0].table
    assert list(table.columns) == ["position", "class", "group"]
    order = clustered_order(matrices["zero-shot"].cosines)
    assert table["class"].tolist() == [f"class {i}" for i in order]


def test_one_map_alone_takes_its_own_scale():
    ax = draw_similarity(np.array([[0.0, -0.25], [-0.25, 0.0]]), change=True)
    assert ax.images[0].get_clim() == (-0.25, 0.25)
    assert draw_similarity(np.array([[1.0, 0.33], [0.33, 1.0]])).images[0].get_clim() == (0.3, 1)
    assert draw_similarity(np.eye(1), ax) is ax
