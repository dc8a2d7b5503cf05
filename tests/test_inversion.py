"""Intervals of calibration errors: against plain loops, and how often they hold the truth."""

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm

from ccr_diag.metrics import calibration
from ccr_diag.metrics.bins import ReliabilityBins
from ccr_diag.metrics.intervals import image_weights, normal_interval
from ccr_diag.metrics.inversion import Curve, curves, inverted_interval, standard_noise
from ccr_diag.metrics.populations import COARSE, SCALES, STEPS, levelled

CLASSES, BINS, REPLICATES = 8, 15, 200
ERRORS = {
    "ece": calibration.ece,
    "mce": calibration.mce,
    "weighted_mce": calibration.weighted_mce,
    "rmsce": calibration.rmsce,
    "l2_debiased": calibration.l2_debiased,
}


def predictions(rng, images, slope=1.0, lean=0.0, mean=-1.0, together=0.3, stray=0.0):
    """q = σ(slope · logit p + lean) of labels y of marginal probability p.

    Labels of an image hang together; those with p in one bin occur more often, by ``stray``.
    """
    z = rng.normal(mean, 1.5, (images, CLASSES)) + rng.normal(0, 0.7, (images, 1))
    p = expit(z)
    often = np.clip(p + stray * ((p >= 3 / BINS) & (p < 4 / BINS)), 0, 1)
    latent = together**0.5 * rng.normal(size=(images, 1))
    latent = latent + (1 - together) ** 0.5 * rng.normal(size=p.shape)
    return expit(slope * z + lean), latent < norm.ppf(often)


def sums(q, y):
    """Count, Σ confidence, Σ outcome of each image, class and bin."""
    index = np.minimum((q * BINS).astype(int), BINS - 1)
    found = np.zeros((3, *q.shape, BINS))
    at = np.indices(q.shape)
    for i, part in enumerate((np.ones_like(q), q, y)):
        found[i, at[0], at[1], index] = part
    return found


def whole_and_drawn(q, y, seed=0, replicates=REPLICATES):
    """(classes, bins) of all images, (classes, replicates, bins) of half-samples."""
    each = sums(q, y)
    weights = image_weights(seed, replicates, 0, len(q)).astype(float)
    whole = each.sum(axis=1)
    drawn = np.moveaxis(np.tensordot(weights.T, each, axes=(1, 1)), 0, 2)
    return ReliabilityBins(*whole, whole[1]), ReliabilityBins(*drawn, drawn[1] * np.nan)


def test_curves_follow_the_formulas():
    rng = np.random.default_rng(0)
    whole, drawn = whole_and_drawn(*predictions(rng, 60, slope=1.3), replicates=7)
    bins, half = whole[2], drawn[2]
    noise = standard_noise(0, [2], 7, BINS)[0]
    found = curves(ERRORS, bins, half, noise)["ece"]
    n = bins.count
    total = n.sum()
    gap, error, confidence = np.zeros(BINS), np.zeros((7, BINS)), np.zeros(BINS)
    for b in range(BINS):
        if n[b]:
            gap[b] = (bins.sum_confidence[b] - bins.sum_outcome[b]) / n[b]
            confidence[b] = bins.sum_confidence[b] / n[b]
            for r in range(7):
                scaled_up = (half.sum_confidence[r, b] - half.sum_outcome[r, b]) * total
                error[r, b] = scaled_up / half.count[r].sum() / n[b] - gap[b]
    variance = (error**2).mean(axis=0)
    sd = np.maximum(variance, confidence * (1 - confidence) / np.maximum(n, 1)) ** 0.5
    expected = slow_families(n, gap, sd, error)
    assert len(found) == len(expected) == 4
    for curve, family in zip(found, expected, strict=True):
        assert curve.truth.shape == (len(family),)
        for i, gaps in enumerate(family):
            assert curve.truth[i] == pytest.approx((n * np.abs(gaps)).sum() / total, abs=1e-12)
            for r in range(7):
                shown = 0.0
                for b in range(BINS):
                    q = min(max(confidence[b] - gaps[b], 0), 1)
                    lack = max(q * (1 - q) / max(n[b], 1) - variance[b], 0) ** 0.5
                    shown += n[b] * abs(gaps[b] + error[r, b] + lack * noise[r, b]) / total
                assert curve.shown[i, r] == pytest.approx(shown, abs=1e-12)


