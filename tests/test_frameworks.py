"""Every framework: what learns, what it starts from, and that saving and resuming change nothing.

CoOp's own tests are in ``test_coop.py``.
"""

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from ccr_diag.backbone import load_backbone
from ccr_diag.checkpoint import load_checkpoint, save_checkpoint
from ccr_diag.config import FinetuneConfig, config_from_dict
from ccr_diag.data import load_dataset
from ccr_diag.errors import BadCheckpoint, BadConfig, BadData
from ccr_diag.features import image_features, local_features
from ccr_diag.finetune import finetune
from ccr_diag.frameworks import FRAMEWORKS
from ccr_diag.losses import CCRLoss
from ccr_diag.predict import predict, tuned_framework, tuned_space
from ccr_diag.prompts import context_prompts, zero_shot_embeddings
from ccr_diag.tune import start_tuning, tune

NAMES = ["dog", "traffic light", "wine glass"]
LEARNED = {
    "coop": {"context"},
    "kgcoop": {"context"},
    "cocoop": {
        "context",
        "meta_net.0.weight",
        "meta_net.0.bias",
        "meta_net.2.weight",
        "meta_net.2.bias",
    },
    "clip_adapter": {"adapter.0.weight", "adapter.2.weight"},
    "dualcoop": {"context", "negative"},
    "tai_dpt": {"context", "local_context"},
    "t2i_pal": {"context", "local_context", "adapter.0.weight", "adapter.2.weight"},
}


def unit_images(n, dim=16, seed=0, framework="coop"):
    shape = (n, 5, dim) if FRAMEWORKS[framework].LOCAL else (n, dim)
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(shape, generator=generator), dim=-1)


def make(name, backbone, **changes):
    return FRAMEWORKS[name](backbone, NAMES, config_from_dict({"framework": name} | changes))


def test_every_framework_is_tested():
    assert set(LEARNED) == set(FRAMEWORKS)


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_one_step_changes_what_should_learn_and_nothing_else(tiny_clip, name):
    backbone = load_backbone(tiny_clip, device="cpu")
    frozen = {k: v.clone() for k, v in backbone.model.state_dict().items()}
    config = config_from_dict(
        {"framework": name, "epochs": 1, "warmup_epochs": 0, "batch_size": 4, "learning_rate": 0.1}
    ).replace(regularizer="none")
    framework = FRAMEWORKS[name](backbone, NAMES, config)
    before = {k: v.clone() for k, v in framework.state_dict().items()}
    labels = torch.tensor([[1, 0, 0], [0, 1, 0], [0, -1, 1], [1, 0, 1]], dtype=torch.int8)
    images = unit_images(4, framework=name)
    (_,) = tune(start_tuning(framework, 0.0, config), images, labels, 10.0, None, config)
    after = framework.state_dict()
    assert {k for k in before if not torch.equal(before[k], after[k])} == LEARNED[name]
    assert all(torch.equal(v, backbone.model.state_dict()[k]) for k, v in frozen.items())


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_texts_start_at_zero_shot(tiny_backbone, name):
    expected = zero_shot_embeddings(tiny_backbone, NAMES, "a photo of a {}.")
    found = make(name, tiny_backbone, context_init="a photo of a").text_embeddings().detach()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_scores_are_cosines_and_forward_is_scores_of_its_own_texts(tiny_backbone, name):
    framework, images = make(name, tiny_backbone), unit_images(7, framework=name)
    scores = framework(images)
    assert scores.shape == (7, 3)
    assert scores.abs().max() <= 1 + 1e-6
    torch.testing.assert_close(scores, framework.scores(images, framework.text_embeddings()))
    each = torch.cat([framework(image[None]) for image in images])
    torch.testing.assert_close(scores, each, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_start_is_of_its_seed_and_leaves_the_generator_alone(tiny_backbone, name):
    state = torch.random.get_rng_state()
    first, again, other = (
        make(name, tiny_backbone, seed=seed, context_init="").state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not all(torch.equal(first[k], other[k]) for k in first)
    assert torch.equal(state, torch.random.get_rng_state())


def test_kgcoop_adds_its_own_term_to_any_loss_and_regularizer(tiny_backbone):
    """One step without momentum: it moves as CoOp does, and by its term's gradient."""
    settings = {"epochs": 1, "warmup_epochs": 0, "learning_rate": 0.1, "weight_decay": 0.0}
    settings |= {"regularizer": "ccr", "momentum": 0.0, "context_init": "an old grey sketch of"}
    zero_shot = zero_shot_embeddings(tiny_backbone, NAMES)
    labels = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1]], dtype=torch.int8)
    losses, moved = {}, {}
    for name in ("coop", "kgcoop"):
        config = config_from_dict({"framework": name} | settings)
        framework = FRAMEWORKS[name](tiny_backbone, NAMES, config)
        start, text = framework.context.detach().clone(), framework.text_embeddings()
        term = 8 * (1 - (text * zero_shot).sum(dim=1).mean())
        (gradient,) = torch.autograd.grad(term, framework.context)
        tuning, ccr = start_tuning(framework, 0.0, config), CCRLoss.from_text(zero_shot)
        (record,) = tune(tuning, unit_images(4), labels, 10.0, ccr, config)
        losses[name], moved[name] = record.loss, framework.context.detach() - start
    assert losses["kgcoop"] == pytest.approx(losses["coop"] + term.item(), rel=1e-5)
    difference = moved["kgcoop"] - moved["coop"]
    assert difference.abs().max() > 1e-3
    torch.testing.assert_close(difference, -0.1 * gradient, rtol=1e-3, atol=1e-6)


