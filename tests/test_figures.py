"""Figures are tested by reading their artists back from a made-up results file."""

import copy
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from ccr_diag.errors import BadConfig, BadData
from ccr_diag.figures.frequency import LABELS, draw_frequency, frequency_page
from ccr_diag.figures.gallery import all_figures, draw_all
from ccr_diag.figures.geometry import draw_geometry, geometry_page
from ccr_diag.figures.modality_gap import draw_modality_gap, modality_gap_page
from ccr_diag.figures.reliability import draw_reliability, reliability_pages
from ccr_diag.figures.style import LOOKS, OVER_COLOUR, UNDER_COLOUR, model_looks, number, style
from ccr_diag.metrics import METRICS as REGISTRY
from ccr_diag.results import load_results

GROUPS = ("head", "medium", "tail", "new")
MODELS = {  # name → label, bias rule, name of the model whose text embeddings it has
    "zero-shot": ("zero-shot", "none", "zero-shot"),
    "zero-shot (prior bias)": ("zero-shot (prior bias)", "prior", "zero-shot"),
    "bce": ("BCE", "none", "bce"),
    "ranking": ("Ranking", "none", "ranking"),
    "bce+ccr": ("BCE + CCR", "none", "bce+ccr"),
    "bce (learned bias)": ("BCE (learned bias)", "learned", "bce (learned bias)"),
    "ranking (prior bias)": ("Ranking (prior bias)", "prior", "ranking"),
}
METRICS = {"ece_positive": "lower", "signed_error": "zero", "map": "higher"}
CLASSES, BINS, SPLITS, IMAGES = 86, 15, 3, 400


def fake_results() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    start = rng.normal((0.75, 0.45), (0.03, 0.05), (CLASSES, 2))
    spaces = {
        name: [space_json(rng, start, 0.0 if name == "zero-shot" else 0.06) for _ in range(SPLITS)]
        for name in dict.fromkeys(space for _, _, space in MODELS.values())
    }
    spaces["zero-shot"] = [spaces["zero-shot"][0]] * SPLITS
    models = [
        model_json(rng, name, label, rule, spaces[space])
        for name, (label, rule, space) in MODELS.items()
    ]
    return {
        "schema_version": 1,
        "definitions": {
            "preset": "textbook",
            "n_bins": BINS,
            "interval": "95 % over splits",
            "metrics": {key: {"better": better} for key, better in METRICS.items()},
        },
        "models": models,
        "image_coordinates": rng.normal((0.72, -0.4), (0.03, 0.08), (IMAGES, 2)).tolist(),
    }


def space_json(rng: np.random.Generator, start: np.ndarray, move: float) -> dict[str, Any]:
    return {
        "divergence": rng.uniform(0.1, 0.5, CLASSES).tolist(),
        "preservation": (rng.integers(0, 6, CLASSES) / 5).tolist(),
        "gap": float(0.8 + rng.normal(0, 0.02)),
        "coordinates_text": (start + rng.normal(0, move, start.shape)).tolist(),
    }


