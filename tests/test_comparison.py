"""Paired differences: their interval, their p, Holm's correction, and the verdict."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit

from ccr_diag.errors import BadConfig, BadData
from ccr_diag.metrics import METRICS, measure
from ccr_diag.metrics.bins import ReliabilityBins
from ccr_diag.metrics.comparison import compare, direction, holm
from ccr_diag.metrics.discrimination import average_precision, mean_over_classes
from ccr_diag.metrics.intervals import image_weights
from ccr_diag.metrics.measurement import Measurement

GROUPS = ("head", "tail")


def quick(p, y, groups=(), seed=0, replicates=200):
    """What ``measure`` gives in a few metrics, by one matrix product: fast enough to simulate."""
    n, classes = p.shape
    weights = image_weights(seed, replicates, 0, n).astype(float)
    known = (y != -1).astype(float)
    errors = {
        "brier": known * (p - y) ** 2,
        "signed_error": known * (p - y),
        "accuracy_elementwise": known * ((p >= 0.5) == (y == 1)),
    }
    masks = {"all": np.ones(classes, dtype=bool)}
    masks |= {g: np.array(groups) == g for g in dict.fromkeys(groups)}
    values, drawn, of_class, class_drawn = {}, {}, {}, {}
    for pool, mask in masks.items():
        values[pool], drawn[pool] = {}, {}
        for metric, error in errors.items():
            above, below = error[:, mask].sum(axis=1), known[:, mask].sum(axis=1)
            values[pool][metric] = float(above.sum() / below.sum())
            with np.errstate(invalid="ignore"):  # replicates that draw no image
                drawn[pool][metric] = (above @ weights) / (below @ weights)
    for metric, error in errors.items():
        of_class[metric] = error.sum(axis=0) / known.sum(axis=0)
        with np.errstate(invalid="ignore"):
            class_drawn[metric] = (error.T @ weights) / (known.T @ weights)
    counted = image_weights(seed, replicates, 0, n)
    ap = [
        average_precision(np.ascontiguousarray(p[:, c]), np.ascontiguousarray(y[:, c]), counted)
        for c in range(classes)
    ]
    of_class["map"] = np.array([value for value, _ in ap])
    class_drawn["map"] = np.stack([row for _, row in ap])
    for pool, mask in masks.items():
        values[pool]["map"] = float(mean_over_classes(of_class["map"][mask]))
        drawn[pool]["map"] = mean_over_classes(class_drawn["map"][mask])
    return Measurement(
        tuple(f"class {i}" for i in range(classes)),
        tuple(groups),
        n,
        known.sum(axis=0).astype(np.int64),
        (y == 1).sum(axis=0),
        None,
        {"n_bootstrap": replicates, "seed": seed},
        values,
        drawn,
        {},
        of_class,
        class_drawn,
        {},
        {},
        ReliabilityBins(*np.zeros((4, classes, 1))),
    )


def drawn_case(seed, n=300, classes=8, noise=(0.5, 0.5), extreme=(1.0, 1.0)):
    """Two models' probabilities of labels that hang together within an image."""
    rng = np.random.default_rng(seed)
    z = np.linspace(-2.5, 0, classes) + rng.normal(size=(n, classes)) + rng.normal(size=(n, 1))
    y = (rng.uniform(size=z.shape) < expit(z)).astype(np.int8)
    a, b = (
        expit(e * (z + rng.normal(size=z.shape) * s)) for s, e in zip(noise, extreme, strict=True)
    )
    return a, b, y


@pytest.fixture(scope="module")
def measured():
    """A model, one with twice its log odds, and a third class without positives."""
    a, b, y = drawn_case(1, n=200, classes=4, noise=(0.2, 0.2), extreme=(1.0, 2.5))
    y[:, 3] = 0
    y[::7, 1] = -1
    groups = ("head", "head", "tail", "tail")
    return [measure(p, y, groups=groups, n_bootstrap=60, seed=3) for p in (a, b)]


def test_numbers_follow_the_formulas(measured):
    a, b = measured
    for metric in ("ece_positive", "map", "nll"):
        (row,) = compare(a, b, metric)
        d = b.value(metric) - a.value(metric)
        drawn = b.replicates(metric) - a.replicates(metric)
        assert (row.a, row.b, row.difference) == (a.value(metric), b.value(metric), d)
        n = a.n_positive.sum() if metric == "map" else 200
        unbiased, sd = 2 * d - drawn.mean(), drawn.std(ddof=1)
        ends = unbiased + stats.t.ppf([0.025, 0.975], n - 1) * sd
        np.testing.assert_allclose([row.low, row.high], ends, rtol=1e-12)
        np.testing.assert_allclose(row.sd, sd, rtol=1e-12)
        np.testing.assert_allclose(row.p, 2 * stats.t.sf(abs(unbiased) / sd, n - 1), rtol=1e-9)
        assert row.p_holm == row.p
        assert (row.group, row.class_) == ("all", None)
    assert compare(a, b, "ece_positive")[0].verdict == "worse"
    assert compare(b, a, "ece_positive")[0].verdict == "better"


