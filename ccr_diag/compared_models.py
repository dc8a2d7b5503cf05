"""Folders of finished runs → the models that are compared, before and after tuning."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ccr_diag.backbone import Backbone
from ccr_diag.checkpoint import Checkpoint, load_checkpoint
from ccr_diag.errors import BadCheckpoint
from ccr_diag.frameworks import FRAMEWORKS
from ccr_diag.predict import OWN, TextSpace, tuned_space, zero_shot_space
from ccr_diag.runs import CHECKPOINT, is_done


@dataclass(frozen=True)
class Run:
    """The splits of one fine-tuning run, and the folder they came from."""

    folder: Path
    splits: tuple[Checkpoint, ...]

    @property
    def local(self) -> bool:
        """Whether its framework scores positions, so that it needs ``local_features``."""
        return FRAMEWORKS[self.splits[0].config.framework].LOCAL


@dataclass(frozen=True)
class Model:
    """One row of the comparison: the text space of each split, read through one bias rule."""

    name: str
    spaces: tuple[TextSpace, ...]


def load_runs(folders: Sequence[Path]) -> list[Run]:
    """Finished runs, each a folder of ``split-…`` folders or one such folder, in the order given.

    Raises:
        BadCheckpoint: a folder without a run, an unfinished run, a split that is named twice,
            splits of different settings in one run, or runs with different class groups.
    """
    runs: list[Run] = []
    for folder in folders:
        splits = sorted(folder.glob(f"split-*/{CHECKPOINT}"), key=_split_number)
        checkpoints = tuple(load_checkpoint(path) for path in splits) or (load_checkpoint(folder),)
        for checkpoint in checkpoints:
            if not is_done(checkpoint.path.parent):
                raise BadCheckpoint(
                    f"Only a finished run can be analysed, but {checkpoint.path.parent} stands at "
                    f"epoch {checkpoint.epoch} of {checkpoint.config.epochs}; "
                    "go on with finetune --resume."
                )
        runs.append(Run(folder, checkpoints))
    _check_comparable(runs)
    return runs


def _check_comparable(runs: Sequence[Run]) -> None:
    """Every split once, one method a run, and the same class groups everywhere."""
    seen: set[Path] = set()
    for run in runs:
        first = run.splits[0]
        for split in run.splits:
            if split.path.resolve() in seen:
                raise BadCheckpoint(f"Each run is compared once, but {split.path} is named twice.")
            seen.add(split.path.resolve())
            if split.config.replace(seed=first.config.seed) != first.config:
                raise BadCheckpoint(
                    f"The splits of a run must differ in their seed alone, but {split.path.parent} "
                    f"has other settings than {first.path.parent}; keep them in folders apart."
                )
            if split.groups != runs[0].splits[0].groups:
                raise BadCheckpoint(
                    "Runs that are compared must have the same head, medium, tail and new classes, "
                    f"but {split.path.parent} has others than {runs[0].splits[0].path.parent}."
                )


def _split_number(path: Path) -> int:
    return int(re.sub(r"\D", "", path.parent.name) or 0)


def compared_models(runs: Sequence[Run], backbone: Backbone, rule: str = OWN) -> list[Model]:
    """The rows of the comparison, each under a name of its own.

    With ``own`` each run is read through the map it was trained with. Zero-shot scores have none:
    they are shown through the rules of the runs and through the prior rule; so are ranking scores,
    which no map was trained with. With another rule every model is read through that rule, fitted
    on its own training scores. Zero-shot is read with the scale and bias of the first run that has
    them: one tuned on captions has no scores of images.
    """
    used = [run.splits[0].config.bias for run in runs]
    rules = [bias for bias in used if bias != "learned"]
    untrained = list(dict.fromkeys(rules + [prior for run in runs for prior in _prior(run)]))
    zero_shot = [
        tuple(zero_shot_space(c, backbone, bias) for c in _with_rule(runs, bias).splits)
        for bias in (untrained if rule == OWN else [rule])
    ]
    tuned = [
        (run.folder, tuple(tuned_space(c, backbone, bias) for c in run.splits))
        for run in runs
        for bias in _rules(run, rule)
    ]
    names = [spaces[0].name for _, spaces in tuned]
    short = len({run.folder.name for run in runs}) == len(runs)
    return [
        *(Model(spaces[0].name, spaces) for spaces in zero_shot),
        *(
            Model(
                f"{name} [{folder.name if short else folder}]" if names.count(name) > 1 else name,
                spaces,
            )
            for name, (folder, spaces) in zip(names, tuned, strict=True)
        ),
    ]


def _with_rule(runs: Sequence[Run], bias: str) -> Run:
    """The first run that recorded zero-shot's map by this rule, or the first of all."""
    having = (run for run in runs if all(bias in c.maps["zero-shot"] for c in run.splits))
    return next(having, runs[0])


def _rules(run: Run, rule: str) -> list[str]:
    """The bias rules that a run is read through."""
    config = run.splits[0].config
    untrained = config.loss == "ranking" and config.bias != "prior"
    return [rule, *_prior(run)] if rule == OWN and untrained else [rule]


def _prior(run: Run) -> list[str]:
    """The prior rule, unless a split's training labels were all alike and gave none."""
    return ["prior"] if all("prior" in c.maps["zero-shot"] for c in run.splits) else []
