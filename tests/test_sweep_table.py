"""The table of sweeps: written and read back to the last bit, refused, and averaged."""

import builtins
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sweep_frames import GROUPS, METRICS, ROW, lambda_study, rows, value, zero_shot

from ccr_diag.config import FinetuneConfig
from ccr_diag.errors import BadConfig, BadData, CcrDiagError, MissingExtra
from ccr_diag.sweep_table import (
    COLUMNS,
    CSV,
    PARQUET,
    SETTINGS,
    check_table,
    identity,
    read_table,
    summarise,
    write_table,
)

ODD = [0.1 + 0.2, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, np.nan, np.inf, -np.inf, 2.0**-1074]


def odd_table() -> pd.DataFrame:
    """Numbers and words that a careless reader changes."""
    words = ["NA", "null", "None", "nan", "", 'a "b", c', "ä\u00a0β", "#1", "1.0"]
    numbers = enumerate(zip(ODD, words, strict=True))
    return pd.DataFrame(
        [
            ROW | {"split": i, "value": number, "map_bias": number, "class_split": word}
            | {"class_specific": bool(i % 2), "learning_rate": 0.1 * i, "epochs": 2**40 + i}
            for i, (number, word) in numbers
        ]
    )  # fmt: skip


def bits(column: "pd.Series[float]") -> list[int]:
    return column.to_numpy().view(np.int64).tolist()


def refusal(call, *args) -> str:
    with pytest.raises(CcrDiagError) as error:
        call(*args)
    text = str(error.value)
    assert "\n" not in text
    assert text[-1] in ".?"
    return text


@pytest.mark.parametrize("file", ["", CSV, PARQUET])
def test_what_is_written_is_read_to_the_last_bit(tmp_path, file):
    table = odd_table()
    assert write_table(table, tmp_path / "new") == [
        tmp_path / "new" / CSV,
        tmp_path / "new" / PARQUET,
    ]
    found = read_table(tmp_path / "new" / file)
    for name in ("value", "map_bias", "learning_rate"):
        assert bits(found[name]) == bits(table[name])
    for name in table.columns:
        assert found[name].isna().tolist() == table[name].isna().tolist()
        assert found[name].dropna().tolist() == table[name].dropna().tolist()
    kinds = {name: found[name].dtype.kind for name in found.columns}
    assert kinds["class_specific"] == "b"
    assert (kinds["epochs"], kinds["value"], kinds["run"]) == ("i", "f", "O")


def test_csv_and_parquet_hold_the_same_table(tmp_path):
    csv, parquet = write_table(lambda_study(), tmp_path)
    pd.testing.assert_frame_equal(read_table(csv), read_table(parquet), check_exact=True)


def test_columns_stand_in_one_order_with_what_is_varied_before_the_data(tmp_path):
    table = odd_table()
    write_table(table[table.columns[::-1]], tmp_path)
    names = list(read_table(tmp_path).columns)
    assert [name for name in names if name in COLUMNS] == list(COLUMNS)
    assert set(names[names.index("shots") + 1 : names.index("data")]) == {
        "class_split", "class_specific", "learning_rate", "epochs",
    }  # fmt: skip


def test_a_column_for_each_setting_of_finetune():
    fields = {name.rstrip("_") for name in FinetuneConfig().as_dict()}
    assert fields - set(SETTINGS) == fields & {*COLUMNS, "seed"}
    assert SETTINGS["new_classes"] is str


