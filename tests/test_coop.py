import pytest
import torch

from ccr_diag.config import FinetuneConfig
from ccr_diag.errors import BadData
from ccr_diag.frameworks.coop import CoOp
from ccr_diag.prompts import zero_shot_embeddings

NAMES = ["dog", "traffic light", "wine glass"]
RANDOM = FinetuneConfig(context_init="", n_context=5)
WORDS = FinetuneConfig(context_init="a photo of a")


def test_a_context_that_starts_from_words_starts_at_their_zero_shot(tiny_backbone):
    coop = CoOp(tiny_backbone, NAMES, WORDS)
    expected = zero_shot_embeddings(tiny_backbone, NAMES, "a photo of a {}.")
    torch.testing.assert_close(coop.text_embeddings().detach(), expected, rtol=1e-5, atol=1e-6)
    assert coop.context.shape == (4, 32)


def test_scores_are_cosines_and_only_the_context_learns(tiny_backbone):
    coop = CoOp(tiny_backbone, NAMES, RANDOM)
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
        CoOp(tiny_backbone, NAMES, RANDOM.replace(n_context=16, seed=seed)).context.detach()
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.std() == pytest.approx(0.02, rel=0.2)


def test_one_step_lowers_the_loss(tiny_backbone):
    coop = CoOp(tiny_backbone, NAMES, WORDS)
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


@pytest.mark.parametrize(
    ("position", "text"),
    [("end", "a photo of a {}."), ("middle", "a photo {} of a."), ("front", "{} a photo of a.")],
)
@pytest.mark.parametrize("class_specific", [False, True])
def test_words_as_context_give_the_embedding_of_the_plain_text(
    tiny_backbone, position, text, class_specific
):
    config = WORDS.replace(position=position, class_specific=class_specific)
    coop = CoOp(tiny_backbone, NAMES, config)
    plain = tiny_backbone.encode_text(tiny_backbone.tokenize([text.format(n) for n in NAMES]))
    torch.testing.assert_close(coop.text_embeddings().detach(), plain, rtol=0, atol=1e-6)


def test_a_context_of_its_own_moves_only_its_class(tiny_backbone):
    coop = CoOp(tiny_backbone, NAMES, RANDOM.replace(class_specific=True))
    assert coop.context.shape == (3, 5, 32)
    assert not torch.equal(coop.context[0], coop.context[1])
    before = coop.text_embeddings().detach()
    coop.text_embeddings()[1, 0].backward()
    assert [float(g.norm()) > 0 for g in coop.context.grad] == [False, True, False]
    coop.context.data[1, :, 0] += 1
    moved = (coop.text_embeddings() - before).norm(dim=1) > 1e-6
    assert moved.tolist() == [False, True, False]


def test_the_context_speaks_of_other_names(tiny_backbone):
    coop = CoOp(tiny_backbone, NAMES, RANDOM.replace(position="middle"))
    others = ["zebra", "dog"]
    found = coop.encode_names(coop.prompts_of(others))
    torch.testing.assert_close(found[1], coop.text_embeddings()[0], rtol=0, atol=1e-6)
    found[0, 0].backward()
    assert coop.context.grad.norm() > 0


def test_a_context_that_does_not_fit_is_refused(tiny_backbone):
    with pytest.raises(BadData, match=r"24 tokens, but that of class 'dog' .*fewer context tokens"):
        CoOp(tiny_backbone, NAMES, RANDOM.replace(n_context=22))
