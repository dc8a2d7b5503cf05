"""The results table of sweeps: one row a run, test data, calibrator, class group and metric.

Rows of measurements flow in; ``results.csv`` and ``results.parquet`` flow out, and back without the
change of a bit. Means over the splits are formed in one place, here, and only of rows that differ
in nothing but the split.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ccr_diag.config import FinetuneConfig
from ccr_diag.errors import BadConfig, BadData, MissingExtra, nearest
from ccr_diag.metrics.intervals import over_splits
from ccr_diag.runs import write_atomically

SCHEMA_VERSION = 1
CSV, PARQUET = "results.csv", "results.parquet"
UNCALIBRATED = "none"
"""Calibrator of a row that none was fitted for."""
ZERO_SHOT = "zero-shot"
"""Framework of a row about the untuned model; its loss and regularizer are "none", λ is 0."""

_BEFORE: dict[str, type] = {
    "schema": int,
    "run": str,
    "model": str,
    "split": int,
    "framework": str,
    "loss": str,
    "regularizer": str,
    "lambda": float,
    "bias": str,
    "batch_size": int,
    "shots": int,
}
_AFTER: dict[str, type] = {
    "data": str,
    "test_split": str,
    "calibrator": str,
    "preset": str,
    "n_bins": int,
    "map_scale": float,
    "map_bias": float,
    "group": str,
    "metric": str,
    "value": float,
}
COLUMNS = _BEFORE | _AFTER
"""Column → kind, in their order; other settings that a grid varies stand before ``data``.

``run`` is the name of the run's folder, ``model`` that of the model, ``split`` the seed, ``lambda``
0 without a regularizer, ``bias`` the rule.
"""

COLUMN_OF = {"model": "backbone", "data": "train_data", "split": "train_split"}
"""Setting → its column, where a column of the setting's own name says something else."""

_FIELDS = {f.name.rstrip("_"): type(f.default) for f in dataclasses.fields(FinetuneConfig)}
SETTINGS: dict[str, type] = {column: _FIELDS[name] for name, column in COLUMN_OF.items()} | {
    name: str if kind is tuple else kind
    for name, kind in _FIELDS.items()
    if name not in COLUMNS and name != "seed"
}
"""Column → kind of the settings that only some tables hold; a list is its words with commas."""

CELL = ("group", "metric")  # what a number is about
_ROW = ("run", "model", "split", "data", "test_split", "calibrator", *CELL)  # unique together
_FOUND = ("schema", "run", "split", "map_scale", "map_bias", "value")
"""What may differ between the splits of one mean."""

Reader = Callable[[Path], pd.DataFrame]


def write_table(frame: pd.DataFrame, folder: Path) -> list[Path]:
    """Write the table as CSV, and as Parquet where pyarrow is installed.

    Args:
        frame: rows with the columns ``COLUMNS``, and any of ``SETTINGS``, in any order.
        folder: made if it is not there.

    Returns:
        The files written.

    Raises:
        BadData: a column is missing, unknown, or of another kind, or rows contradict each other.
        RunFailed: no space is left.
    """
    table = check_table(frame, "the table to write")
    written = [folder / CSV]
    write_atomically(folder / CSV, lambda partial: _to_csv(table, partial))
    (folder / PARQUET).unlink(missing_ok=True)  # never an older one beside a newer CSV
    try:
        write_atomically(folder / PARQUET, lambda partial: _to_parquet(table, partial))
    except ImportError:
        return written
    return [*written, folder / PARQUET]


def _to_csv(table: pd.DataFrame, path: Path) -> None:
    # An undefined number is a word, as a row that was cut ends in an empty field.
    table.to_csv(path, index=False, na_rep="nan", lineterminator="\n")


def _to_parquet(table: pd.DataFrame, path: Path) -> None:
    table.to_parquet(path, engine="pyarrow", index=False)


def read_table(paths: Path | Iterable[Path]) -> pd.DataFrame:
    """Read one table, or several put together.

    Args:
        paths: each the folder of a sweep, or a CSV or Parquet file.

    Returns:
        The rows, table by table; columns are of the kinds in ``COLUMNS`` and ``SETTINGS``.

    Raises:
        BadData: no such file, not a table of a sweep, one of another schema, or tables that do not
            go together: other columns, other definitions, the same rows twice.
        MissingExtra: a Parquet file without pyarrow.
    """
    given = [paths] if isinstance(paths, Path) else list(paths)
    if not given:
        raise BadData("A table of results needs at least one folder or file, but got none.")
    tables = [_read(path) for path in given]
    first = list(tables[0].columns)
    for path, table in zip(given[1:], tables[1:], strict=True):
        other = sorted(set(first) ^ set(table.columns))
        if other:
            raise BadData(
                f"Tables that are put together must vary the same settings, but {given[0]} and "
                f"{path} differ in the column {other[0]!r}; read them apart."
            )
    if len(tables) == 1:
        return tables[0]
    together = pd.concat([table[first] for table in tables], ignore_index=True)
    return check_table(together, " and ".join(map(str, given)))


