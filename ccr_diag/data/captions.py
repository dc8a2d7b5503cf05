"""Captions as training data: read from a file, and the classes that their words name.

A caption stands for an image when a prompt is tuned on text alone; its labels are the classes whose
names, synonyms, or plurals of these occur in it as whole words:

    y_ic = 1  if caption i names class c,  else 0.

Case does not count, hyphens and underscores are spaces, and a name of several words is also found
where its words are joined. Of names that begin at the same word the longest is taken, and what it
covers is used up: “hot dog” names no dog. Words are not told apart by their part of speech: “orange
shoes” names the orange.

Source of the idea: Guo et al., "Texts as Images in Prompt Tuning for Multi-Label Image
Recognition", CVPR 2023, arXiv:2211.12739; there words are lemmatised by WordNet instead.
"""

import csv
import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from jaxtyping import Int8

from ccr_diag.arrays import PRESENT
from ccr_diag.errors import BadData, nearest

Synonyms = Mapping[str, Sequence[str]]
Tokens = tuple[str, ...]
# By letters without gaps: after how many of them a word may end, and the class that they name.
Spellings = dict[str, list[tuple[set[int], int]]]

# A run of letters and digits, or one mark; spaces, underscores and hyphens only separate.
TOKEN = re.compile(r"[^\W_]+|[^\s_\-\u2010\u2011]")

# Plurals of words that end in one of these, so of “policeman” and of “bookshelf” too.
IRREGULAR_ENDINGS: dict[str, Tokens] = {
    "person": ("people", "persons"),
    "woman": ("women",),
    "man": ("men",),
    "child": ("children",),
    "mouse": ("mice",),
    "goose": ("geese",),
    "tooth": ("teeth",),
    "foot": ("feet",),
    "knife": ("knives",),
    "wife": ("wives",),
    "leaf": ("leaves",),
    "loaf": ("loaves",),
    "shelf": ("shelves",),
    "calf": ("calves",),
    "half": ("halves",),
    "wolf": ("wolves",),
    "thief": ("thieves",),
    "scarf": ("scarves", "scarfs"),
    "hoof": ("hooves", "hoofs"),
    "sheep": ("sheep",),
    "deer": ("deer",),
    "fish": ("fish", "fishes"),
    "craft": ("craft", "crafts"),
}
IRREGULAR_WORDS: dict[str, Tokens] = {
    "ox": ("oxen",),
    "die": ("dice",),
    "elf": ("elves",),
    "louse": ("lice",),
    "cactus": ("cacti", "cactuses"),
    "fungus": ("fungi", "funguses"),
    "hippopotamus": ("hippopotamuses", "hippopotami"),
    "octopus": ("octopuses", "octopi"),
    "bus": ("buses", "busses"),
    "quiz": ("quizzes",),
    "stomach": ("stomachs",),
    "bison": ("bison",),
    "cattle": ("cattle",),
    "moose": ("moose",),
    "salmon": ("salmon",),
    "series": ("series",),
    "shrimp": ("shrimp", "shrimps"),
    "species": ("species",),
    "squid": ("squid", "squids"),
    "human": ("humans",),  # these only end like irregular ones
    "german": ("germans",),
    "roman": ("romans",),
    "shaman": ("shamans",),
    "caiman": ("caimans",),
    "ottoman": ("ottomans",),
    "talisman": ("talismans",),
    "mongoose": ("mongooses",),
}


def read_captions(path: Path) -> tuple[str, ...]:
    """The captions of a file in its order, without line breaks; empty ones are skipped.

    Args:
        path: ``.txt``, one caption a line; ``.csv`` with a column ``caption``; or ``.json`` in
            COCO's format, of which the first caption of each image is taken.

    Raises:
        BadData: a file of another kind, one that cannot be read, or one without captions.
    """
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise BadData(
            f"Captions must come as a file that ends in {', '.join(READERS)}, but got {path}; "
            "write one caption a line in a .txt file."
        )
    texts = _read(path, "Captions", READERS[suffix])
    captions = tuple(caption for text in texts if (caption := " ".join(text.split())))
    if not captions:
        raise BadData(f"A file of captions must hold at least one, but {path} holds none.")
    return captions


