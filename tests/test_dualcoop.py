import numpy as np
import pytest
import torch
from tiny import write_tiny_clip
from torch.nn import functional as F

from ccr_diag.checkpoint import load_checkpoint
from ccr_diag.config import config_from_dict
from ccr_diag.data import load_dataset
from ccr_diag.errors import BadConfig
from ccr_diag.features import local_features
from ccr_diag.finetune import finetune
from ccr_diag.frameworks.coop import CoOp
from ccr_diag.frameworks.dualcoop import DualCoOp
from ccr_diag.predict import tuned_space
from ccr_diag.prompts import context_prompts
from ccr_diag.runs import EXAMPLES

NAMES = ["dog", "traffic light", "wine glass"]


def make(backbone, **changes):
    settings = {"framework": "dualcoop", "n_context": 3} | changes
    return DualCoOp(backbone, NAMES, config_from_dict(settings))


def features(n, positions=6, seed=0):
    """Of images and their positions, half of them turned towards nothing."""
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(n, 1 + positions, 16, generator=generator), dim=2)


def slow_scores(backbone, dual, images):
    """The module's formula, entry by entry."""
    prompts = context_prompts(backbone, NAMES, len(dual.context))
    presence, absence = (
        backbone.encode_text(prompts.ids, context, prompts.at)
        for context in (dual.context, dual.negative)
    )
    rows = []
    for image in images:
        row = []
        for t, u in zip(presence, absence, strict=True):
            cosines = [(torch.dot(f, t), torch.dot(f, u)) for f in image[1:]]
            powers = [torch.exp(20 * present) for present, _ in cosines]
            terms = [
                power / sum(powers) * (present - absent)
                for power, (present, absent) in zip(powers, cosines, strict=True)
            ]
            row.append(sum(terms) / 2)
        rows.append(torch.stack(row))
    return torch.stack(rows)


def test_scores_are_the_formula_with_its_gradient(tiny_backbone):
    dual, images = make(tiny_backbone), features(4)
    dual.context.data.mul_(20)  # contexts that matter
    dual.negative.data.mul_(20)
    quick, slow = dual(images), slow_scores(tiny_backbone, dual, images)
    assert slow.abs().max() > 0.05
    torch.testing.assert_close(quick, slow, rtol=1e-4, atol=1e-5)
    weights = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    learned = [dual.context, dual.negative]
    for ours, theirs in zip(
        torch.autograd.grad((weights * quick).sum(), learned),
        torch.autograd.grad((weights * slow).sum(), learned),
        strict=True,
    ):
        assert theirs.abs().max() > 1e-3
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_the_map_gives_the_papers_softmax_over_the_pair(tiny_backbone):
    """20·cosine a position, averaged by the positive's softmax, times 5, softmax over the two."""
    dual, images = make(tiny_backbone), features(5)
    with torch.no_grad():
        present = 20 * images[:, 1:] @ dual.text_embeddings().T
        absent = 20 * images[:, 1:] @ dual.encode(dual.negative).T
        weights = present.softmax(dim=1)
        pair = torch.stack([5 * (weights * part).sum(dim=1) for part in (absent, present)])
        expected = pair.softmax(dim=0)[1]
        found = torch.sigmoid(DualCoOp.SCALE * dual(images))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("class_specific", [False, True])
def test_words_as_contexts_give_the_embeddings_of_the_plain_texts(tiny_backbone, class_specific):
    phrase = "a photo without any"
    dual = make(tiny_backbone, context_init=phrase, class_specific=class_specific)
    ids = tiny_backbone.tokenize([f"{phrase} {name}." for name in NAMES])
    plain = tiny_backbone.encode_text(ids)
    for context in (dual.context, dual.negative):
        torch.testing.assert_close(dual.encode(context).detach(), plain, rtol=0, atol=1e-6)
    torch.testing.assert_close(dual(features(3)), torch.zeros(3, 3), rtol=0, atol=1e-6)


def test_presence_starts_as_coop_does_and_absence_elsewhere(tiny_backbone):
    config = config_from_dict({"framework": "dualcoop", "n_context": 64})
    dual = DualCoOp(tiny_backbone, ["a"], config.replace(n_context=16))
    coop = CoOp(tiny_backbone, ["a"], config.replace(n_context=16))
    assert torch.equal(dual.context, coop.context)
    starts = torch.stack([dual.context.detach().flatten(), dual.negative.detach().flatten()])
    assert abs(float(torch.corrcoef(starts)[0, 1])) < 0.15
    assert dual.negative.std().item() == pytest.approx(0.02, rel=0.2)
    again = DualCoOp(tiny_backbone, ["a"], config.replace(n_context=16))
    other = DualCoOp(tiny_backbone, ["a"], config.replace(n_context=16, seed=2))
    assert torch.equal(dual.negative, again.negative)
    assert not torch.equal(dual.negative, other.negative)


