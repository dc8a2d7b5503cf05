"""What a run saves: learned tensors and the facts to rebuild from, in one safetensors file.

The file serves both to go on with an unfinished run (optimizer state, epoch) and to analyse a
finished one. Nothing in it is ever executed.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ccr_diag.arrays import ProbabilityMap
from ccr_diag.backbone import Backbone
from ccr_diag.config import FinetuneConfig, config_from_dict
from ccr_diag.errors import BadCheckpoint
from ccr_diag.runs import CHECKPOINT, write_atomically
from ccr_diag.tune import Tuning

SCHEMA = 1


@dataclass(frozen=True)
class Checkpoint:
    """A run as saved.

    Args:
        path: the file.
        config: its settings.
        class_names: all classes of the data set, in the order of its labels.
        new: names of the classes that tuning never saw.
        groups: head, medium, tail or new, a class.
        epoch: epochs done.
        map: the probability map that the run was trained with (of a ranking run: fitted afterwards
            by its bias rule).
        maps: ``maps["zero-shot"|"tuned"][rule]``, each rule's map for zero-shot and for tuned
            training scores.
        backbone: name and fingerprint of the frozen CLIP.
        facts: everything else that was recorded (shots, versions, …).
        tensors: learned tensors and optimizer state.
    """

    path: Path
    config: FinetuneConfig
    class_names: tuple[str, ...]
    new: tuple[str, ...]
    groups: tuple[str, ...]
    epoch: int
    map: ProbabilityMap
    maps: dict[str, dict[str, ProbabilityMap]]
    backbone: dict[str, str]
    facts: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def learned(self) -> dict[str, Tensor]:
        """The framework's own tensors, by their names there."""
        prefix = "framework."
        return {
            key.removeprefix(prefix): tensor
            for key, tensor in self.tensors.items()
            if key.startswith(prefix)
        }

    def require_backbone(self, backbone: Backbone) -> None:
        """Refuse a backbone other than the one the run was tuned on."""
        if self.backbone["fingerprint"] != backbone.fingerprint:
            raise BadCheckpoint(
                "A checkpoint must be read with the backbone it was tuned on, "
                f"{self.backbone['name']} ({self.backbone['fingerprint'][:12]}), "
                f"but {backbone.name} ({backbone.fingerprint[:12]}) was loaded for {self.path}; "
                "give the --model and --pretrained of the run."
            )

    def require_classes(self, class_names: tuple[str, ...]) -> None:
        """Refuse a data set whose classes are not the checkpoint's, in its order."""
        if self.class_names != class_names:
            odd = sorted(set(self.class_names) ^ set(class_names))
            difference = f"the sets differ in {', '.join(odd[:5])}" if odd else "the order differs"
            raise BadCheckpoint(
                f"The data must have the {len(self.class_names)} classes of checkpoint {self.path} "
                f"in its order, but {difference}; analyse it on the data set it was tuned on."
            )


def save_checkpoint(path: Path, tuning: Tuning, facts: dict[str, Any]) -> None:
    """Write the state of a run, whole or not at all."""
    tensors = {f"framework.{k}": v for k, v in tuning.framework.state_dict().items()}
    tensors["bias"] = tuning.bias.detach()
    for i, parameter in enumerate(tuning.learned):
        buffer = tuning.optimizer.state[parameter].get("momentum_buffer")
        if buffer is not None:
            tensors[f"momentum.{i}"] = buffer
    tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    header = {"ccr_diag": json.dumps({"schema": SCHEMA, "epoch": tuning.epoch} | facts)}
    write_atomically(path, lambda partial: save_file(tensors, partial, metadata=header))


def restore(tuning: Tuning, checkpoint: Checkpoint) -> None:
    """Put a run back to where its checkpoint stands."""
    tuning.framework.load_state_dict(checkpoint.learned)
    tuning.bias.data.copy_(checkpoint.tensors["bias"])
    for i, parameter in enumerate(tuning.learned):
        buffer = checkpoint.tensors.get(f"momentum.{i}")
        if buffer is not None:
            tuning.optimizer.state[parameter]["momentum_buffer"] = buffer.to(
                parameter.device
            ).clone()
    tuning.epoch = checkpoint.epoch


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint file, or the one in a run folder.

    Raises:
        BadCheckpoint: missing, damaged, pickled, or not written by this program.
    """
    path = path / CHECKPOINT if path.is_dir() else path
    if not path.is_file():
        raise BadCheckpoint(
            f"A checkpoint must be a file or a run folder that holds {CHECKPOINT}, "
            f"but there is no {path}."
        )
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get("ccr_diag")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise BadCheckpoint(
            f"A checkpoint must be a whole safetensors file, but {path} is damaged or of another "
            f"kind ({error}); run finetune again."
        ) from error
    if header is None:
        raise BadCheckpoint(
            "A checkpoint must be one that ccr-diag finetune wrote, "
            f"but {path} has no ccr_diag header."
        )
    try:
        return _from_header(path, json.loads(header), tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise BadCheckpoint(
            f"A checkpoint must be one that ccr-diag finetune wrote, but the header of {path} is "
            f"damaged ({type(error).__name__}: {error})."
        ) from error


def _from_header(path: Path, facts: dict[str, Any], tensors: dict[str, Tensor]) -> Checkpoint:
    """The record of a file's header and tensors."""
    if facts["schema"] != SCHEMA:
        raise BadCheckpoint(
            f"This version reads checkpoints of schema {SCHEMA}, but {path} has {facts['schema']}; "
            f"use the ccr-diag version it names: {facts.get('versions')}."
        )
    return Checkpoint(
        path=path,
        config=config_from_dict(facts["config"]),
        class_names=tuple(facts["class_names"]),
        new=tuple(facts["new"]),
        groups=tuple(facts["groups"]),
        epoch=facts["epoch"],
        map=ProbabilityMap(**facts["map"]),
        maps={
            of: {rule: ProbabilityMap(**m) for rule, m in maps.items()}
            for of, maps in facts["maps"].items()
        },
        backbone=facts["backbone"],
        facts=facts,
        tensors=tensors,
    )