def test_cocoop_is_its_formula_image_by_image_with_its_gradient(tiny_backbone):
    cocoop, images = make("cocoop", tiny_backbone), unit_images(5)
    weights = torch.randn(5, 3, generator=torch.Generator().manual_seed(3))
    prompts = context_prompts(tiny_backbone, NAMES, 4)
    w1, b1, w2, b2 = (LEARNED_ORDER := [p for n, p in cocoop.named_parameters() if "net" in n])
    assert w1.shape == (1, 16)

    def slow_row(image):
        shift = w2 @ torch.relu(w1 @ image + b1) + b2
        context = (cocoop.context + shift).expand(len(NAMES), -1, -1)
        return tiny_backbone.encode_text(prompts.ids, context, prompts.at) @ image

    slow = torch.stack([slow_row(image) for image in images])
    quick = cocoop(images)
    torch.testing.assert_close(quick, slow, rtol=0, atol=1e-6)
    learned = [cocoop.context, *LEARNED_ORDER]
    for ours, theirs in zip(
        torch.autograd.grad((weights * quick).sum(), learned),
        torch.autograd.grad((weights * slow).sum(), learned),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    assert (slow - images @ cocoop.text_embeddings().T).abs().max() > 1e-4  # the images matter


def test_cocoop_keeps_the_graph_of_one_image_only(tiny_backbone):
    """The tensors that wait for the gradient hardly grow with the number of images."""
    cocoop = make("cocoop", tiny_backbone)

    def waiting(n):
        total = 0

        def pack(tensor):
            nonlocal total
            total += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            cocoop(unit_images(n))
        return total

    assert waiting(8) < 1.2 * waiting(1)


def test_clip_adapter_is_its_formula(tiny_backbone):
    adapter, images = make("clip_adapter", tiny_backbone, residual_ratio=0.3), unit_images(6)
    w1, w2 = adapter.state_dict().values()
    assert (w1.shape, w2.shape) == ((4, 16), (16, 4))
    texts = zero_shot_embeddings(tiny_backbone, NAMES)
    found = adapter(images).detach()
    for row, f in zip(found, images, strict=True):
        mixed = 0.3 * torch.relu(w2 @ torch.relu(w1 @ f)) + 0.7 * f
        torch.testing.assert_close(row, texts @ (mixed / mixed.norm()), rtol=0, atol=1e-6)
    longer = adapter.scores(12 * images, adapter.text_embeddings()).detach()
    torch.testing.assert_close(longer, found, rtol=0, atol=1e-6)  # the module's promise


def test_defaults_are_of_the_paper_unless_the_user_says_otherwise():
    kgcoop = config_from_dict({"framework": "kgcoop"})
    assert (kgcoop.regularizer, kgcoop.epochs, kgcoop.batch_size) == ("none", 100, 128)
    assert (kgcoop.peak_rate, kgcoop.name) == (0.002, "kgcoop bce")
    said = {"framework": "kgcoop", "epochs": 7, "regularizer": "ccr"}
    assert (config_from_dict(said).epochs, config_from_dict(said).lambda_) == (7, 10.0)
    dual = {"framework": "dualcoop"}
    assert config_from_dict(dual).peak_rate == 0.002
    assert config_from_dict(dual | {"loss": "bce"}).peak_rate == 0.2  # a rate is of its loss
    assert config_from_dict(dual | {"loss": "bce", "learning_rate": 0.1}).peak_rate == 0.1
    assert config_from_dict({"n_context": 7}).context_init == ""
    assert config_from_dict({"n_context": 7, "context_init": "a"}).context_init == "a"
    assert config_from_dict({"framework": "cocoop"}).batch_size == 1
    assert config_from_dict({"framework": "coop"}) == FinetuneConfig() == config_from_dict({})
    dor = {"regularizer": "dor"}
    assert config_from_dict(dor).lambda_ == 8.0
    assert config_from_dict(dor | {"framework": "cocoop"}).lambda_ == 2.0
    assert config_from_dict(dor | {"lambda": 3}).lambda_ == 3.0


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_defaults_are_settings(name):
    fields = {field.name for field in dataclasses.fields(FinetuneConfig)}
    assert set(FRAMEWORKS[name].DEFAULTS) <= fields - {"framework", "seed", "data", "lambda_"}


@pytest.fixture
def train(drawn_data):
    return load_dataset(drawn_data, "train").with_new(["grey square"])


@pytest.fixture
def tuned(tiny_backbone, train, tmp_path):
    """Run a framework for two epochs in a folder of this test."""

    def run(folder="run", rows=slice(None), data=train, **settings):
        data = data.subset(np.arange(len(data))[rows])
        few = {"shots": 4, "epochs": 2, "batch_size": 8, "bias": "prior"}
        config = config_from_dict(few | {"new_classes": ["grey square"]} | settings)
        return finetune(config, tmp_path / folder, backbone=tiny_backbone, train=data)

    return run


RUNS = [
    *({"framework": name} for name in FRAMEWORKS if name != "tai_dpt"),
    {"framework": "tai_dpt", "bias": "none"},
    {"framework": "tai_dpt", "bias": "learned", "loss": "bce", "regularizer": "ccr"},
    {
        "framework": "t2i_pal",
        "loss": "asl",
        "regularizer": "kgcoop",
        "class_specific": True,
        "context_init": "a",
    },
    {"class_specific": True, "position": "middle"},
    {"framework": "cocoop", "regularizer": "ccr"},
    {"framework": "clip_adapter", "regularizer": "ccr"},
    {"framework": "cocoop", "loss": "ranking", "regularizer": "kgcoop"},
    {"loss": "asl", "regularizer": "dor", "n_outliers": 3},
    {"label_smoothing": 0.1, "position": "front"},
    {"framework": "dualcoop", "regularizer": "dor", "n_outliers": 3, "loss": "ranking"},
    {"framework": "dualcoop", "regularizer": "kgcoop", "context_init": "a", "class_specific": True},
]


@pytest.fixture
def few_nouns(tmp_path):
    """A short list, as the packaged one takes long."""
    path = tmp_path / "nouns.txt"
    path.write_text("\n".join(["zebra", "kite", "red square", "violin", "anchor", "pear"]))
    return {"outliers": str(path)}


@pytest.mark.parametrize("settings", RUNS, ids=lambda s: " ".join(map(str, s.values())))
def test_saved_and_loaded_scores_are_identical_and_a_broken_run_ends_the_same(
    tuned, tiny_backbone, train, drawn_data, tmp_path, monkeypatch, settings, few_nouns
):
    from ccr_diag import finetune as module

    kept = []
    monkeypatch.setattr(
        module, "start_tuning", lambda *args: kept.append(start_tuning(*args)) or kept[-1]
    )
    whole = tuned("whole", **settings, **few_nouns)
    local = FRAMEWORKS[settings.get("framework", "coop")].LOCAL
    images = (local_features if local else image_features)(tiny_backbone, train)
    with torch.no_grad():
        trained = kept[0].framework.eval()(images)
    test = load_dataset(drawn_data, "train").with_new(["grey square"])
    checkpoint = load_checkpoint(whole)
    space = tuned_space(checkpoint, tiny_backbone)
    values = predict(space, images, test, checkpoint.groups, {}).values
    assert values.shape == (len(test), 4)
    torch.testing.assert_close(torch.from_numpy(values[:, ~train.new]), trained, atol=1e-6, rtol=0)
    names = [n for n, new in zip(train.class_names, train.new, strict=True) if not new]
    fresh = FRAMEWORKS[checkpoint.config.framework](tiny_backbone, names, checkpoint.config)
    fresh.eval().load_state_dict(checkpoint.learned)
    with torch.no_grad():
        assert torch.equal(fresh(images), trained)

    save = module.save_checkpoint

    def save_then_break(*args):
        save(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "save_checkpoint", save_then_break)
        with pytest.raises(KeyboardInterrupt):
            tuned("broken", **settings, **few_nouns)
    assert load_checkpoint(tmp_path / "broken").epoch == 1
    first, second = load_file(whole), load_file(tuned("broken", **settings, **few_nouns))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_a_run_does_not_go_on_with_other_examples(tuned, tmp_path, monkeypatch):
    from ccr_diag import finetune as module

    def break_off(*args):
        save_checkpoint(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "save_checkpoint", break_off)
        with pytest.raises(KeyboardInterrupt):
            tuned(shots=0)
    before = (tmp_path / "run" / "checkpoint.safetensors").read_bytes()
    with pytest.raises(BadCheckpoint, match="labels are no longer those of .* add --overwrite"):
        tuned(shots=0, rows=slice(40))
    assert (tmp_path / "run" / "checkpoint.safetensors").read_bytes() == before
    tuned(shots=0)


def test_an_adapter_with_as_many_rows_as_classes_is_no_context(tuned, tiny_backbone, train):
    """16 classes, 4 of them new, of 16 numbers in, 4 in the bottleneck."""
    names = [f"thing {i}" for i in range(16)]
    labels = np.tile(train.labels, 4)
    captions = tuple(" ".join(n for n, y in zip(names, row, strict=True) if y) for row in labels)
    many = dataclasses.replace(
        train, class_names=tuple(names), new=np.arange(16) < 12, labels=labels, captions=captions
    )
    few = {"framework": "t2i_pal", "class_specific": True, "context_init": "a", "epochs": 1}
    path = tuned(data=many, **few)
    space = tuned_space(load_checkpoint(path), tiny_backbone)
    assert space.embeddings.shape == (16, 16)


def test_a_class_that_was_not_tuned_keeps_the_context_it_would_have_started_from(
    tuned, tiny_backbone, train
):
    space = tuned_space(load_checkpoint(tuned(class_specific=True)), tiny_backbone)
    zero_shot = zero_shot_embeddings(tiny_backbone, train.class_names)
    moved = (space.embeddings - zero_shot).norm(dim=1)
    assert moved[train.new].max() < 1e-6
    assert moved[~train.new].min() > 1e-4


def test_combinations_that_make_no_sense_leave_nothing_behind(tuned, tmp_path):
    cases = [
        ({"class_specific": True, "context_init": ""}, "random start and new class 'grey square'"),
        ({"class_specific": True, "framework": "cocoop"}, "goes with framework coop or kgcoop"),
        ({"class_specific": True, "regularizer": "dor"}, "context that all names share"),
        ({"framework": "clip_adapter", "regularizer": "dor"}, "context that all names share"),
        ({"framework": "clip_adapter", "regularizer": "kgcoop"}, "learns none"),
        ({"framework": "cocoop", "regularizer": "ccr", "batch_size": 1}, "2 images or more"),
        ({"loss": "asl", "label_smoothing": 0.1}, "goes with loss 'bce'"),
        ({"regularizer": "ccr", "rows": [2]}, "needs 2 training examples or more"),
        ({"loss": "ranking", "bias": "learned"}, "choose another bias rule"),
    ]
    for settings, text in cases:
        with pytest.raises(BadConfig) as error:
            tuned(**settings)
        assert text in str(error.value)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("shots", [0, 4])
def test_images_without_any_base_class_are_refused(tuned, shots):
    with pytest.raises(BadData, match=r"show a base class, but none of 2 does; check --split, the"):
        tuned(rows=[1, 5], shots=shots)


def test_a_checkpoint_without_the_settings_of_today_is_read_as_it_was_meant(tuned, tiny_backbone):
    """As files from before these settings existed."""
    import json

    from safetensors import safe_open

    path = tuned()
    with safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["ccr_diag"])
    for name in (
        "label_smoothing",
        "outliers",
        "top_outliers",
        "n_outliers",
        "position",
        "class_specific",
        "residual_ratio",
    ):
        del facts["config"][name]
    older = path.with_name("older.safetensors")
    save_file(load_file(path), older, {"ccr_diag": json.dumps(facts)})
    assert load_checkpoint(older).config == load_checkpoint(path).config
    found, expected = (tuned_space(load_checkpoint(p), tiny_backbone) for p in (older, path))
    assert torch.equal(found.embeddings, expected.embeddings)


