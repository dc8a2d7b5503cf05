"""Decisions and rankings against slow loops and scikit-learn; unknown is left out."""

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score, recall_score

from ccr_diag.metrics import discrimination
from ccr_diag.metrics.discrimination import average_precision, keep_top, mean_over_classes
from ccr_diag.metrics.tables import Tables

ACCURACIES = {
    "accuracy_elementwise": discrimination.accuracy,
    "accuracy_balanced": discrimination.balanced_accuracy,
    "recall_macro": discrimination.macro_recall,
    "f1_macro": discrimination.f1_macro,
    "cf1": discrimination.cf1,
    "of1": discrimination.of1,
}


def case(seed=0, images=60):
    rng = np.random.default_rng(seed)
    y = (rng.random((images, 4)) < [0.5, 0.3, 0.2, 0.1]).astype(np.int8)
    p = np.round(np.clip(0.3 * y + 0.7 * rng.random(y.shape), 0, 1), 1)  # rounded: many ties
    return p, y


def accuracies(p, y):
    counts = Tables.of(p, y).confusion
    return {name: float(accuracy(counts)) for name, accuracy in ACCURACIES.items()}


def precision(s, y):
    return average_precision(s, np.asarray(y, np.int8), np.zeros((len(s), 0), np.uint8))[0]


def test_accuracies_match_scikit_learn():
    p, y = case()
    yes = p >= 0.5
    got = accuracies(p, y)
    assert got["accuracy_elementwise"] == pytest.approx((yes == y).mean())
    assert got["accuracy_balanced"] == pytest.approx(
        balanced_accuracy_score(y.ravel(), yes.ravel())
    )
    assert got["recall_macro"] == pytest.approx(recall_score(y, yes, average="macro"))
    assert got["f1_macro"] == pytest.approx(f1_score(y, yes, average="macro"))
    assert got["of1"] == pytest.approx(f1_score(y, yes, average="micro"))


@given(
    hnp.arrays(np.float64, (6, 3), elements=st.floats(0, 1)),
    hnp.arrays(np.int8, (6, 3), elements=st.sampled_from([1, 0, -1])),
)
def test_accuracies_match_loops_whatever_comes(p, y):
    assert accuracies(p, y) == pytest.approx(reference.decisions(p >= 0.5, y), nan_ok=True)


def test_accuracies_by_hand():
    # class 0: TP 1, FN 1, FP 1, TN 1; class 1: TP 1, TN 3.
    p = np.array([[0.9, 0.5], [0.1, 0.2], [0.8, 0.2], [0.2, 0.2]])
    y = np.array([[1, 1], [1, 0], [0, 0], [0, 0]], dtype=np.int8)
    assert accuracies(p, y) == pytest.approx(
        {
            "accuracy_elementwise": 6 / 8,
            "accuracy_balanced": (2 / 3 + 4 / 5) / 2,
            "recall_macro": 3 / 4,
            "f1_macro": (1 / 2 + 1) / 2,
            "cf1": 3 / 4,
            "of1": 4 / 6,
        }
    )


def test_a_class_never_called_has_precision_0_in_cf1():
    p = np.array([[0.9, 0.1], [0.1, 0.1]])
    y = np.array([[1, 1], [0, 0]], dtype=np.int8)
    assert accuracies(p, y)["cf1"] == pytest.approx(0.5)


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_matches_the_formula_and_scikit_learn(seed):
    s, y = case(seed)
    for c in range(4):
        expected = average_precision_score(y[:, c], s[:, c])
        assert precision(s[:, c], y[:, c]) == pytest.approx(expected)
        assert reference.average_precision(s[:, c], y[:, c]) == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_drawn_average_precision_is_scikit_learns_of_weighted_images(dtype):
    s, y = case(5, images=200)
    weights = np.random.default_rng(6).poisson(1, (200, 8)).astype(np.uint8)
    for c in range(4):
        _, drawn = average_precision(s[:, c].astype(dtype), y[:, c], weights)
        expected = [
            average_precision_score(y[:, c], s[:, c], sample_weight=weights[:, r]) for r in range(8)
        ]
        np.testing.assert_allclose(drawn, expected, rtol=1e-12)


def test_a_draw_without_positives_or_negatives_is_undefined():
    s, y = np.array([0.9, 0.2, 0.1]), np.array([1, 0, 0], np.int8)
    weights = np.array([[0, 1, 1], [1, 0, 2], [1, 0, 0]], np.uint8)
    value, drawn = average_precision(s, y, weights)
    assert (value, drawn[2]) == (1, 1)
    assert np.isnan(drawn[:2]).all()


def test_unknown_entries_count_as_if_they_were_not_there():
    p, y = case()
    masked = y.copy()
    masked[:20, 1] = -1
    alone = slice(1, 2)
    assert accuracies(p[:, alone], masked[:, alone]) == pytest.approx(
        accuracies(p[20:, alone], y[20:, alone])
    )
    assert precision(p[:, 1], masked[:, 1]) == precision(p[20:, 1], y[20:, 1])


@pytest.mark.parametrize("label", [1, 0, -1])
def test_classes_of_one_label_have_no_average_precision(label):
    assert np.isnan(precision(np.array([0.1, 0.7]), [label, label]))


def test_undefined_classes_are_in_no_mean():
    assert mean_over_classes(np.array([np.nan, 0.25, 0.75])) == 0.5
    assert np.isnan(mean_over_classes(np.array([np.nan, np.nan])))
    per_draw = mean_over_classes(np.array([[np.nan, 0.2], [0.4, 0.4]]))
    assert per_draw == pytest.approx([0.4, 0.3])


def test_undefined_is_nan_and_never_a_warning():
    p = np.array([[0.1], [0.2]])
    none_present = accuracies(p, np.zeros((2, 1), dtype=np.int8))
    assert none_present["accuracy_elementwise"] == 1
    others = [value for name, value in none_present.items() if name != "accuracy_elementwise"]
    assert np.isnan(others).all()
    all_unknown = accuracies(p, np.full((2, 1), -1, dtype=np.int8))
    assert np.isnan(list(all_unknown.values())).all()


@pytest.mark.parametrize("k", [1, 2, 5])
def test_the_most_probable_classes_keep_their_labels(k):
    p, y = case(7)
    y[::5, 2] = -1
    kept = np.empty_like(y)
    keep_top(p, y, k, kept)
    np.testing.assert_array_equal(kept, np.where(reference.most_probable(p, k), y, -1))


def test_order_of_images_and_classes_does_not_matter():
    p, y = case()
    assert accuracies(p[::-1, ::-1], y[::-1, ::-1]) == pytest.approx(accuracies(p, y))
    assert precision(p[::-1, 0], y[::-1, 0]) == precision(p[:, 0], y[:, 0])
