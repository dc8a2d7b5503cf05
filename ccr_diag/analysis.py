"""Runs + test images → every model's predictions and one results record, before and after tuning.

finished runs ──► text spaces (zero-shot, tuned) ──► predictions ──► measurements + geometry
──► results.json
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int8
from torch import Tensor

from ccr_diag.arrays import BIAS_RULES, PRESENT
from ccr_diag.backbone import Backbone
from ccr_diag.class_pairs import class_matrices
from ccr_diag.compared_models import Model, Run, compared_models
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.differences import differences_over_splits
from ccr_diag.features import local_features
from ccr_diag.metrics import geometry
from ccr_diag.metrics.engine import measure_predictions
from ccr_diag.metrics.geometry import SvdBasis, TextGeometry, modality_gap
from ccr_diag.metrics.measurement import Measurement
from ccr_diag.metrics.modality_gap import MAX_DRAWN_IMAGES
from ccr_diag.metrics.presets import Preset
from ccr_diag.metrics.presets import preset as find_preset
from ccr_diag.metrics.proximity import proximity
from ccr_diag.predict import OWN, TextSpace
from ccr_diag.predictions import Predictions
from ccr_diag.progress import UnitProgress, silent
from ccr_diag.records import Plain, Split, definitions_record, split_model_record
from ccr_diag.report_layout import as_json
from ccr_diag.results import SCHEMA_VERSION, Results
from ccr_diag.run_predictions import run_predictions
from ccr_diag.runs import MATRICES, PREDICTIONS, RESULTS, split_file, write_text

NEIGHBOURS = 5
DRAWN_FOR_FINDINGS = 50  # replicates of the first of several splits, whose intervals are not shown


@dataclass(frozen=True, eq=False)
class ZeroShot:
    """The text space that every model is held against, among the images.

    Args:
        texts: class text embeddings before tuning.
        class_names: one per row.
        images: the features of all test images.
        basis: the plane that all models are drawn in.
    """

    texts: Float[np.ndarray, "classes dim"]
    class_names: tuple[str, ...]
    images: Float[np.ndarray, "images dim"]
    basis: SvdBasis

    @classmethod
    def of(
        cls,
        space: TextSpace,
        class_names: tuple[str, ...],
        images: Float[np.ndarray, "images dim"],
    ) -> "ZeroShot":
        """The zero-shot space, and the plane of its texts and the first images."""
        texts = space.embeddings.numpy()
        return cls(texts, class_names, images, SvdBasis.fit(images[:MAX_DRAWN_IMAGES], texts))

    @property
    def image_coordinates(self) -> list[list[float]]:
        """Of the images that are drawn."""
        found: list[list[float]] = self.basis.coordinates(self.images[:MAX_DRAWN_IMAGES]).tolist()
        return found

    def class_image_coordinates(
        self, labels: Int8[np.ndarray, "images classes"]
    ) -> list[list[float] | None]:
        """Of the mean unit image of each class, over all images; None where no image shows it."""
        coordinates, shown = self.basis.coordinates(self.images), labels == PRESENT
        sums, counts = shown.T.astype(np.float64) @ coordinates, shown.sum(axis=0)
        return [(total / n).tolist() if n else None for total, n in zip(sums, counts, strict=True)]


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
    made: Plain | None = None,
    progress: UnitProgress = silent,
    scoring: UnitProgress = silent,
) -> Results:
    """Measure zero-shot and all runs on the test images; write predictions and ``results.json``.

    Intervals of several splits are over splits; findings are then of the first, which is drawn
    again only as often as they need.

    Args:
        runs: finished runs on one backbone and one class list.
        backbone: that backbone.
        test: the images to measure on.
        features: their unit features; local ones, if a run scores them, come from the cache.
        output: folder for ``predictions/*.npz`` and ``results.json``; None to write nothing.
        rule: bias rule, see ``compared_models``.
        preset: definitions of the calibration errors, a key of ``PRESETS``.
        n_bins: bins of the calibration errors; the preset's when left out.
        n_bootstrap: replicates of the bootstrap over images; 0 for none.
        seed: of the bootstrap.
        made: what the results are made from, see ``provenance``.
        progress: told models done and models in all.
        scoring: told images scored and images in all, by a framework that takes long over them.

    Raises:
        BadCheckpoint: another backbone or other classes than the data's.
        BadConfig: an unknown preset, or a number out of range.
    """
    for run in runs:
        for checkpoint in run.splits:
            checkpoint.require_backbone(backbone)
            checkpoint.require_classes(test.class_names)
    models = compared_models(runs, backbone, rule)
    seen = {False: features}
    if any(run.local for run in runs):
        seen[True] = local_features(backbone, test)

    def score(space: TextSpace, near: Float[np.ndarray, " images"] | None) -> Predictions:
        first = runs[0].splits[0]
        return run_predictions(
            first, space, seen[space.local], test, proximity=near, progress=scoring
        )

    return analyse_models(
        models,
        score,
        test,
        features,
        output,
        preset=preset,
        n_bins=n_bins,
        n_bootstrap=n_bootstrap,
        seed=seed,
        made=made,
        progress=progress,
    )


def analyse_models(
    models: Sequence[Model],
    score: Callable[[TextSpace, Float[np.ndarray, " images"] | None], Predictions],
    test: MultiLabelDataset,
    features: Float[Tensor, "images dim"],
    output: Path | None,
    *,
    preset: str = "textbook",
    n_bins: int | None = None,
    n_bootstrap: int = 200,
    seed: int = 0,
    made: Plain | None = None,
    progress: UnitProgress = silent,
) -> Results:
    """Measure models on the test images; see ``analyse``.

    Args:
        models: zero-shot first.
        score: the predictions of one model, given the proximity of the images if they have any.
        test: the images.
        features: their unit features.
        output: folder to write to, if any.
        preset: as for ``analyse``, and so is what follows.
        n_bins: bins.
        n_bootstrap: replicates.
        seed: of the bootstrap.
        made: what they are made from.
        progress: told models done and models in all.
    """
    zero_shot = ZeroShot.of(models[0].spaces[0], test.class_names, features.numpy())
    near = image_proximity(zero_shot.images, find_preset(preset))
    chosen = {"preset": preset, "n_bins": n_bins, "seed": seed}
    measured: list[list[Split]] = []
    for i, model in enumerate(models):
        said = [score(space, near) for space in model.spaces]
        measurements = [
            measure_predictions(predictions, n_bootstrap=n, **chosen)
            for predictions, n in zip(said, _replicates(len(said), n_bootstrap), strict=True)
        ]
        parts = zip(model.spaces, measurements, said, strict=True)
        measured.append([_split(*part, zero_shot) for part in parts])
        if output is not None:
            _save(model, said, output)
        progress(i + 1, len(models))
    results: Results = {
        "schema_version": SCHEMA_VERSION,
        "definitions": _definitions(measured),
        "provenance": made or {},
        "data": {"name": test.name, "split": test.split},
        "differences": _differences(models, measured),
        "models": [split_model_record(m.name, s) for m, s in zip(models, measured, strict=True)],
        "image_coordinates": zero_shot.image_coordinates,
        "class_image_coordinates": zero_shot.class_image_coordinates(test.labels),
    }
    if output is not None:
        write_text(output / RESULTS, as_json(results))
    return results


def _split(
    space: TextSpace, measurement: Measurement, predictions: Predictions, zero_shot: ZeroShot
) -> Split:
    """One split of one model; a single class has no neighbours, and so no text geometry."""
    texts, names = space.embeddings.numpy(), zero_shot.class_names
    return Split(
        number=space.seed,
        map=space.map,
        measurement=measurement,
        geometry=TextGeometry.compare(zero_shot.texts, texts, names, k=NEIGHBOURS)
        if len(names) > 1
        else None,
        gap=modality_gap(zero_shot.images, texts),
        coordinates=zero_shot.basis.coordinates(texts),
        provenance=predictions.provenance,
    )


def _differences(models: Sequence[Model], measured: Sequence[Sequence[Split]]) -> Plain:
    """Between all models, over splits where there are several."""
    by_split = [{split.number: split.measurement for split in splits} for splits in measured]
    names = [model.name for model in models]
    return differences_over_splits(dict(zip(names, by_split, strict=True)))


def _definitions(measured: Sequence[Sequence[Split]]) -> Plain:
    """What every number of the results means."""
    first = measured[0][0]
    several = any(len(splits) > 1 for splits in measured)
    found = definitions_record(first.measurement, several_splits=several)
    if first.geometry is not None:
        found["geometry"] = geometry.definitions(first.geometry)
    return found | {"bias_rules": BIAS_RULES}


def _replicates(n_splits: int, n_bootstrap: int) -> list[int]:
    """Of each split."""
    if n_splits == 1:
        return [n_bootstrap]
    return [min(n_bootstrap, DRAWN_FOR_FINDINGS)] + [0] * (n_splits - 1)


def _save(model: Model, said: Sequence[Predictions], folder: Path) -> None:
    """Predictions, one file a split, and the class matrices of the first."""
    for space, predictions in zip(model.spaces, said, strict=True):
        predictions.save(folder / PREDICTIONS / split_file(model.name, space.seed))
    first = model.spaces[0]
    if len(said[0].class_names) > 1:
        path = folder / MATRICES / split_file(model.name, first.seed)
        class_matrices(first.embeddings, said[0]).save(path)


def image_proximity(
    images: Float[np.ndarray, "images dim"], chosen: Preset
) -> Float[np.ndarray, " images"] | None:
    """How near each image is to the others, as PIECE needs it; None of a single image.

    Args:
        images: their features.
        chosen: says which neighbours count, and how.
    """
    if len(images) < 2:
        return None
    return proximity(images, k=chosen.neighbours, variant=chosen.proximity)
