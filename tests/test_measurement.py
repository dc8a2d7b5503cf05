"""Every metric against slow loops, every interval's replicates against repeated images."""

import json

import numpy as np
import pytest
import reference
from scipy import stats

from ccr_diag.arrays import MappedBlocks, ProbabilityMap, StoredBlocks
from ccr_diag.errors import BadConfig, BadData
from ccr_diag.metrics import engine, gather, tables
from ccr_diag.metrics.bins import ReliabilityBins
from ccr_diag.metrics.cells import cell_slots
from ccr_diag.metrics.engine import measure
from ccr_diag.metrics.intervals import image_weights, normal_interval
from ccr_diag.metrics.inversion import curves, inverted_interval, standard_noise
from ccr_diag.metrics.registry import METRICS, bounds

GROUPS = ("head", "head", "tail", "new", "tail", "new", "new")
SUPERVISED_COUNTS = np.array([900, 300, 20, 0, 5, 0, 0])
LOOSE = {  # what an approximation or a search leaves open
    "smece_positive": 3e-5,
    "calibration_slope": 1e-5,
    "calibration_intercept": 1e-5,
    "ece_after_platt": 1e-5,
}


def drawn_case(seed=0, images=60, dtype=np.float32):
    """Values that each have a cell of their own, many on edges; all kinds of gaps in the labels."""
    rng = np.random.default_rng(seed)
    values = np.concatenate([np.arange(65) / 64, [0.1, 0.3, 0.6, 0.7, 0.9, 1 / 3, 1 / 15]])
    values = values.astype(dtype)
    assert len(set(cell_slots(values[None].astype(np.float32))[0].tolist())) == len(values)
    p = values[rng.integers(0, len(values), (images, len(GROUPS)))]
    image = rng.random((images, 1))
    y = (0.7 * rng.random(p.shape) + 0.3 * image < 0.2 + 0.6 * p.astype(float)).astype(np.int8)
    y[rng.random(y.shape) < 0.15] = -1
    y[:, 4] = np.minimum(y[:, 4], 0)  # no positive
    y[:, 6] = -1  # nothing known
    y[3] = -1
    ranking = (p + rng.normal(0, 0.05, p.shape)).astype(dtype).round(2)
    return p, y, ranking, rng.integers(0, 4, images)


@pytest.fixture(autouse=True)
def nearness_in_bins(monkeypatch):
    """Tests hand over the bins of proximity themselves: repeated images keep theirs."""
    monkeypatch.setattr(engine, "proximity_bins", lambda found, _: found.astype(np.int64))


def measured(p, y, ranking=None, nearness=None, **options):
    return measure(
        p, y, None, GROUPS, ranking=ranking,
        proximity=None if nearness is None else nearness.astype(np.float64),
        class_counts=SUPERVISED_COUNTS, **options,
    )  # fmt: skip


def same(got, expected, metric, dtype=np.float64):
    tolerance = LOOSE.get(metric, 1e-9)
    if metric.endswith("_decision"):  # the slow version rounds 1 − p as p is
        tolerance = max(tolerance, float(np.finfo(dtype).eps) / 2)
    if metric.startswith("ece_expected"):  # a binomial count stands for a sum of unequal draws
        tolerance = 0.02 * abs(expected)
    if metric in ("brier", "brier_skill", "nll"):
        tolerance = 1e-6  # 1 − p is rounded as p is
    assert got == pytest.approx(expected, abs=tolerance, nan_ok=True), metric


POOLS = {
    "all": [0, 1, 2, 3, 4, 5, 6],
    "base": [0, 1, 2, 4],
    "head": [0, 1],
    "tail": [2, 4],
    "new": [3, 5, 6],
}


