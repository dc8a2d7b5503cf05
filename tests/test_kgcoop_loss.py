import numpy as np
import pytest
import reference_losses as reference
import torch

from ccr_diag.config import FinetuneConfig
from ccr_diag.errors import BadConfig
from ccr_diag.frameworks import FRAMEWORKS
from ccr_diag.losses import REGULARIZERS
from ccr_diag.losses.kgcoop import KgCoOpLoss
from ccr_diag.prompts import zero_shot_embeddings

NAMES = ["dog", "traffic light", "wine glass"]


def embeddings(seed, classes=6, dtype=torch.float64):
    return torch.tensor(np.random.default_rng(seed).normal(size=(classes, 8)), dtype=dtype)


def made(backbone, framework="coop", **settings):
    config = FinetuneConfig(framework=framework, regularizer="kgcoop", **settings)
    tuned = FRAMEWORKS[framework](backbone, NAMES, config)
    zero_shot = zero_shot_embeddings(backbone, NAMES)
    return REGULARIZERS["kgcoop"](config, backbone, tuned, NAMES, zero_shot), tuned


@pytest.mark.parametrize("classes", [1, 6])
def test_it_equals_the_loops(classes):
    text, zero_shot = embeddings(1, classes), embeddings(2, classes)
    expected = reference.cosine_distance(text, zero_shot)
    assert KgCoOpLoss(zero_shot)(text).item() == pytest.approx(expected, abs=1e-12)


def test_its_gradient_is_exact():
    assert torch.autograd.gradcheck(KgCoOpLoss(embeddings(2)), embeddings(1).requires_grad_())


def test_it_runs_from_0_at_zero_shot_to_2_opposite_whatever_the_lengths():
    zero_shot = embeddings(2)
    loss = KgCoOpLoss(zero_shot)
    assert loss(3 * zero_shot).item() == pytest.approx(0, abs=1e-12)
    assert loss(-zero_shot).item() == pytest.approx(2)


def test_of_unit_embeddings_it_is_half_the_mean_squared_distance():
    text, zero_shot = (torch.nn.functional.normalize(embeddings(seed)) for seed in (1, 2))
    expected = (text - zero_shot).square().sum(dim=1).mean() / 2
    torch.testing.assert_close(KgCoOpLoss(zero_shot)(text), expected)


def test_class_order_does_not_matter_if_it_is_the_same():
    text, zero_shot, order = embeddings(1), embeddings(2), torch.tensor([3, 1, 0, 5, 2, 4])
    loss = KgCoOpLoss(zero_shot)
    torch.testing.assert_close(KgCoOpLoss(zero_shot[order])(text[order]), loss(text))
    assert not torch.allclose(loss(text[order]), loss(text))


def test_the_zero_shot_side_learns_nothing_and_moves_with_the_module():
    loss = KgCoOpLoss(embeddings(2, dtype=torch.float32).requires_grad_())
    assert not loss.zero_shot.requires_grad
    assert list(loss.state_dict()) == ["zero_shot"]
    assert loss(embeddings(1)).dtype == torch.float64


def test_a_step_takes_the_text_embeddings_alone(tiny_backbone):
    loss, framework = made(tiny_backbone, context_init="", n_context=3)
    text = framework.text_embeddings()
    logits, labels = torch.full((2, 3), torch.nan), torch.zeros(2, 3, dtype=torch.int8)
    value = loss.of_step(logits, labels, text, framework)
    expected = reference.cosine_distance(text.detach(), loss.zero_shot)
    assert value.item() == pytest.approx(expected, abs=1e-6)
    assert value.item() > 1e-3
    value.backward()
    assert framework.context.grad.norm() > 0


def test_a_context_of_the_hand_written_words_costs_nothing(tiny_backbone):
    loss, framework = made(tiny_backbone, context_init="a photo of a")
    assert loss(framework.text_embeddings()).item() == pytest.approx(0, abs=1e-6)


def test_a_framework_without_learned_text_is_refused(tiny_backbone):
    with pytest.raises(BadConfig) as error:
        made(tiny_backbone, "clip_adapter")
    assert str(error.value) == (
        "Regularizer kgcoop keeps learned text embeddings near zero-shot, but framework "
        "'clip_adapter' learns none; choose another framework or regularizer."
    )
