"""Results in, the one sentence out that a reader takes away, with the numbers it stands on.

A model is *off* if the interval of its calibration error, the one that the preset begins with,
lies above what a calibrated model can have: above 0 where the interval was found by test inversion,
above the expected ECE of a calibrated model where it is one over splits, which chance alone lifts.
Otherwise it cannot be told from calibrated, unless a finding tells it; it is worth the name
*calibrated* only if the interval also ends below a tenth of the frequency of positives. Without an
interval nothing can be told.

Of several models, one is named best only if every paired difference says so.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, Literal

from ccr_diag.effects import UNSEEN, digits, percent
from ccr_diag.metrics.presets import preset
from ccr_diag.results import Results

METRIC = "ece_positive"
CALLED = {METRIC: "ECE", "ece_decision": "decision ECE"}
NEGLIGIBLE = 0.1  # of the frequency of positives
MOSTLY = 0.5  # share of the calibration error from which on its direction is the story
NAMED = 3
TELLING = ("signed_error", "slope", "classes", "frequency_trend")  # findings about calibration

State = Literal["off", "calibrated", "cannot tell"]
Plain = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """What the numbers say.

    Args:
        state: of one model; of several that of the one with the least error.
        text: one sentence.
        reasons: sentences that back it.
        evidence: the numbers in it, plain values.
    """

    state: State
    text: str
    reasons: tuple[str, ...]
    evidence: dict[str, Any]


@dataclass(frozen=True)
class Stretch:
    """A run of filled bins that lie on one side of what a calibrated model would show.

    Args:
        low: where the first bin begins.
        high: where the last one ends.
        side: ``over`` where fewer labels are positive than a calibrated model would show.
        last: whether no filled bin follows.
    """

    low: float
    high: float
    side: Literal["over", "under"]
    last: bool


def verdict(results: Results) -> Verdict:
    """The sentence about a whole results file."""
    models, metric = results["models"], preset(results["definitions"]["preset"]).headline
    if len(models) == 1:
        return model_verdict(models[0], metric)
    measured = [model for model in models if _value(model, metric) is not None]
    if not measured:
        return Verdict("cannot tell", "No model has a calibration error here.", (), {})
    ranked = sorted(measured, key=lambda model: _error(model, metric))
    best, worst = ranked[0], ranked[-1]
    rivals = [m for m in ranked[1:] if not _told_better(results, metric, best["name"], m["name"])]
    own, worst_own = model_verdict(best, metric), model_verdict(worst, metric)
    size = f"{CALLED[metric]} {_percents(best['metrics'][metric])}"
    if not results["differences"].get("pairs"):
        text = (
            f"Which of {len(models)} models is best calibrated cannot be told without paired "
            f"differences; {best['label']} shows the least, {size}"
        )
    elif rivals:
        others = _listed([m["label"] for m in rivals])
        text = (
            f"{best['label']} shows the least calibration error, {size}, but cannot be told "
            f"apart from {others}"
        )
    else:
        still = ", though itself off" if own.state == "off" else ""
        text = f"{best['label']} is the best calibrated of {len(models)} models{still}: {size}"
    reasons = [own.text]
    if worst_own.state == "off" and worst not in rivals:
        reasons.append(f"Furthest off: {worst_own.text}")
    shift = _matter_of_bias(models, metric)
    said = f"; {shift[0]}" if shift else ""
    evidence = {
        "metric": metric,
        "least": best["name"],
        "not_told_apart": [m["name"] for m in rivals],
        "models": [{"name": m["name"], **model_verdict(m, metric).evidence} for m in ranked],
        "bias": shift[1] if shift else None,
    }
    return Verdict(own.state, f"{text}{said}.", tuple(reasons), evidence)


def model_verdict(model: Plain, metric: str = METRIC) -> Verdict:
    """The sentence about one model of a results file.

    Args:
        model: an entry of ``models``.
        metric: the calibration error that decides, a key of ``CALLED``.
    """
    label, entry, ece = model["label"], model["metrics"].get(metric), CALLED[metric]
    evidence: dict[str, Any] = {"metric": metric, **(entry or {})}
    state = _state(model, metric)
    evidence["state"] = state
    if entry is None or entry["value"] is None:
        text = f"{label} has no calibration error here: whether it is calibrated cannot be told."
        return Verdict(state, text, (), evidence)
    if entry["low"] is None or entry["high"] is None:
        text = (
            f"Whether {label} is calibrated cannot be told without an interval of its "
            f"calibration error, {_percents(entry)}."
        )
        return Verdict(state, text, (), evidence)
    if state == "calibrated":
        text = f"{label} is calibrated as far as these labels can tell: {ece} {_percents(entry)}."
        return Verdict(state, text, tuple(_by_chance(model, metric)), evidence)
    if state == "cannot tell":
        reasons = tuple(_by_chance(model, metric))
        finding = _telling(model)
        if finding:
            evidence |= {"state": "off", "finding": finding["evidence"]}
            text = f"{label} is off, though its {ece} alone does not tell: {_percents(entry)}."
            return Verdict("off", text, (finding["text"], *reasons), evidence)
        text = f"{label} cannot be told from calibrated: {ece} {_percents(entry)}."
        return Verdict(state, text, reasons, evidence)
    place = _worst_group(model, metric)
    where = f", worst for {place[0]} classes ({ece} {_percents(place[1])})" if place else ""
    leaning, reasons = "off", ()
    if metric == METRIC:  # the direction and the repair are those of p, not of decisions
        leaning, reasons = _leaning(model, entry["value"]), tuple(_repairs(model))
        evidence["signed_error"] = model["metrics"].get("signed_error")
    evidence["worst_group"] = place[0] if place else None
    text = f"{label} is {leaning}: {ece} {_percents(entry)}{where}."
    return Verdict(state, text, reasons, evidence)


def expected_of(metric: str) -> str:
    """The metric that says what a calibrated model would show of this one."""
    return metric.replace("ece_", "ece_expected_")


def stretches(bins: Plain) -> list[Stretch]:
    """Where a reliability table of equal-width bins lies outside its consistency band.

    Args:
        bins: ``count``, ``frequency``, ``low`` and ``high`` of every bin from 0 to 1.
    """
    n = len(bins["count"])
    filled = [i for i in range(n) if bins["count"][i]]
    found: list[Stretch] = []
    for side, run in groupby(filled, key=lambda i: _side(bins, i)):
        inside = list(run)
        if side is not None:
            ends = inside[0] / n, (inside[-1] + 1) / n
            found.append(Stretch(*ends, side, inside[-1] == filled[-1]))
    return found


def stretches_said(bins: Plain) -> str:
    """The same in words: “over-confident above 0.33”."""
    found = stretches(bins)
    if not any(bins["count"]):
        return "no labels"
    if not found:
        return "within what a calibrated model would show in every bin"
    return ", ".join(_stretch_said(stretch) for stretch in found)


def _stretch_said(stretch: Stretch) -> str:
    lean = f"{stretch.side}-confident"
    if stretch.low == 0:
        return f"{lean} {'everywhere' if stretch.last else f'below {stretch.high:.2g}'}"
    if stretch.last:
        return f"{lean} above {stretch.low:.2g}"
    return f"{lean} from {stretch.low:.2g} to {stretch.high:.2g}"


def _side(bins: Plain, i: int) -> Literal["over", "under"] | None:
    frequency, low, high = (bins[key][i] for key in ("frequency", "low", "high"))
    if frequency is None or low is None or high is None:
        return None
    return "over" if frequency < low else "under" if frequency > high else None


def _state(pool: Plain, metric: str) -> State:
    """Of a model, or of one of its groups."""
    entry = pool["metrics"].get(metric)
    if entry is None or any(entry[key] is None for key in ("value", "low", "high")):
        return "cannot tell"
    if entry["low"] > _floor(pool, metric):
        return "off"
    positives = pool["n_positive"] / max(pool["n_known"], 1)
    return "calibrated" if entry["high"] < NEGLIGIBLE * positives else "cannot tell"


def _floor(pool: Plain, metric: str) -> float:
    """What the interval of an error must lie above.

    An expected error has ends only over splits, where the interval of the error is not inverted.
    """
    high = _expected(pool, metric).get("high")
    return UNSEEN if high is None else float(high)


def _expected(pool: Plain, metric: str) -> Plain:
    """The calibration error of a calibrated model with the same probabilities, if known."""
    found: Plain = pool["metrics"].get(expected_of(metric)) or {}
    return found


def _worst_group(model: Plain, metric: str) -> tuple[str, Plain] | None:
    """The group that is off and has the largest error, where there are several."""
    groups = {name: pool for name, pool in model["groups"].items() if name != "base"}
    off = {n: g["metrics"][metric] for n, g in groups.items() if _state(g, metric) == "off"}
    if len(groups) < 2 or not off:
        return None
    name = max(off, key=lambda n: off[n]["value"])
    return name, off[name]


def _leaning(model: Plain, ece: float) -> str:
    """By how much it is over- or under-confident on average, where that is sure.

    That some probabilities are too high and others too low is said only where bins show both.
    """
    signed = model["metrics"].get("signed_error")
    both = len({stretch.side for stretch in stretches(model["reliability"]["positive"])}) == 2
    mixed = "off, too high in some places and too low in others" if both else "off"
    if signed is None or signed["low"] is None or signed["low"] <= 0 <= signed["high"]:
        return mixed
    which = "over" if signed["value"] > 0 else "under"
    said = f"{which}-confident by {_points(signed)} on average"
    return f"{mixed}, and {said}" if both and abs(signed["value"]) < MOSTLY * ece else said


def _telling(model: Plain) -> Plain | None:
    """The first finding that no calibrated model would have."""
    found = (f for f in model["findings"] if f.get("evidence", {}).get("rule") in TELLING)
    return next(found, None)


def _by_chance(model: Plain, metric: str) -> Iterator[str]:
    """What a calibrated model would show, and why a value may lie above its own interval."""
    expected = _expected(model, metric)
    if expected.get("value") is not None:
        taken_off = "; the interval has that taken off" if expected["high"] is None else ""
        yield (
            "By chance alone a calibrated model would show "
            f"{percent(expected['value'])} % on these labels{taken_off}."
        )


def _repairs(model: Plain) -> Iterator[str]:
    """What a change of scale and bias alone would do."""
    entry, after = model["metrics"][METRIC], _value(model, "ece_after_platt")
    if after is None:
        return
    n = digits(100 * entry["low"], 100 * entry["high"])
    before, left = f"{100 * entry['value']:.{n}f}", f"{100 * after:.{n}f}"
    if float(left) < float(before):
        yield (
            "A change of scale and bias alone, fitted on these images, would take the ECE from "
            f"{before} % to {left if float(left) else percent(after)} %."
        )


def _matter_of_bias(models: Sequence[Plain], metric: str) -> tuple[str, dict[str, Any]] | None:
    """The scores of one model, read through two biases: what the bias does alone.

    Only zero-shot and models with the same text space under several rules are named
    ``NAME (RULE bias)`` more than once; a learned bias came with other scores.
    """
    of_scores: dict[str, list[Plain]] = {}
    error = partial(_error, metric=metric)
    for model in models:
        name, rule = model["name"], model["map_rule"]
        same = name.removesuffix(f" ({rule} bias)")
        if rule != "learned" and same != name and _value(model, metric) is not None:
            of_scores.setdefault(same, []).append(model)
    pairs = [
        (min(found, key=error), max(found, key=error))
        for found in of_scores.values()
        if len(found) > 1 and _same_scores(found)
    ]
    off = [pair for pair in pairs if _state(pair[1], metric) == "off" and error(pair[1]) > 0]
    if not off:
        return None
    better, worse = max(off, key=lambda pair: error(pair[1]) - error(pair[0]))
    if error(better) > error(worse) / 2:
        return None
    said = (
        f"much is a matter of the bias: the same scores have {percent(error(worse))} % as "
        f"{worse['label']} and {percent(error(better))} % as {better['label']}"
    )
    return said, {"worse": worse["name"], "better": better["name"]}


def _same_scores(models: Sequence[Plain]) -> bool:
    """Average precision knows only the order of the scores, which no bias changes."""
    values = {_value(model, "map") for model in models}
    return len(values) == 1 and None not in values


def _error(model: Plain, metric: str) -> float:
    return float(_value(model, metric) or 0.0)


def _told_better(results: Results, metric: str, best: str, other: str) -> bool:
    """Whether the paired difference of all classes says that ``best`` has the smaller error."""
    for pair in results["differences"].get("pairs", []):
        if {pair["a"], pair["b"]} == {best, other}:
            says = "worse" if pair["b"] == other else "better"
            return any(
                row["metric"] == metric and row["group"] == "all" and row["verdict"] == says
                for row in pair["rows"]
            )
    return False


def _value(model: Plain, metric: str) -> float | None:
    entry = model["metrics"].get(metric)
    return None if entry is None else entry["value"]


def _percents(entry: Plain) -> str:
    """“2.7 % [2.4, 2.8]”."""
    value, low, high = entry["value"], entry["low"], entry["high"]
    if low is None or high is None:
        return f"{percent(value)} %"
    n = digits(100 * low, 100 * high)
    return f"{100 * value:.{n}f} % [{100 * low:.{n}f}, {100 * high:.{n}f}]"


def _points(entry: Plain) -> str:
    ends = sorted(100 * abs(entry[key]) for key in ("low", "high"))
    n = digits(*ends)
    return f"{100 * abs(entry['value']):.{n}f} points [{ends[0]:.{n}f}, {ends[1]:.{n}f}]"


def _listed(names: Sequence[str]) -> str:
    """“a, b, c and 2 more”."""
    if len(names) > NAMED:
        return f"{', '.join(names[:NAMED])} and {len(names) - NAMED} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
