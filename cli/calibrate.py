"""``ccr-diag calibrate``: what a map fitted after tuning makes of a model's probabilities."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .answer import check_npz, check_output, line_width
from .command import command
from .options import PATH, Command, NamedChoice, Option, format_option, stacked
from .prediction_files import input_options, measure_options, other_files, read_files
from .progress import Progress

if TYPE_CHECKING:
    from ccr_diag.calibrating import Choice, TextPair
    from ccr_diag.predictions import Predictions

CHOICES = {
    "method": (
        "temperature", "bias", "temperature_bias", "platt", "beta", "isotonic", "histogram",
        "dac", "dac_top1",
    ),
    "scope": ("shared", "group", "class"),
    "unseen": ("refuse", "keep", "shared"),
    "centre": ("prior", "zero"),
}  # fmt: skip
# Flags of methods fitted on labels, and of those made of texts.
TEXT_FILES = ("zero_shot", "tuned", "run")
OF_LABELS, OF_TEXTS = ("scope", "unseen", "strength"), (*TEXT_FILES, "k", "centre")


def calibrator_options(command: Command) -> Command:
    """Which calibrator, and how it is fitted."""
    options: list[Option] = [
        click.option(
            "--method", type=NamedChoice(CHOICES["method"]), required=True,
            help="The map; isotonic and histogram give probabilities; dac is made of class texts.",
        ),
        click.option(
            "--scope", type=NamedChoice(CHOICES["scope"]),
            help="One map for all classes, or one a group or class, drawn to the shared one.  "
            "[default: shared]",
        ),
        click.option("--on", type=PATH, help="File of the calibration images: fit on these."),
        click.option(
            "--on-labels", type=PATH, help="Its labels, where they have a file of their own."
        ),
        click.option(
            "--cross-fit", is_flag=True,
            help="Without --on: calibrate each image by a fit on the other folds of FILE.",
        ),
        click.option(
            "--unseen", type=NamedChoice(CHOICES["unseen"]),
            help="Classes without calibration labels: refuse, keep as they are, or the shared map. "
            " [default: refuse by group or class, else shared]",
        ),
        click.option(
            "--strength", type=click.FloatRange(min=0),
            help="How strongly maps of a group or class are drawn to the shared one.  "
            "[default: chosen by cross-fitting]",
        ),
        click.option(
            "--folds", type=click.IntRange(min=2), default=5, show_default=True,
            help="Parts of the images in cross-fitting.",
        ),
        click.option(
            "--fold-seed", type=click.IntRange(min=0), default=0, show_default=True,
            help="Seed of these parts.",
        ),
        click.option(
            "--zero-shot", type=PATH, help="DAC: class embeddings before tuning, .npz or .npy."
        ),
        click.option("--tuned", type=PATH, help="DAC: class embeddings after tuning."),
        click.option(
            "--run", type=PATH, help="DAC: a run of finetune that both are taken from instead."
        ),
        click.option(
            "--k", type=click.IntRange(min=1), help="DAC: nearest base classes.  [default: 5]"
        ),
        click.option(
            "--centre", type=NamedChoice(CHOICES["centre"]),
            help="dac: the logit that stays, of the share of positives, or 0.  [default: prior]",
        ),
    ]  # fmt: skip
    return stacked(options, command)


def plan(
    file: Path,
    method: str,
    on: Path | None,
    on_labels: Path | None,
    cross_fit: bool,
    folds: int,
    fold_seed: int,
    output: Path,
    overwrite: bool,
    **options: Any,
) -> list[str]:
    """The files that a calibrator is fitted on and applied to."""
    flags = {key: options[key] for key in (*OF_LABELS, *OF_TEXTS)}
    _check_flags(method, flags)
    check_npz(output)
    texts = [path for key in TEXT_FILES if (path := flags.pop(key)) is not None]
    others = [*other_files(options), *([on_labels] if on_labels else []), *texts]
    check_output(output, overwrite, [file, on, *others])
    _check_source(_choice(method, folds, fold_seed, flags), on, on_labels, cross_fit)

    from ccr_diag.plan import file_lines

    return [*file_lines([file, *([on] if on else [])], others), f"Writes: {output}"]


@command(plan)
@click.argument("file", type=PATH)
@calibrator_options
@input_options
@measure_options(least=0)
@format_option
@click.option("-o", "--output", type=PATH, required=True, help="File to write to, .npz.")
@click.option("--overwrite", is_flag=True, help="Replace the output file.")
def calibrate(
    file: Path,
    method: str,
    on: Path | None,
    on_labels: Path | None,
    cross_fit: bool,
    folds: int,
    fold_seed: int,
    kind: str | None,
    scale: float | None,
    bias: float | None,
    labels: Path | None,
    class_names: Path | None,
    groups: Path | None,
    unlisted: str | None,
    preset: str,
    n_bins: int | None,
    top_k: int,
    threshold: float,
    features: Path | None,
    n_bootstrap: int,
    seed: int,
    form: str,
    output: Path,
    overwrite: bool,
    **flags: Any,
) -> None:
    """Calibrate the predictions in FILE, write them anew, and show them before and after.

    The calibrator is fitted on other images (--on), or, image by image, on the other folds of
    FILE (--cross-fit): never on those that it is applied to.

    \b
    ccr-diag calibrate test.npz --method platt --on calibration.npz -o platt.npz
    ccr-diag calibrate test.npz --method temperature --scope group --unseen shared \\
        --cross-fit -o temperature.npz
    """  # noqa: D301 (click wants the backspace itself)
    _check_flags(method, flags)
    check_npz(output)
    zero_shot, tuned, run = (flags.pop(key) for key in TEXT_FILES)
    check_output(
        output, overwrite,
        [file, on, labels, on_labels, class_names, groups, features, zero_shot, tuned, run],
    )  # fmt: skip

    from ccr_diag.measuring import results_of
    from ccr_diag.report import render

    choice = _choice(method, folds, fold_seed, flags)
    _check_source(choice, on, on_labels, cross_fit)
    declared: dict[str, Any] = {
        "kind": kind, "scale": scale, "bias": bias, "class_names": class_names,
        "groups": groups, "unlisted": unlisted,
    }  # fmt: skip
    (test,) = read_files((file,), features, preset, labels=labels, **declared)
    texts = _texts(zero_shot, tuned, run, test)
    calibrated = _calibrated(test, on, choice, texts, labels=on_labels, **declared)
    before = replace(test, groups=calibrated.groups)
    results = results_of(
        (before, calibrated), partial(Progress(), "files"), preset=preset, n_bins=n_bins,
        top_k=top_k, threshold=threshold, n_bootstrap=n_bootstrap, seed=seed,
    )  # fmt: skip
    calibrated.save(output)
    click.echo(_notes(calibrated), err=True, nl=False)
    click.echo(render(results, form, line_width()), nl=False)
    click.echo(f"Written: {output}", err=True)


def _choice(method: str, folds: int, seed: int, flags: dict[str, Any]) -> "Choice":
    """What was chosen; the rest is left to the library."""
    from ccr_diag.calibrating import Choice

    given = {key: value for key, value in flags.items() if value is not None}
    return Choice(method, folds=folds, seed=seed, **given)


def _check_source(choice: "Choice", on: Path | None, on_labels: Path | None, cross: bool) -> None:
    """One source of labels, where labels play a part."""
    from ccr_diag.errors import BadConfig

    if (on is not None and cross) or (choice.from_labels and on is None and not cross):
        raise BadConfig(
            "A calibrator is fitted on a calibration file (--on) or by --cross-fit, but got "
            f"{'both' if cross else 'neither'}; give one of them."
        )
    if on is None and on_labels:
        raise BadConfig("--on-labels are those of the file --on, but that was left out; add it.")


def _check_flags(method: str, flags: dict[str, Any]) -> None:
    """Refuse flags that play no part in the method."""
    from ccr_diag.errors import BadConfig

    from_texts = method.startswith("dac")
    idle = OF_LABELS if from_texts else OF_TEXTS
    if found := [key for key in idle if flags[key] is not None]:
        flag = f"--{found[0].replace('_', '-')}"
        which = "calibrators fitted on labels" if from_texts else "dac and dac_top1"
        raise BadConfig(f"{flag} is of {which}, but the method is {method!r}; leave it out.")


def _texts(
    zero_shot: Path | None, tuned: Path | None, run: Path | None, predictions: "Predictions"
) -> "TextPair | None":
    """Class text embeddings before and after tuning, if they are given."""
    from ccr_diag.errors import BadConfig

    files = [path for path in (zero_shot, tuned) if path is not None]
    if run is not None and files:
        raise BadConfig(
            f"The text embeddings come from a run or from files, but got {run} and {files[0]}; "
            "leave one out."
        )
    if run is not None:
        return _texts_of_run(run)
    if len(files) < 2:
        return None  # the library says what is needed, if it is

    from ccr_diag.calibrating import TextPair
    from ccr_diag.embeddings import align, read_embeddings

    names = predictions.class_names
    read = [read_embeddings(path) for path in files]
    unnamed = all(file.class_names is None for file in read)
    before, after = align(read[0], read[1], names if unnamed else None)
    return TextPair(before.class_names or names, before.rows, after.rows)


def _texts_of_run(path: Path) -> "TextPair":
    from ccr_diag.backbone import load_backbone
    from ccr_diag.calibrating import TextPair
    from ccr_diag.predict import tuned_space
    from ccr_diag.prompts import zero_shot_embeddings

    from .predict import one_split

    run = one_split(path)
    config = run.config
    backbone = load_backbone(config.model, config.pretrained or None, "auto", config.precision)
    before = zero_shot_embeddings(backbone, run.class_names)
    after = tuned_space(run, backbone).embeddings
    return TextPair(run.class_names, before.cpu().numpy(), after.numpy())


def _calibrated(
    test: "Predictions", on: Path | None, choice: "Choice", texts: "TextPair | None", **how: Any
) -> "Predictions":
    from ccr_diag.calibrating import calibrate, cross_calibrate
    from ccr_diag.errors import BadConfig
    from ccr_diag.readers import read_predictions

    if on is None:
        return cross_calibrate(test, choice, texts)
    try:
        calibration = read_predictions(on, **how)
    except BadConfig as error:  # which speaks of the flags of one file
        raise BadConfig(str(error).replace("--labels", "--on-labels")) from error
    return calibrate(test, calibration, choice, texts)


def _notes(calibrated: "Predictions") -> str:
    """What it was fitted on, and what it could not speak about, a line each."""
    from ccr_diag.calibration_split import CALIBRATOR

    record = calibrated.provenance[CALIBRATOR]
    notes = []
    if on := record.get("fitted_on"):
        folds = "the other folds of " if record.get("cross_fitted") else ""
        notes.append(
            f"Fitted on {folds}{on['images']} images: {on['labels']} known labels, "
            f"{on['positives']} of them positive."
        )
    strength = record.get("fit", {}).get("strength")
    if strength == "inf":
        notes.append(f"The strength is inf: each {record['scope']} takes the shared map.")
    elif strength is not None:
        notes.append(
            f"The map of each {record['scope']} is drawn to the shared one, strength {strength:g}."
        )
    if unseen := record.get("never_seen"):
        classes, map_ = unseen["classes"], unseen["map"]
        named = ", ".join(map(repr, classes[:3])) + (", …" if len(classes) > 3 else "")
        gets = "take the shared map" if map_ == "shared" else "are left as they are"
        notes.append(
            f"{len(classes)} classes are new or have no known label ({named}): they took no part "
            f"in the fit and {gets}."
        )
    if clipped := sum(record["clipped"].values()):
        notes.append(
            f"{clipped} probabilities are 0 or 1 up to rounding; they count as the nearest that "
            "are not, as a logit must be finite."
        )
    return "".join(f"Note: {note}\n" for note in notes)
