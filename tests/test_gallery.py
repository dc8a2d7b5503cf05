"""The demo, run as a user runs it, gives the tables behind the pictures of the README again."""

import importlib.util
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

GALLERY = Path(__file__).parent.parent / "figures" / "gallery"
NEAR = 1e-3  # processors add in other orders, and tuning amplifies it


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


def hold_against_committed(picture):
    committed = pd.read_csv(GALLERY / f"{picture.name}.csv")
    # As a file has it, with its types and gaps.
    found = pd.read_csv(io.StringIO(picture.table.to_csv(index=False)))
    assert list(found) == list(committed)
    numbers = committed.select_dtypes("number").columns
    words = [column for column in committed if column not in numbers]
    pd.testing.assert_frame_equal(found[words], committed[words])
    for column in numbers:
        np.testing.assert_allclose(
            found[column],
            committed[column],
            rtol=NEAR,
            atol=NEAR,
            err_msg=f"{picture.name} {column}",
        )


def test_the_demo_gives_the_tables_of_the_gallery_again(demo):
    folder, _ = demo
    pictures = make.demo_pictures(folder)
    assert len(pictures) == len(make.SHOWN) - 1
    for picture in pictures:
        hold_against_committed(picture)


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