def test_a_folder_without_pyarrow_holds_the_csv_alone(tmp_path, monkeypatch):
    write_table(lambda_study(), tmp_path)
    true_import = builtins.__import__

    def without(name, *args, **options):
        if name.split(".")[0] == "pyarrow":
            raise ImportError(name)
        return true_import(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    for name in [name for name in sys.modules if name.split(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    newer = lambda_study(valued=lambda *_: 0.75)
    assert write_table(newer, tmp_path) == [tmp_path / CSV]
    assert [path.name for path in tmp_path.iterdir()] == [CSV]  # not the older Parquet beside it
    assert set(read_table(tmp_path)["value"]) == {0.75}
    (tmp_path / PARQUET).write_bytes(b"")
    with pytest.raises(MissingExtra, match="pyarrow"):
        read_table(tmp_path / PARQUET)


def test_tables_are_put_together(tmp_path):
    write_table(pd.DataFrame(rows(1.0)), tmp_path / "a")
    write_table(pd.DataFrame(rows(10.0)), tmp_path / "b")
    found = read_table([tmp_path / "a", tmp_path / "b" / PARQUET])
    assert found["lambda"].unique().tolist() == [1.0, 10.0]
    assert len(found) == 2 * 3 * len(GROUPS) * len(METRICS)
    assert found.index.is_unique


def test_tables_that_do_not_go_together_are_refused(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    write_table(pd.DataFrame(rows(1.0)), a)
    assert "twice" in refusal(read_table, [a, a])
    write_table(pd.DataFrame(rows(10.0, n_bins=10)), b)
    assert "n_bins 15 and 10" in refusal(read_table, [a, b])
    write_table(pd.DataFrame(rows(10.0, preset="paper")), b)
    assert "preset textbook and paper" in refusal(read_table, [a, b])
    write_table(pd.DataFrame(rows(10.0, epochs=3)), b)
    assert "'epochs'" in refusal(read_table, [a, b])
    assert "at least one" in refusal(read_table, [])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema": 0}, "must have schema 1, but"),
        ({"schema": 2}, "must have schema 1, but"),
        ({"split": "one"}, "Column 'split'"),
        ({"split": 1.5}, "Column 'split'"),
        ({"n_bins": None}, "Column 'n_bins'"),
        ({"lambda": "ten"}, "Column 'lambda'"),
        ({"class_specific": "maybe"}, "Column 'class_specific'"),
        ({"run": None}, "Column 'run'"),
        ({"epoch": 3}, "did you mean 'epochs'?"),
    ],
)
def test_wrong_tables_are_refused(changes, said):
    assert said in refusal(check_table, pd.DataFrame([ROW | changes]), "here")


@pytest.mark.parametrize("column", COLUMNS)
def test_each_column_is_needed(column):
    assert repr(column) in refusal(check_table, pd.DataFrame([ROW]).drop(columns=column), "here")


@pytest.mark.parametrize("column", ["run", "model", "split", "data", "test_split", "calibrator"])
def test_rows_are_told_apart_by(column):
    other = ROW | {column: 2 if column == "split" else "other"}
    assert len(check_table(pd.DataFrame([ROW, other]), "here")) == 2
    assert "twice" in refusal(check_table, pd.DataFrame([ROW, ROW | {"value": 0.1}]), "here")


def test_damaged_files_are_refused(tmp_path):
    assert "must be readable" in refusal(read_table, tmp_path)
    assert "must be readable" in refusal(read_table, tmp_path / "none.parquet")
    assert ".csv or .parquet" in refusal(read_table, tmp_path / "table.xlsx")
    csv, parquet = write_table(pd.DataFrame(rows(1.0)), tmp_path)
    whole = csv.read_text()
    csv.write_text(whole[: whole.rindex(",")])
    assert "Column 'value'" in refusal(read_table, csv)
    csv.write_text("a,b\n1,2,3\n")
    assert refusal(read_table, csv)
    csv.write_text(whole.splitlines()[0] + "\n")
    assert "holds none" in refusal(read_table, csv)
    csv.write_bytes(b"\xff\xfe\x00")
    assert "damaged" in refusal(read_table, csv)
    csv.write_text("")
    assert "damaged" in refusal(read_table, csv)
    parquet.write_bytes(parquet.read_bytes()[:-9])
    assert refusal(read_table, parquet)


def test_means_are_students_over_splits():
    table = check_table(lambda_study(), "here")
    means = summarise(table, ["model", "lambda"])
    assert list(means.columns) == [
        "model", "lambda", "group", "metric", "mean", "sd", "low", "high", "n",
    ]  # fmt: skip
    assert len(means) == 5 * len(GROUPS) * len(METRICS)
    assert means["model"].unique().tolist() == [
        "zero-shot (prior bias)", "bce (prior bias)", "bce+ccr (prior bias)",
    ]  # fmt: skip
    row = means[(means["lambda"] == 10) & (means["group"] == "new") & (means["metric"] == "map")]
    values = [value(split, 10.0, "new", "map") for split in (1, 2, 3)]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    found = row[["mean", "sd", "low", "high", "n"]].to_numpy()
    np.testing.assert_allclose(found, [[np.mean(values), np.std(values, ddof=1), low, high, 3]])


def test_means_leave_out_undefined_numbers():
    def valued(split, *_):
        return float("nan") if split < 3 else 0.25

    means = summarise(check_table(pd.DataFrame(rows(1.0, valued=valued)), "here"), ["model"])
    assert set(means["n"]) == {1}
    assert set(means["mean"]) == {0.25}
    assert means[["sd", "low", "high"]].isna().all(axis=None)
    nothing = pd.DataFrame(rows(1.0, valued=lambda *_: float("nan")))
    means = summarise(check_table(nothing, "here"), ["model"])
    assert set(means["n"]) == {0}
    assert means["mean"].isna().all()


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("bias", ("mean", "prior")),
        ("calibrator", ("none", "platt by group")),
        ("data", ("scenes", "scenes:noto")),
        ("test_split", ("test", "calibration")),
        ("batch_size", (8, 128)),
        ("framework", ("coop", "cocoop")),
        ("estimator", ("centred", "uncentred")),
    ],
)
def test_rows_that_differ_in_more_than_the_split_are_not_averaged(column, values):
    parts = [row for v in values for row in rows(1.0, **{column: v, "run": f"run {v}"})]
    table = check_table(pd.DataFrame(parts), "here")
    text = refusal(summarise, table, ["model"])
    assert f"differ in {column} ({', '.join(map(str, values))}) cannot be averaged" in text
    assert len(summarise(table, ["model", column])) == 2 * len(GROUPS) * len(METRICS)


