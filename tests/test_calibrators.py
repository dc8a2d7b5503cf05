import json

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_expit
from sklearn.calibration import _SigmoidCalibration
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from ccr_diag.calibrators import KIND, METHODS, cross_fit, fit, fold_of, newton
from ccr_diag.calibrators.fitting import STRENGTHS
from ccr_diag.errors import BadConfig, BadPredictions

LOGISTIC = ("temperature", "bias", "temperature_bias", "platt", "beta")
FORMULAS = {
    "temperature": lambda z, t: t[0] * z,
    "bias": lambda z, t: z + t[0],
    "temperature_bias": lambda z, t: t[0] * z + t[1],
    "platt": lambda z, t: t[0] * z + t[1],
    "beta": lambda z, t: t[0] * log_expit(z) - t[1] * log_expit(-z) + t[2],
}
START = {
    "temperature": [1.0],
    "bias": [0.0],
    "temperature_bias": [1.0, 0.0],
    "platt": [1.0, 0.0],
    "beta": [1.0, 1.0, 0.0],
}


def noisy(images=600, classes=3, seed=0, slopes=0.6, intercepts=-0.8):
    """Logits whose calibrated form is slopes · z + intercepts, and labels drawn from it."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-0.5, 2, (images, classes))
    labels = rng.random(logits.shape) < expit(slopes * logits + intercepts)
    return logits, labels.astype(np.int8)


def uneven(images=200, seed=0):
    """Three classes, of which each needs a map of its own."""
    return noisy(images, 3, seed, np.array([0.3, 1.0, 1.8]), np.array([-2.0, 0.0, 1.5]))


def probabilities(calibration, logits):
    values = calibration(logits)
    return expit(values) if calibration.kind == "logits" else values


def targets(method, y):
    """The outcomes, or Platt's smoothed ones."""
    if method != "platt":
        return y.astype(float)
    return np.where(y == 1, ((y == 1).sum() + 1) / ((y == 1).sum() + 2), 1 / ((y == 0).sum() + 2))


def loss_of(method, z, y):
    t = targets(method, y)

    def loss(theta):
        line = FORMULAS[method](z, theta)
        return np.logaddexp(0, line).sum() - t @ line

    return loss


def hessian(loss, theta, h=1e-3):
    """Second derivatives by differences."""
    unit = np.eye(len(theta)) * h
    return np.array(
        [
            [
                (loss(theta + a + b) - loss(theta + a - b) - loss(theta - a + b))
                + loss(theta - a - b)
                for a in unit
            ]
            for b in unit
        ]
    ) / (4 * h * h)


def likeliest(method, loss):
    return minimize(
        loss,
        START[method],
        method="Nelder-Mead",
        options=dict(xatol=1e-9, fatol=1e-12, maxiter=9999),
    ).x


# one shared map


@pytest.mark.parametrize("method", LOGISTIC)
def test_likeliest_parameters_of_the_formula(method):
    logits, labels = noisy()
    theta = likeliest(method, loss_of(method, logits.ravel(), labels.ravel()))
    values = fit(method, logits, labels, ["all"] * 3)(logits)
    np.testing.assert_allclose(values, FORMULAS[method](logits, theta), atol=1e-5)


def test_platt_is_that_of_scikit_learn():
    logits, labels = noisy()
    other = _SigmoidCalibration().fit(logits.ravel(), labels.ravel())
    values = fit("platt", logits, labels, ["all"] * 3)(logits)
    np.testing.assert_allclose(expit(values).ravel(), other.predict(logits.ravel()), atol=1e-5)


@pytest.mark.parametrize("images", [500, newton.BLOCK + 1000])
def test_temperature_and_bias_are_those_of_scikit_learn(images):
    logits, labels = noisy(images, 1)
    other = LogisticRegression(C=np.inf, tol=1e-10, solver="newton-cholesky")
    other.fit(logits, labels.ravel())
    values = fit("temperature_bias", logits, labels, ["all"])(logits)
    np.testing.assert_allclose(values.ravel(), other.decision_function(logits), atol=1e-6)


