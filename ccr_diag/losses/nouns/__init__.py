"""Common nouns to regularize with, one a line: ``wordnet.txt``, or a list of the user's own.

``wordnet.txt`` comes from WordNet 3.0, whose licence is ``NOTICE``; ``build_nouns.py`` made it.
"""

from pathlib import Path

from ccr_diag.errors import BadData

WORDNET = Path(__file__).parent / "wordnet.txt"


def read_nouns(path: Path = WORDNET) -> list[str]:
    """The nouns of a text file in its order, each once; empty lines are skipped.

    Raises:
        BadData: a file that cannot be read, is not UTF-8 text, or holds no noun.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadData(
            f"Nouns must come as a text file, but {path} cannot be read ({error.strerror})."
        ) from error
    except UnicodeDecodeError as error:
        raise BadData(
            f"Nouns must come as UTF-8 text, one a line, but {path} is not ({error.reason} at "
            f"byte {error.start}); save it as plain text."
        ) from error
    nouns = list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    for noun in nouns:
        if not noun.isprintable():
            raise BadData(
                f"Nouns must be plain words, one a line, but {path} holds {noun!r}; save it as "
                "plain text."
            )
    if not nouns:
        raise BadData(f"Nouns must come one a line, but {path} holds none.")
    return nouns