def test_b_against_a_mirrors_a_against_b(measured):
    a, b = measured
    mirror = {"better": "worse", "worse": "better", "cannot tell": "cannot tell"}
    verdicts = set()
    for metric, entry in METRICS.items():
        if entry.better == "none" or metric not in a.values["all"]:
            continue
        for by in (None, "group", "class") if entry.per_class else (None, "group"):
            rows = zip(compare(a, b, metric, by), compare(b, a, metric, by), strict=True)
            for row, back in rows:
                assert (row.a, row.b) == pytest.approx((back.b, back.a), nan_ok=True, abs=0)
                there = [row.difference, row.low, row.high, row.sd, row.p, row.p_holm]
                mirrored = [-back.difference, -back.high, -back.low, back.sd, back.p, back.p_holm]
                np.testing.assert_allclose(there, mirrored, rtol=1e-9, atol=1e-14)
                assert row.verdict == mirror[back.verdict]
                verdicts.add(row.verdict)
    assert verdicts == set(mirror)


def test_equal_measurements_differ_by_exactly_nothing(measured):
    a, _ = measured
    for metric, entry in METRICS.items():
        if entry.better == "none" or metric not in a.values["all"]:
            continue
        for row in compare(a, a, metric) + compare(a, a, metric, "group"):
            assert row.verdict == "cannot tell"
            if not np.isnan(row.difference):
                assert (row.difference, row.low, row.high, row.p_holm) == (0, 0, 0, 1)


def test_what_is_undefined_is_in_no_family(measured):
    rows = compare(*measured, "map", "class")
    assert [row.class_ for row in rows] == list(measured[0].class_names)
    assert np.isnan(rows[3].p_holm)
    assert rows[3].verdict == "cannot tell"
    assert rows[3].to_json()["p"] is None
    assert rows[3].to_json()["class"] == "3"
    three = np.array([row.p for row in rows[:3]])
    np.testing.assert_array_equal([row.p_holm for row in rows[:3]], holm(three))


def test_groups_come_with_base_and_each_group(measured):
    assert [row.group for row in compare(*measured, "brier", "group")] == ["head", "tail"]
    p, _, y = drawn_case(2, n=40, classes=4)
    new = [quick(p, y, ("head", "head", "new", "new")) for _ in range(2)]
    assert [row.group for row in compare(*new, "brier", "group")] == ["head", "new"]


def by_hand(p):
    """Holm 1979 as the paper steps: smallest p first, each times the hypotheses still in play."""
    corrected, largest = [0.0] * len(p), 0.0
    for step, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, (len(p) - step) * p[i])
        corrected[i] = min(1.0, largest)
    return corrected


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_steps_down(p):
    np.testing.assert_array_equal(holm(np.array(p)), by_hand(p))
    mixed = holm(np.array([np.nan, *p, np.nan]))
    np.testing.assert_array_equal(mixed[1:-1], by_hand(p))
    assert np.isnan(mixed[[0, -1]]).all()


def test_holm_of_a_textbook_case():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])


@pytest.mark.parametrize("metric", ["brier", "signed_error", "map"])
@pytest.mark.parametrize("by", ["class", "group", None])
def test_equally_good_models_are_rarely_told_apart(null_cases, metric, by):
    found = [
        any(row.verdict != "cannot tell" for row in compare(*c, metric, by)) for c in null_cases
    ]
    assert np.mean(found) <= 0.105  # 5 %, and three and a half standard errors of such a share


@pytest.fixture(scope="module")
def null_cases():
    """200 pairs of models that differ by independent noise of one size."""
    groups = ("head",) * 4 + ("tail",) * 4
    cases = []
    for seed in range(200):
        a, b, y = drawn_case(seed, n=150)
        cases.append([quick(p, y, groups, seed, 100) for p in (a, b)])
    return cases


def test_a_clear_difference_is_found_in_every_class():
    a, b, y = drawn_case(0, n=2000, noise=(0.1, 3.0))
    a, b = quick(a, y), quick(b, y)
    for metric in ("brier", "map"):
        assert {row.verdict for row in compare(a, b, metric, "class")} == {"worse"}
        assert {row.verdict for row in compare(b, a, metric, "class")} == {"better"}


def test_pairing_finds_what_single_intervals_hide():
    """B is a little better in every image: the values' own intervals overlap widely."""
    p, _, y = drawn_case(5, n=200)
    a, b = quick(p, y), quick(0.97 * p + 0.03 * y, y)
    (row,) = compare(a, b, "brier")
    assert np.quantile(a.replicates("brier"), 0.025) < row.b < row.a
    assert row.verdict == "better"


