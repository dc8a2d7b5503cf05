"""What tuning did to the text of each class, against the signed error of the class.

ED is how far its nearest classes are, NP@K how many of its zero-shot neighbours it kept.
"""

import pandas as pd
from matplotlib.axes import Axes

from ccr_diag.associations import FREQUENCY
from ccr_diag.figures.class_scatter import draw_scatter, scatter_pages, scatter_table
from ccr_diag.figures.picture import Picture
from ccr_diag.results import Results


def draw_association(
    results: Results, model: str, quantity: str = "ED", ax: Axes | None = None
) -> Axes:
    """A dot a class and the line through them; see ``class_scatter.draw_scatter``.

    Args:
        results: a parsed results file.
        model: name of the model.
        quantity: ``ED`` or ``NP@K``, for the K of the results.
        ax: where to draw; a new figure when left out.

    Raises:
        BadData: the model has no such quantity.
    """
    axes: Axes = draw_scatter(results, model, quantity, ax)
    return axes


def association_table(results: Results, quantity: str = "ED") -> pd.DataFrame:
    """A row a model and class; see ``class_scatter.scatter_table``."""
    table: pd.DataFrame = scatter_table(results, quantity)
    return table


def association_pictures(results: Results) -> list[Picture]:
    """A page or more for ED, then for NP@K, with a panel a model.

    Args:
        results: a parsed results file.

    Returns:
        Nothing where the results hold no text geometry.
    """
    quantities = dict.fromkeys(q for m in results["models"] for q in m.get("associations", {}))
    return [
        page for name in quantities if name != FREQUENCY for page in scatter_pages(results, name)
    ]
