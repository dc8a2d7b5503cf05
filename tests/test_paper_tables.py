"""The paper's tables hold the means of a sweep, gaps where runs are missing, and nothing else."""

import re
import tomllib
import zlib
from functools import partial

import numpy as np
import pandas as pd
import pytest
from latex import latex_tables
from scipy import stats
from sweep_frames import rows

from ccr_diag.config import FinetuneConfig
from ccr_diag.errors import BadConfig, BadData
from ccr_diag.frameworks import FRAMEWORKS
from ccr_diag.grids import load_grid
from ccr_diag.paper.kinds import KINDS
from ccr_diag.paper.notes import NO_SHARED_CONTEXT
from ccr_diag.paper.printed import FILE, printed
from ccr_diag.paper.tables import paper_tables, write_tables
from ccr_diag.report_layout import Best
from ccr_diag.sweep_table import check_table

GROUPS = ("all", "base", "head", "medium", "tail", "new")
METRICS = (
    "ece_decision", "ace_decision", "mce_weighted_decision", "piece_decision", "ece_positive",
    "ace_positive", "mce_weighted_positive", "accuracy_elementwise", "map", "map_harmonic",
)  # fmt: skip
OF = {
    "zero-shot": (0.0, {"loss": "none", "regularizer": "none", "batch_size": 0}),
    "plain": (0.0, {"regularizer": "none"}),
    "DAC": (0.0, {"regularizer": "none", "calibrator": "dac"}),
    "DOR": (8.0, {"regularizer": "dor"}),
    "CCR": (10.0, {"regularizer": "ccr"}),
}
SINGLE = [kind.name for kind in KINDS if not kind.across_data]


def number(*words) -> float:
    """Another for each, in (0, 1)."""
    return (zlib.crc32(repr(words).encode()) % 9973 + 1) / 9975


def of(framework, method, splits=(1, 2, 3), groups=GROUPS, metrics=METRICS, **changes):
    """Rows of one kind of run."""
    lambda_, about = OF[method]
    about = about | {"framework": "zero-shot" if method == "zero-shot" else framework}
    regularizer = about["regularizer"]
    about |= {
        "run": f"{framework}-{regularizer}",
        "model": f"{about['framework']} {regularizer}",
    } | changes
    lambda_ = about.pop("lambda", lambda_)
    words = (framework, method, lambda_, sorted(changes.items()))
    valued = lambda s, _, g, m: number(*words, s, g, m)  # noqa: E731
    return rows(lambda_, splits, groups, metrics, valued, **about)


def frame_of(*parts) -> pd.DataFrame:
    return check_table(pd.DataFrame([row for part in parts for row in part]), "here")


some = partial(of, metrics=("ece_decision", "accuracy_elementwise"))
"""Enough of the numbers for three kinds of tables, and for data sets in a row."""


@pytest.fixture(scope="module")
def study() -> pd.DataFrame:
    """CoOp with everything, KgCoOp without DAC, CLIP-Adapter without DAC and DOR."""
    return frame_of(
        of("coop", "zero-shot"),
        *(of("coop", method) for method in ("plain", "DAC", "DOR", "CCR")),
        *(of("kgcoop", method) for method in ("plain", "DOR", "CCR")),
        *(of("clip_adapter", method) for method in ("plain", "CCR")),
    )


@pytest.fixture(scope="module")
def made(study):
    return {table.name: table for table in paper_tables(study)}


@pytest.fixture(scope="module")
def with_sd(study):
    return {table.name: table for table in paper_tables(study, spread="sd")}


@pytest.fixture(scope="module")
def beside(study):
    return {table.name: table for table in paper_tables(study, with_paper=True)}


def lines_of(table) -> list[dict[str, str]]:
    _, header, body = table.table
    return [dict(zip(header, row, strict=True)) for row in body]


def remarks(table) -> str:
    return "\n\n".join(table.remarks)


def notes_with(table, words) -> list[str]:
    return [note for note in table.notes if words in note]


def test_every_table_has_its_rows_and_columns(made):
    assert list(made) == SINGLE
    for kind in KINDS[:-1]:
        title, header, body = made[kind.name].table
        assert header == ["framework", kind.rows_are, *kind.methods]
        expected = [[f, row] for f in ("CoOp", "KgCoOp", "CLIP-Adapter") for row in kind.rows]
        assert [row[:2] for row in body] == expected
        assert title == f"{kind.title}, × 100"


