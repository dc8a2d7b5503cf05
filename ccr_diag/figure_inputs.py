"""What figures are drawn of: files and folders, known by what is in them → their numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Never

import pandas as pd

from ccr_diag.class_matrices import ClassMatrices, load_class_matrices
from ccr_diag.errors import BadData
from ccr_diag.merging import merge_matrices, merge_results, merge_stability
from ccr_diag.results import Results, check_results, read_json
from ccr_diag.runs import CHECKPOINT, CONFIG, GRID, MATRICES, RESULTS, split_file
from ccr_diag.sweep_table import CSV, PARQUET, read_table
from ccr_diag.training_curves import read_training

Matrices = dict[str, ClassMatrices]
Record = dict[str, Any]

_PARQUET_MAGIC = b"PAR1"
_TABLE = {"run", "metric", "value"}  # columns by which a CSV is the table of a sweep
_CORRELATIONS = 1  # the schema of records of class correlations
_OF_RUNS = (CONFIG, CHECKPOINT)
_PLACES = ("", "split-*/")  # of these, below the folder of a run
_HEAD = 65536  # bytes


@dataclass
class Inputs:
    """What was given, by its kind.

    Args:
        analyses: files of results, and what they hold.
        tables: results tables of sweeps.
        runs: folders of runs, which have yet to be measured.
        records: files of class correlations of batches, and what they hold.
    """

    analyses: list[tuple[Path, Results]] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    runs: list[Path] = field(default_factory=list)
    records: list[tuple[Path, Record]] = field(default_factory=list)

    def results(self) -> Results:
        """All analyses as one; see ``merge_results``."""
        return merge_results(self.analyses)

    def matrices(self) -> Matrices:
        """The class matrices that stand beside them."""
        return merge_matrices([matrices_beside(*part) for part in self.analyses])

    @cached_property
    def table(self) -> pd.DataFrame:
        """All tables as one; see ``read_table``."""
        return read_table(self.tables)

    @cached_property
    def record(self) -> Record:
        """All records as one; see ``merge_stability``."""
        return merge_stability(self.records)

    @cached_property
    def training(self) -> pd.DataFrame:
        """The epochs of all runs; see ``read_training``."""
        return read_training(self.runs)

    def check(self) -> None:
        """Refuse what does not go together, as far as runs need not be measured for it."""
        if self.analyses:
            self.results()
        held = {"table": self.tables, "record": self.records, "training": self.runs}
        for name in (name for name, given in held.items() if given):
            getattr(self, name)


def read_inputs(paths: Sequence[Path]) -> Inputs:
    """Sort what figures are asked of by what it is.

    Args:
        paths: files and folders; each counts once.

    Raises:
        BadData: one is missing, is none of what figures are drawn of, or is damaged.
    """
    found = Inputs()
    for path in dict.fromkeys(paths):
        _add(path, found)
    return found


def matrices_beside(path: Path, results: Results) -> Matrices:
    """The class matrices of an analysis, of each model that has any.

    Args:
        path: of the results file.
        results: what it holds.

    Raises:
        BadData: a file is damaged, or is about other classes.
    """
    found = {}
    names = [entry["name"] for entry in results["models"][0]["classes"]]
    for model in (model for model in results["models"] if model["splits"]):
        file = path.parent / MATRICES / split_file(model["name"], model["splits"][0]["split"])
        if not file.exists():
            continue
        found[model["name"]] = load_class_matrices(file)
        if list(found[model["name"]].class_names) != names:
            raise BadData(
                f"Class matrices must be of the classes of the results beside them, but {file} has "
                f"others than {path}; write both anew with 'ccr-diag analyze checkpoint'."
            )
    return found


def _add(path: Path, found: Inputs) -> None:
    """Put one path where it belongs."""
    if not path.exists():
        _refuse(f"there is no {path}; check the path")
    file = _file_of(path) if path.is_dir() else path
    if file.is_dir():
        found.runs.append(path)
        return
    with file.open("rb") as opened:
        head = opened.read(_HEAD)
    if head.startswith(_PARQUET_MAGIC):
        found.tables.append(path)
    elif head[8:9] == b"{" and int.from_bytes(head[:8], "little") < file.stat().st_size:
        found.runs.append(path.parent)  # safetensors: the length of a header of JSON, and it
    elif head.lstrip().startswith(b"{"):
        _add_json(file, found)
    elif _columns(head) >= _TABLE:
        found.tables.append(path)
    else:
        _refuse(f"{file} is none of these")


def _file_of(folder: Path) -> Path:
    """The file of numbers in a folder; the folder itself if it is a run."""
    tables = [folder / name for name in (CSV, PARQUET) if (folder / name).exists()]
    files = [folder / RESULTS] * (folder / RESULTS).exists() + tables[:1]
    if len(files) > 1:
        _refuse(f"{folder} holds both {files[0].name} and {files[1].name}; name the one to draw")
    if files:
        return files[0]
    if not any(any(folder.glob(place + name)) for name in _OF_RUNS for place in _PLACES):
        _refuse(_why_not(folder))
    return folder


def _why_not(folder: Path) -> str:
    """What a folder is that holds no numbers."""
    if (folder / GRID).exists():
        return f"{folder} is a sweep without its table; go on with 'ccr-diag sweep --resume'"
    return f"{folder} is {'none of these' if any(folder.iterdir()) else 'an empty folder'}"


def _add_json(file: Path, found: Inputs) -> None:
    """A file of JSON."""
    content = read_json(file)
    definitions = content.get("definitions") if isinstance(content, dict) else None
    if not isinstance(content, dict) or "models" not in content:
        _refuse(f"{file} holds other JSON")
    if isinstance(definitions, dict) and "statistics" in definitions:
        if content.get("schema_version") != _CORRELATIONS:
            _refuse(
                f"{file} has schema_version {content.get('schema_version')!r} instead of "
                f"{_CORRELATIONS}; write it anew"
            )
        found.records.append((file, content))
    else:
        found.analyses.append((file, check_results(content, file)))


def _columns(head: bytes) -> set[str]:
    """Words of the first line, parted by commas."""
    line = head.split(b"\n", 1)[0].decode("utf-8-sig", errors="replace")
    return {word.strip().strip('"') for word in line.split(",")}


def _refuse(came: str) -> Never:
    """One sentence: what is accepted, and what came."""
    raise BadData(
        "Figures are drawn of analyses (the folder, or JSON of 'ccr-diag analyze'), sweeps (the "
        "folder or its results table), folders of finished runs, and JSON of 'ccr-diag analyze "
        f"correlation', but {came}."
    )
