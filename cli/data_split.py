"""``ccr-diag data split``: lists of images to tune on, and of new classes, to be shared."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .answer import check_output, output_line, say_notes, write
from .command import command
from .options import output_option, unlisted_option
from .progress import Progress

if TYPE_CHECKING:
    from ccr_diag.config import FinetuneConfig

CLASSES = "classes.toml"


def plan(output: Path, overwrite: bool, **asked: Any) -> list[str]:
    """The data, and the lists that would be written."""
    from ccr_diag.plan import data_lines
    from ccr_diag.run_data import run_dataset

    config, names = _asked(**asked)
    for name in names:
        check_output(output / name, overwrite, [])
    data = run_dataset(config, config.split)
    return [*data_lines(data), *(output_line(output / name) for name in names)]


@command(plan)
@click.argument("spec")
@click.option("--split", default="train", show_default=True, help="Its split to draw from.")
@unlisted_option
@click.option("--shots", type=click.IntRange(min=1), help="Images a class to list.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=1,
    show_default=True,
    help="Number of the first split.",
)
@click.option(
    "--splits",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Lists to write, each of its own images.",
)
@click.option(
    "--class-split",
    default="",
    help="New classes by first-half, coco-48-17, coco-65-15 or a TOML file: new = [...].",
)
@click.option("--new-class", "new_classes", multiple=True, help="A new class (repeatable).")
@output_option(".", "Folder to write to.")
@click.option("--overwrite", is_flag=True, help="Replace lists that are there.")
def split(output: Path, overwrite: bool, **asked: Any) -> None:
    """List the images and the classes of SPEC that runs are tuned on.

    Images are those that finetune draws by the same --shots and --seed, one id a line, for its
    --examples; base and new classes go to classes.toml, for its --class-split.

    \b
    ccr-diag data split coco:/data/coco --split train2017 --shots 16 --splits 5 -o lists
    ccr-diag data split coco:/data/coco --split train2017 --class-split first-half -o lists
    """  # noqa: D301 (click wants the backspace itself)
    config, names = _asked(**asked)
    for name in names:
        check_output(output / name, overwrite, [])

    from ccr_diag.data.shared_lists import class_list, shots_list
    from ccr_diag.run_data import run_dataset

    with closing(Progress()) as progress:
        data = run_dataset(config, config.split, progress=progress)
    say_notes(data)
    texts = {
        name: class_list(data) if seed is None else shots_list(data, config.shots, seed)
        for name, seed in names.items()
    }
    for name, text in texts.items():  # nothing is written before all is known
        write(text, output / name)


def _asked(
    spec: str, shots: int | None, splits: int, **settings: Any
) -> tuple["FinetuneConfig", dict[str, int | None]]:
    """The settings of a run on these data, and the files to write: a seed each, None of classes."""
    from ccr_diag.config import FinetuneConfig
    from ccr_diag.errors import BadConfig

    config = FinetuneConfig(data=spec, shots=shots or 0, **settings)
    names: dict[str, int | None] = {}
    if config.class_split or config.new_classes:
        names[CLASSES] = None
    if shots:
        seeds = range(config.seed, config.seed + splits)
        names |= {f"shots-{shots}-seed-{seed}.txt": seed for seed in seeds}
    if not names:
        raise BadConfig(
            "A list is of images or of classes, but neither was asked for; add --shots, "
            "--class-split or --new-class."
        )
    if not shots and (splits, config.seed) != (1, 1):
        raise BadConfig(
            "--seed and --splits are of lists of images, but none were asked for; add --shots."
        )
    config.replace(seed=config.seed + splits - 1)  # the last one is a seed too
    return config, names
