"""``ccr-diag analyze``: measure what tuned checkpoints' probabilities are worth."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from .analyze_embeddings import embeddings
from .analyze_predictions import predictions
from .answer import TERMINAL, line_width
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
)
from .progress import Progress

# How scores become probabilities: by each model's own map, or by one rule for all.
RULES = ("own", "none", "model", "mean", "prior")


@click.group()
def analyze() -> None:
    """Measure how far probabilities can be trusted, and where not."""


@analyze.command()
@click.argument("runs", nargs=-1, required=True, type=PATH)
@click.option("--data", default=None, help="Data set to measure on.  [default: the run's]")
@click.option("--split", default="test", show_default=True, help="Its split.")
@click.option(
    "--bias",
    "rule",
    type=click.Choice(RULES),
    default="own",
    show_default=True,
    help="Read every model through its own map, or through one bias rule.",
)
@preset_option
@bins_option
@bootstrap_options(least=0, more="Several splits have intervals of their own, over splits.")
@format_option
@output_option("analysis", "Folder to write to; - writes none.")
@overwrite_option
@device_options
def checkpoint(
    runs: tuple[Path, ...],
    data: str | None,
    split: str,
    rule: str,
    form: str,
    output: Path,
    overwrite: bool,
    device: str,
    threads: int | None,
    **options: Any,
) -> None:
    """Compare zero-shot and finished RUNS on test images.

    \b
    ccr-diag analyze checkpoint runs/bce runs/ranking runs/ccr --output analysis
    """  # noqa: D301 (click wants the backspace itself)
    set_threads(threads)

    from ccr_diag import analysis, report
    from ccr_diag.backbone import load_backbone
    from ccr_diag.compared_models import load_runs
    from ccr_diag.data import load_dataset
    from ccr_diag.features import image_features
    from ccr_diag.runs import prepare_output

    loaded = load_runs(runs)
    config = loaded[0].splits[0].config
    backbone = load_backbone(config.model, config.pretrained or None, device, config.precision)
    test = load_dataset(data or config.data, split)
    to_folder = output != TERMINAL
    if to_folder:
        prepare_output(output, overwrite=overwrite, keep=runs)
    progress = Progress()
    features = image_features(backbone, test, progress=partial(progress, "features"))
    results = analysis.analyse(
        loaded,
        backbone,
        test,
        features,
        output if to_folder else None,
        rule=rule,
        progress=partial(progress, "models"),
        scoring=partial(progress, "images scored"),
        **options,
    )
    click.echo(report.render(results, form, line_width()), nl=False)
    if to_folder:
        report.write_tables(results, output)
        click.echo(f"Written: {output}/results.json, tables.md, tables.csv, predictions/", err=True)


analyze.add_command(embeddings)
analyze.add_command(predictions)
