"""Lists that can be shared: which images a run is tuned on, and which classes are new.

    # coco:data, split train2017: 16 of each of 80 base classes, seed 1
    # 958 images; person 310, bicycle 16, …
    000000000009.jpg
    …

In: a data set, and what is drawn from it. Out: such a text, one example a line, and the rows that
one means; or the TOML file that ``--class-split`` takes. Lines that begin with # are comments,
unless an example is called so; the ``examples.txt`` of a run folder is such a file as well.
"""

import difflib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.data.fewshot import drawn_rows
from ccr_diag.data.groups import class_counts
from ccr_diag.errors import BadConfig, BadData
from ccr_diag.written_toml import to_toml


def listed_rows(path: Path, of: str, ids: Sequence[str]) -> Int[np.ndarray, " rows"]:
    """The rows that a file lists, in its order.

    Args:
        path: the file.
        of: what its examples are of, as an error names it.
        ids: one name an example.

    Raises:
        BadConfig: it cannot be read.
        BadData: it lists nothing, what is no example, or one twice.
    """
    row = {example: i for i, example in enumerate(ids)}
    listed = _read(path, row)
    if not listed:
        raise BadData(f"{path} must list an example a line, but lists none.")
    unknown = [example for example in listed if example not in row]
    if unknown:
        near = difflib.get_close_matches(unknown[0], row, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise BadData(
            f"{path} must list examples of {of}, but {len(unknown)} of its {len(listed)} are "
            f"none, such as {unknown[0]!r}{hint}"
        )
    repeated, times = Counter(listed).most_common(1)[0]
    if times > 1:
        raise BadData(
            f"{path} must list each example once, but lists {repeated!r} {times} times; drop one."
        )
    return np.array([row[example] for example in listed])


def shots_list(data: MultiLabelDataset, k: int, seed: int) -> str:
    """The text of a list of k-shot examples, with how many images each base class got.

    Raises:
        BadData: no image shows a base class, or an image id that is no line.
    """
    labels = data.labels[:, ~data.new]
    rows = drawn_rows(labels, k, seed)
    ids = [data.image_ids[i] for i in rows.tolist()]
    broken = [name for name in ids if name.strip() != name or not name or "\n" in name]
    if broken:
        raise BadData(
            "A list holds one image id a line, without spaces around it, but an image of "
            f"{data.name} is called {broken[0]!r}; rename it."
        )
    base = [name for name, new in zip(data.class_names, data.new, strict=True) if not new]
    counts = class_counts(labels[rows]).tolist()
    got = ", ".join(f"{name} {count}" for name, count in zip(base, counts, strict=True))
    header = [
        f"{data.name}, split {data.split}: {k} of each of {len(base)} base classes, seed {seed}",
        f"{len(ids)} images; {got}",
    ]
    return "".join([*map(_comment, header), *(f"{name}\n" for name in ids)])


def class_list(data: MultiLabelDataset) -> str:
    """The text of a TOML file that ``--class-split`` takes, with this data set's new classes.

    Raises:
        BadData: no class is new.
    """
    if not data.new_names:
        raise BadData(
            f"A list of base and new classes needs a new class, but {data.name} has none; add "
            "--class-split or --new-class."
        )
    base = [name for name in data.class_names if name not in data.new_names]
    comment = f"{len(data.new_names)} new and {len(base)} base classes of {data.name}"
    return _comment(comment) + to_toml({"new": data.new_names, "base": base})


def _comment(text: str) -> str:
    """A line that is only read by people."""
    return f"# {' '.join(text.split())}\n"


def _read(path: Path, known: dict[str, int]) -> list[str]:
    """Its lines, without comments and empty ones."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # with universal newlines
    except OSError as error:
        raise BadConfig(
            f"A list of examples must be a text file, but {path} cannot be read ({error.strerror})."
        ) from error
    except UnicodeDecodeError as error:
        raise BadConfig(
            f"A list of examples must be UTF-8 text, but {path} is not ({error})."
        ) from error
    lines = [line.strip() for line in text.split("\n")]
    return [line for line in lines if line and (line in known or not line.startswith("#"))]
