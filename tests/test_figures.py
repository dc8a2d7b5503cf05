"""The gallery: which pictures there are of what, their files, and the looks that they share."""

import copy
import gc
import warnings
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from made_results import MODELS, overlaps, texts_of, without_splits
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager, get_font

from ccr_diag.errors import BadConfig
from ccr_diag.figures import fonts, gallery
from ccr_diag.figures.fonts import Page
from ccr_diag.figures.frequency import LABELS
from ccr_diag.figures.gallery import pictures_of_results, write_pictures
from ccr_diag.figures.picture import Picture
from ccr_diag.figures.style import LOOKS, groups_missing, model_looks, new_figure, style
from ccr_diag.metrics import METRICS as REGISTRY
from ccr_diag.runs import OWN_NAMES

Made = dict[str, Any]
CAT, DOG = "猫", "犬"  # DejaVu Sans has neither


@pytest.fixture(scope="module")
def bare(shared_results: Made) -> Made:
    """One model as ``analyze predictions`` writes it; its tail holds no classes."""
    model = copy.deepcopy(shared_results["models"][2])
    del model["groups"]["tail"]
    for entry in model["classes"]:
        entry["group"] = entry["group"].replace("tail", "new")
    return without_splits(shared_results | {"models": [model]})


@pytest.fixture(scope="module")
def drawn(bare: Made) -> tuple[list[Picture], list[str]]:
    """Its pictures, and what was left out."""
    told: list[str] = []
    before = copy.deepcopy(bare)
    pictures = pictures_of_results(bare, {}, told.append)
    assert bare == before
    return pictures, told


def test_figures_without_numbers_and_groups_without_classes_are_left_out_and_named(drawn):
    pictures, told = drawn
    names = [picture.name for picture in pictures]
    assert {"calibration_by_frequency", "reliability_positive_1", "reliability_classes_bce_1"} <= {
        *names
    }
    kept_out = {"modality_gap", "text_geometry", "neighbours", "text_similarity"}
    assert not any(name.startswith(tuple(kept_out)) for name in names)
    assert told[0] == "group tail (it has no classes)"
    assert kept_out <= {line.split(" (")[0] for line in told}
    assert all("it needs" in line and line.endswith(")") for line in told[1:])
    said = "\n".join(texts_of(picture.figure) for picture in pictures)
    assert "tail" not in " ".join(said.split()).replace("Without classes: tail.", "")


def test_every_picture_has_a_name_of_our_own_and_a_table(drawn):
    for picture in drawn[0]:
        assert all(OWN_NAMES.fullmatch(f"{picture.name}.{e}") for e in ("pdf", "svg", "png", "csv"))
        assert len(picture.table.columns) > 0


def test_groups_without_classes(shared_results: Made, bare: Made):
    assert groups_missing(shared_results) == []
    assert groups_missing(bare) == ["tail"]
    alone = copy.deepcopy(bare)
    alone["models"][0]["groups"] = {}
    assert groups_missing(alone) == []


def test_every_metric_has_a_label_of_its_own():
    assert set(LABELS) == set(REGISTRY)
    assert len(set(LABELS.values())) == len(LABELS)


# Files


def picture(name: str = "made", label: str = "x") -> Picture:
    """A line and its table."""
    with style():
        figure = new_figure(2.0, 1.5)
        ax = figure.subplots()
        ax.plot([0, 1], [0.1, 1 / 3], gid="line")
        ax.set(xlabel=label)
    return Picture(name, figure, pd.DataFrame({"x": [0, 1], "y": [0.1, 1 / 3], "of": ["a", CAT]}))


def test_every_figure_is_written_in_every_format_beside_its_table(tmp_path: Path):
    told: list[tuple[int, int]] = []
    folder = tmp_path / "new" / "figures"
    written = write_pictures(
        [picture(), picture("more")], folder, progress=lambda *n: told.append(n)
    )
    assert [path.name for path in written] == [
        f"{name}.{ending}" for name in ("made", "more") for ending in ("pdf", "svg", "png", "csv")
    ]
    starts = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF", ".csv": b"x,y,of\n"}
    assert all(path.read_bytes().startswith(starts[path.suffix]) for path in written)
    assert sorted(written) == sorted(folder.iterdir())
    assert told == [(1, 2), (2, 2)]
    read = pd.read_csv(folder / "made.csv")
    pd.testing.assert_frame_equal(read, picture().table, check_exact=True, check_dtype=False)


def test_the_same_numbers_give_the_same_bytes_with_neither_date_nor_version(tmp_path: Path):
    first = write_pictures([picture(label=CAT)], tmp_path / "a")
    again = write_pictures([picture(label=CAT)], tmp_path / "b", ("png", "pdf", "svg"))
    contents = {path.name: path.read_bytes() for path in first}
    assert {path.name: path.read_bytes() for path in again} == contents
    for content in contents.values():
        assert mpl.__version__.encode() not in content
        assert b"CreationDate" not in content
        assert b"<dc:date>" not in content


def test_a_figure_lays_itself_out_as_before_once_written(tmp_path: Path):
    made = picture()
    engine = made.figure.get_layout_engine()
    write_pictures([made], tmp_path, ("svg",))
    assert made.figure.get_layout_engine() is engine


