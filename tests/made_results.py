"""A made-up results file, and how to read figures back."""

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ccr_diag.associations import FREQUENCY, associations
from ccr_diag.class_matrices import ClassMatrices
from ccr_diag.figures.style import style
from ccr_diag.metrics.registry import definitions

GROUPS = ("head", "medium", "tail", "new")
MODELS = {  # name → label, bias rule, name of the model whose text embeddings it has
    "zero-shot": ("zero-shot", "none", "zero-shot"),
    "zero-shot (prior bias)": ("zero-shot (prior bias)", "prior", "zero-shot"),
    "bce": ("BCE", "none", "bce"),
    "ranking": ("Ranking", "none", "ranking"),
    "bce+ccr": ("BCE + CCR", "none", "bce+ccr"),
    "bce (learned bias)": ("BCE (learned bias)", "learned", "bce (learned bias)"),
    "ranking (prior bias)": ("Ranking (prior bias)", "prior", "ranking"),
}
METRICS = ("ece_positive", "ece_decision", "signed_error", "map")
CLASSES, BINS, SPLITS, IMAGES = 86, 15, 3, 400

COLUMNS = ("confidence", "frequency", "low", "high")
BINS_OF_FIVE = {
    "count": [1000, 0, 10, 1, 0],
    "confidence": [0.05, None, 0.5, 0.7, None],
    "frequency": [0.05, None, 0.8, 0.0, None],
    "low": [0.03, None, 0.2, 0.0, None],
    "high": [0.06, None, 0.8, 1.0, None],
}


def fake_results() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    start = rng.normal((0.75, 0.45), (0.03, 0.05), (CLASSES, 2))
    spaces = {
        name: [space_json(rng, start, 0.0 if name == "zero-shot" else 0.06) for _ in range(SPLITS)]
        for name in dict.fromkeys(space for _, _, space in MODELS.values())
    }
    spaces["zero-shot"] = [spaces["zero-shot"][0]] * SPLITS
    models = [
        model_json(rng, name, label, rule, spaces[space])
        for name, (label, rule, space) in MODELS.items()
    ]
    return {
        "schema_version": 2,
        "definitions": {
            "preset": "textbook",
            "n_bins": BINS,
            "interval": "95 % over splits",
            "metrics": definitions(list(METRICS)),
        },
        "provenance": {},
        "data": {"name": "made-up", "split": "test"},
        "differences": {},
        "models": models,
        "image_coordinates": rng.normal((0.72, -0.4), (0.03, 0.08), (IMAGES, 2)).tolist(),
        "class_image_coordinates": [
            *rng.normal((0.72, -0.4), (0.02, 0.05), (CLASSES - 1, 2)).tolist(),
            None,
        ],
    }


def space_json(rng: np.random.Generator, start: np.ndarray, move: float) -> dict[str, Any]:
    return {
        "divergence": rng.uniform(0.1, 0.5, CLASSES).tolist(),
        "preservation": (rng.integers(0, 6, CLASSES) / 5).tolist(),
        "gap": float(0.8 + rng.normal(0, 0.02)),
        "coordinates_text": (start + rng.normal(0, move, start.shape)).tolist(),
        "text": text_json(move),
    }


def text_json(move: float) -> dict[str, Any]:
    """The neighbours of class c are those that follow; c % 3 of them leave where it moves."""
    classes = []
    for c in range(CLASSES):
        before = [f"class {(c + i) % CLASSES}" for i in range(1, 6)]
        left = c % 3 if move else 0
        after = before[: 5 - left] + [f"class {(c + 40 + i) % CLASSES}" for i in range(left)]
        classes.append({
            "name": f"class {c}", "ED": 0.1 + move, "NP": 1 - left / 5, "RBO": 1 - left / 5,
            "drift": move * c,
            "neighbours_zero_shot": before, "neighbours": after,
        })  # fmt: skip
    moved = sorted(range(CLASSES), key=lambda c: (-(c % 3), c))[:10]
    return {
        "n_classes": CLASSES,
        "k": 5,
        "summary": {"pair_drift": move},
        "classes": classes,
        "most_moved": [f"class {c}" for c in moved],
    }


