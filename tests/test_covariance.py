import numpy as np
import pytest
import reference_losses as reference
import torch
from sklearn.metrics.pairwise import cosine_similarity

from ccr_diag.covariance import CENTRED, ESTIMATORS, predicted_correlation, text_correlation
from ccr_diag.errors import BadConfig

each_estimator = pytest.mark.parametrize("estimator", list(ESTIMATORS))


def batch(images=7, classes=5, unknown=0.2, seed=0, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    labels = rng.choice([-1, 0, 1], p=[unknown, 0.75 - unknown, 0.25], size=(images, classes))
    logits = torch.tensor(rng.normal(-0.5, 1.5, (images, classes)), dtype=dtype)
    return logits, torch.tensor(labels, dtype=torch.int8)


def test_the_tables_name_the_same_estimators():
    assert CENTRED.keys() == ESTIMATORS.keys() == reference.RESIDUALS.keys()


@each_estimator
@pytest.mark.parametrize("shape", [(7, 5), (1, 3), (3, 1), (13, 11), (2, 2)])
@pytest.mark.parametrize("unknown", [0.0, 0.3])
def test_equals_the_loops(estimator, shape, unknown):
    logits, labels = batch(*shape, unknown)
    expected = reference.covariance(logits, labels, estimator)
    torch.testing.assert_close(ESTIMATORS[estimator](logits, labels), torch.tensor(expected))
    single = ESTIMATORS[estimator](logits.float(), labels)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single, expected, atol=1e-6)


def test_equals_numpy_and_sklearn_where_labels_are_known():
    logits, labels = batch(unknown=0.0)
    absent = 1 / (1 + np.exp(logits.numpy()))
    plain = ESTIMATORS["centred"](logits, labels)
    np.testing.assert_allclose(plain, np.cov(absent, rowvar=False, bias=True), atol=1e-12)
    correlation, _ = predicted_correlation(logits, labels, "centred", eps=0.0)
    np.testing.assert_allclose(correlation, np.corrcoef(absent, rowvar=False), atol=1e-12)
    correlation, _ = predicted_correlation(logits, labels, "uncentred", eps=0.0)
    np.testing.assert_allclose(correlation, cosine_similarity(absent.T), atol=1e-12)


@each_estimator
def test_gradients_are_exact(estimator):
    logits, labels = batch(5, 4)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: ESTIMATORS[estimator](z, labels), logits)
    assert torch.autograd.gradcheck(
        lambda z: predicted_correlation(z, labels, estimator)[0], logits
    )


@each_estimator
def test_logits_at_unknown_labels_play_no_part(estimator):
    logits, labels = batch(unknown=0.4)
    moved = torch.where(labels == -1, logits + 3, logits)
    before, after = (ESTIMATORS[estimator](z, labels) for z in (logits, moved))
    torch.testing.assert_close(before, after)


@each_estimator
def test_logits_at_known_absent_labels_do(estimator):
    logits, labels = batch()
    moved = torch.where(labels == 0, logits * 2, logits)
    before, after = (ESTIMATORS[estimator](z, labels) for z in (logits, moved))
    assert (before - after).abs().max() > 0.01


@pytest.mark.parametrize(
    ("estimator", "matters"),
    [
        ("uncentred", True),
        ("centred", True),
        ("uncentred_inactive", False),
        ("centred_inactive", False),
    ],
)
def test_only_the_inactive_estimators_ignore_positive_entries(estimator, matters):
    logits, labels = batch()
    moved = torch.where(labels == 1, logits + 3, logits)
    before, after = (ESTIMATORS[estimator](z, labels) for z in (logits, moved))
    assert ((before - after).abs().max() > 0.01) == matters


@each_estimator
def test_image_order_duplicates_and_class_order(estimator):
    logits, labels = batch()
    expected = ESTIMATORS[estimator](logits, labels)
    shuffled = torch.tensor([3, 0, 6, 1, 5, 4, 2])
    torch.testing.assert_close(ESTIMATORS[estimator](logits[shuffled], labels[shuffled]), expected)
    twice = ESTIMATORS[estimator](logits.repeat(2, 1), labels.repeat(2, 1))
    torch.testing.assert_close(twice, expected)
    order = torch.tensor([4, 2, 0, 1, 3])
    permuted = ESTIMATORS[estimator](logits[:, order], labels[:, order])
    torch.testing.assert_close(permuted, expected[order][:, order])


def test_presence_for_absence_changes_nothing_but_only_when_centred():
    logits, labels = batch()
    for estimator in ("centred", "uncentred"):
        q, p = ESTIMATORS[estimator](logits, labels), ESTIMATORS[estimator](-logits, labels)
        assert torch.allclose(q, p, atol=1e-12) == CENTRED[estimator]


@each_estimator
@pytest.mark.parametrize("shape", [(3, 9), (40, 6)])
def test_positive_semi_definite_also_with_unknown_labels(estimator, shape):
    logits, labels = batch(*shape, unknown=0.4)
    moment = ESTIMATORS[estimator](logits, labels)
    assert torch.linalg.eigvalsh(moment).min() > -1e-12
    assert torch.linalg.matrix_rank(moment, hermitian=True, rtol=1e-10) <= shape[0]


