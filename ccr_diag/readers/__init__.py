"""Anybody's predictions: files of several formats in, checked ``Predictions`` out.

=================  ================================================================================
our own file       as ``Predictions.save`` writes it
``.npz``           ``probs``, ``logits`` or ``scores`` (cosines) and ``labels``, both (images,
                   classes), and ``class_names``; optional ``groups``, ``image_ids``,
                   ``class_counts`` and ``proximity``
``.npy`` pair      values in one file, labels in another
Parquet, wide      one row an image: list columns ``probs``, ``logits`` or ``scores``, and
                   ``labels``; optional ``image``; class names as a JSON list in the file's metadata
                   under ``class_names``
Parquet/CSV, long  one row an (image, class) pair: ``image``, ``class``, ``label``, and one of
                   ``prob``, ``logit``, ``score`` (``score`` may be any kind: it must be declared)
CSV pair, wide     two files with the header ``image,CLASS,CLASS…``: values in one, labels in the
                   other
=================  ================================================================================

What the numbers are is declared by the name of the array or by the user, never guessed: nor is what
a label that is missing means. Labels are 1 present, 0 absent, -1 unknown. Where a file has no class
names they come from a text file with one name a line, or the classes are numbered. Arrays in
``.npy`` and uncompressed ``.npz`` files are not read but mapped, so they may be larger than memory;
tables are read piece by piece into arrays of their final size. Pickles are refused.
"""

import zipfile
from dataclasses import replace
from pathlib import Path

from ccr_diag.arrays import GIVEN, ProbabilityMap
from ccr_diag.errors import BadConfig, BadPredictions
from ccr_diag.npy import Archive
from ccr_diag.predictions import KINDS, Predictions
from ccr_diag.readers.arrays import read_npy_pair, read_npz
from ccr_diag.readers.content import Content, Declared, read_groups, read_names, to_predictions
from ccr_diag.readers.csv_tables import read_csv
from ccr_diag.readers.own import load_predictions
from ccr_diag.readers.parquet import read_parquet

PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".joblib", ".ckpt")
UNLISTED = ("unknown",)
HOW_TO_SAVE = (
    "write numpy.savez(FILE, probs=…, labels=…, class_names=…), with logits=… or scores=… if they "
    "are that"
)


def read_predictions(
    path: Path,
    *,
    kind: str | None = None,
    scale: float | None = None,
    bias: float | None = None,
    labels: Path | None = None,
    class_names: Path | None = None,
    groups: Path | None = None,
    unlisted: str | None = None,
    mmap: bool = True,
) -> Predictions:
    """Predictions from a file of any format above.

    Args:
        path: the file.
        kind: what its numbers are, ``scores``, ``logits`` or ``probs``, where it does not say.
        scale: τ of p = σ(τ·value + b); needed for scores of others, 1 for logits unless given.
        bias: b; needed for scores of others, 0 for logits unless given.
        labels: the labels, where they stand in a file of their own.
        class_names: text file, one name a line.
        groups: CSV file with the columns ``class`` and ``group``.
        unlisted: ``unknown`` if labels that a file leaves out (empty, NaN, a pair that is not
            listed) are unknown; without it such a file is refused.
        mmap: leave arrays in the file where possible.

    Raises:
        BadPredictions: a file is missing, damaged, pickled, or breaks a rule.
        BadConfig: what was declared contradicts itself or is not enough.
        MissingExtra: a Parquet file without pyarrow.
    """
    declared = Declared(kind, scale, bias, unlisted)
    _check_declared(declared)
    format_ = require_readable(path)
    if _is_own(path):
        return _own(path, declared, labels, class_names, groups, mmap)
    try:
        content = _content(path, format_, declared, labels, class_names, mmap)
        return to_predictions(path, content, declared, groups)
    except BadPredictions as error:
        if str(path) in str(error):
            raise
        raise BadPredictions(f"{path}: {error}") from error


def require_readable(path: Path) -> str:
    """The format of a file of predictions, as the suffix of such files; nothing in it is read.

    Raises:
        BadPredictions: it is missing, empty, a pickle, or of no known format.
    """
    suffix = path.suffix.lower()
    if suffix in PICKLES:
        raise BadPredictions(
            f"{path} looks like a pickle, which can run any code and is never opened; if you trust "
            f"it, load it yourself and {HOW_TO_SAVE}."
        )
    if not path.is_file():
        raise BadPredictions(f"There is no predictions file at {path}; check the path.")
    if path.stat().st_size == 0:
        raise BadPredictions(f"{path} must hold predictions, but is empty; write it again.")
    if suffix in (".npy", ".csv", ".parquet", ".npz"):
        return suffix
    if suffix == ".pq":
        return ".parquet"
    if zipfile.is_zipfile(path):
        return ".npz"
    raise BadPredictions(
        f"Predictions must be .npz, .npy, .parquet or .csv, but got {path}; {HOW_TO_SAVE}."
    )


def _check_declared(declared: Declared) -> None:
    if declared.kind is not None and declared.kind not in KINDS:
        raise BadConfig(f"The kind must be one of {', '.join(KINDS)}, but got {declared.kind!r}.")
    if declared.unlisted not in (None, *UNLISTED):
        raise BadConfig(
            f"Unlisted labels can only be declared 'unknown', but got {declared.unlisted!r}."
        )


def _is_own(path: Path) -> bool:
    return zipfile.is_zipfile(path) and "schema" in Archive(path)


def _own(
    path: Path,
    declared: Declared,
    labels: Path | None,
    class_names: Path | None,
    groups: Path | None,
    mmap: bool,
) -> Predictions:
    """Our own file says all by itself; a user may still read it through another map."""
    if labels or class_names:
        what = "labels" if labels else "class names"
        raise BadConfig(f"{path} holds its own {what}; leave --{what.replace(' ', '-')} out.")
    found = load_predictions(path, mmap)
    if declared.kind not in (None, found.kind):
        raise BadConfig(
            f"{path} holds {found.kind}, but --{declared.kind} was declared; leave that out."
        )
    if declared.scale is not None or declared.bias is not None:
        old = found.map or ProbabilityMap(1.0, 0.0, GIVEN)
        scale = old.scale if declared.scale is None else declared.scale
        bias = old.bias if declared.bias is None else declared.bias
        found = found.with_map(ProbabilityMap(scale, bias, GIVEN))
    if groups:
        found = replace(found, groups=read_groups(groups, found.class_names))
    return found


def _content(
    path: Path,
    format_: str,
    declared: Declared,
    labels: Path | None,
    class_names: Path | None,
    mmap: bool,
) -> Content:
    names = read_names(class_names) if class_names else None
    if format_ == ".npy":
        return read_npy_pair(path, declared, labels, names, mmap)
    if format_ == ".csv":
        return read_csv(path, declared, labels, names)
    if format_ == ".parquet":
        return read_parquet(path, declared, labels, names)
    return read_npz(path, declared, labels, names, mmap)
