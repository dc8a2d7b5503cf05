"""The steadiness of correlations against batch size, read back from its artists."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from ccr_diag.errors import BadConfig, BadData
from ccr_diag.figures.stability import (
    MEASURES,
    STATISTICS,
    draw_stability,
    stability_pictures,
    stability_table,
)
from ccr_diag.figures.style import ESTIMATOR_LOOKS

SIZES = (8, 16, 32)


def record(*names, sizes=SIZES):
    """As ``stability_of`` makes it, of made-up numbers."""
    rows = [
        {
            "statistic": statistic,
            "batch_size": size,
            "measure": measure,
            **{"mean": i / 10 + 1 / size, "sd": 0.1, "low": i / 10, "high": i / 10 + 0.3, "n": 100},
        }
        for i, statistic in enumerate(STATISTICS)
        for size in sizes
        for measure in (*MEASURES, "evidence")
    ]
    models = [{"name": n, "n_images": 3000, "n_classes": 86, "batches": rows} for n in names]
    return {"definitions": {"n_batches": 100}, "models": models}


@pytest.fixture(scope="module")
def page():
    (picture,) = stability_pictures(record("bce (mean bias)"))
    return picture


def lines_of(ax):
    return {line.get_gid(): line for line in ax.get_lines() if line.get_gid()}


def test_a_line_a_correlation_whose_colour_is_what_and_dashes_are_whose():
    ax = draw_stability(record("bce"), "bce", "error")
    drawn = lines_of(ax)
    assert set(drawn) == set(STATISTICS)
    for i, (name, (look, dashes, _)) in enumerate(STATISTICS.items()):
        line = drawn[name]
        assert list(line.get_xdata()) == list(SIZES)
        assert list(line.get_ydata()) == pytest.approx([i / 10 + 1 / size for size in SIZES])
        assert to_hex(line.get_color()).upper() == ESTIMATOR_LOOKS[look].colour
        assert line.get_linestyle() == dashes == ("--" if name.startswith("label") else "-")
    assert ax.get_ylim()[0] == 0
    assert ax.xaxis.get_transform().base == 2
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["8", "16", "32"]


def test_bands_are_the_intervals_of_the_record():
    ax = draw_stability(record("bce"), "bce", "pearson")
    bands = [c.get_paths()[0].vertices for c in ax.collections if c.get_paths()]
    bands = [np.round(band, 9) for band in bands if len(band) > 2]
    assert len(bands) == len(STATISTICS)
    assert {tuple(p) for p in bands[1]} >= {(8.0, 0.1), (32.0, 0.4)}


def test_the_page_has_four_measures_and_says_what_is_fair(page):
    assert [ax.get_ylabel() for ax in page.figure.axes] == list(MEASURES.values())
    said = " ".join(page.figure._supxlabel.get_text().split())
    assert said.startswith(
        "BCE (mean bias): correlations between 86 classes; lines: mean over 100 batches drawn from "
        "3,000 images"
    )
    assert "Compare absence with presence" in said
    legend = [text.get_text() for text in page.figure.legends[0].get_texts()]
    assert legend == [name for _, _, name in STATISTICS.values()]


def test_the_table_holds_what_is_drawn(page):
    assert page.name == "correlation_stability"
    assert len(page.table) == len(MEASURES) * len(STATISTICS) * len(SIZES)
    for ax, measure in zip(page.figure.axes, MEASURES, strict=True):
        part = page.table[page.table["measure"] == measure]
        for name, means in part.groupby("statistic"):
            assert list(lines_of(ax)[name].get_ydata()) == means["mean"].tolist()


def test_several_models_have_a_page_each_and_undefined_numbers_are_gaps():
    source = record("bce", "a_$" * 40, sizes=(8,))
    row = source["models"][0]["batches"][0]
    row |= dict.fromkeys(("mean", "sd", "low", "high"))
    pictures = stability_pictures(source)
    assert [p.name[:25] for p in pictures] == [
        "correlation_stability_1_b",
        "correlation_stability_2_a",
    ]
    assert np.isnan(pictures[0].table.loc[0, "mean"])
    for picture in pictures:
        picture.figure.draw_without_rendering()


def test_what_the_record_does_not_hold_is_refused():
    source = record("bce")
    with pytest.raises(BadConfig, match="did you mean 'pearson'"):
        stability_table(source, "bce", "person")
    with pytest.raises(BadConfig, match="model to draw must be one of 'bce', but got 'ranking'"):
        draw_stability(source, "ranking", "error")
    source["models"][0]["batches"] = []
    with pytest.raises(BadData, match="needs 'error' of 'bce', but the record has none"):
        stability_pictures(source)
