"""Slow, plain versions of the metrics, written as loops from their formulas.

They take plain arrays and share no code with the package.
"""

from bisect import bisect_right
from fractions import Fraction
from functools import cache

import numpy as np
from scipy.integrate import trapezoid


def exact_bin(p: np.floating, n_bins: int) -> int:
    """The last edge not above p, edges being the decimals k/B as p's own type rounds them."""
    return bisect_right(edges(type(p), n_bins), p)


@cache
def edges(kind, n_bins):
    """The inner edges k/B, rounded by the type."""
    return [kind(Fraction(edge, n_bins)) for edge in range(1, n_bins)]


def binned(confidence, outcome, n_bins):
    """[(count, mean confidence, frequency)] of the non-empty bins of a list of entries."""
    filled = []
    of_entry = [exact_bin(c, n_bins) for c in confidence]
    for b in range(n_bins):
        inside = [i for i, k in enumerate(of_entry) if k == b]
        if inside:
            n = len(inside)
            mean = sum(float(confidence[i]) for i in inside) / n
            filled.append((n, mean, sum(int(outcome[i]) for i in inside) / n))
    return filled


def entries(p, y, convention):
    """Known (confidence, outcome) pairs of a matrix, as two lists."""
    confidence, outcome = [], []
    for row, labels in zip(p, y, strict=True):
        for value, label in zip(row, labels, strict=True):
            if label == -1:
                continue
            if convention == "positive":
                confidence.append(value)
                outcome.append(label == 1)
            else:
                confidence.append(max(value, type(value)(1) - value))
                outcome.append((value >= 0.5) == (label == 1))
    return confidence, outcome


def calibration(p, y, n_bins, convention):
    """ECE, MCE, weighted MCE and signed error of all entries."""
    filled = binned(*entries(p, y, convention), n_bins)
    n = sum(count for count, _, _ in filled)
    gaps = [(count / n, confidence - frequency) for count, confidence, frequency in filled]
    return {
        "ece": sum(w * abs(gap) for w, gap in gaps),
        "mce": max(abs(gap) for _, gap in gaps),
        "weighted_mce": max(w * abs(gap) for w, gap in gaps),
        "signed_error": sum(w * gap for w, gap in gaps),
    }


def average_precision(scores, labels):
    """Area under the steps of precision against recall; tied scores enter together."""
    pairs = [(s, y) for s, y in zip(scores, labels, strict=True) if y != -1]
    positives = sum(y == 1 for _, y in pairs)
    area, recall_before = 0.0, 0.0
    for threshold in sorted({s for s, _ in pairs}, reverse=True):
        taken = [y for s, y in pairs if s >= threshold]
        hits = sum(y == 1 for y in taken)
        area += (hits / positives - recall_before) * hits / len(taken)
        recall_before = hits / positives
    return area


def poisson_binomial_deviation(chances):
    """E|X − μ|, X the number of successes in independent draws: all 2^n outcomes, added up."""
    mass = np.array([1.0])
    for chance in chances:
        mass = np.append(mass * (1 - chance), 0) + np.append(0, mass * chance)
    return float(mass @ np.abs(np.arange(len(mass)) - sum(chances)))


def expected_ece(confidence, n_bins):
    """Mean ECE over every possible set of outcomes, c their true chance."""
    of_bin = [exact_bin(c, n_bins) for c in confidence]
    parts = [
        [float(c) for c, k in zip(confidence, of_bin, strict=True) if k == b] for b in range(n_bins)
    ]
    return sum(poisson_binomial_deviation(part) for part in parts) / len(confidence)


def gap_sum(parts):
    """Σ share · |mean confidence − frequency| over lists of (confidence, outcome)."""
    n = sum(len(part) for part in parts)
    return sum(abs(sum(float(c) - bool(o) for c, o in part)) for part in parts) / n


def equal_mass_ece(confidence, outcome, n_bins):
    """ECE over equal parts of the sorted entries; equal values go to the first part of them."""
    home = {}
    for number, part in enumerate(np.array_split(np.sort(confidence), n_bins)):
        for value in part.tolist():
            home.setdefault(value, number)
    parts = [[] for _ in range(n_bins)]
    for c, o in zip(confidence, outcome, strict=True):
        parts[home[float(c)]].append((c, o))
    return gap_sum(parts)


