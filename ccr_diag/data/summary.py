"""What is understood of a data set: its splits, its classes, and what is wrong with them.

In: the splits as they were read, what could not be read, and what their images hold where these
were opened. Out: ``Summary``, problems first; ``tables`` of it for people, ``as_dict`` and
``class_rows`` for programs.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ccr_diag.arrays import ABSENT, PRESENT, UNKNOWN
from ccr_diag.data.class_names import name_problems, prompt_name
from ccr_diag.data.content import Content
from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.data.groups import GROUPS, class_groups
from ccr_diag.data.split_overlaps import apart
from ccr_diag.report_layout import NONE, Table

SHOWN = 3  # names in a problem
STATES = {"present": PRESENT, "absent": ABSENT, "unknown": UNKNOWN}
SIGNS = {"present": "+", "absent": "-", "unknown": "?"}
CLASS_COLUMNS = ("split", "id", "class", "prompt", "group", *STATES)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, in one sentence.

    Args:
        text: the sentence.
        stops: whether no run is possible before it is mended.
    """

    text: str
    stops: bool = False


@dataclass(frozen=True)
class Summary:
    """What is understood of a data set.

    Args:
        name: as the user asks for it.
        splits: those that were read, by their names.
        contents: of all of them, or of none where images were not opened.
        groups: class → group, by the training split; empty where there is none.
        problems: what is wrong, what stops a run first.
    """

    name: str
    splits: Mapping[str, MultiLabelDataset]
    contents: Mapping[str, Content]
    groups: Mapping[str, str]
    problems: tuple[Problem, ...]

    @property
    def usable(self) -> bool:
        """Whether a run is possible."""
        return not any(problem.stops for problem in self.problems)

    @property
    def verdict(self) -> str:
        """One line."""
        found = _number(self.problems, "problem") if self.problems else "no problem"
        stopping = sum(problem.stops for problem in self.problems)
        if stopping:
            return f"Not usable as it is: {found}, {stopping} to be mended before any run."
        opened = "every image was opened" if self.contents else "no image was opened"
        return f"Usable: {found} found, and {opened}."


def summarize(
    name: str,
    splits: Mapping[str, MultiLabelDataset],
    unread: Mapping[str, str],
    contents: Mapping[str, Content],
    too_long: Sequence[str] = (),
) -> Summary:
    """Put together what is understood of a data set.

    Args:
        name: as the user asks for it.
        splits: those that were read, at least one, by their names.
        unread: split → why it could not be read.
        contents: of all splits that were read, or of none.
        too_long: classes whose prompts the text tower would cut.
    """
    found = [
        *(Problem(why, stops=True) for why in unread.values()),
        *_class_differences(splits),
        *_unreadable(contents, splits),
        *(
            Problem(f"Class {name!r} is too long for the text tower's prompt.", stops=True)
            for name in too_long
        ),
        *map(Problem, name_problems(next(iter(splits.values())).class_names)),
        *_shared_ids(splits),
        *_same_content(splits, contents),
        *_without_examples(splits),
    ]
    first_to_mend = sorted(found, key=lambda problem: not problem.stops)
    return Summary(name, splits, contents, _groups(splits), tuple(first_to_mend))


def tables(summary: Summary, ends: int | None = None) -> list[Table]:
    """Of the splits, and of the classes.

    Args:
        summary: what is understood.
        ends: so many of the classes that are most and of those that are least often present, where
            there are more than both; None for all of them.
    """
    return [_split_table(summary), _class_table(summary, ends)]


def class_rows(summary: Summary) -> list[list[Any]]:
    """One row a class and split, under ``CLASS_COLUMNS``."""
    return [
        [split, *(facts[key] for key in ("id", "name", "prompt", "group")), *counts.values()]
        for facts in _classes(summary)
        for split, counts in facts["counts"].items()
    ]


def as_dict(summary: Summary) -> dict[str, Any]:
    """Everything, in plain values."""
    return {
        "data": summary.name,
        "usable": summary.usable,
        "verdict": summary.verdict,
        "problems": [{"text": it.text, "stops": it.stops} for it in summary.problems],
        "splits": [_split_facts(summary, split) for split in summary.splits],
        "groups": _group_sizes(summary),
        "classes": _classes(summary),
        "same_content": [
            [{"split": split, "image": image} for split, image in same]
            for same in _groups_of_same(summary.splits, summary.contents)
        ],
    }


