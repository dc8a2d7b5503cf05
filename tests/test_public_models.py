"""Public checkpoints as models: their scores against the formulas, written out slowly."""

import pytest
import torch
from test_public_checkpoints import NAMES, WIDTH, cocoop, coop, dassl, dualcoop, tai_dpt, vectors
from torch.nn import functional as F

from ccr_diag.arrays import ProbabilityMap
from ccr_diag.errors import BadCheckpoint, BadConfig
from ccr_diag.prompts import context_prompts, word_embeddings, zero_shot_embeddings
from ccr_diag.public_checkpoints import read_public_checkpoint
from ccr_diag.public_models import public_map, public_provenance, public_space

MAP = ProbabilityMap(100.0, 0.0, "none")
FEATURES = F.normalize(torch.randn(5, 16, generator=torch.Generator().manual_seed(3)), dim=-1)


def one_by_one(backbone, names, contexts, position="end"):
    """Text embeddings, class by class through the whole tower."""
    rows = []
    for name, context in zip(names, contexts, strict=True):
        prompts = context_prompts(backbone, [name], len(context), position)
        rows.append(backbone.encode_text(prompts.ids, context, prompts.at)[0])
    return torch.stack(rows)


@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_a_shared_context_scores_any_classes(tmp_path, tiny_backbone, position):
    saved = read_public_checkpoint(coop(tmp_path / "a.pt"))
    names = ["zebra", *reversed(NAMES)]
    space = public_space(saved, tiny_backbone, names, MAP, position=position)
    texts = one_by_one(tiny_backbone, names, [vectors(4, WIDTH).half().float()] * 4, position)
    torch.testing.assert_close(space.scores(FEATURES), FEATURES @ texts.T)
    assert (space.name, space.map) == ("coop [a.pt]", MAP)


def test_words_as_context_score_as_zero_shot_does(tmp_path, tiny_backbone):
    context = word_embeddings(tiny_backbone, "a photo of a")
    saved = read_public_checkpoint(dassl(tmp_path / "a.pt", ctx=context))
    space = public_space(saved, tiny_backbone, NAMES, MAP)
    torch.testing.assert_close(space.embeddings, zero_shot_embeddings(tiny_backbone, NAMES))


def test_contexts_of_classes_find_their_classes_in_the_data(tmp_path, tiny_backbone):
    saved = read_public_checkpoint(coop(tmp_path / "a.pt", (3, 4, WIDTH)))
    asked = [NAMES[2], NAMES[0]]
    space = public_space(saved, tiny_backbone, asked, MAP, tuned_names=NAMES)
    contexts = vectors(3, 4, WIDTH).half().float()
    texts = one_by_one(tiny_backbone, asked, contexts[[2, 0]])
    torch.testing.assert_close(space.scores(FEATURES), FEATURES @ texts.T)


@pytest.mark.parametrize("position", ["end", "front"])
def test_cocoop_moves_the_context_by_each_image(tmp_path, tiny_backbone, position):
    path = cocoop(
        tmp_path / "a.pt",
        **{"linear1.weight": vectors(1, 16), "linear1.bias": 0.5 + vectors(1)},
        **{"linear2.weight": vectors(WIDTH, 1, seed=2)},
    )
    saved = read_public_checkpoint(path)
    space = public_space(saved, tiny_backbone, NAMES, MAP, position=position)
    net, rows = saved.meta_net, []
    for feature in FEATURES:
        hidden = (net["linear1.weight"] @ feature + net["linear1.bias"]).clamp(min=0)
        shift = net["linear2.weight"] @ hidden + net["linear2.bias"]
        context = saved.contexts["plain"].vectors + shift
        rows.append(one_by_one(tiny_backbone, NAMES, [context] * 3, position) @ feature)
    told = []
    scores = space.scores(FEATURES, lambda done, total: told.append((done, total)))
    torch.testing.assert_close(scores, torch.stack(rows))
    still = one_by_one(tiny_backbone, NAMES, [saved.contexts["plain"].vectors] * 3, position)
    assert (scores - FEATURES @ still.T).abs().max() > 1e-4
    torch.testing.assert_close(space.embeddings, still)
    assert told == [(5, 5)]


