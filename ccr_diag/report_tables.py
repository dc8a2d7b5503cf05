"""Results → the tables that people read. Rounds; computes nothing.

A table is (title, header, rows of text), as in ``report_layout``; the best of a column is marked,
as far as its metric has a good direction.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ccr_diag.metrics.presets import preset
from ccr_diag.metrics.registry import better
from ccr_diag.report_layout import NONE, Best, Table
from ccr_diag.results import Results

Entry = dict[str, float | None]
"""``value``, ``low`` and ``high``, each perhaps None."""

ALL = "all"
NO_WAY = "none"
LOSS: dict[str, Callable[[float, float], float]] = {
    "lower": lambda value, scale: value,
    "higher": lambda value, scale: -value,
    "zero": lambda value, scale: abs(value),
    "one": lambda value, scale: abs(value - scale),
}
"""Which way is good → how far from it a value is that was multiplied by a scale."""
GROUP_TABLES = {
    "ece_positive": "ECE, positive, by group (lower is better)",
    "signed_error": "Signed error by group (above 0 over-confident, below 0 under-confident)",
    "map": "mAP by group (higher is better)",
}
SAMPLE_TABLES = {
    "ece_expected_positive": "Expected ECE, positive: of a calibrated model on as many labels",
    "l2_debiased_positive": "Debiased error, root of squared gaps: around 0 for a calibrated model",
}
COUNTS_TABLE = "How far the numbers carry: known labels, of them positive, and bins with any"
COUNTS = {
    "n_classes": "classes",
    "n_known": "labels",
    "n_positive": "positive",
    "effective_bins": "filled bins",
}
GEOMETRY_TABLE = (
    "Text geometry (ED: mean distance to 5 nearest classes; "
    "NP@5: share of zero-shot neighbours kept)"
)
GEOMETRY_COLUMNS = ("ED", "NP@5", "gap", "RBO", "pair_drift", "effective_rank")


def tables(results: Results) -> list[Table]:
    """All classes, each group, how far the sample carries, and the text geometry if there is one.

    Args:
        results: of ``analyze checkpoint`` or ``analyze predictions``.
    """
    models = results["models"]
    groups = list(models[0]["groups"])
    found = [_all_classes(models, results["definitions"]["preset"])]
    if groups:
        found += [_by_pool(title, metric, models, groups) for metric, title in GROUP_TABLES.items()]
    pools = [ALL, *groups]
    found += [_by_pool(title, metric, models, pools) for metric, title in SAMPLE_TABLES.items()]
    found.append(_counts(models, pools))
    if all(model["geometry"] for model in models):
        found.append(_geometry(models))
    return found


def _all_classes(models: Sequence[dict[str, Any]], chosen: str) -> Table:
    """The columns of the preset, as far as they were measured."""
    known = preset(chosen)
    there = [metric for metric in known.columns if any(metric in m["metrics"] for m in models)]
    columns = [[model["metrics"].get(metric) for model in models] for metric in there]
    unit = "" if known.scale == 1 else f", × {known.scale:g}"
    header = [known.columns[metric] for metric in there]
    ways = [better(metric) for metric in there]
    return _by_model(f"All classes{unit}", models, header, columns, known.scale, ways)


def _by_pool(
    title: str, metric: str, models: Sequence[dict[str, Any]], pools: Sequence[str]
) -> Table:
    """One metric: a row a model, a column for all classes or a group."""
    columns = [[_pool(model, pool)["metrics"].get(metric) for model in models] for pool in pools]
    ways = [better(metric)] * len(pools)
    return _by_model(f"{title}, × 100", models, pools, columns, 100.0, ways)


def _pool(model: dict[str, Any], pool: str) -> dict[str, Any]:
    found: dict[str, Any] = model if pool == ALL else model["groups"][pool]
    return found


def _counts(models: Sequence[dict[str, Any]], pools: Sequence[str]) -> Table:
    """One row for all classes or a group; “14–15” where models differ."""
    rows = [
        [pool, *(_span([_pool(model, pool)[count] for model in models]) for count in COUNTS)]
        for pool in pools
    ]
    return COUNTS_TABLE, ["group", *COUNTS.values()], rows


def _span(counts: Sequence[int]) -> str:
    least, most = min(counts), max(counts)
    return f"{least:,}" if least == most else f"{least:,}–{most:,}"


def _geometry(models: Sequence[dict[str, Any]]) -> Table:
    names = [n for n in GEOMETRY_COLUMNS if n in models[0]["geometry"]["summary"]]
    columns = [[model["geometry"]["summary"].get(n) for model in models] for n in names]
    return _by_model(GEOMETRY_TABLE, models, names, columns, 1.0, [NO_WAY] * len(names))


def _by_model(
    title: str,
    models: Sequence[dict[str, Any]],
    header: Iterable[str],
    columns: Sequence[Sequence[Entry | None]],
    scale: float,
    ways: Sequence[str],
) -> Table:
    """One row a model, one column a measure, of which ``ways`` says which way is good."""
    several = any(len(model["splits"]) > 1 for model in models)
    texts = [cells(c, scale, several, way) for c, way in zip(columns, ways, strict=True)]
    rows = [[model["label"], *(c[i] for c in texts)] for i, model in enumerate(models)]
    return title, ["model", *header], rows


def cells(
    entries: Sequence[Entry | None],
    scale: float,
    several: bool,
    way: str = NO_WAY,
    digits: int | None = None,
) -> list[str]:
    """Of values that are compared with each other, mostly a column; the best are marked.

    Args:
        entries: see ``cell``, as the next two.
        scale: of all.
        several: of all.
        way: which way is good, a value of ``Metric.better``.
        digits: decimals; None takes one more where every value would otherwise show one digit.
    """
    digits = _decimals(entries, scale) if digits is None else digits
    texts = [cell(entry, scale, digits, several) for entry in entries]
    best = _best([None if e is None else e["value"] for e in entries], scale, digits, way)
    return [Best(text) if i in best else text for i, text in enumerate(texts)]


def _decimals(entries: Sequence[Entry | None], scale: float) -> int:
    sizes = [abs(scale * (e["value"] or 0.0)) for e in entries if e is not None]
    few, least = (1, 1.0) if scale == 100 else (3, 0.1)
    return few if max(sizes, default=0.0) >= least else few + 1


def _best(values: Sequence[float | None], scale: float, digits: int, way: str) -> list[int]:
    """Where the best of two values or more stand, as they are shown: what looks alike is alike."""
    shown = {i: float(_number(v, scale, digits)) for i, v in enumerate(values) if v is not None}
    if way == NO_WAY or len(shown) < 2:
        return []
    losses = {i: LOSS[way](value, scale) for i, value in shown.items()}
    return [i for i, loss in losses.items() if loss == min(losses.values())]


def cell(entry: Entry | None, scale: float, digits: int, several: bool = False) -> str:
    """“3.1 [2.9, 3.4]”, or “3.1 ± 0.2” for the mean over several splits; “–” where undefined.

    Args:
        entry: a value and its interval, which is left out where there is none.
        scale: what is multiplied by before rounding.
        digits: decimals.
        several: whether the interval lies evenly around the value.
    """
    value, low, high = (None if entry is None else entry[key] for key in ("value", "low", "high"))
    text = _number(value, scale, digits)
    if value is None or low is None or high is None:
        return text
    if several:
        return f"{text} ± {_number(high - value, scale, digits)}"
    return f"{text} [{_number(low, scale, digits)}, {_number(high, scale, digits)}]"


def _number(value: float | None, scale: float, digits: int) -> str:
    return NONE if value is None else f"{scale * value:z.{digits}f}"
