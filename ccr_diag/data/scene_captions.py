"""What somebody might say about an embedded scene: “a picture of two dogs and a bike”.

In: the objects of the scenes. Out: one caption a scene that names them all, and nothing else. Words
vary as people's do: an object goes by the name of its class or by a synonym
(``embedded/synonyms.txt``) that is also an annotator's keyword of the emoji drawn, several of a
class are named as one plural. The captions are generated, not written by people.

Only words that the embedded text tower was trained on are used; it knows few plurals and numbers,
and so several objects of a class without a known plural are named once, in the singular.
"""

import json
from collections.abc import Callable, Sequence
from functools import cache, lru_cache

import numpy as np
from jaxtyping import Float

from ccr_diag.data.captions import plural_forms, read_synonyms
from ccr_diag.data.sprites import EMBEDDED, Layout
from ccr_diag.embedded import SYNONYMS

CAPTION_TEMPLATES = (
    "{}.", "a picture of {}.", "a photo of {}.", "a scene with {}.", "{} on a soft background.",
    "in this small colourful picture you can see {}.",
)  # fmt: skip
PAIRS = ("grapes", "scissors", "skis")  # names that are plurals themselves
PLURALS = (
    "balls", "berries", "burgers", "cakes", "cars", "cats", "dogs", "fish", "hamburgers", "hats",
    "horses", "hot dogs", "lorries", "men", "puppies", "purses", "sheep", "shoes", "sports balls",
    "tennis rackets", "trains", "wine glasses",
)  # fmt: skip
NUMBERS = {2: "two", 4: "four"}
FIRST_DRAW = 256  # those before are taken by the scene itself
OTHER_WORD = 0.4  # share of objects with a synonym that go by it
COUNTED = 0.6  # share of plurals that come with their number


def describe(names: Sequence[str]) -> str:
    """A text that names these objects: “a dog, a cat and a tree”."""
    return _listed([_with_article(name) for name in names])


def _with_article(name: str) -> str:
    """“a dog”, “an apple”."""
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _listed(phrases: Sequence[str]) -> str:
    """“x, y and z”."""
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def caption_scenes(
    layout: Layout,
    class_names: Sequence[str],
    u: Callable[[int], Float[np.ndarray, " scenes"]],
) -> tuple[str, ...]:
    """One caption a scene.

    Args:
        layout: recipes of the scenes.
        class_names: one name a class.
        u: uniform numbers in [0, 1), one a scene, by draw.
    """
    slots = range(layout.class_.shape[1])
    template = np.floor(u(FIRST_DRAW) * len(CAPTION_TEMPLATES)).astype(np.int64).tolist()
    word = np.stack([u(FIRST_DRAW + 1 + 2 * slot) for slot in slots], axis=1).tolist()
    count = np.stack([u(FIRST_DRAW + 2 + 2 * slot) for slot in slots], axis=1).tolist()
    captions = []
    for i, classes in enumerate(layout.class_.tolist()):
        phrases = []
        for c in dict.fromkeys(c for c in classes if c >= 0):
            own = [slot for slot in slots if classes[slot] == c]
            synonyms = _shared_synonyms(layout.sprite[i, own].tolist())
            k = own[0]
            phrases.append(_phrase(class_names[c], synonyms, len(own), word[i][k], count[i][k]))
        captions.append(CAPTION_TEMPLATES[template[i]].format(_listed(phrases)))
    return tuple(captions)


def _shared_synonyms(sprites: Sequence[int]) -> list[str]:
    """The synonyms that fit every one of these sprites, all of one class."""
    first, *others = (sprite_synonyms()[sprite] for sprite in sprites)
    return [word for word in first if all(word in other for other in others)]


def _phrase(name: str, synonyms: Sequence[str], n: int, word: float, count: float) -> str:
    """One or several objects of a class in words.

    Args:
        name: of the class.
        synonyms: words that fit all of them.
        n: how many there are.
        word: uniform number that chooses the word.
        count: uniform number that chooses whether they are counted.
    """
    if word < OTHER_WORD and synonyms:
        name = synonyms[int(word / OTHER_WORD * len(synonyms))]
    if name in PAIRS:
        return name
    plural = plural_of(name)
    if n == 1 or plural not in PLURALS:
        return _with_article(name)
    return f"{NUMBERS.get(n, 'some')} {plural}" if count < COUNTED else plural


@cache
def plural_of(name: str) -> str:
    """The most common plural of a name of one or several words."""
    *first, last = name.split()
    return " ".join([*first, plural_forms(last)[0]])


@lru_cache(maxsize=1)
def sprite_synonyms() -> tuple[tuple[str, ...], ...]:
    """For each sprite, the synonyms of its class that are among its keywords."""
    index = json.loads((EMBEDDED / "sprites" / "index.json").read_text(encoding="utf-8"))
    drawn = index["sprites"]
    synonyms = read_synonyms(SYNONYMS, list(dict.fromkeys(sprite["name"] for sprite in drawn)))
    return tuple(
        tuple(word for word in synonyms.get(sprite["name"], ()) if word in sprite["tags"])
        for sprite in drawn
    )
