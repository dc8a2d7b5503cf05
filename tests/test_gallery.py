"""The demo, run as a user runs it, gives the tables behind the pictures of the README again."""

import importlib.util
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

GALLERY = Path(__file__).parent.parent / "figures" / "gallery"
# Equal to the last bit where the gallery was made; other processors add in other orders, and tuning
# amplifies that.
NEAR, MOST = 0.05, 0.95


def script():
    spec = importlib.util.spec_from_file_location("make_gallery", GALLERY / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make = script()


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gallery") / "demo"
    return folder, make.run_demo(folder)


def in_rows(table):
    """The numbers of each row, by its words, its split and bin, and its place among those alike."""
    # As a file has it, with its types and gaps.
    table = pd.read_csv(io.StringIO(table.to_csv(index=False)))
    numbers = [c for c in table.select_dtypes("number") if c not in ("split", "bin")]
    keys = [column for column in table if column not in numbers]
    place = table.groupby(keys, dropna=False).cumcount()
    return table.astype(dict.fromkeys(keys, str)).set_index([*keys, place])[numbers]


def hold_against_committed(picture):
    committed = in_rows(pd.read_csv(GALLERY / f"{picture.name}.csv"))
    found = in_rows(picture.table)
    assert list(found) == list(committed)
    rows = found.index.intersection(committed.index)
    assert len(rows) >= MOST * max(len(found), len(committed))
    near = np.isclose(
        found.loc[rows], committed.loc[rows], rtol=NEAR, atol=NEAR / 2, equal_nan=True
    )
    assert near.mean() >= MOST, picture.name


@pytest.mark.long
def test_the_demo_gives_the_tables_of_the_gallery_again(demo):
    folder, _ = demo
    pictures = make.demo_pictures(folder)
    assert len(pictures) == len(make.SHOWN) - 1  # all but that of the sweep
    for picture in pictures:
        hold_against_committed(picture)


@pytest.mark.long
def test_the_demo_shows_ccr_beside_what_it_must_be_compared_with(demo):
    folder, said = demo
    for model in (
        "Zero-shot (prior bias)", "BCE", "Ranking", "BCE + CCR", "BCE (learned bias)",
    ):  # fmt: skip
        assert model in said
    assert {path.name for path in folder.iterdir()} == {
        "figures", "matrices", "predictions", "report.html", "results.json", "runs", "tables.csv",
        "tables.md",
    }  # fmt: skip


def test_the_sweep_gives_its_table_again():
    (picture,) = make.sweep_pictures()
    hold_against_committed(picture)


def test_the_readmes_show_the_gallery_and_nothing_is_left_over():
    shown = (GALLERY.parent.parent / "README.md").read_text() + (GALLERY / "README.md").read_text()
    made = {f"{name}.png" for name in make.SHOWN} | {"report.png"}
    assert {path.name for path in GALLERY.glob("*.png")} == made
    assert {path.name for path in GALLERY.glob("*.csv")} == {f"{name}.csv" for name in make.SHOWN}
    assert all(name in shown for name in made)
