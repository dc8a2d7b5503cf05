"""TaI-DPT and T2I-PAL: their formulas, what they learn from, and what they refuse."""

import csv
import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import write_drawn_images
from torch.nn import functional as F

from ccr_diag.captioned import named_captions
from ccr_diag.checkpoint import load_checkpoint
from ccr_diag.config import config_from_dict
from ccr_diag.data import load_dataset
from ccr_diag.errors import BadConfig, BadData
from ccr_diag.finetune import finetune
from ccr_diag.frameworks import FRAMEWORKS
from ccr_diag.losses.ranking import ranking
from ccr_diag.predict import tuned_framework
from ccr_diag.prompts import context_prompts
from ccr_diag.shots import draw_shots
from ccr_diag.tune import start_tuning, tune

NAMES = ["dog", "traffic light", "wine glass"]


def make(name, backbone, **changes):
    settings = {"framework": name, "n_context": 3} | changes
    return FRAMEWORKS[name](backbone, NAMES, config_from_dict(settings))


def features(n, parts=6, blank=0, seed=0):
    """Unit features of items and their parts; the last parts of the first item are padding."""
    generator = torch.Generator().manual_seed(seed)
    found = F.normalize(torch.randn(n, 1 + parts, 16, generator=generator), dim=2)
    if blank:
        found[0, -blank:] = 0
    return found


def slow_branches(backbone, framework, items, sharpness):
    """The formulas of both modules, entry by entry."""
    prompts = context_prompts(backbone, NAMES, len(framework.context))
    texts, local_texts = (
        backbone.encode_text(prompts.ids, context, prompts.at)
        for context in (framework.context, framework.local_context)
    )
    whole, local = [], []
    for item in items:
        parts = [part for part in item if part.any()]
        if hasattr(framework, "adapter"):
            w1, w2 = (framework.adapter[i].weight for i in (0, 2))
            mixed = [0.2 * torch.relu(w2 @ torch.relu(w1 @ f)) + 0.8 * f for f in parts]
            parts = [f / f.norm() for f in mixed]
        h, *parts = parts
        whole.append(torch.stack([torch.dot(h, t) for t in texts]))
        row = []
        for u in local_texts:
            cosines = [torch.dot(part, u) for part in parts]
            powers = [torch.exp(sharpness * a) for a in cosines]
            terms = [p / sum(powers) * a for p, a in zip(powers, cosines, strict=True)]
            row.append(sum(terms))
        local.append(torch.stack(row))
    return torch.stack(whole), torch.stack(local)


