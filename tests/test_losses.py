import numpy as np
import pytest
import reference_losses as reference
import torch
from sklearn.metrics import log_loss

from ccr_diag.config import FinetuneConfig
from ccr_diag.covariance import CENTRED, ESTIMATORS, text_correlation
from ccr_diag.errors import BadConfig
from ccr_diag.losses import LOSSES, make_loss
from ccr_diag.losses.asl import asl
from ccr_diag.losses.bce import bce
from ccr_diag.losses.ccr import CCRLoss
from ccr_diag.losses.ranking import ranking

CLASSES = 5
TEXT = torch.tensor(np.random.default_rng(9).normal(0.6, 1.0, (CLASSES, 8)))


def make(estimator, reduction="sum", text=TEXT):
    return CCRLoss.from_text(text, estimator, reduction)


# Everything that is called as f(logits, labels): invariances are tested over the whole list.
CALLABLES = {
    **LOSSES,
    "bce, sum": lambda z, y: bce(z, y, "sum"),
    "bce, smoothed": make_loss("bce", 0.2),
    "asl, sum": lambda z, y: asl(z, y, reduction="sum"),
    "asl, unfocused": lambda z, y: asl(z, y, 0.0, 0.0),
    "asl, unclipped": lambda z, y: asl(z, y, clip=0.0),
    **{f"ccr, {name}": make(name) for name in ESTIMATORS},
    "ccr, mean": make("uncentred", "mean"),
}
each_callable = pytest.mark.parametrize("loss", CALLABLES.values(), ids=CALLABLES)
each_estimator = pytest.mark.parametrize("estimator", list(ESTIMATORS))
each_reduction = pytest.mark.parametrize("reduction", ["mean", "sum"])


def batch(images=7, classes=CLASSES, unknown=0.2, seed=0, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    labels = rng.choice([-1, 0, 1], p=[unknown, 0.7 - unknown, 0.3], size=(images, classes))
    logits = torch.tensor(rng.normal(-0.5, 1.5, (images, classes)), dtype=dtype)
    return logits, torch.tensor(labels, dtype=torch.int8)


# The weights of asl carry no gradient: with them, its gradient is not that of its value.
@pytest.mark.parametrize("name", sorted(set(CALLABLES) - {"asl", "asl, sum", "asl, unclipped"}))
def test_gradients_are_exact(name):
    loss = CALLABLES[name]
    logits, labels = batch()
    assert torch.autograd.gradcheck(lambda z: loss(z, labels), logits.requires_grad_())


@each_callable
def test_image_order_and_duplicated_images_do_not_matter(loss):
    logits, labels = batch()
    order = torch.tensor([3, 0, 6, 1, 5, 4, 2])
    torch.testing.assert_close(loss(logits[order], labels[order]), loss(logits, labels))
    twice = loss(logits.repeat(2, 1), labels.repeat(2, 1))
    torch.testing.assert_close(twice, loss(logits, labels))


@pytest.mark.parametrize("name", CALLABLES)
def test_class_order_does_not_matter(name):
    logits, labels = batch()
    order = torch.tensor([4, 2, 0, 1, 3])
    permuted = loss = CALLABLES[name]
    if isinstance(loss, CCRLoss):
        permuted = CCRLoss(loss.target[order][:, order], loss.estimator, loss.reduction)
        assert not torch.allclose(loss(logits[:, order], labels[:, order]), loss(logits, labels))
    torch.testing.assert_close(permuted(logits[:, order], labels[:, order]), loss(logits, labels))


@each_callable
def test_unknown_labels_are_in_no_loss(loss):
    logits, labels = batch(unknown=0.4)
    moved = torch.where(labels == -1, logits + 3, logits).requires_grad_()
    torch.testing.assert_close(loss(moved, labels), loss(logits, labels))
    (gradient,) = torch.autograd.grad(loss(moved, labels), moved)
    assert not gradient[labels == -1].any()
    assert gradient[labels == 0].any()


@each_callable
def test_nothing_known_gives_zero(loss):
    logits, labels = batch()
    logits.requires_grad_()
    value = loss(logits, torch.full_like(labels, -1))
    value.backward()
    assert value.item() == 0
    assert not logits.grad.any()


@each_callable
@pytest.mark.parametrize("value", [40.0, -40.0])
def test_saturated_logits_stay_finite_in_float32(loss, value):
    logits, labels = torch.full((7, CLASSES), value), batch()[1]
    logits[::2, 0] *= -1
    logits.requires_grad_()
    loss(logits, labels).backward()
    assert loss(logits, labels).isfinite()
    assert logits.grad.isfinite().all()


@each_callable
@pytest.mark.parametrize("autocast", [True, False])
def test_half_precision_gives_the_float32_result(loss, autocast):
    logits, labels = batch(dtype=torch.bfloat16)
    expected = loss(logits.float(), labels)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        got = loss(logits, labels)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)