def test_tensors_that_are_not_the_frameworks_are_refused(tuned, tiny_backbone):
    checkpoint = load_checkpoint(tuned())
    for tensors in (
        {"bias": torch.zeros(())},
        checkpoint.tensors | {"framework.meta_net": torch.zeros(2)},
        checkpoint.tensors | {"framework.context": torch.zeros(3, 32)},
    ):
        odd = dataclasses.replace(checkpoint, tensors=tensors)
        with pytest.raises(BadCheckpoint, match=r"what its framework 'coop' learns, but .* \("):
            tuned_framework(odd, tiny_backbone)


def test_progress_of_a_prediction_counts_the_images(tuned, tiny_backbone, train):
    told = []
    for name in ("coop", "cocoop"):
        space = tuned_space(load_checkpoint(tuned(name, framework=name)), tiny_backbone)
        scores = space.scores(unit_images(130), lambda *at: told.append(at))
        assert scores.shape == (130, 4)
    assert told == [(64, 130), (128, 130), (130, 130)]


@pytest.fixture
def own(tiny_clip, drawn_data):
    """Flags of a small run."""
    return [
        "--model", tiny_clip, "--data", drawn_data, "--shots", 2, "--device", "cpu",
    ]  # fmt: skip


def test_flags_beat_the_file_and_the_file_beats_the_framework(ccr, own, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('epochs = 2\nlambda = 3\nframework = "coop"\n')
    flags = ["--config", file, "--framework", "kgcoop", "--batch-size", 4, "--no-class-specific"]
    result = ccr("finetune", *own, *flags, "-o", tmp_path / "run")
    assert result.exit_code == 0, result.output
    config = load_checkpoint(tmp_path / "run" / "split-1").config
    assert (config.framework, config.regularizer) == ("kgcoop", "none")
    assert (config.epochs, config.lambda_, config.batch_size) == (2, 3.0, 4)
    assert config.learning_rate == 0.002


def test_runs_of_every_framework_are_analysed_side_by_side(ccr, own, tmp_path):
    runs = [tmp_path / name for name in FRAMEWORKS]
    for run in runs:
        few = ["--framework", run.name, "--epochs", 1]
        result = ccr("finetune", *own, *few, "--new-class", "grey square", "-o", run)
        assert result.exit_code == 0, result.output
    result = ccr("analyze", "checkpoint", *runs, "--bootstrap", 0, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "images scored" in result.stderr
    for name in (
        "CoCoOp BCE",
        "KgCoOp BCE",
        "CLIP-Adapter BCE",
        "DualCoOp ASL",
        "TaI-DPT ranking",
        "T2I-PAL ranking (prior bias)",
    ):
        assert name in result.stdout


def test_a_class_that_no_training_image_shows_is_refused_unless_it_is_new(ccr, tiny_clip, tmp_path):
    from tiny import write_drawn_images

    data = write_drawn_images(tmp_path / "drawn")
    table = tmp_path / "drawn" / "images.csv"
    header, *rows = table.read_text().splitlines()
    rows = [row.replace("grey square", "kite") if row.endswith("test") else row for row in rows]
    table.write_text("\n".join([header, *rows]))
    flags = ["--model", tiny_clip, "--data", data, "--shots", 2, "--epochs", 1, "--device", "cpu"]
    result = ccr("finetune", *flags, "-o", tmp_path / "run")
    assert result.exit_code == 2
    told = "needs images that show it, but 1 of 5 have none (kite); add some, or leave the class"
    assert told in result.stderr
    assert not (tmp_path / "run").exists()
    result = ccr("finetune", *flags, "--new-class", "kite", "-o", tmp_path / "run")
    assert result.exit_code == 0, result.output
