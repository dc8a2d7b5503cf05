"""Means along a number: lines with bands and gaps, level lines, the number's axis, the legend."""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any, Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ccr_diag.figures.style import ALL, MUTED, Look, as_said, group_label, number

Dashes = Literal["-", "--", "-.", ":"] | tuple[float, Sequence[float]]

_GROUP_DASHES: dict[str, Dashes] = {"base": "-", ALL: "-", "new": "--", "head": "-.", "tail": ":"}
_FEW = 6  # values that are all named on the axis
_LEGEND_LETTERS = 130  # in a line of the page's legend
_HANDLE_LETTERS = 8  # that a handle of it is wide
_NAMED = 5  # missing runs that are named


@dataclass(frozen=True)
class Curve:
    """How the means of some runs are drawn.

    Args:
        look: colour and marker.
        dashes: of the line.
        gid: by which the line is found in the figure.
    """

    look: Look
    dashes: Dashes
    gid: str

    def draw(self, ax: Axes, means: pd.DataFrame, along: str) -> None:
        """The means, joined, and their band; undefined ones are gaps.

        Args:
            ax: where to draw.
            means: columns ``along``, mean, low and high, in the order of the line.
            along: the column of the horizontal axis.
        """
        if means.empty:
            return
        x = means[along].to_numpy()
        colour = self.look.colour
        (line,) = ax.plot(x, means["mean"], color=colour, linestyle=self.dashes, zorder=2.5)
        line.set(linewidth=1.1, gid=self.gid, **self._marker)
        ax.fill_between(x, means["low"], means["high"], color=colour, alpha=0.15, linewidth=0)
        lone = means[_is_lone(means["mean"])]  # which no band shows the interval of
        if lone["low"].notna().any():
            ax.vlines(
                lone[along], lone["low"], lone["high"], color=colour, linewidth=0.8, alpha=0.6
            )

    @property
    def _marker(self) -> dict[str, Any]:
        """Filled on a solid line, hollow on others, which so differ where they are a point."""
        face = self.look.colour if self.dashes == "-" else "white"
        return {
            "marker": self.look.marker,
            "markersize": 3.5,
            "markerfacecolor": face,
            "markeredgewidth": 0.7,
        }

    def level(self, ax: Axes, means: pd.DataFrame) -> None:
        """A level line for each row of means, with its band."""
        for value, low, high in means[["mean", "low", "high"]].itertuples(index=False, name=None):
            if not isnan(value):
                line = ax.axhline(value, color=self.look.colour, linestyle=self.dashes)
                line.set(linewidth=0.9, alpha=0.8, zorder=1.5, gid=f"{self.gid}/level")
            if not isnan(low):
                ax.axhspan(low, high, color=self.look.colour, alpha=0.1, linewidth=0, zorder=0.5)

    def handle(self, label: str, *, level: bool = False) -> Line2D:
        """Its entry in a legend; a level line has no markers.

        Args:
            label: a name as it stands in a file.
            level: whether it is drawn as level lines alone.
        """
        said = as_said(textwrap.fill(label, _LEGEND_LETTERS - _HANDLE_LETTERS))
        handle = Line2D([], [], color=self.look.colour, linestyle=self.dashes, label=said)
        if not level:
            handle.set(**self._marker)
        return handle


def group_handles(groups: Sequence[str]) -> list[Line2D]:
    """What tells groups apart; nothing of a single one."""
    look = Look(MUTED, "o")
    handles = [
        # Without markers, which would hide what tells their dashes apart.
        Curve(look, dashes_of(group), group).handle(group_label(group), level=True)
        for group in groups
    ]
    return handles * (len(groups) > 1)


def dashes_of(group: str) -> Dashes:
    """Those of a group, the same in all figures of curves."""
    return _GROUP_DASHES.get(group, (0, (5, 1, 1, 1, 1, 1)))


def points_said(n_splits: int) -> str:
    """What points and bands over splits are."""
    if n_splits == 1:
        return "Points: one split, without interval"
    return (
        f"Points: mean over {n_splits} splits; bands, and bars at lone points: 95 % interval "
        "(Student t)"
    )


def _is_lone(means: "pd.Series[float]") -> "pd.Series[bool]":
    """Points that no line joins to another."""
    there = means.notna()
    return there & ~there.shift(1, fill_value=False) & ~there.shift(-1, fill_value=False)


def with_gaps(means: pd.DataFrame, along: str, values: Iterable[float | int]) -> pd.DataFrame:
    """The means of one line in order, with a row without numbers for each value that has none.

    Args:
        means: one row a value; all other columns but mean, sd, low, high and n are alike.
        along: the column of the values.
        values: all that the line could have.
    """
    missing = sorted(set(values) - set(means[along]))
    if not missing:
        return means.sort_values(along, ignore_index=True)
    holes = pd.concat([means.iloc[:1]] * len(missing))
    holes[along], holes["n"] = missing, 0
    holes[["mean", "sd", "low", "high"]] = float("nan")
    return pd.concat([means, holes]).sort_values(along, ignore_index=True)


def set_number_axis(ax: Axes, values: Sequence[float | int], log: bool, base: int = 10) -> None:
    """A horizontal axis of a setting's values, which are named where they are few."""
    if log:
        ax.set_xscale("log", base=base)
        ax.xaxis.set_major_formatter(lambda value, _: number(value, "g"))
    if 1 <= len(values) <= _FEW:
        ax.set_xticks(values, [number(value, "g") for value in values])
    ax.minorticks_off()


def legend_above(figure: Figure, handles: Sequence[Line2D]) -> None:
    """The legend of a page, in as many columns as its longest label leaves room for."""
    longest = max(len(str(handle.get_label())) for handle in handles) + _HANDLE_LETTERS
    columns = max(1, min(4, _LEGEND_LETTERS // longest))
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, handlelength=2.6)


def splits_said(splits: Sequence[int]) -> str:
    """“split 3” or “splits 2, 3”."""
    return f"split{'s' * (len(splits) > 1)} {', '.join(map(str, splits))}"


def missing_said(missing: Sequence[str]) -> str:
    """“ Missing: …”, of which the first few are named; nothing where nothing is."""
    if not missing:
        return ""
    more = f" and {len(missing) - _NAMED} more" * (len(missing) > _NAMED)
    return f" Missing, so left out of lines and means: {'; '.join(missing[:_NAMED])}{more}."
