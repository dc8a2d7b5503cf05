"""Your own images and labels: one file that lists them.

A manifest names an image (relative to the file, or absolute) and its classes in each row:

    image,labels
    images/1.jpg,cat;dog
    images/2.jpg,

Three more columns are read if they are there: ``negatives`` (classes known not to be in the image),
``split`` and ``caption``. The suffix says how the file is written; ``manifests/`` has one file for
each, whose docstring is the format:

- ``.csv``, ``.tsv``: names in a list, a column a class, or a row a pair;
- ``.jsonl``, ``.json``: records, and what RAM, mmpretrain, FiftyOne and Label Studio write;
- ``.parquet``: lists of names or numbers, and what else is known of the classes;
- ``.txt``: class numbers, with ``classes.txt``.

With ``negatives`` what is listed nowhere is unknown (−1); without, the user declares what unlisted
classes mean. Classes that the file does not declare are all its names, sorted. None is new unless
the file says so: the user names new classes by ``MultiLabelDataset.with_new``. Out:
``MultiLabelDataset``.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ccr_diag.arrays import Unlisted
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.data.listing import Listing, dataset_of, files_of
from ccr_diag.data.manifests.index_list import read_index_list
from ccr_diag.data.manifests.json_files import read_json, read_json_lines
from ccr_diag.data.manifests.parquet import read_parquet
from ccr_diag.data.manifests.table import read_table
from ccr_diag.errors import BadData
from ccr_diag.progress import Progress, silent

READERS: dict[str, Callable[[Path], Listing]] = {
    ".csv": read_table,
    ".tsv": read_table,
    ".jsonl": read_json_lines,
    ".json": read_json,
    ".parquet": read_parquet,
    ".txt": read_index_list,
}


def manifest_splits(argument: str) -> tuple[str, ...]:
    """The splits that its rows name; without any, ``train`` alone."""
    return read_manifest(_file(argument)).splits


def load_manifest(
    argument: str, split: str, unlisted: Unlisted = "stated", progress: Progress = silent
) -> MultiLabelDataset:
    """The images and labels that a file lists.

    Args:
        argument: path of the file.
        split: one that its rows name, or ``all``.
        unlisted: what a class means that a row does not list, where the file does not say it.
        progress: told nothing.

    Raises:
        BadData: no such file or split, unlisted classes of no declared meaning, a row that breaks a
            rule of its format, or an image that is not there.
        MissingExtra: the file needs a package that is not installed.
    """
    path = _file(argument)
    listing = read_manifest(path)
    files = partial(files_of, path, path.parent)
    return dataset_of(listing, f"manifest:{path.name}", split, unlisted, files)


def read_manifest(path: Path) -> Listing:
    """The rows of a file, read by its suffix.

    Raises:
        BadData: no such file, a suffix of no format, or a file that breaks a rule of its format.
        MissingExtra: the file needs a package that is not installed.
    """
    if path.suffix.lower() not in READERS:
        raise BadData(
            f"A manifest must end in {', '.join(READERS)}, but is called {path.name!r}; write its "
            "format's suffix."
        )
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not there"
        raise BadData(f"A manifest must be a file, but {path} {what}.")
    return READERS[path.suffix.lower()](path)


def _file(argument: str) -> Path:
    """The file, which must be named."""
    if not argument:
        raise BadData("A manifest needs its file, as in manifest:labels.csv, but none was named.")
    return Path(argument)