def slow_families(n, gap, sd, error):
    """Populations' gaps by plain loops over bins that have entries."""
    there = [b for b in range(BINS) if n[b]]
    calibrated = np.zeros(BINS)
    scaled, shifted, levelled, alike = [], [calibrated], [calibrated], [calibrated]
    scaled = [x * gap for x in SCALES]
    largest = max(n[b] * abs(gap[b]) for b in there)
    worst = max(there, key=lambda b: n[b] * (abs(gap[b]) + 2 * sd[b]))
    mean = sum(n[b] * gap[b] for b in there) / n.sum()
    means = [sum(n[b] * e[b] for b in there) / n.sum() for e in error]
    sd_of_mean = (sum(m**2 for m in means) / len(means)) ** 0.5
    for t in STEPS:
        moved, cut, leaning = np.zeros((3, BINS))
        m = max(largest + t * n[worst] * sd[worst], 0)
        for b in there:
            side = -1 if gap[b] < 0 else 1
            moved[b] = side * max(abs(gap[b]) + t * sd[b], 0)
            cut[b] = side * (m if t > 0 and b == worst else min(n[b] * abs(gap[b]), m)) / n[b]
            leaning[b] = mean + t * (-1 if mean < 0 else 1) * sd_of_mean
        for family, gaps in zip((shifted, levelled, alike), (moved, cut, leaning), strict=True):
            family.append(gaps)
    return scaled, shifted, levelled, alike


def test_the_bin_that_could_be_worst_need_not_be_the_one_that_seems_so():
    n, gap, sd = np.array([100.0, 10.0]), np.array([0.01, -0.05]), np.array([0.001, 0.3])
    worse = levelled(n, gap, sd)[STEPS.index(1.0)]
    np.testing.assert_allclose(worse, [0.01, -(100 * 0.01 + 10 * 0.3) / 10])


def test_ends_are_where_the_quantiles_of_a_curve_meet_the_value():
    spread = np.linspace(-1, 1, 4001)[1:-1]  # q_{0.025} = −0.95, q_{0.975} = 0.95
    truth = np.array([0.0, 1.0, 2.0, 3.0, 6.0])
    line = Curve(truth, truth[:, None] + spread)
    for value in (0.2, 1.3, 2.7, 4.0):
        low, high = inverted_interval(np.asarray(value), [line], 10.0)
        assert low == pytest.approx(max(value - 0.95, 0))
        assert high == pytest.approx(value + 0.95)


def test_a_lucky_value_has_the_upper_end_of_the_middle_of_the_calibrated():
    truth = np.array([0.0, 4.0])
    line = Curve(truth, 2 + truth[:, None] + np.linspace(-1, 1, 4001)[1:-1])
    found = [inverted_interval(np.asarray(v), [line], 10.0) for v in (0.1, 1.5, 2.0)]
    assert [float(low) for low, _ in found] == [0, 0, 0]
    assert [float(high) for _, high in found] == pytest.approx([0.95] * 3)


def test_where_no_population_is_bad_enough_chance_sets_the_upper_end():
    truth = np.array([0.0, 0.1])  # a sample without gaps: scaling them changes nothing
    flat = Curve(truth, 1 + 0 * truth[:, None] + np.linspace(-1, 1, 4001)[1:-1])
    low, high = inverted_interval(np.asarray(1.0), [flat], 10.0)
    assert (low, high) == (0, pytest.approx(1.95))


def test_families_are_taken_together_and_ends_stay_possible():
    spread = np.linspace(-1, 1, 4001)[1:-1]
    truth = np.linspace(0, 6, 4)
    one, other = Curve(truth, truth[:, None] + spread), Curve(truth, truth[:, None] + 0.5 + spread)
    low, high = inverted_interval(np.asarray(2.0), [one, other], 2.5)
    assert (low, high) == (pytest.approx(0.55), 2.5)


def test_undefined_values_have_no_ends_and_undefined_samples_are_left_out():
    spread = np.linspace(-1, 1, 401)[1:-1]
    shown = np.stack([np.full((2, 399), np.nan), np.array([0, 3.0])[:, None] + spread])
    shown[1, :, ::7] = np.nan
    curve = Curve(np.array([[np.nan, np.nan], [0.0, 3.0]]), shown)
    low, high = inverted_interval(np.array([np.nan, 1.5]), [curve], 10.0)
    assert np.isnan([low[0], high[0]]).all()
    assert (low[1], high[1]) == (pytest.approx(0.55, abs=0.02), pytest.approx(2.45, abs=0.02))


def test_classes_together_are_classes_one_by_one():
    whole, drawn = whole_and_drawn(*predictions(np.random.default_rng(1), 80), replicates=30)
    noise = standard_noise(3, range(CLASSES), 30, BINS)
    together = curves(ERRORS, whole, drawn, noise)
    for name, error in ERRORS.items():
        ends = inverted_interval(error(whole), together[name], 1.0)
        for c in range(CLASSES):
            alone = curves({name: error}, whole[c], drawn[c], noise[c])[name]
            expected = inverted_interval(error(whole[c]), alone, 1.0)
            np.testing.assert_allclose(ends[:, c], expected, atol=1e-12)


def test_the_mean_of_classes_leaves_out_those_without_an_entry():
    truth = np.array([[0.0, 0.2], [np.nan, np.nan], [0.0, 0.4], [0.0, 9.0]])
    shown = truth[..., None] + np.arange(3) / 10
    mean = Curve(truth, shown).class_mean(np.array([True, True, True, False]))
    np.testing.assert_allclose(mean.truth, [0, 0.3])
    np.testing.assert_allclose(mean.shown, [[0, 0.1, 0.2], [0.3, 0.4, 0.5]])
    none = Curve(truth, shown).class_mean(np.array([False, True, False, False]))
    assert np.isnan(none.truth).all()
    joined = Curve.joined([Curve(truth[:1], shown[:1]), Curve(truth[1:], shown[1:])])
    np.testing.assert_array_equal(joined.shown, shown)