@each_callable
def test_arguments_are_left_as_they_were(loss):
    logits, labels = batch()
    before = logits.clone(), labels.clone()
    loss(logits, labels)
    assert torch.equal(logits, before[0])
    assert torch.equal(labels, before[1])


# bce


@each_reduction
@pytest.mark.parametrize("shape", [(7, 5), (1, 1), (3, 11)])
def test_bce_equals_the_loops(shape, reduction):
    logits, labels = batch(*shape)
    expected = reference.bce(logits, labels, reduction)
    assert bce(logits, labels, reduction).item() == pytest.approx(expected, abs=1e-12)


def test_bce_equals_sklearn_and_its_default_is_the_mean():
    logits, labels = batch()
    known = labels != -1
    expected = log_loss(labels[known], torch.sigmoid(logits)[known])
    assert LOSSES["bce"](logits, labels).item() == pytest.approx(expected)


def test_bce_gradient_is_p_minus_y():
    logits, labels = batch(unknown=0.0)
    bce(logits.requires_grad_(), labels, "sum").backward()
    torch.testing.assert_close(logits.grad, (torch.sigmoid(logits) - labels) / len(logits))


def test_bce_refuses_an_unknown_reduction():
    with pytest.raises(BadConfig, match="'average'; known are mean, sum"):
        bce(*batch(), "average")


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
@each_reduction
def test_smoothed_bce_equals_the_loops(smoothing, reduction):
    logits, labels = batch()
    expected = reference.bce(logits, labels, reduction, smoothing)
    assert bce(logits, labels, reduction, smoothing).item() == pytest.approx(expected, abs=1e-12)


def test_smoothed_bce_is_least_at_the_smoothed_label():
    labels = torch.tensor([[1, 0]], dtype=torch.int8)
    logits = torch.logit(torch.tensor([[0.9, 0.1]])).requires_grad_()
    bce(logits, labels, smoothing=0.2).backward()
    torch.testing.assert_close(logits.grad, torch.zeros(1, 2), atol=1e-7, rtol=0)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_smoothing_out_of_range_is_refused(smoothing):
    with pytest.raises(BadConfig, match=r"must be 0 or more and below 1, but got (-0.1|1.0|nan);"):
        bce(*batch(), smoothing=smoothing)


def test_a_loss_is_made_by_name_with_its_smoothing():
    logits, labels = batch()
    assert make_loss("ranking") is ranking
    assert torch.equal(make_loss("bce", 0.3)(logits, labels), bce(logits, labels, smoothing=0.3))
    assert not torch.equal(make_loss("bce", 0.3)(logits, labels), make_loss("bce")(logits, labels))


@pytest.mark.parametrize(
    ("name", "smoothing", "message"),
    [
        ("bec", 0.0, r"^The loss must be a known one, but got 'bec'; did you mean 'bce'\?$"),
        ("ranking", 0.1, r"^Labels are smoothed for bce only, but got 'ranking' with label "),
        ("asl", 0.1, r"only, but got 'asl' with label smoothing 0.1; set it to 0\.$"),
        ("bce", 1.5, r"must be 0 or more and below 1, but got 1.5;"),
    ],
)
def test_a_loss_that_makes_no_sense_is_refused(name, smoothing, message):
    with pytest.raises(BadConfig, match=message):
        make_loss(name, smoothing)(*batch())


# asl


@each_reduction
@pytest.mark.parametrize("shape", [(7, 5), (1, 1), (3, 11)])
@pytest.mark.parametrize("settings", [(1.0, 2.0, 0.05), (0.0, 4.0, 0.3), (2.0, 0.0, 0.0)])
def test_asl_equals_the_loops(shape, settings, reduction):
    logits, labels = batch(*shape)
    expected = reference.asl(logits, labels, *settings, reduction)
    got = asl(logits, labels, *settings, reduction)
    assert got.item() == pytest.approx(expected, abs=1e-12)


def test_asl_has_the_settings_of_dualcoop_and_the_mean_by_default():
    logits, labels = batch()
    expected = reference.asl(logits, labels, 1, 2, 0.05, "mean")
    assert LOSSES["asl"](logits, labels).item() == pytest.approx(expected, abs=1e-12)


@each_reduction
def test_asl_without_focus_and_clip_is_bce(reduction):
    logits, labels = batch()
    got = asl(logits, labels, 0.0, 0.0, 0.0, reduction)
    torch.testing.assert_close(got, bce(logits, labels, reduction))


