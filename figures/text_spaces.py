"""The text spaces of a results file as figures show them: each once, in its first split.

Models that differ only in the probability map have the same class texts and are drawn as one.
"""

from collections.abc import Sequence
from typing import Any

from ccr_diag.class_matrices import ClassMatrices
from ccr_diag.errors import BadConfig, BadData, nearest
from ccr_diag.figures.class_names import fitted
from ccr_diag.figures.style import as_said
from ccr_diag.results import Results

Model = dict[str, Any]  # an entry of results["models"]
Point = Sequence[Any]  # x, y
TITLE_POINTS = 7.5


def with_texts(results: Results) -> list[Model]:
    """The models that the results hold class texts of.

    Predictions have none, and of a single class there is no text geometry.
    """
    return [m for m in results["models"] if m["splits"] and m["splits"][0]["geometry"]]


def chosen(results: Results, names: Sequence[str] | None) -> list[Model]:
    """Models by name; all of them when left out.

    Raises:
        BadConfig: a name is not in the results.
    """
    by_name = {model["name"]: model for model in results["models"]}
    for name in names or ():
        if name not in by_name:
            raise BadConfig(
                f"A model to draw must be in the results, but got {name!r}{nearest(name, by_name)}"
            )
    return [by_name[name] for name in (by_name if names is None else names)]


def same_texts(models: Sequence[Model]) -> list[list[Model]]:
    """Models gathered by equal text coordinates, in their first order."""
    gathered: list[list[Model]] = []
    for model in models:
        for same in gathered:
            if geometry_of(same[0])["coordinates_text"] == geometry_of(model)["coordinates_text"]:
                same.append(model)
                break
        else:
            gathered.append([model])
    return gathered


def joined_label(models: Sequence[Model], separator: str = " = ") -> str:
    """The labels of models that are drawn as one."""
    return separator.join(as_said(model["label"]) for model in models)


def panel_title(models: Sequence[Model], inches: float) -> str:
    """The labels of models that are drawn as one, a line each, over a panel of this width."""
    labels = [as_said(fitted(model["label"], inches, TITLE_POINTS)) for model in models]
    return " =\n".join(labels)


def zero_shot_of(models: Sequence[Model]) -> Model | None:
    """The model before tuning, if it is there."""
    return next((m for m in models if m["name"].startswith("zero-shot")), None)


def geometry_of(model: Model) -> dict[str, Any]:
    """What the first split of a model holds of its text space."""
    geometry: dict[str, Any] = model["splits"][0]["geometry"]
    return geometry


def check_classes(model: Model, matrices: ClassMatrices) -> None:
    """Refuse matrices that are not of the model's classes.

    Raises:
        BadData: other names, or another order.
    """
    expected = tuple(entry["name"] for entry in model["classes"])
    if matrices.class_names == expected:
        return
    odd = set(matrices.class_names) ^ set(expected)
    differs = f"{min(odd)!r} is in one only" if odd else "the order differs"
    raise BadData(
        f"The class matrices of model {model['name']!r} must have the classes of the results, "
        f"but {differs}; write both anew with one 'ccr-diag analyze checkpoint'."
    )


def left_out(results: Results, shown: Sequence[Model], lacking: str = "class texts") -> str:
    """A sentence that names the models a figure cannot show; empty if there are none.

    Args:
        results: a parsed results file.
        shown: the models of the figure.
        lacking: what the others do not have.
    """
    names = {model["name"] for model in shown}
    left = [as_said(m["label"]) for m in results["models"] if m["name"] not in names]
    return f" Without {lacking}, not shown: {', '.join(left)}." if left else ""
