"""Choose the common nouns that ship with the package (development only).

In: the WordNet 3.0 database files ``data.noun``, ``index.noun`` and ``cntlist.rev``. Out:
``wordnet.txt``, one noun a line, the most frequent first.

    apt-get download wordnet-base && dpkg-deb -x wordnet-base_*.deb DEB
    python -m ccr_diag.losses.nouns.build_nouns DEB/usr/share/wordnet

A noun is taken if

- it is one word of three or more of the letters a–z, and WordNet writes it in lower case;
- it occurs in the texts whose words were tagged with their WordNet senses, at least once as a noun;
- its first sense is not marked as a slur, a disparagement or an obscenity.
"""

import argparse
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ccr_diag.losses.nouns import WORDNET

WORD = re.compile("[a-z]{3,}")
REFUSED_USAGE = {"ethnic_slur", "disparagement", "obscenity"}
USAGE_POINTER = ";u"
NOUN = "1"


def tag_counts(cntlist: Path) -> Counter[str]:
    """How often each word was tagged as a noun, over its senses.

    A line is ``lemma%kind:… sense_number count``; kind 1 is a noun.
    """
    counts: Counter[str] = Counter()
    for line in cntlist.read_text(encoding="ascii").splitlines():
        key, _, count = line.split()
        lemma, _, sense = key.rpartition("%")
        if sense.startswith(f"{NOUN}:"):
            counts[lemma] += int(count)
    return counts


def synsets(data: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Offset, words as they are written, and offsets of the usages, of each synset.

    A line is ``offset file kind n (word id)×n m (pointer offset kind source)×m | gloss``, n in hex;
    the licence on top is indented.
    """
    for line in data.read_text(encoding="ascii").splitlines():
        if line.startswith(" "):
            continue
        fields = line.partition("|")[0].split()
        n = int(fields[3], 16)
        words, pointers = fields[4 : 4 + 2 * n : 2], fields[5 + 2 * n :]
        usages = [
            offset
            for symbol, offset in zip(pointers[::4], pointers[1::4], strict=True)
            if symbol == USAGE_POINTER
        ]
        yield fields[0], words, usages


def first_senses(index: Path) -> dict[str, str]:
    """Offset of each word's first sense.

    A line is ``lemma kind n m (pointer)×m n tagged (offset)×n``; the licence on top is indented.
    """
    lines = [s.split() for s in index.read_text(encoding="ascii").splitlines() if s[0] != " "]
    return {fields[0]: fields[-int(fields[2])] for fields in lines}


def common_nouns(wordnet: Path) -> list[str]:
    """The nouns to take from a folder of WordNet's files, the most frequent first."""
    found = list(synsets(wordnet / "data.noun"))
    written = {word for _, words, _ in found for word in words}
    usage_names = {offset: words[0] for offset, words, _ in found}
    refused = {
        offset
        for offset, _, usages in found
        if REFUSED_USAGE & {usage_names.get(usage) for usage in usages}
    }
    first = first_senses(wordnet / "index.noun")
    taken = {
        word: count
        for word, count in tag_counts(wordnet / "cntlist.rev").items()
        if WORD.fullmatch(word) and word in written and first[word] not in refused
    }
    return sorted(taken, key=lambda word: (-taken[word], word))


def main() -> None:
    """Write the list."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("wordnet", type=Path)
    nouns = common_nouns(parser.parse_args().wordnet)
    WORDNET.write_text("".join(f"{noun}\n" for noun in nouns), encoding="ascii")


if __name__ == "__main__":
    main()
