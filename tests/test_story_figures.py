"""The picture that opens the README, read back from its artists."""

from typing import Any

import pytest
from made_results import GROUPS, notes_of, overlaps, with_gid, without_splits

from ccr_diag.figures.picture import Picture
from ccr_diag.figures.story import METHODS, story_models, story_pictures, story_table
from ccr_diag.figures.style import LOOKS
from ccr_diag.results import Results


@pytest.fixture(scope="module")
def story() -> Picture:
    from made_results import fake_results

    (picture,) = story_pictures(fake_results())
    return picture


def test_the_first_of_each_method_under_one_rule(results: dict[str, Any]):
    found = story_models(results)
    assert list(found) == list(METHODS)
    assert [model["name"] for model in found.values()] == list(METHODS)
    results["models"][2]["map_rule"] = "learned"
    assert story_models(results) == {}
    assert story_pictures(results) == []
    results["models"][2]["map_rule"] = "none"
    results["models"].append(results["models"][2] | {"name": "bce (none) [again]"})
    assert story_models(results)["bce"]["name"] == "bce"


def test_predictions_alone_tell_no_story(results: dict[str, Any]):
    assert story_pictures(without_splits(results)) == []


def test_bars_are_the_neighbours_kept(story: Picture, shared_results: Results):
    ax = story.figure.axes[0]
    for row, (method, model) in enumerate(story_models(shared_results).items()):
        bar = with_gid(ax, method)
        entry = model["geometry"]["summary"]["NP@5"]
        assert bar.get_width() == pytest.approx(entry["value"])
        assert bar.get_x() == 0
        assert bar.get_y() + bar.get_height() / 2 == pytest.approx(row)
        assert ax.texts[row].get_text() == f"{entry['value']:.2f}"
        (key,) = (line for line in ax.lines if line.get_ydata()[0] == row)
        assert (key.get_marker(), key.get_color()) == (LOOKS[method].marker, LOOKS[method].colour)
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "Zero-shot", "BCE", "Ranking", "BCE + CCR",
    ]  # fmt: skip
    assert [label.get_color() for label in ax.get_yticklabels()] == [
        LOOKS[method].colour for method in METHODS
    ]
    assert ax.get_xlim()[0] == 0


@pytest.mark.parametrize(
    ("panel", "metric"), [(1, "map"), (2, "signed_error"), (3, "ece_positive")]
)
def test_lines_are_the_values_by_group(
    story: Picture, shared_results: Results, panel: int, metric: str
):
    ax = story.figure.axes[panel]
    assert [label.get_text() for label in ax.get_xticklabels()] == list(GROUPS)
    segments = [c.get_segments()[0][:, 1].tolist() for c in ax.collections]
    ends = []
    for method, model in story_models(shared_results).items():
        line = with_gid(ax, f"{method}/{metric}")
        entries = [model["groups"][group]["metrics"][metric] for group in GROUPS]
        assert line.get_ydata().tolist() == [entry["value"] for entry in entries]
        assert line.get_color() == LOOKS[method].colour
        ends += [[entry["low"], entry["high"]] for entry in entries]
    assert segments == ends
    low, high = ax.get_ylim()
    assert (low < 0 < high) if metric == "signed_error" else low == 0


def test_it_claims_nothing_and_names_the_bias(story: Picture):
    said = notes_of(story.figure)
    assert "Test images of made-up. All four are read without a bias. Points: mean over" in said
    assert "With another bias, positive ECE over all classes: zero-shot (prior bias) 0." in said
    titles = [ax.get_title("left") for ax in story.figure.axes]
    assert titles == [
        "Text geometry", "Retrieval", "Calibration error: direction", "Calibration error: size",
    ]  # fmt: skip
    assert story.figure.get_facecolor() == (1, 1, 1, 1)  # on dark pages, too
    assert not overlaps(story.figure)


def test_the_preset_names_the_error(results: dict[str, Any]):
    results["definitions"]["preset"] = "paper"
    (picture,) = story_pictures(results)
    assert "decision ECE, lower is better" in notes_of(picture.figure)
    assert "ece_decision" in set(picture.table["metric"])


def test_the_table_holds_every_mark(story: Picture, shared_results: Results):
    table = story_table(shared_results)
    assert len(table) == 4 + 3 * 4 * 4
    assert table.equals(story.table)
    ranking = shared_results["models"][3]
    (row,) = table.query("model == 'ranking' and metric == 'map' and group == 'tail'").itertuples()
    assert row.value == ranking["groups"]["tail"]["metrics"]["map"]["value"]


def test_a_group_that_is_missing_is_left_out(results: dict[str, Any]):
    for model in results["models"]:
        del model["groups"]["tail"]
    (picture,) = story_pictures(results)
    assert [t.get_text() for t in picture.figure.axes[1].get_xticklabels()] == [
        "head", "medium", "new",
    ]  # fmt: skip
