"""Class × class matrices: how they are made, kept, read back and compared."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr

from ccr_diag.arrays import ProbabilityMap
from ccr_diag.class_matrices import Agreement, ClassMatrices, agreement, load_class_matrices
from ccr_diag.class_pairs import class_matrices
from ccr_diag.covariance import ESTIMATORS, predicted_correlation
from ccr_diag.errors import BadConfig, BadData, BadPredictions
from ccr_diag.predictions import Predictions

NAMES = ("cat", "犬", "a $name$")


def said(dead: int | None = None) -> Predictions:
    """Logits of 40 images; a dead class is saturated."""
    rng = np.random.default_rng(0)
    logits = rng.normal(-1, 2, (40, 3)) + rng.normal(0, 1, (40, 1))
    if dead is not None:
        logits[:, dead] = -80
    labels = (rng.random((40, 3)) < 0.3).astype(np.int8)
    labels[:5, 1] = -1
    return Predictions(
        values=logits.astype(np.float32),
        labels=labels,
        class_names=NAMES,
        groups=(),
        image_ids=(),
        provenance={"model": "made up"},
        kind="logits",
        map=ProbabilityMap(scale=1.0, bias=0.0, rule="none"),
    )


@pytest.fixture(scope="module")
def texts() -> torch.Tensor:
    return torch.randn(3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_matrices_are_the_cosines_the_target_and_the_correlation(texts, estimator):
    found = class_matrices(texts, said(), estimator)
    unit = texts.numpy() / np.linalg.norm(texts.numpy(), axis=1, keepdims=True)
    np.testing.assert_allclose(found.cosines, unit @ unit.T, atol=1e-6)
    if estimator.startswith("centred"):
        unit = unit - unit.mean(axis=0)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    np.testing.assert_allclose(found.target, unit @ unit.T, atol=1e-6)
    logits, labels = torch.from_numpy(said().logits), torch.from_numpy(np.array(said().labels))
    expected, alive = predicted_correlation(logits, labels, estimator)
    assert alive.all()
    np.testing.assert_allclose(found.predicted, expected, atol=1e-6)
    assert (found.class_names, found.estimator) == (NAMES, estimator)


def test_centred_inactive_correlation_is_that_of_the_formula(texts):
    predictions = said()
    residual = np.zeros((40, 3))
    for c in range(3):
        inactive = predictions.labels[:, c] == 0
        q = 1 / (1 + np.exp(predictions.logits[inactive, c]))
        residual[inactive, c] = q - q.mean()
    covariance = residual.T @ residual / 40
    scale = 1 / np.sqrt(covariance.diagonal() + 1e-6)
    found = class_matrices(texts, predictions).predicted
    np.testing.assert_allclose(found, covariance * scale[:, None] * scale, atol=1e-6)


def test_a_dead_class_has_no_correlation(texts):
    predicted = class_matrices(texts, said(dead=1)).predicted
    assert np.isnan(predicted[1]).all()
    assert np.isnan(predicted[:, 1]).all()
    assert np.isfinite(predicted[np.ix_([0, 2], [0, 2])]).all()


def test_an_unknown_estimator_is_refused(texts):
    with pytest.raises(BadConfig, match="did you mean 'centred'"):
        class_matrices(texts, said(), "centered")


def test_change_is_tuned_minus_zero_shot(texts):
    start, tuned = class_matrices(texts, said()), class_matrices(texts.flip(0), said())
    np.testing.assert_array_equal(tuned.cosine_change(start), tuned.cosines - start.cosines)
    assert not start.cosine_change(start).any()


def test_a_file_brings_back_what_was_saved(texts, tmp_path):
    made = class_matrices(texts, said(dead=0))
    made.save(tmp_path / "made" / "x.npz")
    found = load_class_matrices(tmp_path / "made" / "x.npz")
    assert (found.class_names, found.estimator) == (made.class_names, made.estimator)
    for name in ("cosines", "target", "predicted"):
        assert getattr(found, name).dtype == np.float32
        np.testing.assert_array_equal(getattr(found, name), getattr(made, name))
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["x.npz"]


SQUARE = np.eye(2, dtype=np.float32)
WHOLE = {
    "class_names": np.array(["a", "b"]),
    "estimator": np.array("centred"),
    "cosines": SQUARE,
    "target": SQUARE,
    "predicted": SQUARE,
}
ANEW = "; write it anew with 'ccr-diag analyze checkpoint'."


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"target": None}, "A file of class matrices must hold 'target', but {path} does not"),
        (
            {"cosines": np.eye(3, dtype=np.float32)},
            "Class matrices must be (classes, classes) numbers, 2 each, but 'cosines' in {path} is "
            "float32 of shape (3, 3)",
        ),
        (
            {"predicted": np.array([["a", "b"]] * 2)},
            "Class matrices must be (classes, classes) numbers, 2 each, but 'predicted' in {path} "
            "is <U1 of shape (2, 2)",
        ),
        (
            {"class_names": np.array([1, 2])},
            "The class names of class matrices must be a list of text, but in {path} they are "
            "int64 of shape (2,)",
        ),
        (
            {"target": np.full((2, 2), np.inf, dtype=np.float32)},
            "Class matrices must be finite but for dead classes in 'predicted', but 'target' in "
            "{path} is not",
        ),
    ],
)
def test_a_damaged_file_is_named_with_its_fault(tmp_path, change, says):
    path = tmp_path / "x.npz"
    np.savez(
        path, **{key: array for key, array in {**WHOLE, **change}.items() if array is not None}
    )
    with pytest.raises(BadData) as error:
        load_class_matrices(path)
    assert str(error.value) == says.format(path=path) + ANEW


def test_a_missing_or_pickled_file_is_refused(tmp_path):
    with pytest.raises(BadPredictions, match="There is no file"):
        load_class_matrices(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(BadPredictions, match=r"must be an \.npz archive"):
        load_class_matrices(tmp_path / "text.npz")
    names = np.array(["a", "b"], dtype=object)
    np.savez(tmp_path / "objects.npz", **{**WHOLE, "class_names": names})
    with pytest.raises(BadPredictions, match="pickled objects"):
        load_class_matrices(tmp_path / "objects.npz")


def test_agreement_is_over_pairs_of_live_classes():
    rng = np.random.default_rng(0)
    target = rng.uniform(-1, 1, (6, 6)).astype(np.float32)
    predicted = (target + rng.normal(0, 0.2, (6, 6))).astype(np.float32)
    predicted[2], predicted[:, 2] = np.nan, np.nan
    live = [0, 1, 3, 4, 5]
    pairs = [(i, j) for i in live for j in live if i < j]
    x, y = (np.array([m[p] for p in pairs], dtype=np.float64) for m in (target, predicted))
    found = agreement(target, predicted)
    assert (found.pairs, found.dead) == (10, 1)
    assert found.r == pytest.approx(pearsonr(x, y).statistic, abs=1e-12)
    assert found.rms == pytest.approx(np.sqrt(((x - y) ** 2).mean()), abs=1e-12)


def test_agreement_is_undefined_where_nothing_varies():
    one = np.ones((3, 3), dtype=np.float32)
    assert agreement(one, one) == Agreement(pairs=3, dead=0, r=None, rms=0.0)
    assert agreement(one, one * np.nan) == Agreement(pairs=0, dead=3, r=None, rms=None)
    assert agreement(one[:1, :1], one[:1, :1]) == Agreement(pairs=0, dead=0, r=None, rms=None)
    pair = np.array([[1, 0.5], [0.5, 1]], dtype=np.float32)
    assert agreement(pair, 0 * pair) == Agreement(pairs=1, dead=0, r=None, rms=0.5)


def test_matrices_of_one_class(texts):
    whole = said()
    alone = replace(
        whole, values=whole.values[:, :1], labels=whole.labels[:, :1], class_names=NAMES[:1]
    )
    found = class_matrices(texts[:1], alone, "uncentred")
    assert isinstance(found, ClassMatrices)
    np.testing.assert_allclose(found.predicted, [[1.0]], atol=1e-6)
