"""How steady correlations of batches are, against slow formulas and what must hold for any data."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import hypergeom, pearsonr
from sklearn.metrics.pairwise import cosine_similarity

from ccr_diag.arrays import ProbabilityMap
from ccr_diag.covariance import ESTIMATORS
from ccr_diag.errors import BadConfig, BadData
from ccr_diag.predictions import Predictions
from ccr_diag.stability import BATCH_SIZES, MEASURES, STATISTICS, stability_of

PLAIN = ProbabilityMap(1.0, 0.0, "given")


def some(images=60, classes=6, seed=0, unknown=0.0, spread=1.5):
    """Logits with a common cause, and labels drawn from them."""
    rng = np.random.default_rng(seed)
    cause = rng.normal(0, 1, (images, 2)) @ rng.normal(0, 1, (2, classes))
    z = rng.normal(-2, 1, classes) + spread * cause + rng.normal(0, 0.5, (images, classes))
    y = (rng.uniform(size=z.shape) < expit(z)).astype(np.int8)
    y[rng.uniform(size=z.shape) < unknown] = -1
    return predictions(z, y)


def predictions(z, y, kind="logits", mapped=PLAIN):
    names = tuple(f"class {c}" for c in range(z.shape[1]))
    return Predictions(z, y, names, (), mapped, (), {"model": "bce"}, kind)


def measured(p, **options):
    """{(statistic, size, measure): row} and {statistic: row of all images}."""
    (model,) = stability_of([p], **{"batch_sizes": (8,), "n_batches": 5} | options)["models"]
    rows = {(r["statistic"], r["batch_size"], r["measure"]): r for r in model["batches"]}
    return rows, {row["statistic"]: row for row in model["whole"]}


def means(p, **options):
    rows, _ = measured(p, **options)
    return {key: row["mean"] for key, row in rows.items()}


def by_hand(name, z, y):
    """A correlation from its formula, dead classes at 0; all labels known."""
    with np.errstate(invalid="ignore", divide="ignore"):
        q, absent = expit(-z), y == 0
        about_mean = (q - (q * absent).sum(0) / absent.sum(0)) * absent
        c = {
            "uncentred": lambda: cosine_similarity(q.T),
            "uncentred_inactive": lambda: cosine_similarity((q * absent).T),
            "centred_inactive": lambda: cosine_similarity(about_mean.T),
            "centred": lambda: np.corrcoef(q.T),
            "presence": lambda: cosine_similarity(expit(z).T),
            "label_presence": lambda: cosine_similarity((y == 1).T.astype(float)),
            "label_absence": lambda: cosine_similarity(absent.T.astype(float)),
            "label_centred": lambda: np.corrcoef((y == 1).T),
        }[name]()
    return np.nan_to_num(c)


def beyond_classes(c):
    """What is left of the entries off the diagonal after a regression on their classes."""
    pairs = np.triu_indices(len(c), 1)
    dummies = np.eye(len(c))[pairs[0]] + np.eye(len(c))[pairs[1]]
    return c[pairs] - dummies @ np.linalg.lstsq(dummies, c[pairs], rcond=None)[0]


@pytest.mark.parametrize("name", STATISTICS)
def test_each_measure_from_its_formula(name):
    p = some()
    z, y = p.values, p.labels
    whole = by_hand(name, z, y)
    off = ~np.eye(len(whole), dtype=bool)
    pairs = np.triu_indices(len(whole), 1)
    rng, expected = np.random.default_rng((3, 10)), []
    for _ in range(4):
        rows = rng.choice(len(z), 10, replace=False)
        batch = by_hand(name, z[rows], y[rows])
        live = batch.diagonal() > 0
        both = np.outer(live, live)[pairs]
        error = np.linalg.norm((batch - whole)[off])
        expected.append(
            {
                "error": error / np.linalg.norm(whole[off]),
                "spread_error": error / np.linalg.norm(whole[off] - whole[off].mean()),
                "pearson": pearsonr(batch[off], whole[off]).statistic,
                "pearson_live": pearsonr(batch[pairs][both], whole[pairs][both]).statistic,
                "pearson_pairs": pearsonr(beyond_classes(batch), beyond_classes(whole)).statistic,
                "evidence": np.mean(batch[off] != 0),
                "dead": np.mean(~live),
            }
        )
    rows, of_all = measured(p, batch_sizes=(10,), n_batches=4, seed=3)
    for measure in MEASURES:
        values = [e[measure] for e in expected]
        row = rows[name, 10, measure]
        found = [row["mean"], row["sd"], (row["high"] - row["low"]) / 2]
        sd = np.std(values, ddof=1)
        # The ε under the root of the centred ones moves the fourth digit at most.
        np.testing.assert_allclose(
            found, [np.mean(values), sd, 3.182446 * sd / 2], rtol=2e-3, atol=2e-4
        )
        assert row["n"] == 4
    np.testing.assert_allclose(
        [of_all[name][key] for key in ("n_live", "mean", "sd", "min", "max")],
        [6, whole[off].mean(), whole[off].std(), whole[off].min(), whole[off].max()],
        atol=2e-4,
    )


def test_some_class_was_dead_in_those_batches():
    rows, _ = measured(some(), batch_sizes=(10,), n_batches=4, seed=3)
    assert rows["label_presence", 10, "dead"]["mean"] > 0
    pearson, live = (rows["label_presence", 10, m]["mean"] for m in ("pearson", "pearson_live"))
    assert abs(pearson - live) > 0.001


def test_absence_of_predictions_comes_by_every_estimator():
    absence = {
        key: s.estimator for key, s in STATISTICS.items() if (s.of, s.sign) == ("predictions", 1)
    }
    assert absence == {key: key for key in ESTIMATORS}


@pytest.mark.parametrize("unknown", [0.0, 0.3])
def test_a_batch_of_all_images_errs_nowhere(unknown):
    found = means(some(unknown=unknown), batch_sizes=(60,))
    for key in STATISTICS:
        assert found[key, 60, "error"] == pytest.approx(0, abs=1e-12)
        assert found[key, 60, "pearson"] == pytest.approx(1)
        assert found[key, 60, "dead"] == 0


def test_larger_batches_err_less():
    found = means(some(400), batch_sizes=(8, 32, 128), n_batches=20)
    for key in STATISTICS:
        for measure in ("pearson", "pearson_pairs"):
            values = [found[key, size, measure] for size in (8, 32, 128)]
            assert values == sorted(values)
    for key in ESTIMATORS:
        values = [found[key, size, "spread_error"] for size in (128, 32, 8)]
        assert values == sorted(values)


def test_presence_is_absence_of_the_opposite_and_centring_knows_no_sign():
    p = some()
    found, turned = means(p), means(replace(p, values=-p.values))
    for measure in MEASURES:
        same = pytest.approx(found["uncentred", 8, measure])
        assert turned["presence", 8, measure] == same
        assert turned["centred", 8, measure] == pytest.approx(found["centred", 8, measure])
    assert found["uncentred", 8, "error"] < found["presence", 8, "error"] / 2


def test_unknown_entries_say_nothing():
    p = some(unknown=0.4)
    moved = np.where(p.labels == -1, 5.0, p.values)
    assert means(replace(p, values=moved)) == pytest.approx(means(p), nan_ok=True)


def test_class_order_does_not_matter():
    p, order = some(), [3, 0, 5, 1, 4, 2]
    other = predictions(p.values[:, order], p.labels[:, order])
    assert means(other) == pytest.approx(means(p))


def test_scores_and_probabilities_give_what_their_logits_give():
    p = some()
    expected = means(p)
    score_map = ProbabilityMap(20.0, -2.0, "prior")
    scores = ((p.values + 2) / 20).astype(np.float32)
    assert means(predictions(scores, p.labels, "scores", score_map)) == pytest.approx(
        expected, rel=1e-4
    )
    probs = expit(p.values)
    assert means(predictions(probs, p.labels, "probs", None)) == pytest.approx(expected)
    # σ undoes the infinite logits of 0 and 1.
    probs[:3, :3], probs[3:6, :3] = 0.0, 1.0
    near = np.clip(probs, 1e-15, 1 - 1e-15)
    certain = means(predictions(probs, p.labels, "probs", None))
    assert certain == pytest.approx(means(predictions(logit(near), p.labels)), rel=1e-6)


def test_draws_repeat_and_those_of_a_size_are_its_own():
    p = some()
    assert means(p) == means(p)
    assert means(p) != means(p, seed=1)
    alone, beside = means(p, batch_sizes=(16,)), means(p, batch_sizes=(32, 16, 8, 16))
    assert list(dict.fromkeys(size for _, size, _ in beside)) == [8, 16, 32]
    assert {key: beside[key] for key in alone} == alone


def test_dead_classes_are_those_without_a_positive():
    rng = np.random.default_rng(0)
    y = (rng.uniform(size=(300, 40)) < np.linspace(0.01, 0.2, 40)).astype(np.int8)
    row = measured(predictions(np.zeros((300, 40)), y), batch_sizes=(16,), n_batches=60)[0][
        "label_presence", 16, "dead"
    ]
    positives = y.sum(axis=0)
    expected = hypergeom.pmf(0, 300, positives[positives > 0], 16).mean()
    assert row["low"] < expected < row["high"]
    assert row["high"] - row["low"] < 0.06


def test_a_class_that_nobody_shows_is_left_out():
    p = some()
    z, y = (np.insert(a, 2, a[:, 0], axis=1) for a in (p.values, p.labels))
    y[:, 2] = 0
    found, expected = means(predictions(z, y)), means(p)
    for measure in MEASURES:
        same = pytest.approx(expected["label_presence", 8, measure])
        assert found["label_presence", 8, measure] == same


def test_a_pattern_of_rounding_errors_is_none():
    z = np.tile(np.linspace(-3, 1, 7), (30, 1))
    rows, whole = measured(predictions(z, np.zeros(z.shape, np.int8)))
    assert whole["uncentred"]["mean"] == pytest.approx(1)
    for measure in ("spread_error", "pearson", "pearson_live", "pearson_pairs"):
        assert rows["uncentred", 8, measure]["mean"] is None


def test_a_small_error_is_not_a_pattern():
    """Independent, rare predictions: nothing to find, and the common part alone is found."""
    z = np.random.default_rng(0).normal(-4, 0.5, (500, 20))
    found = means(predictions(z, np.zeros(z.shape, np.int8)), batch_sizes=(16,), n_batches=20)
    assert found["uncentred", 16, "error"] < 0.001
    assert found["uncentred", 16, "spread_error"] > 1
    assert found["uncentred", 16, "pearson"] < 0.5
    assert found["centred", 16, "error"] > 2


def test_a_pattern_of_classes_is_not_one_of_pairs():
    """Independent labels: how often each class is absent is found, and no pair is."""
    rng = np.random.default_rng(0)
    y = (rng.uniform(size=(2000, 20)) < np.linspace(0.02, 0.6, 20)).astype(np.int8)
    found = means(predictions(np.zeros(y.shape), y), batch_sizes=(64,), n_batches=20)
    assert found["label_absence", 64, "pearson"] > 0.9
    assert found["label_absence", 64, "pearson_pairs"] < 0.6


def test_what_is_not_defined_is_none():
    """Saturated: every p is 1; nobody shows class 0; and three classes leave no pair beyond."""
    y = np.zeros((20, 3), np.int8)
    y[::2, 1:] = 1
    p = predictions(np.full((20, 3), 40.0), y)
    rows, whole = measured(p)
    for key in ("uncentred", "centred"):
        assert (whole[key]["n_live"], whole[key]["mean"]) == (0, None)
        assert {rows[key, 8, m]["mean"] for m in MEASURES} == {None}
        assert {rows[key, 8, m]["n"] for m in MEASURES} == {0}
    assert whole["presence"]["n_live"] == 3
    assert rows["presence", 8, "error"]["mean"] == pytest.approx(0, abs=1e-12)
    assert rows["presence", 8, "pearson"]["mean"] is None
    assert whole["label_presence"]["n_live"] == 2
    assert rows["label_absence", 8, "pearson_pairs"]["mean"] is None


def test_a_batch_without_any_pattern_recovers_none():
    """One image in twenty has labels: batches without it have no live class, and r = 0."""
    y = np.zeros((20, 5), np.int8)
    y[0, :3], y[1, 2:], y[2, :] = 1, 1, 1
    rows, _ = measured(predictions(np.zeros(y.shape), y), batch_sizes=(2,), n_batches=50)
    pearson, dead = (rows["label_presence", 2, m] for m in ("pearson", "dead"))
    assert pearson["n"] == 50
    assert dead["mean"] > 0.5
    assert pearson["mean"] < 0.5
    assert rows["label_presence", 2, "pearson_live"]["n"] < 25


def test_sizes_that_fit_are_taken_and_models_are_numbered():
    told = []
    record = stability_of([some(40), some(70)], lambda *done: told.append(done), n_batches=2)
    assert record["definitions"]["batch_sizes"] == [8, 16, 32] == list(BATCH_SIZES[:3])
    assert [m["name"] for m in record["models"]] == ["bce", "bce (2)"]
    assert [(m["n_images"], m["n_classes"]) for m in record["models"]] == [(40, 6), (70, 6)]
    assert told == [(done, 6) for done in range(1, 7)]
    assert stability_of([some(16)], n_batches=2)["definitions"]["batch_sizes"] == [8, 16]


@pytest.mark.parametrize(
    ("p", "options", "error", "text"),
    [
        (some(20), {"batch_sizes": (8, 32)}, BadConfig, "the 20 images of bce, but was to hold 32"),
        (some(7), {}, BadConfig, "fit the 7 images of bce, but was to hold 8"),
        (some(), {"batch_sizes": (1, 8)}, BadConfig, "at least 2 images, but was to hold 1"),
        (some(), {"n_batches": 1}, BadConfig, "at least 2 batches, but got 1"),
        (some(classes=2), {}, BadData, "at least 3 of them to have a pattern, but bce has 2"),
    ],
)
def test_bad_input_is_refused(p, options, error, text):
    with pytest.raises(error, match=text):
        stability_of([p], **options)