def test_asl_weights_carry_no_gradient():
    """Central differences of the loops, the weights held where they are."""
    logits, labels = batch()
    asl(logits.requires_grad_(), labels).backward()
    start, step = logits.detach(), 1e-6
    for b, c in np.ndindex(*logits.shape):
        moved = [start.clone(), start.clone()]
        moved[0][b, c] += step
        moved[1][b, c] -= step
        up, down = (reference.asl(m, labels, 1, 2, 0.05, "mean", start) for m in moved)
        assert logits.grad[b, c].item() == pytest.approx((up - down) / (2 * step), abs=1e-9)


def test_asl_of_an_absence_within_the_clip_is_nothing():
    logits = torch.logit(torch.tensor([[0.049, 0.051]])).requires_grad_()
    labels = torch.zeros(1, 2, dtype=torch.int8)
    value = asl(logits, labels, gamma_absent=0.0, reduction="sum")
    value.backward()
    assert value.item() == pytest.approx(-np.log(1 - 0.001), rel=1e-3)
    assert logits.grad[0, 0].item() == 0
    assert logits.grad[0, 1].item() > 0


@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_asl_of_certain_mistakes_stays_exact_in_float32(clip):
    """σ(−200) is 0 in float32: a logarithm of it would be lost."""
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    labels = torch.tensor([[0, 1]], dtype=torch.int8)
    value = asl(logits, labels, clip=clip, reduction="sum")
    value.backward()
    absent = 200.0 if clip == 0 else -np.log(0.05) * 0.95**2
    assert value.item() == pytest.approx(200.0 + absent, rel=1e-6)
    assert logits.grad[0, 1].item() == pytest.approx(-1)
    assert logits.grad[0, 0].item() == pytest.approx(1.0 if clip == 0 else 0.0)


def test_asl_refuses_an_unknown_reduction():
    with pytest.raises(BadConfig, match="'average'; known are mean, sum"):
        asl(*batch(), reduction="average")


# ranking


@pytest.mark.parametrize("shape", [(7, 5), (1, 1), (3, 11)])
@pytest.mark.parametrize("margin", [1.0, 0.3])
def test_ranking_equals_the_loops(shape, margin):
    logits, labels = batch(*shape)
    expected = reference.ranking(logits, labels, margin)
    assert ranking(logits, labels, margin).item() == pytest.approx(expected, abs=1e-12)


def test_ranking_by_hand():
    logits = torch.tensor([[0.5, 0.0, 3.0], [1.0, 1.0, 1.0]])
    labels = torch.tensor([[1, 0, 0], [0, 0, 0]], dtype=torch.int8)
    # image 0: max(0, 1 − .5 + 0) + max(0, 1 − .5 + 3) = 4; image 1 has no positive
    assert ranking(logits, labels).item() == pytest.approx((4.0 + 0.0) / 2)


def test_ranking_ignores_a_shift_of_an_image():
    logits, labels = batch()
    shift = torch.arange(7.0).double()[:, None] * 10
    assert ranking(logits, labels) > 0
    torch.testing.assert_close(ranking(logits + shift, labels), ranking(logits, labels))


def test_ranking_is_zero_once_margins_are_met():
    _, labels = batch()
    assert ranking(labels.double() * 1.0, labels).item() == 0
    assert ranking(labels.double() * 0.9, labels).item() > 0


def test_ranking_without_a_positive_is_zero():
    logits, labels = batch()
    assert ranking(logits, torch.where(labels == 1, 0, labels)).item() == 0


# ccr


@each_estimator
@each_reduction
@pytest.mark.parametrize("shape", [(7, 5), (23, 3)])
def test_ccr_equals_the_loops(estimator, reduction, shape):
    logits, labels = batch(*shape)
    target = text_correlation(TEXT[: shape[1]], centre=CENTRED[estimator])
    expected = reference.ccr(logits, labels, target, estimator, reduction)
    got = CCRLoss(target, estimator, reduction)(logits, labels)
    assert got.item() == pytest.approx(expected, rel=1e-3)


def test_ccr_is_zero_at_its_target():
    logits, labels = batch(unknown=0.0)
    absent = torch.sigmoid(-logits)
    target = torch.tensor(np.corrcoef(absent.numpy(), rowvar=False))
    assert CCRLoss(target, "centred", "sum")(logits, labels) < 1e-6
    assert CCRLoss(target + 0.1, "centred", "sum")(logits, labels).item() == pytest.approx(
        0.2, 0.01
    )


@each_estimator
def test_ccr_takes_the_target_that_its_estimator_needs(estimator):
    expected = text_correlation(TEXT, centre=CENTRED[estimator])
    assert torch.equal(CCRLoss.from_text(TEXT, estimator).target, expected)
    other = CCRLoss.from_text(TEXT, estimator, centre=not CENTRED[estimator])
    assert not torch.allclose(other.target, expected, atol=0.1)


