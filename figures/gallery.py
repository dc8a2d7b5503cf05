"""All figures of a results file: a parsed results file flows in, image files flow out."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from ccr_diag.errors import BadConfig, BadData
from ccr_diag.figures.frequency import SIGNED, frequency_page
from ccr_diag.figures.geometry import geometry_page
from ccr_diag.figures.modality_gap import modality_gap_page
from ccr_diag.figures.reliability import reliability_pages
from ccr_diag.figures.style import metrics_present, style
from ccr_diag.results import Results
from ccr_diag.runs import write_atomically

FORMATS = ("png", "svg", "pdf")


def all_figures(results: Results) -> dict[str, Figure]:
    """File name without ending → figure; those that the results hold no numbers for are left out.

    Raises:
        BadData: that leaves none, or a number is missing for some model.
    """
    found: dict[str, Figure] = {}
    texts = all(model["splits"] and model["geometry"] for model in results["models"])
    if texts and results.get("image_coordinates"):
        found["modality_gap"] = modality_gap_page(results)
    if {"ece_positive", SIGNED} <= metrics_present(results):
        for i, page in enumerate(reliability_pages(results), start=1):
            found[f"reliability_by_group_{i}"] = page
        found["calibration_by_frequency"] = frequency_page(results)
    if texts:
        found["text_geometry"] = geometry_page(results)
    if not found:
        raise BadData(
            "Figures need calibration errors or the text geometry, but the results hold neither; "
            "write them anew with 'ccr-diag analyze'."
        )
    return found


def draw_all(results: Results, folder: Path, formats: Sequence[str] = ("png", "svg")) -> list[Path]:
    """Draw every figure that the results hold numbers for and write it in every format.

    Args:
        results: a parsed results file, see ``ccr_diag.results.load_results``.
        folder: made if it is not there; files of the same name are replaced.
        formats: of ``FORMATS``.

    Returns:
        The files written, figure by figure.

    Raises:
        BadConfig: an unknown format.
        BadData: no figure can be drawn, or one lacks a number for some model.
    """
    return write_figures(all_figures(results), folder, formats)


def write_figures(
    figures: Mapping[str, Figure], folder: Path, formats: Sequence[str] = ("png", "svg")
) -> list[Path]:
    """Write every figure in every format.

    Args:
        figures: file name without ending → figure.
        folder: made if it is not there; files of the same name are replaced.
        formats: of ``FORMATS``.

    Returns:
        The files written, figure by figure.

    Raises:
        BadConfig: an unknown format.
    """
    for ending in formats:
        if ending not in FORMATS:
            raise BadConfig(
                f"A figure format must be one of {', '.join(FORMATS)}, but got {ending!r}."
            )
    folder.mkdir(parents=True, exist_ok=True)
    return [
        _write(figure, folder / f"{name}.{ending}")
        for name, figure in figures.items()
        for ending in formats
    ]


def _write(figure: Figure, path: Path) -> Path:
    """Save a figure, whole or not at all."""
    ending = path.suffix[1:]
    # Without a date the same results give the same bytes.
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(ending)
    with style():
        write_atomically(
            path, lambda partial: figure.savefig(partial, format=ending, metadata=metadata)
        )
    return path