def test_titles_say_which_confidence():
    for kind in KINDS:
        for metric, _ in kind.rows.values():
            for side in ("decision", "positive"):
                assert (side in kind.title) >= metric.endswith(f"_{side}")


@pytest.mark.parametrize("spread", ["interval", "sd"])
@pytest.mark.parametrize("name", SINGLE)
def test_cells_are_means_over_splits_and_their_spread(made, with_sd, name, spread):
    table = {"interval": made, "sd": with_sd}[spread][name]
    (kind,) = [kind for kind in KINDS if kind.name == name]
    written = {"CoOp": "coop", "KgCoOp": "kgcoop", "CLIP-Adapter": "clip_adapter"}
    seen = 0
    for line in lines_of(table):
        metric, group = kind.rows[line[kind.rows_are]]
        for method in kind.methods:
            framework = "coop" if method == "zero-shot" else written[line["framework"]]
            if line[method] == "–":
                assert (framework, method) in {
                    ("kgcoop", "DAC"), ("clip_adapter", "DAC"), ("clip_adapter", "DOR"),
                }  # fmt: skip
                continue
            values = [
                expected_value(framework, method, split, group, metric) for split in (1, 2, 3)
            ]
            half = np.std(values, ddof=1)
            if spread == "interval":
                half *= stats.t.ppf(0.975, 2) / np.sqrt(3)
            shown = [float(part) for part in line[method].split(" ± ")]
            assert shown == pytest.approx([100 * np.mean(values), 100 * half], abs=0.00501)
            seen += 1
    assert seen > 20


def expected_value(framework, method, split, group, metric):
    words = (framework, method, OF[method][0], [])
    if metric == "accuracy_elementwise_harmonic":
        base, new = (number(*words, split, g, "accuracy_elementwise") for g in ("base", "new"))
        return 2 * base * new / (base + new)
    return number(*words, split, group, metric)


def test_the_best_of_each_row_is_marked_by_the_direction_of_its_metric(made):
    for kind in KINDS[:-1]:
        better = max if "higher" in kind.title else min
        for line in lines_of(made[kind.name]):
            texts = [line[method] for method in kind.methods if line[method] != "–"]
            best = better(float(text.split(" ± ")[0]) for text in texts)
            marked = {float(t.split(" ± ")[0]) for t in line.values() if isinstance(t, Best)}
            assert marked == {best}


def test_a_missing_run_is_a_gap_and_a_note_says_how_to_fill_it(made):
    table = made["calibration_error"]
    assert notes_with(table, "Missing runs (–): DAC of KgCoOp; DAC of CLIP-Adapter.")
    (dac, then) = table.remarks[:2]
    assert dac.endswith("""under [calibration]:\n\ncalibrators = ["none", "dac"]""")
    assert then == "Then: ccr-diag sweep FOLDER/grid.toml --output FOLDER --resume"
    (dor,) = notes_with(table, "DOR of CLIP-Adapter")
    assert dor == ("DOR of CLIP-Adapter: there is none, as no context is learned that nouns share.")
    assert not notes_with(table, "CCR of")
    without = frame_part(some("coop", "plain"), some("kgcoop", "plain"), some("coop", "CCR"))
    assert notes_with(without["segment_ece_decision"], "Missing runs (–): CCR of KgCoOp.")
    (ccr, _) = without["segment_ece_decision"].remarks[:2]
    assert '[[grid]]\nframework = "kgcoop"\nloss = "bce"\nregularizer = "ccr"' in ccr
    several = [some("coop", "plain", shots=n, run=f"p{n}") for n in range(1, 11)]
    many = frame_part(*several, some("coop", "DOR", shots=1))
    (note,) = notes_with(many["segment_ece_decision"], "CCR of CoOp, 1 shots; ")
    assert note.endswith("; and 2 more.")
    assert remarks(many["segment_ece_decision"]).count("[[grid]]") == 19