@pytest.mark.parametrize(
    ("dtype", "n_bins", "top_k", "threshold"),
    [(np.float16, 15, 3, 0.01), (np.float32, 10, 1, 0.3), (np.float64, 15, 2, 0.1)],
)
def test_every_metric_of_every_pool_matches_its_formula(dtype, n_bins, top_k, threshold):
    p, y, ranking, nearness = drawn_case(n_bins, dtype=dtype)
    found = measured(
        p, y, ranking, nearness,
        n_bins=n_bins, n_bootstrap=0, top_k=top_k, threshold=threshold,
    )  # fmt: skip
    assert set(found.values) == set(POOLS)
    top = reference.most_probable(p, top_k)
    for pool, columns in POOLS.items():
        slow = reference.measures(
            p[:, columns], y[:, columns], ranking[:, columns],
            n_bins, top[:, columns], threshold, nearness,
        )  # fmt: skip
        assert set(slow) == set(METRICS)
        for metric, expected in slow.items():
            same(found.value(metric, pool), expected, metric, dtype)


def test_every_metric_of_every_class_matches_its_formula():
    p, y, ranking, nearness = drawn_case(1)
    found = measured(p, y, ranking, nearness, n_bootstrap=0)
    top = reference.most_probable(p, 3)
    assert set(found.class_values) == {key for key, m in METRICS.items() if m.per_class}
    for c in range(6):
        slow = reference.measures(
            p[:, [c]], y[:, [c]], ranking[:, [c]], 15, top[:, [c]], 0.01, nearness
        )
        for metric in found.class_values:
            same(found.value(metric, class_=str(c)), slow[metric], metric, np.float32)
    assert all(np.isnan(values[6]) for values in found.class_values.values())


def test_harmonic_means_and_the_trend_with_frequency_match_their_definitions():
    p, y, ranking, nearness = drawn_case(2)
    found = measured(p, y, ranking, nearness, n_bootstrap=0)
    for metric in ("map", "cf1", "accuracy_balanced"):
        both = [found.value(metric, pool) for pool in ("base", "new")]
        same(found.value(f"{metric}_harmonic"), stats.hmean(both), metric)
    rows = [0, 1, 2, 4]
    x, error = np.log10(SUPERVISED_COUNTS[rows]), found.class_values["signed_error"][rows]
    assert found.value("signed_error_slope") == pytest.approx(stats.linregress(x, error).slope)
    assert found.value("signed_error_spearman") == pytest.approx(stats.spearmanr(x, error)[0])


