"""The geometry of two text spaces → tables for people, tidy CSV and JSON. Rounds; computes nothing.

A table is (title, header, rows of text), as in ``report_layout``.
"""

from ccr_diag.metrics.geometry import TextGeometry, definitions
from ccr_diag.report_layout import NONE, Table, as_csv, as_json, lay_out

SCHEMA_VERSION = 1
LARGEST_EIGENVALUES = 5


def render_geometry(geometry: TextGeometry, form: str, width: int | None = None) -> str:
    """The record as ``text``, ``markdown``, ``csv``, ``json`` or ``latex``."""
    if form == "json":
        return to_json(geometry)
    if form == "csv":
        return to_csv(geometry)
    return lay_out(tables(geometry), form, width)


def tables(geometry: TextGeometry) -> list[Table]:
    """The summary, and the neighbours of the classes that moved most."""
    s, k = geometry.summary, geometry.k
    spaces = [
        ("ED", s["ED_zero_shot"], s["ED"]),
        ("effective rank", s["effective_rank_zero_shot"], s["effective_rank"]),
    ]
    for i, pair in enumerate(zip(geometry.spectrum_zero_shot, geometry.spectrum, strict=True)):
        if i < LARGEST_EIGENVALUES:
            spaces.append((f"eigenvalue {i + 1}", float(pair[0]), float(pair[1])))
    if geometry.gap is not None:
        spaces.append(("modality gap", s["gap_zero_shot"], s["gap"]))
    kept = [
        (f"NP@{k}, share of neighbours kept", s["NP"]),
        ("Kendall's τ_b of their distances", s["kendall"]),
        ("rank-biased overlap", s["RBO"]),
        ("ΔED", s["delta_ED"]),
        ("Gram drift", s["gram_drift"]),
        ("drift of a pair's cosine, RMS", s["pair_drift"]),
    ]
    values = geometry.class_values
    moved = [
        [
            geometry.class_names[i],
            *(_plain(float(values[key][i])) for key in ("NP", "RBO", "delta_ED")),
            ", ".join(geometry.class_names[j] for j in geometry.nearest_zero_shot[i]),
            ", ".join(geometry.class_names[j] for j in geometry.nearest[i]),
        ]
        for i in geometry.most_moved()
    ]
    classes = len(geometry.class_names)
    return [
        (
            f"Text space ({classes} classes; ED: mean {geometry.distance} distance to {k} nearest "
            f"classes, those of the {geometry.neighbours} space after tuning)",
            ["", "zero-shot", "tuned"],
            [[name, _plain(before), _plain(after)] for name, before, after in spaces],
        ),
        (
            "What tuning changed (means over classes)",
            ["", "value"],
            [[name, _plain(value)] for name, value in kept],
        ),
        (
            "Classes whose neighbours changed most",
            ["class", f"NP@{k}", "RBO", "ΔED", "neighbours, zero-shot", "neighbours, tuned"],
            moved,
        ),
    ]


def to_json(geometry: TextGeometry) -> str:
    """Schema version, what was measured how, and every number."""
    content = {
        "schema_version": SCHEMA_VERSION,
        "definitions": definitions(geometry),
        "geometry": geometry.to_json(),
    }
    return as_json(content)


def to_csv(geometry: TextGeometry) -> str:
    """Tidy rows in full precision: class (empty for all classes together), measure, value."""
    whole = [["", measure, value] for measure, value in geometry.summary.items()]
    classes = [
        [row["name"], measure, row[measure]]
        for row in geometry.to_json()["classes"]
        for measure in geometry.class_values
    ]
    return as_csv([["class", "measure", "value"], *whole, *classes])


def _plain(value: float | None) -> str:
    return NONE if value is None else f"{value:.4g}"