def _read(path: Path, what: str, parse: Callable[[Path, TextIO], list[str]]) -> list[str]:
    """What ``parse`` finds in a text file that holds ``what``."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return parse(path, file)
    except OSError as error:
        raise BadData(
            f"{what} must come as a readable file, but {path}: {error.strerror}."
        ) from error
    except UnicodeDecodeError as error:
        raise BadData(
            f"{what} must come as UTF-8 text, but {path} is not; save it as UTF-8."
        ) from error


def _lines(path: Path, file: TextIO) -> list[str]:
    """The lines of a text file."""
    return list(file)


def _csv_captions(path: Path, file: TextIO) -> list[str]:
    """The column ``caption`` of a table."""
    try:
        reader = csv.DictReader(file, strict=True)
        header = reader.fieldnames or []
        if "caption" not in header:
            found = ", ".join(header) or "empty"
            raise BadData(f"{path} needs a column 'caption', but its header is {found}.")
        return [row["caption"] or "" for row in reader]
    except csv.Error as error:
        raise BadData(
            f"A .csv file of captions must be comma-separated values, but {path}: {error}."
        ) from error


def _coco_captions(path: Path, file: TextIO) -> list[str]:
    """The first caption of each image of a COCO file, in the order in which images appear."""
    text = file.read()
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadData(
            f"A .json file of captions must be JSON, but {path} is none ({error}); get it anew."
        ) from error
    first: dict[int | str, str] = {}
    try:
        for annotation in document["annotations"]:
            first.setdefault(annotation["image_id"], annotation["caption"].strip())
    except (AttributeError, KeyError, TypeError) as error:
        raise BadData(
            f"A .json file of captions must be COCO's, whose 'annotations' each have an 'image_id' "
            f"and a 'caption', but {path} is none; is it the file of instances?"
        ) from error
    # JSON can escape half of a surrogate pair, which is no character: “?” stands for it.
    return [caption.encode("utf-8", "replace").decode() for caption in first.values()]


READERS = {".txt": _lines, ".csv": _csv_captions, ".json": _coco_captions}


def read_synonyms(path: Path, class_names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Other words for the classes, from a text file with lines like “person: man, woman”.

    A class has at most one line, and may have none; empty lines and those that begin with ``#`` are
    skipped.

    Raises:
        BadData: a file that cannot be read, a line of another form, an unknown or repeated class,
            a word that is a name or synonym of another class.
    """
    synonyms: dict[str, tuple[str, ...]] = {}
    # By letters without gaps, by which Phrases tells names apart.
    name_of = {"".join(tokens_of(name)): name for name in class_names}
    known = {name.replace("_", " ").lower(): name for name in class_names}
    for number, line in enumerate(_read(path, "Synonyms", _lines), start=1):
        where = f"{path} line {number}"
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        left, colon, right = line.rpartition(":")
        words = tuple(word.strip() for word in right.split(","))
        if not (colon and left.strip() and all(map(tokens_of, words))):
            raise BadData(
                f"{where} must be a class, a colon and words between commas, as in 'person: man, "
                f"woman', but is {line.strip()!r}."
            )
        key = " ".join(left.replace("_", " ").lower().split())
        if key not in known:
            raise BadData(
                f"{where} must begin with a class, but {left.strip()!r} is none"
                f"{nearest(key, known)}"
            )
        if known[key] in synonyms:
            raise BadData(
                f"{where} repeats the class {left.strip()!r}; join its words into one line."
            )
        for word in words:
            first = name_of.setdefault("".join(tokens_of(word)), known[key])
            if first != known[key]:
                raise BadData(
                    f"{where} must give {known[key]!r} words of its own, but {word!r} names "
                    f"{first!r}; take it from one of them."
                )
        synonyms[known[key]] = words
    return synonyms