def edges_of_all(p, y, columns, convention, n_bins):
    """What equal-mass replicates keep: the largest confidence of each part but the last."""
    confidence, _ = reference.entries(p[:, columns], y[:, columns], convention)
    return [part[-1] for part in np.array_split(np.sort(confidence), n_bins)[:-1]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_replicates_are_the_metrics_of_the_images_drawn(dtype):
    p, y, ranking, nearness = drawn_case(3, dtype=dtype)
    found = measured(p, y, ranking, nearness, n_bootstrap=5, seed=7)
    weights = image_weights(7, 5, 0, len(p))
    for r in range(5):
        rows = np.flatnonzero(weights[:, r])
        alone = measured(p[rows], y[rows], ranking[rows], nearness[rows], n_bootstrap=0)
        for pool, columns in POOLS.items():
            drawn = {key: values[r] for key, values in found.drawn[pool].items()}
            assert set(drawn) == {
                k for k in found.values[pool] if METRICS.get(k, METRICS["map"]).drawn
            }
            for convention in ("positive", "decision"):
                edges = edges_of_all(p, y, columns, convention, 15)
                entries = reference.entries(p[rows][:, columns], y[rows][:, columns], convention)
                parts = [[] for _ in range(15)]
                for c, o in zip(*entries, strict=True):
                    parts[sum(edge < c for edge in edges)].append((c, o))
                got = drawn.pop(f"ace_{convention}")
                assert got == pytest.approx(reference.gap_sum(parts), abs=1e-12)
            for metric, value in drawn.items():
                expected = alone.value(metric, pool)
                assert value == pytest.approx(expected, abs=1e-7, nan_ok=True), (pool, metric)
        for metric, values in found.class_drawn.items():
            np.testing.assert_allclose(
                values[:, r], alone.class_values[metric], atol=1e-12, err_msg=metric
            )


def bins_of(p, y, weights):
    """(classes, bins) of all images, (classes, replicates, bins) of those drawn, entry by entry."""
    replicates, classes = weights.shape[1], p.shape[1]
    found = np.zeros((replicates + 1, 3, classes, 15))
    for i, c in np.argwhere(y != -1):
        b = reference.exact_bin(p[i, c], 15)
        entry = np.array([1.0, float(p[i, c]), float(y[i, c])])
        found[0, :, c, b] += entry
        found[1:, :, c, b] += weights[i, :, None] * entry
    whole, drawn = found[0], np.moveaxis(found[1:], 0, 2)
    return ReliabilityBins(*whole, whole[1]), ReliabilityBins(*drawn, drawn[1])


def test_intervals_are_those_of_the_bins_they_speak_of():
    p, y, ranking, nearness = drawn_case(5)
    found = measured(p, y, ranking, nearness, n_bootstrap=12, seed=4)
    weights = image_weights(4, 12, 0, len(p)).astype(float)
    whole, drawn = bins_of(p, y, weights)
    of_class = standard_noise(4, range(len(GROUPS)), 12, 15)
    of_pool = standard_noise(4, [0], 12, 15)[0]
    keys = ("ece_positive", "mce_positive", "l2_debiased_positive")
    functions = {key: METRICS[key].function for key in keys}
    by_class = curves(functions, whole, drawn, of_class)
    ends = {k: inverted_interval(f(whole), by_class[k], 1.0) for k, f in functions.items()}
    for c in range(len(GROUPS)):
        for key in keys:
            got = found.interval(key, class_=str(c))
            if np.isnan(ends[key][:, c]).any():
                assert got is None
            else:
                assert got == pytest.approx(ends[key][:, c], abs=1e-9)
    for pool, columns in POOLS.items():
        mask = np.isin(np.arange(len(GROUPS)), columns)
        both = whole.pooled(mask), drawn.pooled(mask)
        pooled = curves(functions, *both, of_pool)
        for key, function in functions.items():
            expected = inverted_interval(function(both[0]), pooled[key], 1.0)
            assert found.interval(key, pool) == pytest.approx(expected, abs=1e-9)
        mean = [curve.class_mean(mask) for curve in by_class["ece_positive"]]
        value = np.asarray(np.nanmean(METRICS["ece_positive"].function(whole)[mask]))
        expected = inverted_interval(value, mean, 1.0)
        assert found.interval("ece_classwise", pool) == pytest.approx(expected, abs=1e-9)
        for key in ("signed_error", "map", "brier"):
            value = np.asarray(found.value(key, pool))
            low, high = normal_interval(value, found.replicates(key, pool), bounds(key))
            assert found.interval(key, pool) == (float(low), float(high))


def flat(found):
    """All values of all pools and classes, by key."""
    pooled = {(pool, k): v for pool, row in found.values.items() for k, v in row.items()}
    return pooled | {(c, k): v[c] for k, v in found.class_values.items() for c in range(len(v))}


def flat_drawn(found):
    pooled = {(pool, k): v for pool, row in found.drawn.items() for k, v in row.items()}
    return pooled | {("class", k): v for k, v in found.class_drawn.items()}


def flat_ends(found):
    pooled = {(pool, k): v for pool, row in found.ends.items() for k, v in row.items()}
    return pooled | {("class", k): v for k, v in found.class_ends.items()}


def agree(one, other, tolerance=1e-11, leave_out=()):
    one, other = ({k: v for k, v in f.items() if k[1] not in leave_out} for f in (one, other))
    assert one.keys() == other.keys()
    for key, value in one.items():
        np.testing.assert_allclose(value, other[key], rtol=0, atol=tolerance, err_msg=str(key))


SEARCHED = {"smece_positive": 1e-6, "ece_after_platt": 1e-6}  # found by a search


def test_the_order_of_images_does_not_matter():
    p, y, ranking, nearness = drawn_case(4)
    mixed = np.random.default_rng(0).permutation(len(p))
    one = measured(p, y, ranking, nearness, n_bootstrap=0)
    other = measured(p[mixed], y[mixed], ranking[mixed], nearness[mixed], n_bootstrap=0)
    agree(flat(one), flat(other), 1e-7)
    agree(flat(one), flat(other), 1e-11, SEARCHED)


def test_the_order_of_classes_does_not_matter_to_pools():
    p, y, ranking, nearness = drawn_case(5, dtype=np.float64)
    p += np.arange(7) * 1e-12  # no ties within an image: the first of equal classes is in the top
    p = np.minimum(p, 1)
    p[p == 1] = 1 - 1e-9 * np.arange((p == 1).sum())
    mixed = np.random.default_rng(0).permutation(7)
    one = measure(
        p, y, None, GROUPS, n_bootstrap=3, ranking=ranking, proximity=nearness.astype(float)
    )
    other = measure(
        p[:, mixed], y[:, mixed], None, tuple(np.array(GROUPS)[mixed]), n_bootstrap=3,
        ranking=ranking[:, mixed], proximity=nearness.astype(float),
    )  # fmt: skip
    for pool, row in one.values.items():
        assert other.values[pool] == pytest.approx(row, abs=1e-7, nan_ok=True)
        for metric, drawn in one.drawn[pool].items():
            np.testing.assert_allclose(other.drawn[pool][metric], drawn, atol=1e-7, err_msg=metric)


def test_images_that_come_twice_change_nothing_but_what_counts_them():
    p, y, ranking, nearness = drawn_case(6)
    counted = {k for k in METRICS if k.startswith("ece_expected")} | {"l2_debiased_positive"}
    counted |= {"ace_positive", "ace_decision", "ece_sweep"}  # parts fall elsewhere
    twice = np.repeat(np.arange(len(p)), 2)
    one = measured(p, y, ranking, nearness, n_bootstrap=0)
    other = measured(p[twice], y[twice], ranking[twice], nearness[twice], n_bootstrap=0)
    agree(flat(one), flat(other), 1e-6, counted)
    agree(flat(one), flat(other), 1e-11, counted | set(LOOSE))


def test_a_group_is_measured_as_if_it_were_alone():
    p, y, ranking, nearness = drawn_case(7)
    across = {"ece_top_k", "cf1_top_k", "of1_top_k"}  # an image's most probable of all classes
    whole = measured(p, y, ranking, nearness, n_bootstrap=4)
    for pool in ("base", "head", "tail", "new"):
        columns = POOLS[pool]
        alone = measure(
            p[:, columns], y[:, columns], None, ("one",) * len(columns), n_bootstrap=4,
            ranking=ranking[:, columns], proximity=nearness.astype(float),
        )  # fmt: skip
        for metric in METRICS.keys() - across:
            assert alone.value(metric) == pytest.approx(
                whole.value(metric, pool), abs=1e-7, nan_ok=True
            ), metric
            np.testing.assert_allclose(
                alone.replicates(metric), whole.replicates(metric, pool), atol=1e-7, err_msg=metric
            )


def test_a_perfect_predictor_reaches_the_best_value_of_every_metric():
    _, y, _, _ = drawn_case(8)
    p = (y == 1).astype(np.float32)
    found = measure(p, y, None, None, n_bootstrap=0, top_k=7, proximity=np.zeros(len(p)))
    for metric, m in METRICS.items():
        best = {"lower": m.bounds[0], "higher": m.bounds[1], "zero": 0, "one": 1}
        if m.better == "none" or metric in ("brier_discrimination", "calibration_intercept"):
            continue
        if metric in ("cf1_top_k", "of1_top_k", "ece_called", "calibration_slope"):
            continue
        assert found.value(metric) == pytest.approx(best[m.better], abs=1e-6), metric
    parts = [found.value(f"brier_{part}") for part in ("discrimination", "uncertainty")]
    assert parts[0] == pytest.approx(parts[1])
    assert found.value("calibration_intercept") == pytest.approx(0, abs=0.02)


def test_a_constant_predictor_misses_by_its_distance_from_the_rate():
    y = np.zeros((50, 2), np.int8)
    y[:10, 0] = y[:5, 1] = 1
    found = measure(np.full((50, 2), 0.3, np.float32), y, n_bootstrap=0, proximity=np.zeros(50))
    distance = float(np.float32(0.3)) - 0.15
    errors = ["ece_positive", "ece_decision", "ece_sweep", "ace_positive", "ace_decision"]
    errors += ["mce_positive", "mce_weighted_positive", "rmsce_positive", "piece_decision"]
    for metric in [*errors, "signed_error"]:
        assert found.value(metric) == pytest.approx(distance, abs=1e-7), metric
    assert found.value("brier") == pytest.approx(0.15 * 0.85 + distance**2, abs=1e-6)
    assert found.value("brier_discrimination") == pytest.approx(0, abs=1e-12)
    assert np.isnan(found.value("calibration_slope"))  # any slope fits, with its intercept
    assert found.value("map") == pytest.approx(0.15)
    assert np.isnan(found.value("ece_called"))


@pytest.mark.parametrize("seed", range(5))
def test_inequalities_that_always_hold(seed):
    p, y, ranking, nearness = drawn_case(seed, images=60)
    for n_bins in (6, 10, 15):
        found = measured(p, y, ranking, nearness, n_bins=n_bins, n_bootstrap=6)
        for pool in found.values:
            v = {k: np.append(found.value(k, pool), found.replicates(k, pool)) for k in METRICS}
            more = 1 + 1e-9
            for convention in ("positive", "decision"):
                ece = v[f"ece_{convention}"]
                assert (v[f"mce_weighted_{convention}"] <= ece * more).all()
                assert (ece <= v[f"mce_{convention}"] * more).all()
            assert (v["ece_positive"] <= v["rmsce_positive"] * more).all()
            assert (v["rmsce_positive"] <= v["mce_positive"] * more).all()
            assert (np.abs(v["signed_error"]) <= v["ece_positive"] * more).all()
            assert (np.abs(v["signed_error"]) <= v["smece_positive"] + 1e-6).all()
            assert (v["ece_decision"] <= v["piece_decision"] * more).all()
            n = found.n_known[found.of_pool(pool)]
            each = found.class_values["ece_positive"][found.of_pool(pool)]
            mean = np.nansum(n * each) / n.sum()  # by the triangle inequality
            assert found.value("ece_positive", pool) <= mean * more


@pytest.mark.parametrize("n_bins", [2, 4, 10, 20])
def test_decision_ece_is_at_most_positive_ece_where_one_half_is_an_edge(n_bins):
    rng = np.random.default_rng(n_bins)
    p = rng.random((300, 4))
    y = (rng.random(p.shape) < p**2).astype(np.int8)
    found = measure(p, y, n_bins=n_bins, n_bootstrap=20)
    assert found.value("ece_decision") <= found.value("ece_positive") + 1e-12
    drawn = found.replicates("ece_positive") - found.replicates("ece_decision")
    assert (drawn >= -1e-12).all()


def test_every_value_lies_within_its_bounds():
    found = measured(*drawn_case(9), n_bootstrap=20)
    for pool, row in found.values.items():
        for metric in row:
            low, high = bounds(metric)
            every = np.append(found.value(metric, pool), found.replicates(metric, pool))
            every = every[~np.isnan(every)]
            assert ((every >= low) & (every <= high)).all(), metric
            if ends := found.interval(metric, pool):
                assert low <= ends[0] <= ends[1] <= high


def test_a_class_without_positives_is_flagged_and_in_no_mean():
    p, y, ranking, nearness = drawn_case(10)
    found = measured(p, y, ranking, nearness, n_bootstrap=10)
    assert found.n_positive[4] == 0 < found.n_known[4]
    assert np.isnan(found.value("map", class_="4"))
    assert found.value("map", "tail") == found.value("map", class_="2")
    assert not np.isnan(found.value("ece_positive", class_="4"))
    assert found.interval("map", "tail") is not None
    rows = found.to_json()["classes"]
    assert (rows[4]["n_positive"], rows[4]["metrics"]["map"]["value"]) == (0, None)


def test_a_group_of_unknown_labels_is_undefined_and_disturbs_nothing():
    p, y, ranking, nearness = drawn_case(11)
    y[:, [3, 5, 6]] = -1
    found = measured(p, y, ranking, nearness, n_bootstrap=5)
    assert all(np.isnan(value) for value in found.values["new"].values())
    assert all(np.isnan(drawn).all() for drawn in found.drawn["new"].values())
    assert found.interval("ece_positive", "new") is None
    for metric in METRICS.keys() - {"ece_top_k", "cf1_top_k", "of1_top_k"}:
        assert found.value(metric) == pytest.approx(found.value(metric, "base"), nan_ok=True)
    assert found.to_json()["groups"]["new"]["metrics"]["ece_positive"]["value"] is None


@pytest.mark.parametrize("n_bootstrap", [0, 20])
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_one_image_of_constant_scores_is_measured(value, n_bootstrap):
    p, y = np.full((1, 3), value), np.array([[1, 0, -1]], np.int8)
    found = measure(p, y, n_bootstrap=n_bootstrap, proximity=np.ones(1))
    assert found.value("ece_positive") == pytest.approx(abs(value - 0.5))
    assert found.value("signed_error") == pytest.approx(value - 0.5)
    assert np.isnan(found.value("map"))
    assert found.interval("ece_positive") is found.interval("signed_error") is None
    json.dumps(found.to_json(), allow_nan=False)


def test_without_groups_there_is_one_pool():
    p, y, ranking, nearness = drawn_case(12)
    plain = measure(p, y, n_bootstrap=3, ranking=ranking, proximity=nearness.astype(float))
    grouped = measured(p, y, ranking, nearness, n_bootstrap=3)
    assert list(plain.values) == ["all"]
    for metric in METRICS:
        assert plain.value(metric) == pytest.approx(grouped.value(metric), abs=1e-7, nan_ok=True)
        np.testing.assert_allclose(
            plain.replicates(metric), grouped.replicates(metric), atol=1e-7, err_msg=metric
        )


def test_sources_larger_than_memory_give_what_arrays_give(tmp_path):
    p, y, ranking, nearness = drawn_case(13, dtype=np.float64)
    for name, array in (("p", p), ("y", y), ("r", ranking)):
        np.save(tmp_path / f"{name}.npy", array)
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "pyr"]
    in_memory = measured(p, y, ranking, nearness, n_bootstrap=4)
    for stored in (mapped, [StoredBlocks(mapped[0]), mapped[1], StoredBlocks(mapped[2])]):
        other = measured(*stored, nearness, n_bootstrap=4)
        agree(flat(in_memory), flat(other), 0)
        agree(flat_drawn(in_memory), flat_drawn(other), 0)


