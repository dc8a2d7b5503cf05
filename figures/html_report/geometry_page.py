"""The text geometry of two spaces → what its report shows, as plain records."""

from collections.abc import Mapping
from typing import Any

from ccr_diag.figures.html_report.environment import render
from ccr_diag.figures.html_report.model_section import moved_classes
from ccr_diag.figures.html_report.numbers import Shown, Term, geometry_terms, shown, term_of

Plain = Mapping[str, Any]

IN_BOTH = ("ED", "effective_rank", "gap")  # measured before and after
CHANGES = ("NP", "RBO", "kendall", "delta_ED", "pair_drift")
OF_CLASS = ("NP", "RBO", "delta_ED", "drift")


def geometry_page(geometry: Plain, definitions: Mapping[str, str], provenance: Plain) -> str:
    """The report of ``analyze embeddings``: one HTML file that needs nothing else.

    Args:
        geometry: ``TextGeometry.to_json``.
        definitions: measure → what it is.
        provenance: see ``provenance``.

    Returns:
        The page; every name in it is escaped.
    """
    known, summary = geometry_terms(definitions), geometry["summary"]
    of_class = {entry["name"]: entry for entry in geometry["classes"]}
    page: str = render(
        "geometry.html.j2",
        sentence=_sentence(geometry),
        facts=[f"{geometry['n_classes']:,} classes", f"{geometry['k']} neighbours of each"],
        changes=[_shown(known, summary, key) for key in CHANGES],
        both=[
            (_shown(known, summary, key, f"{key}_zero_shot"), _shown(known, summary, key))
            for key in IN_BOTH
            if summary[key] is not None
        ],
        k=geometry["k"],
        moved=moved_classes([of_class[n] for n in geometry["most_moved"]], OF_CLASS, known),
        classes=moved_classes(geometry["classes"], OF_CLASS, known),
        terms=[term_of(known, key) for key in OF_CLASS],
        definitions=[*known.values(), *_rest(definitions, known)],
        chosen={key: geometry[key] for key in ("k", "distance", "neighbours", "RBO_persistence")},
        provenance=provenance,
        origins=[],
    )
    return page


def _sentence(geometry: Plain) -> str:
    """How many neighbours stayed, and what moved most."""
    kept = 100 * geometry["summary"]["NP"]
    text = f"Of the {geometry['k']} nearest classes of a class, {kept:.0f} % stayed after tuning"
    if not geometry["summary"]["pair_drift"]:
        return f"{text}: the two text spaces are the same."
    return f"{text}; the neighbours of {geometry['most_moved'][0]} changed most."


def _shown(known: Mapping[str, Term], summary: Plain, key: str, value_of: str = "") -> Shown:
    return shown(term_of(known, key), summary[value_of or key])


def _rest(definitions: Mapping[str, str], known: Mapping[str, Term]) -> list[Term]:
    return [Term(key, key, text) for key, text in definitions.items() if key not in known]
