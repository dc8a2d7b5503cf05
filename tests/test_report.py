"""The results file, and every form in which its tables are shown."""

import copy
import csv
import io
import json

import numpy as np
import pytest

from ccr_diag import report
from ccr_diag.errors import BadData
from ccr_diag.metrics.measurement import definitions, measure
from ccr_diag.results import load_results

NAMES = ("cat", "dog & co", "a|b", "fox")


def a_model(name, measurement, **changes):
    return {
        "name": name,
        "label": name,
        "map": None,
        "map_rule": None,
        **measurement.to_json(),
        "geometry": {},
        "findings": [],
        "splits": [],
    } | changes


def measured(groups=("head", "head", "new", "new"), n_bootstrap=30, power=1.0, **options):
    rng = np.random.default_rng(0)
    p = rng.uniform(size=(120, 4))
    y = (rng.uniform(size=p.shape) < p).astype(np.int8)
    return measure(p**power, y, NAMES, groups, n_bootstrap=n_bootstrap, **options)


def a_results(*models, measurement):
    return {
        "schema_version": 1,
        "definitions": measurement.definitions
        | {"interval": "bootstrap", "metrics": definitions(list(measurement.values["all"]))},
        "models": list(models),
    }


@pytest.fixture(scope="module")
def two_models():
    """Without groups' geometry, as of ``analyze predictions``."""
    good, bad = measured(), measured(power=0.4)
    return a_results(
        a_model("good", good),
        a_model("bad_one", bad, findings=[{"text": "Too sure by 100 %.", "evidence": {}}]),
        measurement=good,
    )


@pytest.fixture
def with_splits(two_models):
    """Two splits and a geometry."""
    results = copy.deepcopy(two_models)
    model = results["models"][0]
    bins = model["reliability"]
    split = {
        "split": 7,
        "map": None,
        "metrics": {},
        "reliability": bins,
        "groups": {g: {"metrics": {}, "reliability": bins} for g in model["groups"]},
        "classes": [{"name": name, "metrics": {}} for name in NAMES],
        "geometry": {
            "divergence": [0.0] * 4,
            "preservation": [1.0] * 4,
            "gap": 0.5,
            "coordinates_text": [[0.0, 0.0]] * 4,
            "text": {},
        },
    }
    for model in results["models"]:
        model["splits"] = [split, split | {"split": 8}]
        model["metrics"]["ece_positive"] = {"value": 0.2, "low": 0.15, "high": 0.25}
        model["geometry"] = {
            "summary": {"ED": {"value": 0.1234, "low": 0.1, "high": 0.1468}, "odd": None}
        }
    del results["models"][0]["geometry"]["summary"]["odd"]
    del results["models"][1]["geometry"]["summary"]["odd"]
    return results


@pytest.mark.parametrize(
    ("entry", "options", "text"),
    [
        ((0.031, 0.029, 0.034), (100.0, 1), "3.1 [2.9, 3.4]"),
        ((0.031, 0.029, 0.034), (100.0, 1, True), "3.1 ± 0.3"),
        ((0.031, None, None), (100.0, 1), "3.1"),
        ((None, None, None), (100.0, 1), "–"),
        ((-0.00001, -0.2, 0.1), (1.0, 2), "0.00 [-0.20, 0.10]"),
        (None, (1.0, 2), "–"),
    ],
)
def test_a_cell(entry, options, text):
    record = None if entry is None else dict(zip(("value", "low", "high"), entry, strict=True))
    assert report.cell(record, *options) == text


def rows_of(table):
    _, header, rows = table
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_the_first_table_has_the_columns_of_the_preset(two_models):
    title, header, rows = report.tables(two_models)[0]
    assert title == "All classes, × 100"
    assert header[1:] == [
        "ECE, positive", "ECE, decision", "signed error", "MCE", "Brier", "mAP",
    ]  # fmt: skip
    assert [row[0] for row in rows] == ["good", "bad_one"]
    entry = two_models["models"][1]["metrics"]["ece_positive"]
    assert rows[1][1] == report.cell(entry, 100.0, 1)
    measurement = measured(preset="procal")
    results = a_results(a_model("m", measurement), measurement=measurement)
    title, header, rows = report.tables(results)[0]
    assert (title, header) == ("All classes", ["model", "ECE", "ACE", "MCE (weighted)"])
    entry = results["models"][0]["metrics"]["mce_weighted_decision"]
    assert float(rows[0][3].split()[0]) == pytest.approx(entry["value"], abs=5e-4)


