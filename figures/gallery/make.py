"""Makes the pictures of the README and the tables behind them: ``python figures/gallery/make.py``.

    ccr-diag demo ──► results ──► figures: PNG and CSV
    sweeps/lambda.csv ──────────► figures: PNG and CSV
    the demo's report.html ──► Chromium ──► report.png

The demo takes a minute or two, or is that of ``--demo FOLDER``. ``sweeps/lambda.csv`` keeps the
rows of ``ccr-diag sweep lambda`` that the figure needs; ``--sweep FOLDER`` takes them anew.
``tests/test_gallery.py`` makes the tables again and holds them against these.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ccr_diag.figures.frequency import frequency_pictures
from ccr_diag.figures.gallery import write_pictures
from ccr_diag.figures.modality_gap import modality_gap_pictures
from ccr_diag.figures.picture import Picture
from ccr_diag.figures.reliability import reliability_pictures
from ccr_diag.figures.robustness import PANELS, robustness_pictures
from ccr_diag.figures.story import story_pictures
from ccr_diag.results import load_results
from ccr_diag.runs import REPORT, RESULTS
from ccr_diag.sweep_table import read_table

GALLERY = Path(__file__).parent
SWEEP = GALLERY / "sweeps" / "lambda.csv"
OF_RESULTS = (
    story_pictures,
    frequency_pictures,
    reliability_pictures,
    modality_gap_pictures,
)
SHOWN = (
    "story",
    "calibration_by_frequency",
    "signed_error_by_training_images",
    "reliability_positive_1",
    "modality_gap",
    "robustness_lambda_prior",
)


def run_demo(folder: Path) -> str:
    """As a user would, but from fresh features and in one thread; what it prints.

    Tuning amplifies rounding: sums in another order move the mAP of BCE with the mean bias by 0.02.
    """
    command = [sys.executable, "-m", "ccr_diag.cli", "demo", "--threads", "1"]
    alone = {"OMP_NUM_THREADS": "1", "CCR_DIAG_CACHE": str(folder.with_name("cache"))}
    return subprocess.run(
        [*command, "--output", str(folder)],
        check=True,
        env=os.environ | alone,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


def demo_pictures(folder: Path) -> list[Picture]:
    """Those of the gallery, of the folder of a demo."""
    results = load_results(folder / RESULTS)
    drawn = (picture for pictures in OF_RESULTS for picture in pictures(results))
    return [picture for picture in drawn if picture.name in SHOWN]


def sweep_pictures() -> list[Picture]:
    """Those of the gallery, of the rows that are kept of the sweep."""
    return [picture for picture in robustness_pictures(read_table(SWEEP)) if picture.name in SHOWN]


def keep_rows(folder: Path) -> None:
    """Keep what the figure needs of a sweep's table."""
    table = read_table(folder)
    groups = {group for of_metric in PANELS.values() for group in of_metric}
    kept = table[table["metric"].isin(PANELS) & table["group"].isin(groups)]
    kept.to_csv(SWEEP, index=False, na_rep="nan", lineterminator="\n")


def photograph(report: Path, picture: Path) -> None:
    """The top of a report, as a browser shows it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1200, "height": 1000}, device_scale_factor=1.5)
        page.goto(report.resolve().as_uri())
        page.screenshot(path=picture)
        browser.close()


def main() -> None:
    """Everything in the gallery but the tables of the other sweeps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, help="folder of a finished demo")
    parser.add_argument("--sweep", type=Path, help="folder of a finished sweep of lambda")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        demo = asked.demo or Path(scratch) / "demo"
        if asked.demo is None:
            run_demo(demo)
        if asked.sweep is not None:
            keep_rows(asked.sweep)
        write_pictures([*demo_pictures(demo), *sweep_pictures()], GALLERY, ["png"])
        photograph(demo / REPORT, GALLERY / "report.png")


if __name__ == "__main__":
    main()