def test_kgcoop_scores_as_coop(tmp_path, tiny_backbone):
    context = vectors(4, WIDTH)
    unused = {"bias_vectors": vectors(1, WIDTH)}
    plain = read_public_checkpoint(dassl(tmp_path / "a.pt", ctx=context))
    kgcoop = read_public_checkpoint(dassl(tmp_path / "b.pt", parameters=unused, ctx=context))
    one, other = (public_space(s, tiny_backbone, NAMES, MAP) for s in (plain, kgcoop))
    assert torch.equal(one.scores(FEATURES), other.scores(FEATURES))
    assert (one.name, other.name) == ("coop [a.pt]", "kgcoop [b.pt]")


def test_the_map_is_the_published_one_unless_stated(tmp_path, tiny_backbone):
    own = tiny_backbone.scale
    saved = read_public_checkpoint(coop(tmp_path / "a.pt"))
    assert public_map(saved.kind, tiny_backbone, None, None) == ProbabilityMap(own, 0.0, "none")
    assert public_map(saved.kind, tiny_backbone, 4.0, None) == ProbabilityMap(4.0, 0.0, "given")
    assert public_map(saved.kind, tiny_backbone, None, -3.0) == ProbabilityMap(own, -3.0, "given")
    with pytest.raises(BadConfig, match="a finite scale above 0"):
        public_map(saved.kind, tiny_backbone, 0.0, None)
    said = public_provenance(saved, tiny_backbone, "end", None, -3.0)
    assert said["map"] == {
        "scale": "that of the published code",
        "bias": "stated by the user",
    }
    assert said["checkpoint"]["facts"] == {"epoch": 50}
    assert len(said["checkpoint"]["sha256"]) == 64


def positions():
    """Unit features of five images and seven positions of each, as the cache holds them."""
    drawn = torch.randn(5, 8, 16, generator=torch.Generator().manual_seed(4))
    return F.normalize(drawn, dim=-1).half()


@pytest.mark.parametrize("shape", [(4, WIDTH), (3, 4, WIDTH)])
def test_tai_dpt_takes_half_of_the_image_and_half_of_its_positions(tmp_path, tiny_backbone, shape):
    ctx, double = vectors(*shape), vectors(*shape, seed=1)
    saved = read_public_checkpoint(dassl(tmp_path / "a.pt", ctx=ctx, ctx_double=double))
    specific = len(shape) == 3
    names, rows = ([NAMES[2], NAMES[0]], [2, 0]) if specific else (NAMES, [0, 1, 2])
    map_ = public_map(saved.kind, tiny_backbone, None, None)
    tuned_names = NAMES if specific else None
    space = public_space(saved, tiny_backbone, names, map_, tuned_names=tuned_names)
    both = [c[rows] if specific else c.expand(3, -1, -1) for c in (ctx, double)]
    texts, local_texts = (one_by_one(tiny_backbone, names, c) for c in both)
    expected = torch.zeros(5, len(names))
    for i, (whole, *parts) in enumerate(positions().double()):
        for c in range(len(names)):
            s = torch.stack([part @ local_texts[c].double() for part in parts])
            w = (40 * s).exp() / (40 * s).exp().sum()
            expected[i, c] = 0.5 * whole @ texts[c].double() + 0.5 * (w * s).sum()
    torch.testing.assert_close(space.scores(positions()), expected)
    torch.testing.assert_close(space.embeddings, texts)
    assert (space.local, space.map) == (True, ProbabilityMap(4.0, 0.0, "none"))


