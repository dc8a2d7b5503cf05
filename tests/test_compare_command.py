"""``ccr-diag compare`` from two files to a verdict."""

import csv
import hashlib
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from ccr_diag.alignment import align
from ccr_diag.comparing import Comparison, compare_predictions
from ccr_diag.metrics.comparison import METHOD, Difference, compare
from ccr_diag.metrics.engine import measure_predictions
from ccr_diag.readers import read_predictions
from ccr_diag.report_comparison import render_comparison

NAMES = np.array([f"class {c}" for c in "abcdef"])
GROUPS = np.array(["head", "head", "tail", "tail", "new", "new"])
IDS = np.array([f"image {i}" for i in range(150)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A calibrated model, and one that is far too sure, its rows and columns in another order."""
    folder = tmp_path_factory.mktemp("compare")
    rng = np.random.default_rng(0)
    z = rng.normal(-1, 1, size=(150, 6))
    y = (rng.uniform(size=z.shape) < expit(z)).astype(np.int8)
    rows, columns = rng.permutation(150), rng.permutation(6)
    moved = np.ix_(rows, columns)
    np.savez(folder / "a.npz", logits=z, labels=y, class_names=NAMES, groups=GROUPS, image_ids=IDS)
    np.savez(
        folder / "b.npz", logits=(4 * z + 1)[moved], labels=y[moved], class_names=NAMES[columns],
        image_ids=IDS[rows],
    )  # fmt: skip
    return folder


def call(ccr, folder, *args, boot=20):
    return ccr("compare", folder / "a.npz", folder / "b.npz", "--bootstrap", boot, *args)


def test_json_is_what_the_library_finds(ccr, folder):
    result = call(
        ccr, folder, "--metric", "ece_positive", "--metric", "map", "--by", "group", "--format",
        "json", "--seed", 7, "--bins", 9,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.stderr == "files: 1 of 2\nfiles: 2 of 2\n"[-len(result.stderr) :]
    content = json.loads(result.stdout)
    assert list(content) == ["schema_version", "definitions", "a", "b", "n_images", "differences"]
    assert (content["schema_version"], content["a"], content["b"]) == (1, "a", "b")
    assert content["n_images"] == 150
    assert content["definitions"]["method"] == METHOD
    assert content["definitions"]["n_bins"] == 9
    assert set(content["definitions"]["metrics"]) == {"ece_positive", "map"}
    a, b = (read_predictions(folder / f"{name}.npz") for name in "ab")
    options = {"n_bootstrap": 20, "seed": 7, "n_bins": 9}
    grouped = replace(align(a, b), groups=a.groups)
    measured = [measure_predictions(p, **options) for p in (a, grouped)]
    expected = [
        row.to_json() for m in ("ece_positive", "map") for row in compare(*measured, m, "group")
    ]
    assert content["differences"] == expected
    assert [row["group"] for row in expected[:4]] == ["base", "head", "tail", "new"]


def test_verdicts_for_people(ccr, folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    result = call(ccr, folder)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "b (B) against a (A): 150 images, 15 bins, 20 replicates"
    rows = {line.split()[0]: line for line in lines[3:9]}
    assert list(rows) == [
        "ece_positive", "ece_decision", "signed_error", "mce_positive", "brier", "map"
    ]  # fmt: skip
    assert rows["ece_positive"].split()[-3:] == ["<", "0.001", "worse"]
    assert rows["brier"].endswith("worse")
    assert rows["map"].endswith("+0.0000 [+0.0000, +0.0000]     1.000  cannot tell")
    assert lines[9] == ""
    assert max(map(len, lines[10:])) <= 60
    assert " ".join(lines[10:]) == METHOD


@pytest.mark.parametrize(
    ("form", "shown"),
    [
        ("markdown", ["**b (B) against a (A)", "| brier | class a | ", METHOD]),
        ("latex", [r"\toprule", r"ece\_positive & class a &", "worse"]),
    ],
)
def test_tables_of_classes(ccr, folder, form, shown):
    result = call(ccr, folder, "--by", "class", "--format", form)
    assert result.exit_code == 0, result.output
    for text in shown:
        assert text in result.stdout
    assert all(name in result.stdout for name in NAMES)


@pytest.mark.parametrize(
    ("p", "shown"), [(0.0004, "< 0.001"), (0.001, "0.001"), (0.0094, "0.009"), (np.nan, "–")]
)
def test_a_row_of_the_table(p, shown):
    difference = Difference(
        "brier", "tail", None, 0.25, 0.125, -0.125, -0.2, -0.05, 0.03, 0.5, p, "better"
    )
    found = Comparison("one", "two", 9, {"n_bins": 15, "n_bootstrap": 20}, (difference,))
    row = f"| brier | tail | 0.2500 | 0.1250 | -0.1250 [-0.2000, -0.0500] | {shown} | better |"
    assert row in render_comparison(found, "markdown").splitlines()


def test_csv_is_tidy_and_exact(ccr, folder):
    result = call(ccr, folder, "--by", "class", "--metric", "brier", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    a, b = (read_predictions(folder / f"{name}.npz") for name in "ab")
    found = compare_predictions(a, b, ["brier"], "class", n_bootstrap=20).differences
    assert [row["class"] for row in rows] == list(NAMES)
    assert [float(row["p_holm"]) for row in rows] == [row.p_holm for row in found]
    assert [row["verdict"] for row in rows] == [row.verdict for row in found]
    assert {(row["name_a"], row["name_b"], row["group"]) for row in rows} == {("a", "b", "all")}


def test_a_file_against_itself_is_no_better(ccr, folder):
    same = [folder / "a.npz"] * 2
    result = ccr("compare", *same, "--bootstrap", 20, "--by", "group", "--format", "json")
    content = json.loads(result.stdout)
    assert (content["a"], content["b"]) == ("a", "a (2)")
    assert {row["verdict"] for row in content["differences"]} == {"cannot tell"}
    assert {row["difference"] for row in content["differences"]} == {0.0}


def test_features_bring_piece(ccr, folder):
    np.save(folder / "f.npy", np.random.default_rng(1).normal(size=(150, 3)))
    flags = ["--preset", "procal", "--bootstrap", 20, "--format", "json"]
    both = [folder / "a.npz", folder / "a.npz"]
    without, with_features = (
        {row["metric"] for row in json.loads(ccr("compare", *both, *flags, *more).stdout)[
            "differences"
        ]}
        for more in ([], ["--features", folder / "f.npy"])
    )  # fmt: skip
    assert with_features - without == {"piece_decision"}


def test_output_is_a_new_file_unless_asked(ccr, folder, tmp_path):
    out = tmp_path / "out.md"
    quick = ["--metric", "brier", "--format", "markdown", "-o", out]
    result = call(ccr, folder, *quick)
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"Written: {out}" in result.stderr
    text = out.read_text()
    assert text.endswith(f"\n\n{METHOD}\n")
    out.write_text("mine")
    assert call(ccr, folder, *quick).exit_code == 2
    assert out.read_text() == "mine"
    assert call(ccr, folder, *quick, "--overwrite").exit_code == 0
    assert out.read_text() == text


def test_a_report_shows_groups_and_classes_whatever_the_rows(ccr, folder, tmp_path):
    page, out = tmp_path / "page.html", tmp_path / "out.json"
    options = ["--metric", "brier", "--format", "json", "-o", out, "--report", page]
    result = call(ccr, folder, *options, boot=2)
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines()[-2:] == [f"Written: {out}", f"Written: {page}"]
    assert [row["group"] for row in json.loads(out.read_text())["differences"]] == ["all"]
    html = page.read_text(encoding="utf-8")
    assert all(f'<th scope="row">{group}</th>' in html for group in ("all classes", "tail"))
    assert all(f"<bdi>{name}</bdi>" in html for name in NAMES)
    for name in ("a.npz", "b.npz"):
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() in html


def test_a_report_is_refused_before_the_work(ccr, folder, tmp_path, monkeypatch):
    def measure(*_, **__):
        raise AssertionError("measured")

    monkeypatch.setattr("ccr_diag.comparing.measure_predictions", measure)
    page = tmp_path / "page.html"
    page.write_text("mine")
    for given, message in [
        (page, "choose another --report"),
        (tmp_path / "page.txt", "must be a file named ….html"),
    ]:
        result = call(ccr, folder, "--report", given)
        assert result.exit_code == 2
        assert message in result.stderr
    assert page.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [page]


def write(folder, name, **changed):
    with np.load(folder / "a.npz") as file:
        content = dict(file) | changed
    np.savez(folder / name, **{key: array for key, array in content.items() if array is not None})


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["a.npz", "none.npz"], "There is no predictions file at none.npz"),
        (["a.npz", "b.npz", "--metric", "ecepositive"], "did you mean 'ece_positive'?"),
        (["a.npz", "b.npz", "--metric", "brier_uncertainty"], "brier_uncertainty is a reference"),
        (["a.npz", "b.npz", "--metric", "nll", "--bootstrap", "1"], "Invalid value for '--boots"),
        (["a.npz", "b.npz", "--metric", "nll", "--bootstrap", "0"], "Invalid value for '--boots"),
        (["bare.npz", "bare.npz", "--by", "group"], "neither file has them; add --groups"),
        (["a.npz", "labels.npz"], "differ at 1 entries, the first at"),
        (["a.npz", "classes.npz"], "'class f' is only in the first"),
        (["a.npz", "images.npz"], "'image 149' is only in the first"),
        (["a.npz", "groups.npz"], "'class f' is 'new' in the first and 'tail' in the second"),
        (["a.npz", "anonymous.npz"], "only one of the two files has ids"),
        (["a.npz", "b.npz", "--preset", "text"], "Invalid value for '--preset'"),
        (["a.npz", "b.npz", "--probs"], "holds logits, but --probs was declared"),
        (["a.npz", "b.npz", "--metric", "smece_positive", "--by", "class"], "metric of a class"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    ccr, folder, tmp_path, args, message, monkeypatch
):
    monkeypatch.chdir(folder)
    with np.load("a.npz") as file:
        y = file["labels"].copy()
    y[0, 0] = 1 - y[0, 0]
    write(folder, "labels.npz", labels=y)
    write(folder, "bare.npz", groups=None)
    write(folder, "classes.npz", class_names=np.array([*NAMES[:5], "g"]))
    write(folder, "images.npz", image_ids=np.array([*IDS[:149], "x"]))
    write(folder, "groups.npz", groups=np.array([*GROUPS[:5], "tail"]))
    write(folder, "anonymous.npz", image_ids=None)
    out = tmp_path / "out.json"
    short = [] if "--bootstrap" in args else ["--bootstrap", 2]
    result = ccr("compare", *args, *short, "-o", out, "--format", "json")
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert result.stdout == ""
    assert sum(line.startswith("Error") for line in result.stderr.splitlines()) == 1
    assert not out.exists()
