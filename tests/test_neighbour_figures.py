"""Lists of neighbours, read back from their texts."""

from typing import Any

import pytest
from made_results import notes_of, overlaps, without_splits
from matplotlib.axes import Axes
from matplotlib.text import Text

from ccr_diag.figures.neighbours import draw_neighbours, neighbour_pictures
from ccr_diag.figures.picture import Picture
from ccr_diag.figures.style import MUTED


@pytest.fixture(scope="module")
def pictures(shared_results: dict[str, Any]) -> list[Picture]:
    return neighbour_pictures(shared_results)


def lines(ax: Axes) -> dict[float, list[Text]]:
    """Cells of each line, from left to right."""
    found: dict[float, list[Text]] = {}
    for text in ax.texts:
        found.setdefault(text.get_position()[1], []).append(text)
    return {y: sorted(cells, key=lambda cell: cell.get_position()[0]) for y, cells in found.items()}


def said(cells: list[Text]) -> list[str]:
    return [cell.get_text() for cell in cells]


def test_each_tuned_space_lists_the_classes_that_moved_most(shared_results, pictures):
    assert [picture.name for picture in pictures] == ["neighbour_changes_1", "neighbour_changes_2"]
    titles = [ax.get_title(loc="left") for picture in pictures for ax in picture.figure.axes]
    assert titles == ["BCE", "Ranking =\nRanking (prior bias)", "BCE + CCR", "BCE (learned bias)"]
    text = shared_results["models"][2]["splits"][0]["geometry"]["text"]
    of = {entry["name"]: entry for entry in text["classes"]}
    shown = lines(pictures[0].figure.axes[0])
    assert said(shown[-1]) == ["class", "group", "NP@5", "neighbours"]
    for i, name in enumerate(text["most_moved"]):
        first, second = (said(shown[2 * i + line]) for line in (0, 1))
        group = shared_results["models"][2]["classes"][int(name.split()[1])]["group"]
        assert first == [
            name, group, f"{of[name]['NP']:.2f}", "zero-shot", *of[name]["neighbours_zero_shot"],
        ]  # fmt: skip
        assert second == ["tuned", *of[name]["neighbours"]]


def test_neighbours_that_stayed_are_muted_and_those_that_came_bold(pictures):
    shown = lines(pictures[1].figure.axes[0])
    for line, weight in ((0, "normal"), (1, "bold")):
        cells = shown[line][-5:]
        assert [cell.get_color() for cell in cells] == [MUTED] * 3 + ["black"] * 2
        assert [cell.get_weight() for cell in cells] == ["normal"] * 3 + [weight] * 2


def test_no_page_is_longer_than_paper_and_few_changes_share_one(results, pictures):
    assert all(picture.figure.get_figheight() <= 9 for picture in pictures)
    for model in results["models"]:
        text = model["splits"][0]["geometry"].get("text")
        if text:
            text["most_moved"] = text["most_moved"][:3]
    (picture,) = neighbour_pictures(results)
    assert len(picture.figure.axes) == 4
    assert picture.table["model"].nunique() == 4
    assert overlaps(picture.figure) == []


def test_table_holds_the_lists_in_full(shared_results, pictures):
    table = pictures[0].table
    assert table["rank"].tolist() == [*range(1, 11)] * 2
    assert list(table["model"].unique()) == ["bce", "ranking"]
    row = table.iloc[0]
    assert (row["class"], row["group"], row["k"], row["NP"]) == ("class 2", "head", 5, 0.6)
    assert row["neighbours_zero_shot"] == "class 3, class 4, class 5, class 6, class 7"
    assert row["neighbours"] == "class 3, class 4, class 5, class 42, class 43"
    assert table["same_texts"].iloc[-1] == "ranking = ranking (prior bias)"


def test_no_cells_cover_one_another(pictures):
    assert overlaps(pictures[0].figure) == []


def test_long_and_odd_names_stay_in_their_cells(results):
    long = ["<b>&_$x$" * 10, "東京タワー" * 16, "W" * 80, "_hidden", "$"]
    text = results["models"][2]["splits"][0]["geometry"]["text"]
    text["most_moved"] = text["most_moved"][:1]
    text["classes"][2].update(neighbours_zero_shot=long, neighbours=long[::-1][:4] + ["M" * 80])
    results["models"][2]["classes"][2]["name"] = "渋谷" * 40
    text["classes"][2]["name"] = text["most_moved"][0] = "渋谷" * 40
    results["models"] = results["models"][:3]
    (picture,) = neighbour_pictures(results)
    assert picture.name == "neighbour_changes"
    assert overlaps(picture.figure) == []
    assert picture.table["neighbours_zero_shot"].tolist() == [", ".join(long)]
    assert picture.table["class"].tolist() == ["渋谷" * 40]


def test_classes_whose_lists_stayed_are_not_shown(results):
    text = results["models"][2]["splits"][0]["geometry"]["text"]
    text["most_moved"] = ["class 2", "class 0"]
    results["models"] = results["models"][:3]
    (picture,) = neighbour_pictures(results)
    assert picture.table["class"].tolist() == ["class 2"]


def test_nothing_tuned_or_no_texts_make_no_figure(results):
    for model in results["models"][2:]:
        model.update(splits=[], geometry={})
    assert neighbour_pictures(results) == []
    assert neighbour_pictures(without_splits(results)) == []


def test_models_without_texts_are_named(results):
    results["models"][4].update(splits=[], geometry={})
    assert "not shown: BCE + CCR." in notes_of(neighbour_pictures(results)[0].figure)


def test_a_class_of_no_group_and_one_neighbour_draws():
    moved = {"name": "a", "group": None, "NP": 0.0}
    ax = draw_neighbours([{**moved, "neighbours_zero_shot": ["b"], "neighbours": ["c"]}], 1)
    assert said(lines(ax)[0]) == ["a", "0.00", "zero-shot", "b"]