def test_a_split_is_not_averaged_twice():
    parts = rows(1.0, run="a") + rows(1.0, run="b")
    text = refusal(summarise, check_table(pd.DataFrame(parts), "here"), ["model"])
    assert "each split once" in text
    assert "'b'" in text


def test_zero_shot_beside_several_runs_counts_once_where_they_agree():
    parts = zero_shot(run="a") + zero_shot(run="b")
    table = check_table(pd.DataFrame(parts), "here")
    assert set(summarise(table, ["model"])["n"]) == {3}
    table.loc[table.index[-1], "value"] = 0.0
    assert "each split once" in refusal(summarise, table, ["model"])


def test_means_are_by_known_columns():
    table = check_table(lambda_study(), "here")
    with pytest.raises(BadConfig, match="did you mean 'lambda'"):
        summarise(table, ["lamda"])
    for name in ("split", "value", "run"):
        with pytest.raises(BadConfig):
            summarise(table, [name])
    with pytest.raises(BadData, match="lambda"):
        summarise(table, ["model"])
    assert len(summarise(table, identity(table))) == 5 * len(GROUPS) * len(METRICS)


def test_one_framework_is_read_through_one_scale_unless_a_column_tells():
    both = pd.DataFrame(rows(0.0) + rows(10.0, map_scale=4.0))
    with pytest.raises(BadData, match="one scale τ, but here has 100 and 4 for 'coop'; give all"):
        check_table(both, "here")
    assert len(check_table(both.assign(scale=both["map_scale"]), "here")) == len(both)
    apart = pd.DataFrame(rows(0.0) + rows(10.0, map_scale=4.0, framework="tai_dpt"))
    assert len(check_table(apart, "here")) == len(apart)


def test_runs_that_differ_in_no_column_are_never_averaged():
    both = pd.DataFrame(rows(10.0, splits=(1, 2)) + rows(10.0, splits=(3,), run="bce+ccr-other"))
    with pytest.raises(BadData, match="whose settings differ in no column; vary them in one grid"):
        summarise(both, identity(both))
