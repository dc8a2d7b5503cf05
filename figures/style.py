"""The look that all figures share: sizes, fonts, one fixed colour and marker for each model name.

Settings hold only inside ``with style():``; the caller's matplotlib is left as it was. Figures are
made without pyplot, so none stays open behind the caller's back.
"""

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import isnan
from typing import Any

import matplotlib as mpl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ccr_diag.data.groups import GROUPS
from ccr_diag.errors import BadConfig, BadData, nearest
from ccr_diag.figures.fonts import Page
from ccr_diag.results import Results

COLUMN_INCHES, PAGE_INCHES = 3.4, 7.0  # widths of one column and of the page in a two-column paper
IMAGE_COLOUR = "#A9BCD0"
OVER_COLOUR, UNDER_COLOUR = "#F4A582", "#92C5DE"  # tints, so that no model colour reads as a sign
MUTED = "#5A5A5A"
_NOTE_LETTERS = 18  # in an inch of a note
ALL = "all"  # every class, as one group
Entry = Mapping[str, Any]
"""``value``, ``low`` and ``high``; each may be undefined."""

_RC: dict[str, Any] = {
    "font.family": ["DejaVu Sans", "sans-serif"],  # comes with matplotlib: the same everywhere
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "axes.labelsize": 8.0,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "legend.fontsize": 7.0,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.use_mathtext": True,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "hatch.linewidth": 0.5,
    "figure.dpi": 150,
    "figure.autolayout": False,
    "figure.constrained_layout.use": False,
    "savefig.dpi": 300,
    "svg.fonttype": "none",  # text stays text: searchable, and small files
    "svg.hashsalt": "ccr-diag",  # else ids differ from one drawing to the next
    "pdf.fonttype": 42,  # TrueType, which journals ask for
}


@dataclass(frozen=True)
class Look:
    """How one model is marked in every figure."""

    colour: str
    marker: str


# Hues stay apart for colour-blind readers; a method read through another bias rule keeps its marker
# and takes another tone.
_METHODS = {  # marker, then its colour for each row of _BIASES
    "zero-shot": ("o", "#333333", "#949494", "#C4C4C4"),
    "bce": ("s", "#C44E00", "#F0B08A", "#E8A33D"),
    "ranking": ("^", "#0173B2", "#56B4E9", "#7A7FD0"),
    "bce+ccr": ("D", "#007A58", "#5CC9A7", "#A3B800"),
}
_BIASES = (("", " (mean bias)"), (" (prior bias)",), (" (learned bias)",))
LOOKS = {
    method + bias: Look(colour, marker)
    for method, (marker, *colours) in _METHODS.items()
    for biases, colour in zip(_BIASES, colours, strict=True)
    for bias in biases
}
# From dark to light as classes get rarer; other hues than the models', so that no colour means two
# things where panels of both kinds stand side by side.
GROUP_COLOURS = {"head": "#2A1065", "medium": "#8A2BA8", "tail": "#E0559A", "new": "#F29CA8"}
# Hues of no model and no group; centred ones are blue, uncentred ones green, and light those of
# entries labelled absent alone.
ESTIMATOR_LOOKS = {
    "uncentred": Look("#224400", "o"),
    "uncentred_inactive": Look("#66CC22", "s"),
    "centred_inactive": Look("#8866EE", "^"),
    "centred": Look("#0000CC", "D"),
    "presence": Look("#EE6666", "v"),  # of which CCR has no estimator; what absence is held against
}
"""Estimator of the correlation between classes → look, wherever several are compared."""
_SPARE_COLOURS = ("#CC78BC", "#5D3A9B", "#7B4A12", "#A89B00")
# Last those that look like the arrows of points beyond the axes of a diagram.
_SPARE_MARKERS = ("P", "X", "p", "*", "d", "8", "h", "H", ">", "<", "v")


@contextmanager
def style() -> Iterator[None]:
    """The figures' settings, for the length of a ``with`` block."""
    settings: Any = {**sns.axes_style("ticks"), **sns.plotting_context("paper"), **_RC}
    with mpl.rc_context(settings):
        yield


def model_looks(names: Iterable[str]) -> dict[str, Look]:
    """The colour and marker of each model.

    Args:
        names: all models of a results file, in its order: names not in ``LOOKS``, or whose look an
            earlier one has, take the spare looks in that order, so they too stay the same in every
            figure of the file.

    Returns:
        Name → look.
    """
    looks: dict[str, Look] = {}
    spare = 0
    for name in names:
        if name in LOOKS and LOOKS[name] not in looks.values():
            looks[name] = LOOKS[name]
            continue
        colour = _SPARE_COLOURS[spare % len(_SPARE_COLOURS)]
        # The marker also moves on with each round of the colours, so 44 names differ.
        step = spare + spare // len(_SPARE_COLOURS)
        looks[name] = Look(colour, _SPARE_MARKERS[step % len(_SPARE_MARKERS)])
        spare += 1
    return looks


