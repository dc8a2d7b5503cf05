"""One run, from a config to a finished run folder.

load data and backbone → draw the shots, with their features → probability map → tune → checkpoint
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ccr_diag.arrays import PRESENT, UNKNOWN, Labels, ProbabilityMap, fit_map
from ccr_diag.backbone import Backbone
from ccr_diag.checkpoint import Checkpoint, load_checkpoint, restore, save_checkpoint
from ccr_diag.config import FinetuneConfig, load_config
from ccr_diag.covariance import CENTRED
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.data.groups import class_counts, class_groups
from ccr_diag.epoch_log import append_epoch
from ccr_diag.errors import BadCheckpoint, BadConfig, BadData
from ccr_diag.frameworks import FRAMEWORKS
from ccr_diag.frameworks.framework import Framework
from ccr_diag.losses import REGULARIZERS
from ccr_diag.progress import Progress, silent
from ccr_diag.prompts import zero_shot_embeddings
from ccr_diag.runs import CHECKPOINT, CONFIG, DONE, EXAMPLES, is_done, versions, write_text
from ccr_diag.shots import Shots, draw_shots
from ccr_diag.trackers import TrackedRun, reporting, require
from ccr_diag.tune import Tuning, start_tuning, tune


def finetune(
    config: FinetuneConfig,
    folder: Path,
    *,
    backbone: Backbone,
    train: MultiLabelDataset,
    progress: Progress = silent,
    report_to: Sequence[str] = (),
) -> Path:
    """Tune on a data set's training split and leave a finished run in ``folder``.

    A folder that holds an unfinished run of the same config is gone on with; a finished one is left
    as it is.

    Args:
        config: the settings.
        folder: the run folder.
        backbone: the frozen CLIP that the config names.
        train: the training split that the config names, with its new classes marked.
        progress: told the stage, the units done and the units in all.
        report_to: names of trackers, each told every epoch that is run.

    Returns:
        The checkpoint file.

    Raises:
        BadConfig: the folder holds a run of another config.
        BadCheckpoint: it holds a run of other classes or examples, or of another backbone.
        BadData: no base class is left to tune on, or one has no example.
        MissingExtra: a tracker is not installed.
        RunFailed: the loss stopped being a number, or no space is left.
    """
    require(report_to)
    base = ~train.new
    if not base.any():
        raise BadData(
            f"Tuning needs base classes, but all {len(base)} classes are declared new; "
            "declare fewer."
        )
    _check_new_classes(config, train)
    _check_settings(folder, config)
    if is_done(folder):
        _require_classes(load_checkpoint(folder), train)
        return folder / CHECKPOINT
    zero_shot = zero_shot_embeddings(backbone, train.class_names)[base]
    framework, regularizer = _what_acts(config, backbone, train, zero_shot)
    shots = draw_shots(config, backbone, train, progress, partial(_check_labels, config, train))
    scale = config.scale or framework.SCALE or backbone.scale
    zero_shot_scores = (shots.features @ zero_shot.T).numpy()
    first_scores = zero_shot_scores if framework.SCALE is None else _scores(framework, shots)
    start = fit_map(config.bias, scale, first_scores, shots.labels, backbone.bias)
    tuning = start_tuning(framework, start.bias, config)
    facts = _facts(config, backbone, train, shots) | _of_start(start, first_scores, shots)
    facts["maps"] = {"zero-shot": _maps(config, backbone, None, zero_shot_scores, shots)}
    path = folder / CHECKPOINT
    if path.exists():
        saved = load_checkpoint(path)
        saved.require_backbone(backbone)
        _require_classes(saved, train)
        _require_examples(saved, shots)
        restore(tuning, saved)
    write_text(folder / CONFIG, config.to_toml())  # nothing is written before all is known to fit
    write_text(folder / EXAMPLES, "".join(f"{name}\n" for name in shots.ids))
    with reporting(report_to, TrackedRun(folder, config)) as report:
        for record in tune(
            tuning,
            shots.seen,
            torch.from_numpy(shots.labels),
            scale,
            regularizer,
            config,
            lambda done, total: progress("steps", done, total),
            zero_shot,
        ):
            # The log first: an epoch that is logged but not saved is run, and logged, again.
            append_epoch(folder, record)
            save_checkpoint(path, tuning, facts)
            report(record.as_dict())
    _finish(folder, tuning, facts, config, backbone, shots, scale)
    return path


def _require_classes(saved: Checkpoint, train: MultiLabelDataset) -> None:
    """Refuse to go on with other base or new classes than the run began with."""
    if (saved.class_names, saved.new) != (train.class_names, train.new_names):
        raise BadCheckpoint(
            "A run goes on with the base and new classes it began with, but those of the data or "
            f"of its class split are no longer those of {saved.path}; choose another --output or "
            "add --overwrite."
        )


def _require_examples(saved: Checkpoint, shots: Shots) -> None:
    """Refuse to go on with other training examples than the run began with."""
    if saved.facts.get("examples") != _examples(shots):
        raise BadCheckpoint(
            f"A run goes on with the examples it began with, but images, captions or labels are no "
            f"longer those of {saved.path}; choose another --output or add --overwrite."
        )


def _check_labels(config: FinetuneConfig, train: MultiLabelDataset, labels: Labels) -> None:
    """Refuse examples that nothing could be learned from.

    A covariance of one example is 0 whatever it shows, and a base class that no example shows would
    only be learned as absent.
    """
    if config.regularizer == "ccr" and CENTRED[config.estimator] and len(labels) == 1:
        raise BadConfig(
            "A centred estimator of CCR needs 2 training examples or more, but got "
            f"{config.estimator!r} with 1; raise shots, or take an uncentred estimator."
        )
    names = [n for n, new in zip(train.class_names, train.new, strict=True) if not new]
    shown = (labels == PRESENT).any(axis=0)
    unseen = [name for name, there in zip(names, shown, strict=True) if not there]
    if unseen:
        first = ", ".join(unseen[:5]) + (", …" if len(unseen) > 5 else "")
        raise BadData(
            f"Each base class needs {FRAMEWORKS[config.framework].TRAINED_ON} that show it, but "
            f"{len(unseen)} of {len(names)} have none ({first}); add some, or leave the class out "
            "with --new-class."
        )


def _what_acts(
    config: FinetuneConfig,
    backbone: Backbone,
    train: MultiLabelDataset,
    zero_shot: Float[Tensor, "base dim"],
) -> tuple[Framework, nn.Module | None]:
    """The framework of the base classes, and the regularizer if there is one."""
    names = [n for n, new in zip(train.class_names, train.new, strict=True) if not new]
    framework = FRAMEWORKS[config.framework](backbone, names, config)
    if config.regularizer == "none":
        return framework, None
    make = REGULARIZERS[config.regularizer]
    return framework, make(config, backbone, framework, names, zero_shot.to(backbone.device))


def _scores(framework: Framework, shots: Shots) -> Float[np.ndarray, "shots classes"]:
    """Of the training examples, as the framework now is."""
    with torch.no_grad():
        return framework.scores_of_all(shots.seen, framework.text_embeddings()).numpy()


def _check_settings(folder: Path, config: FinetuneConfig) -> None:
    """Refuse to go on with a run of other settings."""
    path = folder / CONFIG
    if path.exists() and load_config(path) != config:
        raise BadConfig(
            f"A run goes on with the settings it began with, but {path} holds others; choose "
            "another --output or add --overwrite."
        )


def _check_new_classes(config: FinetuneConfig, train: MultiLabelDataset) -> None:
    """Refuse contexts of classes' own that would be noise for a class that is never tuned."""
    if config.class_specific and not config.context_init and train.new.any():
        name = train.class_names[int(train.new.argmax())]
        raise BadConfig(
            "A class that is not tuned keeps the context that its own started from, which needs "
            f"a phrase, but got class_specific, a random start and new class {name!r}; "
            "give context_init or leave class_specific out."
        )