def test_a_grid_with_what_the_remarks_say_has_the_runs_that_are_missing(tmp_path):
    """Beside all that there are, with the calibrators that there are."""
    given = (
        some("coop", "plain", bias="prior", learning_rate=0.5, run="a", model="a"),
        some("coop", "plain", bias="prior", learning_rate=0.5, run="a", calibrator="platt"),
        some("coop", "CCR", bias="prior", learning_rate=0.5, **{"lambda": 1.0}, run="b", model="b"),
        some("coop", "CCR", bias="prior", learning_rate=0.5, **{"lambda": 2.0}, run="c", model="b"),
        some("tai_dpt", "plain", bias="learned", shots=0, learning_rate=2.0, run="d", model="d"),
    )
    table = frame_part(*given)["calibration_error"]
    said, blocks, then = table.remarks[:3]
    calibrators = said.split("\n\n", 1)[1]
    assert calibrators == 'calibrators = ["none", "platt", "dac"]'
    path = tmp_path / "grid.toml"
    path.write_text(f"[calibration]\n{calibrators}\n\n{blocks.split(chr(10) * 2, 1)[1]}\n")
    grid = load_grid(str(path))
    assert grid.calibrators == ("none", "platt", "dac")
    found = {
        (r.framework, r.loss, r.regularizer, r.bias, r.shots, r.learning_rate)
        + ((r.lambda_,) if r.regularizer == "ccr" else ())
        for r in grid.runs
    }
    assert found == {
        ("coop", "bce", "dor", "prior", 16, 0.5),
        ("tai_dpt", "bce", "dor", "learned", 0, 2.0),
        ("tai_dpt", "bce", "ccr", "learned", 0, 2.0, 1.0),
        ("tai_dpt", "bce", "ccr", "learned", 0, 2.0, 2.0),
    }  # fmt: skip
    assert then.endswith("--resume")


def test_a_table_without_gaps_has_nothing_to_fill():
    found = frame_part(*(some("coop", method) for method in ("plain", "DOR", "CCR")))
    assert found["segment_ece_decision"].remarks == ()


def frame_part(*parts, **options):
    return {table.name: table for table in paper_tables(frame_of(*parts), **options)}


def test_the_frameworks_without_dor_are_those_that_the_settings_refuse():
    refused = []
    for framework in FRAMEWORKS:
        try:
            FinetuneConfig(framework=framework, regularizer="dor")
        except BadConfig:
            refused.append(framework)
    assert tuple(refused) == NO_SHARED_CONTEXT


def test_missing_splits_are_said():
    found = frame_part(some("coop", "plain"), some("coop", "CCR", splits=(1, 3)))
    assert notes_with(found["calibration_error"], "2 of 3 splits, without 2")
    assert "n_splits" not in found["calibration_error"].frame
    counts = found["calibration_error"].frame.groupby("column")["n"].unique()
    assert (counts["plain"][0], counts["CCR"][0]) == (3, 2)


def test_several_settings_are_rows_and_those_of_a_regularizer_columns():
    biases = ("prior", "learned")
    lambdas = (0.1, 1.0)
    found = frame_part(
        some("coop", "zero-shot", bias="none", run="z0", model="a"),
        some("coop", "zero-shot", bias="prior", run="z1", model="b"),
        *(some("coop", "plain", bias=b, run=f"p{b}") for b in biases),
        *(some("coop", "CCR", **{"lambda": x}, run=f"c{x}") for x in lambdas),
        some("kgcoop", "CCR"),
    )
    _, header, body = found["base_to_new_accuracy"].table
    assert header[2:] == ["zero-shot", "plain", "DOR", "CCR, λ 0.1", "CCR, λ 1", "CCR, λ 10"]
    names = list(dict.fromkeys(row[0] for row in body))
    assert names == ["CoOp, bias prior", "CoOp, bias learned", "KgCoOp"]
    of_row = {row[0]: dict(zip(header, row, strict=True)) for row in body if row[1] == "head"}
    prior, learned, kgcoop = of_row.values()
    assert prior["plain"] != learned["plain"] != "–"
    assert prior["zero-shot"] == learned["zero-shot"] == kgcoop["zero-shot"] != "–"
    assert learned["CCR, λ 1"] == "–" != prior["CCR, λ 1"]
    assert [kgcoop[c] for c in header[3:]] == ["–"] * 4 + [kgcoop["CCR, λ 10"]]
    zero = found["base_to_new_accuracy"].frame.query("column == 'zero-shot'")
    assert set(zero["bias"]) == {"prior"}