def test_ccr_target_carries_no_gradient():
    text = TEXT.clone().requires_grad_()
    assert not CCRLoss.from_text(text).target.requires_grad


@each_estimator
@each_reduction
def test_ccr_leaves_dead_classes_out_and_counts_them(estimator, reduction):
    logits, labels = batch(unknown=0.0)
    logits, labels = logits.clone(), labels.clone()
    logits[:, 1] = 40.0
    labels[:, 3] = -1
    value, dead = make(estimator, reduction).with_dead_count(logits, labels)
    assert dead.item() == 2
    alive = [0, 2, 4]
    target = make(estimator).target[alive][:, alive]
    expected = CCRLoss(target, estimator, reduction)(logits[:, alive], labels[:, alive])
    torch.testing.assert_close(value, expected)


@each_estimator
def test_ccr_of_one_image_is_zero_only_when_centred(estimator):
    logits, labels = torch.full((1, CLASSES), -1.0), torch.zeros(1, CLASSES, dtype=torch.int8)
    value, dead = make(estimator, "mean").with_dead_count(logits, labels)
    assert (value.item() == 0) == CENTRED[estimator]
    assert dead.item() == (CLASSES if CENTRED[estimator] else 0)


def test_ccr_from_a_config_follows_its_settings(tiny_backbone):
    config = FinetuneConfig(estimator="uncentred", target="centred", reduction="sum")
    others = tiny_backbone, torch.nn.Identity(), [], TEXT
    got = CCRLoss.from_config(config, *others)
    expected = CCRLoss.from_text(TEXT, "uncentred", "sum", centre=True)
    assert torch.equal(got.target, expected.target)
    assert (got.estimator, got.reduction) == ("uncentred", "sum")
    auto = CCRLoss.from_config(
        config.replace(target="auto"), tiny_backbone, torch.nn.Identity(), [], TEXT
    )
    assert torch.equal(auto.target, CCRLoss.from_text(TEXT, "uncentred").target)
    logits, labels = batch()
    of_step = got.of_step(logits, labels, TEXT, torch.nn.Identity())
    assert torch.equal(of_step, got(logits, labels))


@each_estimator
def test_ccr_with_a_centred_estimator_needs_two_images(estimator, tiny_backbone):
    settings = {"regularizer": "ccr", "estimator": estimator, "batch_size": 1}
    if not CENTRED[estimator]:
        config = FinetuneConfig(**settings)
        CCRLoss.from_config(config, tiny_backbone, torch.nn.Identity(), [], TEXT)
        return
    with pytest.raises(BadConfig, match=r"2 images or more, .*'centred.* with batch_size 1; raise"):
        FinetuneConfig(**settings)


def test_ccr_is_a_module_that_carries_its_target():
    module = CCRLoss.from_text(TEXT).double()
    assert list(module.state_dict()) == ["target"]
    assert not list(module.parameters())


@pytest.mark.parametrize(
    ("target", "estimator", "reduction", "message"),
    [
        (torch.eye(3), "uncentered", "mean", r"did you mean 'uncentred'\?"),
        (torch.eye(3), "centred", "median", r"reduction .* 'median'; did you mean 'mean'\?"),
        (torch.ones(3, 2), "centred", "mean", r"shape \(3, 2\); make it with text_correlation"),
    ],
)
def test_ccr_refuses_settings_that_make_no_sense(target, estimator, reduction, message):
    with pytest.raises(BadConfig, match=message):
        CCRLoss(target, estimator, reduction)


def test_uncentred_ccr_heats_cold_predictions_and_centred_ccr_cannot():
    """Free logits, L_cov alone: only the uncentred estimator has a first-order effect."""

    def mean_p_after(estimator):
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(32, 10, generator=generator) - 3
        labels = torch.zeros(32, 10, dtype=torch.int8)
        target = torch.full((10, 10), 0.7).fill_diagonal_(1.0)
        regularizer = CCRLoss(target, estimator)
        logits.requires_grad_()
        optimizer = torch.optim.Adam([logits], lr=0.05)
        start = torch.sigmoid(logits).mean().item()
        for _ in range(300):
            optimizer.zero_grad()
            loss = regularizer(logits, labels)
            loss.backward()
            optimizer.step()
        assert loss.item() < 0.01
        return start, torch.sigmoid(logits).mean().item()

    start, heated = mean_p_after("uncentred")
    _, steady = mean_p_after("centred")
    assert start < 0.08
    assert heated > 0.2
    assert abs(steady - start) < 0.05