@pytest.mark.parametrize(
    ("name", "training", "sharpness"),
    [("tai_dpt", True, 50), ("tai_dpt", False, 40), ("t2i_pal", True, 40), ("t2i_pal", False, 40)],
)
def test_branches_are_the_formulas_with_their_gradient(tiny_backbone, name, training, sharpness):
    framework = make(name, tiny_backbone).train(training)
    framework.context.data.mul_(20)  # contexts that matter
    framework.local_context.data.mul_(20)
    items = features(4, blank=2)
    quick = framework.branches(items, framework.text_embeddings())
    slow = slow_branches(tiny_backbone, framework, items, sharpness)
    learned = list(framework.parameters())
    weights = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(1))
    for ours, theirs in zip(quick, slow, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    sums = [(weights * torch.stack(each)).sum() for each in (quick, slow)]
    for ours, theirs in zip(*(torch.autograd.grad(s, learned) for s in sums), strict=True):
        assert theirs.abs().max() > 1e-4
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(framework(items), (slow[0] + slow[1]) / 2, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["tai_dpt", "t2i_pal"])
def test_padding_in_any_place_and_any_length_counts_for_nothing(tiny_backbone, name):
    framework, items = make(name, tiny_backbone), features(3)
    longer = torch.cat([items[:, :4], torch.zeros(3, 5, 16), items[:, 4:]], dim=1)
    torch.testing.assert_close(framework(longer), framework(items), rtol=0, atol=1e-6)
    torch.testing.assert_close(framework(longer.half()), framework(items), rtol=0, atol=2e-3)


@pytest.mark.parametrize("name", ["tai_dpt", "t2i_pal"])
def test_contexts_start_apart_or_from_the_same_words(tiny_backbone, name):
    apart = make(name, tiny_backbone, n_context=16)
    starts = torch.stack([c.detach().flatten() for c in (apart.context, apart.local_context)])
    assert abs(float(torch.corrcoef(starts)[0, 1])) < 0.15
    assert starts.std(dim=1).tolist() == pytest.approx([0.02] * 2, rel=0.2)
    phrase = "a photo with a"
    said = make(name, tiny_backbone, context_init=phrase)
    plain = tiny_backbone.encode_text(tiny_backbone.tokenize([f"{phrase} {n}." for n in NAMES]))
    for context in (said.context, said.local_context):
        torch.testing.assert_close(said.encode(context).detach(), plain, rtol=0, atol=1e-6)


def test_each_branch_has_its_own_loss_and_context(tiny_backbone):
    """One step without momentum: the step is the gradient of L(4·g) + L(4·l)."""
    config = config_from_dict(
        {"framework": "tai_dpt", "n_context": 3, "epochs": 1, "warmup_epochs": 0,
         "learning_rate": 0.1, "weight_decay": 0.0}
    )  # fmt: skip
    framework = FRAMEWORKS["tai_dpt"](tiny_backbone, NAMES, config)
    items, labels = features(5, blank=2), torch.tensor([[1, 0, 0], [0, 1, 1]] * 2 + [[1, 0, 1]])
    branches = framework.branches(items, framework.text_embeddings())
    losses = [ranking(4 * branch, labels) for branch in branches]
    context, local = framework.context, framework.local_context
    of_whole = torch.autograd.grad(losses[0], context, retain_graph=True)[0]
    of_parts = torch.autograd.grad(losses[1], local)[0]
    before = context.detach().clone(), local.detach().clone()
    tuning = start_tuning(framework, 0.0, config)
    (record,) = tune(tuning, items, labels.to(torch.int8), 4.0, None, config)
    assert record.loss == pytest.approx(sum(loss.item() for loss in losses), rel=1e-5)
    torch.testing.assert_close(context.detach(), before[0] - 0.1 * of_whole, rtol=0, atol=1e-6)
    torch.testing.assert_close(local.detach(), before[1] - 0.1 * of_parts, rtol=0, atol=1e-6)
    assert of_whole.abs().max() > 1e-3
    assert of_parts.abs().max() > 1e-3


def test_defaults_are_the_papers():
    config = config_from_dict({"framework": "tai_dpt"})
    assert (config.loss, config.epochs, config.batch_size, config.shots) == ("ranking", 20, 512, 0)
    assert (config.peak_rate, config.n_context, config.context_init) == (1e-4, 16, "")
    config = config_from_dict({"framework": "t2i_pal"})
    assert (config.loss, config.batch_size, config.residual_ratio) == ("ranking", 32, 0.2)


COLOURS = ("blue square", "green square", "grey square", "red square")


def with_captions(folder, captions):
    """Drawn images with these captions; the others have empty ones. Returns the data's name."""
    return rewritten(write_drawn_images(folder), lambda i, row: row | {
        "caption": captions[i] if i < len(captions) else ""
    })  # fmt: skip


def rewritten(data, change):
    """A data set of drawn images with other rows, in its place."""
    table = Path(data.removeprefix("manifest:"))
    with table.open(newline="") as file:
        rows = [change(i, row) for i, row in enumerate(csv.DictReader(file))]
    rows = [row for row in rows if row]
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return data


CAPTIONS = [
    "a red square and two blue squares",
    "nothing at all",
    "the green square",
    "a grey square",
    "a grey square on a red square",
    " ".join(["very"] * 40) + " red square",
]


@pytest.fixture
def captioned(tmp_path):
    return load_dataset(with_captions(tmp_path / "drawn", CAPTIONS), "train")


def test_captions_that_name_a_base_class_are_the_examples(tiny_backbone, captioned):
    train = captioned.with_new(["grey square"])
    config = config_from_dict({"framework": "tai_dpt"})
    kept = named_captions(config, train, train)
    assert kept.rows.tolist() == [0, 2, 4, 5]
    assert kept.texts == tuple(CAPTIONS[i] for i in (0, 2, 4, 5))
    assert kept.labels.tolist() == [[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]]
    shots = draw_shots(config, tiny_backbone, train)
    assert shots.ids == ("caption 1", "caption 3", "caption 5")  # the last one is too long
    assert shots.labels.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 1]]
    ids = tiny_backbone.tokenize([CAPTIONS[i] for i in (0, 2, 4)])
    whole, _ = tiny_backbone.encode_tokens(ids)
    torch.testing.assert_close(shots.features, whole, rtol=0, atol=1e-3)
    assert torch.equal(shots.seen[:, 0].float(), shots.features)


