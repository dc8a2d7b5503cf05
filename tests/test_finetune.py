"""Whole runs on a random CLIP and drawn images: the pipeline up to the checkpoint."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ccr_diag.arrays import fit_map
from ccr_diag.checkpoint import load_checkpoint
from ccr_diag.compared_models import compared_models, load_runs
from ccr_diag.config import FinetuneConfig
from ccr_diag.data import load_dataset
from ccr_diag.errors import BadCheckpoint, BadConfig, BadData, RunFailed
from ccr_diag.finetune import finetune
from ccr_diag.prompts import zero_shot_embeddings
from ccr_diag.runs import CHECKPOINT, CONFIG, DONE, EXAMPLES, LOG
from ccr_diag.shots import draw_shots

CONFIG_OF_TEST = FinetuneConfig(
    shots=4,
    epochs=3,
    batch_size=8,
    context_init="a photo of",
    new_classes=("grey square",),
    bias="prior",
)


@pytest.fixture
def train(drawn_data):
    return load_dataset(drawn_data, "train").with_new(["grey square"])


@pytest.fixture
def tuned(tiny_backbone, train, tmp_path):
    """Run a config in a folder of this test."""

    def run(name="run", **changes):
        config = CONFIG_OF_TEST.replace(**changes)
        return finetune(config, tmp_path / name, backbone=tiny_backbone, train=train)

    return run


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loss": "ranking"},
        {"regularizer": "ccr", "lambda_": 2.0},
        {"bias": "learned"},
        {"context_init": ""},
    ],
    ids=["bce", "ranking", "ccr", "learned bias", "random context"],
)
def test_runs_are_bit_equal_twice_and_leave_a_whole_folder(tuned, tmp_path, changes):
    first, second = load_file(tuned("a", **changes)), load_file(tuned("b", **changes))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert {p.name for p in (tmp_path / "a").iterdir()} == {CONFIG, CHECKPOINT, LOG, DONE, EXAMPLES}
    log = [json.loads(line) for line in (tmp_path / "a" / LOG).read_text().splitlines()]
    assert [line["epoch"] for line in log] == [1, 2, 3]
    assert all(line["NP@5"] == 1 for line in log)  # 3 tuned classes: all others are neighbours


@pytest.mark.parametrize("stop_after", [1, 2, 3])
@pytest.mark.parametrize("saved", [True, False], ids=["after saving", "before saving"])
def test_a_broken_run_goes_on_to_the_same_numbers(tuned, tmp_path, monkeypatch, stop_after, saved):
    whole = tuned("whole", bias="learned")
    from ccr_diag import finetune as module

    saves = []
    save = module.save_checkpoint

    def save_then_break(*args):
        saves.append(args)
        if len(saves) == stop_after and not saved:
            raise KeyboardInterrupt
        save(*args)
        if len(saves) == stop_after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "save_checkpoint", save_then_break)
        with pytest.raises(KeyboardInterrupt):
            tuned("broken", bias="learned")
    assert not (tmp_path / "broken" / DONE).exists()
    if saved:
        assert load_checkpoint(tmp_path / "broken").epoch == stop_after
    resumed = tuned("broken", bias="learned")
    first, second = load_file(whole), load_file(resumed)
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert (tmp_path / "whole" / LOG).read_text() == (tmp_path / "broken" / LOG).read_text()
    headers = [safe_open(p, "pt").metadata()["ccr_diag"] for p in (whole, resumed)]
    assert headers[0] == headers[1]


def test_a_finished_run_is_left_alone_and_another_config_is_refused(tuned, tmp_path):
    path = tuned()
    before = path.read_bytes()
    assert tuned() == path
    assert path.read_bytes() == before
    with pytest.raises(
        BadConfig, match=r"goes on with the settings it began with, .*config.toml holds others"
    ):
        tuned(lambda_=3.0)
    assert path.read_bytes() == before


def test_the_checkpoint_holds_what_rebuilding_needs(tuned, tiny_backbone, train):
    checkpoint = load_checkpoint(tuned())
    assert checkpoint.config == CONFIG_OF_TEST
    assert checkpoint.class_names == train.class_names
    assert checkpoint.new == ("grey square",)
    assert checkpoint.epoch == 3
    assert checkpoint.backbone["fingerprint"] == tiny_backbone.fingerprint
    assert [g == "new" for g in checkpoint.groups] == list(train.new)
    assert set(checkpoint.facts["versions"]) >= {"torch", "open_clip_torch"}
    shots = draw_shots(CONFIG_OF_TEST, tiny_backbone, train)
    assert checkpoint.facts["examples"] == {"number": len(shots.ids), "sha256": shots.digest}
    names = (checkpoint.path.parent / EXAMPLES).read_text().splitlines()
    assert names == list(shots.ids)
    assert min(checkpoint.facts["shots"]) >= 4


def test_each_split_records_what_each_class_got(tuned, train):
    """At other seeds other images; with k beyond what there is, all of them."""
    row = {name: i for i, name in enumerate(train.image_ids)}
    available = (train.labels[:, ~train.new] == 1).sum(axis=0)
    drawn = {}
    for k, seed in [(2, 1), (2, 2), (1000, 1)]:
        saved = load_checkpoint(tuned(f"{k}-{seed}", shots=k, seed=seed, epochs=1))
        names = (saved.path.parent / EXAMPLES).read_text().splitlines()
        rows = [row[name] for name in names]
        counts = (train.labels[rows][:, ~train.new] == 1).sum(axis=0)
        assert saved.facts["shots"] == counts.tolist()
        assert (counts >= np.minimum(k, available)).all()
        drawn[k, seed] = names
    assert drawn[2, 1] != drawn[2, 2]
    assert saved.facts["shots"] == available.tolist()


def test_a_run_goes_on_with_its_classes_alone(tiny_backbone, train, tmp_path):
    config = CONFIG_OF_TEST.replace(new_classes=(), class_split="mine.toml", epochs=1)
    finetune(config, tmp_path / "run", backbone=tiny_backbone, train=train)
    for other in (train.with_new(["red square"]), train.in_order(train.class_names[1:])):
        with pytest.raises(BadCheckpoint, match="goes on with the base and new classes it began"):
            finetune(config, tmp_path / "run", backbone=tiny_backbone, train=other)
        (tmp_path / "run" / DONE).unlink(missing_ok=True)  # nor an unfinished one


def test_the_map_is_fitted_on_zero_shot_scores_and_ranking_gets_its_own(
    tuned, tiny_backbone, train
):
    shots = draw_shots(CONFIG_OF_TEST, tiny_backbone, train)
    zero_shot = zero_shot_embeddings(tiny_backbone, train.class_names)[~train.new]
    scores = (shots.features @ zero_shot.T).numpy()
    expected = fit_map("prior", tiny_backbone.scale, scores, shots.labels)
    bce, ranking = load_checkpoint(tuned("bce")), load_checkpoint(tuned("ranking", loss="ranking"))
    assert bce.map == expected == bce.maps["zero-shot"]["prior"]
    assert ranking.map == ranking.maps["tuned"]["prior"] != expected


def test_new_classes_are_never_seen(tuned, train, tiny_backbone, tmp_path):
    scrambled = train.labels.copy()
    scrambled[:, train.new] = 1 - scrambled[:, train.new]
    from dataclasses import replace

    other = finetune(
        CONFIG_OF_TEST,
        tmp_path / "scrambled",
        backbone=tiny_backbone,
        train=replace(train, labels=scrambled),
    )
    first, second = load_file(tuned()), load_file(other)
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_ccr_changes_the_prompts_and_the_scale_setting_counts(tuned):
    plain, ccr, scaled = (
        load_file(tuned(name, **changes))["framework.context"]
        for name, changes in {"p": {}, "c": {"regularizer": "ccr"}, "s": {"scale": 4.0}}.items()
    )
    assert not torch.allclose(plain, ccr)
    assert not torch.allclose(plain, scaled)


def test_not_a_number_stops_the_run_and_keeps_the_last_good_checkpoint(
    tuned, tmp_path, monkeypatch
):
    from ccr_diag import tune as module

    step, calls = module._step, []

    def break_in_epoch_3(*args):
        calls.append(args)
        parts = step(*args)
        return parts * torch.nan if args[0].epoch == 2 else parts

    monkeypatch.setattr(module, "_step", break_in_epoch_3)
    with pytest.raises(RunFailed, match="at step 1 of epoch 3"):
        tuned()
    assert load_checkpoint(tmp_path / "run").epoch == 2
    assert not (tmp_path / "run" / DONE).exists()


def test_a_rule_that_cannot_be_fitted_leaves_nothing_behind(tuned, tmp_path):
    with pytest.raises(BadConfig, match="needs a backbone that carries a logit bias"):
        tuned(bias="model")
    assert not (tmp_path / "run").exists()


def test_one_class_whose_shots_are_all_positive_can_be_tuned(tiny_backbone, train, tmp_path):
    names = ["blue square", "green square", "grey square"]
    config = CONFIG_OF_TEST.replace(new_classes=tuple(names), bias="none")
    one = train.with_new(names)
    path = finetune(config, tmp_path / "one", backbone=tiny_backbone, train=one)
    saved = load_checkpoint(path)
    assert set(saved.maps["tuned"]) == {"none", "mean"}
    models = compared_models(load_runs([path.parent]), tiny_backbone)
    assert [model.name for model in models] == ["zero-shot", "bce"]


def test_prompts_that_are_not_a_number_are_never_saved(tuned, tmp_path, monkeypatch):
    from ccr_diag import tune as module

    step = module._step

    def overflow_in_epoch_2(tuning, *args):
        parts = step(tuning, *args)
        if tuning.epoch == 1:
            tuning.framework.context.data.fill_(torch.inf)
        return torch.zeros_like(parts)

    monkeypatch.setattr(module, "_step", overflow_in_epoch_2)
    with pytest.raises(RunFailed, match="of epoch 2; what was saved before that epoch is kept"):
        tuned()
    saved = load_checkpoint(tmp_path / "run")
    assert saved.epoch == 1
    assert saved.tensors["framework.context"].isfinite().all()


def test_all_classes_new_is_refused(tiny_backbone, train, tmp_path):
    from dataclasses import replace

    with pytest.raises(BadData, match="all 4 classes are declared new"):
        finetune(
            CONFIG_OF_TEST,
            tmp_path / "x",
            backbone=tiny_backbone,
            train=replace(train, new=np.ones(4, bool)),
        )
    assert not (tmp_path / "x").exists()


def test_files_that_are_no_checkpoint(tuned, tmp_path):
    path = tuned()
    whole = path.read_bytes()
    cases = {
        "nothing": (None, "there is no"),
        "cut.safetensors": (whole[: len(whole) // 2], "is damaged or of another kind"),
        "pickle.pt": (b"\x80\x04\x95", "is damaged or of another kind"),
    }
    for name, (content, text) in cases.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(BadCheckpoint) as error:
            load_checkpoint(tmp_path / name)
        assert text in str(error.value)
        assert "\n" not in str(error.value)
    save_file({"ctx": torch.zeros(2, 3)}, tmp_path / "foreign.safetensors")
    with pytest.raises(BadCheckpoint, match="has no ccr_diag header"):
        load_checkpoint(tmp_path / "foreign.safetensors")
    save_file(
        {"ctx": torch.zeros(2, 3)}, tmp_path / "newer.safetensors", {"ccr_diag": '{"schema": 99}'}
    )
    with pytest.raises(BadCheckpoint, match="schema 1, but .* has 99"):
        load_checkpoint(tmp_path / "newer.safetensors")
    for header in ("[]", '{"schema": 1}', "{"):
        save_file({"ctx": torch.zeros(2)}, tmp_path / "odd.safetensors", {"ccr_diag": header})
        with pytest.raises(BadCheckpoint, match="the header of .*odd.safetensors is damaged"):
            load_checkpoint(tmp_path / "odd.safetensors")


def test_another_backbone_or_class_list_is_refused(tuned, tiny_backbone, train):
    from dataclasses import replace

    checkpoint = load_checkpoint(tuned())
    with pytest.raises(BadCheckpoint, match="give the --model and --pretrained of the run"):
        checkpoint.require_backbone(replace(tiny_backbone, fingerprint="f" * 64))
    with pytest.raises(BadCheckpoint, match="but the order differs"):
        checkpoint.require_classes(train.class_names[::-1])
    with pytest.raises(BadCheckpoint, match="but the sets differ in dog, red square"):
        checkpoint.require_classes((*train.class_names[:-1], "dog"))