def plural_forms(word: str) -> tuple[str, ...]:
    """The plurals of an English word in lower case, the most common first.

    “dog” gives “dogs”, “box” “boxes”, “berry” “berries”, “policeman” “policemen”; after a consonant
    “o” gives both (“photos”, “potatoes”).
    """
    if word in IRREGULAR_WORDS:
        return IRREGULAR_WORDS[word]
    for ending, plurals in IRREGULAR_ENDINGS.items():
        if word.endswith(ending):
            return tuple(word.removesuffix(ending) + plural for plural in plurals)
    if re.search("(s|x|z|ch|sh)$", word):
        return (word + "es",)
    if re.search("[^aeiou]y$", word):
        return (word[:-1] + "ies",)
    if re.search("[^aeiou]o$", word):
        return word + "s", word + "es"
    return (word + "s",)


def tokens_of(text: str) -> Tokens:
    """Words and marks of a text in lower case."""
    return tuple(TOKEN.findall(unicodedata.normalize("NFC", text).lower()))


def caption_labels(
    captions: Sequence[str], class_names: Sequence[str], synonyms: Synonyms | None = None
) -> Int8[np.ndarray, "captions classes"]:
    """y_ic = 1 where caption i names class c, else 0.

    A plural that belongs to two classes, or that is itself a name or synonym of another class,
    tells nothing and is left out.

    Args:
        captions: texts; empty ones name nothing.
        class_names: one name a class.
        synonyms: other words for some of the classes.

    Returns:
        Labels; a row of zeros where the caption names no class.

    Raises:
        BadData: a name or synonym without a word, or that two classes share.
    """
    phrases = Phrases(class_names, synonyms or {})
    labels = np.zeros((len(captions), len(class_names)), dtype=np.int8)
    for row, caption in zip(labels, captions, strict=True):
        for class_ in phrases.named(tokens_of(caption)):
            row[class_] = PRESENT
    return labels


class Phrases:
    """Every way to name a class, found by its letters: “hot dog” and “hotdog” have the same.

    Raises:
        BadData: a name or synonym without a word, or that two classes share.
    """

    def __init__(self, class_names: Sequence[str], synonyms: Synonyms) -> None:
        self.names: Spellings = {}  # and synonyms
        self.plurals: Spellings = {}
        self.openings: set[str] = set()  # letters of a phrase up to the end of one of its words
        for c, name in enumerate(class_names):
            for word in (name, *synonyms.get(name, ())):
                tokens = tokens_of(word)
                if not tokens:
                    raise BadData(f"A name or synonym must hold a word, but {word!r} holds none.")
                _, first = self._add(self.names, tokens, c)[0]
                if first != c:
                    raise BadData(
                        f"A word must name one class, but {word!r} names {class_names[first]!r} "
                        f"and {class_names[c]!r}; take it from one of them."
                    )
                for plural in plural_forms(tokens[-1]):
                    self._add(self.plurals, (*tokens[:-1], plural), c)

    def _add(self, spellings: Spellings, tokens: Tokens, class_: int) -> list[tuple[set[int], int]]:
        """Adds a phrase; returns all that have its letters, the first added first."""
        openings = list(accumulate(tokens))
        self.openings.update(openings)
        same = spellings.setdefault(openings[-1], [])
        same.append((set(map(len, openings)), class_))
        return same

    def named(self, tokens: Tokens) -> Iterator[int]:
        """The classes that these tokens name, from left to right."""
        end = 0  # of the phrase before
        for start, token in enumerate(tokens):
            if start >= end and token in self.openings:
                end, class_ = max(self._phrases_from(tokens, start), default=(end, None))
                if class_ is not None:
                    yield class_

    def _phrases_from(self, tokens: Tokens, start: int) -> Iterator[tuple[int, int]]:
        """The phrases that begin with a token, by their ends, and the class of each.

        A word of the text may join words of a phrase but not split one, so words end in the text
        only where they end in the phrase.
        """
        letters, ends = "", set()
        for end in range(start + 1, len(tokens) + 1):
            letters += tokens[end - 1]
            if letters not in self.openings:
                return
            ends.add(len(letters))
            for spellings in (self.names, self.plurals):
                classes = {c for gaps, c in spellings.get(letters, ()) if ends <= gaps}
                if len(classes) == 1:
                    yield end, classes.pop()
                    break
