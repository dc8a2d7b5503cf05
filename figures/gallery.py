"""Numbers → all pictures that they hold anything for → files, each figure beside its tidy table."""

import gc
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ccr_diag.class_matrices import ClassMatrices
from ccr_diag.errors import BadConfig
from ccr_diag.figures.association import association_pictures
from ccr_diag.figures.class_reliability import class_reliability_pictures
from ccr_diag.figures.estimators import estimator_pictures
from ccr_diag.figures.fonts import any_script
from ccr_diag.figures.frequency import frequency_pictures
from ccr_diag.figures.geometry import geometry_pictures
from ccr_diag.figures.modality_gap import modality_gap_pictures
from ccr_diag.figures.neighbours import neighbour_pictures
from ccr_diag.figures.picture import Picture
from ccr_diag.figures.predicted_correlation import predicted_correlation_pictures
from ccr_diag.figures.reliability import reliability_pictures
from ccr_diag.figures.robustness import robustness_pictures
from ccr_diag.figures.similarity import similarity_pictures
from ccr_diag.figures.stability import stability_pictures
from ccr_diag.figures.story import story_pictures
from ccr_diag.figures.style import groups_missing, style
from ccr_diag.figures.training import training_pictures
from ccr_diag.progress import UnitProgress, silent
from ccr_diag.results import Results
from ccr_diag.runs import write_atomically

FORMATS = ("pdf", "svg", "png")
# Neither dates nor versions: the same numbers give the same bytes.
_METADATA: dict[str, dict[str, str | None]] = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
}

LeftOut = Callable[[str], None]
"""Told what is not drawn, and why."""
Matrices = Mapping[str, ClassMatrices]


@dataclass(frozen=True)
class _Kind:
    """The figures of one module.

    Args:
        name: what they are called.
        pictures: makes them.
        needs: what must be there, or there are none.
    """

    name: str
    pictures: Callable[..., list[Picture]]
    needs: str


_TEXTS = "it needs class texts and images, of 'ccr-diag analyze checkpoint'"
_PAIRS = "it needs matrices/ beside the results, of 'ccr-diag analyze checkpoint'"
_ERRORS = "it needs calibration errors"
_STORY = "it needs zero-shot, BCE, Ranking and BCE + CCR under one bias rule"
_OF_RESULTS = (
    _Kind("modality_gap", modality_gap_pictures, _TEXTS),
    _Kind("reliability", reliability_pictures, _ERRORS),
    _Kind("text_geometry", geometry_pictures, _TEXTS),
    _Kind("neighbours", neighbour_pictures, _TEXTS),
    _Kind("association", association_pictures, _TEXTS),
    _Kind("calibration_by_frequency", frequency_pictures, _ERRORS),
    _Kind("story", story_pictures, _STORY),
)
_OF_CLASSES = (_Kind("reliability_classes", class_reliability_pictures, _ERRORS),)
_OF_PAIRS = (
    _Kind("text_similarity", similarity_pictures, _PAIRS),
    _Kind("predicted_correlation", predicted_correlation_pictures, _PAIRS),
)
_OF_SWEEPS = (
    _Kind("robustness", robustness_pictures, "it needs a setting of numbers with several values"),
    _Kind("estimators", estimator_pictures, "it needs CCR with several estimators"),
)
_OF_RECORDS = (_Kind("correlation_stability", stability_pictures, "it needs a model"),)
_OF_TRAINING = (_Kind("training", training_pictures, "it needs an epoch"),)


def pictures_of_results(
    results: Results,
    matrices: Matrices,
    left_out: LeftOut = silent,
    *,
    class_pages: int | None = 1,
) -> list[Picture]:
    """All pictures of an analysis.

    Args:
        results: a parsed results file.
        matrices: model → what belongs to pairs of classes; may lack any.
        left_out: told of figures that it holds no numbers for, and of groups without classes.
        class_pages: of the diagrams of each class, for each model; 0 for none, None for all.

    Raises:
        BadData: it contradicts itself.
    """
    for group in groups_missing(results):
        left_out(f"group {group} (it has no classes)")
    of_classes = () if class_pages == 0 else _OF_CLASSES
    return [
        *_drawn(_OF_RESULTS, left_out, results),
        *_drawn(of_classes, left_out, results, class_pages),
        *_drawn(_OF_PAIRS, left_out, results, matrices),
    ]


