"""The page of a comparison: what it is made of, and what it shows."""

import re
from html import unescape

import numpy as np
import pytest
from scipy.special import expit

from ccr_diag import comparing
from ccr_diag.comparing import compare_predictions, measure_pair
from ccr_diag.comparison_record import comparison_record
from ccr_diag.differences import ROW
from ccr_diag.figures.html_report import comparison_page
from ccr_diag.metrics.presets import preset
from ccr_diag.predictions import Predictions
from ccr_diag.results import _check

NAMES = ("dog & cat", "<script>window.hacked=1</script>", "犬", "x" * 80, "none")
GROUPS = ("head", "head", "tail", "tail", "new")
OPTIONS = {"n_bootstrap": 10, "seed": 1}


def predictions(name, values, y, groups=GROUPS):
    return Predictions(
        values, y, NAMES, groups, None, (), {"model": name, "file": f"{name}.npz"}, "probs"
    )


@pytest.fixture(scope="module")
def files():
    """A calibrated model, and one that is far too sure; the last class is in no image."""
    rng = np.random.default_rng(0)
    z = rng.normal(-1, 1, (200, 5))
    y = (rng.uniform(size=z.shape) < expit(z)).astype(np.int8)
    y[:, 4] = 0
    return predictions("plain {0}", expit(z), y), predictions("sure", expit(4 * z + 1), y)


@pytest.fixture(scope="module")
def pair(files):
    return measure_pair(*files, **OPTIONS)


@pytest.fixture(scope="module")
def record(pair):
    return comparison_record(pair, ["ece_sweep"])


@pytest.fixture(scope="module")
def page(record):
    record["provenance"] = {
        "command": "ccr-diag compare 'a <b>.npz' c.npz",
        "versions": {"numpy": "2"},
        "inputs": [{"path": "a <b>.npz", "sha256": "00ff"}, {"path": "c.npz", "sha256": "ee11"}],
    }
    return comparison_page(record)


def test_it_holds_the_rows_of_all_classes_groups_and_each_class(pair, record):
    (found,) = record["differences"]["pairs"]
    metrics = list(dict.fromkeys(row["metric"] for row in found["rows"]))
    assert {"ece_positive", "ece_decision", "signed_error", "map", "nll", "brier"} < set(metrics)
    assert metrics[-1] == "ece_sweep"
    for metric in metrics:
        expected = [
            row.to_json()
            for by in (None, "group")
            for row in pair.comparison([metric], by).differences
        ]
        rows = [row for row in found["rows"] if row["metric"] == metric]
        assert rows == [{key: row[key] for key in ROW} for row in expected]
    classes = [row for row in record["class_differences"] if row["metric"] == "brier"]
    expected = [row.to_json() for row in pair.comparison(["brier"], "class").differences]
    assert [row["class"] for row in classes] == list(NAMES)
    assert [row["p_holm"] for row in classes] == [row["p_holm"] for row in expected]
    assert "ece_sweep" not in {row["metric"] for row in record["class_differences"]}


def test_it_keeps_the_layout_of_results(record):
    _check(record)
    assert [model["name"] for model in record["models"]] == ["plain {0}", "sure"]


def test_one_measurement_of_each_serves_text_and_page(files, monkeypatch):
    measured = []

    def measure(predictions, **options):
        measured.append(predictions.provenance["model"])
        return found[(len(measured) - 1) % 2]

    found = measure_pair(*files, n_bootstrap=2).measured
    monkeypatch.setattr(comparing, "measure_predictions", measure)
    once = measure_pair(*files, n_bootstrap=2)
    once.comparison(["brier"], "class")
    comparison_record(once)
    assert measured == ["plain {0}", "sure"]
    assert compare_predictions(*files, ["brier"]).differences == (
        once.comparison(["brier"]).differences
    )


def test_the_verdict_says_which_is_better_calibrated_and_where(record):
    said = record["verdict"]
    row = record["differences"]["pairs"][0]["rows"][0]
    assert (row["metric"], row["group"], row["verdict"]) == ("ece_positive", "all", "worse")
    numbers = [100 * row[key] for key in ("b", "a", "difference", "low", "high")]
    assert said["text"] == (
        "sure is worse calibrated than plain {0}: ECE {:.2f} % against {:.2f} %, a difference of "
        "{:+.2f} points [{:+.2f}, {:+.2f}].".replace("{0}", "{{0}}").format(*numbers)
    )
    assert said["reasons"][0] == ("By group, sure is better for new and worse for head and tail.")
    row = next(r for r in record["differences"]["pairs"][0]["rows"] if r["metric"] == "map")
    ends = " → ".join(f"{100 * row[side]:.1f} %" for side in "ab")
    assert f"mAP: sure is not told apart, {ends}." in said["reasons"]
    assert any(reason.startswith("Brier score: sure is worse, ") for reason in said["reasons"])


def test_the_verdict_is_about_the_error_that_the_preset_begins_with(files):
    found = comparison_record(measure_pair(*files, preset="paper", n_bootstrap=2))
    metric = preset("paper").headline
    row = next(r for r in found["differences"]["pairs"][0]["rows"] if r["metric"] == metric)
    said = "{:.2f} % against {:.2f} %".format(*[100 * row[side] for side in "ba"])
    assert f": decision ECE {said}, " in found["verdict"]["text"]


