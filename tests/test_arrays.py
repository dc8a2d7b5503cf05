import math

import numpy as np
import pytest

from ccr_diag.arrays import MAP_RULES, ProbabilityMap, fit_map
from ccr_diag.errors import BadConfig, BadData

RNG = np.random.default_rng(0)
SCORES = RNG.uniform(-0.2, 0.5, (50, 4)).astype(np.float32)
LABELS = (RNG.random((50, 4)) < 0.1).astype(np.int8)
LABELS[::7, 1] = -1


def test_probabilities_are_the_logistic_of_the_logits():
    p = ProbabilityMap(10.0, -2.0, "mean").probabilities(SCORES)
    slow = [[1 / (1 + math.exp(-(10.0 * float(s) - 2.0))) for s in row] for row in SCORES]
    np.testing.assert_allclose(p, slow, rtol=1e-12)


def test_each_rule_keeps_its_promise():
    known = LABELS != -1
    assert fit_map("none", 30.0, SCORES, LABELS).bias == 0
    assert fit_map("model", 30.0, SCORES, LABELS, -7.5).bias == -7.5
    mean = fit_map("mean", 30.0, SCORES, LABELS)
    np.testing.assert_allclose(mean.logits(SCORES)[known].mean(), 0, atol=1e-9)
    for rule in ("prior", "learned"):
        prior = fit_map(rule, 30.0, SCORES, LABELS)
        share = (LABELS[known] == 1).mean()
        np.testing.assert_allclose(prior.probabilities(SCORES)[known].mean(), share, rtol=1e-9)
        assert prior.rule == rule


def test_the_prior_is_found_for_extreme_scales():
    for scale in (1e-3, 1e4):
        prior = fit_map("prior", scale, SCORES, LABELS)
        known = LABELS != -1
        found = prior.probabilities(SCORES)[known].mean()
        np.testing.assert_allclose(found, (LABELS[known] == 1).mean(), rtol=1e-6)


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(BadConfig, match="needs a backbone that carries a logit bias"):
        fit_map("model", 30.0, SCORES, LABELS)
    with pytest.raises(BadData, match="a share of 0 is positive"):
        fit_map("prior", 30.0, SCORES, np.zeros_like(LABELS))
    with pytest.raises(BadConfig, match="finite scale above 0"):
        ProbabilityMap(0.0, 0.0, "none")
    with pytest.raises(BadConfig, match=f"one of {', '.join(MAP_RULES)}, but got 'guess'"):
        ProbabilityMap(1.0, 0.0, "guess")