def sweep_ece(confidence, outcome):
    """ECE of the most equal parts whose frequencies rise; equal values go to the last of them."""
    pairs = sorted((float(c), bool(o)) for c, o in zip(confidence, outcome, strict=True))
    kept = [pairs]
    for n_bins in range(2, min(len(pairs), 200) + 1):
        home = {}
        for number, part in enumerate(np.array_split([c for c, _ in pairs], n_bins)):
            home |= dict.fromkeys(part.tolist(), number)
        parts = [[pair for pair in pairs if home[pair[0]] == k] for k in range(n_bins)]
        parts = [part for part in parts if part]
        rates = [sum(o for _, o in part) / len(part) for part in parts]
        if rates != sorted(rates):
            break
        kept = parts
    return gap_sum(kept)


def smooth_ece(confidence, outcome):
    """The σ at which the residuals smoothed by a reflected Gaussian of width σ have integral σ."""
    residual = {}
    for c, o in zip(confidence, outcome, strict=True):
        residual[float(c)] = residual.get(float(c), 0.0) + (float(c) - bool(o)) / len(confidence)
    c, r = np.array(list(residual.items())).T
    t = np.linspace(0, 1, 1001)
    apart = [(t[:, None] - (2 * k + sign * c)) ** 2 for k in range(-2, 3) for sign in (1, -1)]

    def error(sigma):
        kernel = sum(np.exp(-square / (2 * sigma**2)) for square in apart)
        return trapezoid(np.abs(kernel @ r), t) / (sigma * np.sqrt(2 * np.pi))

    low, high = 1e-4, 1.0
    for _ in range(22):
        middle = (low + high) / 2
        low, high = (middle, high) if error(middle) > middle else (low, middle)
    return low


def rising_fit(weights, values):
    """Isotonic regression: g_k = max over i ≤ k of min over j ≥ k of the mean of i … j."""
    n = len(values)
    mass = np.cumsum([0, *weights])
    total = np.cumsum([0, *(w * v for w, v in zip(weights, values, strict=True))])

    def mean(i, j):
        return (total[j + 1] - total[i]) / (mass[j + 1] - mass[i])

    return [max(min(mean(i, j) for j in range(k, n)) for i in range(k + 1)) for k in range(n)]


def brier_parts(confidence, outcome):
    """Miscalibration, discrimination and uncertainty."""
    distinct = sorted({float(c) for c in confidence})
    outcomes = [
        [bool(o) for c, o in zip(confidence, outcome, strict=True) if c == v] for v in distinct
    ]
    best = rising_fit([len(o) for o in outcomes], [np.mean(o) for o in outcomes])
    n = len(confidence)

    def score(forecast):
        return (
            sum((f - o) ** 2 for f, all_o in zip(forecast, outcomes, strict=True) for o in all_o)
            / n
        )

    constant = score([sum(map(sum, outcomes)) / n] * len(distinct))
    return score(distinct) - score(best), constant - score(best), constant


def logistic_map(confidence, outcome):
    """Slope and intercept of the logistic regression of the outcome on the log odds."""
    c = np.clip([float(c) for c in confidence], 1e-7, 1 - 1e-7)
    x, o = np.log(c / (1 - c)), np.asarray(outcome, dtype=float)
    theta = np.array([0.0, 0.0])
    for _ in range(200):
        q = 1 / (1 + np.exp(-(theta[0] * x + theta[1])))
        slope = np.array([(q - o) @ x, (q - o).sum()])
        w = q * (1 - q)
        curvature = np.array([[w @ x**2, w @ x], [w @ x, w.sum()]])
        step = np.linalg.solve(curvature, slope)
        theta = theta - step / max(1, np.abs(step).max())
    return theta