def pictures_of_sweep(frame: pd.DataFrame, left_out: LeftOut = silent) -> list[Picture]:
    """All pictures of a sweep.

    Args:
        frame: of ``read_table``.
        left_out: told of figures that it holds no numbers for.

    Raises:
        BadData: it contradicts itself.
    """
    return _drawn(_OF_SWEEPS, left_out, frame)


def pictures_of_stability(record: dict[str, Any], left_out: LeftOut = silent) -> list[Picture]:
    """All pictures of how steady the class correlations of batches are.

    Args:
        record: of ``analyze correlation``.
        left_out: told of figures that it holds no numbers for.

    Raises:
        BadData: it contradicts itself.
    """
    return _drawn(_OF_RECORDS, left_out, record)


def pictures_of_training(curves: pd.DataFrame, left_out: LeftOut = silent) -> list[Picture]:
    """All pictures of tuning.

    Args:
        curves: of ``read_training``.
        left_out: told of figures that it holds no numbers for.

    Raises:
        BadData: it contradicts itself.
    """
    return _drawn(_OF_TRAINING, left_out, curves)


def _drawn(kinds: Sequence[_Kind], left_out: LeftOut, *source: Any) -> list[Picture]:
    """The pictures of some modules, of what all of them draw."""
    pictures: list[Picture] = []
    with _uncollected():
        for kind in kinds:
            found = kind.pictures(*source)
            if not found:
                left_out(f"{kind.name} ({kind.needs})")
            pictures += found
    return pictures


def _named_apart(pictures: Sequence[Picture]) -> list[Picture]:
    """The pictures, numbered where a name comes twice: names of data may differ in odd signs."""
    met: Counter[str] = Counter()
    named = []
    for picture in pictures:
        met[picture.name] += 1
        n = met[picture.name]
        named.append(picture if n == 1 else replace(picture, name=f"{picture.name}_{n}"))
    return named


def write_pictures(
    pictures: Sequence[Picture],
    folder: Path,
    formats: Sequence[str] = FORMATS,
    progress: UnitProgress = silent,
) -> list[Path]:
    """Write every figure in every format, and its table as CSV.

    Args:
        pictures: any; those of one name are numbered.
        folder: made if it is not there; files of the same name are replaced.
        formats: of ``FORMATS``.
        progress: told pictures done and pictures in all.

    Returns:
        The files written, picture by picture.

    Raises:
        BadConfig: an unknown format.
        NoSpace: the disk is full.
    """
    for ending in formats:
        if ending not in FORMATS:
            raise BadConfig(
                f"A figure format must be one of {', '.join(FORMATS)}, but got {ending!r}."
            )
    written: list[Path] = []
    for i, picture in enumerate(_named_apart(pictures)):
        path = folder / picture.name
        with _uncollected(), style(), any_script(picture.figure), _laid_out(picture.figure):
            for ending in dict.fromkeys(formats):
                written.append(_write_figure(picture.figure, _with_ending(path, ending)))
        written.append(_write_table(picture.table, _with_ending(path, "csv")))
        progress(i + 1, len(pictures))
    return written


def _with_ending(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.name}.{ending}")


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for garbage meanwhile: figures make much and leave little, and it takes a fifth."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@contextmanager
def _laid_out(figure: Figure) -> Iterator[None]:
    """Lay a figure out once for all formats, whichever they are."""
    engine = figure.get_layout_engine()
    if engine is None:
        yield
        return
    engine.execute(figure)
    figure.set_layout_engine(None)  # "none" would still draw all once more before each format
    try:
        yield
    finally:
        figure.set_layout_engine(engine)


def _write_figure(figure: Figure, path: Path) -> Path:
    """Save a figure, whole or not at all."""
    ending = path.suffix[1:]
    write_atomically(
        path, lambda partial: figure.savefig(partial, format=ending, metadata=_METADATA[ending])
    )
    return path


def _write_table(table: pd.DataFrame, path: Path) -> Path:
    """Save a table, whole or not at all; its numbers to the last bit."""
    write_atomically(path, lambda partial: table.to_csv(partial, index=False, lineterminator="\n"))
    return path
