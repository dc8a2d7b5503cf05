"""``ccr-diag analyze embeddings`` from files to tables, JSON and errors."""

import csv
import io
import json

import numpy as np
import pytest
from page_parts import parsed

from ccr_diag.cli.analyze import analyze
from ccr_diag.cli.analyze_embeddings import embeddings
from ccr_diag.metrics.geometry import TextGeometry
from ccr_diag.report_geometry import tables

NAMES = np.array([f"class {c}" for c in "abcdefgh"])


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(analyze.commands, "embeddings", embeddings)


@pytest.fixture
def files(tmp_path):
    """Two text spaces of the same classes, the second in another order, and images."""
    rng = np.random.default_rng(0)
    before = rng.normal(size=(8, 6))
    after = before + 0.4 * rng.normal(size=(8, 6))
    images = rng.normal(size=(20, 6))
    np.savez(tmp_path / "before.npz", embeddings=before, class_names=NAMES)
    np.savez(tmp_path / "after.npz", embeddings=after[::-1], class_names=NAMES[::-1])
    np.save(tmp_path / "images.npy", images)
    return tmp_path, before, after, images


def test_json_on_stdout_is_json_alone(ccr, files):
    folder, before, after, images = files
    result = ccr(
        "analyze", "embeddings", folder / "before.npz", folder / "after.npz", "--k", 3,
        "--distance", "euclidean", "--neighbours", "zero-shot", "--images", folder / "images.npy",
        "--format", "json", "--output", "-",
    )  # fmt: skip
    assert (result.exit_code, result.stderr) == (0, "")
    content = json.loads(result.stdout)
    assert list(content) == ["schema_version", "definitions", "geometry"]
    assert content["schema_version"] == 1
    expected = TextGeometry.compare(
        before, after, tuple(NAMES), images, k=3, distance="euclidean", neighbours="zero-shot"
    )
    assert content["geometry"] == json.loads(json.dumps(expected.to_json()))
    measures = set(content["geometry"]["classes"][0]) - {
        "name", "neighbours", "neighbours_zero_shot"
    }  # fmt: skip
    assert measures <= set(content["definitions"])
    assert "‖t_i − t_j‖" in content["definitions"]["ED"]
    assert "zero-shot space" in content["definitions"]["ED"]