def test_a_lazy_map_gives_what_its_probabilities_give():
    _, y, ranking, nearness = drawn_case(14, dtype=np.float64)
    rule = ProbabilityMap(8.0, -4.0, "given")
    lazy = measured(MappedBlocks(ranking, rule), y, ranking, nearness, n_bootstrap=3)
    eager = measured(rule.probabilities(ranking), y, ranking, nearness, n_bootstrap=3)
    agree(flat(lazy), flat(eager), 0)
    agree(flat_drawn(lazy), flat_drawn(eager), 0)


def test_neither_blocks_of_images_nor_parts_of_classes_matter(monkeypatch):
    p, y, ranking, nearness = drawn_case(15)
    one = measured(p, y, ranking, nearness, n_bootstrap=6)
    monkeypatch.setattr(tables.checked_blocks, "__defaults__", (57,))  # 8 images a block
    monkeypatch.setattr(gather, "DRAWN_ENTRIES", 29)
    monkeypatch.setattr(gather, "DRAWN_BYTES", 1)  # one class at a time
    other = measured(p, y, ranking, nearness, n_bootstrap=6)
    agree(flat(one), flat(other), 1e-6)
    agree(flat_drawn(one), flat_drawn(other), 1e-6)
    agree(flat(one), flat(other), 1e-12, LOOSE)
    agree(flat_drawn(one), flat_drawn(other), 1e-12, LOOSE)
    agree(flat_ends(one), flat_ends(other), 1e-6)


