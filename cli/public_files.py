"""Public checkpoints on the command line: what is stated of them, since they do not say it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import PATH, Command, Option, stacked
from .progress import Progress

if TYPE_CHECKING:
    from ccr_diag.arrays import ProbabilityMap, Unlisted
    from ccr_diag.backbone import Backbone
    from ccr_diag.checkpoint import Checkpoint
    from ccr_diag.config import Position
    from ccr_diag.data.dataset import MultiLabelDataset
    from ccr_diag.predict import TextSpace
    from ccr_diag.public_checkpoints import PublicCheckpoint

OF_RUNS = ".safetensors"
# How scores become probabilities: by each model's own map, or by one rule for all.
RULES = ("own", "none", "model", "mean", "prior")
POSITIONS = ("end", "middle", "front")
STATED = ("model", "pretrained", "class_names", "position", "scale")  # options of public files


class RuleOrNumber(click.ParamType):  # type: ignore[type-arg] # older click has no argument
    """A bias rule as it stands, anything else as the bias itself."""

    name = "rule|number"
    in_toml = ("a rule in quotes or a number", (str, int, float))

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | float:
        """The rule or the number."""
        if value in RULES:
            return str(value)
        try:
            return float(value)
        except ValueError:
            self.fail(f"{value!r} is neither one of {', '.join(RULES)} nor a number.", param, ctx)


def map_and_public_options(command: Command) -> Command:
    """``--bias``, and what is stated of public files."""
    options: list[Option] = [
        click.option(
            "--bias", type=RuleOrNumber(), default="own", show_default=True,
            help="b of p = σ(τ·score + b): each model's own, or by one rule for all "
            f"({', '.join(RULES[1:])}); of public files their code's, 0, or a number.",
        ),
        click.option(
            "--scale", type=float,
            help="Public file: τ of that map.  [default: its code's: 4 of TaI-DPT, 200 of "
            "DualCoOp, else the CLIP's own]",
        ),
        click.option(
            "--model", help="Public file: the CLIP it was tuned on, in open_clip's words."
        ),
        click.option("--pretrained", help="Public file: weights of a built-in --model."),
        click.option(
            "--class-names", type=PATH,
            help="Public file with a context for each class: their names in its order, one a line.",
        ),
        click.option(
            "--position", type=click.Choice(POSITIONS),
            help="Public file: where the class name stood.  [default: end]",
        ),
    ]  # fmt: skip
    return stacked(options, command)


@dataclass(frozen=True, eq=False)
class PublicModels:
    """Public checkpoints on one backbone, ready to score one data set.

    Args:
        dataset: the images.
        backbone: the CLIP.
        spaces: the models.
        facts: of each, its provenance.
        zero_shot_map: what zero-shot beside them is read through.
    """

    dataset: "MultiLabelDataset"
    backbone: "Backbone"
    spaces: tuple["TextSpace", ...]
    facts: tuple[dict[str, Any], ...]
    zero_shot_map: "ProbabilityMap"


@dataclass(frozen=True, eq=False)
class PublicFiles:
    """Public checkpoints and the data set that they are to score, before any CLIP is loaded.

    Args:
        checkpoints: one a file.
        model: the CLIP that they were tuned on.
        dataset: the images.
        class_names: the classes of tuning in their order, where they were needed.
        bias: b, where it is stated.
    """

    checkpoints: tuple["PublicCheckpoint", ...]
    model: str
    dataset: "MultiLabelDataset"
    class_names: tuple[str, ...] | None
    bias: float | None


def is_run(path: Path) -> bool:
    """Whether a path is meant as a run of our own: a folder, or the file in it."""
    from ccr_diag.errors import BadCheckpoint

    if not path.exists():
        raise BadCheckpoint(
            f"A checkpoint must be a file or a run folder, but there is no {path}; check the path."
        )
    return path.is_dir() or path.suffix == OF_RUNS


def require_rule(path: Path, bias: str | float, stated: dict[str, Any]) -> str:
    """The bias rule of a run, which records what is stated of a public file."""
    from ccr_diag.errors import BadConfig

    for option, value in stated.items():
        if value is not None:
            flag = f"--{option.replace('_', '-')}"
            raise BadConfig(
                f"{flag} is stated of a public file, but {path} is a run, which records it; leave "
                f"{flag} out."
            )
    if isinstance(bias, float):
        raise BadConfig(
            f"--bias of a run must be one of {', '.join(RULES)}, but {path} is a run and got "
            f"{bias:g}; analyze predictions reads its predictions through any --scale and --bias."
        )
    return bias


def load_public(
    paths: Sequence[Path],
    data: str | None,
    split: str,
    unlisted: "Unlisted",
    bias: str | float,
    device: str,
    *,
    model: str | None,
    pretrained: str | None,
    class_names: Path | None,
    position: "Position | None",
    scale: float | None,
) -> PublicModels:
    """Public checkpoints as models; what can be refused without a backbone is refused first."""
    from ccr_diag.backbone import load_backbone
    from ccr_diag.public_models import public_map, public_provenance, public_space

    files = read_public(paths, data, split, unlisted, bias, model, class_names)
    checkpoints, dataset, b = files.checkpoints, files.dataset, files.bias
    backbone = load_backbone(files.model, pretrained, device)
    at: Position = position or "end"
    spaces = tuple(
        public_space(
            saved,
            backbone,
            dataset.class_names,
            public_map(saved.kind, backbone, scale, b),
            tuned_names=files.class_names,
            position=at,
        )
        for saved in checkpoints
    )
    facts = [public_provenance(saved, backbone, at, scale, b) for saved in checkpoints]
    for differs in dict.fromkeys(fact["differs"] for fact in facts if fact["differs"]):
        click.echo(f"Note: {differs}; scores are not exactly those published.", err=True)
    zero_shot = public_map(None, backbone, scale, b)
    return PublicModels(dataset, backbone, spaces, tuple(facts), zero_shot)


def read_public(
    paths: Sequence[Path],
    data: str | None,
    split: str,
    unlisted: "Unlisted",
    bias: str | float,
    model: str | None,
    class_names: Path | None,
) -> PublicFiles:
    """Public checkpoints and their data, with all that can be refused without a backbone."""
    from ccr_diag.data import load_dataset
    from ccr_diag.embeddings import read_class_names
    from ccr_diag.errors import BadConfig
    from ccr_diag.public_checkpoints import read_public_checkpoint
    from ccr_diag.public_models import require_names, require_scored

    names = None if class_names is None else read_class_names(class_names)
    checkpoints = tuple(read_public_checkpoint(path) for path in paths)
    for saved in checkpoints:
        require_scored(saved)
        require_names(saved, names)
    b = _number(paths[0], bias)
    if model is None or data is None:
        missing = [f"--{k}" for k, v in (("model", model), ("data", data)) if v is None]
        raise BadConfig(
            f"A public file names neither the CLIP that it was tuned on nor images to score; add "
            f"{' and '.join(missing)} for {paths[0]}."
        )
    dataset = load_dataset(data, split, unlisted, Progress())
    return PublicFiles(checkpoints, model, dataset, names, b)


def public_lines(
    paths: Sequence[Path],
    data: str | None,
    split: str,
    unlisted: "Unlisted",
    bias: str | float,
    device: str,
    stated: dict[str, Any],
) -> list[str]:
    """What ``--dry-run`` says of scoring with public checkpoints."""
    from ccr_diag.plan import scoring_lines

    files = read_public(paths, data, split, unlisted, bias, stated["model"], stated["class_names"])
    return [*scoring_lines(paths, files.dataset, (), files.model, device, stated["pretrained"])]


def run_lines(
    runs: Sequence["Checkpoint"], data: str | None, split: str, unlisted: "Unlisted", device: str
) -> list[str]:
    """What ``--dry-run`` says of scoring with runs of our own."""
    from ccr_diag.plan import scoring_lines
    from ccr_diag.run_data import checkpoint_dataset

    first, paths = runs[0], [run.path for run in runs]
    config = first.config
    dataset = checkpoint_dataset(first, split, data, unlisted, others=runs, progress=Progress())
    return [
        *scoring_lines(
            paths, dataset, first.groups, config.model, device, config.pretrained or None,
            config.precision,
        )
    ]  # fmt: skip


def _number(path: Path, bias: str | float) -> float | None:
    """The bias of a public file, which has no scores that a rule could be fitted on."""
    from ccr_diag.errors import BadConfig

    if bias == "own":
        return None
    if isinstance(bias, str):
        raise BadConfig(
            f"--bias of a public file must be own or a number, as {path} records no scores that a "
            f"rule could be fitted on, but got {bias!r}."
        )
    return bias
