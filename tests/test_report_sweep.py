"""Tables of a sweep say what its results table holds, rounded."""

import csv
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from latex import latex_tables
from sweep_frames import GROUPS, METRICS, lambda_study, rows, value, zero_shot

from ccr_diag.report_layout import Best
from ccr_diag.report_sweep import TABLES, labels, notes, render_sweep, tables
from ccr_diag.sweep_table import check_table, summarise
from ccr_diag.table_files import sweep_tables


def study(**changes) -> pd.DataFrame:
    return check_table(lambda_study(**changes), "here")


def together(*parts) -> pd.DataFrame:
    return check_table(pd.DataFrame([row for part in parts for row in part]), "here")


def test_a_row_for_each_kind_of_run_and_a_column_for_each_group():
    made = tables(study())
    assert [title for title, _, _ in made] == [f"{TABLES[m]}, × 100" for m in METRICS]
    title, header, body = made[0]
    assert header == ["model", "base", "new", "head", "tail", "all"]
    assert [row[0] for row in body] == [
        "Zero-shot (prior bias)", "BCE (prior bias)", "BCE + CCR (prior bias), λ 1",
        "BCE + CCR (prior bias), λ 10", "BCE + CCR (prior bias), λ 100",
    ]  # fmt: skip


@pytest.mark.parametrize("spread", ["interval", "sd"])
def test_cells_are_means_and_their_spread_in_percent(spread):
    table = study()
    means = summarise(table, ["model", "lambda"])
    for metric, (_, header, body) in zip(METRICS, tables(table, spread), strict=True):
        for group, text in zip(header[1:], body[3][1:], strict=True):
            row = means[
                (means["lambda"] == 10) & (means["group"] == group) & (means["metric"] == metric)
            ].iloc[0]
            half = row["sd"] if spread == "sd" else row["high"] - row["mean"]
            shown = [float(number) for number in text.split(" ± ")]
            np.testing.assert_allclose(shown, [100 * row["mean"], 100 * half], atol=0.0501)


def test_the_best_of_each_column_is_marked_by_the_direction_of_its_metric():
    best = {"map": np.argmax, "ece_positive": np.argmin, "ece_decision": np.argmin}
    best["signed_error"] = lambda values: np.argmin(np.abs(values))
    for metric, (_, _, body) in zip(METRICS, tables(study()), strict=True):
        for column in list(zip(*body, strict=True))[1:]:
            at = best[metric]([float(text.split(" ± ")[0]) for text in column])
            ties = [text.split(" ± ")[0] == column[at].split(" ± ")[0] for text in column]
            assert [isinstance(text, Best) for text in column] == ties


def test_a_single_row_is_not_the_best_of_any():
    (_, _, ((_, *texts),)), *_ = tables(together(rows(1.0)))
    assert not any(isinstance(text, Best) for text in texts)


def test_the_harmonic_mean_stands_beside_map_alone():
    harmonic = rows(1.0, groups=["all"], metrics=["map_harmonic"], run="a", valued=lambda *_: 0.625)
    (_, header, body), (_, other, _), *_ = tables(together(rows(1.0, run="a"), harmonic))
    assert header[-1] == "harmonic mean"
    assert body[0][-1] == "62.5 ± 0.0"
    assert "harmonic mean" not in other


def test_zero_shot_stands_first_wherever_it_was_measured():
    _, _, body = tables(together(rows(0.0), zero_shot(), rows(1.0)))[0]
    assert [row[0].split()[0] for row in body] == ["Zero-shot", "BCE", "BCE"]


def test_what_tells_the_runs_of_a_model_apart_is_said():
    table = together(
        rows(0.0, run="a", batch_size=8, epochs=3, calibrator="none", class_split=""),
        rows(0.0, run="b", batch_size=128, epochs=3, calibrator="none", class_split="first-half"),
        rows(1.0, run="c", batch_size=32, epochs=3, calibrator="none", class_split=""),
        rows(1.0, run="c", batch_size=32, epochs=3, calibrator="platt by group", class_split=""),
    )
    assert labels(table).unique().tolist() == [
        "BCE (prior bias), batch 8, class split none",
        "BCE (prior bias), batch 128, class split first-half",
        "BCE + CCR (prior bias)",
        "BCE + CCR (prior bias), platt by group",
    ]
    assert labels(table, "batch_size").unique().tolist()[0] == "BCE (prior bias), class split none"
    assert labels(table, "calibrator").nunique() == 3
    assert len(tables(table)[0][2]) == 4


