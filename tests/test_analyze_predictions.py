"""``ccr-diag analyze predictions`` from anybody's files to tables, JSON and errors."""

import csv
import hashlib
import io
import json
import pickle
import struct

import numpy as np
import pytest
from scipy.special import expit

from ccr_diag.cli.options import PRESETS
from ccr_diag.figures.html_report import results_page
from ccr_diag.measuring import results_of, with_proximity
from ccr_diag.metrics import METRICS, measure
from ccr_diag.readers import read_predictions
from ccr_diag.results import load_results

NAMES = np.array(["dog", "cat | _", "Zürich, 🐱", "empty"])
GROUPS = np.array(["head", "head", "tail", "tail"])


def content(seed=0, n=60):
    """A model, unknown labels, and a class that no image shows."""
    rng = np.random.default_rng(seed)
    z = rng.normal(-0.5, 1.5, size=(n, 4)).astype(np.float32)
    y = (rng.uniform(size=z.shape) < expit(z)).astype(np.int8)
    y[::5, 0] = -1
    y[:, 3] = 0
    return {"logits": z, "labels": y, "class_names": NAMES, "groups": GROUPS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predictions")
    first, order = content(), [2, 0, 3, 1]
    np.savez(folder / "a.npz", **first)
    np.savez(
        folder / "b.npz",
        probs=expit(2.0 * first["logits"])[:, order],
        labels=first["labels"][:, order],
        class_names=NAMES[order],
        groups=GROUPS[order],
    )
    return folder


def call(ccr, *args, boot=0):
    return ccr("analyze", "predictions", *args, "--bootstrap", boot)


def test_json_alone_on_stdout_and_the_numbers_of_the_library(ccr, folder):
    result = call(ccr, folder / "a.npz", folder / "b.npz", "--format", "json", boot=20)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert list(found) == [
        "schema_version", "definitions", "provenance", "differences", "models"
    ]  # fmt: skip
    assert found["schema_version"] == 2
    chosen = found["definitions"]
    assert (chosen["preset"], chosen["n_bins"], chosen["n_bootstrap"]) == ("textbook", 15, 20)
    assert chosen["interval"] == (
        "95 % bootstrap intervals over images (20 half-samples, seed 0): of calibration errors by "
        "test inversion, else normal and corrected for bias"
    )
    first = content()
    expected = measure(
        expit(first["logits"].astype(np.float64)), first["labels"], NAMES.tolist(),
        GROUPS.tolist(), n_bootstrap=20, ranking=first["logits"],
    )  # fmt: skip
    a, b = found["models"]
    for key, value in json.loads(json.dumps(expected.to_json())).items():
        assert a[key] == value
    assert set(chosen["metrics"]) == set(a["metrics"]) == set(METRICS) - {"piece_decision"}
    assert (a["name"], a["label"], a["geometry"], a["splits"]) == ("a", "a", {}, [])
    assert (a["map"], a["map_rule"]) == ({"scale": 1.0, "bias": 0.0, "rule": "given"}, "given")
    assert (b["map"], b["map_rule"]) == (None, None)
    assert all(set(finding) >= {"text", "evidence"} for m in (a, b) for finding in m["findings"])
    for model in (a, b):  # in the order of the first file
        assert [c["name"] for c in model["classes"]] == list(NAMES)
        assert [c["group"] for c in model["classes"]] == list(GROUPS)
        assert model["classes"][3]["n_positive"] == 0
        assert model["classes"][3]["metrics"]["map"]["value"] is None
        assert model["metrics"]["map"]["value"] is not None
    assert a["classes"][2]["n_positive"] == b["classes"][2]["n_positive"] > 0


def test_the_json_file_is_a_results_file(ccr, folder, tmp_path):
    out = tmp_path / "new" / "results.json"
    result = call(ccr, folder / "a.npz", "--format", "json", "-o", out, boot=10)
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    assert result.stderr.splitlines()[-1] == f"Written: {out}"
    assert load_results(out)["models"][0]["name"] == "a"
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.parametrize(
    ("form", "shown"),
    [
        ("text", ["ECE, positive", "head", "tail", "Definitions: textbook"]),
        ("markdown", ["| model | ECE, positive", "| a |", "| a (2) |"]),
        ("latex", [r"\toprule", r"\bottomrule", "a (2)"]),
    ],
)
def test_tables_for_people(ccr, folder, form, shown):
    result = call(ccr, folder / "a.npz", folder / "a.npz", "--format", form)
    assert result.exit_code == 0, result.output
    for text in shown:
        assert text in result.stdout
    assert "nan" not in result.stdout


def test_text_fits_the_terminal_but_a_file_has_a_width_of_its_own(
    ccr, folder, tmp_path, monkeypatch
):
    for width in (80, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        lines = call(ccr, folder / "a.npz", boot=10).stdout.splitlines()
        assert width - 20 < max(map(len, lines)) <= width
        call(ccr, folder / "a.npz", "-o", tmp_path / f"{width}.txt", boot=10)
    assert (tmp_path / "80.txt").read_text() == (tmp_path / "120.txt").read_text()


def test_csv_is_tidy_and_exact(ccr, folder):
    result = call(ccr, folder / "a.npz", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    model = results_of([read_predictions(folder / "a.npz")], n_bootstrap=0)["models"][0]
    read = {(r["group"], r["class"], r["metric"]): r["value"] for r in rows}
    assert float(read["all", "", "brier"]) == model["metrics"]["brier"]["value"]
    assert float(read["tail", "", "nll"]) == model["groups"]["tail"]["metrics"]["nll"]["value"]
    assert float(read["head", "dog", "map"]) == model["classes"][0]["metrics"]["map"]["value"]
    assert read["tail", "empty", "map"] == ""


def test_every_option_reaches_the_measurement(ccr, folder):
    base = json.loads(call(ccr, folder / "a.npz", "--format", "json").stdout)
    moved = {
        "--bins 3": "ece_positive",
        "--top-k 1": "ece_top_k",
        "--threshold 0.6": "ece_thresholded",
        "--scale 3": "brier",
        "--bias 1": "signed_error",
    }
    for flag, metric in moved.items():
        result = call(ccr, folder / "a.npz", *flag.split(), "--format", "json")
        found = json.loads(result.stdout)["models"][0]["metrics"][metric]["value"]
        assert found != base["models"][0]["metrics"][metric]["value"], flag
    one, two = (
        json.loads(
            call(ccr, folder / "a.npz", "--seed", seed, "--format", "json", boot=10).stdout
        )["models"][0]["metrics"]["brier"]["low"]
        for seed in (0, 1)
    )  # fmt: skip
    assert one != two


def test_npy_pair_with_names_and_groups(ccr, folder, tmp_path):
    first = content()
    probs = expit(first["logits"])
    np.save(tmp_path / "p.npy", probs)
    np.save(tmp_path / "y.npy", first["labels"])
    (tmp_path / "names.txt").write_text("\n".join(NAMES), encoding="utf-8")
    with (tmp_path / "groups.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("class", "group"), *zip(NAMES, GROUPS, strict=True)])
    result = call(
        ccr, tmp_path / "p.npy", "--probs", "--labels", tmp_path / "y.npy", "--class-names",
        tmp_path / "names.txt", "--groups", tmp_path / "groups.csv", "--format", "json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)["models"]
    assert list(found["groups"]) == ["head", "tail"]
    expected = measure(probs, first["labels"], n_bootstrap=0).value("ece_decision")
    assert found["metrics"]["ece_decision"]["value"] == expected


def test_unlisted_labels_are_unknown_only_if_declared(ccr, tmp_path):
    rows = "image,class,prob,label\n1,dog,0.25,1\n1,cat,0.5,\n"
    (tmp_path / "long.csv").write_text(rows)
    assert call(ccr, tmp_path / "long.csv").exit_code == 2
    declared = call(ccr, tmp_path / "long.csv", "--unlisted", "unknown", "--format", "json")
    assert json.loads(declared.stdout)["models"][0]["n_unknown"] == 1


def test_features_bring_piece_by_the_preset(ccr, folder, tmp_path):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 5)).astype(np.float16)
    np.save(tmp_path / "f.npy", features)
    flags = ["--features", tmp_path / "f.npy", "--format", "json"]
    values = set()
    for preset in PRESETS:
        result = call(ccr, folder / "a.npz", *flags, "--preset", preset)
        found = json.loads(result.stdout)["models"][0]["metrics"]["piece_decision"]["value"]
        near = with_proximity([read_predictions(folder / "a.npz")], features, preset)
        expected = results_of(near, preset=preset, n_bootstrap=0)["models"][0]["metrics"]
        assert found == expected["piece_decision"]["value"] > 0
        values.add(found)
    assert len(values) == len(PRESETS)


def test_one_image_and_constant_scores_are_fine(ccr, tmp_path):
    names = NAMES[:2]
    np.savez(tmp_path / "one.npz", probs=[[0.2, 0.9]], labels=[[0, 1]], class_names=names)
    np.savez(
        tmp_path / "flat.npz", probs=np.full((9, 2), 0.5), labels=np.eye(9, 2), class_names=names
    )
    for name in ("one", "flat"):
        result = call(ccr, tmp_path / f"{name}.npz", boot=10)
        assert result.exit_code == 0, result.output
        assert "nan" not in result.stdout


def test_existing_output_and_inputs_are_kept(ccr, folder, tmp_path):
    out = tmp_path / "out.txt"
    out.write_text("mine")
    refused = call(ccr, folder / "a.npz", "-o", out)
    assert refused.exit_code == 2
    assert "exists; add --overwrite" in refused.stderr
    assert out.read_text() == "mine"
    assert call(ccr, folder / "a.npz", "-o", out, "--overwrite").exit_code == 0
    assert out.read_text() != "mine"
    before = (folder / "a.npz").read_bytes()
    for taken in (folder / "a.npz", folder):
        refused = call(ccr, folder / "a.npz", "-o", taken, "--overwrite")
        assert refused.exit_code == 2
        assert "one of the inputs" in refused.stderr
    assert (folder / "a.npz").read_bytes() == before


P = np.array([[0.25, 0.5], [0.75, 0.125], [0.5, 0.5]])
Y = np.array([[1, 0], [0, 1], [1, 0]], dtype=np.int8)


def changed(array, at, value):
    array = array.astype(float).copy()
    array[at] = value
    return array


def claims_2_gb(path):
    np.savez(path, probs=P, labels=Y, class_names=NAMES[:2])
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"(3, 2), }" + b" " * 9, b"(16384, 16384), }" + b" ", 1))


def cut_short(path):
    np.savez(path, probs=P, labels=Y, class_names=NAMES[:2])
    path.write_bytes(path.read_bytes()[:-40])


def raw_claim(path):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (16384, 16384), }"
    header += b" " * (117 - len(header)) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)