def notes(splits: Iterable[MultiLabelDataset]) -> list[str]:
    """What adapters met, each once, under the splits where they met it."""
    where: dict[str, list[str]] = defaultdict(list)
    for data in splits:
        for note in data.notes:
            where[note].append(data.split)
    return [f"{', '.join(splits)}: {note}" for note, splits in where.items()]


def _training(splits: Mapping[str, MultiLabelDataset]) -> str | None:
    """The split called train, or else the first one whose name begins so."""
    names = sorted(splits, key=lambda split: split != "train")
    return next((split for split in names if split.startswith("train")), None)


def _groups(splits: Mapping[str, MultiLabelDataset]) -> dict[str, str]:
    """By the training split."""
    split = _training(splits)
    if split is None:
        return {}
    train = splits[split]
    return dict(zip(train.class_names, class_groups(train.labels, train.new), strict=True))


def _group_sizes(summary: Summary) -> dict[str, int]:
    """How many classes each group has; empty where there is no training split."""
    sizes = Counter(summary.groups.values())
    return {group: sizes[group] for group in GROUPS} if sizes else {}


def _class_differences(splits: Mapping[str, MultiLabelDataset]) -> Iterator[Problem]:
    """Splits that do not have the classes of the first one."""
    first, *others = splits
    names = splits[first].class_names
    for split in others:
        if splits[split].class_names != names:
            odd = sorted({*splits[split].class_names} ^ {*names})
            how = (
                f"not the same classes: {_some(odd)}"
                if odd
                else "the same classes in another order"
            )
            yield Problem(f"Splits {first} and {split} have {how}.", stops=True)


def _unreadable(
    contents: Mapping[str, Content], splits: Mapping[str, MultiLabelDataset]
) -> Iterator[Problem]:
    """Images that cannot be opened."""
    for split, content in contents.items():
        if content.unreadable:
            names = [splits[split].image_ids[i] for i in content.unreadable]
            first = next(iter(content.unreadable.values()))
            yield Problem(
                f"{len(names)} of {len(splits[split])} images of {split} cannot be opened: "
                f"{_some(names)} ({first})",
                stops=True,
            )


def _shared_ids(splits: Mapping[str, MultiLabelDataset]) -> Iterator[Problem]:
    """Images that several splits list."""
    for one, other in _apart(splits):
        listed = {*splits[one].image_ids}
        both = [image for image in splits[other].image_ids if image in listed]
        if both:
            yield Problem(f"{_images(both)} of {other} {_are(both)} also in {one}: {_some(both)}.")


def _same_content(
    splits: Mapping[str, MultiLabelDataset], contents: Mapping[str, Content]
) -> Iterator[Problem]:
    """Images with other names and the same content, in a split and across splits."""
    for split, content in contents.items():
        ids = splits[split].image_ids
        copies = [ids[i] for same in content.digests.values() for i in same[1:]]
        if copies:
            yield Problem(
                f"{_images(copies)} of {split} {_are(copies)} there before, with the same content: "
                f"{_some(copies)}."
            )
    for one, other in _apart(splits) if contents else ():
        mine, theirs = contents[one].digests, contents[other].digests
        listed = {*splits[one].image_ids}
        ids = splits[other].image_ids
        both = [ids[i] for key in theirs if key in mine for i in theirs[key]]
        renamed = [image for image in both if image not in listed]  # the others are told already
        if renamed:
            yield Problem(
                f"{_images(renamed)} of {other} {_are(renamed)} also in {one}, by other names: "
                f"{_some(renamed)}."
            )


def _without_examples(splits: Mapping[str, MultiLabelDataset]) -> Iterator[Problem]:
    """Classes that no image of a split shows, and splits that know of nothing absent."""
    for split, data in splits.items():
        shown = (data.labels == PRESENT).any(axis=0)
        lacking = [name for name, there in zip(data.class_names, shown, strict=True) if not there]
        if lacking:
            yield Problem(
                f"{_number(lacking, 'class', 'classes')} of {len(shown)} {_are(lacking)} in no "
                f"image of {split}: {_some(lacking)}."
            )
        if not (data.labels == ABSENT).any():
            yield Problem(f"No class is known to be absent from any image of {split}.")


def _groups_of_same(
    splits: Mapping[str, MultiLabelDataset], contents: Mapping[str, Content]
) -> list[list[tuple[str, str]]]:
    """Images of the same content: (split, id) of each."""
    same: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for split, content in contents.items():
        for key, rows in content.digests.items():
            same[key] += [(split, splits[split].image_ids[i]) for i in rows]
    return [images for images in same.values() if len(images) > 1]