def fake_matrices(results: dict[str, Any]) -> dict[str, ClassMatrices]:
    """Of every model; those that share text coordinates share cosines, too."""
    n = results["models"][0]["n_classes"]
    names = tuple(entry["name"] for entry in results["models"][0]["classes"])
    rng = np.random.default_rng(1)
    start = rng.normal(0, 1, (n, 24)) + 1
    found = {}
    for seed, model in enumerate(results["models"]):
        where = np.array(model["splits"][0]["geometry"]["coordinates_text"])
        moved = start + (np.arange(24) % 7 == 0) * where.sum(axis=1, keepdims=True)
        target = cosines(start - start.mean(axis=0))
        noise = np.random.default_rng(seed).normal(0, 0.1, (n, n))
        predicted = np.clip(0.6 * target + 0.2 + noise + noise.T, -1, 1).astype(np.float32)
        np.fill_diagonal(predicted, 1)
        found[model["name"]] = ClassMatrices(
            names, cosines(moved), target, predicted, "centred_inactive"
        )
    return found


def cosines(rows: np.ndarray) -> np.ndarray:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return (unit @ unit.T).astype(np.float32)


def model_json(
    rng: np.random.Generator, name: str, label: str, rule: str, spaces: list[dict[str, Any]]
) -> dict[str, Any]:
    splits = [
        {
            "split": i + 1,
            "map": {"scale": 100.0, "bias": 0.0, "rule": rule},
            **split_pool_json(rng),
            "groups": {group: split_pool_json(rng) for group in GROUPS},
            "classes": [
                {"name": f"class {c}", "metrics": class_metrics(rng)} for c in range(CLASSES)
            ],
            "geometry": space,
        }
        for i, space in enumerate(spaces)
    ]
    geometry = {
        "ED": [float(np.mean(s["divergence"])) for s in spaces],
        "NP@5": [float(np.mean(s["preservation"])) for s in spaces],
        "gap": [s["gap"] for s in spaces],
    }
    model = {
        "name": name,
        "label": label,
        "map": {"scale": 100.0, "bias": 0.0, "rule": rule},
        "map_rule": rule,
        "n_images": IMAGES,
        **pool_json(splits) | {"n_classes": CLASSES},
        "groups": {group: pool_json([s["groups"][group] for s in splits]) for group in GROUPS},
        "classes": [
            {
                "name": f"class {c}",
                "group": GROUPS[min(c // 22, 3)],
                "n_known": IMAGES,
                "n_positive": 5 + c,
                "n_training": 0 if c >= 66 else 300 // (c + 1) + 2,
                "metrics": {
                    key: interval([s["classes"][c]["metrics"][key] for s in splits])
                    for key in METRICS
                },
                "reliability": filled_bins(rng),
            }
            for c in range(CLASSES)
        ],
        "geometry": {"summary": {key: interval(v) for key, v in geometry.items()}},
        "provenance": {"model": name},
        "findings": [
            {"text": f"{label}: made up.", "evidence": {"rule": "signed", "metric": "signed_error"}}
        ],
        "splits": splits,
    }
    return model | {"associations": associations(model)}


def pool_json(splits: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over splits; the bins of the first."""
    return {
        "n_classes": 20,
        "n_known": 20 * IMAGES,
        "n_positive": 100,
        "effective_bins": BINS,
        "metrics": {m: interval([s["metrics"][m] for s in splits]) for m in METRICS},
        "reliability": splits[0]["reliability"],
    }


def interval(values: list[float]) -> dict[str, Any]:
    mean, half = float(np.mean(values)), 2.0 * float(np.std(values, ddof=1))
    return {"value": mean, "low": mean - half, "high": mean + half}


def split_pool_json(rng: np.random.Generator) -> dict[str, Any]:
    tilt = rng.normal(0, 0.15)
    count = (20000 * np.exp(-np.arange(BINS) * rng.uniform(0.4, 0.8))).astype(int)
    confidence = (np.arange(BINS) + rng.uniform(0.3, 0.7, BINS)) / BINS
    frequency = np.clip(confidence + tilt * np.sin(np.pi * confidence), 0, 1)
    half = np.sqrt(confidence * (1 - confidence) / np.maximum(count, 1))
    columns = {
        "confidence": confidence,
        "frequency": frequency,
        "low": np.clip(confidence - 2 * half, 0, 1),
        "high": np.clip(confidence + 2 * half, 0, 1),
    }
    bins = {key: np.where(count, column, None).tolist() for key, column in columns.items()}
    return {
        "metrics": {
            "ece_positive": float(abs(tilt) + rng.uniform(0, 0.03)),
            "ece_decision": float(abs(tilt) + rng.uniform(0, 0.01)),
            "signed_error": float(-tilt),
            "map": float(rng.uniform(0.3, 0.9)),
        },
        "reliability": {
            "positive": {"count": count.tolist(), **bins},
            "decision": upper_half({"count": count.tolist(), **bins}),
            "mass_positive": equal_mass_bins(rng),
        },
    }


def upper_half(bins: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The bins of confidences above 0.5; the others are empty."""
    empty = BINS // 2 + 1
    return {
        key: [0 if key == "count" else None] * empty + column[empty:]
        for key, column in bins.items()
    }


def equal_mass_bins(rng: np.random.Generator) -> dict[str, Any]:
    confidence = np.sort(10.0 ** rng.uniform(-4, -0.1, BINS))
    frequency = np.clip(confidence * rng.uniform(0.5, 1.6, BINS), 0, 1)
    return {
        "count": [1000] * BINS,
        "confidence": confidence.tolist(),
        "frequency": frequency.tolist(),
        "low": (0.8 * confidence).tolist(),
        "high": np.minimum(1.2 * confidence, 1).tolist(),
    }


def filled_bins(rng: np.random.Generator) -> dict[str, Any]:
    bins = sorted(rng.choice(BINS, 6, replace=False).tolist())
    confidence = (np.array(bins) + 0.5) / BINS
    return {
        "bin": bins,
        "count": rng.integers(1, 200, 6).tolist(),
        "confidence": confidence.tolist(),
        "frequency": rng.uniform(0, 1, 6).tolist(),
        "low": (0.5 * confidence).tolist(),
        "high": np.minimum(1.5 * confidence, 1).tolist(),
    }


def class_metrics(rng: np.random.Generator) -> dict[str, float]:
    values = rng.uniform(0.01, 0.2, len(METRICS))
    return dict(zip(METRICS, values.tolist(), strict=True)) | {
        "signed_error": float(rng.normal(0, 0.1))
    }


def without_splits(results: dict[str, Any], groups: bool = True) -> dict[str, Any]:
    """The same as ``analyze predictions`` writes it."""
    for key in ("image_coordinates", "class_image_coordinates", "data"):
        del results[key]
    for model in results["models"]:
        model.update(splits=[], geometry={})
        model["associations"] = {FREQUENCY: model["associations"][FREQUENCY]}
        if not groups:
            model["groups"] = {}
            for entry in model["classes"]:
                entry["group"] = None
    return results


def with_gid(ax: Axes, gid: str) -> Any:
    """The one artist of an axes that carries this name."""
    (found,) = (artist for artist in ax.get_children() if artist.get_gid() == gid)
    return found


def diagonals(ax: Axes) -> int:
    return sum(np.array_equal(line.get_xydata(), [[0, 0], [1, 1]]) for line in ax.lines)


def texts_of(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(mpl.text.Text))


def bars_of(ax: Axes) -> list[tuple[float, float, float]]:
    """(left, bottom, height) of each bar."""
    return [(bar.get_x(), bar.get_y(), bar.get_height()) for bar in ax.patches]


def notes_of(figure: Figure) -> str:
    return " ".join(texts_of(figure).split("\n"))


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of visible texts that cover one another, and texts that leave the page."""
    with style():
        figure.draw_without_rendering()
    hidden = tick_labels_beyond(figure)
    texts = [
        (t.get_text(), t.get_window_extent())
        for t in figure.findobj(mpl.text.Text)
        if t.get_visible() and t.get_text().strip() and t not in hidden
    ]
    page = figure.bbox.padded(1.0)
    outside = [(a, "page") for a, box in texts if not (page.contains(box.x0, box.y0)
               and page.contains(box.x1, box.y1))]  # fmt: skip
    crossing = [
        (a, b)
        for i, (a, box) in enumerate(texts)
        for b, other in texts[i + 1 :]
        if box.padded(-1.0).overlaps(other.padded(-1.0))
    ]
    return outside + crossing


def tick_labels_beyond(figure: Figure) -> list[mpl.text.Text]:
    """Labels of ticks outside the limits of their axis: they exist, but are not drawn."""
    found = []
    for axis in (axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            if not (low <= tick.get_loc() <= high and axis.axes.axison):
                found += [tick.label1, tick.label2]
    return found