@pytest.mark.parametrize(
    ("form", "shown"),
    [
        ("text", ["Classes whose neighbours changed most", "NP@5", "modality gap", "effective"]),
        ("markdown", ["**What tuning changed", "|---|---:|", "| modality gap |"]),
        ("latex", [r"\begin{tabular}{lrr}", r"\toprule", r"$\Delta$ED", r"$\tau$\_b"]),
    ],
)
def test_tables_for_people(ccr, files, form, shown):
    folder = files[0]
    result = ccr(
        "analyze", "embeddings", folder / "before.npz", folder / "after.npz", "--images",
        folder / "images.npy", "--format", form,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    for text in shown:
        assert text in result.stdout
    assert all(name in result.stdout for name in NAMES)


def test_each_row_of_the_tables_is_its_own_number(files):
    _, before, after, images = files
    geometry = TextGeometry.compare(before, after, tuple(NAMES), images)
    spaces, kept, moved = (rows for _, _, rows in tables(geometry))
    s = geometry.summary
    shown = {name: [float(text) for text in row] for name, *row in spaces}
    assert shown["ED"] == pytest.approx([s["ED_zero_shot"], s["ED"]], rel=1e-3)
    assert shown["modality gap"] == pytest.approx([s["gap_zero_shot"], s["gap"]], rel=1e-3)
    assert sum(name.startswith("eigenvalue") for name in shown) == 5
    keys = ("NP", "kendall", "RBO", "delta_ED", "gram_drift", "pair_drift")
    assert [float(row[1]) for row in kept] == pytest.approx([s[key] for key in keys], rel=1e-3)
    assert [row[0] for row in moved] == [NAMES[i] for i in geometry.most_moved()]
    for i, row in zip(geometry.most_moved(), moved, strict=True):
        values = [geometry.class_values[key][i] for key in ("NP", "RBO", "delta_ED")]
        assert [float(text) for text in row[1:4]] == pytest.approx(values, rel=1e-3)
        near = (geometry.nearest_zero_shot[i], geometry.nearest[i])
        assert row[4:] == [", ".join(NAMES[j] for j in order) for order in near]


def test_csv_is_tidy_and_exact(ccr, files):
    folder, before, after, _ = files
    result = ccr(
        "analyze", "embeddings", folder / "before.npz", folder / "after.npz", "--format", "csv"
    )
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    geometry = TextGeometry.compare(before, after, tuple(NAMES))
    read = {(row["class"], row["measure"]): row["value"] for row in rows}
    assert float(read["", "gram_drift"]) == geometry.gram_drift
    assert read["", "gap"] == ""
    for i, name in enumerate(NAMES):
        assert float(read[name, "delta_ED"]) == geometry.divergence_change[i]


def test_output_is_a_new_file_unless_asked(ccr, files):
    folder = files[0]
    call = ["analyze", "embeddings", folder / "before.npz", folder / "after.npz", "-o"]
    out = folder / "new" / "out.txt"
    result = ccr(*call, out)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"Written: {out}\n"
    written = out.read_text()
    assert written.startswith("Text space (8 classes;")
    out.write_text("mine")
    refused = ccr(*call, out)
    assert refused.exit_code == 2
    assert "exists; add --overwrite" in refused.stderr
    assert out.read_text() == "mine"
    assert ccr(*call, out, "--overwrite").exit_code == 0
    assert out.read_text() == written
    assert list(out.parent.iterdir()) == [out]
    for taken in (folder, folder / "after.npz"):
        refused = ccr(*call, taken, "--overwrite")
        assert refused.exit_code == 2
        assert "one of the inputs" in refused.stderr


def test_what_is_assumed_is_said(ccr, files, tmp_path):
    folder, before, after, _ = files
    np.save(tmp_path / "a.npy", before)
    np.savez(tmp_path / "b.npz", text=after)
    plain = [tmp_path / "a.npy", tmp_path / "b.npz"]
    result = ccr("analyze", "embeddings", *plain, "--k", 50)
    assert result.exit_code == 0, result.output
    notes = result.stderr.splitlines()
    assert [note[:5] for note in notes] == ["Note:"] * 3
    assert "read 'text', its only array" in notes[0]
    assert "rows are numbered" in notes[1]
    assert notes[2] == "Note: a class has only 7 others; K is 7."
    mixed = ccr("analyze", "embeddings", folder / "before.npz", tmp_path / "a.npy")
    assert "named as in the other file" in mixed.stderr
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    named = ccr("analyze", "embeddings", *plain, "--class-names", tmp_path / "names.txt")
    assert "numbered" not in named.stderr
    assert "class h" in named.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["none.npz", "before.npz"], "There is no embeddings file at none.npz"),
        (["before.npz", "images.npy"], "got 8 names for the 20 rows"),
        (["before.npz", "after.npz", "--images", "wide.npy"], "arrays of one width"),
        (["wide.npy", "before.npz"], "one width, but got 9 zero-shot and 6 tuned columns"),
        (["one.npy", "one.npy"], "at least 2 classes, but got 1"),
        (["before.npz", "after.npz", "--class-names", "none.txt"], "no file of class names"),
        (["before.npz", "after.npz", "--k", "0"], "Invalid value for '--k'"),
        (["before.npz", "after.npz", "--distance", "l1"], "Invalid value for '--distance'"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(ccr, files, args, message, monkeypatch):
    folder = files[0]
    monkeypatch.chdir(folder)
    np.save("wide.npy", np.ones((8, 9)))
    np.save("one.npy", np.ones((1, 6)))
    result = ccr("analyze", "embeddings", *args, "-o", "out.json", "--format", "json")
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert result.stdout == ""
    assert sum(line.startswith("Error") for line in result.stderr.splitlines()) == 1
    assert not (folder / "out.json").exists()


def test_a_report_shows_the_same_numbers(ccr, files, tmp_path):
    folder, before, after, images = files
    call = ("analyze", "embeddings", folder / "before.npz", folder / "after.npz")
    result = ccr(*call, "--images", folder / "images.npy", "--report", tmp_path / "r.html")
    assert result.exit_code == 0, result.output
    assert result.stderr == f"Written: {tmp_path / 'r.html'}\n"
    expected = TextGeometry.compare(before, after, tuple(NAMES), images, k=5).to_json()
    page = parsed((tmp_path / "r.html").read_text(encoding="utf-8"))
    cards = page.one("ul", class_="cards").all("span", class_="number")
    for card in cards:
        assert float(card["data-value"]) == pytest.approx(
            expected["summary"][card["data-metric"]], rel=1e-9
        )
    rows = page.one("table", id="all-classes").one("tbody").all("tr")
    for row, entry in zip(rows, expected["classes"], strict=True):
        assert row.one("th").text == entry["name"]
        assert row.all("td")[1].text == ", ".join(entry["neighbours"])
        stayed = set(entry["neighbours"]) & set(entry["neighbours_zero_shot"])
        assert {bold.text for bold in row.all("td")[1].all("strong")} == stayed
        assert float(row.all("td")[2]["data-value"]) == pytest.approx(entry["NP"])
    share = f"{100 * expected['summary']['NP']:.0f} % stayed after tuning"
    assert share in page.one("p", class_="verdict").text
    inputs = page.one("section", id="provenance").one("table").one("tbody").all("tr")
    assert len(inputs) == 3
    again = ccr(*call, "--report", tmp_path / "r.html")
    assert again.exit_code == 2
    assert "choose another --report" in again.stderr