def test_a_seed_fixes_the_intervals_and_nothing_else():
    case = drawn_case(16)
    one, same_seed, other = (measured(*case, n_bootstrap=5, seed=s) for s in (1, 1, 2))
    assert one.to_json() == same_seed.to_json()
    agree(flat(one), flat(other), 0)
    assert one.interval("ece_positive") != other.interval("ece_positive")


def test_no_bootstrap_no_intervals():
    found = measured(*drawn_case(17), n_bootstrap=0)
    assert (found.drawn, found.class_drawn) == ({}, {})
    assert found.interval("brier") is None
    assert found.replicates("brier", class_="0").size == 0
    agree(flat(found), flat(measured(*drawn_case(17), n_bootstrap=2)), 0)


def test_reference_values_have_no_interval():
    found = measured(*drawn_case(18), n_bootstrap=5)
    assert not any(k.startswith("ece_expected") for k in (*found.drawn["all"], *found.class_drawn))
    assert found.interval("ece_expected_positive") is None


def test_reliability_keeps_every_entry_and_json_has_plain_values():
    found = measured(*drawn_case(19), n_bootstrap=4)
    for pool, columns in POOLS.items():
        for bins in found.reliability[pool].values():
            assert bins.count.sum() == found.n_known[columns].sum()
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert list(plain) == [
        "n_images", "n_classes", "n_unknown", "n_known", "n_positive", "effective_bins",
        "metrics", "reliability", "groups", "classes",
    ]  # fmt: skip
    assert plain["n_unknown"] + plain["n_known"] == 60 * 7
    assert list(plain["groups"]) == ["base", "head", "tail", "new"]
    assert set(plain["metrics"]["brier"]) == {"value", "low", "high"}
    assert plain["metrics"]["brier"]["value"] == found.value("brier")
    assert [row["group"] for row in plain["classes"]] == list(GROUPS)
    low, high = found.interval("brier", class_="2")
    assert plain["classes"][2]["metrics"]["brier"]["low"] == low
    assert len(plain["reliability"]["decision"]["low"]) == 15
    assert list(plain["reliability"]) == ["positive", "decision", "mass_positive"]


