import numpy as np
import pytest

from ccr_diag.data.groups import GROUPS, class_counts, class_groups
from ccr_diag.errors import BadConfig


def labels_with(*counts, n=200):
    """The first counts[c] images show class c, the next one is unknown, the others do not."""
    labels = np.zeros((n, len(counts)), dtype=np.int8)
    for c, count in enumerate(counts):
        labels[:count, c] = 1
        labels[count : count + 1, c] = -1
    return labels


BASE = np.zeros(6, dtype=bool)


def test_thresholds_at_their_borders():
    labels = labels_with(100, 99, 20, 19, 0, 150)
    expected = ("head", "medium", "medium", "tail", "tail", "head")
    assert class_groups(labels, BASE) == expected
    assert set(expected) < set(GROUPS)


def test_new_classes_are_new_whatever_their_count():
    new = np.array([True, False, False, True, False, False])
    groups = class_groups(labels_with(150, 150, 50, 50, 5, 5), new)
    assert groups == ("new", "head", "medium", "new", "tail", "tail")


def test_thresholds_can_be_set():
    labels = labels_with(7, 6, 5, 4, 3, 0)
    expected = ("head", "head", "medium", "medium", "tail", "tail")
    assert class_groups(labels, BASE, head=6, tail=4) == expected
    assert class_groups(labels, BASE, head=5, tail=5) == ("head",) * 3 + ("tail",) * 3
    assert class_groups(labels, BASE, head=0, tail=0) == ("head",) * 6


def test_unknown_labels_do_not_count():
    assert class_counts(labels_with(3, 0, 200)).tolist() == [3, 0, 200]


@pytest.mark.parametrize(("head", "tail"), [(10, 20), (10, -1)])
def test_thresholds_out_of_order(head, tail):
    with pytest.raises(BadConfig) as error:
        class_groups(labels_with(1, 2, 3, 4, 5, 6), BASE, head=head, tail=tail)
    assert str(error.value) == (
        f"Group thresholds need 0 <= tail <= head, but got tail={tail} and head={head}."
    )
