import re
from pathlib import Path

import numpy as np
import pytest
import reference_losses as reference
import torch

from ccr_diag.config import FinetuneConfig
from ccr_diag.errors import BadConfig, BadData
from ccr_diag.frameworks import FRAMEWORKS
from ccr_diag.losses import REGULARIZERS
from ccr_diag.losses import dor as module
from ccr_diag.losses.dor import DORLoss, nearest_rows, noun_embeddings, without_names
from ccr_diag.losses.nouns import WORDNET, read_nouns
from ccr_diag.losses.nouns.build_nouns import common_nouns
from ccr_diag.prompts import ContextPrompts, zero_shot_embeddings

CLASSES = ["dog", "traffic light", "Wine_Glass"]
NOUNS = ["cat", "Dog", "lamp", "wine glass", "old horse", "cup", "traffic_light", "tree", "house"]
OUTLIERS = ["cat", "lamp", "old horse", "cup", "tree", "house"]
LOGITS, LABELS = torch.full((2, 3), torch.nan), torch.zeros(2, 3, dtype=torch.int8)


def prompts(n):
    """Prompts that nothing encodes."""
    return ContextPrompts(torch.arange(n)[:, None], torch.zeros(n, 1, dtype=torch.int64))


def embeddings(seed, rows=6):
    return torch.tensor(np.random.default_rng(seed).normal(size=(rows, 8)))


@pytest.fixture
def noun_file(tmp_path) -> Path:
    path = tmp_path / "nouns.txt"
    path.write_text("\n".join(NOUNS))
    return path


def made(backbone, path, framework="coop", **settings):
    config = FinetuneConfig(framework=framework, regularizer="dor", outliers=str(path), **settings)
    tuned = FRAMEWORKS[framework](backbone, CLASSES, config)
    zero_shot = zero_shot_embeddings(backbone, CLASSES)
    return REGULARIZERS["dor"](config, backbone, tuned, CLASSES, zero_shot), tuned


def nearest(backbone, k):
    """The k nouns nearest to the base classes, in order."""
    classes = zero_shot_embeddings(backbone, CLASSES)
    rows = nearest_rows(zero_shot_embeddings(backbone, OUTLIERS), classes, k)
    return [OUTLIERS[row] for row in rows.tolist()]


# the loss


@pytest.mark.parametrize("rows", [1, 6])
def test_it_equals_the_loops(rows):
    tuned, zero_shot = embeddings(1, rows), embeddings(2, rows)
    loss = DORLoss(prompts(rows), zero_shot)
    expected = reference.cosine_distance(tuned, zero_shot)
    assert loss(tuned, zero_shot).item() == pytest.approx(expected, abs=1e-12)


def test_its_gradient_is_exact():
    zero_shot = embeddings(2)
    loss = DORLoss(prompts(6), zero_shot)
    tuned = embeddings(1).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: loss(t, zero_shot), tuned)


def test_a_step_compares_the_drawn_nouns_with_their_own_zero_shot(tiny_backbone, noun_file):
    loss, framework = made(
        tiny_backbone, noun_file, n_outliers=4, context_init="", n_context=3, position="front"
    )
    framework.context.data.mul_(20)  # far enough from zero-shot to tell the nouns apart
    near = nearest(tiny_backbone, 6)
    for step in range(3):
        value = loss.of_step(LOGITS, LABELS, torch.zeros(0), framework)
        names = [near[row] for row in loss.draw(step).tolist()]
        tuned = framework.encode_names(framework.prompts_of(names)).detach()
        zero_shot = zero_shot_embeddings(tiny_backbone, names)
        expected = reference.cosine_distance(tuned, zero_shot)
        assert value.item() == pytest.approx(expected, abs=1e-6)
        assert abs(reference.cosine_distance(tuned, zero_shot.flip(0)) - expected) > 1e-4
    value.backward()
    assert framework.context.grad.norm() > 0


def test_a_context_of_the_hand_written_words_costs_nothing(tiny_backbone, noun_file):
    loss, framework = made(tiny_backbone, noun_file, context_init="a photo of a")
    value = loss.of_step(LOGITS, LABELS, torch.zeros(0), framework)
    assert value.item() == pytest.approx(0, abs=1e-6)


# the draws


def test_a_draw_is_of_different_nouns_and_of_its_seed_and_step():
    loss = DORLoss(prompts(50), embeddings(1, 50), n_drawn=10, seed=3)
    drawn = [loss.draw(step).tolist() for step in range(200)]
    assert all(len(set(rows)) == 10 for rows in drawn)
    assert {row for rows in drawn for row in rows} == set(range(50))
    assert len({tuple(rows) for rows in drawn}) == 200
    assert DORLoss(prompts(50), embeddings(1, 50), 10, seed=3).draw(5).tolist() == drawn[5]
    assert DORLoss(prompts(50), embeddings(1, 50), 10, seed=4).draw(5).tolist() != drawn[5]


