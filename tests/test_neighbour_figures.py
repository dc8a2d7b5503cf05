"""Lists of neighbours, read back from their texts."""

from typing import Any

import pytest
from made_results import notes_of, overlaps, without_splits
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from ccr_diag.figures.neighbours import draw_neighbours, neighbour_pictures
from ccr_diag.figures.picture import Picture
from ccr_diag.figures.style import LOOKS, MUTED


@pytest.fixture(scope="module")
def pictures(shared_results: dict[str, Any]) -> list[Picture]:
    return neighbour_pictures(shared_results)


def lines(ax: Axes) -> dict[float, list[tuple[str, str]]]:
    """Text and colour of the cells of each line, from left to right."""
    found: dict[float, list[Any]] = {}
    for text in ax.texts:
        x, y = text.get_position()
        found.setdefault(y, []).append((x, text.get_text(), to_hex(text.get_color())))
    return {y: [cell[1:] for cell in sorted(cells)] for y, cells in found.items()}


def test_each_tuned_space_lists_the_classes_that_moved_most(shared_results, pictures):
    assert [picture.name for picture in pictures] == [f"neighbour_changes_{i}" for i in range(1, 5)]
    titles = [picture.figure.axes[0].get_title(loc="left") for picture in pictures]
    assert titles == ["BCE", "Ranking = Ranking (prior bias)", "BCE + CCR", "BCE (learned bias)"]
    text = shared_results["models"][2]["splits"][0]["geometry"]["text"]
    of = {entry["name"]: entry for entry in text["classes"]}
    shown = lines(pictures[0].figure.axes[0])
    assert [cell[0] for cell in shown[-1]] == ["class", "group", "NP@5", "neighbours"]
    for i, name in enumerate(text["most_moved"]):
        first, second = ([cell[0] for cell in shown[2 * i + line]] for line in (0, 1))
        group = shared_results["models"][2]["classes"][int(name.split()[1])]["group"]
        assert first == [
            name, group, f"{of[name]['NP']:.2f}", "zero-shot", *of[name]["neighbours_zero_shot"],
        ]  # fmt: skip
        assert second == ["tuned", *of[name]["neighbours"]]


def test_neighbours_that_stayed_are_muted_and_those_that_came_take_the_models_colour(pictures):
    shown = lines(pictures[2].figure.axes[0])
    muted, own = MUTED.lower(), LOOKS["bce+ccr"].colour.lower()
    assert [colour for _, colour in shown[0][-5:]] == [muted] * 3 + ["#000000"] * 2
    assert [colour for _, colour in shown[1][-5:]] == [muted] * 3 + [own] * 2


def test_table_holds_the_lists_in_full(shared_results, pictures):
    table = pictures[0].table
    assert table["rank"].tolist() == list(range(1, 11))
    assert set(table["model"]) == {"bce"}
    row = table.iloc[0]
    assert (row["class"], row["group"], row["k"], row["NP"]) == ("class 2", "head", 5, 0.6)
    assert row["neighbours_zero_shot"] == "class 3, class 4, class 5, class 6, class 7"
    assert row["neighbours"] == "class 3, class 4, class 5, class 42, class 43"
    assert pictures[1].table["same_texts"].unique() == ["ranking = ranking (prior bias)"]


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
    picture = neighbour_pictures(results)[0]
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
    assert [cell[0] for cell in lines(ax)[0]] == ["a", "0.00", "zero-shot", "b"]
