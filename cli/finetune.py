"""``ccr-diag finetune``: tune prompts, once a split, into run folders."""

import dataclasses
from pathlib import Path
from typing import Any

import click
from scipy.special import logit

from ccr_diag.config import CHOICES, FinetuneConfig, config_from_dict, read_settings

from .options import (
    PATH,
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
    "data": "Data set: scenes[:STYLE] or manifest:FILE.csv.",
    "split": "Split of the data set to tune on.",
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
            help=text if many else f"{text}  [default: {default!r}]",
        )(command)
    return command


@click.command()
@click.option(
    "--config", "config_file", type=PATH, help="TOML file of settings; flags override it."
)
@click.option(
    "--splits",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Splits to run, each with its own images.",
)
@output_option("run")
@existing_output
@device_options
@setting_flags
def finetune(
    config_file: Path | None,
    splits: int,
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
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    settings = read_settings(config_file) if config_file else {}
    config = config_from_dict(settings | given)
    set_threads(threads)

    from ccr_diag.backbone import load_backbone
    from ccr_diag.checkpoint import load_checkpoint
    from ccr_diag.finetune import finetune as run
    from ccr_diag.run_data import run_dataset
    from ccr_diag.runs import output_folder

    backbone = load_backbone(config.model, config.pretrained or None, device, config.precision)
    train = run_dataset(config, config.split)
    with output_folder(output, resume=resume, overwrite=overwrite) as folder:
        for seed in range(config.seed, config.seed + splits):
            path = run(
                config.replace(seed=seed),
                folder / f"split-{seed}",
                backbone=backbone,
                train=train,
                progress=Progress(f"{config.name}, split {seed},"),
            )
    facts = load_checkpoint(path).facts
    click.echo(start_note(facts), err=True, nl=False)
    click.echo(f"{config.name}: {splits} split{'s' if splits > 1 else ''} in {output}", err=True)


def start_note(facts: dict[str, Any]) -> str:
    """A warning where the bias rule starts far, 2 logits, from the share of positive labels."""
    from ccr_diag.frameworks import FRAMEWORKS

    mean, prior, config = facts["start_probability"], facts["prior"], facts["config"]
    if config["loss"] == "ranking" or abs(logit(mean) - logit(prior)) < 2:
        return ""
    framework = FRAMEWORKS[config.get("framework", "coop")]
    of = "zero-shot" if framework.SCALE is None else "first"
    rules = "learned" if framework.TRAINED_ON == "captions" else "prior or learned"
    return (
        f"Note: under bias rule {config['bias']!r} the {of} probabilities of the training "
        f"{framework.TRAINED_ON} average {mean:.2f}, but {prior:.2f} of their labels are positive. "
        f"{config['loss'].upper()} then mostly moves all classes alike; --bias {rules} starts "
        "level.\n"
    )
