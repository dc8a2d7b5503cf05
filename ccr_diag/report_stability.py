"""A record of ``stability`` → tables for people, tidy CSV and JSON. Rounds; computes nothing.

A table is (title, header, rows of text), as in ``report_layout``.
"""

from typing import Any

from ccr_diag.report_layout import NONE, Table, as_csv, as_json, lay_out, wrapped

WHOLE = ("n_live", "mean", "sd", "min", "max")


def render_stability(record: dict[str, Any], form: str, width: int | None = None) -> str:
    """The record as ``text``, ``markdown``, ``csv``, ``json`` or ``latex``.

    Args:
        record: of any number of models.
        form: which.
        width: characters a line of text.
    """
    if form == "json":
        return as_json(record)
    if form == "csv":
        return to_csv(record)
    text = lay_out(tables(record), form, width)
    if form == "latex":
        return text
    return f"{text}\n{notes(record, width if form == 'text' else None)}\n"


def tables(record: dict[str, Any]) -> list[Table]:
    """Of each model the correlations of all images, then a table a measure: sizes across."""
    said = record["definitions"]
    found = []
    for model in record["models"]:
        name = model["name"]
        found.append(
            (
                f"{name}: correlations between classes over all {model['n_images']} images, "
                "entries off the diagonal",
                [
                    "correlation",
                    f"live of {model['n_classes']} classes",
                    "mean",
                    "sd",
                    "min",
                    "max",
                ],
                [
                    [row["statistic"], str(row["n_live"]), *(_plain(row[k]) for k in WHOLE[1:])]
                    for row in model["whole"]
                ],
            )
        )
        cells = {
            (row["measure"], row["statistic"], row["batch_size"]): _with_sd(row)
            for row in model["batches"]
        }
        for measure, says in said["measures"].items():
            found.append(
                (
                    f"{name}: {measure}, {says} (mean ± sd over {said['n_batches']} batches)",
                    ["correlation", *(f"{size} images" for size in said["batch_sizes"])],
                    [
                        [key, *(cells[measure, key, size] for size in said["batch_sizes"])]
                        for key in said["statistics"]
                    ],
                )
            )
    return found


def notes(record: dict[str, Any], width: int | None) -> str:
    """What the correlations are, and what makes their comparison fair."""
    said = record["definitions"]
    lines = [f"{key}: {says}" for key, says in said["statistics"].items()]
    return "\n".join(wrapped(line, width, "- ", "  ") for line in [*lines, *said["fair"]])


def to_csv(record: dict[str, Any]) -> str:
    """Tidy rows in full precision; of all images, numbers named whole_… and no batch size."""
    header = ["statistic", "batch_size", "measure", "mean", "sd", "low", "high", "n"]
    rows: list[list[Any]] = [["model", *header]]
    for model in record["models"]:
        for row in model["whole"]:
            of = [model["name"], row["statistic"], None]
            rows += [[*of, f"whole_{key}", row[key], None, None, None, None] for key in WHOLE]
        rows += [[model["name"], *(row[key] for key in header)] for row in model["batches"]]
    return as_csv(rows)


def _with_sd(row: dict[str, Any]) -> str:
    if row["sd"] is None:
        return _plain(row["mean"])
    return f"{row['mean']:z.3f} ± {row['sd']:.3f}"


def _plain(value: float | None) -> str:
    return NONE if value is None else f"{value:z.3f}"