@pytest.mark.parametrize(("centre", "spread"), [(25, 3), (-60, 5), (300, 30), (0, 200), (0, 0.1)])
def test_logits_far_from_the_outcomes_are_brought_back_in_few_steps(centre, spread, monkeypatch):
    monkeypatch.setattr(newton, "STEPS", 8)
    unit, labels = noisy(2000, 1, slopes=1.5, intercepts=-3.0)
    logits = centre + spread * unit  # without bias, as of a model that was never given one
    other = LogisticRegression(C=np.inf, tol=1e-10, solver="newton-cholesky")
    other.fit(unit, labels.ravel())
    values = fit("temperature_bias", logits, labels, ["all"])(logits)
    np.testing.assert_allclose(values.ravel(), other.decision_function(unit), atol=1e-3)
    values = fit("bias", logits, labels, ["all"])(logits)
    assert expit(values).mean() == pytest.approx(labels.mean(), abs=1e-6)


def test_pools_far_apart_have_their_own_fits():
    unit, labels = noisy(1000, 2, slopes=1.5, intercepts=np.array([-2.0, 1.0]))
    logits = np.array([25.0, -60.0]) + np.array([3.0, 9.0]) * unit
    for method in ("temperature_bias", "platt"):
        own = fit(method, logits, labels, ["a", "b"], strength=0.0)(logits)
        for c in (0, 1):
            alone = fit(method, logits[:, [c]], labels[:, [c]], ["a"])(logits[:, [c]])
            np.testing.assert_allclose(own[:, [c]], alone, atol=1e-3)


def test_a_pool_that_a_threshold_separates_has_the_slope_that_it_has_alone():
    """Next to no pull to any other map keeps it finite, and none of its digits hang on that map."""
    logits, labels = noisy(400, 2)
    labels[:, 0] = logits[:, 0] > 0
    own = fit("temperature_bias", logits, labels, ["a", "b"], strength=0.0).as_dict()["pools"]["a"]
    alone = fit("temperature_bias", logits[:, :1], labels[:, :1], ["a"]).as_dict()["pools"]["a"]
    assert 0 < alone["temperature"] < 0.01
    assert own["temperature"] == pytest.approx(alone["temperature"], rel=1e-2)


def test_isotonic_is_that_of_scikit_learn():
    logits, labels = noisy()
    wider = np.linspace(-20, 20, 999).reshape(-1, 3)  # beyond the ends, and between the steps
    other = IsotonicRegression(out_of_bounds="clip").fit(logits.ravel(), labels.ravel())
    calibration = fit("isotonic", logits, labels, ["all"] * 3)
    np.testing.assert_allclose(
        calibration(wider).ravel(), other.predict(wider.ravel()), rtol=0, atol=1e-12
    )


def test_histogram_is_the_share_of_positives_of_each_bin():
    logits, labels = noisy()
    p, y = expit(logits), labels
    expected = np.empty_like(p)
    for low in np.arange(15) / 15:
        inside = (low <= p) & (p < low + 1 / 15)
        expected[inside] = y[inside].mean()
    values = fit("histogram", logits, labels, ["all"] * 3)(logits)
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_a_map_finds_what_the_labels_were_drawn_from(method):
    intercept = 0.0 if method == "temperature" else -1.0
    slope = 1.0 if method == "bias" else 0.5
    logits, labels = noisy(20_000, 1, slopes=slope, intercepts=intercept)
    truth = expit(slope * logits + intercept)
    after = probabilities(fit(method, logits, labels, ["all"]), logits) - truth
    before = expit(logits) - truth
    assert (after**2).mean() < 0.05 * (before**2).mean()


def test_parameters_are_recorded_in_the_usual_terms():
    logits, labels = noisy(20_000, 1, slopes=0.5, intercepts=-1.0)

    def parameters(method):
        return fit(method, logits, labels, ["all"]).as_dict()["pools"]["all"]

    assert parameters("temperature_bias")["temperature"] == pytest.approx(2, rel=0.05)
    assert parameters("temperature_bias")["bias"] == pytest.approx(-1, rel=0.05)
    assert parameters("temperature")["temperature"] == pytest.approx(
        1 / (fit("temperature", logits, labels, ["all"])(np.ones((1, 1)))[0, 0]), rel=1e-12
    )
    assert parameters("platt")["slope"] == pytest.approx(0.5, rel=0.05)
    assert parameters("platt")["intercept"] == pytest.approx(-1, rel=0.05)
    beta = parameters("beta")
    line = FORMULAS["beta"](logits, (beta["a"], beta["b"], beta["c"]))
    np.testing.assert_allclose(line, fit("beta", logits, labels, ["all"])(logits), atol=1e-12)
    logits, labels = noisy(20_000, 1, slopes=1.0, intercepts=-1.0)
    assert parameters("bias")["bias"] == pytest.approx(-1, rel=0.05)


