"""Runs + test images → every model's predictions and one results record, before and after tuning.

finished runs ──► text spaces (zero-shot, tuned) ──► predictions ──► measurements + geometry
──► results.json
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
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
from ccr_diag.metrics.geometry import (
    SvdBasis,
    embedding_divergence,
    modality_gap,
    neighbourhood_preservation,
)
from ccr_diag.metrics.intervals import over_splits
from ccr_diag.metrics.table import METRICS, measure
from ccr_diag.predict import OWN, TextSpace, predict, tuned_space, zero_shot_space
from ccr_diag.results import SCHEMA, Results
from ccr_diag.runs import CHECKPOINT, PREDICTIONS, RESULTS, is_done, write_text

NEIGHBOURS = 5
MAX_DRAWN_IMAGES = 500

DEFINITIONS = {
    "ece_positive": (
        "confidence p against y, over all known (image, class) entries of the group; "
        "equal-width bins"
    ),
    "ece_decision": (
        "confidence max(p, 1 − p) against whether the decision p ≥ 0.5 is right; equal-width bins"
    ),
    "mce": "largest bin gap (positive convention)",
    "mce_weighted": "largest product of a bin's share of entries and its gap (positive convention)",
    "signed_error": "mean p − mean y; above 0 over-confident, below 0 under-confident",
    "mAP": "mean over classes of average precision",
    "ED": (
        f"mean over classes of the mean cosine distance to the {NEIGHBOURS} nearest other class "
        "text embeddings"
    ),
    "NP@5": (
        f"mean over classes of the share of the {NEIGHBOURS} nearest classes that are also the "
        "nearest in zero-shot space"
    ),
    "gap": "distance between the mean unit image feature and the mean unit class text embedding",
    "interval": "95 % Student-t interval over splits",
}


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
    output: Path,
    *,
    rule: str = OWN,
    n_bins: int = 15,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Results:
    """Measure zero-shot and all runs on the test images; write predictions and ``results.json``.

    Args:
        runs: finished runs on one backbone and one class list.
        backbone: that backbone.
        test: the images to measure on.
        features: their unit features.
        output: folder for ``predictions/*.npz`` and ``results.json``.
        rule: bias rule, see ``compared_models``.
        n_bins: bins of the calibration errors.
        progress: told models done and models in all.

    Raises:
        BadCheckpoint: another backbone or other classes than the data's.
    """
    for run in runs:
        for checkpoint in run.splits:
            checkpoint.require_backbone(backbone)
            checkpoint.require_classes(test.class_names)
    groups = runs[0].splits[0].groups
    models = compared_models(runs, backbone, rule)
    zero_shot = models[0].spaces[0].embeddings.numpy()
    images = features.numpy()
    basis = SvdBasis.fit(images[:MAX_DRAWN_IMAGES], zero_shot)
    rows = []
    for i, model in enumerate(models):
        splits = []
        for space in model.spaces:
            number = space.seed
            facts = {"split_number": number, "backbone": runs[0].splits[0].backbone}
            predictions = predict(space, features, test, groups, facts)
            predictions.save(output / PREDICTIONS / f"{_file_name(model.name)}-split-{number}.npz")
            measurements = measure(predictions, n_bins).to_json()
            geometry = _geometry(space.embeddings.numpy(), zero_shot, images, basis)
            splits.append(
                {
                    "split": number,
                    "map": space.map.as_dict(),
                    "measurements": measurements,
                    "geometry": geometry,
                }
            )
        rows.append(_model_record(model, splits))
        progress(i + 1, len(models))
    results: Results = {
        "schema": SCHEMA,
        "definitions": DEFINITIONS
        | {"map": "p = σ(scale·s + bias)"}
        | {f"bias rule {k}": v for k, v in BIAS_RULES.items()},
        "bins": n_bins,
        "data": {"name": test.name, "split": test.split, "images": len(test)},
        "classes": list(test.class_names),
        "groups": list(groups),
        "models": rows,
        "image_coordinates": basis.coordinates(images[:MAX_DRAWN_IMAGES]).tolist(),
    }
    write_text(output / RESULTS, json.dumps(results, indent=1) + "\n")
    return results


def _file_name(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def label(name: str) -> str:
    """A model's name as tables and figures show it: ``bce+ccr`` is “BCE + CCR”."""
    shown = name.replace("+", " + ").replace("bce", "BCE").replace("ccr", "CCR")
    return shown[0].upper() + shown[1:]


def _geometry(
    text: Float[np.ndarray, "classes dim"],
    zero_shot: Float[np.ndarray, "classes dim"],
    images: Float[np.ndarray, "images dim"],
    basis: SvdBasis,
) -> dict[str, Any]:
    """What tuning did to one text space."""
    return {
        "divergence": embedding_divergence(text, NEIGHBOURS).tolist(),
        "preservation": neighbourhood_preservation(zero_shot, text, NEIGHBOURS).tolist(),
        "gap": modality_gap(images, text),
        "coordinates_text": basis.coordinates(text).tolist(),
    }


def _model_record(model: Model, splits: list[dict[str, Any]]) -> dict[str, Any]:
    """One model's splits and their summary."""
    values = [split["measurements"]["values"] for split in splits]
    geometry = [split["geometry"] for split in splits]
    return {
        "name": model.name,
        "label": label(model.name),
        "map_rule": model.spaces[0].map.rule,
        "splits": splits,
        "summary": {
            group: {
                metric: asdict(over_splits([v[group][metric] for v in values]))
                for metric in METRICS
            }
            for group in values[0]
        },
        "geometry_summary": {
            "ED": asdict(over_splits([float(np.mean(g["divergence"])) for g in geometry])),
            "NP@5": asdict(over_splits([float(np.mean(g["preservation"])) for g in geometry])),
            "gap": asdict(over_splits([g["gap"] for g in geometry])),
        },
    }