def test_every_noun_is_as_likely_as_another():
    loss = DORLoss(prompts(20), embeddings(1, 20), n_drawn=5)
    rows = torch.cat([loss.draw(step) for step in range(4000)])
    counts = torch.bincount(rows, minlength=20).double()
    # Each is drawn in a step with probability ¼: mean 1000, sd √(4000·¼·¾) = 27.4.
    assert (counts - 1000).abs().max() < 4.5 * 27.4


def test_a_resumed_run_draws_what_it_would_have_drawn(tiny_backbone, noun_file):
    settings = {"n_outliers": 2, "context_init": "", "n_context": 3}
    whole, framework = made(tiny_backbone, noun_file, **settings)
    framework.context.data.mul_(20)
    values = [whole.of_step(LOGITS, LABELS, torch.zeros(0), framework) for _ in range(5)]
    assert whole.step == 5
    assert len({value.item() for value in values}) > 1
    resumed, _ = made(tiny_backbone, noun_file, **settings)
    resumed.step = 3
    again = [resumed.of_step(LOGITS, LABELS, torch.zeros(0), framework) for _ in range(2)]
    assert torch.equal(torch.stack(again), torch.stack(values[3:]))


def test_all_nouns_are_drawn_where_there_are_fewer_than_asked_for():
    rows = DORLoss(prompts(6), embeddings(1), n_drawn=64).draw(0)
    assert sorted(rows.tolist()) == list(range(6))


# which nouns


@pytest.mark.parametrize("k", [1, 4, 20])
def test_nearest_rows_have_the_highest_mean_cosine(k):
    nouns, classes = embeddings(1, 9), embeddings(2, 5)
    scores = [
        np.mean([1 - reference.cosine_distance([noun], [c]) for c in classes.tolist()])
        for noun in nouns.tolist()
    ]
    assert nearest_rows(nouns, classes, k).tolist() == np.argsort(scores)[::-1][:k].tolist()


def test_of_equally_near_nouns_the_first_come_first():
    nouns = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    rows = nearest_rows(nouns, torch.tensor([[2.0, 0.0]]), 2)
    assert rows.tolist() == [1, 2]


def test_names_of_base_classes_are_left_out_however_they_are_written():
    assert without_names(NOUNS, CLASSES) == OUTLIERS


@pytest.mark.parametrize("batch", [1, 4, 512])
@pytest.mark.parametrize("top", [0, 3, 100])
def test_a_run_draws_from_the_nouns_nearest_to_its_base_classes(
    tiny_backbone, noun_file, monkeypatch, batch, top
):
    monkeypatch.setattr(module, "BATCH", batch)
    loss, framework = made(tiny_backbone, noun_file, top_outliers=top, n_outliers=2, seed=7)
    near = nearest(tiny_backbone, 3 if top == 3 else 6)
    assert torch.equal(loss.prompts.ids, framework.prompts_of(near).ids)
    assert torch.equal(loss.prompts.at, framework.prompts_of(near).at)
    expected = zero_shot_embeddings(tiny_backbone, near)
    torch.testing.assert_close(loss.zero_shot, expected, rtol=1e-5, atol=1e-6)
    assert (loss.n_drawn, loss.seed, loss.step) == (2, 7, 0)


def test_the_packaged_nouns_are_the_default(tiny_backbone, monkeypatch):
    some = ["dog", *read_nouns()[:40]]
    asked = []
    monkeypatch.setattr(module, "read_nouns", lambda path: asked.append(path) or some)
    loss, _ = made(tiny_backbone, "", top_outliers=0)
    assert asked == [WORDNET]
    assert len(loss.zero_shot) == 40


# bad input


def test_nouns_are_encoded_once_for_all_runs_on_one_clip(tiny_backbone, monkeypatch):
    from ccr_diag.losses import dor

    first = noun_embeddings(tiny_backbone, ["zebra", "kite"])
    torch.testing.assert_close(first, zero_shot_embeddings(tiny_backbone, ["zebra", "kite"]))
    monkeypatch.setattr(dor, "zero_shot_embeddings", None)  # what calls it now fails
    assert torch.equal(noun_embeddings(tiny_backbone, ["zebra", "kite"]), first)
    with pytest.raises(TypeError):
        noun_embeddings(tiny_backbone, ["kite", "zebra"])


def test_a_framework_without_a_learned_context_is_refused(tiny_backbone, noun_file):
    with pytest.raises(BadConfig) as error:
        made(tiny_backbone, noun_file, "clip_adapter")
    assert str(error.value) == (
        "Regularizer dor needs a learned context that all names share, but framework "
        "'clip_adapter' learns none; choose another framework or regularizer."
    )


def test_a_context_of_each_class_is_refused(tiny_backbone, noun_file):
    with pytest.raises(BadConfig, match=r"'coop' learns none with class_specific; choose"):
        made(tiny_backbone, noun_file, class_specific=True)


