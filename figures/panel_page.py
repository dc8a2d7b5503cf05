"""A page of many small square panels, placed in inches from its top left corner.

Where every size is known beforehand, plain arithmetic keeps panels square and aligned, and draws
many times faster than a layout that is solved for.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ccr_diag.figures.class_names import fitted
from ccr_diag.figures.fonts import Page
from ccr_diag.figures.style import COLUMN_INCHES, MUTED, PAGE_INCHES, Look, as_said

LEFT, RIGHT = 0.55, 0.1  # inches beside the panels; the left ones hold the names of their axes
TICKS, AXIS_NAME = 0.18, 0.17  # inches below panels that have them
TITLE_LINE = 0.117  # inches from one line above a panel to the next
_HEADING_SIZE, _HEADING_LETTER = 8.5, 0.085  # points; inches of a letter
_NOTE_LINE = 0.125  # inches from line to line
_KEY_LINE, _KEY_INCHES = 0.155, 1.6  # height and width of one key


@dataclass(frozen=True)
class Grid:
    """Where panels stand on a page (inches).

    Args:
        side: of each panel.
        columns: panels side by side.
        gap: between them.
        above: of each row of panels, the room for what is said above it.
        below: the room below every row.
        head: the room above all rows.
        foot: the room below all rows.
    """

    side: float
    columns: int
    gap: float
    above: Sequence[float]
    below: float
    head: float
    foot: float

    def left(self, column: int) -> float:
        """The left edge of a panel."""
        return LEFT + column * (self.side + self.gap)

    def top(self, row: int) -> float:
        """The upper edge of a panel, from the upper edge of the page."""
        return self.head + sum(self.above[: row + 1]) + row * (self.side + self.below)

    def new_page(self) -> Figure:
        """A figure without a layout of its own."""
        height = self.top(len(self.above) - 1) + self.side + self.below + self.foot
        page: Figure = Page(figsize=(page_width(self.side, self.columns, self.gap), height))
        return page


def widest_panel(columns: int, gap: float) -> float:
    """The side of panels that fill the width of a page (inches)."""
    side: float = (PAGE_INCHES - LEFT - RIGHT - (columns - 1) * gap) / columns
    return side


def page_width(side: float, columns: int, gap: float) -> float:
    """Width of a page with so many panels side by side (inches)."""
    width: float = max(COLUMN_INCHES, LEFT + columns * (side + gap) - gap + RIGHT)
    return width


def place(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """New axes on the page (inches; ``top`` from the upper edge of the page)."""
    across, down = figure.get_size_inches()
    return figure.add_axes(
        (left / across, 1.0 - (top + height) / down, width / across, height / down)
    )


def model_heading(figure: Figure, top: float, label: str, said: str, look: Look) -> None:
    """The mark of a model, its label, cut to the width of the page, and what is said of it.

    Args:
        figure: the page.
        top: inches from its upper edge.
        label: of the model.
        said: after the label, never cut.
        look: of the model.
    """
    across, down = figure.get_size_inches()
    room = across - 0.3 - len(said) * _HEADING_LETTER
    text = fitted(label, room, _HEADING_SIZE, bold=True) + said
    x, y = 0.12 / across, 1.0 - top / down
    marker = Line2D([x], [y], marker=look.marker, color=look.colour, markersize=5, linestyle="none")
    figure.add_artist(marker)
    figure.text(
        x + 0.1 / across, y, as_said(text), fontsize=_HEADING_SIZE, weight="bold", va="center"
    )


def key_height(n_keys: int, width: float) -> float:
    """Inches that so many keys take at the top of a page of this width."""
    return _KEY_LINE * -(-n_keys // _key_columns(width)) + 0.08


def draw_keys(figure: Figure, handles: Sequence[Artist]) -> None:
    """The keys of all panels, at the top of the page."""
    figure.legend(
        handles=list(handles),
        loc="upper left",
        ncols=_key_columns(figure.get_figwidth()),
        handlelength=1.2,
        borderaxespad=0.3,
    )


def _key_columns(width: float) -> int:
    return int(width / _KEY_INCHES)


def note_height(text: str) -> float:
    """Inches that a wrapped note takes at the foot of the page."""
    return _NOTE_LINE * (text.count("\n") + 1) + 0.1


def foot_note(figure: Figure, text: str) -> None:
    """A wrapped note at the foot of the page."""
    across, down = figure.get_size_inches()
    figure.text(0.07 / across, 0.06 / down, text, fontsize=6.5, color=MUTED, va="bottom")
