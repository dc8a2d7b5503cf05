"""The results file, and every form in which its tables are shown."""

import copy
import csv
import io
import json
import re

import numpy as np
import pytest
from latex import FIT, latex_tables

from ccr_diag import report, report_layout, report_tables
from ccr_diag.errors import BadData
from ccr_diag.metrics.engine import measure
from ccr_diag.metrics.registry import definitions
from ccr_diag.results import load_results

NAMES = ("cat", "dog & co", "a|b", "fox")


def a_model(name, measurement, **changes):
    return {
        "name": name,
        "label": name,
        "map": None,
        "map_rule": None,
        **measurement.to_json(),
        "provenance": {},
        "geometry": {},
        "findings": [],
        "splits": [],
    } | changes


def measured(groups=("head", "head", "new", "new"), n_bootstrap=8, power=1.0, **options):
    rng = np.random.default_rng(0)
    p = rng.uniform(size=(120, 4))
    y = (rng.uniform(size=p.shape) < p).astype(np.int8)
    return measure(p**power, y, NAMES, groups, n_bootstrap=n_bootstrap, **options)


def a_results(*models, measurement):
    return {
        "schema_version": 2,
        "provenance": {},
        "differences": {},
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
    assert report_tables.cell(record, *options) == text


@pytest.mark.parametrize(
    ("way", "values", "best"),
    [
        ("lower", (0.3, 0.1, 0.2), [1]),
        ("higher", (0.3, 0.1, 0.2), [0]),
        ("zero", (-0.3, -0.1, 0.2), [1]),
        ("one", (0.9, 1.2, 0.0), [0]),
        ("none", (0.3, 0.1, 0.2), []),
        ("lower", (0.1, 0.1, 0.2), [0, 1]),
        ("zero", (-0.1, 0.1, 0.2), [0, 1]),
        ("lower", (0.1004, 0.1001, 0.2), [0, 1]),  # shown as the same number
        ("higher", (None, 0.1, 0.2), [2]),
        ("lower", (None, None, 0.2), []),
        ("lower", (0.2,), []),
        ("lower", (), []),
    ],
)
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_the_best_of_compared_values_is_marked(way, values, best, scale):
    entries = [{"value": value, "low": None, "high": None} for value in values]
    shown = report_tables.cells(entries, scale, False, way, digits=2 if scale == 1 else 1)
    assert [i for i, text in enumerate(shown) if isinstance(text, report_layout.Best)] == best
    assert shown == [report_tables.cell(entry, scale, 2 if scale == 1 else 1) for entry in entries]
    absent = report_tables.cells([None, *entries], scale, False, way)
    assert not isinstance(absent[0], report_layout.Best)


def marked(table):
    """Of each column the rows that are marked."""
    _, header, rows = table
    columns = zip(header, *rows, strict=True)
    return {
        name: [i for i, text in enumerate(texts) if isinstance(text, report_layout.Best)]
        for name, *texts in columns
    }


def test_the_best_model_is_marked_as_far_as_there_is_a_good_direction(two_models, with_splits):
    """The first has p as it was drawn, the second a power of it."""
    every = report_tables.tables(two_models)
    first, ece, signed, _, expected, _, counts = map(marked, every)
    ranked = first.pop("mAP")  # a power keeps the ranking
    assert ranked == [0, 1]
    assert first == {"model": []} | dict.fromkeys(list(first)[1:], [0])
    for found in (ece, signed):
        assert found == {"model": []} | dict.fromkeys(("base", "head", "new"), [0])
    assert not any(expected.values())
    assert not any(counts.values())
    assert not any(marked(report_tables.tables(with_splits)[-1]).values())  # geometry
    alone = two_models | {"models": two_models["models"][:1]}
    assert not any(any(marked(table).values()) for table in report_tables.tables(alone))


def test_what_is_best_is_bold_in_markdown_and_latex_alone():
    best = report_layout.Best("1.5 ± 0.1")
    tables = [("T", ["name", "n"], [["a", best], ["b", "2.5 ± 0.1"]])]
    assert report_layout.as_markdown(tables).splitlines()[3:] == [
        "|---|---:|", "| a | **1.5 ± 0.1** |", "| b | 2.5 ± 0.1 |",
    ]  # fmt: skip
    ((_, first, second),) = latex_tables(report_layout.as_latex(tables))
    assert first == ["a", r"\textbf{1.5 $\pm$ 0.1}"]
    assert second == ["b", r"2.5 $\pm$ 0.1"]
    assert "**" not in report_layout.as_text(tables)
    assert report_layout.as_csv([["a", best]]) == "a,1.5 ± 0.1\n"
    piped = report_layout.Best("a|b_&")
    assert r"**a\|b_&**" in report_layout.as_markdown([("T", ["x", "y"], [["n", piped]])])
    assert r"\textbf{a$|$b\_\&}" in report_layout.as_latex([("T", ["x", "y"], [["n", piped]])])


def rows_of(table):
    _, header, rows = table
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_the_first_table_has_the_columns_of_the_preset(two_models):
    title, header, rows = report_tables.tables(two_models)[0]
    assert title == "All classes, × 100"
    assert header[1:] == [
        "ECE, positive", "ECE, decision", "signed error", "MCE", "Brier", "mAP",
    ]  # fmt: skip
    assert [row[0] for row in rows] == ["good", "bad_one"]
    entry = two_models["models"][1]["metrics"]["ece_positive"]
    assert rows[1][1] == report_tables.cell(entry, 100.0, 1)
    measurement = measured(preset="procal")
    results = a_results(a_model("m", measurement), measurement=measurement)
    title, header, rows = report_tables.tables(results)[0]
    assert (title, header) == ("All classes", ["model", "ECE", "ACE", "MCE (weighted)"])
    entry = results["models"][0]["metrics"]["mce_weighted_decision"]
    assert float(rows[0][3].split()[0]) == pytest.approx(entry["value"], abs=5e-4)


def test_each_group_table_holds_its_own_metric(two_models):
    found = report_tables.tables(two_models)[1:4]
    shown = {"ece_positive": "ECE, positive,", "signed_error": "Signed error", "map": "mAP"}
    for table, (metric, name) in zip(found, shown.items(), strict=True):
        assert table[0].startswith(f"{name} by group (")
        assert table[0].endswith("), × 100")
        rows = rows_of(table)
        assert list(rows[0]) == ["model", "base", "head", "new"]
        for row, model in zip(rows, two_models["models"], strict=True):
            for group, pool in model["groups"].items():
                entry = pool["metrics"][metric]
                assert row[group] == report_tables.cell(entry, 100.0, 1), (metric, group)


def test_references_stand_beside_for_all_classes_and_each_group(two_models):
    found = report_tables.tables(two_models)[4:6]
    shown = {"ece_expected_positive": "Expected ECE", "l2_debiased_positive": "Debiased error"}
    for table, (metric, name) in zip(found, shown.items(), strict=True):
        assert table[0].startswith(name)
        rows = rows_of(table)
        assert list(rows[0]) == ["model", "all", "base", "head", "new"]
        for row, model in zip(rows, two_models["models"], strict=True):
            for group, pool in {"all": model, **model["groups"]}.items():
                value = pool["metrics"][metric]["value"]
                assert float(row[group].split()[0]) == pytest.approx(100 * value, abs=0.05)


def test_counts_are_said_once_for_all_models(two_models):
    title, header, rows = report_tables.tables(two_models)[-1]
    assert title.startswith("How far the numbers carry")
    assert header == ["group", "classes", "labels", "positive", "filled bins"]
    assert [row[0] for row in rows] == ["all", "base", "head", "new"]
    for name, *shown, bins in rows:
        pools = [{"all": model, **model["groups"]}[name] for model in two_models["models"]]
        assert shown == [str(pools[0][key]) for key in ("n_classes", "n_known", "n_positive")]
        assert bins == "–".join(map(str, sorted({pool["effective_bins"] for pool in pools})))
    assert rows[0][1:3] == ["4", "480"]
    assert rows[3][1:3] == ["2", "240"]
    other = copy.deepcopy(two_models)
    other["models"][1]["groups"]["new"]["n_known"] = 1234567
    assert report_tables.tables(other)[-1][2][3][2] == "240–1,234,567"


def test_no_groups_no_group_tables():
    measurement = measured(groups=())
    results = a_results(a_model("m", measurement), measurement=measurement)
    found = report_tables.tables(results)
    assert [title.split()[0] for title, _, _ in found] == ["All", "Expected", "Debiased", "How"]
    assert [header for _, header, _ in found[1:3]] == [["model", "all"]] * 2


def test_a_small_column_has_one_more_decimal(two_models):
    other = copy.deepcopy(two_models)
    for model, value in zip(other["models"], (0.00123, 0.0099), strict=True):
        model["metrics"]["brier"] = {"value": value, "low": None, "high": None}
    assert [row["Brier"] for row in rows_of(report_tables.tables(other)[0])] == ["0.12", "0.99"]
    other["models"][1]["metrics"]["brier"]["value"] = -0.01
    assert [row["Brier"] for row in rows_of(report_tables.tables(other)[0])] == ["0.1", "-1.0"]


def test_a_metric_that_one_model_lacks_is_a_dash_and_that_all_lack_no_column(two_models):
    other = copy.deepcopy(two_models)
    del other["models"][0]["metrics"]["brier"]
    for model in other["models"]:
        del model["metrics"]["map"]
    rows = rows_of(report_tables.tables(other)[0])
    assert list(rows[0])[-1] == "Brier"
    assert rows[0]["Brier"] == "–" != rows[1]["Brier"]


def test_geometry_and_even_intervals_of_several_splits(with_splits):
    tables = report_tables.tables(with_splits)
    assert tables[-1][2][0] == ["good", "0.123 ± 0.023"]
    assert tables[0][2][0][1] == "20.0 ± 5.0"


def test_one_model_of_several_splits_decides_the_form_and_one_without_geometry_the_table(
    with_splits,
):
    with_splits["models"][1] |= {"splits": [], "geometry": {}}
    found = report_tables.tables(with_splits)
    assert "±" in found[0][2][0][1]
    assert not any(title.startswith("Text geometry") for title, _, _ in found)


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


def test_files_name_models_by_name_and_hold_no_nan(two_models):
    other = copy.deepcopy(two_models)
    other["models"][0]["label"] = "Good"
    assert {row.split(",")[0] for row in report.to_csv(other).splitlines()[1:]} == {
        "good",
        "bad_one",
    }
    other["models"][0]["metrics"]["brier"]["value"] = float("nan")
    with pytest.raises(ValueError, match="not JSON compliant"):
        report.render(other, "json")


def test_latex_is_escaped_and_balanced(two_models):
    latex = report.render(two_models, "latex")
    assert r"bad\_one & " in latex
    assert latex.count(". Definitions: ") == 7  # in each caption
    assert len(latex_tables(latex)) == 7
    table = ("50 % of a_b", ["x", "y"], [["a&b", "< 1"], ["{^~\\", "±"]])
    assert report_layout.as_latex([table]) == "\n".join(
        [
            r"% \usepackage{booktabs,graphicx}", "", r"\begin{table}", r"\centering",
            r"\caption{50 \% of a\_b}\medskip", FIT, r"\begin{tabular}{ll}",
            r"\toprule", r"x & y \\", r"\midrule", r"a\&b & $<$ 1 \\",
            r"\{\textasciicircum{}\textasciitilde{}\textbackslash{} & $\pm$ \\",
            r"\bottomrule", r"\end{tabular}}", r"\end{table}", "",
        ]
    )  # fmt: skip


def test_latex_of_names_that_look_like_options_or_are_of_another_script():
    rows = [[name, "1"] for name in ("[3pt] a", "*a", "a|b")]
    latex = report_layout.as_latex([("T", ["[x]", "y"], rows)])
    assert all(line in latex for line in (r"{}[x] & y", r"{}[3pt] a & 1", r"{}*a & 1", "a$|$b & 1"))
    assert "XeLaTeX" not in latex
    assert "XeLaTeX" not in report_layout.as_latex([("Ñ ł λ “…” – Σ", ["x"], [])])
    assert "% Letters here need XeLaTeX" in report_layout.as_latex([("日本", ["x"], [])])


def test_latex_notes_stand_in_the_caption_and_below():
    latex = report_layout.as_latex([("T_1", ["x"], [["a"]])], ["Of `a_b`, |c|.", "50 %.", "So."])
    assert r"\caption[{T\_1}]{T\_1. Of \texttt{a\_b}, $|$c$|$.}\medskip" in latex
    assert r"\par\medskip\parbox{\linewidth}{\footnotesize 50 \%. So.}" in latex
    assert latex_tables(latex) == [[["x"], ["a"]]]


def test_rows_of_one_name_stand_together_in_latex():
    latex = report_layout.as_latex([("T", ["x", "y"], [["a", "1"], ["a", "2"], ["b", "3"]])])
    lines = latex.splitlines()[-7:-3]
    assert lines == [r"a & 1 \\", r" & 2 \\", r"\addlinespace", r"b & 3 \\"]
    assert latex_tables(latex) == [[["x", "y"], ["a", "1"], ["a", "2"], ["b", "3"]]]
    assert "addlinespace" not in report_layout.as_latex([("T", ["x"], [["a"], ["b"]])])


def test_latex_tables_too_wide_or_too_long_are_cut_and_keep_the_names_of_rows():
    columns = [f"CCR, λ {i}" for i in range(30)]
    rows = [[f"m{i}", "ECE", *["10.00 ± 1.00"] * 30] for i in range(50)]
    latex = report_layout.as_latex([("T", ["model", "metric", *columns], rows)])
    found = latex_tables(latex)
    assert re.findall(r"\\caption\{T \((\d) of 6\)\}", latex) == list("123456")
    assert [len(cells) for cells in found] == [26] * 6
    assert all(cells[0][:2] == ["model", "metric"] for cells in found)
    shown = [name for cells in found[:3] for name in cells[0][2:]]
    assert shown == [name.replace("λ", r"$\lambda$") for name in columns]
    assert [row[0] for cells in found[::3] for row in cells[1:]] == [row[0] for row in rows]


def test_any_tables_can_be_laid_out():
    tables = [("T", ["name", "n"], [["a|b", "1.5"], ["c", "-10"]]), ("U", ["x"], [])]
    assert report_layout.as_text(tables) == (
        "T\nname    n\n─────────\na|b   1.5\nc     -10\n\nU\nx\n─"
    )
    assert report_layout.as_markdown(tables) == (
        "**T**\n\n| name | n |\n|---|---:|\n| a\\|b | 1.5 |\n| c | -10 |\n\n**U**\n\n| x |\n|---|\n"
    )
    assert report_layout.as_csv([["name", "n"], ["a,b", None]]) == 'name,n\n"a,b",\n'


def test_columns_of_numbers_stand_to_the_right_but_names_never():
    row = ["7", "1,000", "< 0.001", "+0.1 [0.0, 0.2]", "–", "", "2nd", "worse"]
    table = ("T", ["name", *"abcdefg"], [row, ["10", *["1"] * 6, "worse"]])
    assert r"\begin{tabular}{lrrrrrrl}" in report_layout.as_latex([table])
    assert "7" in report_layout.as_text([table]).splitlines()[3][:1]


WIDE = ("Ways", ["model", "first", "second"], [["a", "1.0 [0.5, 1.5]", "2"], ["b", "3", "4"]])


def test_a_table_that_fits_is_left_upright():
    assert report_layout.as_text([WIDE], 29) == report_layout.as_text([WIDE])
    assert max(map(len, report_layout.as_text([WIDE]).splitlines())) == 29


def test_a_wide_table_is_turned_and_its_kind_with_it():
    narrow = ("Also", ["model", "x"], [["a", "1"], ["b", "2"]])
    other = ("Other", ["group", "x"], [["a", "1"], ["b", "2"]])
    turned = report_layout.as_text([narrow, WIDE, other], 25)
    assert turned == (
        "Also\n   a  b\n───────\nx  1  2\n\n"
        "Ways\n                     a  b\n─────────────────────────\n"
        "first   1.0 [0.5, 1.5]  3\nsecond               2  4\n\n"
        + report_layout.as_text([other])
    )  # fmt: skip


def test_a_kind_of_table_is_turned_only_if_all_of_them_fit():
    many = ("Many", ["model", "x"], [[str(i), "12345678"] for i in range(9)])
    text = report_layout.as_text([many, WIDE], 25)
    assert "second  " not in text  # WIDE would fit on its side, but many would not


def test_a_table_too_wide_either_way_is_cut_between_columns():
    assert report_layout.as_text([WIDE], 24) == (
        "Ways\nmodel           first\n─────────────────────\na      1.0 [0.5, 1.5]\n"
        "b                   3\n\n"
        "model  second\n─────────────\na           2\nb           4"
    )
    assert report_layout.as_text([WIDE], 1).count("model") == 2  # a column is never cut


def test_the_whole_report_fits_where_it_can(two_models, with_splits):
    for results in (two_models, with_splits):
        for width in (60, 80, 100):
            lines = report.render(results, "text", width).splitlines()
            assert max(map(len, lines)) <= width
        free = report.render(results, "text")
        assert free == report.render(results, "text", 1000)


def test_sentences_wrap_under_their_bullet_and_keep_units(two_models):
    other = copy.deepcopy(two_models)
    sentence = "Far too sure of nearly everything: by 100 % and, × 100, by very-long-hyphens."
    other["models"][1]["findings"] = [{"text": sentence, "evidence": {}}]
    text = report.to_text(other, 42)
    assert "  - Far too sure of nearly everything: by\n    100 % and, × 100, by\n" in text
    assert "\n    very-long-hyphens." in text
    assert "\u00a0" not in text
    assert report_layout.wrapped("a b 100 % c × 100", 7) == "a b\n100 % c\n× 100"
    assert report_layout.wrapped("abcd 100 %", 8) == "abcd\n100 %"
    assert report_layout.wrapped("abcd × 100", 6) == "abcd\n× 100"
    assert f"  - {sentence}\n" in report.to_text(other)


def test_every_form_ends_in_one_line_break(two_models):
    for form in report_layout.FORMATS:
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
        (drop("schema_version"), "must have schema_version 2, but .* has None; write it anew"),
        (lambda r: r.update(schema_version=1), "must have schema_version 2, but .* has 1"),
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
    with pytest.raises(BadData, match="schema_version 2, but .* has None; write it anew with"):
        load_results(path)
    for content in ("{", "[]", "\x00"):
        path.write_text(content)
        with pytest.raises(BadData, match="anew with 'ccr-diag analyze'"):
            load_results(path)