def test_noise_of_a_row_does_not_depend_on_the_others():
    some = standard_noise(5, [0, 3], 4, 6)
    np.testing.assert_array_equal(some, standard_noise(5, range(4), 4, 6)[[0, 3]])
    assert (some[0] != some[1]).all()
    many = standard_noise(5, range(50), 40, 15)
    assert many.mean() == pytest.approx(0, abs=4 / many.size**0.5)
    assert many.std() == pytest.approx(1, abs=4 / many.size**0.5)


def test_far_from_calibrated_it_is_the_normal_interval():
    q, y = predictions(np.random.default_rng(2), 4000, slope=1, lean=1.5)
    whole, drawn = (part.pooled() for part in whole_and_drawn(q, y))
    ece = calibration.ece(whole)
    low, high = inverted_interval(
        ece, curves(ERRORS, whole, drawn, standard_noise(0, [0], REPLICATES, BINS)[0])["ece"], 1.0
    )
    expected = normal_interval(ece, calibration.ece(drawn), (0.0, 1.0))
    width = expected[1] - expected[0]
    np.testing.assert_allclose((low, high), expected, atol=0.15 * width)


def test_narrow_bins_take_the_scaled_family_at_fewer_points():
    whole, drawn = whole_and_drawn(*predictions(np.random.default_rng(3), 50), replicates=10)
    (only,) = curves({"ece": calibration.ece}, whole[0], drawn[0])["ece"]
    assert only.truth == pytest.approx(calibration.ece(whole[0]) * np.array(COARSE))


CASES = {
    "calibrated": {},
    "calibrated, labels together": {"together": 0.6},
    "calibrated, rare": {"mean": -4.0},
    "a little too extreme": {"slope": 1.1},
    "too extreme": {"slope": 1.3},
    "far off": {"slope": 1.8, "lean": 0.6},
    "leaning": {"lean": 0.2},
    "rare and far off": {"mean": -4.0, "lean": 0.5},
    "off in one bin": {"stray": 0.15},
    "far off in one bin": {"stray": 0.4},
}


def truths(errors, **model):
    """Of a population; exact for a calibrated one."""
    if not {"slope", "lean", "stray"} & model.keys():
        return dict.fromkeys([*errors, "classwise", "one class"], 0.0)
    each = [
        sums(*predictions(np.random.default_rng(10**6 + s), 20_000, **model)).sum(axis=1)
        for s in range(8)
    ]
    whole = sum(each[1:], each[0])
    bins = ReliabilityBins(*whole, whole[1])
    found = {name: float(error(bins.pooled())) for name, error in errors.items()}
    found |= {"l2_debiased": float(calibration.rmsce(bins.pooled()))}
    of_classes = calibration.ece(bins)
    return found | {"classwise": of_classes.mean(), "one class": float(of_classes[0])}


def coverage(seeds, images=400, errors=ERRORS, **model):
    """How often the intervals hold the truth."""
    truth = truths(errors, **model)
    held = dict.fromkeys([*errors, "classwise", "one class"], 0)
    for seed in range(seeds):
        whole, drawn = whole_and_drawn(
            *predictions(np.random.default_rng(seed), images, **model), seed
        )
        pooled = curves(
            errors, whole.pooled(), drawn.pooled(), standard_noise(seed, [99], REPLICATES, BINS)[0]
        )
        ends = {
            name: inverted_interval(error(whole.pooled()), pooled[name], 1.0)
            for name, error in errors.items()
        }
        noise = standard_noise(seed, range(CLASSES), REPLICATES, BINS)
        by_class = curves({"ece": calibration.ece}, whole, drawn, noise)["ece"]
        of_classes = calibration.ece(whole)
        ends["one class"] = inverted_interval(of_classes, by_class, 1.0)[:, 0]
        every = np.ones(CLASSES, dtype=bool)
        mean = [curve.class_mean(every) for curve in by_class]
        ends["classwise"] = inverted_interval(np.asarray(of_classes.mean()), mean, 1.0)
        for name, (low, high) in ends.items():
            held[name] += bool(low <= truth[name] <= high)
    return {name: count / seeds for name, count in held.items()}


@pytest.mark.parametrize("case", ["calibrated", "too extreme", "off in one bin"])
def test_intervals_hold_the_truth_about_as_often_as_they_say(case):
    few = {name: ERRORS[name] for name in ("ece", "rmsce", "l2_debiased")}
    for name, share in coverage(50, errors=few, **CASES[case]).items():
        assert share >= 0.84, (name, share)  # three standard errors of a share below 95 %


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_intervals_hold_the_truth_as_often_as_they_say(case):
    for name, share in coverage(400, **CASES[case]).items():
        assert share >= 0.9, (name, share)  # three standard errors below the least seen
