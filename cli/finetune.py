"""``ccr-diag finetune``: tune prompts, once a split, into run folders."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from scipy.special import logit

from ccr_diag.config import CHOICES, FinetuneConfig, check_setting, config_from_dict

from .answer import say_notes
from .command import command
from .options import (
    Command,
    NamedChoice,
    device_options,
    existing_output,
    output_option,
    set_threads,
)
from .progress import Progress

# Setting → what its flag's help says. The flags stand in this order.
SETTINGS = {
    "model": (
        "CLIP in open_clip's words: a built-in name, local-dir:PATH, hf-hub:ORG/REPO, "
        "or 'embedded'."
    ),
    "pretrained": "Weights of a built-in model: a tag or a file.",
    "data": "Data set, as KIND:PLACE: coco:DIR, voc2007:DIR, manifest:FILE, … or scenes.",
    "split": "Split of the data set to tune on.",
    "unlisted": "What a class means that an image does not list, where the data do not state it.",
    "new_classes": "A class to leave out of tuning and call new (repeatable).",
    "class_split": "New classes by first-half, coco-48-17, coco-65-15 or a TOML file: new = [...].",
    "framework": "What is learned; unless given, settings are those of its paper.",
    "loss": "What is minimised.",
    "regularizer": "What is added.",
    "lambda_": "λ, the weight of the regularizer.",
    "label_smoothing": "BCE: ε of labels (1 − ε)·y + ε/2.",
    "estimator": "CCR: how the co-inactivation of classes is estimated.",
    "target": "CCR: text correlation raw, centred, or as the estimator needs it.",
    "reduction": "CCR: over pairs of classes.",
    "outliers": "DOR: file of nouns, one a line; '' takes the packaged ones.",
    "top_outliers": "DOR: draw from that many of them, the nearest to the classes; 0 takes all.",
    "n_outliers": "DOR: nouns drawn a step.",
    "captions": "TaI-DPT: file of captions, in place of the data's; T2I-PAL: to make images of.",
    "synonyms": "File of other words for the classes in captions, lines of 'class: word, word'.",
    "images_from": "T2I-PAL: another data set of images with captions; 'diffusers' makes them.",
    "generator": "Diffusers pipeline that makes images: a folder or a Hugging Face name.",
    "generator_steps": "Its steps of denoising.",
    "generator_guidance": "Its classifier-free guidance.",
    "generator_size": "Height and width of its images.",
    "bias": "Rule of the bias b in p = σ(τ·score + b); none is the paper's.",
    "scale": "τ in p = σ(τ·score + b); 0 takes the framework's, else the model's.",
    "shots": "Training images a class; 0 takes all.",
    "examples": "File that lists the training images, one id a line, in place of --shots.",
    "seed": "Number of the first split.",
    "n_context": "Learned context tokens, where no phrase is given.",
    "context_init": "Phrase that the context starts from; '' starts at random.",
    "position": "Where the class name stands among the context.",
    "class_specific": "A context of its own for each class.",
    "residual_ratio": "CLIP-Adapter, T2I-PAL: α, the share of the adapted feature.",
    "epochs": "Passes over the training images.",
    "batch_size": "Images a step.",
    "learning_rate": "Peak of the cosine; 0 takes the loss's default.",
    "momentum": "Momentum of SGD.",
    "weight_decay": "Weight decay of SGD.",
    "warmup_epochs": "Epochs at the warm-up rate.",
    "warmup_rate": "Learning rate of the warm-up epochs.",
    "precision": "Of the towers.",
}


def setting_flags(command: Command) -> Command:
    """One flag a setting. None means not given: the config file's value, or the default, stands.

    The defaults shown are those of the default framework.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(FinetuneConfig)}
    for name, text in reversed(SETTINGS.items()):
        default = defaults[name]
        kind = NamedChoice(CHOICES[name]) if name in CHOICES else type(default)
        many, flag = isinstance(default, tuple), f"--{name.strip('_').replace('_', '-')}"
        either = f"{flag}/--no-{flag.removeprefix('--')}" if kind is bool else flag
        command = click.option(
            "--new-class" if many else either,
            name,
            type=str if many else kind,
            multiple=many,
            default=None,
            callback=_checked,
            help=text if many else f"{text}  [default: {default!r}]",
        )(command)
    return command


def _checked(context: click.Context, option: click.Parameter, value: Any) -> Any:
    """What was given, if a run can have it: a file is then named by its line."""
    if value is not None:
        check_setting(option.name, value)
    return value


def given_config(flags: dict[str, Any]) -> FinetuneConfig:
    """What was given, and for the rest the defaults of the framework."""
    return config_from_dict({k: value for k, value in flags.items() if value not in (None, ())})


