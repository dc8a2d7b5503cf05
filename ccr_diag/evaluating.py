"""A finished run in, every number about it out: for each data set, before and after calibrators.

checkpoint ──► zero-shot and tuned text spaces ──► predictions ──► calibrators ──► numbers a group
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from ccr_diag.analysis import NEIGHBOURS, image_proximity
from ccr_diag.arrays import ProbabilityMap
from ccr_diag.backbone import Backbone, load_backbone
from ccr_diag.calibrating import Choice, TextPair, calibrate
from ccr_diag.checkpoint import Checkpoint
from ccr_diag.config import FinetuneConfig
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.data.groups import class_groups
from ccr_diag.data.leakage import without_tuned
from ccr_diag.errors import BadConfig, BadData
from ccr_diag.features import image_features, local_features
from ccr_diag.frameworks import FRAMEWORKS
from ccr_diag.grids import Grid
from ccr_diag.metrics.engine import measure_predictions
from ccr_diag.metrics.geometry import TextGeometry
from ccr_diag.metrics.measurement import ALL
from ccr_diag.metrics.modality_gap import modality_gap
from ccr_diag.metrics.presets import preset as find_preset
from ccr_diag.predict import TextSpace, predict, tuned_space, zero_shot_space
from ccr_diag.predictions import Predictions
from ccr_diag.progress import Progress, silent
from ccr_diag.prompts import zero_shot_embeddings
from ccr_diag.run_data import run_dataset, tuned_images
from ccr_diag.run_predictions import run_predictions
from ccr_diag.sweep_table import UNCALIBRATED, ZERO_SHOT

PRIOR = "prior"


@dataclass(frozen=True)
class Measured:
    """One model on one data set, through one calibrator.

    Args:
        framework: the run's, or ``zero-shot``.
        model: name, as ``analyze`` shows it.
        bias: rule of the bias that scores are read through.
        map_scale: τ of that map.
        map_bias: b of it.
        data: the data set.
        calibrator: what was fitted afterwards, or ``none``.
        left_out: images that it is not measured on, as they were tuned on.
        values: group → metric → number, None where undefined.
    """

    framework: str
    model: str
    bias: str
    map_scale: float
    map_bias: float
    data: str
    calibrator: str
    left_out: int
    values: dict[str, dict[str, float | None]]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for files."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class SeenImages:
    """Images of one split, as models see them.

    Args:
        dataset: their labels.
        features: unit features.
        local: the same with those of positions, where a framework scores these.
        proximity: how near each is to others.
        left_out: images of the split that are not among them, as they were tuned on.
    """

    dataset: MultiLabelDataset
    features: Float[Tensor, "images dim"]
    local: Float[Tensor, "images features dim"] | None
    proximity: Float[np.ndarray, " images"] | None
    left_out: int = 0


class Workbench:
    """What the runs of a sweep share: backbones, data sets and features, each made ready once.

    Args:
        grid: says what is measured.
        device: of the backbones.
        progress: told ``features``, the images done and the images in all.
    """

    def __init__(
        self,
        grid: Grid,
        device: str,
        progress: Progress = silent,
    ) -> None:
        self.grid, self.device = grid, device
        self._progress = partial(progress, "features")
        self._backbone = lru_cache(maxsize=1)(self._load_backbone)
        self._dataset = lru_cache(maxsize=16)(self._load_dataset)
        self._images = lru_cache(maxsize=16)(self._load_images)

    def backbone(self, config: FinetuneConfig) -> Backbone:
        """The frozen CLIP of a run."""
        return self._backbone(config.model, config.pretrained, config.precision)

    def train(self, config: FinetuneConfig) -> MultiLabelDataset:
        """What a run is tuned on."""
        return self._dataset(of_data(config), config.split, config.data)

    def images(self, config: FinetuneConfig, split: str, data: str, local: bool) -> SeenImages:
        """Images that a run is measured on, or calibrated with.

        Args:
            config: of the run.
            split: of the data set.
            data: the data set.
            local: whether features of positions are needed.
        """
        return self._images(_of_backbone(config), of_data(config), split, data, local)

    def seen_by(self, checkpoint: Checkpoint, split: str, data: str, local: bool) -> SeenImages:
        """As ``images``, without those that the run was tuned on.

        Raises:
            BadData: no image is left.
        """
        seen = self.images(checkpoint.config, split, data, local)
        dataset = without_tuned(seen.dataset, data, tuned_images([checkpoint], data))
        left_out = len(seen.dataset) - len(dataset)
        if not left_out:
            return seen
        rows = np.isin(seen.dataset.image_ids, dataset.image_ids)
        features = seen.features[rows]
        near = image_proximity(features.numpy(), find_preset(self.grid.preset))
        kept = None if seen.local is None else seen.local[rows]
        return SeenImages(dataset, features, kept, near, left_out)

    def _load_backbone(self, model: str, pretrained: str, precision: str) -> Backbone:
        return load_backbone(model, pretrained or None, self.device, precision)

    def _load_dataset(self, config: FinetuneConfig, split: str, data: str) -> MultiLabelDataset:
        return run_dataset(config, split, data)

    def _load_images(
        self, model: FinetuneConfig, config: FinetuneConfig, split: str, data: str, local: bool
    ) -> SeenImages:
        backbone, dataset = self.backbone(model), self._dataset(config, split, data)
        seen = None
        if local:  # one pass for both: global features are then in the cache
            seen = local_features(backbone, dataset, progress=self._progress)
        features = image_features(backbone, dataset, progress=self._progress)
        near = image_proximity(features.numpy(), find_preset(self.grid.preset))
        return SeenImages(dataset, features, seen, near)


def _of_backbone(config: FinetuneConfig) -> FinetuneConfig:
    """The settings that decide the features; the rest at their defaults."""
    return FinetuneConfig(
        model=config.model, pretrained=config.pretrained, precision=config.precision
    )


def of_data(config: FinetuneConfig) -> FinetuneConfig:
    """The settings that decide the classes; the rest at their defaults."""
    return FinetuneConfig(
        data=config.data,
        split=config.split,
        unlisted=config.unlisted,
        new_classes=config.new_classes,
        class_split=config.class_split,
    )


def fitted(grid: Grid) -> list[str]:
    """The calibrators of a grid that calibration images are needed for."""
    return [words for words in grid.calibrators if words != UNCALIBRATED]


def evaluated(config: FinetuneConfig, grid: Grid) -> list[tuple[str, str]]:
    """Data set and split of all images that a run is measured on, then of those for calibrators."""
    found = [(data, grid.split) for data in grid.data or (config.data,)]
    if fitted(grid):
        found.append((config.data, grid.calibration_split))
    return found


def check_calibrators(config: FinetuneConfig, bench: Workbench) -> None:
    """Refuse calibrators that the data sets of a run do not allow, before it is tuned.

    They are tried on zero-shot, whose images, labels and classes are those of the tuned model: all
    on the first test data, and one on the others, which differ in images alone.

    Raises:
        BadData: calibration images are test images, or their labels do not do.
        BadConfig: the classes are not what a calibrator needs.
    """
    train, calibrators = bench.train(config), fitted(bench.grid)
    if not calibrators:
        return
    local = FRAMEWORKS[config.framework].LOCAL
    backbone = bench.backbone(config)
    embeddings = zero_shot_embeddings(backbone, train.class_names)
    texts = TextPair(train.class_names, embeddings.numpy(), embeddings.numpy())
    space = TextSpace(
        ZERO_SHOT, config.seed, embeddings, ProbabilityMap(backbone.scale, 0.0, "none")
    )
    groups = class_groups(train.labels, train.new)
    *tests, held = [
        predict(space, seen.features, seen.dataset, groups, {})
        for data, split in evaluated(config, bench.grid)
        for seen in [bench.images(config, split, data, local)]
    ]
    tried = [(tests[0], words) for words in calibrators]
    for test, words in [*tried, *((test, calibrators[0]) for test in tests[1:])]:
        try:
            calibrate(test, held, _quick(_choice(words)), texts)
        except (BadConfig, BadData) as error:
            raise type(error)(f"Calibrator {words!r} cannot be fitted: {error}") from error


def evaluate(
    checkpoint: Checkpoint, bench: Workbench, zero_shot: Sequence[str] = ()
) -> Iterator[Measured]:
    """All that a sweep says of one run, in the order of its data sets and calibrators.

    Args:
        checkpoint: the finished run.
        bench: what the runs of the sweep share.
        zero_shot: say it also of zero-shot, read through those of these bias rules that can be
            fitted on the run's training images.

    Raises:
        BadData: a data set that does not fit.
        BadConfig: a calibrator that cannot be fitted.
    """
    config, backbone = checkpoint.config, bench.backbone(checkpoint.config)
    tuned = tuned_space(checkpoint, backbone)
    there = [rule for rule in zero_shot if rule in checkpoint.maps[ZERO_SHOT]]
    spaces = [zero_shot_space(checkpoint, backbone, rule) for rule in there]
    before = zero_shot_embeddings(backbone, checkpoint.class_names).numpy()
    for space in [*spaces, tuned]:
        texts = TextPair(checkpoint.class_names, before, space.embeddings.numpy())
        held = None
        if fitted(bench.grid):
            split = bench.grid.calibration_split
            images = bench.seen_by(checkpoint, split, config.data, space.local)
            held = _predictions(checkpoint, space, images)
        for data in bench.grid.data or (config.data,):
            seen = bench.seen_by(checkpoint, bench.grid.split, data, space.local)
            said = _predictions(checkpoint, space, seen)
            for words in bench.grid.calibrators:
                calibrated = said
                if held is not None and words != UNCALIBRATED:
                    calibrated = calibrate(said, held, _choice(words), texts)
                yield Measured(
                    framework=config.framework if space is tuned else ZERO_SHOT,
                    model=space.name,
                    bias=space.map.rule,
                    map_scale=space.map.scale,
                    map_bias=space.map.bias,
                    data=data,
                    calibrator=words,
                    left_out=seen.left_out,
                    values=_values(calibrated, texts, seen, bench.grid),
                )


def _predictions(checkpoint: Checkpoint, space: TextSpace, seen: SeenImages) -> Predictions:
    features = seen.features if seen.local is None else seen.local
    return run_predictions(checkpoint, space, features, seen.dataset, proximity=seen.proximity)


def _choice(words: str) -> Choice:
    """A calibrator in a grid's words; classes that it cannot be fitted on get the shared map."""
    method, _, scope = words.partition(" by ")
    return Choice(method=method, scope=scope or "shared", unseen="shared")