def ece_after_logistic_map(confidence, outcome, n_bins):
    """ECE of the confidences so moved."""
    a, b = logistic_map(confidence, outcome)
    c = np.clip([float(c) for c in confidence], 1e-7, 1 - 1e-7)
    moved = 1 / (1 + np.exp(-(a * np.log(c / (1 - c)) + b)))
    parts = [[] for _ in range(n_bins)]
    for m, o in zip(moved, outcome, strict=True):
        parts[min(int(m * n_bins), n_bins - 1)].append((m, o))
    return gap_sum(parts)


def most_probable(p, k):
    """Which are among their image's k most probable classes; the first class where equal."""
    called = np.zeros(p.shape, dtype=bool)
    for i, row in enumerate(p):
        for c in sorted(range(len(row)), key=lambda c: (-row[c], c))[:k]:
            called[i, c] = True
    return called


def ratio(part, whole):
    """NaN where there is nothing to divide by."""
    return part / whole if whole else np.nan


def mean_defined(values):
    """Mean of those that are not NaN."""
    defined = [v for v in values if not np.isnan(v)]
    return ratio(sum(defined), len(defined))


def decisions(called, y):
    """Every number that comes from counts of decisions."""
    tp = [int(((y[:, c] == 1) & called[:, c]).sum()) for c in range(y.shape[1])]
    fp = [int(((y[:, c] == 0) & called[:, c]).sum()) for c in range(y.shape[1])]
    fn = [int(((y[:, c] == 1) & ~called[:, c]).sum()) for c in range(y.shape[1])]
    tn = [int(((y[:, c] == 0) & ~called[:, c]).sum()) for c in range(y.shape[1])]
    some = [c for c in range(y.shape[1]) if tp[c] + fn[c]]
    recall = mean_defined([tp[c] / (tp[c] + fn[c]) for c in some])
    precision = mean_defined([tp[c] / max(tp[c] + fp[c], 1) for c in some])
    both = precision + recall
    found, denied = ratio(sum(tp), sum(tp) + sum(fn)), ratio(sum(tn), sum(tn) + sum(fp))
    return {
        "accuracy_elementwise": ratio(sum(tp) + sum(tn), sum(tp) + sum(tn) + sum(fp) + sum(fn)),
        "accuracy_balanced": (found + denied) / 2,
        "recall_macro": recall,
        "f1_macro": mean_defined([2 * tp[c] / (2 * tp[c] + fp[c] + fn[c]) for c in some]),
        "cf1": 2 * precision * recall / both if both else 0.0,
        "of1": ratio(2 * sum(tp), 2 * sum(tp) + sum(fp) + sum(fn)),
    }


def brier_skill(p, y):
    """1 − squared error / that of each class's own frequency."""
    error = of_prior = 0.0
    for c in range(y.shape[1]):
        pairs = [(float(p[i, c]), int(y[i, c])) for i in range(len(y)) if y[i, c] != -1]
        if pairs:
            share = sum(o for _, o in pairs) / len(pairs)
            error += sum((v - o) ** 2 for v, o in pairs)
            of_prior += sum((share - o) ** 2 for _, o in pairs)
    return 1 - error / of_prior if of_prior else np.nan


def all_right(p, y):
    """Share of images whose known labels are all decided right, among those that have one."""
    images = [
        all((v >= 0.5) == (label == 1) for v, label in zip(row, labels, strict=True) if label != -1)
        for row, labels in zip(p, y, strict=True)
        if (labels != -1).any()
    ]
    return ratio(sum(images), len(images))


