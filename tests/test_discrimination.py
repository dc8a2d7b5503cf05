"""Average precision and accuracies against a slow loop and scikit-learn; unknown is left out."""

import numpy as np
import pytest
import reference
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score

from ccr_diag.metrics import discrimination
from ccr_diag.metrics.discrimination import average_precision, count_decisions

ACCURACIES = {
    "accuracy": discrimination.accuracy,
    "balanced": discrimination.balanced_accuracy,
    "f1_macro": discrimination.f1_macro,
    "f1_micro": discrimination.f1_micro,
}


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    y = (rng.random((60, 4)) < [0.5, 0.3, 0.2, 0.1]).astype(np.int8)
    p = np.round(np.clip(0.3 * y + 0.7 * rng.random(y.shape), 0, 1), 1)  # rounded: many ties
    return p, y


def accuracies(p, y):
    counts = count_decisions(p, y)
    return {name: accuracy(counts) for name, accuracy in ACCURACIES.items()}


def test_accuracies_match_scikit_learn(case):
    p, y = case
    yes = p >= 0.5
    assert accuracies(p, y) == pytest.approx(
        {
            "accuracy": float((yes == y).mean()),
            "balanced": float(balanced_accuracy_score(y.ravel(), yes.ravel())),
            "f1_macro": float(f1_score(y, yes, average="macro")),
            "f1_micro": float(f1_score(y, yes, average="micro")),
        }
    )


def test_accuracies_by_hand():
    # class 0: TP 1, FN 1, FP 1, TN 1; class 1: TP 1, TN 3.
    p = np.array([[0.9, 0.5], [0.1, 0.2], [0.8, 0.2], [0.2, 0.2]])
    y = np.array([[1, 1], [1, 0], [0, 0], [0, 0]], dtype=np.int8)
    assert accuracies(p, y) == pytest.approx(
        {
            "accuracy": 6 / 8,
            "balanced": (2 / 3 + 4 / 5) / 2,
            "f1_macro": (1 / 2 + 1) / 2,
            "f1_micro": 4 / 6,
        }
    )


def test_average_precision_matches_the_formula_and_scikit_learn(case):
    s, y = case
    got = average_precision(s, y)
    np.testing.assert_allclose(
        got, [reference.average_precision(s[:, c], y[:, c]) for c in range(4)]
    )
    macro = average_precision_score(y, s, average="macro")
    assert discrimination.mean_average_precision(got) == pytest.approx(macro)


def test_unknown_entries_count_as_if_they_were_not_there(case):
    p, y = case
    masked = y.copy()
    masked[:20, 1] = -1
    alone = slice(1, 2)
    assert accuracies(p[:, alone], masked[:, alone]) == pytest.approx(
        accuracies(p[20:, alone], y[20:, alone])
    )
    assert average_precision(p, masked)[1] == average_precision(p[20:], y[20:])[1]


def test_classes_of_one_label_have_no_average_precision(case):
    s, y = case
    y[:, 0] = 1
    y[:, 1] = 0
    y[:, 2] = -1
    per_class = average_precision(s, y)
    assert np.isnan(per_class).tolist() == [True, True, True, False]
    assert discrimination.mean_average_precision(per_class) == per_class[3]
    assert np.isnan(discrimination.mean_average_precision(per_class[:3]))


def test_f1_macro_is_over_classes_with_a_positive():
    p = np.array([[0.9, 0.9], [0.1, 0.1]])
    y = np.array([[1, 0], [0, 0]], dtype=np.int8)
    assert accuracies(p, y)["f1_macro"] == 1
    assert accuracies(p, y)["f1_micro"] == pytest.approx(2 / 3)


def test_undefined_is_nan_and_never_a_warning():
    p = np.array([[0.1], [0.2]])
    none_present = accuracies(p, np.zeros((2, 1), dtype=np.int8))
    assert none_present["accuracy"] == 1
    assert np.isnan([none_present[name] for name in ("balanced", "f1_macro", "f1_micro")]).all()
    all_unknown = accuracies(p, np.full((2, 1), -1, dtype=np.int8))
    assert np.isnan(list(all_unknown.values())).all()


def test_order_of_images_and_classes_does_not_matter(case):
    p, y = case
    assert accuracies(p[::-1, ::-1], y[::-1, ::-1]) == pytest.approx(accuracies(p, y))
    np.testing.assert_allclose(
        average_precision(p[::-1, ::-1], y[::-1, ::-1]), average_precision(p, y)[::-1]
    )
