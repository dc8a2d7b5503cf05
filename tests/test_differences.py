"""Differences of all pairs of models: over images, over splits, and what a results file holds."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from ccr_diag.differences import (
    ALWAYS,
    MOST_MODELS,
    ROW,
    compared_metrics,
    differences_over_images,
    differences_over_splits,
)
from ccr_diag.errors import BadConfig
from ccr_diag.measuring import UNPAIRED, results_of
from ccr_diag.metrics import measure
from ccr_diag.metrics.comparison import METHOD, compare, holm
from ccr_diag.metrics.engine import measure_predictions
from ccr_diag.metrics.split_comparison import METHOD as SPLIT_METHOD
from ccr_diag.metrics.split_comparison import compare_splits
from ccr_diag.predictions import Predictions

GROUPS = ("head", "head", "tail", "new")
EXTREME = {"plain": 1.0, "sure": 2.5, "meek": 0.4}


@pytest.fixture(scope="module")
def splits():
    """Three models on three splits; a class without positives; replicates of the first split."""
    rng = np.random.default_rng(0)
    z = np.linspace(-2, 0, 4) + rng.normal(size=(90, 4))
    y = (rng.uniform(size=z.shape) < expit(z)).astype(np.int8)
    y[:, 2] = 0
    return {
        name: {
            i: measure(
                expit(extreme * (z + rng.normal(0, 0.3, z.shape))), y, groups=GROUPS,
                n_bootstrap=10 if i == 1 else 0,
            )
            for i in (1, 2, 3)
        }
        for name, extreme in EXTREME.items()
    }  # fmt: skip


@pytest.fixture(scope="module")
def once(splits):
    return {name: of_model[1] for name, of_model in splits.items()}


def test_over_images_it_is_the_paired_bootstrap(once):
    found = differences_over_images(once)
    assert METHOD in found["method"]
    assert [(p["a"], p["b"]) for p in found["pairs"]] == [
        ("plain", "sure"), ("plain", "meek"), ("sure", "meek")
    ]  # fmt: skip
    for pair in found["pairs"]:
        a, b = once[pair["a"]], once[pair["b"]]
        metrics = compared_metrics(a, b)
        rows = [
            row.to_json()
            for metric in metrics
            for by in (None, "group")
            for row in compare(a, b, metric, by)
        ]
        assert pair["rows"] == [{key: row[key] for key in ROW} for row in rows]
        assert [row["group"] for row in pair["rows"][:5]] == ["all", "base", "head", "tail", "new"]
    assert set(ALWAYS) <= set(metrics)


def test_without_replicates_or_of_one_model_there_are_none(once, splits):
    bare = {name: replace(m, drawn={}, ends={}) for name, m in once.items()}
    assert differences_over_images(bare) == {}
    assert differences_over_images({"plain": once["plain"]}) == {}
    assert differences_over_splits({"plain": splits["plain"]}) == {}
    assert differences_over_splits({n: {1: m, 2: m} for n, m in bare.items()}) == {}


def test_without_groups_there_is_a_row_a_metric(once):
    alone = {
        name: replace(m, groups=(), values={"all": m.values["all"]}) for name, m in once.items()
    }
    rows = differences_over_images(alone)["pairs"][0]["rows"]
    assert {row["group"] for row in rows} == {"all"}
    assert len({row["metric"] for row in rows}) == len(rows)


def test_over_splits_it_is_a_paired_t_test(splits):
    found = differences_over_splits(splits)
    assert SPLIT_METHOD in found["method"]
    pair = found["pairs"][0]
    numbers = {
        name: [m.value("ece_positive", "head") for m in splits[name].values()]
        for name in ("plain", "sure")
    }
    (row,) = (
        r for r in pair["rows"] if (r["metric"], r["group"]) == ("ece_positive", "head")
    )  # fmt: skip
    test = stats.ttest_rel(numbers["sure"], numbers["plain"])
    ends = test.confidence_interval()
    expected = [np.mean(numbers["plain"]), np.mean(numbers["sure"]), ends.low, ends.high]
    expected += [test.pvalue, np.mean(numbers["sure"]) - np.mean(numbers["plain"])]
    keys = ("a", "b", "low", "high", "p", "difference")
    np.testing.assert_allclose([row[key] for key in keys], expected, rtol=1e-9)


def test_over_splits_groups_are_one_family_and_undefined_ones_in_none(splits):
    plain, sure = (list(splits[name].values()) for name in ("plain", "sure"))
    rows = {row.group: row for row in compare_splits(plain, sure, "map", "group")}
    assert list(rows) == ["base", "head", "tail", "new"]
    assert np.isnan([rows["tail"].difference, rows["tail"].low, rows["tail"].p_holm]).all()
    others = [rows[group] for group in ("base", "head", "new")]
    np.testing.assert_array_equal(
        [row.p_holm for row in others], holm(np.array([row.p for row in others]))
    )


def valued(m, **values):
    """The same measurement with other numbers for all classes."""
    return replace(m, values=m.values | {"all": m.values["all"] | values})


def test_distances_from_0_are_of_the_means(once):
    m = once["plain"]
    over = [valued(m, signed_error=v) for v in (0.10, 0.12, 0.11)]
    under = [valued(m, signed_error=v) for v in (-0.30, -0.31, -0.32)]
    (row,) = compare_splits(over, under, "signed_error")
    assert (row.a, row.b) == (pytest.approx(0.11), pytest.approx(-0.31))
    assert row.difference == pytest.approx(0.2)
    expected = stats.ttest_1samp(np.array([0.30, 0.31, 0.32]) - [0.10, 0.12, 0.11], 0)
    assert row.p == pytest.approx(expected.pvalue)
    assert row.verdict == "worse"
    assert compare_splits(under, over, "signed_error")[0].verdict == "better"


def test_higher_is_better_where_it_is(once):
    low, high = (
        [valued(once["plain"], map=v + i / 100) for i, v in enumerate(values)]
        for values in ((0.5, 0.51, 0.5), (0.8, 0.79, 0.8))
    )
    assert compare_splits(low, high, "map")[0].verdict == "better"
    assert compare_splits(high, low, "map")[0].verdict == "worse"


def test_a_model_that_may_be_calibrated_is_not_called_worse_over_splits(splits):
    plain, sure = (list(splits[name].values()) for name in ("plain", "sure"))
    assert compare_splits(plain, sure, "ece_positive")[0].verdict == "worse"
    ends = sure[0].ends | {"all": sure[0].ends["all"] | {"ece_positive": np.array([0.0, 0.5])}}
    free = [replace(sure[0], ends=ends), *sure[1:]]
    assert compare_splits(plain, free, "ece_positive")[0].verdict == "cannot tell"
    assert compare_splits(plain, free, "brier")[0].verdict == "worse"


def test_models_that_no_split_changes_cannot_be_told_apart_over_splits(once):
    plain, sure = ([once[name]] * 3 for name in ("plain", "sure"))
    (row,) = compare_splits(plain, sure, "brier")
    assert row.difference > 0
    assert np.isnan([row.low, row.high, row.p]).all()
    assert row.verdict == "cannot tell"
    (same,) = compare_splits(plain, plain, "brier")
    assert (same.difference, same.p, same.verdict) == (0, 1, "cannot tell")


def test_splits_are_paired_by_number(splits):
    backwards = {n: dict(reversed(list(s.items()))) for n, s in splits.items() if n != "plain"}
    mixed = differences_over_splits({"plain": splits["plain"], **backwards})
    whole = differences_over_splits(splits)
    for pair, same in zip(mixed["pairs"], whole["pairs"], strict=True):
        for row, other in zip(pair["rows"], same["rows"], strict=True):
            assert row["p"] == pytest.approx(other["p"], nan_ok=True)


def test_pairs_without_two_common_splits_are_named(splits):
    short = splits | {"sure": {1: splits["sure"][1]}}
    found = differences_over_splits(short)
    assert [(p["a"], p["b"]) for p in found["pairs"]] == [("plain", "meek")]
    assert "no two splits in common: plain and sure, sure and meek." in found["method"]
    with pytest.raises(BadConfig, match="at least 2, but got 3 and 1"):
        compare_splits(list(splits["plain"].values()), [splits["sure"][1]], "brier")


def test_only_common_splits_count(splits):
    later = dict(zip((2, 3, 4), splits["sure"].values(), strict=True))
    found = differences_over_splits({"plain": splits["plain"], "sure": later})
    row = next(row for row in found["pairs"][0]["rows"] if row["metric"] == "brier")
    a = [splits["plain"][i].value("brier") for i in (2, 3)]
    b = [later[i].value("brier") for i in (2, 3)]
    assert [row["a"], row["b"]] == pytest.approx([np.mean(a), np.mean(b)])
    assert row["p"] == pytest.approx(stats.ttest_rel(b, a).pvalue)


def test_one_split_each_is_compared_over_images(once):
    each = {name: {i: m} for i, (name, m) in enumerate(once.items())}
    assert differences_over_splits(each) == differences_over_images(once)


@pytest.mark.parametrize(("n", "pairs"), [(MOST_MODELS, 66), (MOST_MODELS + 1, 12)])
def test_many_models_are_compared_with_the_first(once, n, pairs, monkeypatch):
    monkeypatch.setattr("ccr_diag.differences.ALWAYS", ())
    monkeypatch.setattr(
        "ccr_diag.differences.compared_metrics", lambda a, b: ["brier"]
    )  # fmt: skip
    found = differences_over_images({f"model {i}": once["plain"] for i in range(n)})
    assert len(found["pairs"]) == pairs
    alone = n > MOST_MODELS
    assert ("each is compared with the first" in found["method"]) is alone
    assert (len({p["a"] for p in found["pairs"]}) == 1) is alone


@pytest.fixture(scope="module")
def files():
    rng = np.random.default_rng(1)
    z = rng.normal(-1, 1, (60, 4))
    y = (rng.uniform(size=z.shape) < expit(z)).astype(np.int8)
    ids, names = tuple(f"image {i}" for i in range(60)), tuple("abcd")
    made = {"kind": "probs", "map": None, "class_names": names, "groups": GROUPS, "image_ids": ids}
    return [
        Predictions(values=expit(e * z), labels=y, provenance={"model": name}, **made)
        for name, e in EXTREME.items()
    ]


def moved(p):
    """The same predictions with rows and columns in another order."""
    rows, columns = np.arange(60)[::-1], np.array([2, 0, 3, 1])
    grid = np.ix_(rows, columns)
    return replace(
        p, values=p.values[grid], labels=p.labels[grid], image_ids=p.image_ids[::-1],
        class_names=tuple(p.class_names[i] for i in columns),
        groups=tuple(p.groups[i] for i in columns),
    )  # fmt: skip


def test_files_in_any_order_are_paired(files, monkeypatch):
    ordered = []

    def measure(predictions, **options):
        ordered.append(predictions)
        return measure_predictions(predictions, n_bootstrap=2)

    monkeypatch.setattr("ccr_diag.measuring.measure_predictions", measure)
    found = results_of([files[0], moved(files[1])])["differences"]
    assert [(p["a"], p["b"]) for p in found["pairs"]] == [("plain", "sure")]
    assert np.array_equal(ordered[1].values, files[1].values)
    assert ordered[1].image_ids == files[0].image_ids


def test_files_of_other_images_are_shown_without_differences(files):
    labels = files[1].labels.copy()
    labels[0, 0] = 1 - labels[0, 0]
    told = []
    found = results_of(
        [files[0], replace(files[1], labels=labels)], lambda *n: told.append(n), n_bootstrap=0
    )
    assert found["differences"]["pairs"] == []
    assert found["differences"]["method"].startswith(f"{UNPAIRED} Two files can only be compared")
    assert len(found["models"]) == 2
    assert told == [(1, 2), (2, 2)]


def test_without_replicates_files_have_no_differences(files):
    assert results_of(files[:2], n_bootstrap=0)["differences"] == {}
