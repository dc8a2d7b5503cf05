"""The run folder: names of its files, whole-or-nothing writes, what made it, and when it is done.

config.toml              settings, as ``ccr-diag finetune --config`` takes them back
checkpoint.safetensors   learned tensors, optimizer, and everything needed to rebuild
examples.txt             names of the training examples, one a line
metrics.jsonl            one line an epoch
DONE                     written last: a folder without it is unfinished
measured.json            in a sweep: what was measured of the run
run_id.txt               with --report-to: by which trackers find the run again
"""

import errno
import hashlib
import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import platformdirs
from safetensors import SafetensorError

from ccr_diag.errors import NoSpace, OutputExists

CONFIG, CHECKPOINT, LOG, DONE = "config.toml", "checkpoint.safetensors", "metrics.jsonl", "DONE"
EXAMPLES = "examples.txt"
RUN_ID = "run_id.txt"
RESULTS, TABLES_MARKDOWN, TABLES_CSV = "results.json", "tables.md", "tables.csv"
PREDICTIONS, MATRICES, FIGURES, RUNS = "predictions", "matrices", "figures", "runs"
REPORT = "report.html"
GRID, MEASURED, LOCK = "grid.toml", "measured.json", ".lock"  # of a sweep

_FILES = (
    CONFIG, CHECKPOINT, EXAMPLES, LOG, RUN_ID, DONE, RESULTS, REPORT, TABLES_MARKDOWN, TABLES_CSV,
    GRID, MEASURED, LOCK,
)  # fmt: skip
_PICTURES = (
    "calibration_by_frequency", "correlation_stability", "estimators", "modality_gap",
    "neighbour_changes", "predicted_correlation", "reliability", "robustness", "signed_error",
    "story", "text_geometry", "text_similarity", "training",
)  # fmt: skip
_TABLES = (
    "models", "sweep", "correlation", "calibration_error", "base_to_new", "segment",
    "domain_generalisation",
)  # fmt: skip
OWN_NAMES = re.compile(
    "|".join(
        (
            *map(re.escape, _FILES),
            r"results\.(csv|parquet)",
            r"([^\W_A-Z]|-)+-split-\d+\.npz",  # predictions, class matrices
            r"events\.out\.tfevents\..+",  # of TensorBoard
            rf"({'|'.join(_PICTURES)})(_[a-z0-9_]+)?\.(png|svg|pdf|csv)",
            rf"({'|'.join(_TABLES)})(_[a-z0-9_]+)?\.(md|csv|tex)",
            r"\..*\.\d+(\..*)?",  # a partial file of a killed run
        )
    )
)
"""Of all files that this program writes, which ``--overwrite`` may delete."""

