"""``ccr-diag analyze``: measure what tuned checkpoints' probabilities are worth."""

from functools import partial
from pathlib import Path

import click

from .analyze_embeddings import embeddings
from .analyze_predictions import predictions
from .options import PATH, device_options, output_option, overwrite_option, set_threads
from .progress import Progress

FORMATS = ("text", "markdown", "csv", "json", "latex")
PRESETS = ("textbook", "procal", "paper")


def _replicates(context: click.Context, option: click.Parameter, value: int) -> int:
    """An interval needs two."""
    if value == 1:
        raise click.BadParameter("give 0 for none, or at least 2.")
    return value


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
    default="own",
    show_default=True,
    help="Read every model through its own map, or through one bias rule: "
    "none, model, mean, prior.",
)
@click.option(
    "--preset",
    type=click.Choice(PRESETS),
    default="textbook",
    show_default=True,
    help="Definitions of the calibration errors: as textbooks, or as published code has them.",
)
@click.option(
    "--bins",
    type=click.IntRange(min=1),
    default=None,
    help="Bins of the calibration errors.  [default: the preset's]",
)
@click.option(
    "--bootstrap",
    type=click.IntRange(min=0),
    default=200,
    show_default=True,
    callback=_replicates,
    help="Replicates of the bootstrap over images; 0 for none. Several splits have intervals of "
    "their own, over splits.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Its seed.")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="What is printed.",
)
@output_option("analysis", "Folder to write to; - writes none.")
@overwrite_option
@device_options
def checkpoint(
    runs: tuple[Path, ...],
    data: str | None,
    split: str,
    rule: str,
    preset: str,
    bins: int | None,
    bootstrap: int,
    seed: int,
    form: str,
    output: Path,
    overwrite: bool,
    device: str,
    threads: int | None,
) -> None:
    """Compare zero-shot and finished RUNS on test images.

    \b
    ccr-diag analyze checkpoint runs/bce runs/ranking runs/ccr --output analysis
    """  # noqa: D301 (click wants the backspace itself)
    set_threads(threads)

    from ccr_diag import analysis, report
    from ccr_diag.backbone import load_backbone
    from ccr_diag.data import load_dataset
    from ccr_diag.features import image_features
    from ccr_diag.runs import prepare_output

    loaded = analysis.load_runs(runs)
    config = loaded[0].splits[0].config
    backbone = load_backbone(config.model, config.pretrained or None, device, config.precision)
    test = load_dataset(data or config.data, split)
    to_folder = output != Path("-")
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
        preset=preset,
        n_bins=bins,
        n_bootstrap=bootstrap,
        seed=seed,
        progress=partial(progress, "models"),
    )
    click.echo(report.render(results, form), nl=False)
    if to_folder:
        report.write_tables(results, output)
        click.echo(f"Written: {output}/results.json, tables.md, tables.csv, predictions/", err=True)


analyze.add_command(embeddings)
analyze.add_command(predictions)