def _quick(choice: Choice) -> Choice:
    """The same without the search for a strength, where there is one."""
    return choice if choice.scope == "shared" else replace(choice, strength=0.0)


def _values(
    predictions: Predictions, texts: TextPair, seen: SeenImages, grid: Grid
) -> dict[str, dict[str, float | None]]:
    """Group → metric → number; those of the text space stand with all classes."""
    found = measure_predictions(
        predictions, preset=grid.preset, n_bins=grid.n_bins, n_bootstrap=0
    ).values
    values: dict[str, dict[str, float | None]] = {group: {**m} for group, m in found.items()}
    values[ALL] |= _geometry(texts, seen)
    return {group: {key: _number(v) for key, v in m.items()} for group, m in values.items()}


def _geometry(texts: TextPair, seen: SeenImages) -> dict[str, float | None]:
    """ED, NP@5 and the modality gap; a single class has no neighbours."""
    gap: dict[str, float | None] = {"gap": modality_gap(seen.features.numpy(), texts.tuned)}
    if len(texts.tuned) < 2:
        return gap
    summary = TextGeometry.compare(texts.zero_shot, texts.tuned, k=NEIGHBOURS).summary
    return {"ED": summary["ED"], "NP@5": summary["NP"], **gap}


def _number(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else float(value)