SHAPES = {"probs": P, "labels": Y[:, :1]}
BAD = {
    "shapes": ({"labels": Y[:2]}, "Labels must have the shape (3, 2)"),
    "outside": ({"probs": changed(P, (1, 0), 7.5)}, "the first at row 1"),
    "nan": ({"probs": changed(P, (2, 1), np.nan)}, "1 are NaN or infinite, the first at row 2"),
    "inf": ({"probs": changed(P, (0, 1), np.inf)}, "1 are NaN or infinite, the first at row 0"),
    "labels": ({"labels": changed(Y, (1, 1), 2)}, "class 'cat | _': 2.0; recode them"),
    "swapped": ({"probs": Y.astype(float), "labels": P}, "the two seem swapped"),
    "few names": ({"class_names": NAMES[:1]}, "need 2 class_names, but 1 came"),
    "double names": ({"class_names": NAMES[[0, 0]]}, "Class names must be unique"),
    "unknown": ({"labels": np.full((3, 2), -1)}, "all 6 are -1"),
    "pickled": ({"class_names": np.array(["a", 1], dtype=object)}, "pickled objects"),
    "no image": ({"probs": P[:0], "labels": Y[:0]}, "neither 0"),
    "group": ({"groups": np.array(["rare", "head"])}, "Each group must be one of"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_array_is_one_line(ccr, tmp_path, case):
    arrays, message = BAD[case]
    np.savez(tmp_path / "x.npz", **({"probs": P, "labels": Y, "class_names": NAMES[:2]} | arrays))
    refused(ccr, tmp_path, [tmp_path / "x.npz"], message)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("empty.npz", lambda path: path.write_bytes(b""), "but is empty"),
        ("cut.npz", cut_short, "cut short"),
        ("claim.npz", claims_2_gb, "it claims 2,147,483,"),
        ("text.npz", lambda path: path.write_text("probs"), "must be an .npz archive"),
        ("x.pkl", lambda path: path.write_bytes(pickle.dumps(P)), "never opened"),
        ("x.txt", lambda path: path.write_text("1"), "must be .npz, .npy, .parquet or .csv"),
        ("none.npz", lambda path: None, "There is no predictions file at"),
    ],
)
def test_a_bad_file_is_one_line(ccr, tmp_path, name, write, message):
    write(tmp_path / name)
    refused(ccr, tmp_path, [tmp_path / name], message)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["raw.npy", "--probs", "--labels", "y.npy"], "it claims 2,147,483,"),
        (["p.npy", "--labels", "y.npy"], "add --scores (cosines), --logits or --probs"),
        (["p.npy", "--probs"], "labels"),
        (["p.npy", "--scores", "--labels", "y.npy"], "add --scale and --bias"),
        (["p.npy", "--probs", "--scale", 2, "--labels", "y.npy"], "A scale or bias needs scores"),
        (["z.npy", "--probs", "--labels", "y.npy"], "declare --logits"),
        (["good.npz", "--logits"], "holds probs, but --logits was declared"),
        (["good.npz", "other.npz"], "'cat | _' is only in file 1"),
        (["good.npz", "grouped.npz"], "'dog' is in none in file 1 and in head in file 2"),
        (["good.npz", "--features", "f2.npy"], "a row for each of the 3 images, but there are 2"),
        (["good.npz", "--features", "y.npy"], "must hold floating-point features"),
        (["good.npz", "--features", "zero.npy"], "must be finite and not zero, but row 1"),
        (["good.npz", "ids.npz", "--features", "f3.npy"], "measure those files one by one"),
        (["good.npz", "--bins", 0], "Invalid value for '--bins'"),
        (["good.npz", "--bootstrap", 1], "give 0 for none, or at least 2"),
        (["good.npz", "--threshold", 1], "0 ≤ threshold < 1"),
        (["good.npz", "--preset", "ours"], "Invalid value for '--preset'"),
        (["good.npz", "--groups", "none.csv"], "none.csv must be a UTF-8 text file"),
        ([], "Missing argument 'FILE...'"),
    ],
)
def test_bad_calls_are_one_line(ccr, tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    raw_claim(tmp_path / "raw.npy")
    good = {"probs": P, "labels": Y, "class_names": NAMES[:2]}
    np.savez("good.npz", **good)
    np.savez("other.npz", **good | {"class_names": NAMES[[0, 2]]})
    np.savez("grouped.npz", **good, groups=GROUPS[:2])
    np.savez("ids.npz", **good, image_ids=np.array(["a", "b", "c"]))
    arrays = {"p": P, "y": Y, "z": P - 3, "f2": P[:2], "f3": P, "zero": P * [[1], [0], [1]]}
    for name, array in arrays.items():
        np.save(f"{name}.npy", array)
    refused(ccr, tmp_path, args, message)


def test_results_say_what_they_are_made_of_and_a_report_shows_it(ccr, folder, tmp_path):
    out, page = tmp_path / "out.json", tmp_path / "a report.html"
    wanted = ("--format", "json", "-o", out, "--report", page)
    result = call(ccr, folder / "a.npz", folder / "b.npz", *wanted)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert [line for line in result.stderr.splitlines() if line.startswith("Written")] == [
        f"Written: {out}", f"Written: {page}"
    ]  # fmt: skip
    results = load_results(out)
    made = results["provenance"]
    assert made["command"].startswith(f"ccr-diag analyze predictions {folder / 'a.npz'} ")
    assert f"--report '{page}'" in made["command"]
    digests = [
        hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("a.npz", "b.npz")
    ]
    assert [file["sha256"] for file in made["inputs"]] == digests
    text = page.read_text(encoding="utf-8")
    assert all(digest in text for digest in digests)
    assert text == results_page(results)


def refused(ccr, folder, args, message):
    before = sorted(folder.iterdir())
    flags = [] if "--bootstrap" in args else ["--bootstrap", 0]
    output = ["-o", folder / "out.json", "--format", "json"]
    result = ccr("analyze", "predictions", *args, *flags, *output)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert result.stdout == ""
    assert sum(line.startswith("Error") for line in result.stderr.splitlines()) == 1
    assert result.stderr.splitlines()[-1].startswith("Error")
    assert sorted(folder.iterdir()) == before
