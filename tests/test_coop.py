import pytest
import torch

from ccr_diag.frameworks.coop import CoOp
from ccr_diag.prompts import zero_shot_embeddings

NAMES = ["dog", "traffic light", "wine glass"]


def test_a_context_that_starts_from_words_starts_at_their_zero_shot(tiny_backbone):
    coop = CoOp(tiny_backbone, NAMES, context_init="a photo of a")
    expected = zero_shot_embeddings(tiny_backbone, NAMES, "a photo of a {}.")
    torch.testing.assert_close(coop.text_embeddings().detach(), expected, rtol=1e-5, atol=1e-6)
    assert coop.context.shape == (4, 32)


def test_scores_are_cosines_and_only_the_context_learns(tiny_backbone):
    coop = CoOp(tiny_backbone, NAMES, n_context=5)
    images = torch.nn.functional.normalize(torch.randn(6, 16), dim=1)
    scores = coop(images)
    torch.testing.assert_close(scores, images @ coop.text_embeddings().T)
    assert scores.abs().max() <= 1
    assert [name for name, p in coop.named_parameters() if p.requires_grad] == ["context"]
    scores.sum().backward()
    assert coop.context.grad.shape == (5, 32)
    assert (coop.context.grad.norm(dim=1) > 0).all()


def test_a_random_start_is_small_and_of_its_seed(tiny_backbone):
    first, again, other = (
        CoOp(tiny_backbone, NAMES, 16, seed=seed).context.detach() for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.std() == pytest.approx(0.02, rel=0.2)


def test_one_step_lowers_the_loss(tiny_backbone):
    coop = CoOp(tiny_backbone, NAMES, context_init="a photo of a")
    generator = torch.Generator().manual_seed(0)
    images = torch.nn.functional.normalize(torch.randn(20, 16, generator=generator), dim=1)
    labels = (torch.rand(20, 3, generator=generator) < 0.3).float()
    optimizer = torch.optim.SGD(coop.parameters(), lr=0.05)
    losses = []
    for _ in range(2):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(5 * coop(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]