def test_groups_stand_beside_what_a_calibrated_model_would_show(two_models):
    row = rows_of(report.tables(two_models)[1])[1]
    assert list(row) == ["model", "base", "head", "new"]
    metrics = two_models["models"][1]["groups"]["new"]["metrics"]
    expected = 100 * metrics["ece_expected_positive"]["value"]
    assert row["new"] == f"{report.cell(metrics['ece_positive'], 100.0, 1)} ({expected:.1f})"
    signed = rows_of(report.tables(two_models)[2])[1]
    assert signed["head"].startswith(
        f"{100 * two_models['models'][1]['groups']['head']['metrics']['signed_error']['value']:.1f}"
    )


def test_the_small_sample_table_counts(two_models):
    rows = rows_of(report.tables(two_models)[-1])
    assert [row["group"] for row in rows] == ["all", "base", "head", "new"] * 2
    assert [row["model"] for row in rows[:5]] == ["good", "", "", "", "bad_one"]
    pool = two_models["models"][0]["groups"]["new"]
    assert rows[3]["labels"] == str(pool["n_known"]) == "240"
    assert rows[3]["positive"] == str(pool["n_positive"])
    assert rows[3]["classes"] == "2"
    assert rows[3]["debiased"] == f"{100 * pool['metrics']['l2_debiased_positive']['value']:.2f}"
    assert rows[0]["labels"] == "480"


def test_no_groups_no_group_tables():
    measurement = measured(groups=())
    results = a_results(a_model("m", measurement), measurement=measurement)
    assert [title.split(",")[0][:11] for title, _, _ in report.tables(results)] == [
        "All classes",
        "How far the",
    ]


def test_geometry_and_even_intervals_of_several_splits(with_splits):
    tables = report.tables(with_splits)
    assert tables[-1][2][0] == ["good", "0.123 ± 0.023"]
    assert tables[0][2][0][1] == "20.0 ± 5.0"


def test_findings_and_definitions_come_last(two_models, with_splits):
    text = report.to_text(two_models).splitlines()
    assert text[-4:-2] == ["Findings, bad_one", "  - Too sure by 100 %."]
    assert text[-1].startswith("Definitions: textbook: 15 bins;")
    assert "Findings, good" not in text
    markdown = report.to_markdown(two_models).splitlines()
    assert markdown[-5:-2] == ["**Findings, bad_one**", "", "- Too sure by 100 %."]
    assert "Findings, bad_one (split 7)" in report.to_text(with_splits)


def test_other_bins_and_intervals_below_their_value_are_said(two_models):
    assert "but" not in report.definitions_line(two_models).split("; bootstrap")[0]
    other = copy.deepcopy(two_models)
    other["definitions"]["n_bins"] = 9
    assert "; but 9 bins; bootstrap" in report.definitions_line(other)
    for model in other["models"]:
        for entry in model["metrics"].values():
            entry["high"] = None
    assert "below its value" not in report.definitions_line(other)
    other["models"][1]["metrics"]["brier"]["high"] = 0.0
    assert "below its value" in report.definitions_line(other)


def test_csv_is_tidy_and_exact(two_models, with_splits):
    rows = list(csv.DictReader(io.StringIO(report.render(two_models, "csv"))))
    assert list(rows[0]) == [
        "model", "map_rule", "group", "class", "metric", "value", "low", "high",
    ]  # fmt: skip
    keys = [(r["model"], r["group"], r["class"], r["metric"]) for r in rows]
    assert len(set(keys)) == len(keys)
    model = two_models["models"][1]
    expected = len(model["metrics"]) + sum(len(g["metrics"]) for g in model["groups"].values())
    expected += sum(len(c["metrics"]) for c in model["classes"])
    assert len(rows) == 2 * expected
    found = rows[keys.index(("bad_one", "head", "dog & co", "brier"))]
    entry = model["classes"][1]["metrics"]["brier"]
    assert [float(found[key]) for key in ("value", "low", "high")] == list(entry.values())
    with_geometry = csv.DictReader(io.StringIO(report.to_csv(with_splits)))
    assert [r["value"] for r in with_geometry if r["metric"] == "ED"] == ["0.1234"] * 2