def test_a_file_of_captions_takes_their_place_and_synonyms_count(
    tiny_backbone, captioned, tmp_path
):
    texts, words = tmp_path / "texts.txt", tmp_path / "words.txt"
    texts.write_text("a crimson thing\nemeralds\na red square\n")
    words.write_text("red square: crimson\ngreen square: emerald\n")
    settings = {"framework": "tai_dpt", "captions": str(texts)}
    plain = draw_shots(config_from_dict(settings), tiny_backbone, captioned)
    assert plain.ids == ("caption 3",)
    settings |= {"synonyms": str(words)}
    both = draw_shots(config_from_dict(settings), tiny_backbone, captioned)
    assert both.labels.tolist() == [[0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 1]]


def test_images_are_labelled_by_their_captions(tiny_backbone, captioned):
    config = config_from_dict({"framework": "t2i_pal", "shots": 0})
    shots = draw_shots(config, tiny_backbone, captioned)
    rows = [0, 2, 3, 4, 5]
    assert shots.ids == tuple(captioned.image_ids[i] for i in rows)
    named = [[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1], [0, 0, 0, 1]]
    assert shots.labels.tolist() == named
    assert not np.array_equal(captioned.labels[rows], named)
    assert shots.seen.shape == (5, 5, 16)


def test_images_of_captions_come_from_another_data_set(tiny_backbone, drawn_data, tmp_path):
    data = load_dataset(drawn_data, "train").with_new(["grey square"])
    source = with_captions(tmp_path / "made", ["a red square", "a grey square", "green squares"])
    table = tmp_path / "made" / "images.csv"
    table.write_text(table.read_text().replace("grey square", "grey disc"))  # other classes
    settings = {"framework": "t2i_pal", "images_from": source}
    shots = draw_shots(config_from_dict(settings), tiny_backbone, data)
    assert shots.labels.tolist() == [[0, 0, 1], [0, 1, 0]]
    assert len(shots.ids) == 2
    few = draw_shots(config_from_dict(settings | {"shots": 1}), tiny_backbone, data)
    assert len(few.ids) == 2


def test_images_of_captions_are_never_of_another_split(tiny_backbone, tmp_path):
    source = with_captions(tmp_path / "made", ["a red square"] * 72)  # 24 of them for tests
    data = load_dataset(source, "train")
    config = config_from_dict({"framework": "t2i_pal", "images_from": source, "shots": 0})
    shots = draw_shots(config, tiny_backbone, data)
    assert set(shots.ids) <= set(data.image_ids)
    assert len(shots.ids) == 48


def test_captions_that_are_all_too_long_are_refused(tiny_backbone, captioned):
    long = dataclasses.replace(captioned, captions=(CAPTIONS[-1],) * len(captioned))
    with pytest.raises(BadData, match=r"24 tokens, but none of the 48 that name a base class"):
        draw_shots(config_from_dict({"framework": "tai_dpt"}), tiny_backbone, long)


def test_runs_on_captions_and_on_images_are_compared_in_any_order(ccr, tiny_clip, tmp_path):
    data = with_captions(tmp_path / "drawn", CAPTIONS)
    flags = ["--model", tiny_clip, "--data", data, "--device", "cpu", "--epochs", 1]
    runs = [tmp_path / "tai", tmp_path / "coop"]
    for run, more in zip(runs, (["tai_dpt"], ["coop", "--bias", "mean"]), strict=True):
        result = ccr("finetune", *flags, "--framework", *more, "-o", run)
        assert result.exit_code == 0, result.output
    tables = []
    for order in (runs, runs[::-1], runs[:1]):
        result = ccr("analyze", "checkpoint", *order, "--bootstrap", 0, "-o", "-")
        assert result.exit_code == 0, result.output
        lines = (line.split("  ")[0] for line in result.stdout.splitlines())
        tables.append({name for name in lines if name.startswith("Zero-shot")})
    assert (
        tables[0] == tables[1] == {"Zero-shot", "Zero-shot (mean bias)", "Zero-shot (prior bias)"}
    )
    assert tables[2] == {"Zero-shot"}