def test_each_data_set_has_tables_of_its_own():
    made = tables(together(rows(1.0, run="a"), rows(2.0, run="a", data="scenes:noto")))
    assert len(made) == 2 * len(METRICS)
    assert made[0][0].endswith(", scenes (test)")
    assert made[-1][0].endswith(", scenes:noto (test)")


def test_missing_runs_are_said_once():
    both = [rows(10.0, splits=(1, 3), run="b", calibrator=c) for c in ("none", "platt")]
    table = together(rows(0.0, run="a"), *both)
    definitions, *gaps = notes(table)
    assert definitions == (
        "Mean ± half of the 95 % interval over splits (Student t); 3 splits, preset textbook, "
        "15 bins."
    )
    assert gaps == ["BCE + CCR (prior bias): 2 of 3 splits, without 2."]
    assert len(notes(study())) == 1
    assert notes(study(), "sd")[0].startswith("Mean ± standard deviation over splits; ")


def test_one_split_has_no_spread_and_an_undefined_number_is_a_dash():
    def valued(split, lambda_, group, metric):
        return float("nan") if group == "new" else value(split, lambda_, group, metric)

    _, header, body = tables(together(rows(1.0, splits=(1,), valued=valued)))[0]
    assert body[0][header.index("new")] == "–"
    assert "±" not in body[0][1]
    assert notes(together(rows(1.0, splits=(1,))))[0].endswith(
        "; 1 split, preset textbook, 15 bins."
    )


def test_text_markdown_and_latex_hold_the_same_cells():
    table = study()
    shown = [row for _, _, body in tables(table) for row in body]
    text, markdown, latex = (render_sweep(table, f) for f in ("text", "markdown", "latex"))
    for row in shown:
        assert any(re.split(r"\s{2,}", line) == row for line in text.splitlines())
        marked = [f"**{text}**" if isinstance(text, Best) else text for text in row]
        assert f"| {' | '.join(marked)} |" in markdown
    read = [row for rows in latex_tables(latex) for row in rows[1:]]
    bold = [[cell.startswith(r"\textbf{") for cell in row] for row in read]
    assert bold == [[isinstance(text, Best) for text in row] for row in shown]
    assert latex.count(r". Mean $\pm$ half of the 95 \% interval over splits") == len(tables(table))
    assert text.endswith("15 bins.\n")
    assert max(map(len, render_sweep(table, "text", 70).splitlines())) <= 70


def test_csv_and_json_hold_the_means_in_full():
    table = study()
    found = list(csv.DictReader(io.StringIO(render_sweep(table, "csv"))))
    means = summarise(table, ["model", "lambda"])
    assert [float(row["mean"]) for row in found] == means["mean"].tolist()
    assert [float(row["low"]) for row in found] == means["low"].tolist()
    assert {row["calibrator"] for row in found} == {"none"}
    content = json.loads(render_sweep(table, "json"))
    assert [row["high"] for row in content["means"]] == means["high"].tolist()
    assert {row["group"] for row in content["means"]} == set(GROUPS)
    assert set(content["definitions"]["metrics"]) == set(METRICS)
    assert content["definitions"]["n_bins"] == 15
    alone = json.loads(render_sweep(together(rows(1.0, splits=(1,))), "json"))["means"][0]
    assert (alone["low"], alone["sd"], alone["n"]) == (None, None, 1)


def test_files_of_tables_say_the_spread_that_was_asked_for():
    files = sweep_tables(study(), "sd")
    assert "Mean ± standard deviation over splits" in files["sweep.md"]
    assert r"Mean $\pm$ standard deviation over splits" in files["sweep.tex"]
    assert files["sweep.csv"] == sweep_tables(study())["sweep.csv"]