def test_latex_is_escaped_and_balanced(two_models):
    latex = report.render(two_models, "latex")
    assert r"bad\_one & " in latex
    assert latex.startswith("% Definitions:")
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 5
    for line in latex.splitlines():
        if line.endswith(r"\\"):
            assert line.count(" & ") >= 3
    table = ("50 % of a_b", ["x", "y"], [["a&b", "1"], ["{^~\\", "±"]])
    assert report.as_latex([table]) == "\n".join(
        [
            r"\begin{table}", r"\centering", r"\caption{50 \% of a\_b}", r"\begin{tabular}{ll}",
            r"\toprule", r"x & y \\", r"\midrule", r"a\&b & 1 \\",
            r"\{\textasciicircum{}\textasciitilde{}\textbackslash{} & $\pm$ \\",
            r"\bottomrule", r"\end{tabular}", r"\end{table}", "",
        ]
    )  # fmt: skip


def test_any_tables_can_be_laid_out():
    tables = [("T", ["name", "n"], [["a|b", "1.5"], ["c", "-10"]]), ("U", ["x"], [])]
    assert report.as_text(tables) == "T\nname    n\n─────────\na|b   1.5\nc     -10\n\nU\nx\n─"
    assert report.as_markdown(tables).startswith(
        "**T**\n\n| name | n |\n|---|---|\n| a\\|b | 1.5 |"
    )
    assert report.as_csv(tables) == "name,n\na|b,1.5\nc,-10\n\nx\n"


def test_every_form_ends_in_one_line_break(two_models):
    for form in report.FORMATS:
        text = report.render(two_models, form)
        assert text.endswith("\n")
        assert not text.endswith("\n\n")


def test_a_results_file_is_read_back(two_models, with_splits, tmp_path):
    for results in (two_models, with_splits):
        path = tmp_path / "results.json"
        path.write_text(report.render(results, "json"))
        assert load_results(path) == results


def drop(*keys):
    def change(results):
        part = results
        for key in keys[:-1]:
            part = part[key]
        del part[keys[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (drop("schema_version"), "must have schema_version 1, but .* has None; write it anew"),
        (lambda r: r.update(schema_version=2), "must have schema_version 1, but .* has 2"),
        (drop("definitions"), "'definitions' is missing"),
        (drop("definitions", "interval"), "'interval' is missing"),
        (lambda r: r.update(models=[]), "at least one model, but 'models' is empty"),
        (drop("models", 0, "findings"), "'findings' is missing"),
        (drop("models", 0, "metrics", "brier", "low"), "in metric 'brier' of model 'good'"),
        (drop("models", 1, "reliability", "decision"), "'decision' is missing"),
        (drop("models", 1, "reliability", "positive", "low", 0), "needs 15 entries in 'low'"),
        (drop("models", 1, "groups", "new", "reliability", "positive", "count", 0), "group 'new'"),
        (drop("models", 0, "classes", 1), "in 'classes' of model 'good', but has 3"),
        (drop("models", 0, "classes", 1, "metrics"), "a class of model 'good'"),
        (drop("models", 0, "geometry", "summary"), "'summary' is missing"),
        (drop("models", 0, "splits", 1, "geometry", "gap"), "'gap' is missing"),
        (drop("models", 0, "splits", 0, "classes", 3), "'classes' of a split of model 'good'"),
        (drop("models", 0, "splits", 0, "geometry", "divergence", 0), "'divergence' of model"),
        (drop("models", 0, "splits", 0, "groups", "new", "metrics"), "group 'new' of a split"),
        (lambda r: r["models"][1].update(name="good"), "Model names must differ"),
        (lambda r: r["models"][1].update(label=None), "'bad_one' has none"),
        (lambda r: r["models"][1].update(groups=3), "breaks it"),
        (lambda r: r["models"][1].update(classes=3), "but has int"),
        (lambda r: r["models"][1]["findings"].append("so"), "in a finding of model 'bad_one'"),
    ],
)  # fmt: skip
def test_an_edited_results_file_is_one_clear_error(with_splits, tmp_path, change, text):
    results = json.loads(json.dumps(with_splits))
    results["models"][0]["geometry"]["more"] = 1
    change(results)
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results))
    with pytest.raises(BadData, match=text) as caught:
        load_results(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_results_file_of_the_first_version_is_refused(tmp_path):
    path = tmp_path / "results.json"
    path.write_text('{"schema": 1, "models": []}')
    with pytest.raises(BadData, match="schema_version 1, but .* has None; write it anew with"):
        load_results(path)
    for content in ("{", "[]", "\x00"):
        path.write_text(content)
        with pytest.raises(BadData, match="anew with 'ccr-diag analyze'"):
            load_results(path)