def test_each_class_shows_the_bins_of_its_own_entries():
    p, y, *_ = drawn_case(23)
    rows = measured(p, y, n_bootstrap=0).to_json()["classes"]
    for c, row in enumerate(rows):
        bins = row["reliability"]
        filled = reference.binned(*reference.entries(p[:, [c]], y[:, [c]], "positive"), 15)
        known = p[y[:, c] != -1, c]
        assert bins["bin"] == sorted({reference.exact_bin(v, 15) for v in known})
        found = zip(bins["count"], bins["confidence"], bins["frequency"], strict=True)
        np.testing.assert_allclose(list(found) or np.zeros((0, 3)), filled or np.zeros((0, 3)))
    assert [row["n_training"] for row in rows] == SUPERVISED_COUNTS.tolist()
    assert {row["n_training"] for row in measure(p, y).to_json()["classes"]} == {None}


def test_equal_mass_bins_of_a_pool_hold_its_entries_in_order():
    p, y, *_ = drawn_case(29)
    for pool, columns in POOLS.items():
        bins = measured(p, y, n_bootstrap=0).reliability[pool]["mass_positive"]
        n = np.maximum(bins.count, 1)
        assert bins.count.sum() == (y[:, columns] != -1).sum()
        assert (np.diff((bins.sum_confidence / n)[bins.count > 0]) > 0).all()
        gap = np.abs(bins.sum_confidence - bins.sum_outcome).sum() / bins.count.sum()
        expected = reference.equal_mass_ece(
            *reference.entries(p[:, columns], y[:, columns], "positive"), 15
        )
        assert gap == pytest.approx(expected, abs=1e-12)


