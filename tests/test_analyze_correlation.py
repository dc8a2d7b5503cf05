"""``ccr-diag analyze correlation`` from files to tables, CSV, JSON and errors."""

import csv
import io
import json

import numpy as np
import pytest
from scipy.special import expit

from ccr_diag.readers import read_predictions
from ccr_diag.report_stability import render_stability
from ccr_diag.stability import FAIR, INTERVAL, MEASURES, STATISTICS, stability_of

NAMES = np.array([f"class {c}" for c in "abcde"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two files of 40 images; the second has no positive of its first class."""
    folder = tmp_path_factory.mktemp("correlation")
    rng = np.random.default_rng(0)
    z = rng.normal(-1, 1, (40, 5)) + rng.normal(0, 1, (40, 1))
    y = (rng.uniform(size=z.shape) < expit(z)).astype(np.int8)
    np.savez(folder / "one.npz", logits=z, labels=y, class_names=NAMES)
    none = y * (np.arange(5) > 0)
    np.savez(folder / "two.npz", probs=expit(z), labels=none, class_names=NAMES)
    np.savez(folder / "pair.npz", logits=z[:, :2], labels=y[:, :2], class_names=NAMES[:2])
    np.savez(folder / "cosines.npz", scores=z.astype(np.float32) / 9, labels=y, class_names=NAMES)
    return folder


def call(ccr, folder, *args, files=("one.npz", "two.npz")):
    quick = ["--batch-size", 16, "--batch-size", 4, "--batches", 3]
    return ccr("analyze", "correlation", *(folder / name for name in files), *quick, *args)


def record_of(folder, **options):
    read = [read_predictions(folder / name) for name in ("one.npz", "two.npz")]
    return stability_of(read, **{"batch_sizes": (4, 16), "n_batches": 3} | options)


def test_json_is_what_the_library_finds(ccr, folder):
    result = call(ccr, folder, "--format", "json", "--seed", 5)
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert content == record_of(folder, seed=5)
    assert content["definitions"] == {
        "statistics": {key: statistic.says for key, statistic in STATISTICS.items()},
        "measures": MEASURES,
        "fair": list(FAIR),
        "interval": INTERVAL,
        "batch_sizes": [4, 16],
        "n_batches": 3,
        "seed": 5,
    }
    assert [model["name"] for model in content["models"]] == ["one", "two"]
    assert [model["map"] and model["map"]["scale"] for model in content["models"]] == [1.0, None]
    assert result.stderr.endswith("batch sizes: 4 of 4\n")


def test_tables_for_people(ccr, folder):
    result = call(ccr, folder)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].startswith("one: correlations between classes over all 40 images")
    assert lines[1].split()[:5] == ["correlation", "live", "of", "5", "classes"]
    record = record_of(folder)
    one, two = record["models"]
    top = one["whole"][0]
    assert lines[3].split() == [
        "uncentred", "5", *(f"{top[key]:.3f}" for key in ("mean", "sd", "min", "max"))
    ]  # fmt: skip
    start = next(i for i, line in enumerate(lines) if line.startswith("two: dead, share of cl"))
    assert "(mean ± sd over 3 batches)" in " ".join(lines[start : start + 2])
    shown = next(line for line in lines[start:] if line.startswith("label_presence"))
    cells = [
        f"{row['mean']:.3f} ± {row['sd']:.3f}"
        for size in (4, 16)
        for row in two["batches"]
        if (row["statistic"], row["batch_size"], row["measure"]) == ("label_presence", size, "dead")
    ]
    assert shown.split(maxsplit=1)[1].split("  ") == cells
    start = next(i for i, line in enumerate(lines) if line.startswith("two: correlations"))
    assert next(line for line in lines[start:] if line.startswith("label_pr")).split()[1] == "4"
    text = " ".join(" ".join(lines).split())
    assert all(sentence in text for sentence in FAIR)
    assert all(f"{key}: {statistic.says}" in text for key, statistic in STATISTICS.items())


@pytest.mark.parametrize(
    ("form", "shown"),
    [
        ("markdown", ["**one: error, ‖C_B − C‖ / ‖C‖", "| correlation | 4 images | 16", FAIR[0]]),
        ("latex", [r"\toprule", r"C\_B $-$ C$\Vert$", r"C\_B $\neq$ 0", r"label\_centred &"]),
    ],
)
def test_tables_for_documents(ccr, folder, form, shown):
    result = call(ccr, folder, "--format", form)
    assert result.exit_code == 0, result.output
    for text in shown:
        assert text in result.stdout
    if form == "latex":
        assert set("‖≠−±") & set(result.stdout) == set()


def test_csv_is_tidy_and_exact(ccr, folder):
    rows = list(csv.DictReader(io.StringIO(call(ccr, folder, "--format", "csv").stdout)))
    expected = [
        (model["name"], row["statistic"], str(row["batch_size"]), row["measure"], row["low"])
        for model in record_of(folder)["models"]
        for row in model["batches"]
    ]
    found = [
        (r["model"], r["statistic"], r["batch_size"], r["measure"], float(r["low"] or "nan"))
        for r in rows
        if r["batch_size"]
    ]
    assert [row[:4] for row in found] == [row[:4] for row in expected]
    low = [np.nan if row[4] is None else row[4] for row in expected]
    np.testing.assert_array_equal([row[4] for row in found], low)
    whole = {(r["model"], r["statistic"], r["measure"]): r for r in rows if not r["batch_size"]}
    assert whole["two", "label_presence", "whole_n_live"]["mean"] == "4"
    top = record_of(folder)["models"][0]["whole"][0]
    assert float(whole["one", "uncentred", "whole_max"]["mean"]) == top["max"]


def test_what_is_not_defined_is_a_dash():
    nothing = {"mean": None, "sd": None, "low": None, "high": None, "n": 0}
    one = {"mean": -0.0001, "sd": None, "low": None, "high": None, "n": 1}
    record = {
        "definitions": {
            "statistics": {"a": "said of a", "b": "said of b"},
            "measures": {"m": "measured"},
            "fair": ["Be fair."],
            "batch_sizes": [8],
            "n_batches": 2,
        },
        "models": [
            {
                "name": "x",
                "n_images": 9,
                "n_classes": 3,
                "whole": [
                    {"statistic": "a", "n_live": 0} | dict.fromkeys(("mean", "sd", "min", "max"))
                ],
                "batches": [
                    {"statistic": key, "batch_size": 8, "measure": "m", **row}
                    for key, row in (("a", nothing), ("b", one))
                ],
            }
        ],
    }
    lines = render_stability(record, "markdown").splitlines()
    for row in ("| a | 0 | – | – | – | – |", "| a | – |", "| b | 0.000 |", "- b: said of b"):
        assert row in lines
    assert lines[-1] == "- Be fair."


def test_output_is_a_new_file_unless_asked(ccr, folder, tmp_path):
    out = tmp_path / "out.md"
    result = call(ccr, folder, "-o", out)
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"Written: {out}" in result.stderr
    assert out.read_text().endswith("classes mean.\n")
    assert call(ccr, folder, "-o", out).exit_code == 2
    assert call(ccr, folder, "-o", out, "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    ("files", "args", "message"),
    [
        (["none.npz"], [], "There is no predictions file at none.npz"),
        (["one.npz"], ["--batch-size", 41], "fit the 40 images of one, but was to hold 41"),
        (["one.npz"], ["--batch-size", 1], "Invalid value for '--batch-size'"),
        (["one.npz"], ["--batches", 1], "Invalid value for '--batches'"),
        (["one.npz"], ["--probs"], "holds logits, but --probs was declared"),
        (["cosines.npz"], [], "--scale"),
        (["pair.npz"], [], "at least 3 of them to have a pattern, but pair has 2"),
        ([], [], "Missing argument 'FILE...'"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    ccr, folder, tmp_path, files, args, message, monkeypatch
):
    monkeypatch.chdir(folder)
    out = tmp_path / "out.json"
    result = ccr("analyze", "correlation", *files, *args, "-o", out)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert result.stdout == ""
    assert sum(line.startswith("Error") for line in result.stderr.splitlines()) == 1
    assert not out.exists()