def resolved(options: dict[str, Any]) -> dict[str, Any]:
    """The options with every setting as the run would have it."""
    flags = {name: value for name, value in options.items() if name in SETTINGS}
    return options | dataclasses.asdict(given_config(flags))


def plan(
    splits: int,
    report_to: tuple[str, ...],
    output: Path,
    resume: bool,
    overwrite: bool,
    device: str,
    threads: int | None,
    **flags: Any,
) -> list[str]:
    """What is tuned on what."""
    config = given_config(flags)

    from ccr_diag.data.groups import class_groups
    from ccr_diag.plan import data_lines, tuning_lines
    from ccr_diag.run_data import run_dataset
    from ccr_diag.runs import check_output_folder

    check_output_folder(output.resolve(), resume=resume, overwrite=overwrite)
    train = run_dataset(config, config.split, progress=Progress())
    seeds = range(config.seed, config.seed + splits)
    return [
        f"Run: {config.name}",
        *data_lines(train, class_groups(train.labels, train.new)),
        *tuning_lines(config, train, splits, device),
        f"Writes: {', '.join(str(output / f'split-{seed}') for seed in seeds)}",
    ]


@command(plan, resolve=resolved, by_name=tuple(SETTINGS))
@click.option(
    "--splits",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Splits to run, each with its own images.",
)
@click.option(
    "--report-to",
    multiple=True,
    callback=lambda context, option, value: tracker_names(value),
    help="Trackers told every epoch: tensorboard, wandb, trackio (comma list, or repeated).",
)
@output_option("run")
@existing_output
@device_options
@setting_flags
def finetune(
    splits: int,
    report_to: tuple[str, ...],
    output: Path,
    resume: bool,
    overwrite: bool,
    device: str,
    threads: int | None,
    **flags: Any,
) -> None:
    """Fine-tune on images with many labels, with or without CCR.

    \b
    ccr-diag finetune --loss bce --regularizer ccr --splits 3 --output runs/ccr
    """  # noqa: D301 (click wants the backspace itself)
    config = given_config(flags)
    set_threads(threads)

    from ccr_diag.backbone import load_backbone
    from ccr_diag.checkpoint import load_checkpoint
    from ccr_diag.finetune import finetune as run
    from ccr_diag.run_data import run_dataset
    from ccr_diag.runs import output_folder

    backbone = load_backbone(config.model, config.pretrained or None, device, config.precision)
    train = run_dataset(config, config.split, progress=Progress())
    say_notes(train)
    with output_folder(output, resume=resume, overwrite=overwrite) as folder:
        for seed in range(config.seed, config.seed + splits):
            path = run(
                config.replace(seed=seed),
                folder / f"split-{seed}",
                backbone=backbone,
                train=train,
                progress=Progress(f"{config.name}, split {seed},"),
                report_to=report_to,
            )
    facts = load_checkpoint(path).facts
    click.echo(start_note(facts), err=True, nl=False)
    click.echo(f"{config.name}: {splits} split{'s' if splits > 1 else ''} in {output}", err=True)


def tracker_names(given: Sequence[str]) -> tuple[str, ...]:
    """Trackers from lists of them, each once; refused here, before any work."""
    from ccr_diag.trackers import require

    names = [name.strip() for words in given for name in words.split(",")]
    found = tuple(dict.fromkeys(name for name in names if name))
    require(found)
    return found


def start_note(facts: dict[str, Any]) -> str:
    """A warning where all labels are positive, or the bias rule starts 2 logits off their share."""
    from ccr_diag.frameworks import FRAMEWORKS

    mean, prior, config = facts["start_probability"], facts["prior"], facts["config"]
    framework = FRAMEWORKS[config.get("framework", "coop")]
    if prior == 1:
        return (
            f"Note: no class is known to be absent from any of the training {framework.TRAINED_ON},"
            " so nothing teaches what absence is; if every class was looked for in each, say "
            "--unlisted negative.\n"
        )
    if config["loss"] == "ranking" or abs(logit(mean) - logit(prior)) < 2:
        return ""
    of = "zero-shot" if framework.SCALE is None else "first"
    rules = "learned" if framework.TRAINED_ON == "captions" else "prior or learned"
    return (
        f"Note: under bias rule {config['bias']!r} the {of} probabilities of the training "
        f"{framework.TRAINED_ON} average {mean:.2f}, but {prior:.2f} of their labels are positive. "
        f"{config['loss'].upper()} then mostly moves all classes alike; --bias {rules} starts "
        "level.\n"
    )
