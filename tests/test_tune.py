import math

import pytest
import torch
from torch import nn

from ccr_diag.config import FinetuneConfig
from ccr_diag.errors import RunFailed
from ccr_diag.frameworks.framework import Framework
from ccr_diag.losses import LOSSES
from ccr_diag.losses.ccr import CCRLoss
from ccr_diag.metrics.neighbourhoods import neighbourhood_preservation
from ccr_diag.tune import learning_rate, start_tuning, tune

N, C, D = 21, 5, 4


class Linear(Framework):
    """A framework whose text embeddings are its weights, and no cosines its scores."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(C, D, generator=torch.Generator().manual_seed(1)))

    def text_embeddings(self):
        return self.weight


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(2)
    labels = torch.randint(0, 2, (N, C), generator=generator, dtype=torch.int8)
    labels[::6, 1] = -1
    return torch.randn(N, D, generator=generator), labels


def run(data, config, regularizer=None, **changes):
    tuning = start_tuning(Linear(), 0.5, config.replace(**changes))
    records = list(tune(tuning, *data, 2.0, regularizer, config.replace(**changes)))
    return tuning, records


CONFIG = FinetuneConfig(epochs=4, batch_size=8, learning_rate=0.3)


def test_the_schedule_warms_up_then_follows_a_cosine():
    config = FinetuneConfig(epochs=10, learning_rate=0.4, warmup_epochs=2, warmup_rate=0.01)
    rates = [learning_rate(config, epoch) for epoch in range(10)]
    expected = [0.01, 0.01, *(0.2 * (1 + math.cos(math.pi * e / 10)) for e in range(2, 10))]
    assert rates == pytest.approx(expected)


def test_one_step_is_sgd_on_loss_plus_lambda_ccr(data):
    features, labels = data
    config = CONFIG.replace(epochs=1, batch_size=N, warmup_epochs=0, lambda_=3.0)
    ccr = CCRLoss(torch.eye(C), "uncentred")
    tuning, records = run(data, config, ccr)
    slow = Linear()
    z = 2.0 * (features @ slow.weight.T) + 0.5
    loss, penalty = LOSSES["bce"](z, labels), ccr(z, labels)
    (loss + 3.0 * penalty).backward()
    expected = slow.weight - 0.3 * (slow.weight.grad + 5e-4 * slow.weight)
    torch.testing.assert_close(tuning.framework.weight, expected)
    assert records[0].loss == pytest.approx(loss.item())
    assert records[0].regularizer == pytest.approx(penalty.item())
    assert (records[0].epoch, records[0].dead, records[0].bias) == (1, 0, 0.5)


def test_ranking_sees_four_times_the_score_whatever_the_map(data):
    features, labels = data
    _, records = run(data, CONFIG, loss="ranking", epochs=1, batch_size=N)
    expected = LOSSES["ranking"](4.0 * features @ Linear().weight.T, labels)
    assert records[0].loss == pytest.approx(expected.item())


def test_the_bias_moves_only_when_it_is_learned(data):
    fixed, _ = run(data, CONFIG, bias="prior")
    learned, records = run(data, CONFIG, bias="learned")
    assert fixed.bias.item() == 0.5
    assert abs(learned.bias.item() - 0.5) > 1e-3
    assert records[-1].bias == learned.bias.item()


def test_every_image_is_seen_once_an_epoch_in_an_order_of_seed_and_epoch(data):
    seen = []

    class Watched(Linear):
        def scores(self, features, text):
            seen.append(features)
            return super().scores(features, text)

    for seed in (1, 1, 2):
        config = CONFIG.replace(seed=seed, epochs=2)
        list(tune(start_tuning(Watched(), 0.0, config), *data, 1.0, None, config))
    epochs = [torch.cat(seen[i : i + 3]) for i in range(0, len(seen), 3)]
    for epoch in epochs:
        assert torch.equal(epoch.sort(dim=0).values, data[0].sort(dim=0).values)
    assert torch.equal(epochs[0], epochs[2])
    assert not torch.equal(epochs[0], epochs[1])
    assert not torch.equal(epochs[0], epochs[4])


def test_progress_counts_all_steps(data):
    told = []
    config = CONFIG.replace(epochs=2)
    tuning = start_tuning(Linear(), 0.0, config)
    list(tune(tuning, *data, 1.0, None, config, lambda *at: told.append(at)))
    assert told == [(i, 6) for i in range(1, 7)]


def test_a_loss_that_is_not_a_number_names_its_step(data):
    features, labels = data
    features = features.clone()
    features[int(torch.randperm(N, generator=torch.Generator().manual_seed(1_000_003))[9])] = (
        math.nan
    )
    with pytest.raises(RunFailed) as error:
        run((features, labels), CONFIG, seed=1)
    assert str(error.value) == (
        "Training must stay finite, but it was not at step 2 of epoch 1; what was saved before "
        "that epoch is kept; lower --learning-rate or --lambda."
    )


def test_each_epoch_says_which_neighbourhoods_are_left(data):
    """Of the texts at its end; nothing that is learned depends on it."""
    config = CONFIG.replace(epochs=3, learning_rate=30.0)
    generator = torch.Generator().manual_seed(5)
    wide = torch.randn(9, D, generator=generator)  # 5 neighbours are not all others
    labels = torch.randint(0, 2, (N, 9), generator=generator, dtype=torch.int8)

    class Wide(Linear):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(wide.clone())

    seen, plain = [], start_tuning(Wide(), 0.5, config)
    list(tune(plain, data[0], labels, 2.0, None, config))
    tuning = start_tuning(Wide(), 0.5, config)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    for record in tune(tuning, data[0], labels, 2.0, None, config, zero_shot=wide):
        text = tuning.framework.weight.detach().numpy()
        seen.append((record.preservation, neighbourhood_preservation(wide.numpy(), text).mean()))
    assert torch.equal(torch.get_rng_state(), before)
    assert [found for found, _ in seen] == [expected for _, expected in seen]
    assert min(found for found, _ in seen) < 1
    assert torch.equal(tuning.framework.weight, plain.framework.weight)


def test_one_class_and_no_zero_shot_have_no_neighbourhoods(data):
    class One(Linear):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1, D))

    assert run(data, CONFIG, epochs=1)[1][0].preservation is None
    config = CONFIG.replace(epochs=1)
    tuning = start_tuning(One(), 0.0, config)
    (record,) = tune(tuning, data[0], data[1][:, :1], 1.0, None, config, zero_shot=torch.ones(1, D))
    assert record.preservation is None
    assert "NP@5" not in record.as_dict()


def test_texts_that_are_not_a_number_stop_the_run(data):
    class Overflowing(Linear):
        def text_embeddings(self):
            return self.weight if torch.is_grad_enabled() else self.weight * torch.inf

    config = CONFIG.replace(epochs=2)
    with pytest.raises(RunFailed, match="not at step 3 of epoch 1"):
        list(tune(start_tuning(Overflowing(), 0.0, config), *data, 1.0, None, config))


def test_training_lowers_the_loss(data):
    _, records = run(data, CONFIG, epochs=20)
    assert records[-1].loss < 0.8 * records[0].loss


def test_smoothed_labels_reach_the_loss(data):
    features, labels = data
    _, records = run(data, CONFIG, label_smoothing=0.2, epochs=1, batch_size=N)
    z = 2.0 * (features @ Linear().weight.T) + 0.5
    expected = LOSSES["bce"](z, labels, smoothing=0.2)
    assert records[0].loss == pytest.approx(expected.item())
    assert records[0].loss != pytest.approx(LOSSES["bce"](z, labels).item())