REFUSED = {
    "no image": (
        {"probs": np.zeros((0, 2)), "labels": np.zeros((0, 2), np.int8)},
        BadData,
        "neither 0",
    ),
    "unknown": ({"labels": np.full((4, 2), -1, np.int8)}, BadData, "known"),
    "label": ({"labels": np.full((4, 2), 2, np.int8)}, BadData, "Labels must be 1"),
    "probability": ({"probs": np.full((4, 2), 1.5)}, BadData, r"lie in \[0, 1\]"),
    "nan": ({"probs": np.full((4, 2), np.nan)}, BadData, r"lie in \[0, 1\]"),
    "names": ({"class_names": ("a", "a")}, BadData, "unique"),
    "groups": ({"groups": ("head",)}, BadData, "one group per column, 2, but 1 came"),
    "reserved": ({"groups": ("all", "new")}, BadData, "'all'"),
    "replicates": ({"n_bootstrap": 1}, BadConfig, "0 or at least 2, but got 1"),
    "k": ({"top_k": 0}, BadConfig, "k ≥ 1"),
    "many bins": ({"n_bins": 10**9}, BadConfig, "16383 bins"),
    "threshold": ({"threshold": 1.0}, BadConfig, "threshold < 1"),
    "bins": ({"n_bins": 0}, BadConfig, "but got 0"),
    "preset": ({"preset": "procall"}, BadConfig, "but got 'procall'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_measured_is_refused(case):
    change, error, words = REFUSED[case]
    given = {"probs": np.full((4, 2), 0.5), "labels": np.zeros((4, 2), np.int8)} | change
    with pytest.raises(error, match=words):
        measure(**given)


def test_what_was_not_measured_is_refused():
    found = measured(*drawn_case(20), n_bootstrap=0)
    for asked in (("ece_positiv",), ("brier", "tails"), ("brier", "all", "7")):
        with pytest.raises(BadConfig, match=f"got '{asked[-1]}'"):
            found.value(*asked)


def test_presets_differ_where_they_say():
    p, y, ranking, nearness = drawn_case(21)
    textbook, procal = (
        measured(p, y, ranking, nearness, n_bootstrap=0, preset=name, n_bins=10)
        for name in ("textbook", "procal")
    )
    differ = {k for k in METRICS if abs(textbook.value(k) - procal.value(k)) > 1e-12}
    assert differ == {"ace_positive", "ace_decision"}
    assert measured(p, y, n_bootstrap=0, preset="procal").definitions["n_bins"] == 10


def test_saturated_probabilities_do_not_spoil_the_ranking():
    scores = np.linspace(0.8, 0.9, 10)[:, None]
    y = (scores > 0.85).astype(np.int8)
    rule = ProbabilityMap(1000.0, 0.0, "given")
    assert measure(MappedBlocks(scores, rule), y, n_bootstrap=0, ranking=scores).value("map") == 1
    assert measure(MappedBlocks(scores, rule), y, n_bootstrap=0).value("map") == 0.5
