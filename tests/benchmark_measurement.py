"""Time and memory of measuring, beside other libraries on the same data, as a Markdown table.

python tests/benchmark_measurement.py [--images 400000] [--classes 80] [--peers]
"""

import argparse
import math
import os
import statistics
import warnings
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits
from timing import Job, extra_memory, timed

from ccr_diag.metrics import measure
from ccr_diag.metrics.accumulate import Accumulator
from ccr_diag.metrics.calibration import ece
from ccr_diag.metrics.cells import CELLS, as_bins, cell_slots
from ccr_diag.metrics.equal_mass import equal_mass_bins
from ccr_diag.metrics.intervals import image_weights
from ccr_diag.metrics.smooth import smece
from ccr_diag.metrics.tables import SIDES, Tables, checked_blocks, uniform_slots

N_BINS, REPLICATES = 15, 200
GROUPS = ("head", "medium", "tail", "new")
MEASURED_IMAGES = 40_000
PEER_SECONDS = 20.0  # a slower peer gets fewer images, and its ratio is scaled to all
DISTURBED = 1.3  # slowest / fastest sum of one run


def simulate(n_images: int, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Over-confident float32 probabilities of long-tailed classes, a tenth of labels unknown."""
    rng = np.random.default_rng(0)
    prevalence = np.geomspace(0.2, 0.005, n_classes)
    p = np.empty((n_images, n_classes), dtype=np.float32)
    y = np.empty((n_images, n_classes), dtype=np.int8)
    for start in range(0, n_images, 10_000):
        rows = slice(start, min(start + 10_000, n_images))
        shape = p[rows].shape
        z = rng.normal(np.log(prevalence / (1 - prevalence)), 1.5, shape)
        p[rows] = 1 / (1 + np.exp(-1.3 * z - 0.2))
        y[rows] = rng.random(shape) < 1 / (1 + np.exp(-z))
        y[rows][rng.random(shape) < 0.1] = -1
    return p, y


def groups_of(n_classes: int) -> list[str]:
    """Four groups of classes, one after the other."""
    return [GROUPS[c * len(GROUPS) // n_classes] for c in range(n_classes)]


def our_jobs(p: np.ndarray, y: np.ndarray) -> dict[str, tuple[Job, str]]:
    """Name → what to run, and the most it may take."""
    n_classes = p.shape[1]
    columns, group = np.arange(n_classes), np.array(groups_of(n_classes))

    def tables() -> float:
        found = Tables.of(p, y, N_BINS)
        per_class = ece(found.positive), ece(found.decision)
        per_group = [ece(found.positive.pooled(group == g)) for g in GROUPS]
        assert len(per_class[0]) == n_classes
        assert len(per_group) == len(GROUPS)
        return float(ece(found.positive.pooled()))

    def smooth() -> float:
        cells = Accumulator(1, CELLS)
        row = np.zeros(n_classes, dtype=np.int64)
        for _, block, labels in checked_blocks(p, y):
            cells.add(block, labels, cell_slots(block), row)
        return float(smece(as_bins(cells.sums)[0]))

    def replicates() -> float:
        found = Accumulator(n_classes, SIDES * N_BINS, REPLICATES)
        for rows, block, labels in checked_blocks(p, y):
            drawn = image_weights(0, REPLICATES, rows.start, rows.stop)
            found.add(block, labels, uniform_slots(block, N_BINS), columns, None, drawn)
        return float(ece(Tables.from_sums(found.drawn).positive.pooled()).mean())

    return {
        "tables: flat, classes, groups, masks": (tables, "10×, 20 MB"),
        "equal-mass bins": (
            lambda: float(ece(equal_mass_bins(p, y, columns, N_BINS)[0])),
            "20×, 50 MB",
        ),
        "smECE, with its pass": (smooth, "20×"),
        f"{REPLICATES} replicates of the tables": (replicates, "600×"),
    }


def whole_measure(p: np.ndarray, y: np.ndarray) -> dict[str, tuple[Job, str]]:
    """Everything, with intervals, on the first images."""
    p, y = p[:MEASURED_IMAGES], y[:MEASURED_IMAGES]
    groups = groups_of(p.shape[1])
    job = lambda: measure(p, y, groups=groups, n_bootstrap=REPLICATES).value("ece_positive")  # noqa: E731
    return {f"measure, {len(p):,} images, {REPLICATES} replicates": (job, "10 s, 1000 MB")}


def flat(p: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The known entries."""
    known = y >= 0
    return p[known], y[known].astype(np.int64)


def torchmetrics_flat(p: np.ndarray, y: np.ndarray) -> Job:
    import torch
    from torchmetrics.functional.classification import binary_calibration_error

    torch.set_num_threads(1)
    a, b = (torch.from_numpy(part) for part in flat(p, y))
    return lambda: float(binary_calibration_error(a, b, N_BINS, "l1", validate_args=False))


def torchmetrics_classes(p: np.ndarray, y: np.ndarray) -> Job:
    import torch
    from torchmetrics.functional.classification import binary_calibration_error

    torch.set_num_threads(1)
    a, b = torch.from_numpy(p), torch.from_numpy(y.astype(np.int64))

    def job() -> float:
        each = [
            binary_calibration_error(
                a[:, c], b[:, c], N_BINS, "l1", ignore_index=-1, validate_args=False
            )
            for c in range(p.shape[1])
        ]
        return float(np.mean(each))

    return job


def netcal_flat(p: np.ndarray, y: np.ndarray) -> Job:
    from netcal.metrics import ECE

    a, b = flat(p, y)
    return lambda: float(ECE(N_BINS).measure(a, b))


def sklearn_quantiles(p: np.ndarray, y: np.ndarray) -> Job:
    from sklearn.calibration import calibration_curve

    a, b = flat(p, y)

    def job() -> float:
        rate, confidence = calibration_curve(b, a, n_bins=N_BINS, strategy="quantile")
        return float(np.abs(rate - confidence).mean())

    return job


def relplot_smooth(p: np.ndarray, y: np.ndarray) -> Job:
    import relplot

    a, b = flat(p, y)
    return lambda: float(relplot.smECE(a, b))


def probcal_mass(p: np.ndarray, y: np.ndarray) -> Job:
    from probcal.metrics import ece as probcal_ece

    a, b = flat(p, y)
    return lambda: float(probcal_ece(b, a, n_bins=N_BINS))


PEERS: dict[str, Callable[[np.ndarray, np.ndarray], Job]] = {
    "torchmetrics, flat (positive)": torchmetrics_flat,
    "torchmetrics, mean of classes": torchmetrics_classes,
    "netcal ECE, flat": netcal_flat,
    "sklearn calibration_curve, quantiles": sklearn_quantiles,
    "relplot smECE": relplot_smooth,
    "probcal ECE, equal mass": probcal_mass,
}


def within_budget(
    peer: Callable[[np.ndarray, np.ndarray], Job], p: np.ndarray, y: np.ndarray
) -> tuple[Job, int]:
    """The peer's job on the first images, as many as it should manage, and how many these are."""
    few = -(-len(p) // 100)
    job = peer(p[:few], y[:few])
    job()  # what it loads or compiles is not counted
    expected = timed(job)[0] * len(p) / few
    images = min(len(p), int(len(p) * PEER_SECONDS / expected))
    return peer(p[:images], y[:images]), images


def exact_ece(p: np.ndarray, y: np.ndarray) -> tuple[float, int]:
    """Σ_k |Σ_k p − Σ_k y| / n with sums rounded once, and the entries of the fullest bin."""
    edges = (np.arange(1, N_BINS) / N_BINS).astype(p.dtype)
    index = np.searchsorted(edges, p, side="right")
    gaps = [abs(math.fsum(p[index == k]) - int(y[index == k].sum())) for k in range(N_BINS)]
    return math.fsum(gaps) / len(p), int(np.bincount(index).max())


def compare_large_bins(p: np.ndarray, y: np.ndarray) -> None:
    """Print exact, our and torchmetrics' ECE: a float32 count stops at 2^24 = 16,777,216."""
    n = 2**24 + 2**23
    quarter = np.full((n, 1), 0.25, dtype=np.float32), (np.arange(n) % 4 == 0)[:, None]
    cases = {"simulated": (p, y), "p = 0.25, every fourth positive": quarter}
    print("\n| entries | known | in the fullest bin | exact ECE | ours | torchmetrics |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, (probs, labels) in cases.items():
        exact, fullest = exact_ece(*flat(probs, labels))
        ours = float(ece(Tables.of(probs, labels.astype(np.int8), N_BINS).positive.pooled()))
        values = [exact, ours, torchmetrics_flat(probs, labels)()]
        cells = [name, f"{(labels >= 0).sum():,}", f"{fullest:,}", *(f"{v:.9f}" for v in values)]
        print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=400_000)
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peers", action="store_true", help="other libraries as well, once each")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    threadpool_limits(1)
    p, y = simulate(options.images, options.classes)
    few = slice(0, 512)
    for job, _ in (our_jobs(p[few], y[few]) | whole_measure(p[few], y[few])).values():
        job()  # compile
    ours = our_jobs(p, y)
    p.sum()
    sums: list[float] = []

    def line(name: str, job: Job, limit: str, images: int, repeats: int = 1) -> None:
        extra = extra_memory(job)
        ratios, seconds = [], []
        for _ in range(repeats):
            pair = sorted(timed(p.sum)[0] for _ in range(3))
            spent, value = timed(job)
            sums.extend(pair)
            seconds.append(spent)
            ratios.append(spent / pair[1] * len(p) / images)
        ratio, second = statistics.median(ratios), statistics.median(seconds)
        numbers = (f"{images:,}", f"{second:.3f}", f"{ratio:.1f}×", f"{extra:.0f}")
        print(f"| {' | '.join((name, *numbers, limit, f'{value:.6f}'))} |", flush=True)

    print(f"{options.images:,} × {options.classes} float32, {os.cpu_count()} cores")
    print("The ratio is scaled to all images where a job saw fewer.\n")
    print("| job | images | seconds | ÷ p.sum() | extra MB | limit | value |")
    print("|---|--:|--:|--:|--:|---|--:|")
    for name, (job, limit) in ours.items():
        line(name, job, limit, len(p), options.repeats)
    for name, (job, limit) in whole_measure(p, y).items():
        line(name, job, limit, min(len(p), MEASURED_IMAGES))
    for name, peer in PEERS.items() if options.peers else ():
        try:
            job, images = within_budget(peer, p, y)
        except ImportError:
            print(f"| {name} | not installed |" + " |" * 5)
            continue
        line(name, job, "", images)
        del job
    if options.peers:
        compare_large_bins(p, y)
    best, worst = min(sums), statistics.quantiles(sums, n=10)[-1]
    print(f"\np.sum(): {best * 1e3:.1f} ms at best, {worst * 1e3:.1f} ms in the slowest tenth.")
    if worst > DISTURBED * best:
        print("Other processes disturbed these timings; repeat on an idle machine.")


if __name__ == "__main__":
    main()