def _split_facts(summary: Summary, split: str) -> dict[str, Any]:
    """Totals of a split."""
    data, content = summary.splits[split], summary.contents.get(split)
    present = np.count_nonzero(data.labels == PRESENT, axis=1)
    return {
        "split": split,
        "images": len(data),
        "classes": len(data.class_names),
        "new": int(data.new.sum()),
        **{state: int((data.labels == value).sum()) for state, value in STATES.items()},
        "present_per_image": float(present.mean()),
        "without_present": int((present == 0).sum()),
        "captions": sum(map(bool, data.captions or ())),
        "unreadable": None
        if content is None
        else {data.image_ids[i]: reason for i, reason in content.unreadable.items()},
        "notes": list(data.notes),
    }


def _classes(summary: Summary) -> list[dict[str, Any]]:
    """Each class with its counts in every split that has it."""
    first = next(iter(summary.splits.values()))
    groups = {name: "new" for name in first.new_names} | dict(summary.groups)
    counts = {
        split: {
            state: np.count_nonzero(data.labels == value, axis=0) for state, value in STATES.items()
        }
        for split, data in summary.splits.items()
    }
    columns = {
        split: {name: c for c, name in enumerate(data.class_names)}
        for split, data in summary.splits.items()
    }
    return [
        {
            "id": name if first.class_ids is None else first.class_ids[c],
            "name": name,
            "prompt": prompt_name(name),
            "group": groups.get(name),
            "counts": {
                split: {state: int(n[columns[split][name]]) for state, n in states.items()}
                for split, states in counts.items()
                if name in columns[split]
            },
        }
        for c, name in enumerate(first.class_names)
    ]


def _split_table(summary: Summary) -> Table:
    """One row a split."""
    header = ["split", "images", "present", "absent", "unknown", "present/image", "none present"]
    rows = []
    for split in summary.splits:
        facts = _split_facts(summary, split)
        rows.append(
            [
                split,
                *(f"{facts[key]:,}" for key in ("images", *STATES)),
                f"{facts['present_per_image']:.2f}",
                f"{facts['without_present']:,}",
            ]
        )
    return _title(summary), header, rows


def _title(summary: Summary) -> str:
    """What it is called, and how many classes it has in each group."""
    first = next(iter(summary.splits.values()))
    title = f"{summary.name}: {len(first.class_names):,} classes"
    if summary.groups:
        sizes = ", ".join(
            f"{size:,} {group}"
            for group, size in _group_sizes(summary).items()
            if size or group != "new"
        )
        return f"{title}: {sizes}, by their images in {_training(summary.splits)}"
    return f"{title}, {int(first.new.sum())} of them new" if first.new.any() else title


def _class_table(summary: Summary, ends: int | None) -> Table:
    """One row a class, with the counts of every split; no column that says nothing of its own."""
    classes = _classes(summary)
    said = [key for key in ("id", "prompt") if any(it[key] != it["name"] for it in classes)]
    said += ["group"] if any(it["group"] for it in classes) else []
    told = [
        (split, state)
        for split, data in summary.splits.items()
        for state, value in STATES.items()
        if state != "unknown" or (data.labels == value).any()
    ]
    header = ["class", *said, *(f"{split} {SIGNS[state]}" for split, state in told)]
    title = "Images in which each class is present (+), absent (-) or unknown (?)"
    if ends is not None and len(classes) > 2 * ends:
        split = _training(summary.splits) or next(iter(summary.splits))
        title += (
            f": the {ends} that are most and the {ends} that are least often present in {split}"
        )
        by_count = sorted(
            (it for it in classes if split in it["counts"]),
            key=lambda it: -it["counts"][split]["present"],
        )
        classes = by_count[:ends] + by_count[-ends:]
    rows = []
    for facts in classes:
        counts = [
            f"{facts['counts'][split][state]:,}" if split in facts["counts"] else NONE
            for split, state in told
        ]
        rows.append([facts["name"], *(facts[key] or NONE for key in said), *counts])
    return title, header, rows


def _apart(splits: Mapping[str, MultiLabelDataset]) -> list[tuple[str, str]]:
    """Every two splits that should share no image."""
    return apart({split: frozenset(data.image_ids) for split, data in splits.items()})


def _some(names: Sequence[str]) -> str:
    """The first few."""
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")


def _number(things: Sequence[object], one: str, many: str = "") -> str:
    """How many there are."""
    return f"{len(things)} {one if len(things) == 1 else many or f'{one}s'}"


def _images(names: Sequence[str]) -> str:
    return _number(names, "image")


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
