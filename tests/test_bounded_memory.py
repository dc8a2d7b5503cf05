"""Predictions larger than the memory allowed are measured, in memory that does not grow with them.

A fresh process first measures a small file, so that every library and loop is loaded, and is then
allowed a fixed amount of memory more. The limit holds for what the process allocates; pages of a
mapped file are not counted, since the system may drop them at any time.
"""

import json
import subprocess
import sys

import numpy as np
import pytest
from numpy.lib.format import open_memmap

from ccr_diag.metrics import measure
from ccr_diag.metrics.tables import Tables

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA is Linux's")

ALLOWED = 168 * 2**20  # of 190 and more that the whole array takes
IMAGES, CLASSES = 1000, 100
COPIES = {"probs": 500, "logits": 250}  # logits of half the size: their probabilities are float64
CORRECTED = ("ece_expected_positive", "ece_expected_decision", "l2_debiased_positive")

CHILD = """
import json, resource, sys
from pathlib import Path
from ccr_diag.metrics.engine import measure_predictions
from ccr_diag.metrics.tables import Tables
from ccr_diag.readers import read_predictions

kind, small, large, allowed = sys.argv[1:]

def read(folder, mmap=True):
    if kind == "probs":
        return read_predictions(Path(folder, "both.npz"), mmap=mmap)
    labels = Path(folder, "labels.npy")
    return read_predictions(Path(folder, "values.npy"), kind=kind, labels=labels, mmap=mmap)

def numbers(predictions):
    tables = Tables.of(predictions.probability_source, predictions.labels)
    found = measure_predictions(predictions, n_bootstrap=0)
    return {"sums": tables.sums.tolist(), "values": found.values["all"]}

def limit(more):
    status = Path("/proc/self/status").read_text().splitlines()
    used = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (used + more, used + more))

def whole():
    try:
        return read(large, mmap=False).probabilities.nbytes
    except MemoryError:
        return "MemoryError"

numbers(read(small))
limit(int(allowed))
print(json.dumps({"whole": whole(), "blocks": numbers(read(large))}))
"""


def logits_and_labels():
    rng = np.random.default_rng(0)
    z = rng.normal(-2, 2, (IMAGES, CLASSES)).astype(np.float32)
    y = (rng.random(z.shape) < 1 / (1 + np.exp(-0.7 * z))).astype(np.int8)
    y[rng.random(z.shape) < 0.7] = -1
    return z, y


def probabilities(z):
    return 1 / (1 + np.exp(-z))


def write_pair(folder, arrays, copies):
    """The arrays in files, their rows repeated; never more than one copy in memory."""
    folder.mkdir()
    for name, array in arrays.items():
        shape = (copies * IMAGES, CLASSES)
        stored = open_memmap(folder / f"{name}.npy", "w+", array.dtype, shape)
        stored.reshape(copies, IMAGES, CLASSES)[:] = array


def write_archive(folder, arrays, copies):
    folder.mkdir()
    views = {
        name: np.broadcast_to(array, (copies, *array.shape)).reshape(-1, CLASSES)
        for name, array in arrays.items()
    }
    np.savez(folder / "both.npz", **views)


@pytest.fixture(scope="module", params=["probs", "logits"])
def measured(request, tmp_path_factory):
    """Kind, and what a process of little memory found."""
    kind, folder = request.param, tmp_path_factory.mktemp(request.param)
    z, y = logits_and_labels()
    small, large = folder / "small", folder / "large"
    for place, copies in ((small, 1), (large, COPIES[kind])):
        if kind == "probs":
            write_archive(place, {"probs": probabilities(z), "labels": y}, copies)
        else:
            write_pair(place, {"values": z, "labels": y}, copies)
    command = [sys.executable, "-c", CHILD, kind, small, large, str(ALLOWED)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for file in large.iterdir():
        file.unlink()
    assert done.returncode == 0, done.stderr[-2000:]
    return kind, json.loads(done.stdout)


def expected(kind):
    z, y = logits_and_labels()
    return probabilities(z if kind == "probs" else z.astype(np.float64)), y


def test_the_limit_keeps_the_whole_array_out(measured):
    _, found = measured
    assert found["whole"] == "MemoryError"


def test_tables_are_those_of_one_copy_times_the_copies(measured):
    kind, found = measured
    one = Tables.of(*expected(kind)).sums
    np.testing.assert_allclose(found["blocks"]["sums"], COPIES[kind] * one, rtol=1e-9, atol=1e-9)


def test_every_metric_is_that_of_one_copy(measured):
    """But those that correct for the number of entries."""
    kind, found = measured
    one = measure(*expected(kind), n_bootstrap=0).values["all"]
    values = found["blocks"]["values"]
    assert values.keys() == one.keys()
    same = [metric for metric in one if metric not in CORRECTED]
    assert [values[m] for m in same] == pytest.approx([one[m] for m in same], rel=1e-9, abs=1e-9)