def test_a_signed_error_counts_by_its_distance_from_0():
    p, _, y = drawn_case(3, n=400)
    p, y = np.full(p.shape, 0.5), (np.arange(p.size).reshape(p.shape) % 2).astype(np.int8)
    y = np.random.default_rng(0).permuted(y, axis=0)
    level, over, under = (quick(p + shift, y) for shift in (0.0, 0.2, -0.2))
    (row,) = compare(over, under, "signed_error")
    assert (row.a, row.b) == (pytest.approx(0.2), pytest.approx(-0.2))
    assert row.difference == pytest.approx(0)
    assert row.verdict == "cannot tell"
    for far in (over, under):
        (row,) = compare(far, level, "signed_error")
        assert row.difference == pytest.approx(-0.2)
        assert row.verdict == "better"


def test_one_image_tells_nothing():
    y = np.array([[1, 0]], dtype=np.int8)
    a, b = quick(np.array([[0.9, 0.2]]), y), quick(np.array([[0.1, 0.9]]), y)
    (row,) = compare(a, b, "brier")
    assert row.difference > 0.5
    assert (row.p, row.verdict) == (1.0, "cannot tell")


def test_a_single_positive_image_tells_nothing_about_precision():
    y = np.zeros((50, 1), dtype=np.int8)
    y[0] = 1
    first, last = (np.linspace(*ends, 50)[:, None] for ends in ((0.9, 0.1), (0.1, 0.9)))
    (row,) = compare(quick(first, y), quick(last, y), "map", "class")
    assert row.difference < -0.9
    assert (row.p, row.verdict) == (1.0, "cannot tell")


def test_two_images_tell_less_than_many():
    """Student's t has one degree of freedom for two, whatever their spread."""
    y = np.array([[1, 0], [0, 1]], dtype=np.int8)
    a = quick(np.array([[0.9, 0.2], [0.1, 0.8]]), y)
    b = quick(np.array([[0.7, 0.3], [0.4, 0.7]]), y)
    (row,) = compare(a, b, "brier")
    assert row.p > 1.5 * 2 * stats.norm.sf(row.difference / row.sd)
    assert row.p > 0.05


def test_derived_metrics_have_a_direction():
    assert direction("map_harmonic") == "higher"
    assert direction("signed_error_slope") == "zero"
    assert direction("calibration_slope") == "one"


def test_what_cannot_be_compared_is_refused(measured):
    a, b = measured
    p, _, y = drawn_case(0, n=20, classes=2)
    plain = quick(p, y)
    with pytest.raises(BadConfig, match="ece_expected_positive is a reference"):
        compare(a, b, "ece_expected_positive")
    with pytest.raises(BadConfig, match="did you mean 'ece_positive'"):
        compare(a, b, "ece_positiv")
    with pytest.raises(BadConfig, match="metric of a class must be one that was measured"):
        compare(a, b, "smece_positive", "class")
    with pytest.raises(BadConfig, match="needs groups, but the classes have none"):
        compare(plain, plain, "brier", "group")
    with pytest.raises(BadConfig, match="same seed, but have 0 and 1"):
        compare(plain, quick(p, y, seed=1), "brier")
    with pytest.raises(BadConfig, match="brier was measured without"):
        compare(*[measure(p, y, n_bootstrap=0)] * 2, "brier")
    for other, what in [
        (quick(p[:-1], y[:-1]), "images"),
        (quick(p[:, :1], y[:, :1]), "class names"),
        (quick(p, y, ("head", "tail")), "groups"),
        (quick(p, 1 - y), "labels"),
    ]:
        with pytest.raises(BadData, match=f"compared on the same {what}, but theirs differ"):
            compare(plain, other, "brier")


def test_a_model_that_may_be_calibrated_is_not_called_worse(measured):
    a, b = measured
    free = replace(
        b,
        ends=b.ends | {"all": b.ends["all"] | {"ece_positive": np.array([0.0, 0.5])}},
        class_ends={k: np.stack([0 * low, high]) for k, (low, high) in b.class_ends.items()},
    )
    assert compare(a, b, "ece_positive")[0].verdict == "worse"
    assert compare(a, free, "ece_positive")[0].verdict == "cannot tell"
    assert compare(free, a, "ece_positive")[0].verdict == "cannot tell"
    assert compare(a, free, "brier")[0].verdict == compare(a, b, "brier")[0].verdict == "worse"
    verdicts = [row.verdict for row in compare(a, b, "ece_positive", "class")]
    assert "worse" in verdicts
    assert {row.verdict for row in compare(a, free, "ece_positive", "class")} == {"cannot tell"}