def test_a_figure_is_drawn_once_a_format_and_garbage_left_alone_meanwhile(tmp_path, monkeypatch):
    drawn, draw = [], Page.draw

    def count(page: Page, renderer: Any) -> None:
        drawn.append(gc.isenabled())
        draw(page, renderer)

    monkeypatch.setattr(Page, "draw", count)
    write_pictures([picture()], tmp_path)
    assert drawn == [False] * 3
    assert gc.isenabled()


def test_pages_of_classes_may_be_left_out(bare: Made, monkeypatch):
    for kinds in ("_OF_RESULTS", "_OF_PAIRS"):
        monkeypatch.setattr(gallery, kinds, ())
    told: list[str] = []
    assert pictures_of_results(bare, {}, told.append, class_pages=0) == []
    assert told == ["group tail (it has no classes)"]


def test_pictures_of_one_name_are_numbered(tmp_path: Path):
    written = write_pictures([picture(), picture("b"), picture()], tmp_path, ("svg",))
    assert [path.name for path in written[::2]] == ["made.svg", "b.svg", "made_2.svg"]


def test_an_unknown_format_is_refused(tmp_path: Path):
    with pytest.raises(BadConfig) as error:
        write_pictures([picture()], tmp_path / "figures", ("png", "gif"))
    assert str(error.value) == "A figure format must be one of pdf, svg, png, but got 'gif'."
    assert not (tmp_path / "figures").exists()


def test_nothing_global_is_changed(bare: Made, tmp_path: Path):
    before, filters = dict(mpl.rcParams), list(warnings.filters)
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - that global state is what is tested
    write_pictures([picture(label=CAT)], tmp_path, ("png",))
    assert dict(mpl.rcParams) == before
    assert warnings.filters == filters
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert plt.get_fignums() == []
    with style():
        assert dict(mpl.rcParams) != before


# Letters


def test_letters_that_no_font_has_are_drawn_without_a_warning(tmp_path: Path):
    made = picture(label=f"{CAT} < & {DOG}")
    made.figure.draw_without_rendering()  # warnings are errors here
    _, svg, _, csv = write_pictures([made], tmp_path)
    assert f"{CAT} &lt; &amp; {DOG}" in svg.read_text(encoding="utf-8")
    assert CAT in csv.read_text(encoding="utf-8")


def test_another_font_stands_in_for_letters_that_the_own_lacks():
    own = get_font(next(f.fname for f in fontManager.ttflist if f.name == "DejaVu Sans"))
    other = get_font(mpl.font_manager.findfont("STIXNonUnicode")).get_charmap()
    letter = next(chr(c) for c in other if c > 0xE000 and not own.get_char_index(c))
    made = picture(label=f"a {letter}")
    made.figure.draw_without_rendering()
    (ax,) = made.figure.axes
    families = ax.xaxis.label.get_fontfamily()
    assert families[0] == "DejaVu Sans"
    assert families[2:]
    files = [mpl.font_manager.findfont(name) for name in families[2:]]
    assert all(get_font(file).get_char_index(ord(letter)) for file in files)
    assert ax.yaxis.label.get_fontfamily() == families[:2]


def test_plain_fonts_are_tried_first_and_damaged_ones_never(monkeypatch, tmp_path: Path):
    entry = mpl.font_manager.FontEntry
    damaged = tmp_path / "damaged.ttf"
    damaged.write_bytes(b"none")
    plain = next(f for f in fontManager.ttflist if f.name == "DejaVu Sans" and f.weight == 400)
    made = [
        entry(fname=plain.fname, name=name, weight=weight, style=slant)
        for name, weight, slant in (
            ("Some Serif", 400, "normal"), ("Some Sans", 700, "normal"), ("Sans B", 400, "italic"),
            ("Last Resort Sans", 400, "normal"), ("Sans C", 400, "normal"),
        )
    ]  # fmt: skip
    gone = [entry(fname=str(path), name="A Sans", weight=400, style="normal")
            for path in (damaged, tmp_path / "none.ttf")]  # fmt: skip
    monkeypatch.setattr(fonts, "fontManager", type("Fonts", (), {"ttflist": [*gone, *made]}))
    fonts._families.cache_clear()
    assert fonts._families(frozenset("é")) == ("Sans C",)
    fonts._families.cache_clear()


# Looks


def test_known_models_keep_their_colour_whatever_else_is_there():
    names = list(MODELS)
    looks = model_looks(["something new", *reversed(names), "asl"])
    assert {name: looks[name] for name in names} == {name: LOOKS[name] for name in names}
    assert len({look.colour for look in looks.values()}) == len(looks)


def test_looks_of_many_unknown_models_differ():
    looks = model_looks([f"model {i}" for i in range(44)])
    assert len(set(looks.values())) == 44


def test_a_mean_bias_keeps_the_methods_colour_unless_the_plain_method_is_there_too():
    assert model_looks(["bce (mean bias)"])["bce (mean bias)"] == LOOKS["bce"]
    both = model_looks(["bce", "bce (mean bias)"])
    assert both["bce"] == LOOKS["bce"] != both["bce (mean bias)"]


def test_the_overlap_check_finds_an_overlap():
    figure = Figure()
    figure.text(0.5, 0.5, "one")
    figure.text(0.51, 0.5, "two")
    figure.text(0.99, 0.9, "leaves the page")
    assert overlaps(figure) == [("leaves the page", "page"), ("one", "two")]