def check_table(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """The same rows with columns in their order and of their kind.

    Args:
        frame: rows.
        where: what the table is called in errors.

    Raises:
        BadData: see ``read_table``.
    """
    _check_schema(frame, where)
    _check_names(frame, where)
    varied = [name for name in frame.columns if name not in COLUMNS]
    kinds = _BEFORE | {name: SETTINGS[name] for name in varied} | _AFTER
    table = pd.DataFrame({n: _of_kind(frame[n], kind, where) for n, kind in kinds.items()})
    for name in ("preset", "n_bins"):
        found = table[name].unique()
        if len(found) > 1:
            raise BadData(
                f"Results in one table must follow the same definitions, but {where} has "
                f"{name} {' and '.join(map(str, found))}; measure one of them anew as the other, "
                "with ccr-diag sweep FOLDER/grid.toml --output FOLDER --resume --set "
                f"{name}={found[0]}, or read them apart."
            )
    _check_maps(table, where)
    twice = table.duplicated(list(_ROW))
    if twice.any():
        row = table[twice].iloc[0]
        raise BadData(
            f"Each number must stand in a table once, but {where} has {row['metric']} of group "
            f"{row['group']!r}, run {row['run']!r}, split {row['split']}, twice; leave one out."
        )
    return table


def _check_maps(table: pd.DataFrame, where: str) -> None:
    """Refuse numbers of one framework that were read through maps apart, unless a column says so.

    The bias is of each run's own images, and its rule is a column; the scale is the framework's or
    the backbone's.
    """
    if {"scale", "backbone"} & set(table.columns):
        return
    for framework, found in table.groupby("framework", sort=False)["map_scale"]:
        scales = found.unique()
        if len(scales) > 1:
            raise BadData(
                f"Results of a framework in one table must be read through one scale τ, but "
                f"{where} has {' and '.join(f'{s:g}' for s in scales)} for {framework!r}; give all "
                "runs one scale, or read them apart."
            )


def _check_schema(frame: pd.DataFrame, where: str) -> None:
    if "schema" not in frame.columns:
        raise BadData(
            f"A table of results must have the column 'schema', but {where} has not; "
            "write it with 'ccr-diag sweep'."
        )
    for found in frame["schema"].unique():
        if str(found) != str(SCHEMA_VERSION):
            raise BadData(
                f"A table of results must have schema {SCHEMA_VERSION}, but {where} has {found}; "
                "write it anew with 'ccr-diag sweep'."
            )


def _check_names(frame: pd.DataFrame, where: str) -> None:
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise BadData(
            f"A table of results must have the column {missing[0]!r}, but {where} has not; "
            "write it anew with 'ccr-diag sweep'."
        )
    known = [*COLUMNS, *SETTINGS]
    unknown = [str(name) for name in frame.columns if name not in known]
    if unknown:
        raise BadData(
            f"Columns of a table of results are known ones or settings, but {where} has "
            f"{unknown[0]!r}{nearest(unknown[0], known)}"
        )


def _of_kind(column: "pd.Series[Any]", kind: type, where: str) -> "pd.Series[Any]":
    """The column as whole numbers, numbers (None: undefined), truth values, or words."""
    if kind is not str and column.dtype == np.dtype(kind):
        return column.reset_index(drop=True)
    try:
        values = [_PARSE[kind](value) for value in column]
    except (ValueError, TypeError, KeyError) as error:
        raise BadData(
            f"Column {column.name!r} of a table of results must be of kind {kind.__name__}, but "
            f"{where} breaks that ({error}); write it anew with 'ccr-diag sweep'."
        ) from error
    return pd.Series(values, dtype=object if kind is str else np.dtype(kind))


def _integer(value: Any) -> int:
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(f"{value} is not whole")
    return int(value)


def _word(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


_PARSE: dict[type, Callable[[Any], Any]] = {
    int: _integer,
    float: lambda value: float("nan") if value is None else float(value),
    bool: lambda value: {"True": True, "False": False}[str(value)],
    str: _word,
}


def _read(path: Path) -> pd.DataFrame:
    """One table, of its folder the CSV."""
    file = path / CSV if path.is_dir() else path
    reader = _READERS.get(file.suffix.lower())
    if reader is None:
        raise BadData(
            "A table of results is the folder of a sweep, or a .csv or .parquet file in it, but "
            f"got {path}."
        )
    try:
        frame = reader(file)
    except ImportError as error:
        raise MissingExtra(
            f"Reading {file} needs pyarrow, which is not installed; "
            f'run pip install "ccr-diag[parquet]", or read {CSV}.'
        ) from error
    except OSError as error:
        raise BadData(
            f"A table of results must be readable, but {file} is not "
            f"({error.strerror or error}); write it with 'ccr-diag sweep'."
        ) from error
    except ValueError as error:
        raise BadData(
            f"A table of results must be whole, but {file} is damaged ({error}); "
            "write it anew with 'ccr-diag sweep'."
        ) from error
    if frame.empty and len(frame.columns):
        raise BadData(f"A table of results must hold rows, but {file} holds none; run the sweep.")
    return check_table(frame, str(file))


def _read_csv(path: Path) -> pd.DataFrame:
    # As text, which Python then reads to the last bit, whatever version of pandas.
    return pd.read_csv(path, dtype=object, keep_default_na=False, encoding="utf-8")


_READERS: dict[str, Reader] = {".csv": _read_csv, ".parquet": pd.read_parquet}


def identity(frame: pd.DataFrame) -> list[str]:
    """The columns that tell the mean of some runs from that of others."""
    return [name for name in frame.columns if name not in (*_FOUND, *CELL)]


def summarise(frame: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Mean over the splits, with Student's 95 % interval, of each group and metric.

    Zero-shot is measured beside several runs; where these agree it counts once.

    Args:
        frame: of ``read_table``.
        by: columns that tell one mean from another.

    Returns:
        Columns ``by``, group, metric, mean, sd, low, high, n (splits used), in the order of the
        table; undefined numbers are NaN.

    Raises:
        BadConfig: ``by`` names an unknown column, or one that differs between splits.
        BadData: rows of one mean differ in more than the split.
    """
    allowed = identity(frame)
    for name in by:
        if name not in allowed:
            raise BadConfig(
                f"Means are by columns that splits share, but got {name!r}{nearest(name, allowed)}"
            )
    keys = list(dict.fromkeys([*by, *CELL]))
    once = _once(frame)
    _check_alike(once, keys)
    rows = []
    for cell, values in once.groupby(keys, sort=False)["value"]:
        found = over_splits(values.to_list())
        rows.append((*cell, found.mean, found.sd, found.low, found.high, found.n))
    table = pd.DataFrame(rows, columns=[*keys, "mean", "sd", "low", "high", "n"])
    return table.astype(dict.fromkeys(("mean", "sd", "low", "high"), float))


def missing_splits(frame: pd.DataFrame) -> list[tuple[str, int]]:
    """Runs and splits that have no numbers, while other splits of the run and other runs have.

    Args:
        frame: of ``read_table``.

    Returns:
        Name of the run's folder and the split, in the order of the table.
    """
    splits = sorted(frame["split"].unique().tolist())
    there = set(zip(frame["run"], frame["split"], strict=True))
    return [(run, s) for run in frame["run"].unique() for s in splits if (run, s) not in there]


def _once(frame: pd.DataFrame) -> pd.DataFrame:
    """Without the zero-shot rows that only repeat what stands beside another run."""
    same = [*identity(frame), *CELL, "split", "value"]
    again = frame.duplicated(same) & (frame["framework"] == ZERO_SHOT)
    return frame[~again]


def _check_alike(frame: pd.DataFrame, keys: list[str]) -> None:
    """Refuse means of rows that differ in more than the split."""
    others = [name for name in identity(frame) if name not in keys]
    kinds = frame[keys + others].drop_duplicates()
    clash = kinds[kinds.duplicated(keys, keep=False)]
    if len(clash):
        same = clash[(clash[keys] == clash[keys].iloc[0]).all(axis=1)]
        name = next(name for name in others if same[name].nunique() > 1)
        raise BadData(
            f"Rows that differ in {name} ({', '.join(map(str, same[name].unique()))}) cannot be "
            f"averaged; tell them apart by {name!r}, or keep one of them."
        )
    twice = frame[frame.duplicated([*keys, "split"])]
    if len(twice):
        row = twice.iloc[0]
        raise BadData(
            f"A mean takes each split once, but split {row['split']} of model {row['model']!r} "
            f"has several runs alike, {row['run']!r} among them; keep one of them."
        )
    tuned = frame[frame["framework"] != ZERO_SHOT]  # which stands beside one run or another
    runs = tuned[[*keys, "model", "run"]].drop_duplicates()
    if runs.duplicated(keys).any():
        apart = runs[runs.duplicated(keys, keep=False)]
        raise BadData(
            f"A mean is over the splits of one run, but model {apart['model'].iloc[0]!r} has "
            f"{' and '.join(map(repr, apart['run'].unique()[:2]))}, whose settings differ in no "
            "column; vary them in one grid, or keep one of them."
        )