def test_generated_images_are_those_of_the_drawn_captions(tiny_backbone, captioned, monkeypatch):
    from ccr_diag import captioned as module

    asked = []

    def draw(captions, labels, class_names, folder, recipe, **_):
        asked.append((captions, labels.tolist(), class_names, recipe))
        data = with_captions(folder, captions)
        rewritten(data, lambda i, row: row if 0 < i < len(captions) else None)  # 0 was withheld
        rewritten(data, lambda i, row: {k: v for k, v in row.items() if k != "negatives"})
        return SimpleNamespace(manifest=Path(data.removeprefix("manifest:")), withheld=1)

    monkeypatch.setattr(module, "generate_images", draw)
    settings = {"framework": "t2i_pal", "images_from": "diffusers", "generator": "some/model"}
    settings |= {"shots": 2, "generator_steps": 2, "generator_size": 64}
    shots = draw_shots(config_from_dict(settings), tiny_backbone, captioned)
    ((captions, labels, names, recipe),) = asked
    assert names == COLOURS
    assert set(captions) < set(CAPTIONS)
    assert [Path(name).name for name in shots.ids] == [f"{i}.png" for i in range(1, len(captions))]
    assert shots.labels.tolist() == labels[1:]
    assert labels[0] != labels[1]
    assert all(Path(name).is_file() for name in shots.ids)
    assert (recipe.generator, recipe.steps, recipe.size) == ("some/model", 2, 64)
    assert recipe.guidance == 7.5


def test_maps_of_captions_are_not_fitted(tiny_backbone, captioned, tmp_path):
    config = config_from_dict({"framework": "tai_dpt", "epochs": 1})
    run = load_checkpoint(finetune(config, tmp_path / "t", backbone=tiny_backbone, train=captioned))
    assert run.map.as_dict() | {"scale": 4.0} == run.map.as_dict()
    assert {of: set(maps) for of, maps in run.maps.items()} == {
        "zero-shot": {"none"},
        "tuned": {"none"},
    }
    assert not tuned_framework(run, tiny_backbone).training
    config = config_from_dict({"framework": "t2i_pal", "epochs": 1, "bias": "prior"})
    run = load_checkpoint(finetune(config, tmp_path / "p", backbone=tiny_backbone, train=captioned))
    assert set(run.maps["tuned"]) == {"none", "mean", "prior"}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"framework": "coop", "captions": "a.txt"}, "goes with framework tai_dpt or t2i_pal"),
        ({"framework": "coop", "synonyms": "a.txt"}, "goes with framework tai_dpt or t2i_pal"),
        ({"framework": "tai_dpt", "images_from": "scenes"}, "goes with framework t2i_pal"),
        ({"framework": "t2i_pal", "captions": "a.txt"}, "add --images-from diffusers"),
        ({"framework": "t2i_pal", "images_from": "diffusers"}, "and its --generator"),
        ({"framework": "t2i_pal", "generator": "x"}, "--images-from diffusers and its"),
        ({"framework": "t2i_pal", "generator_steps": 0}, "generator_steps must be at least 1"),
        ({"framework": "tai_dpt", "bias": "prior"}, "choose none, or learned"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, text):
    with pytest.raises(BadConfig) as error:
        config_from_dict(settings)
    assert text in str(error.value)
    assert "\n" not in str(error.value)


def test_without_captions_there_is_nothing_to_learn_from(ccr, tiny_clip, tmp_path):
    rewritten(
        drawn := write_drawn_images(tmp_path / "drawn"),
        lambda _, row: {k: v for k, v in row.items() if k != "caption"},
    )
    flags = ["--model", tiny_clip, "--data", drawn, "--device", "cpu", "-o", tmp_path / "run"]
    for name, told in (
        ("tai_dpt", "learns from captions, but manifest:images.csv has no captions; give --cap"),
        ("t2i_pal", "learns from images of captions, but manifest:images.csv has no captions; "),
    ):
        result = ccr("finetune", *flags, "--framework", name)
        assert result.exit_code == 2
        assert told in result.stderr
    texts = tmp_path / "coco.json"
    texts.write_text(json.dumps({"annotations": [{"image_id": 1, "caption": "a dog"}]}))
    result = ccr("finetune", *flags, "--framework", "tai_dpt", "--captions", texts)
    assert result.exit_code == 2
    assert "must name base classes, but none of 1 names any" in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_caption_file_that_is_not_there(tiny_backbone, captioned):
    config = config_from_dict({"framework": "tai_dpt", "captions": "nowhere.txt"})
    with pytest.raises(BadData, match="nowhere.txt"):
        draw_shots(config, tiny_backbone, captioned)