def results_looks(results: Results) -> dict[str, Look]:
    """The looks of all models of a results file."""
    return model_looks(model["name"] for model in results["models"])


def new_axes(width: float = COLUMN_INCHES, height: float = 2.6) -> Axes:
    """One axes on a fresh figure (inches)."""
    return new_figure(width, height).subplots()


def new_figure(width: float, height: float) -> Figure:
    """A figure that lays itself out without overlap (inches), its texts in any script."""
    figure: Figure = Page(figsize=(width, height), layout="constrained")
    return figure


def note(figure: Figure, text: str) -> None:
    """Small lines under a figure that say what its marks mean."""
    wrapped = wrapped_note(text, figure.get_figwidth())
    figure.supxlabel(wrapped, fontsize=6.5, color=MUTED, x=0.01, ha="left")


def wrapped_note(text: str, width: float) -> str:
    """A note in lines that fit a page of this width (inches)."""
    return textwrap.fill(text, int(_NOTE_LETTERS * width))


def averages(results: Results, entries: Iterable[Entry]) -> str:
    """What the drawn entries are: means over splits or values, and where their intervals are from.

    Args:
        results: a parsed results file.
        entries: what is drawn of it.
    """
    counts = {len(model["splits"]) for model in results["models"]}
    drawn = any(interval(entry) is not None for entry in entries)
    if max(counts) > 1:
        alone = "; of a single split: bootstrap over images" if drawn and min(counts) < 2 else ""
        return f"mean over splits with its 95 % interval (Student t{alone})"
    if drawn:
        return "value with its 95 % interval (bootstrap over images)"
    return "value, without interval"


def groups_present(results: Results) -> list[str]:
    """The class groups that at least one model has numbers for, from head to new.

    Groups of other names follow in the order of the file; ``base``, which stands for several, is
    left out. Without groups it is ``ALL`` alone.
    """
    named = dict.fromkeys(group for m in results["models"] for group in m["groups"])
    named.pop("base", None)
    own = [group for group in named if group not in GROUPS]
    return [group for group in GROUPS if group in named] + own or [ALL]


def groups_missing(results: Results) -> list[str]:
    """The groups from head to new that no model has classes of, while it has others."""
    present = groups_present(results)
    return [] if present == [ALL] else [group for group in GROUPS if group not in present]


def group_colour(group: str | None) -> str:
    """Its colour where colours mean groups; a muted one for groups of other names and for none."""
    return GROUP_COLOURS.get(group or "", MUTED)


def group_label(group: str) -> str:
    """A group as figures name it."""
    return "all classes" if group == ALL else group


def pool_of(part: Mapping[str, Any], group: str) -> Mapping[str, Any] | None:
    """What a model, or one of its splits, holds of a group; ``None`` where it has no such classes.

    Args:
        part: an entry of ``models``, or of its ``splits``.
        group: a group, or ``ALL``.
    """
    return part if group == ALL else part["groups"].get(group)


def entry_of(entries: Mapping[str, Any], name: str, where: str) -> Entry:
    """The value ``name`` with its interval, or a clear error.

    Raises:
        BadData: ``name`` is not in the entries.
    """
    if name not in entries:
        raise BadData(
            f"The figure needs {name!r} for {where}, but the results hold "
            f"{', '.join(map(repr, entries)) or 'nothing'}; write them anew with "
            "'ccr-diag analyze'."
        )
    entry: Entry = entries[name]
    return entry


def metrics_present(results: Results) -> set[str]:
    """The metrics that some model has for a drawn group."""
    groups = groups_present(results)
    pools = [pool_of(model, group) for model in results["models"] for group in groups]
    return {name for pool in pools if pool is not None for name in pool["metrics"]}


def check_metric(results: Results, metric: str) -> None:
    """Refuse a metric that no group of any model has.

    Raises:
        BadConfig: with the nearest name.
    """
    known = metrics_present(results)
    if metric not in known:
        raise BadConfig(
            f"The metric to draw must be in the results, but got {metric!r}{nearest(metric, known)}"
        )


def interval(entry: Entry) -> tuple[float, float] | None:
    """The ends of the interval, or ``None`` where there is none."""
    low, high = entry["low"], entry["high"]
    return (low, high) if defined(entry["value"]) and defined(low) and defined(high) else None


def as_said(text: str) -> str:
    """A name from a file as matplotlib must get it: a $ begins no formula, a _ hides no label."""
    shown = text.replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def defined(value: float | int | None) -> bool:
    """Whether there is a number: a value may be ``None`` (read from a file) or not-a-number."""
    return value is not None and not isnan(value)


def number(value: float | int | None, spec: str) -> str:
    """A number as text, with a true minus sign; “–” where it is undefined."""
    if value is None or isnan(value):
        return "–"
    return format(value, spec).replace("-", "−")
