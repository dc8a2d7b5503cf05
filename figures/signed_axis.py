"""The axis of a signed error: a line at 0, and a tint and a name for each side of it."""

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ccr_diag.figures.style import MUTED, OVER_COLOUR, UNDER_COLOUR

SIGNED = "signed_error"
"""Mean confidence less the share of positives."""

_LEAST = 0.16  # of the wider side, that the other one shows
_SIDES = ((1.0, "top", "over-\nconfident"), (0.0, "bottom", "under-\nconfident"))


def draw_sides(ax: Axes, *, named: bool = True) -> None:
    """Show which side of 0 is over-confident and which under-confident.

    Args:
        ax: with its marks, and limits that hold 0.
        named: write the sides beside the axes, where they cover no mark.
    """
    low, high = ax.get_ylim()
    low, high = min(low, -_LEAST * high), max(high, -_LEAST * low)
    ax.set_ylim(low, high)
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.axhspan(0.0, high, color=OVER_COLOUR, alpha=0.16, linewidth=0, zorder=0)
    ax.axhspan(low, 0.0, color=UNDER_COLOUR, alpha=0.2, linewidth=0, zorder=0)
    ax.axhline(0.0, color=MUTED, linewidth=0.8, zorder=1)
    for edge, va, text in _SIDES if named else ():
        ax.text(1.01, edge, text, transform=ax.transAxes, va=va, fontsize=7, color=MUTED)