@pytest.mark.parametrize("method", ["temperature", "temperature_bias", "beta"])
def test_the_order_of_images_is_never_turned_around(method):
    logits, labels = noisy(slopes=-0.7)
    calibration = fit(method, logits, labels, ["all"] * 3)
    assert (np.diff(calibration(np.linspace(-9, 9, 300).reshape(-1, 3)), axis=0) >= 0).all()
    assert calibration.as_dict()["pools"]["all"]["at_bound"] is True
    logits, labels = noisy()
    assert "at_bound" not in fit(method, logits, labels, ["all"] * 3).as_dict()["pools"]["all"]


def test_the_bound_of_beta_is_where_its_loss_is_least():
    logits, labels = noisy(slopes=0.0, intercepts=0.0)
    labels = (logits > 1.5).astype(np.int8) | labels  # flat, then rising: one exponent is 0
    z, y = logits.ravel(), labels.ravel()
    best = minimize(
        loss_of("beta", z, y), START["beta"], bounds=[(0, None), (0, None), (None, None)]
    )
    values = fit("beta", logits, labels, ["all"] * 3)(logits)
    assert min(best.x[:2]) == 0
    np.testing.assert_allclose(values, FORMULAS["beta"](logits, best.x), atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_extreme_logits_stay_finite(method):
    logits, labels = noisy()
    asked = np.array([[-800.0, 0.0, 800.0]])
    assert np.isfinite(fit(method, logits, labels, ["all"] * 3)(asked)).all()
    logits[:2] = [[-800.0] * 3, [800.0] * 3]
    assert np.isfinite(fit(method, logits, labels, ["all"] * 3)(logits)).all()


@pytest.mark.parametrize("method", METHODS)
def test_outcomes_that_a_threshold_separates_have_a_map(method):
    logits = np.linspace(-1, 1, 400).reshape(-1, 1)
    labels = (logits > 0).astype(np.int8)
    calibration = fit(method, logits, labels, ["all"])
    errors = np.abs(probabilities(calibration, logits) - labels)
    assert np.isfinite(calibration(logits)).all()
    assert errors.mean() < (0.5 if method == "bias" else 0.1)


# several pools


@pytest.mark.parametrize("method", METHODS)
def test_no_strength_gives_each_pool_its_own_fit_and_inf_the_shared_one(method):
    logits, labels = uneven(400)
    names = ["a", "b", "b"]
    own = fit(method, logits, labels, names, strength=0.0)(logits)
    alone = [
        fit(method, logits[:, part], labels[:, part], ["x"] * len(part))(logits[:, part])
        for part in ([0], [1, 2])
    ]
    np.testing.assert_allclose(own, np.hstack(alone), atol=1e-5)
    shared = fit(method, logits, labels, ["all"] * 3)(logits)
    infinite = fit(method, logits, labels, names, strength=np.inf)(logits)
    np.testing.assert_allclose(infinite, shared, atol=1e-12)
    assert np.abs(own - shared).max() > 0.05


@pytest.mark.parametrize("method", LOGISTIC)
@pytest.mark.parametrize("rare", [1, 0])
def test_parameters_are_shrunk_by_the_curvature_of_the_shared_loss(method, rare):
    logits, labels = uneven(400)
    if rare == 0:
        logits, labels = -logits, 1 - labels
    strength = 20.0
    shared_loss = loss_of(method, logits.ravel(), labels.ravel())
    centre = likeliest(method, shared_loss)
    weight = strength * hessian(shared_loss, centre) / min(labels.sum(), (1 - labels).sum())
    expected = []
    for z, y in zip(logits.T, labels.T, strict=True):
        own = loss_of(method, z, y)

        def loss(theta, own=own):
            return own(theta) + (theta - centre) @ weight @ (theta - centre) / 2

        expected.append(FORMULAS[method](z, likeliest(method, loss)))
    values = fit(method, logits, labels, ["a", "b", "c"], strength=strength)(logits)
    np.testing.assert_allclose(values, np.stack(expected, axis=1), atol=1e-3)


@pytest.mark.parametrize("method", ["isotonic", "histogram"])
def test_curves_are_mixed_by_the_rarer_outcome(method):
    logits, labels = uneven()
    assert (labels.sum(axis=0) > 100).tolist() == [False, False, True]  # either outcome is rarer
    shared = fit(method, logits, labels, ["all"] * 3)(logits)
    own = fit(method, logits, labels, ["a", "b", "c"], strength=0.0)(logits)
    rarer = np.minimum(labels.sum(axis=0), (1 - labels).sum(axis=0))
    weight = rarer / (rarer + 20.0)
    values = fit(method, logits, labels, ["a", "b", "c"], strength=20.0)(logits)
    np.testing.assert_allclose(values, weight * own + (1 - weight) * shared, atol=1e-12)


@pytest.mark.parametrize("method", ["temperature", "temperature_bias", "platt"])
def test_the_unit_of_the_logits_plays_no_part_in_the_shrinkage(method):
    logits, labels = uneven()
    names = ["a", "b", "c"]
    values = fit(method, logits, labels, names, strength=20.0)(logits)
    scaled = fit(method, 8 * logits, labels, names, strength=20.0)(8 * logits)
    np.testing.assert_allclose(scaled, values, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_the_strength_is_the_best_for_images_that_were_not_fitted(method):
    names = ["a", "b", "c"]
    for logits, labels in (uneven(60), noisy(60)):
        y = labels.astype(float)
        costs = []
        for strength in STRENGTHS:
            v = cross_fit(method, logits, labels, names, strength=strength, folds=3, seed=2)
            if KIND[method] == "probs":
                costs.append(((v - y) ** 2).sum())
            else:
                costs.append((np.logaddexp(0, v) - y * v).sum())
        chosen = fit(method, logits, labels, names, folds=3, seed=2).strength
        assert costs[STRENGTHS.index(chosen)] == pytest.approx(min(costs), abs=1e-7)


def test_like_classes_are_pooled_and_unlike_ones_are_not():
    rng = np.random.default_rng(0)
    alike = noisy(60, 10)
    unlike = noisy(500, 10, 0, rng.uniform(0.2, 2, 10), rng.normal(0, 2, 10))
    names = [str(number) for number in range(10)]
    assert fit("platt", *alike, names, folds=3).strength >= 256
    assert fit("platt", *unlike, names, folds=3).strength <= 4


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("label", [0, 1, -1])
def test_a_pool_that_lacks_an_outcome_takes_the_shared_map_at_strength_0(method, label):
    logits, labels = uneven()
    labels[:, 2] = label
    calibration = fit(method, logits, labels, ["a", "b", "c"], strength=0.0)
    shared = fit(method, logits, labels, ["all"] * 3)(logits)
    np.testing.assert_allclose(calibration(logits)[:, 2], shared[:, 2], atol=1e-12)
    assert calibration.counts["c"] == (200 * (label >= 0), 200 * (label > 0))


@pytest.mark.parametrize("method", METHODS)
def test_a_pool_without_labels_takes_the_shared_map_at_any_strength(method):
    logits, labels = uneven()
    labels[:, 2] = -1
    shared = fit(method, logits, labels, ["all"] * 3)(logits)[:, 2]
    for strength in (0.0, 1.0, 100.0, None):
        values = fit(method, logits, labels, ["a", "b", "c"], strength=strength)(logits)[:, 2]
        np.testing.assert_allclose(values, shared, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_a_class_without_pool_takes_no_part_and_keeps_its_values(method):
    logits, labels = uneven()
    calibration = fit(method, logits, labels, ["a", None, "c"])
    kept = logits[:, 1] if KIND[method] == "logits" else expit(logits[:, 1])
    np.testing.assert_array_equal(calibration(logits)[:, 1], kept)
    without = fit(method, logits[:, [0, 2]], labels[:, [0, 2]], ["a", "c"])
    np.testing.assert_array_equal(calibration(logits)[:, [0, 2]], without(logits[:, [0, 2]]))


def test_an_empty_bin_takes_the_shared_level_and_where_that_is_empty_leaves_the_confidence():
    logits = np.repeat([[-3.0, -3.0], [3.0, -2.9], [3.0, -2.9]], 20, axis=0)
    labels = np.tile([[0, 0], [1, 1], [1, 0], [0, 0]], (15, 1)).astype(np.int8)
    calibration = fit("histogram", logits, labels, ["a", "b"], strength=0.0)
    shared = fit("histogram", logits, labels, ["all"] * 2)
    asked = np.array([[3.0, 3.0], [0.2, 0.2]])
    assert calibration(asked)[0, 1] == shared(asked)[0, 1] == labels[logits == 3].mean()
    np.testing.assert_allclose(calibration(asked)[1], expit(0.2), rtol=1e-15)
    record = calibration.as_dict()["pools"]["a"]
    assert record["levels"].count(None) == 13
    assert record["weight"] == 1


# what takes part


@pytest.mark.parametrize("method", METHODS)
def test_unknown_labels_take_no_part(method):
    logits, labels = uneven()
    unknown = np.random.default_rng(1).random(labels.shape) < 0.3
    labels[unknown] = -1
    asked = logits.copy()
    expected = fit(method, logits, labels, ["a", "b", "c"], folds=2)(asked)
    logits[unknown] = 50.0
    calibration = fit(method, logits, labels, ["a", "b", "c"], folds=2)
    np.testing.assert_array_equal(calibration(asked), expected)
    assert calibration.counts["a"] == ((labels[:, 0] >= 0).sum(), (labels[:, 0] == 1).sum())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("strength", [None, 10.0])
def test_no_label_of_an_image_or_its_fold_moves_its_cross_fitted_values(method, strength):
    logits, labels = uneven(60)
    names = ["a", "b", "c"]
    fold = fold_of(60, 2, 7)
    before = cross_fit(method, logits, labels, names, strength=strength, folds=2, seed=7)
    other = np.where((fold == 1)[:, None], 1 - labels, labels).astype(np.int8)
    after = cross_fit(method, logits, other, names, strength=strength, folds=2, seed=7)
    np.testing.assert_array_equal(after[fold == 1], before[fold == 1])
    assert (after[fold != 1] != before[fold != 1]).any()


def test_a_calibrator_that_memorises_does_not_look_perfect():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (200, 10))
    labels = (rng.random(logits.shape) < 0.3).astype(np.int8)
    names = [str(number) for number in range(10)]
    seen = fit("isotonic", logits, labels, names, strength=0.0)(logits)
    unseen = cross_fit("isotonic", logits, labels, names, strength=0.0)
    assert roc_auc_score(labels.ravel(), seen.ravel()) > 0.58
    assert ((seen - labels) ** 2).mean() < 0.97 * labels.var()
    assert roc_auc_score(labels.ravel(), unseen.ravel()) < 0.53
    assert ((unseen - labels) ** 2).mean() > labels.var()


def test_cross_fitted_values_are_those_of_a_fit_to_the_other_folds():
    logits, labels = uneven(60)
    fold = fold_of(60, 3, 3)
    values = cross_fit("bias", logits, labels, ["a", "b", "c"], folds=3, seed=3)
    for number in range(3):
        rest = fold != number
        calibration = fit("bias", logits[rest], labels[rest], ["a", "b", "c"], folds=3, seed=3)
        np.testing.assert_array_equal(values[~rest], calibration(logits[~rest]))


def test_folds_are_even_seeded_and_differ_between_seeds():
    fold = fold_of(103, 5, 0)
    assert sorted(np.bincount(fold)) == [20, 20, 21, 21, 21]
    np.testing.assert_array_equal(fold, fold_of(103, 5, 0))
    assert (fold != fold_of(103, 5, 1)).any()
    assert len(set(fold[:10])) > 1
    assert list(fold[:5]) != [0, 1, 2, 3, 4]


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_images_and_classes_plays_no_part(method):
    logits, labels = uneven()
    rows, columns = np.random.default_rng(3).permutation(200), np.array([2, 0, 1])
    expected = fit(method, logits, labels, ["a", "b", "a"], strength=8.0)(logits)
    turned = fit(
        method, logits[rows][:, columns], labels[rows][:, columns], ["a", "a", "b"], strength=8.0
    )
    np.testing.assert_allclose(turned(logits[:, columns]), expected[:, columns], atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_short_floats_are_calibrated_as_long_ones(method, dtype):
    logits, labels = uneven()
    short = logits.astype(dtype)
    values = fit(method, short, labels, ["a", "b", "c"], strength=5.0)(short)
    long = short.astype(np.float64)
    expected = fit(method, long, labels, ["a", "b", "c"], strength=5.0)(long)
    assert values.dtype == np.float64
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("method", METHODS)
def test_the_arrays_that_come_in_are_left_as_they_are(method):
    logits, labels = uneven()
    kept = logits.copy(), labels.copy()
    fit(method, logits, labels, ["a", None, "c"])(logits)
    np.testing.assert_array_equal(logits, kept[0])
    np.testing.assert_array_equal(labels, kept[1])


# records and faults


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("strength", [None, 3.0, np.inf])
def test_records_are_json_and_count_what_was_fitted(method, strength):
    logits, labels = uneven()
    calibration = fit(method, logits, labels, ["a", "b", "b"], strength=strength)
    record = json.loads(json.dumps(calibration.as_dict(), allow_nan=False))
    assert record["method"] == method
    assert record["kind"] == calibration.kind == KIND[method]
    assert record["strength"] == ("inf" if calibration.strength == np.inf else calibration.strength)
    assert record["pools"]["b"]["entries"] == 400
    assert record["pools"]["b"]["positives"] == labels[:, 1:].sum()


def test_one_pool_has_no_strength():
    assert fit("platt", *noisy(), ["all"] * 3, strength=5.0).strength is None


def test_methods_say_what_their_values_are():
    assert {name for name in METHODS if KIND[name] == "probs"} == {"isotonic", "histogram"}
    assert set(METHODS) == {*LOGISTIC, "isotonic", "histogram"}


@pytest.mark.parametrize("entry", [fit, cross_fit])
def test_bad_requests_are_refused_in_one_sentence(entry):
    logits, labels = noisy(20)
    pools = ["a", "b", "c"]
    with pytest.raises(BadConfig, match="no calibrator 'plat'; did you mean 'platt'"):
        entry("plat", logits, labels, pools)
    with pytest.raises(BadConfig, match="strength must be 0 or more, but got -1"):
        entry("platt", logits, labels, pools, strength=-1.0)
    with pytest.raises(BadConfig, match="strength must be 0 or more, but got nan"):
        entry("platt", logits, labels, pools, strength=np.nan)
    with pytest.raises(BadConfig, match="at least 2 folds .* but got 1 folds for 20 images"):
        entry("platt", logits, labels, pools, folds=1)
    with pytest.raises(BadConfig, match="got 21 folds for 20 images"):
        entry("platt", logits, labels, pools, folds=21)
    with pytest.raises(BadPredictions, match="is for 2 classes, but the logits have 3"):
        entry("platt", logits, labels, pools[:2])
    for sign in (1, -1):
        wild = logits.copy()
        wild[3, 1] = sign * 1e101
        with pytest.raises(BadPredictions, match=r"logits up to 1e\+100, but they reach 1e\+101"):
            entry("platt", wild, labels, pools)
    for label, positives in ((0, 0), (1, "60|48"), (-1, 0)):
        with pytest.raises(BadPredictions, match=f"may use ({positives}) are positive"):
            entry("platt", logits, np.full_like(labels, label), pools)
    with pytest.raises(BadPredictions, match="of the 0 known labels"):
        entry("platt", logits, labels, [None] * 3)
    with pytest.raises(BadPredictions, match="is for 3 classes, but the logits have 2"):
        fit("platt", logits, labels, pools)(logits[:, :2])


def test_positives_of_one_image_cannot_be_cross_fitted():
    logits, labels = noisy(20)
    labels[:] = 0
    labels[3, 1] = 1
    with pytest.raises(BadPredictions, match="may use 0 are positive; take a larger"):
        cross_fit("platt", logits, labels, ["all"] * 3)
