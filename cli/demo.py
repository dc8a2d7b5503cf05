"""``ccr-diag demo``: the whole flow on the embedded CLIP and images, offline."""

import shlex
import time
from functools import partial
from pathlib import Path
from typing import Any

import click

from .answer import line_width, write_for_people
from .command import command, command_line
from .options import device_options, existing_output, output_option, set_threads
from .progress import Progress

# Run folder → its settings. The first three put p = 0.5 at the mean score, where BCE does its
# damage in plain sight; the last two are there for honesty: a bias that fits is the simplest
# repair, and CCR must be seen beside it and with it.
COMPARED: dict[str, dict[str, Any]] = {
    "bce": {"loss": "bce", "bias": "mean"},
    "ranking": {"loss": "ranking", "bias": "mean"},
    "bce+ccr": {"loss": "bce", "regularizer": "ccr", "bias": "mean"},
    "bce-learned-bias": {"loss": "bce", "bias": "learned"},
    "bce+ccr-prior-bias": {"loss": "bce", "regularizer": "ccr", "bias": "prior"},
}
FORMATS = ("png",)  # of the figures; each other takes as long again


def plan(splits: int, output: Path, resume: bool, overwrite: bool, **options: Any) -> list[str]:
    """The embedded example."""
    from ccr_diag.data import load_dataset
    from ccr_diag.plan import backbone_lines, data_lines
    from ccr_diag.runs import check_output_folder

    check_output_folder(output, resume=resume, overwrite=overwrite)
    train, test = (load_dataset("scenes", split) for split in ("train", "test"))
    n_images, n_classes = len(train) + len(test), len(test.class_names)
    return [
        *data_lines(train), *data_lines(test), f"Runs: {', '.join(COMPARED)}, {splits} splits each",
        *backbone_lines("embedded", n_images, n_classes, options["device"]), f"Writes: {output}",
    ]  # fmt: skip


@command(plan)
@click.option(
    "--splits", type=click.IntRange(min=1), default=3, show_default=True, help="Splits a run."
)
@output_option("ccr-diag-demo")
@existing_output
@device_options
def demo(
    splits: int, output: Path, resume: bool, overwrite: bool, device: str, threads: int | None
) -> None:
    """Tune, analyze and draw the embedded example, offline.

    Tunes CoOp prompts on the embedded images with BCE, Ranking and BCE + CCR (16 shots a
    class), BCE with a learned bias and CCR with one that fits the prior, then compares them with
    zero-shot. Takes about a minute on two cores. Figures are PNG, without pages of each class;
    ccr-diag figures OUTPUT draws all, also as PDF and SVG.
    """
    set_threads(threads)
    marks = [("", time.monotonic())]

    from ccr_diag import analysis, report
    from ccr_diag.backbone import load_backbone
    from ccr_diag.compared_models import load_runs
    from ccr_diag.config import config_from_dict
    from ccr_diag.data import load_dataset
    from ccr_diag.features import image_features
    from ccr_diag.figure_inputs import matrices_beside
    from ccr_diag.figures.gallery import pictures_of_results, write_pictures
    from ccr_diag.finetune import finetune
    from ccr_diag.provenance import provenance
    from ccr_diag.runs import FIGURES, REPORT, RESULTS, RUNS, prepare_output

    prepare_output(output, resume=resume, overwrite=overwrite)
    backbone = load_backbone(device=device)
    train, test = load_dataset("scenes", "train"), load_dataset("scenes", "test")
    marks.append(("loading", time.monotonic()))
    for name, settings in COMPARED.items():
        for seed in range(1, splits + 1):
            config = config_from_dict(settings | {"seed": seed})
            folder = output / RUNS / name / f"split-{seed}"
            progress = Progress(f"{config.name}, split {seed},")
            finetune(config, folder, backbone=backbone, train=train, progress=progress)
    marks.append(("tuning", time.monotonic()))
    show = Progress()
    features = image_features(backbone, test, progress=partial(show, "test features"))
    runs = load_runs([output / RUNS / name for name in COMPARED])
    made = provenance(command_line(), [output / RUNS / name for name in COMPARED])
    results = analysis.analyse(
        runs, backbone, test, features, output, made=made, progress=partial(show, "models measured")
    )
    write_for_people(results, output)
    marks.append(("measuring", time.monotonic()))
    matrices = matrices_beside(output / RESULTS, results)
    pictures = pictures_of_results(results, matrices, class_pages=0)
    drawn = write_pictures(pictures, output / FIGURES, FORMATS, partial(show, "figures drawn"))
    marks.append(("drawing", time.monotonic()))
    click.echo(report.to_text(results, line_width()))
    click.echo(
        f"\nIn {output}: {REPORT}, results.json, tables.md, tables.csv, predictions/, runs/, and "
        f"{len(drawn)} files in figures/.\nAs PDF and SVG too, and of each class: "
        f"ccr-diag figures {shlex.quote(str(output))}\n{seconds(marks)}"
    )


def seconds(marks: list[tuple[str, float]]) -> str:
    """“Seconds: loading 8, tuning 41, in all 49.” from the end of each stage."""
    stages = [
        f"{name} {end - start:.0f}"
        for (_, start), (name, end) in zip(marks, marks[1:], strict=False)
    ]
    return f"Seconds: {', '.join(stages)}, in all {marks[-1][1] - marks[0][1]:.0f}."