@pytest.mark.parametrize("specific", [False, True])
def test_dualcoop_takes_positions_present_less_absent(tmp_path, tiny_backbone, specific):
    shape = (3, 4, WIDTH) if specific else (4, WIDTH)
    ctx = {"ctx_pos": vectors(*shape), "ctx_neg": vectors(*shape, seed=1)}
    saved = read_public_checkpoint(dassl(tmp_path / "a.pt", **ctx))
    names, rows = ([NAMES[2], NAMES[0]], [2, 0]) if specific else (NAMES, [0, 1, 2])
    map_ = public_map(saved.kind, tiny_backbone, None, None)
    tuned_names = NAMES if specific else None
    space = public_space(
        saved, tiny_backbone, names, map_, tuned_names=tuned_names, position="front"
    )
    both = [c[rows] if specific else c.expand(3, -1, -1) for c in ctx.values()]
    present, absent = (one_by_one(tiny_backbone, names, c, "front") for c in both)
    expected = torch.zeros(5, len(names))
    for i, (_, *parts) in enumerate(positions().double()):
        for c in range(len(names)):
            s = torch.stack([part @ present[c].double() for part in parts])
            o = torch.stack([part @ absent[c].double() for part in parts])
            w = (20 * s).exp() / (20 * s).exp().sum()
            expected[i, c] = (w * (s - o)).sum() / 2
    torch.testing.assert_close(space.scores(positions()), expected)
    torch.testing.assert_close(space.embeddings, present)
    assert (space.local, space.map) == (True, ProbabilityMap(200.0, 0.0, "none"))


def test_where_published_scores_differ_is_recorded(tmp_path, tiny_backbone):
    said = {
        make.__name__: public_provenance(
            read_public_checkpoint(make(tmp_path / "a.pt")), tiny_backbone, "end", None, None
        )["differs"]
        for make in (coop, cocoop, tai_dpt, dualcoop)
    }
    assert said["coop"] == said["cocoop"] == ""
    assert "positional embedding" in said["tai_dpt"]
    assert "its mean" in said["dualcoop"]


def test_variants_of_dualcoop_are_refused(tmp_path, tiny_backbone):
    saved = read_public_checkpoint(dualcoop(tmp_path / "a.pt"))
    reason = r"Key ctx_neg of .* as many vectors as ctx_pos, 4, but has 6; such files"
    with pytest.raises(BadCheckpoint, match=reason):
        public_space(saved, tiny_backbone, NAMES, MAP)
    contexts = {"ctx": vectors(4, WIDTH), "ctx_neg": vectors(4, WIDTH)}
    saved = read_public_checkpoint(dassl(tmp_path / "a.pt", **contexts))
    with pytest.raises(BadCheckpoint, match="of TaI-DPT's variant"):
        public_space(saved, tiny_backbone, NAMES, MAP)


def test_class_names_are_asked_for_where_they_matter_only(tmp_path, tiny_backbone):
    shared = read_public_checkpoint(coop(tmp_path / "a.pt"))
    specific = read_public_checkpoint(coop(tmp_path / "b.pt", (3, 4, WIDTH)))
    with pytest.raises(BadConfig, match="a context for each of 3 classes, but not their names"):
        public_space(specific, tiny_backbone, NAMES, MAP)
    with pytest.raises(BadConfig, match="holds one for all"):
        public_space(shared, tiny_backbone, NAMES, MAP, tuned_names=NAMES)
    with pytest.raises(BadCheckpoint, match=r"shape \(2, 4, 32\) to fit the 2 classes given"):
        public_space(specific, tiny_backbone, NAMES[:2], MAP, tuned_names=NAMES[:2])
    with pytest.raises(BadCheckpoint, match="class 'hotdog' .* did you mean 'hot_dog'"):
        public_space(specific, tiny_backbone, ["dog", "hotdog"], MAP, tuned_names=NAMES)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"linear1.weight": vectors(2, 16)},
            r"meta_net\.linear1\.weight of .* shape \(1, 16\) .* but has \(2, 16\)",
        ),
        (
            {"linear1.weight": vectors(1, 512)},
            r"meta_net\.linear1\.weight of .* shape \(1, 16\) .* but has \(1, 512\)",
        ),
    ],
)
def test_a_meta_net_of_another_image_tower_is_refused(tmp_path, tiny_backbone, changes, reason):
    hidden = len(changes["linear1.weight"])
    changes |= {"linear1.bias": vectors(hidden), "linear2.weight": vectors(WIDTH, hidden)}
    saved = read_public_checkpoint(cocoop(tmp_path / "a.pt", **changes))
    with pytest.raises(BadCheckpoint, match=reason):
        public_space(saved, tiny_backbone, NAMES, MAP)