@each_estimator
def test_correlation_has_diagonal_one_and_bounds(estimator):
    logits, labels = batch(20, 6)
    correlation, alive = predicted_correlation(logits, labels, estimator)
    assert alive.all()
    torch.testing.assert_close(correlation.diagonal(), torch.ones(6).double(), atol=1e-4, rtol=0)
    assert correlation.abs().max() <= 1 + 1e-12
    assert correlation.min() < 0 if CENTRED[estimator] else correlation.min() >= 0
    torch.testing.assert_close(correlation, correlation.T)


def test_unknown_labels_do_not_pull_uncentred_correlation_to_zero():
    logits, _ = batch(400, 2, seed=1)
    labels = torch.tensor(np.random.default_rng(2).choice([-1, 0], size=(400, 2)), dtype=torch.int8)
    known, _ = predicted_correlation(logits, torch.zeros_like(labels), "uncentred")
    half_known, _ = predicted_correlation(logits, labels, "uncentred")
    assert abs(known[0, 1] - half_known[0, 1]) < 0.15


@each_estimator
@pytest.mark.parametrize("value", [40.0, -40.0, 100.0, -100.0])
def test_saturated_logits_stay_finite_in_float32(estimator, value):
    logits = torch.full((6, 4), value)
    logits[::2, 0] *= -1
    logits.requires_grad_()
    labels = torch.zeros(6, 4, dtype=torch.int8)
    correlation, alive = predicted_correlation(logits, labels, estimator)
    correlation.square().sum().backward()
    assert correlation.isfinite().all()
    assert logits.grad.isfinite().all()
    constant = CENTRED[estimator] or value > 0  # q = 1 everywhere is alive without centring
    assert alive.tolist() == [True] + [not constant] * 3
    assert not correlation[~alive].any()


def test_absence_keeps_its_digits_where_one_minus_p_has_none():
    logits, labels = torch.full((2, 2), 20.0), torch.zeros(2, 2, dtype=torch.int8)
    moment = ESTIMATORS["uncentred"](logits, labels)
    torch.testing.assert_close(moment, torch.full((2, 2), 4.2483543e-18), rtol=1e-5, atol=0)
    correlation, alive = predicted_correlation(logits, labels, "uncentred", eps=0.0)
    assert alive.all()
    torch.testing.assert_close(correlation, torch.ones(2, 2))


@each_estimator
def test_eps_zero_gives_no_nan_gradient(estimator):
    logits = torch.zeros(4, 3, requires_grad=True)
    labels = torch.tensor([[1, 0, -1]] * 4, dtype=torch.int8)
    correlation, alive = predicted_correlation(logits, labels, estimator, eps=0.0)
    correlation.sum().backward()
    assert logits.grad.isfinite().all()
    assert not alive[2]  # nothing known of class 2


@each_estimator
def test_default_eps_is_larger_for_centred_estimators(estimator):
    labels = torch.zeros(2, 1, dtype=torch.int8)
    for moment, alive in [(1e-5, True), (1e-7, not CENTRED[estimator]), (1e-13, False)]:
        absent = torch.tensor([[0.0], [1.0]]).double() * 2 * moment**0.5  # variance = moment
        if not CENTRED[estimator]:
            absent = torch.full_like(absent, moment**0.5)
        logits = -torch.logit(absent.clamp(min=1e-30))
        assert predicted_correlation(logits, labels, estimator)[1].item() == alive


@each_estimator
def test_a_class_that_is_always_present(estimator):
    logits, labels = batch(unknown=0.0)
    labels[:, 2] = 1
    _, alive = predicted_correlation(logits, labels, estimator)
    assert alive.tolist() == [True, True, "inactive" not in estimator, True, True]


@each_estimator
def test_one_image_has_no_covariance(estimator):
    _, alive = predicted_correlation(
        torch.zeros(1, 3), torch.zeros(1, 3, dtype=torch.int8), estimator
    )
    assert alive.all() != CENTRED[estimator]
    assert alive.any() != CENTRED[estimator]


@each_estimator
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_input_and_autocast_give_float32(estimator, dtype):
    logits, labels = batch(dtype=dtype)
    expected, _ = predicted_correlation(logits.float(), labels, estimator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got, _ = predicted_correlation(logits, labels, estimator)
    assert got.dtype == torch.float32
    assert torch.equal(got, expected)


def test_unknown_estimator_is_refused_with_a_hint():
    logits, labels = batch()
    with pytest.raises(BadConfig, match=r"'centered'; did you mean 'centred'\?"):
        predicted_correlation(logits, labels, "centered")


def test_text_correlation_is_the_cosine_and_centring_removes_the_common_part():
    text = np.random.default_rng(0).normal(1.0, 1.0, (6, 8))
    np.testing.assert_allclose(
        text_correlation(torch.tensor(text), centre=False), cosine_similarity(text), atol=1e-12
    )
    unit = text / np.linalg.norm(text, axis=1, keepdims=True)
    centred = text_correlation(torch.tensor(text), centre=True)
    np.testing.assert_allclose(centred, cosine_similarity(unit - unit.mean(axis=0)), atol=1e-12)
    assert centred.sum() < 2 < text_correlation(torch.tensor(text), centre=False).sum()


def test_text_correlation_is_float32_under_autocast():
    text = torch.randn(6, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    expected = text_correlation(text.float(), centre=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = text_correlation(text, centre=True)
    assert got.dtype == torch.float32
    assert torch.equal(got, expected)