def test_positions_count_in_any_order_and_the_global_feature_does_not(tiny_backbone):
    dual, images = make(tiny_backbone), features(4)
    scores = dual(images)
    turned = images[:, [0, 4, 2, 6, 1, 5, 3]]
    torch.testing.assert_close(dual(turned), scores, rtol=0, atol=1e-6)
    blind = torch.cat([-images[:, :1], images[:, 1:]], dim=1)
    assert torch.equal(dual(blind), scores)
    torch.testing.assert_close(dual(images.half()), scores, rtol=0, atol=2e-3)
    assert dual(images.half()).dtype == torch.float32


def test_chunks_score_as_all_at_once_and_tell(tiny_backbone, monkeypatch):
    dual, images, told = make(tiny_backbone), features(11).half(), []
    whole = dual(images).detach()
    monkeypatch.setattr(DualCoOp, "CHUNK", 4)
    text = dual.text_embeddings().detach()
    found = dual.scores_of_all(images, text, lambda *at: told.append(at))
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-6)
    assert told == [(4, 11), (8, 11), (11, 11)]


def test_defaults_are_the_papers():
    config = config_from_dict({"framework": "dualcoop"})
    assert (config.loss, config.epochs, config.batch_size) == ("asl", 50, 32)
    assert (config.n_context, config.context_init, config.name) == (16, "", "dualcoop asl")


def test_maps_are_of_its_own_scores_and_zero_shots_of_cosines(tiny_backbone, drawn_data, tmp_path):
    train = load_dataset(drawn_data, "train")
    few = {"framework": "dualcoop", "epochs": 1, "shots": 4, "bias": "prior"}
    runs = [
        load_checkpoint(
            finetune(config_from_dict(few | more), tmp_path / str(i), backbone=tiny_backbone,
                     train=train)
        )
        for i, more in enumerate(({}, {"scale": 7.0}))
    ]  # fmt: skip
    assert [run.map.scale for run in runs] == [200, 7]
    zero_shot = [run.maps["zero-shot"]["prior"].scale for run in runs]
    assert zero_shot == [pytest.approx(tiny_backbone.scale), 7]
    for run in runs:
        assert run.maps["tuned"]["prior"].scale == run.map.scale
        assert run.facts["start_probability"] == pytest.approx(run.facts["prior"], abs=1e-6)
    space = tuned_space(runs[0], tiny_backbone, "prior")
    ids = (runs[0].path.parent / EXAMPLES).read_text().splitlines()
    rows = np.array([train.image_ids.index(name) for name in ids])
    drawn = local_features(tiny_backbone, train.subset(rows))
    probabilities = space.map.probabilities(space.scores(drawn).numpy())
    assert float(probabilities.mean()) == pytest.approx(runs[0].facts["prior"], abs=1e-6)


def test_the_embedded_default_is_tuned_and_analysed(ccr, drawn_data, tmp_path):
    few = ["--data", drawn_data, "--shots", 2, "--epochs", 1, "--device", "cpu"]
    result = ccr("finetune", "--framework", "dualcoop", *few, "-o", tmp_path / "run")
    assert result.exit_code == 0, result.output
    result = ccr("analyze", "checkpoint", tmp_path / "run", "--bootstrap", 0, "-o", tmp_path / "a")
    assert result.exit_code == 0, result.output
    assert "DualCoOp ASL" in result.stdout
    assert "24 of 24" in result.stderr


def test_a_far_start_is_not_called_zero_shots():
    from ccr_diag.cli.finetune import start_note

    config = {"bias": "none", "loss": "asl", "framework": "dualcoop"}
    note = start_note({"start_probability": 0.5, "prior": 0.02, "config": config})
    assert "the first probabilities of the training images average 0.50" in note
    assert "ASL then mostly moves all classes alike" in note


def test_a_tower_without_local_features_is_one_sentence_and_nothing_is_written(
    ccr, drawn_data, tmp_path
):
    pooled = {"attentional_pool": True, "attn_pooler_queries": 4, "attn_pooler_heads": 2}
    model = write_tiny_clip(tmp_path / "clip", vision=pooled)
    flags = ["--model", model, "--data", drawn_data, "--epochs", 1, "--device", "cpu"]
    coop = ccr("finetune", *flags, "--shots", 1, "-o", tmp_path / "coop")
    assert coop.exit_code == 0, coop.output
    result = ccr("finetune", "--framework", "dualcoop", *flags, "-o", tmp_path / "run")
    assert result.exit_code == 2
    (said,) = [line for line in result.stderr.splitlines() if "need an image tower" in line]
    assert "a VisionTransformer, does not; choose another model" in said
    assert not list((tmp_path / "run").rglob("*.safetensors"))


def test_random_starts_of_its_own_for_a_class_never_tuned_are_refused(
    tiny_backbone, drawn_data, tmp_path
):
    train = load_dataset(drawn_data, "train").with_new(["grey square"])
    config = config_from_dict({"framework": "dualcoop", "class_specific": True})
    with pytest.raises(BadConfig, match="random start and new class 'grey square'"):
        finetune(config, tmp_path / "run", backbone=tiny_backbone, train=train)
