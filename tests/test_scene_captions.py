import json
import re
from dataclasses import replace

import numpy as np
import open_clip
import pytest

from ccr_diag.data import load_dataset, scenes
from ccr_diag.data.captions import caption_labels
from ccr_diag.data.scene_captions import (
    CAPTION_TEMPLATES,
    FIRST_DRAW,
    PLURALS,
    caption_scenes,
    describe,
    plural_of,
    sprite_synonyms,
)
from ccr_diag.data.sprites import EMBEDDED
from ccr_diag.embedded import MODEL_DIR

INDEX = json.loads((EMBEDDED / "sprites" / "index.json").read_text(encoding="utf-8"))["sprites"]
LAST = 1 - 2**-53  # the largest number that a choice can fall on


@pytest.fixture(scope="module")
def data():
    return {split: load_dataset("scenes", split) for split in scenes.SPLITS}


@pytest.fixture(scope="module")
def captions(data):
    return [caption for split in data.values() for caption in split.captions]


@pytest.fixture(scope="module")
def tokenizers():
    """The embedded model's, and CLIP's own, from which it was cut."""
    cut = open_clip.SimpleTokenizer(bpe_path=str(MODEL_DIR / "bpe.txt.gz"), context_length=32)
    return cut, open_clip.SimpleTokenizer()


def pieces(tokenizer, text):
    return [tokenizer.decoder[i] for i in tokenizer.encode(text)]


@pytest.fixture(scope="module")
def synonyms(data):
    return data["train"].synonyms


def test_describe_lists_names():
    assert describe(["dog"]) == "a dog"
    assert describe(["apple", "dog", "cat"]) == "an apple, a dog and a cat"


@pytest.mark.parametrize("split", scenes.SPLITS)
def test_a_caption_names_exactly_the_classes_of_its_scene(data, synonyms, split):
    d = data[split]
    np.testing.assert_array_equal(caption_labels(d.captions, d.class_names, synonyms), d.labels)


def test_names_alone_find_most_objects_but_not_all(data):
    d = data["train"]
    found = caption_labels(d.captions, d.class_names)
    assert (found <= d.labels).all()
    assert 0.8 < found.sum() / d.labels.sum() < 0.9


def test_captions_are_the_same_in_every_style_and_every_time(data):
    assert load_dataset("scenes:noto", "test").captions == data["test"].captions
    assert data["train"].captions[:4] == (
        "a scene with a fish and a turtle.",
        "a photo of a lamp and a book.",
        "a scene with a bike.",
        "a scene with a bed, a phone and a lion.",
    )


def test_a_caption_does_not_depend_on_its_batch(data):
    inventory = scenes.class_inventory("twemoji")
    numbers = np.array([40, 7])
    layout = scenes.lay_out(inventory, scenes.SPLIT_SEEDS["test"], numbers)

    def u(draw):
        return scenes.uniform(scenes.SPLIT_SEEDS["test"], numbers, draw)

    captions = data["test"].captions
    assert caption_scenes(layout, inventory.names, u) == (captions[40], captions[7])


def test_captions_fit_the_text_tower_and_hold_only_words_it_knows(captions, tokenizers):
    cut, full = tokenizers
    assert max(len(cut.encode(caption)) for caption in captions) + 2 <= cut.context_length
    words = {word for caption in captions for word in re.findall(r"\w+", caption)}
    assert [word for word in sorted(words) if pieces(cut, word) != pieces(full, word)] == []


def test_plurals_are_those_that_the_text_tower_knows(data, synonyms, tokenizers):
    cut, full = tokenizers
    words = [w for name in data["train"].class_names for w in (name, *synonyms.get(name, ()))]
    known = {p for p in map(plural_of, words) if pieces(cut, p) == pieces(full, p)}
    assert set(PLURALS) <= known


def test_every_synonym_is_a_keyword_of_a_drawing_of_its_class(synonyms):
    for sprite, own in zip(INDEX, sprite_synonyms(), strict=True):
        assert set(own) == set(sprite["tags"]) & set(synonyms.get(sprite["name"], ()))
    borne = {word for own in sprite_synonyms() for word in own}
    assert borne == {word for words in synonyms.values() for word in words}


def say(sprites, word, count, template=0.0):
    """The caption of a scene of these sprites, when every choice of a kind falls on one number."""
    inventory = scenes.class_inventory("twemoji")
    layout = scenes.lay_out(inventory, 1, np.array([0]))
    class_, sprite = np.full((1, 6), -1), np.zeros((1, 6), dtype=int)
    for slot, number in enumerate(sprites):
        class_[0, slot] = inventory.names.index(INDEX[number]["name"])
        sprite[0, slot] = number

    def u(draw):
        return np.array([template if draw == FIRST_DRAW else (count, word)[draw % 2]], dtype=float)

    return caption_scenes(replace(layout, class_=class_, sprite=sprite), inventory.names, u)[0]


def row(emoji):
    return next(i for i, sprite in enumerate(INDEX) if sprite["emoji"] == emoji)


@pytest.mark.parametrize(
    ("emoji", "word", "count", "caption"),
    [
        ("🐶", LAST, 0, "a dog."),
        ("🐶", 0, 0, "a puppy."),
        ("🐕", 0, 0, "a dog."),  # no annotator calls it a puppy
        ("🐶🐶", 0, 0, "two puppies."),
        ("🐶🐕", 0, 0, "two dogs."),
        ("🐶🐱🐕🐩", LAST, 0, "some dogs and a cat."),
        ("🐶🐱🐕🐩", LAST, LAST, "dogs and a cat."),
        ("🐕🐕🐕🐕", LAST, 0, "four dogs."),
        ("👴👷", 0.39, 0, "two men."),
        ("👴👵", LAST, 0, "a person."),  # the tower does not know “people”
        ("🍇🍇", LAST, 0, "grapes."),
        ("🌭🌭🍎", LAST, 0, "two hot dogs and an apple."),
    ],
)
def test_words_for_one_and_for_several(emoji, word, count, caption):
    assert say([row(e) for e in emoji], word, count) == caption


def test_templates_and_synonyms_are_all_used(captions, synonyms):
    for template in CAPTION_TEMPLATES:
        start, end = template.split("{}")
        assert any(c.startswith(start) and c.endswith(end) for c in captions)
    assert say([row("🐶")], LAST, 0, LAST) == CAPTION_TEMPLATES[-1].format("a dog")
    text = "\n".join(captions)
    words = [word for own in synonyms.values() for word in own]
    assert [word for word in words if not re.search(rf"\b{word}\b", text)] == []


def test_objects_of_a_scene_choose_their_words_one_by_one(captions):
    words = [set(re.findall(r"\w+", caption)) for caption in captions]
    assert any({"helicopter", "aeroplane"} <= own for own in words)
    assert any({"copter", "airplane"} <= own for own in words)
