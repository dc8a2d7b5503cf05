"""One figure and the tidy table behind it: what every figure module hands to ``gallery``."""

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Picture:
    """One file of figures.

    Args:
        name: of its files, without ending.
        figure: as it is printed.
        table: what its marks show, one row a mark, in full precision.
    """

    name: str
    figure: Figure
    table: pd.DataFrame