def measures(p, y, ranking, n_bins, called_top, threshold, nearness):
    """Every metric of a matrix; ``called_top``: is it called, ``nearness``: bin of an image."""
    found = {}
    n_classes = y.shape[1]
    for convention in ("positive", "decision"):
        confidence, outcome = entries(p, y, convention)
        plain = calibration(p, y, n_bins, convention)
        found[f"ece_{convention}"] = plain["ece"]
        found[f"mce_{convention}"] = plain["mce"]
        found[f"mce_weighted_{convention}"] = plain["weighted_mce"]
        found[f"ece_expected_{convention}"] = expected_ece(confidence, n_bins)
        found[f"ace_{convention}"] = equal_mass_ece(confidence, outcome, n_bins)
    classes = [c for c in range(n_classes) if (y[:, c] != -1).any()]
    alone = [calibration(p[:, [c]], y[:, [c]], n_bins, "positive")["ece"] for c in classes]
    found["ece_classwise"] = sum(alone) / len(classes)
    views = {"top_k": called_top, "thresholded": p >= threshold, "called": p >= 0.5}
    for name, seen in views.items():
        labels = np.where(seen, y, -1)
        there = (labels != -1).any()
        found[f"ece_{name}"] = (
            calibration(p, labels, n_bins, "positive")["ece"] if there else np.nan
        )
    near = [[] for _ in range(int(nearness.max()) + 1)]
    for i in range(len(y)):
        c, o = entries(p[[i]], y[[i]], "decision")
        near[nearness[i]] += list(zip(c, o, strict=True))
    joint = [
        [e for e in part if exact_bin(e[0], n_bins) == b] for part in near for b in range(n_bins)
    ]
    found["piece_decision"] = gap_sum(joint)

    confidence, outcome = entries(p, y, "positive")
    n = len(confidence)
    filled = binned(confidence, outcome, n_bins)
    found["signed_error"] = (
        sum(float(c) - bool(o) for c, o in zip(confidence, outcome, strict=True)) / n
    )
    found["rmsce_positive"] = (sum(m * (c - f) ** 2 for m, c, f in filled) / n) ** 0.5
    square = sum(m * ((c - f) ** 2 - f * (1 - f) / (m - 1)) for m, c, f in filled if m > 1) / n
    found["l2_debiased_positive"] = np.sign(square) * abs(square) ** 0.5
    found["ece_sweep"] = sweep_ece(confidence, outcome)
    found["smece_positive"] = smooth_ece(confidence, outcome)
    several = 0 < sum(outcome) < n and len(set(confidence)) > 1
    fit = logistic_map(confidence, outcome) if several else (np.nan, np.nan)
    found["calibration_slope"], found["calibration_intercept"] = fit
    left = ece_after_logistic_map(confidence, outcome, n_bins) if several else np.nan
    found["ece_after_platt"] = left
    parts = brier_parts(confidence, outcome)
    names = ("brier_miscalibration", "brier_discrimination", "brier_uncertainty")
    found |= dict(zip(names, parts, strict=True))
    found["brier"] = (
        sum((float(c) - bool(o)) ** 2 for c, o in zip(confidence, outcome, strict=True)) / n
    )
    found["brier_skill"] = brier_skill(p, y)
    likely = [float(c) if o else 1 - float(c) for c, o in zip(confidence, outcome, strict=True)]
    least = np.finfo(np.float64 if p.dtype == np.float64 else np.float32).eps
    found["nll"] = -sum(np.log(max(v, least)) for v in likely) / n
    found |= decisions(p >= 0.5, y)
    top = decisions(called_top, y)
    found |= {"cf1_top_k": top["cf1"], "of1_top_k": top["of1"]}
    found["accuracy_subset"] = all_right(p, y)
    both = [c for c in range(n_classes) if (y[:, c] == 1).any() and (y[:, c] == 0).any()]
    found["map"] = mean_defined([average_precision(ranking[:, c], y[:, c]) for c in both])
    return found


def cosine(a, b):
    """Cosine of two vectors."""
    dot = sum(float(x) * float(y) for x, y in zip(a, b, strict=True))
    return dot / (sum(float(x) ** 2 for x in a) * sum(float(y) ** 2 for y in b)) ** 0.5


def neighbours(rows, i, k):
    """The k rows nearest to row i by cosine, the lower index first on a tie."""
    others = [j for j in range(len(rows)) if j != i]
    return sorted(others, key=lambda j: (-round(cosine(rows[i], rows[j]), 12), j))[:k]


def embedding_divergence(rows, k):
    """Mean of 1 − cosine to the k nearest other rows, per row."""
    return [
        np.mean([1 - cosine(rows[i], rows[j]) for j in neighbours(rows, i, k)])
        for i in range(len(rows))
    ]


def neighbourhood_preservation(before, after, k):
    """Share of the k nearest rows before that are still among them after, per row."""
    return [
        len(set(neighbours(before, i, k)) & set(neighbours(after, i, k))) / k
        for i in range(len(before))
    ]