def test_a_noun_that_does_not_fit_beside_the_context_is_left_out(tiny_backbone, tmp_path):
    path = tmp_path / "nouns.txt"
    path.write_text("cat\nblue green red black white\n")
    four, many = (made(tiny_backbone, path, n_context=n, context_init="")[0] for n in (4, 18))
    assert (len(four.zero_shot), len(many.zero_shot)) == (2, 1)
    path.write_text("blue green red black white\n")
    with pytest.raises(BadData, match="fit beside the context, but .* holds none"):
        made(tiny_backbone, path, n_context=18, context_init="")


def test_a_list_of_base_classes_alone_is_refused(tiny_backbone, tmp_path):
    path = tmp_path / "nouns.txt"
    path.write_text("dog\nwine glass\n")
    with pytest.raises(BadData) as error:
        made(tiny_backbone, path)
    assert str(error.value) == (
        f"DOR needs nouns that are no base class and fit beside the context, but {path} holds none."
    )


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(BadConfig, match="must draw 1 noun a step or more, but got 0"):
        DORLoss(prompts(6), embeddings(1), n_drawn=0)
    with pytest.raises(BadConfig, match="one embedding a noun, but got 6 embeddings and 5 prompts"):
        DORLoss(prompts(5), embeddings(1))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read (No such file or directory)."),
        (b"cat\n\xff\n", "is not (invalid start byte at byte 4); save it as plain text."),
        (b" \n\n", "holds none."),
        (b"cat\n\x00\x01\n", "holds '\\x00\\x01'; save it as plain text."),
    ],
)
def test_a_bad_list_is_refused_in_one_sentence(tmp_path, content, message):
    path = tmp_path / "nouns.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(
        BadData, match=rf"but {re.escape(str(path))} {re.escape(message)}$"
    ) as error:
        read_nouns(path)
    assert "\n" not in str(error.value)


def test_a_folder_is_no_list(tmp_path):
    with pytest.raises(BadData, match=r"cannot be read \(Is a directory\)\.$"):
        read_nouns(tmp_path)


# lists of nouns


def test_a_list_is_read_in_its_order_each_noun_once(tmp_path):
    path = tmp_path / "nouns.txt"
    path.write_bytes("\ufeff zebra \r\n\r\nhot dog\r\ncafé\r\nzebra\r\n".encode())
    assert read_nouns(path) == ["zebra", "hot dog", "café"]


def test_the_packaged_nouns_are_common_words_with_their_licence():
    nouns = read_nouns()
    assert len(nouns) == len(set(nouns)) == 8831
    assert all(re.fullmatch("[a-z]{3,}", noun) for noun in nouns)
    assert {"dog", "bottle", "music", "boy"} < set(nouns)
    assert (
        "WordNet 3.0 Copyright 2006 by Princeton University"
        in (WORDNET.parent / "NOTICE").read_text()
    )


def test_nouns_are_chosen_by_the_written_rule(tmp_path):
    """A tiny WordNet: a synset a line, the slur's usage synset among them."""
    (tmp_path / "data.noun").write_text(
        "  1 licence\n"
        "00000010 03 n 02 dog 0 domestic_dog 0 001 @ 00000030 n 0000 | an animal\n"
        "00000020 03 n 01 London 0 001 @ 00000010 n 0000 | a city\n"
        "00000030 10 n 01 obscenity 0 000 | a bad word\n"
        "00000040 18 n 0a rude 0 a 0 b 0 c 0 d 0 e 0 f 0 g 0 h 0 boy 0 002 "
        "@ 00000010 n 0000 ;u 00000030 n 0000 | gloss with ;u 00000030\n"
        "00000050 18 n 03 boy 0 it 0 rare 0 001 ;u 00000010 n 0000 | a child\n"
    )
    (tmp_path / "index.noun").write_text(
        "  1 licence\n"
        "dog n 1 1 @ 1 1 00000010  \n"
        "domestic_dog n 1 1 @ 1 1 00000010  \n"
        "london n 1 1 @ 1 1 00000020  \n"
        "obscenity n 1 0 1 1 00000030  \n"
        "rude n 1 2 @ ;u 1 1 00000040  \n"
        "boy n 2 2 @ ;u 2 1 00000050 00000040  \n"
        "it n 1 1 ;u 1 1 00000050  \n"
        "rare n 1 1 ;u 1 0 00000050  \n"
    )
    (tmp_path / "cntlist.rev").write_text(
        "dog%1:05:00:: 1 2\n"
        "dog%1:05:01:: 2 1\n"
        "dog%2:30:00:: 1 90\n"
        "domestic_dog%1:05:00:: 1 4\n"
        "london%1:15:00:: 1 4\n"
        "obscenity%1:10:00:: 1 5\n"
        "rude%1:18:00:: 1 9\n"
        "boy%1:18:00:: 1 50\n"
        "it%1:18:00:: 1 7\n"
        "rare%2:30:00:: 1 7\n"
    )
    assert common_nouns(tmp_path) == ["boy", "obscenity", "dog"]
