"""The differences of results → pairs of models with intervals, as plain records."""

from collections.abc import Mapping, Sequence
from typing import Any

from ccr_diag.figures.html_report.charts import axis
from ccr_diag.figures.html_report.numbers import OWN_TERMS, Term, chance, shown, term_of
from ccr_diag.results import Results

Plain = Mapping[str, Any]
NOT_MADE = "They need replicates of the bootstrap, or several splits, and there are none."


def differences_section(results: Results, known: Mapping[str, Term]) -> dict[str, Any]:
    """Every pair of models; where there is none, why.

    Args:
        results: a parsed results file.
        known: what numbers are, by key.
    """
    labels = {model["name"]: model["label"] for model in results["models"]}
    found = results["differences"]
    pairs = [
        pair_record(f"d{i}", labels[pair["a"]], labels[pair["b"]], pair["rows"], known)
        for i, pair in enumerate(found.get("pairs", []))
    ]
    return {"pairs": pairs, "method": found.get("method", NOT_MADE)}


def pair_record(
    identity: str, a: str, b: str, rows: Sequence[Plain], known: Mapping[str, Term]
) -> dict[str, Any]:
    """One pair of models: a block of rows a metric, on an axis of its own.

    Args:
        identity: unique on the page.
        a: label of the first model.
        b: label of the second, whose differences from the first these are.
        rows: ``metric``, ``group``, ``a``, ``b``, ``difference``, ``low``, ``high``, ``p``,
            ``p_holm``, ``verdict``.
        known: what numbers are, by key.
    """
    of_metric = {
        metric: [_row(row, known) for row in rows if row["metric"] == metric]
        for metric in dict.fromkeys(row["metric"] for row in rows)
    }
    blocks = [_block(term_of(known, metric), found) for metric, found in of_metric.items()]
    return {
        "id": identity,
        "a": a,
        "b": b,
        "said": _said(a, b, rows),
        "blocks": blocks,
        "rows": [row for block in blocks for row in block["rows"]],
        "terms": {key: OWN_TERMS[key] for key in ("difference", "p", "p_holm")},
    }


def _block(term: Term, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The rows of one metric, all classes first, with their marks."""
    shared = axis([row["difference"] for row in rows])
    marked = [row | {"mark": shared.mark(row["difference"])} for row in rows]
    return {"term": term, "rows": marked, "axis": shared}


def _row(row: Plain, known: Mapping[str, Term]) -> dict[str, Any]:
    term = term_of(known, row["metric"])
    change = {"value": row["difference"], "low": row["low"], "high": row["high"]}
    signed = Term(term.key, term.label, term.definition, term.better, term.source, _signed(term))
    return {
        "group": "all classes" if row["group"] == "all" else row["group"],
        "a": shown(term, row["a"]),
        "b": shown(term, row["b"]),
        "difference": shown(signed, change),
        "p": chance(OWN_TERMS["p"], row["p"]),
        "p_holm": chance(OWN_TERMS["p_holm"], row["p_holm"]),
        "verdict": row["verdict"],
    }


def _signed(term: Term) -> str:
    """Differences of shares are told in points."""
    return "points" if term.unit else "signed"


def _said(a: str, b: str, rows: Sequence[Plain]) -> str:
    """How many of the rows of all classes say what of the second model."""
    whole = [row["verdict"] for row in rows if row["group"] == "all"]
    counts = ", ".join(
        f"{said} in {whole.count(said)}" for said in ("better", "worse", "cannot tell")
        if said in whole
    )  # fmt: skip
    return f"{b} against {a}, over all classes: {counts} of {len(whole)} measures."