_GIVEN_BY_US = re.compile(r"[a-z0-9+ ()-]+")  # method and bias rule of a model
_LONGEST = 60  # letters of a model's name in a file name: 255 bytes hold them in any script


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a file beside ``path``, then rename it: readers see the old or the new.

    Raises:
        NoSpace: the disk is full; the old file, if any, is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last, as some writers (numpy) append one to names that lack it.
    partial = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        write(partial)
        os.replace(partial, path)
    except (OSError, SafetensorError) as error:
        if not _is_disk_full(error, path.parent):
            raise
        raise NoSpace(
            f"Writing needs free space, but there is none left for {path}; "
            "free some and run the command again, with --resume if it has one."
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _is_disk_full(error: Exception, folder: Path) -> bool:
    """Whether a write failed for lack of space; safetensors and numpy do not pass the number on."""
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return True
    if isinstance(error, SafetensorError):
        return "No space left" in str(error) or "quota exceeded" in str(error)
    return getattr(error, "errno", None) is None and shutil.disk_usage(folder).free < 2**16


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    write_atomically(path, lambda partial: _write_utf8(partial, text))


def _write_utf8(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def cache_folder() -> Path:
    """``$CCR_DIAG_CACHE``, or the platform's cache folder for this program."""
    return Path(os.environ.get("CCR_DIAG_CACHE") or platformdirs.user_cache_path("ccr-diag"))


def split_file(model: str, split: int) -> str:
    """Name of a file about one split of a model, in the folder of an analysis.

    Letters of any script stay, other signs part words. Names with anything of a user's, such as the
    folder of a run in brackets, end in a digest of the name, as words alone may be another's too.
    """
    stem = re.sub(r"[\W_]+", "-", model.lower()).strip("-")
    if not _GIVEN_BY_US.fullmatch(model):
        digest = hashlib.sha256(model.encode()).hexdigest()[:8]
        stem = f"{stem[:_LONGEST].rstrip('-')}-{digest}"
    return f"{stem}-split-{split}.npz"


def is_done(folder: Path) -> bool:
    """Whether the run in this folder reached its end."""
    return (folder / DONE).exists()


def prepare_output(
    folder: Path, *, resume: bool = False, overwrite: bool = False, keep: Sequence[Path] = ()
) -> None:
    """Make sure that writing into ``folder`` loses nothing.

    Args:
        folder: the output.
        resume: go on with what it holds.
        overwrite: delete what it holds, if this program wrote it all.
        keep: folders to be read, which must not be deleted with it.

    Raises:
        OutputExists: the folder holds files and neither ``resume`` nor ``overwrite`` was asked for,
            or what it holds is not to be deleted.
    """
    check_output_folder(folder, resume=resume, overwrite=overwrite, keep=keep)
    if overwrite and folder.exists() and any(folder.iterdir()):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)


def check_output_folder(
    folder: Path, *, resume: bool = False, overwrite: bool = False, keep: Sequence[Path] = ()
) -> None:
    """What ``prepare_output`` refuses, without touching anything."""
    if folder.exists() and not folder.is_dir():
        raise OutputExists(
            f"The output must be a folder, but {folder} is a file; choose another --output."
        )
    if folder.exists() and any(folder.iterdir()):
        if overwrite:
            _check_own(folder, keep)
        elif not resume:
            raise OutputExists(
                f"The output folder must be new or empty, but {folder} holds files; "
                "add --resume to go on with it, --overwrite to replace it, "
                "or choose another --output."
            )


@contextmanager
def output_folder(folder: Path, *, resume: bool = False, overwrite: bool = False) -> Iterator[Path]:
    """As ``prepare_output``, but what ends before its first file leaves all as it was.

    Meanwhile the folder to be replaced stands beside the new one, with a dot before its name. Write
    to the path that is given: a relative one may lead into the old folder, if that is the current.
    """
    folder = folder.resolve()  # of "." or of a link
    aside = folder.with_name(f".{folder.name}.replaced")
    if aside.exists():  # of a program that was killed
        _put_back(folder, aside)
    new = not folder.exists()
    if overwrite and not new:
        prepare_output(folder, resume=True)
        _check_own(folder, [])
        folder.rename(aside)
    prepare_output(folder, resume=resume)
    try:
        yield folder
    except BaseException:  # Ctrl-C too; raised again below
        if aside.exists():
            _put_back(folder, aside)
        elif new and not _holds_files(folder):
            shutil.rmtree(folder)
        raise
    if aside.exists():
        shutil.rmtree(aside)


def _put_back(folder: Path, aside: Path) -> None:
    """Let the folder that was to be replaced take its place again, unless that was begun."""
    if folder.exists() and _holds_files(folder):
        shutil.rmtree(aside)
        return
    if folder.exists():
        shutil.rmtree(folder)
    aside.rename(folder)


def _holds_files(folder: Path) -> bool:
    """Whether anything was written, beside a sweep's lock."""
    return any(not path.is_dir() and path.name != LOCK for path in folder.rglob("*"))


def _check_own(folder: Path, keep: Sequence[Path]) -> None:
    """Refuse to delete a folder that holds, at any depth, what this program does not write."""
    inside = [path for path in keep if path.resolve().is_relative_to(folder.resolve())]
    if inside:
        raise OutputExists(
            f"--overwrite would delete {inside[0]}, which is to be read; choose another --output."
        )
    files = (path for path in folder.rglob("*") if not path.is_dir())
    foreign = [str(p.relative_to(folder)) for p in files if not OWN_NAMES.fullmatch(p.name)]
    if foreign:
        raise OutputExists(
            f"--overwrite only replaces what ccr-diag wrote, but {folder} also holds "
            f"{sorted(foreign)[0]!r}; choose another --output."
        )


def versions() -> dict[str, str]:
    """Versions that the numbers of a run may depend on."""
    packages = ("ccr-diag", "torch", "open_clip_torch", "numpy", "scipy", "scikit-learn")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}