def test_the_other_way_round_it_is_better(files):
    bare = [predictions(p.provenance["model"], p.values, p.labels, ()) for p in files[::-1]]
    found = comparison_record(measure_pair(*bare, **OPTIONS))
    assert found["verdict"]["text"].startswith("plain {0} is better calibrated than sure: ECE ")
    assert not found["verdict"]["reasons"][0].startswith("By group")
    page = comparison_page(found)
    assert page.count('<th scope="row">all classes</th>') == page.count('class="forest"')
    assert "base</th>" not in page


def test_against_itself_nothing_can_be_told(files):
    pair = measure_pair(files[0], files[0], n_bootstrap=2)
    found = comparison_record(pair)
    assert found["verdict"]["text"] == (
        "Which of plain {0} and plain {0} (2) is better calibrated cannot be told: ECE "
        "{:.2f} % against {:.2f} %, a difference of +0.00 points [+0.00, +0.00].".replace(
            "{0}", "{{0}}"
        ).format(*[100 * pair.measured[0].value("ece_positive")] * 2)
    )
    assert found["verdict"]["reasons"][0] == ("By group, for head, tail and new it cannot be told.")
    comparison_page(found)


def section(page, name):
    """The part of the page below the heading of a section."""
    return page.split(f'<section id="{name}"')[1].split("</section>")[0]


def test_forests_show_each_difference_and_name_their_sides(page, record):
    differences = section(page, "differences")
    rows = record["differences"]["pairs"][0]["rows"]
    tables = differences.split('<table class="forest"')[1:]
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    assert len(tables) == len(metrics)
    for metric, table in zip(metrics, tables, strict=True):
        of_metric = [row for row in rows if row["metric"] == metric]
        shown = [
            float(v) for v in re.findall(r'<span class="number"[^>]*data-value="([^"]+)"', table)
        ]
        keys = ("a", "b", "difference", "p_holm")
        expected = [row[key] for row in of_metric for key in keys if row[key] is not None]
        assert shown == expected
        ends = re.findall(r'data-low="([^"]+)" data-high="([^"]+)"', table)
        assert [tuple(map(float, pair)) for pair in ends] == [
            (row["low"], row["high"]) for row in of_metric if row["low"] is not None
        ]
        sides = re.findall(r"(?:← )?B (?:better|worse)(?: →)?", table)
        better = ["← B better", "B worse →"] if metric != "map" else ["← B worse", "B better →"]
        assert sides == better
        assert table.count('class="zero" x1="50.0%" x2="50.0%"') == len(of_metric)


def test_marks_stand_on_the_side_that_their_verdict_names(page, record):
    """0 is in the middle: what is worse in a lower-is-better metric lies right of it."""
    table = section(page, "differences").split('<table class="forest"')[1]
    rows = [
        row for row in record["differences"]["pairs"][0]["rows"] if row["metric"] == "ece_positive"
    ]
    places = [float(x) for x in re.findall(r'class="dot" cx="([\d.]+)%"', table)]
    assert len(places) == len(rows)
    for place, row in zip(places, rows, strict=True):
        assert (place > 50) is (row["difference"] > 0)
    widest = max(rows, key=lambda row: row["difference"])
    assert max(places) == places[rows.index(widest)]


def test_both_reliability_diagrams_have_one_scale(page):
    charts = section(page, "reliability").split('<figure class="reliability">')[1:]
    assert len(charts) == 4
    axes = [
        re.findall(r'<line class="grid" [^>]*>|<line class="diagonal" [^>]*>', c) for c in charts
    ]
    assert axes[0]
    assert all(axis == axes[0] for axis in axes)
    titles = [unescape(re.search(r"<title[^>]*>([^<]+)<", chart)[1]) for chart in charts]
    assert titles == [
        f"Reliability of {name}, {convention}"
        for convention in ("positive", "decision")
        for name in ("plain {0}", "sure")
    ]


def test_names_are_text_and_undefined_numbers_dashes(page):
    classes = section(page, "classes")
    assert [unescape(n) for n in re.findall(r'<th scope="row"><bdi>(.*?)</bdi>', classes)] == (
        list(NAMES)
    )
    assert "<script>window" not in page
    assert "a &lt;b&gt;.npz" in page
    last = classes.split("<tr>")[-1]
    assert last.count("–</td>") == 3  # average precision of both, and its difference
    assert "cannot tell" in last


def test_it_says_how_it_was_made(page, record):
    text = unescape(re.sub(r"<[^>]+>", "", page))
    assert record["differences"]["method"] in text
    assert "ccr-diag compare 'a <b>.npz' c.npz" in text
    assert "00ff" in section(page, "provenance")
    assert "ee11" in section(page, "provenance")
    for about in record["definitions"]["metrics"].values():
        assert about["definition"] in text


@pytest.mark.parametrize(("n_images", "n_classes"), [(1, 3), (30, 1)])
def test_one_image_and_one_class_have_a_page(n_images, n_classes):
    rng = np.random.default_rng(0)
    y = (rng.uniform(size=(n_images, n_classes)) < 0.5).astype(np.int8)
    names = tuple("abc"[:n_classes])
    two = [
        Predictions(rng.uniform(size=y.shape), y, names, (), None, (), {"model": m}, "probs")
        for m in "xy"
    ]
    found = comparison_record(measure_pair(*two, n_bootstrap=2))
    assert found["verdict"]["text"].startswith("Which of x and y is better calibrated cannot be")
    assert "</html>" in comparison_page(found)
