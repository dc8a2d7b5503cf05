"""Runs + test images → every model's predictions and one results record, before and after tuning.

finished runs ──► text spaces (zero-shot, tuned) ──► predictions ──► measurements + geometry
──► results.json
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from ccr_diag.arrays import BIAS_RULES
from ccr_diag.backbone import Backbone
from ccr_diag.checkpoint import Checkpoint, load_checkpoint
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.errors import BadCheckpoint
from ccr_diag.metrics import geometry
from ccr_diag.metrics.geometry import SvdBasis, TextGeometry, modality_gap
from ccr_diag.metrics.measurement import measure_predictions
from ccr_diag.metrics.modality_gap import MAX_DRAWN_IMAGES
from ccr_diag.metrics.presets import Preset
from ccr_diag.metrics.presets import preset as find_preset
from ccr_diag.metrics.proximity import proximity
from ccr_diag.predict import OWN, TextSpace, predict, tuned_space, zero_shot_space
from ccr_diag.predictions import Predictions
from ccr_diag.records import Split, definitions_record, split_model_record
from ccr_diag.report import as_json
from ccr_diag.results import SCHEMA_VERSION, Results
from ccr_diag.runs import CHECKPOINT, PREDICTIONS, RESULTS, is_done, write_text

NEIGHBOURS = 5
DRAWN_FOR_FINDINGS = 50  # replicates of the first of several splits, whose intervals are not shown


@dataclass(frozen=True)
class Run:
    """The splits of one fine-tuning run, and the folder they came from."""

    folder: Path
    splits: tuple[Checkpoint, ...]


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
    on its own training scores. Zero-shot is read with the scale of the first run.
    """
    used = [run.splits[0].config.bias for run in runs]
    untrained = list(dict.fromkeys([bias for bias in used if bias != "learned"] + _prior(runs[0])))
    zero_shot = [
        tuple(zero_shot_space(c, backbone, bias) for c in runs[0].splits)
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


def _rules(run: Run, rule: str) -> list[str]:
    """The bias rules that a run is read through."""
    config = run.splits[0].config
    untrained = config.loss == "ranking" and config.bias != "prior"
    return [rule, *_prior(run)] if rule == OWN and untrained else [rule]


def _prior(run: Run) -> list[str]:
    """The prior rule, unless a split's training labels were all alike and gave none."""
    return ["prior"] if all("prior" in c.maps["zero-shot"] for c in run.splits) else []


def analyse(
    runs: Sequence[Run],
    backbone: Backbone,
    test: MultiLabelDataset,
    features: Float[Tensor, "images dim"],
    output: Path | None,
    *,
    rule: str = OWN,
    preset: str = "textbook",
    n_bins: int | None = None,
    n_bootstrap: int = 200,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Results:
    """Measure zero-shot and all runs on the test images; write predictions and ``results.json``.

    Intervals of several splits are over splits; findings are then of the first, which is drawn
    again only as often as they need.

    Args:
        runs: finished runs on one backbone and one class list.
        backbone: that backbone.
        test: the images to measure on.
        features: their unit features.
        output: folder for ``predictions/*.npz`` and ``results.json``; None to write nothing.
        rule: bias rule, see ``compared_models``.
        preset: definitions of the calibration errors, a key of ``PRESETS``.
        n_bins: bins of the calibration errors; the preset's when left out.
        n_bootstrap: replicates of the bootstrap over images; 0 for none.
        seed: of the bootstrap.
        progress: told models done and models in all.

    Raises:
        BadCheckpoint: another backbone or other classes than the data's.
        BadConfig: an unknown preset, or a number out of range.
    """
    for run in runs:
        for checkpoint in run.splits:
            checkpoint.require_backbone(backbone)
            checkpoint.require_classes(test.class_names)
    models = compared_models(runs, backbone, rule)
    zero_shot = models[0].spaces[0].embeddings.numpy()
    images = features.numpy()
    basis = SvdBasis.fit(images[:MAX_DRAWN_IMAGES], zero_shot)
    near = _proximity(images, find_preset(preset))
    chosen = {"preset": preset, "n_bins": n_bins, "seed": seed}
    measured: list[list[Split]] = []
    for i, model in enumerate(models):
        said = [_predictions(runs[0], space, features, test, near) for space in model.spaces]
        splits = [
            Split(
                space.seed,
                space.map,
                measure_predictions(predictions, n_bootstrap=drawn, **chosen),
                TextGeometry.compare(
                    zero_shot, space.embeddings.numpy(), test.class_names, k=NEIGHBOURS
                ),
                modality_gap(images, space.embeddings.numpy()),
                basis.coordinates(space.embeddings.numpy()),
            )
            for space, predictions, drawn in zip(
                model.spaces, said, _replicates(len(said), n_bootstrap), strict=True
            )
        ]
        if output is not None:
            _save(model, said, output / PREDICTIONS)
        measured.append(splits)
        progress(i + 1, len(models))
    first = measured[0][0]
    several = any(len(splits) > 1 for splits in measured)
    results: Results = {
        "schema_version": SCHEMA_VERSION,
        "definitions": definitions_record(first.measurement, several_splits=several)
        | {"geometry": geometry.definitions(first.geometry), "bias_rules": BIAS_RULES},
        "data": {"name": test.name, "split": test.split},
        "models": [
            split_model_record(model.name, splits)
            for model, splits in zip(models, measured, strict=True)
        ],
        "image_coordinates": basis.coordinates(images[:MAX_DRAWN_IMAGES]).tolist(),
    }
    if output is not None:
        write_text(output / RESULTS, as_json(results))
    return results


def _replicates(n_splits: int, n_bootstrap: int) -> list[int]:
    """Of each split."""
    if n_splits == 1:
        return [n_bootstrap]
    return [min(n_bootstrap, DRAWN_FOR_FINDINGS)] + [0] * (n_splits - 1)


def _save(model: Model, said: Sequence[Predictions], folder: Path) -> None:
    """One file a split."""
    stem = re.sub(r"[^a-z0-9]+", "-", model.name.lower()).strip("-")
    for space, predictions in zip(model.spaces, said, strict=True):
        predictions.save(folder / f"{stem}-split-{space.seed}.npz")


def _proximity(
    images: Float[np.ndarray, "images dim"], chosen: Preset
) -> Float[np.ndarray, " images"] | None:
    """How near each test image is to the others; a single image has none."""
    if len(images) < 2:
        return None
    return proximity(images, k=chosen.neighbours, variant=chosen.proximity)


def _predictions(
    run: Run,
    space: TextSpace,
    features: Float[Tensor, "images dim"],
    test: MultiLabelDataset,
    near: Float[np.ndarray, " images"] | None,
) -> Predictions:
    """Of one split, with what its run recorded of the classes."""
    first = run.splits[0]
    facts: dict[str, Any] = {"split_number": space.seed, "backbone": first.backbone}
    counts = first.facts.get("class_counts")
    return predict(
        space,
        features,
        test,
        first.groups,
        facts,
        class_counts=None if counts is None else np.array(counts, dtype=np.int64),
        proximity=near,
    )