def model_json(
    rng: np.random.Generator, name: str, label: str, rule: str, spaces: list[dict[str, Any]]
) -> dict[str, Any]:
    splits = [
        {
            "split": i + 1,
            "map": {"scale": 100.0, "bias": 0.0, "rule": rule},
            **split_pool_json(rng),
            "groups": {group: split_pool_json(rng) for group in GROUPS},
            "classes": [{"name": f"class {c}", "metrics": {}} for c in range(CLASSES)],
            "geometry": space,
        }
        for i, space in enumerate(spaces)
    ]
    geometry = {
        "ED": [float(np.mean(s["divergence"])) for s in spaces],
        "NP@5": [float(np.mean(s["preservation"])) for s in spaces],
        "gap": [s["gap"] for s in spaces],
    }
    return {
        "name": name,
        "label": label,
        "map": {"scale": 100.0, "bias": 0.0, "rule": rule},
        "map_rule": rule,
        "n_images": IMAGES,
        **pool_json(splits) | {"n_classes": CLASSES},
        "groups": {group: pool_json([s["groups"][group] for s in splits]) for group in GROUPS},
        "classes": [
            {
                "name": f"class {c}",
                "group": GROUPS[min(c // 22, 3)],
                "n_known": IMAGES,
                "n_positive": 5,
                "metrics": {},
            }
            for c in range(CLASSES)
        ],
        "geometry": {"summary": {key: interval(v) for key, v in geometry.items()}},
        "findings": [],
        "splits": splits,
    }


def pool_json(splits: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over splits; the bins of the first."""
    return {
        "n_classes": 20,
        "n_known": 20 * IMAGES,
        "n_positive": 100,
        "effective_bins": BINS,
        "metrics": {m: interval([s["metrics"][m] for s in splits]) for m in METRICS},
        "reliability": splits[0]["reliability"],
    }


def interval(values: list[float]) -> dict[str, Any]:
    mean, half = float(np.mean(values)), 2.0 * float(np.std(values, ddof=1))
    return {"value": mean, "low": mean - half, "high": mean + half}


def split_pool_json(rng: np.random.Generator) -> dict[str, Any]:
    tilt = rng.normal(0, 0.15)
    count = (20000 * np.exp(-np.arange(BINS) * rng.uniform(0.4, 0.8))).astype(int)
    confidence = (np.arange(BINS) + rng.uniform(0.3, 0.7, BINS)) / BINS
    frequency = np.clip(confidence + tilt * np.sin(np.pi * confidence), 0, 1)
    half = np.sqrt(confidence * (1 - confidence) / np.maximum(count, 1))
    columns = {
        "confidence": confidence,
        "frequency": frequency,
        "low": np.clip(confidence - 2 * half, 0, 1),
        "high": np.clip(confidence + 2 * half, 0, 1),
    }
    bins = {key: np.where(count, column, None).tolist() for key, column in columns.items()}
    return {
        "metrics": {
            "ece_positive": float(abs(tilt) + rng.uniform(0, 0.03)),
            "signed_error": float(-tilt),
            "map": float(rng.uniform(0.3, 0.9)),
        },
        "reliability": {
            "positive": {"count": count.tolist(), **bins},
            "decision": {key: [None] * BINS for key in ("count", *bins)},
        },
    }


def without_splits(results: dict[str, Any], groups: bool = True) -> dict[str, Any]:
    """The same as ``analyze predictions`` writes it."""
    del results["image_coordinates"]
    for model in results["models"]:
        model.update(splits=[], geometry={})
        if not groups:
            model["groups"] = {}
            for entry in model["classes"]:
                entry["group"] = None
    return results


@pytest.fixture(scope="module")
def shared() -> dict[str, Any]:
    return fake_results()


@pytest.fixture
def results(shared: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(shared)


def with_gid(ax: Axes, gid: str) -> Any:
    """The one artist of an axes that carries this name."""
    (found,) = (artist for artist in ax.get_children() if artist.get_gid() == gid)
    return found


def diagonals(ax: Axes) -> int:
    return sum(np.array_equal(line.get_xydata(), [[0, 0], [1, 1]]) for line in ax.lines)


def texts_of(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(mpl.text.Text))


def bars_of(ax: Axes) -> list[tuple[float, float, float]]:
    """(left, bottom, height) of each bar."""
    return [(bar.get_x(), bar.get_y(), bar.get_height()) for bar in ax.patches]


# reliability


COLUMNS = ("confidence", "frequency", "low", "high")
BINS_OF_FIVE = {
    "count": [1000, 0, 10, 1, 0],
    "confidence": [0.05, None, 0.5, 0.7, None],
    "frequency": [0.05, None, 0.8, 0.0, None],
    "low": [0.03, None, 0.2, 0.0, None],
    "high": [0.06, None, 0.8, 1.0, None],
}


def test_reliability_draws_filled_bins_at_their_place():
    ax = draw_reliability(BINS_OF_FIVE, look=LOOKS["bce"], title="BCE")
    above, histogram = ax.figure.axes
    assert above is ax
    bars = bars_of(ax)
    np.testing.assert_allclose(bars[:3], [(0, 0, 0.05), (0.4, 0, 0.8), (0.6, 0, 0)])
    np.testing.assert_allclose(bars[3:], [(0, 0.05, 0), (0.4, 0.8, -0.3), (0.6, 0, 0.7)])
    np.testing.assert_allclose([(x, h) for x, _, h in bars_of(histogram)],
                               [(0, 1000), (0.4, 10), (0.6, 1)])  # fmt: skip
    assert histogram.get_yscale() == "log"
    assert histogram.get_ylim()[0] < 1  # one count shows
    assert diagonals(ax) == 1
    assert ax.get_title() == "BCE"
    band, points = ax.collections
    np.testing.assert_allclose(points.get_offsets(), [(0.05, 0.05), (0.5, 0.8), (0.7, 0.0)])
    assert to_hex(points.get_facecolor()[0]).upper() == LOOKS["bce"].colour
    assert band.get_gid() == "band"


def test_reliability_shows_what_calibrated_models_would():
    band = with_gid(draw_reliability(BINS_OF_FIVE), "band")
    np.testing.assert_allclose(
        band.get_segments(),
        [[(0.05, 0.03), (0.05, 0.06)], [(0.5, 0.2), (0.5, 0.8)], [(0.7, 0.0), (0.7, 1.0)]],
    )
    assert band.get_capstyle() == "butt"  # other caps would lengthen it


def test_reliability_shades_the_sign_of_the_gap():
    ax = draw_reliability(BINS_OF_FIVE)
    under, over = ax.patches[4], ax.patches[5]
    assert to_hex(under.get_facecolor()).upper() == UNDER_COLOUR
    assert to_hex(over.get_facecolor()).upper() == OVER_COLOUR


def test_reliability_shows_the_other_splits_as_points():
    other = {"count": [0, 0, 0, 0, 4], "confidence": [None] * 4 + [0.9],
             "frequency": [None] * 4 + [0.6]}  # fmt: skip
    ax = draw_reliability(BINS_OF_FIVE, splits=[other])
    _, small, large = ax.collections
    np.testing.assert_allclose(small.get_offsets(), [(0.9, 0.6)])
    assert small.get_sizes()[0] < large.get_sizes()[0]


def test_reliability_of_no_data_is_empty_but_drawn():
    ax = draw_reliability({"count": [0, 0], **dict.fromkeys(COLUMNS, [None, None])})
    assert [bars_of(part) for part in ax.figure.axes] == [[], []]
    assert diagonals(ax) == 1


def test_reliability_pages_have_a_panel_for_each_model_and_group(results: dict[str, Any]):
    pages = reliability_pages(results)
    assert [len(page.axes) for page in pages] == [2 * 4 * 4, 2 * 3 * 4]
    diagrams = [ax for page in pages for ax in page.axes if diagonals(ax)]
    assert len(diagrams) == len(MODELS) * len(GROUPS)
    for page, part in zip(pages, (results["models"][:4], results["models"][4:]), strict=True):
        said = texts_of(page)
        for model in part:
            rule = model["map_rule"]
            assert model["label"] in said
            assert f"(bias rule: {rule})" in said or f"({rule} bias)" in said
            for group in GROUPS:
                metrics = model["groups"][group]["metrics"]
                signed = f"{metrics['signed_error']['value']:+z.3f}".replace("-", "−")
                ece = f"{metrics['ece_positive']['value']:.3f}"
                assert f"{group}\nECE {ece}   signed {signed}" in said


def test_reliability_pages_show_the_first_split_large_and_the_others_small(results: dict[str, Any]):
    results["models"] = results["models"][:1]
    (page,) = reliability_pages(results)
    tables = [
        split["groups"]["tail"]["reliability"]["positive"]
        for split in results["models"][0]["splits"]
    ]
    *small, large = (c for c in page.axes[2].collections if c.get_gid() != "band")
    for points, table in zip([large, *small], tables, strict=True):
        filled = [y for y, count in zip(table["frequency"], table["count"], strict=True) if count]
        np.testing.assert_array_equal(points.get_offsets()[:, 1], filled)


def test_reliability_pages_leave_out_groups_without_classes(results: dict[str, Any]):
    for model in results["models"]:
        for part in (model, *model["splits"]):
            del part["groups"]["medium"]
    pages = reliability_pages(results)
    assert [len(page.axes) for page in pages] == [2 * 4 * 3, 2 * 3 * 3]
    assert "medium" not in texts_of(pages[0])


def test_an_undefined_number_is_a_dash(results: dict[str, Any]):
    metrics = results["models"][0]["groups"]["tail"]["metrics"]
    metrics["ece_positive"]["value"] = None
    metrics["signed_error"]["value"] = float("nan")
    assert "tail\nECE –   signed –" in texts_of(reliability_pages(results)[0])


def test_reliability_pages_name_what_is_missing(results: dict[str, Any]):
    del results["models"][2]["groups"]["tail"]["metrics"]["signed_error"]
    with pytest.raises(BadData) as error:
        reliability_pages(results)
    assert str(error.value) == (
        "The figure needs 'signed_error' for model 'bce', group 'tail', but the results hold "
        "'ece_positive', 'map'; write them anew with 'ccr-diag analyze'."
    )


# calibration by frequency


@pytest.mark.parametrize("metric", ["ece_positive", "signed_error", "map"])
def test_frequency_points_are_the_means(results: dict[str, Any], metric: str):
    ax = draw_frequency(results, metric)
    assert [label.get_text() for label in ax.get_xticklabels()] == list(GROUPS)
    middle = (len(MODELS) - 1) / 2
    for i, model in enumerate(results["models"]):
        for position, group in enumerate(GROUPS):
            point = with_gid(ax, f"{model['name']}/{group}")
            ((x, y),) = point.get_xydata()
            assert y == model["groups"][group]["metrics"][metric]["value"]
            assert x == pytest.approx(position + (i - middle) * 0.76 / len(MODELS))
            assert point.get_color() == LOOKS[model["name"]].colour
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == [label for label, _, _ in MODELS.values()]


def test_frequency_bars_are_the_intervals(results: dict[str, Any]):
    ax = draw_frequency(results, "signed_error")
    entry = results["models"][0]["groups"]["head"]["metrics"]["signed_error"]
    segments = [bar.get_segments()[0][:, 1] for bar in ax.collections]
    assert len(segments) == len(MODELS) * len(GROUPS)
    np.testing.assert_allclose(segments[0], [entry["low"], entry["high"]])


def test_frequency_without_intervals_has_no_bars(results: dict[str, Any]):
    for model in results["models"]:
        for pool in model["groups"].values():
            pool["metrics"]["ece_positive"].update(low=None, high=None)
    assert len(draw_frequency(results).collections) == 0


def test_frequency_leaves_out_an_undefined_mean(results: dict[str, Any]):
    entry = results["models"][0]["groups"]["head"]["metrics"]["map"]
    entry.update(value=None, low=None, high=None)
    gids = {line.get_gid() for line in draw_frequency(results, "map").lines}
    assert "zero-shot/head" not in gids
    assert "zero-shot/tail" in gids


def test_signed_error_names_its_sides_around_zero(results: dict[str, Any]):
    ax = draw_frequency(results, "signed_error")
    assert sum(np.array_equal(line.get_ydata(), [0, 0]) for line in ax.lines) == 1
    sides = {text.get_text(): text.get_position()[1] for text in ax.texts}
    assert sides["over-\nconfident"] > sides["under-\nconfident"]
    assert ax.get_ylim()[0] < 0 < ax.get_ylim()[1]


def test_axes_turn_logarithmic_where_a_linear_one_would_hide_models(results: dict[str, Any]):
    assert draw_frequency(results).get_yscale() == "linear"
    for i, model in enumerate(results["models"]):
        for pool in model["groups"].values():
            entry = {"value": 0.01 if i % 2 else 0.95, "low": None, "high": None}
            pool["metrics"].update(ece_positive=entry, signed_error=entry)
    ece, signed = frequency_page(results).axes
    assert (ece.get_yscale(), signed.get_yscale()) == ("log", "symlog")
    assert ece.get_ylabel() == "positive ECE, log scale"
    for ax in (ece, signed):
        low, high = ax.get_ylim()
        assert low < 0.01 < 0.95 < high


def test_frequency_refuses_a_metric_that_is_not_there(results: dict[str, Any]):
    with pytest.raises(BadConfig) as error:
        draw_frequency(results, "ece_positiv")
    assert str(error.value) == (
        "The metric to draw must be in the results, but got 'ece_positiv'; "
        "did you mean 'ece_positive'?"
    )


def test_frequency_page_shows_the_metric_above_the_signed_error(results: dict[str, Any]):
    above, below = frequency_page(results, "map").axes
    assert above.get_ylabel() == "mAP"
    assert below.get_ylabel().startswith("signed error")


def notes_of(figure: Figure) -> str:
    return " ".join(texts_of(figure).split("\n"))


def test_notes_say_where_the_intervals_are_from(results: dict[str, Any]):
    results["models"] = results["models"][:2]
    splits = "mean over splits with its 95 % interval (Student t)"
    assert splits in notes_of(frequency_page(results))
    assert splits in notes_of(geometry_page(results))
    assert splits in notes_of(modality_gap_page(results))
    assert "means over splits" in notes_of(reliability_pages(results)[0])
    results["models"][0]["splits"] = results["models"][0]["splits"][:1]
    assert "(Student t; of a single split: bootstrap over images)" in notes_of(
        frequency_page(results)
    )
    for model in results["models"]:
        model["splits"] = model["splits"][:1]
        for entry in model["geometry"]["summary"].values():
            entry.update(low=None, high=None)
    assert "value with its 95 % interval (bootstrap over images)" in notes_of(
        frequency_page(results)
    )
    assert "value, without interval" in notes_of(geometry_page(results))
    assert "value, without interval" in notes_of(modality_gap_page(results))
    pages = [frequency_page, geometry_page, modality_gap_page, lambda r: reliability_pages(r)[0]]
    assert not any("split" in notes_of(page(results)) for page in pages)


def test_an_interval_may_miss_its_point(results: dict[str, Any]):
    assert "below its point" not in notes_of(frequency_page(results))
    entry = results["models"][0]["groups"]["head"]["metrics"]["ece_positive"]
    entry.update(low=0.5 * entry["value"], high=0.9 * entry["value"])
    page = frequency_page(results)
    np.testing.assert_allclose(
        page.axes[0].collections[0].get_segments()[0][:, 1], [entry["low"], entry["high"]]
    )
    assert "it may lie below its point" in notes_of(page)


def test_a_mark_alone_lies_inside_its_axes(results: dict[str, Any]):
    results["models"] = results["models"][:1]
    without_splits(results, groups=False)
    entry = {"value": 0.076, "low": 0.075, "high": 0.077}
    results["models"][0]["metrics"].update(ece_positive=entry, signed_error=entry)
    for ax in frequency_page(results).axes:
        assert 0.079 < ax.get_ylim()[1] < 0.1
        assert ax.get_yscale() == "linear"


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


# modality gap


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


def test_gap_page_has_common_axes_and_leads_from_zero_shot(results: dict[str, Any]):
    figure = modality_gap_page(results)
    assert len(figure.axes) == 5
    limits = {(ax.get_xlim(), ax.get_ylim()) for ax in figure.axes}
    assert len(limits) == 1
    lines = [c for c in figure.axes[1].collections if isinstance(c, mpl.collections.LineCollection)]
    assert len(lines) == 1
    start, end = (results["models"][i]["splits"][0]["geometry"]["coordinates_text"] for i in (0, 2))
    np.testing.assert_array_equal(lines[0].get_segments(), list(zip(start, end, strict=True)))
    assert [ax.get_title().split("\n")[0] for ax in figure.axes] == [
        "zero-shot =", "BCE", "Ranking =", "BCE + CCR", "BCE (learned bias)",
    ]  # fmt: skip


def test_gap_limits_hold_every_point(results: dict[str, Any]):
    ax = modality_gap_page(results).axes[0]
    spaces = [m["splits"][0]["geometry"]["coordinates_text"] for m in results["models"]]
    points = np.concatenate([results["image_coordinates"], *spaces])
    low, high = np.transpose([ax.get_xlim(), ax.get_ylim()])
    assert (points > low).all()
    assert (points < high).all()


def test_gap_refuses_a_model_that_is_not_there(results: dict[str, Any]):
    with pytest.raises(BadConfig) as error:
        draw_modality_gap(results, models=["rankin"])
    assert str(error.value) == (
        "A model to draw must be in the results, but got 'rankin'; did you mean 'ranking'?"
    )


# geometry


def test_geometry_rows_show_means_intervals_and_classes(results: dict[str, Any]):
    left, right = draw_geometry(results)
    assert [label.get_text() for label in left.get_yticklabels()] == [
        "zero-shot =\nzero-shot (prior bias)", "BCE", "Ranking =\nRanking (prior bias)",
        "BCE + CCR", "BCE (learned bias)",
    ]  # fmt: skip
    for ax, key, name in ((left, "divergence", "ED"), (right, "preservation", "NP@5")):
        assert ax.get_ylim()[0] > ax.get_ylim()[1]  # first model on top
        for row, i in enumerate((0, 2, 3, 4, 5)):
            model = results["models"][i]
            summary = model["geometry"]["summary"][name]
            point = with_gid(ax, f"{model['name']}/{name}")
            assert point.get_xydata().tolist() == [[summary["value"], row]]
            assert point.get_color() == LOOKS[model["name"]].colour
            strip = with_gid(ax, f"{model['name']}/classes").get_offsets()
            np.testing.assert_array_equal(strip[:, 0], model["splits"][0]["geometry"][key])
            assert np.abs(strip[:, 1] - row).max() <= 0.25
        bars = [c for c in ax.collections if isinstance(c, mpl.collections.LineCollection)]
        bce = results["models"][2]["geometry"]["summary"][name]
        np.testing.assert_allclose(bars[1].get_segments()[0][:, 0], [bce["low"], bce["high"]])


def test_geometry_needs_two_axes(results: dict[str, Any]):
    with pytest.raises(BadConfig) as error:
        draw_geometry(results, [Figure().subplots()])
    assert str(error.value) == "The geometry figure needs two axes (ED, NP@K), but got 1."


def test_geometry_names_a_missing_measure(results: dict[str, Any]):
    del results["models"][0]["geometry"]["summary"]["NP@5"]
    with pytest.raises(BadData) as error:
        draw_geometry(results)
    assert str(error.value) == (
        "The figure needs 'NP@K' in the geometry summary, but the results hold none; "
        "write them anew with 'ccr-diag analyze'."
    )


# the look, and everything together


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


def test_results_are_not_changed(results: dict[str, Any], shared: dict[str, Any]):
    all_figures(results)
    assert results == shared


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of visible texts that cover one another, and texts that leave the page."""
    with style():
        figure.draw_without_rendering()
    hidden = tick_labels_beyond(figure)
    texts = [
        (t.get_text(), t.get_window_extent())
        for t in figure.findobj(mpl.text.Text)
        if t.get_visible() and t.get_text().strip() and t not in hidden
    ]
    page = figure.bbox.padded(1.0)
    outside = [(a, "page") for a, box in texts if not (page.contains(box.x0, box.y0)
               and page.contains(box.x1, box.y1))]  # fmt: skip
    crossing = [
        (a, b)
        for i, (a, box) in enumerate(texts)
        for b, other in texts[i + 1 :]
        if box.padded(-1.0).overlaps(other.padded(-1.0))
    ]
    return outside + crossing


def tick_labels_beyond(figure: Figure) -> list[mpl.text.Text]:
    """Labels of ticks outside the limits of their axis: they exist, but are not drawn."""
    found = []
    for axis in (axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            if not (low <= tick.get_loc() <= high and axis.axes.axison):
                found += [tick.label1, tick.label2]
    return found


FIGURES = (
    "modality_gap",
    "reliability_by_group_1",
    "reliability_by_group_2",
    "calibration_by_frequency",
    "text_geometry",
)


@pytest.fixture(scope="module")
def figures(shared: dict[str, Any]) -> dict[str, Figure]:
    return all_figures(shared)


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_covers_another_or_leaves_the_page(figures: dict[str, Figure], name: str):
    assert overlaps(figures[name]) == []


def test_no_text_of_a_lone_axes_covers_another_or_leaves_the_page(shared: dict[str, Any]):
    axes = [
        draw_modality_gap(shared),
        draw_frequency(shared, "signed_error"),
        draw_frequency(shared, "map"),
        draw_geometry(shared)[0],
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


# reading the results file


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_results_are_read_back_with_undefined_as_none(results: dict[str, Any], tmp_path: Path):
    entry = results["models"][0]["groups"]["head"]["metrics"]["map"]
    entry["value"] = float("nan")
    loaded = load_results(write(tmp_path / "results.json", results))
    entry["value"] = None
    assert loaded == results


def test_a_missing_file_is_named(tmp_path: Path):
    path = tmp_path / "results.json"
    with pytest.raises(BadData) as error:
        load_results(path)
    assert str(error.value) == (
        f"The results file must be readable, but {path} is not (No such file or directory); "
        "write it with 'ccr-diag analyze'."
    )


def test_a_file_that_is_not_json_is_named(tmp_path: Path):
    path = tmp_path / "results.json"
    path.write_text("{")
    with pytest.raises(
        BadData, match=r"^A results file must be JSON, but .* is not \(.*\); write it"
    ):
        load_results(path)


@pytest.mark.parametrize("content", [{}, {"schema_version": 2}, {"schema": 1}, [], None])
def test_another_schema_is_refused(content: object, tmp_path: Path):
    path = write(tmp_path / "results.json", content)
    found = content.get("schema_version") if isinstance(content, dict) else None
    with pytest.raises(BadData) as error:
        load_results(path)
    assert str(error.value) == (
        f"A results file must have schema_version 1, but {path} has {found!r}; "
        "write it anew with 'ccr-diag analyze'."
    )


def drop(*keys: Any) -> Any:
    def change(results: dict[str, Any]) -> None:
        part: Any = results
        for key in keys[:-1]:
            part = part[key]
        del part[keys[-1]]

    return change


def set_to(value: object, *keys: Any) -> Any:
    def change(results: dict[str, Any]) -> None:
        part: Any = results
        for key in keys[:-1]:
            part = part[key]
        part[keys[-1]] = value

    return change


SPLIT = ("models", 1, "splits", 0)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (drop("models"), "A results file needs 'definitions', 'models' in the file, "
         "but 'models' is missing"),
        (drop("definitions", "n_bins"), "A results file needs 'preset', 'n_bins', 'interval', "
         "'metrics' in 'definitions', but 'n_bins' is missing"),
        (drop("models", 1, "classes", 0), "A results file needs 86 entries in 'classes' of model "
         "'zero-shot (prior bias)', but has 85"),
        (set_to([], "models"),
         "A results file must hold at least one model, but 'models' is empty"),
        (drop("models", 0, "label"), "A results file needs 'name', 'label', 'map_rule', "
         "'n_images', 'n_classes', 'n_known', 'n_positive', 'effective_bins', 'metrics', "
         "'reliability', 'groups', 'classes', 'geometry', 'findings', 'splits' in a model, "
         "but 'label' is missing"),
        (set_to("bce", "models", 3, "name"), "Model names must differ, but they are zero-shot, "
         "zero-shot (prior bias), bce, bce, bce+ccr, bce (learned bias), ranking (prior bias)"),
        (drop(*SPLIT, "geometry", "coordinates_text", 0), "A results file needs 86 entries in "
         "'coordinates_text' of model 'zero-shot (prior bias)', but has 85"),
        (set_to(None, *SPLIT, "geometry", "divergence"), "A results file needs 86 entries in "
         "'divergence' of model 'zero-shot (prior bias)', but has NoneType"),
        (drop(*SPLIT, "groups", "tail", "reliability", "positive", "count", 0),
         "A results file needs 15 entries in 'count' of 'reliability', positive, of group 'tail' "
         "of a split of model 'zero-shot (prior bias)', but has 14"),
        (set_to({"metrics": {}}, *SPLIT, "groups", "tail"), "A results file needs 'metrics', "
         "'reliability' in group 'tail' of a split of model 'zero-shot (prior bias)', "
         "but 'reliability' is missing"),
    ],
)  # fmt: skip
def test_a_broken_layout_is_named(change: Any, rule: str, results: dict[str, Any], tmp_path: Path):
    results = json.loads(json.dumps(results))  # no parts in common
    change(results)
    path = write(tmp_path / "results.json", results)
    with pytest.raises(BadData) as error:
        load_results(path)
    assert str(error.value) == f"{rule} (in {path}); write it anew with 'ccr-diag analyze'."


def test_a_mean_bias_keeps_the_methods_colour_unless_the_plain_method_is_there_too():
    assert model_looks(["bce (mean bias)"])["bce (mean bias)"] == LOOKS["bce"]
    both = model_looks(["bce", "bce (mean bias)"])
    assert both["bce"] == LOOKS["bce"] != both["bce (mean bias)"]


@pytest.mark.parametrize(
    "change",
    [
        {"definitions": None},
        {"definitions": {"preset": "textbook", "n_bins": "x", "interval": "", "metrics": {}}},
        {"models": [{"name": "bce", "label": None}]},
        {"models": 3},
    ],
    ids=str,
)
def test_an_edited_results_file_is_one_clear_error(results, tmp_path, change):
    models = change.get("models")
    if isinstance(models, list):
        change = {"models": [{**results["models"][0], **models[0]}]}
    path = tmp_path / "results.json"
    path.write_text(json.dumps({**results, **change}))
    with pytest.raises(BadData, match="results.json"):
        load_results(path)