def _maps(
    config: FinetuneConfig,
    backbone: Backbone,
    scale: float | None,
    scores: Float[np.ndarray, "shots classes"],
    shots: Shots,
) -> dict[str, dict[str, Any]]:
    """The map of each bias rule that these training scores and labels allow.

    Args:
        config: of the run.
        backbone: its own bias is a rule, if it has one.
        scale: τ; None for that of cosines.
        scores: of the training examples.
        shots: their labels.
    """
    labels, rules = shots.labels, ["none"]
    if FRAMEWORKS[config.framework].TRAINED_ON != "captions":  # scores of images are others
        rules.append("mean")
        if len(np.unique(labels[labels != UNKNOWN])) == 2:
            rules.append("prior")
    if backbone.bias is not None:
        rules.append("model")
    scale = scale or config.scale or backbone.scale
    return {rule: fit_map(rule, scale, scores, labels, backbone.bias).as_dict() for rule in rules}


def _facts(
    config: FinetuneConfig, backbone: Backbone, train: MultiLabelDataset, shots: Shots
) -> dict[str, Any]:
    """What a checkpoint records of the run, beside its tensors and maps."""
    return {
        "config": config.as_dict(),
        "class_names": list(train.class_names),
        "new": list(train.new_names),
        "groups": list(class_groups(train.labels, train.new)),
        "class_counts": class_counts(train.labels).tolist(),
        "backbone": {"name": backbone.name, "fingerprint": backbone.fingerprint},
        "examples": _examples(shots),
        "shots": (shots.labels == PRESENT).sum(axis=0).tolist(),
        "versions": versions(),
    }


def _examples(shots: Shots) -> dict[str, Any]:
    """Which they are; their names stand in a file of their own."""
    return {"number": len(shots.ids), "sha256": shots.digest}


def _of_start(
    start: ProbabilityMap, scores: Float[np.ndarray, "shots classes"], shots: Shots
) -> dict[str, Any]:
    """The map that training begins with, and how near it is to the labels."""
    known = shots.labels != UNKNOWN
    return {
        "map": start.as_dict(),
        "prior": float((shots.labels == PRESENT)[known].mean()),
        "start_probability": float(start.probabilities(scores)[known].mean()),
    }


def _finish(
    folder: Path,
    tuning: Tuning,
    facts: dict[str, Any],
    config: FinetuneConfig,
    backbone: Backbone,
    shots: Shots,
    scale: float,
) -> None:
    """Fit the maps of the tuned scores, save for the last time, and mark the run as done."""
    scores = _scores(tuning.framework, shots)
    facts["maps"]["tuned"] = _maps(config, backbone, scale, scores, shots)
    if config.loss == "ranking" and config.bias != "learned":
        facts["map"] = facts["maps"]["tuned"][config.bias]
    elif config.bias == "learned":
        facts["map"] = ProbabilityMap(scale, float(tuning.bias.detach()), "learned").as_dict()
    save_checkpoint(folder / CHECKPOINT, tuning, facts)
    write_text(folder / DONE, "")