def test_a_setting_that_no_label_says_is_said_below(made):
    found = frame_part(some("coop", "plain", batch_size=8), some("coop", "CCR", batch_size=64))
    said = "Runs also differ in batch size, as the CSV of this table says."
    assert said in found["calibration_error"].remarks
    assert "Runs also differ" not in remarks(made["calibration_error"])


def test_runs_that_no_label_tells_apart_are_refused():
    twins = [
        some("coop", "CCR", **{"lambda": 1 + i * 1e-9}, run=f"c{i}", model=f"m{i}") for i in (1, 2)
    ]
    with pytest.raises(BadData, match="CCR, λ 1 of CoOp has several .* 'm1' and 'm2'; leave"):
        paper_tables(frame_of(some("coop", "plain"), *twins))


def test_other_losses_and_calibrators_are_not_among_the_methods():
    few = partial(some, splits=(1, 2), groups=("all", "head"))
    others = (
        few("coop", "plain", loss="ranking", run="r", model="ranking"),
        few("coop", "plain", calibrator="platt"),
        few("coop", "zero-shot", calibrator="platt"),
        few("coop", "CCR", calibrator="dac"),
        few("coop", "CCR", regularizer="kgcoop", run="k", model="k"),
    )
    assert paper_tables(frame_of(*others)) == []
    assert paper_tables(frame_of(*others, few("coop", "plain"))) == []
    plain = frame_part(few("coop", "plain"), few("coop", "CCR"))
    mixed = frame_part(few("coop", "plain"), few("coop", "CCR"), *others)
    assert [t.table for t in plain.values()] == [t.table for t in mixed.values()]


def test_a_frame_without_any_number_of_these_tables_has_none():
    assert paper_tables(frame_of(of("coop", "plain", metrics=["nll"]))) == []


def test_numbers_that_no_run_has_are_left_out_and_undefined_ones_dashes():
    groups = ("all", "base", "head")
    found = frame_part(some("coop", "plain", groups=groups), some("coop", "CCR", groups=groups))
    table = found["segment_ece_decision"]
    assert [line["classes"] for line in lines_of(table)] == ["head"]
    assert notes_with(table, "Left out, as no run has such a number: medium, tail, new.")
    frame = frame_of(some("coop", "plain"), some("coop", "CCR"), some("coop", "DOR"))
    frame.loc[(frame["regularizer"] == "ccr") & (frame["group"] == "tail"), "value"] = np.nan
    frame.loc[(frame["regularizer"] != "dor") & (frame["group"] == "new"), "value"] = np.nan
    (table,) = [t for t in paper_tables(frame) if t.name == "segment_ece_decision"]
    by_group = {line["classes"]: line for line in lines_of(table)}
    assert by_group["tail"]["CCR"] == "–"
    assert not isinstance(by_group["tail"]["CCR"], Best)
    assert not any(isinstance(text, Best) for text in by_group["new"].values())
    assert not notes_with(table, "Missing runs")


def test_one_split_has_no_spread():
    found = frame_part(some("coop", "plain", splits=(1,)), some("coop", "CCR", splits=(1,)))
    assert "±" not in "".join(map("".join, found["calibration_error"].table[2]))


def test_each_data_set_has_a_table_and_runs_on_several_one_across(tmp_path):
    places = ("scenes:noto", "日本", "a_b|$&%#{~}", "a b")  # the last two of the same letters
    groups = ("all", "head")
    few = partial(some, "coop", splits=(1, 2), groups=groups)
    found = frame_part(*(few(m, data=d) for d in places for m in ("plain", "CCR")))
    assert len(found) == 3 * len(places) + 1
    assert all(re.fullmatch("[a-z0-9_]+", name) for name in found)
    assert found["calibration_error_scenes_noto_test"].table[0].startswith(KINDS[0].title)
    assert (
        found["calibration_error_scenes_noto_test"].table[0].endswith("scenes:noto (test), × 100")
    )
    across = found["domain_generalisation"]
    assert across.table[1] == ["framework", "data", "metric", "plain", "DOR", "CCR"]
    assert [row[:3] for row in across.table[2]] == [
        ["CoOp", place, metric] for place in places for metric in ("ECE", "accuracy")
    ]
    assert notes_with(across, "none is marked as the source")
    assert notes_with(across, "Missing runs (–): DOR of CoOp.")
    written = write_tables([across, found["calibration_error_a_b_test_2"]], tmp_path)
    for path in written[2::3]:
        assert len(latex_tables(path.read_text(encoding="utf-8"))) == 1
    assert r"| a_b\|$&%#{~} | ECE |" in written[0].read_text(encoding="utf-8")
    apart = frame_part(
        *(few(m, data=d, run=f"{m}{d}") for d in places[:2] for m in ("plain", "CCR"))
    )
    assert "domain_generalisation" not in apart


