"""``ccr-diag analyze``: measure what tuned checkpoints' probabilities are worth."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .analyze_correlation import correlation
from .analyze_embeddings import embeddings
from .analyze_predictions import predictions
from .answer import TERMINAL, line_width, output_line, say_notes, write_for_people
from .command import command, command_line
from .gate import fail_if_option, read_gate, require_passed
from .options import (
    PATH,
    bins_option,
    bootstrap_options,
    device_options,
    format_option,
    output_option,
    overwrite_option,
    preset_option,
    set_threads,
    unlisted_option,
)
from .progress import Progress
from .public_files import (
    STATED,
    is_run,
    load_public,
    map_and_public_options,
    public_lines,
    require_rule,
    run_lines,
)

if TYPE_CHECKING:
    from torch import Tensor

    from ccr_diag.arrays import Unlisted
    from ccr_diag.backbone import Backbone
    from ccr_diag.data.dataset import MultiLabelDataset

    from .public_files import PublicModels


ZERO_SHOT = "zero-shot"  # rows that are added for comparison


@click.group()
def analyze() -> None:
    """Measure how far probabilities can be trusted, and where not."""


def plan(
    runs: tuple[Path, ...],
    data: str | None,
    split: str,
    unlisted: "Unlisted",
    bias: str | float,
    output: Path,
    overwrite: bool,
    device: str,
    **options: Any,
) -> list[str]:
    """What is scored with what, and where the results go."""
    from ccr_diag.compared_models import load_runs
    from ccr_diag.runs import check_output_folder

    stated = {key: options[key] for key in STATED}
    if _are_ours(runs):
        require_rule(runs[0], bias, stated)
        splits = [split for run in load_runs(runs) for split in run.splits]
        lines = run_lines(splits, data, split, unlisted, device)
    else:
        lines = public_lines(runs, data, split, unlisted, bias, device, stated)
    if output != TERMINAL:
        check_output_folder(output, overwrite=overwrite, keep=runs)
    return [*lines, output_line(output)]


def _are_ours(runs: Sequence[Path]) -> bool:
    """Whether all are runs of our own, or all public files."""
    from ccr_diag.errors import BadConfig

    ours = [is_run(path) for path in runs]
    if any(ours) != all(ours):
        raise BadConfig(
            f"Runs and public files are analysed apart, but got {runs[ours.index(True)]} and "
            f"{runs[ours.index(False)]}; predict each, and compare the predictions."
        )
    return all(ours)


@command(plan)
@click.argument("runs", nargs=-1, required=True, type=PATH)
@click.option(
    "--data",
    default=None,
    help="Data set to measure on; needed by public files.  [default: the run's]",
)
@click.option("--split", default="test", show_default=True, help="Its split.")
@unlisted_option
@map_and_public_options
@preset_option
@bins_option
@bootstrap_options(least=0, more="Several splits have intervals of their own, over splits.")
@fail_if_option
@format_option
@output_option("analysis", "Folder to write to; - writes none.")
@overwrite_option
@device_options
def checkpoint(
    runs: tuple[Path, ...],
    data: str | None,
    split: str,
    unlisted: "Unlisted",
    bias: str | float,
    fail_if: tuple[str, ...],
    form: str,
    output: Path,
    overwrite: bool,
    device: str,
    threads: int | None,
    **options: Any,
) -> None:
    """Compare zero-shot and finished RUNS on test images.

    Or public files (.pth.tar) of CoOp, KgCoOp, CoCoOp, TaI-DPT and DualCoOp, all tuned on one
    CLIP: nothing in them is executed, and what they do not hold is stated.

    \b
    ccr-diag analyze checkpoint runs/bce runs/ranking runs/ccr --output analysis
    """  # noqa: D301 (click wants the backspace itself)
    set_threads(threads)

    conditions = read_gate(fail_if)

    from ccr_diag import report
    from ccr_diag.runs import REPORT, prepare_output

    stated = {key: options.pop(key) for key in STATED}
    to_folder = output != TERMINAL

    def prepare() -> Path | None:
        if to_folder:
            prepare_output(output, overwrite=overwrite, keep=runs)
        return output if to_folder else None

    if _are_ours(runs):
        rule = require_rule(runs[0], bias, stated)
        results = results_of_runs(runs, data, split, unlisted, rule, device, prepare, options)
    else:
        public = load_public(runs, data, split, unlisted, bias, device, **stated)
        results = _of_public(public, runs, prepare, options)
    click.echo(report.render(results, form, line_width()), nl=False)
    if to_folder:
        write_for_people(results, output)
        click.echo(
            f"Written: {output}/{REPORT}, results.json, tables.md, tables.csv, predictions/",
            err=True,
        )
    given = [model for model in results["models"] if not model["name"].startswith(ZERO_SHOT)]
    require_passed(conditions, given)


def results_of_runs(
    runs: Sequence[Path],
    data: str | None,
    split: str,
    unlisted: "Unlisted",
    rule: str,
    device: str,
    prepare: Callable[[], Path | None],
    options: dict[str, Any],
) -> dict[str, Any]:
    """Results of runs of our own.

    Args:
        runs: their folders.
        data: another data set than theirs.
        split: of the data set.
        unlisted: what it means there.
        rule: bias rule.
        device: to encode on.
        prepare: called once all is known to fit; gives the folder to write to, if any.
        options: of ``analyse``.
    """
    from ccr_diag.analysis import analyse
    from ccr_diag.backbone import load_backbone
    from ccr_diag.compared_models import load_runs
    from ccr_diag.provenance import provenance
    from ccr_diag.run_data import checkpoint_dataset

    loaded = load_runs(runs)
    first = loaded[0].splits[0]
    config = first.config
    backbone = load_backbone(config.model, config.pretrained or None, device, config.precision)
    progress = Progress()
    others = [checkpoint for run in loaded for checkpoint in run.splits]
    test = checkpoint_dataset(first, split, data, unlisted, others=others, progress=progress)
    say_notes(test)
    output = prepare()
    features = _features(backbone, test, any(run.local for run in loaded), progress)
    made = provenance(command_line(), runs)
    return analyse(
        loaded, backbone, test, features, output, rule=rule, made=made, **_told(progress), **options
    )


def _of_public(
    public: "PublicModels",
    files: Sequence[Path],
    prepare: Callable[[], Path | None],
    options: dict[str, Any],
) -> dict[str, Any]:
    """Results of checkpoints of other people."""
    from ccr_diag.provenance import provenance
    from ccr_diag.public_analysis import analyse_public

    output, progress = prepare(), Progress()
    say_notes(public.dataset)
    local = any(space.local for space in public.spaces)
    features = _features(public.backbone, public.dataset, local, progress)
    return analyse_public(
        public.spaces, public.facts, public.zero_shot_map, public.backbone, public.dataset,
        features, output, made=provenance(command_line(), files), **_told(progress), **options,
    )  # fmt: skip


def _features(
    backbone: "Backbone", test: "MultiLabelDataset", local: bool, progress: Progress
) -> "Tensor":
    """Features of the images; of positions too, if asked for, which stay in the cache."""
    from ccr_diag.features import image_features, local_features

    told = partial(progress, "features")
    if local:  # one pass for both; what follows reads the cache
        local_features(backbone, test, progress=told)
    return image_features(backbone, test, progress=told)


def _told(progress: Progress) -> dict[str, Any]:
    """Progress of models and, of those that take long over them, of images."""
    return {
        "progress": partial(progress, "models"),
        "scoring": partial(progress, "images scored"),
    }


analyze.add_command(checkpoint)
analyze.add_command(correlation)
analyze.add_command(embeddings)
analyze.add_command(predictions)