def test_a_run_that_is_missing_on_one_data_set_is_a_gap_there():
    plain = [some("coop", "plain", data=place) for place in ("x", "y")]
    (table,) = [t for t in paper_tables(frame_of(*plain, some("coop", "CCR", data="x")))
                if t.name == "domain_generalisation"]  # fmt: skip
    assert [line["CCR"] == "–" for line in lines_of(table)] == [False, False, True, True]
    assert notes_with(table, "Missing runs (–): CCR of CoOp on y.")


def test_the_source_is_marked_where_the_table_tells_it_and_the_paper_stands_there():
    found = frame_part(
        *(some("coop", m, data=d, train_data="coco:x") for d in ("coco:x", "y")
          for m in ("plain", "CCR")),
        with_paper=True,
    )  # fmt: skip
    first, _, third, _ = lines_of(found["domain_generalisation"])
    assert first["data"] == "coco:x (source)"
    assert third["data"] == "y"
    assert (first["plain (paper)"], first["CCR (paper)"]) == ("5.10", "3.92")
    assert third["plain (paper)"] == ""
    assert notes_with(found["domain_generalisation"], "3.92 in the table, but 2.92 in the text")
    rest = remarks(found["domain_generalisation"])
    assert "without a row here" in rest
    assert "CoOp, COCO-2014, accuracy: plain 63.55, CCR 72.47" in rest
    assert "CoOp, source, ECE" not in rest


def test_the_papers_values_stand_in_columns_of_their_own_and_change_nothing(made, beside):
    for name, table in made.items():
        ours, both = lines_of(table), lines_of(beside[name])
        for line, more in zip(ours, both, strict=True):
            assert {key: more[key] for key in line} == line
            marks = {key for key, text in more.items() if isinstance(text, Best)}
            assert marks == {key for key, text in line.items() if isinstance(text, Best)}
            assert all(key in line or key.endswith(" (paper)") for key in more)
    assert not any("paper" in note for table in made.values() for note in table.notes)
    first = lines_of(beside["calibration_error"])[0]
    assert [first[f"{m} (paper)"] for m in OF if m != "zero-shot"] == [
        "13.25", "10.85", "9.92", "7.35",
    ]  # fmt: skip
    assert beside["calibration_error"].table[0].count("(paper)") == 1
    assert beside["base_to_new_map"].table == made["base_to_new_map"].table


def test_the_tidy_frame_says_whose_numbers_are_whose(made, beside):
    for name, table in beside.items():
        ours = made[name].frame
        assert set(ours["origin"]) == {"ours"}
        mine = table.frame[table.frame["origin"] == "ours"]
        pd.testing.assert_frame_equal(mine[list(ours.columns)], ours, check_dtype=False)
        theirs = table.frame[table.frame["origin"] == "paper"]
        known = printed(name)
        assert len(theirs) == (0 if known is None else len(known.values))
        if known is not None:
            np.testing.assert_allclose(theirs["mean"], theirs["printed"].astype(float) / 100)
            assert theirs["where"].str.len().gt(20).all()
            assert set(theirs["unit"]) <= {"%", "10⁻²"}


def test_doubts_and_what_has_no_row_are_said(beside):
    table = beside["calibration_error"]
    (origin,) = notes_with(table, "(paper): ")
    for word in ("six data sets", "ViT-B/16", "16 shots", "not comparable"):
        assert word in origin
    rest = table.remarks[-1]
    assert rest.startswith("Printed in the paper, without a row here")
    assert "T2I-PAL, MCE, weighted: plain 1.37, DAC 1.18, DOR 1.26, CCR 1.04" in rest
    assert "CoOp" not in rest
    assert notes_with(table, "Definitions differ: here preset textbook, 15 bins;")
    assert "--set preset=paper" in remarks(table)
    accuracy = beside["base_to_new_accuracy"]
    assert notes_with(accuracy, "81.67 to 81.42")
    assert "preset=paper" not in remarks(accuracy)
    like = frame_part(
        *(some("coop", m, preset="paper", n_bins=10) for m in ("plain", "CCR")), with_paper=True
    )
    assert not notes_with(like["calibration_error"], "Definitions differ")


def test_the_paper_stands_beside_its_own_shots_and_frameworks_of_captions_alone():
    found = frame_part(
        *(some("coop", m, shots=n, run=f"{m}{n}") for m in ("plain", "CCR") for n in (1, 16)),
        some("tai_dpt", "plain", shots=0, bias="learned"),
        with_paper=True,
    )
    shown = {line["framework"]: line["plain (paper)"] for line in
             lines_of(found["calibration_error"]) if line["metric"] == "ECE"}  # fmt: skip
    assert shown == {"CoOp, 1 shots": "", "CoOp, 16 shots": "13.25", "TaI-DPT": "6.02"}


def test_the_printed_values_are_of_tables_frameworks_and_numbers_that_there_are():
    content = tomllib.loads(FILE.read_text(encoding="utf-8"))
    kinds = {kind.name: kind for kind in KINDS}
    for table in content["table"]:
        kind = kinds[table["name"]]
        assert set(table["methods"]) <= set(kind.methods)
        assert table["cautions"]
        for row in table["row"]:
            assert row["framework"] in FRAMEWORKS
            assert (row["metric"], row["group"]) in kind.rows.values()
            assert len(row["values"]) == len(table["methods"])
    sums = {name: printed(name).values["printed"].sum() for name in kinds if printed(name)}
    assert sums == {
        "calibration_error": pytest.approx(130.80),
        "base_to_new_accuracy": pytest.approx(2054.82),
        "segment_ece_decision": pytest.approx(111.21),
        "domain_generalisation": pytest.approx(578.43),
    }


def test_files_hold_the_same_and_are_whole(made, beside, tmp_path):
    for tables, folder in ((made, tmp_path / "a"), (beside, tmp_path / "b")):
        written = write_tables(list(tables.values()), folder)
        assert sorted(written) == sorted(folder.iterdir())
        assert len(written) == 3 * len(tables)
        for name, table in tables.items():
            title, header, body = table.table
            markdown = (folder / f"{name}.md").read_text(encoding="utf-8")
            shown = [line[2:-2].split(" | ") for line in markdown.splitlines() if line[:2] == "| "]
            marked = [[f"**{t}**" if isinstance(t, Best) else t for t in row] for row in body]
            assert shown == [header, *marked]
            assert all(note in markdown for note in table.notes)
            assert markdown.count("```toml\n") == remarks(table).count(":\n\n")
            latex = (folder / f"{name}.tex").read_text(encoding="utf-8")
            (cells,) = latex_tables(latex)
            bare = [[re.sub(r"\\textbf\{(.*)\}$", r"\1", cell) for cell in row] for row in cells]
            ours = [
                [cell.replace("±", r"$\pm$").replace("–", "--") for cell in row] for row in body
            ]
            assert bare[1:] == ours
            bold = [[cell.startswith(r"\textbf{") for cell in row] for row in cells[1:]]
            assert bold == [[isinstance(text, Best) for text in row] for row in body]
            assert latex.count(r"\parbox") == 1
            said = [line for remark in table.remarks for line in remark.splitlines() if line]
            assert all(f"\n% {line}\n" in latex for line in said)
            back = pd.read_csv(folder / f"{name}.csv", keep_default_na=False)
            assert [float(value) for value in back["mean"]] == table.frame["mean"].tolist()
            assert list(back["origin"]) == list(table.frame["origin"])


def test_definitions_that_differ_are_named_with_how_to_recompute():
    frame = pd.DataFrame(some("coop", "plain") + some("coop", "CCR", preset="paper"))
    with pytest.raises(BadData, match="preset textbook and paper; .* --set preset=textbook, or"):
        paper_tables(frame)
