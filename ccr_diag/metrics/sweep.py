"""ECE with as many equal-mass bins as the data bear."""

import numpy as np
from jaxtyping import Float64, Num

from ccr_diag.metrics.bins import ReliabilityBins
from ccr_diag.metrics.compiled import compiled

MOST_BINS = 200


def ece_sweep(cells: ReliabilityBins) -> Float64[np.ndarray, "*batch"]:
    """ECE of B* equal-mass bins, B* the last of 1, 2, 3, … before the frequencies first fall.

    Cut j of B lies before entry j·n/B (the first n mod B bins hold one entry more); a cell that
    holds a cut goes to the upper bin, so that equal confidences share a bin. Cells are fine
    reliability bins in order of confidence. At most 200 bins are tried.

    Source: Roelofs et al. 2022, algorithm 1.
    """
    batch, width = cells.count.shape[:-1], cells.count.shape[-1]
    sums = (cells.count, cells.sum_confidence, cells.sum_outcome)
    entries, confidences, outcomes = (_before(part.reshape(-1, width)) for part in sums)
    error = np.empty(cells.count.size // width)
    _sweep(entries, confidences, outcomes, error)
    return error.reshape(batch)


def _before(sums: Num[np.ndarray, "batch cells"]) -> Float64[np.ndarray, "batch cells_and_end"]:
    """Sums over the first 0, 1, 2, … cells."""
    before = np.zeros((len(sums), sums.shape[1] + 1))
    np.cumsum(sums, axis=1, out=before[:, 1:])
    return before


@compiled
def _sweep(
    entries: Float64[np.ndarray, "batch cells_and_end"],
    confidences: Float64[np.ndarray, "batch cells_and_end"],
    outcomes: Float64[np.ndarray, "batch cells_and_end"],
    error: Float64[np.ndarray, " batch"],
) -> None:
    for row in range(len(entries)):
        n = int(entries[row, -1])
        error[row] = abs(confidences[row, -1] - outcomes[row, -1]) / n
        for n_bins in range(2, min(n, MOST_BINS) + 1):
            start, last_frequency, missed = np.intp(0), -1.0, 0.0
            for j in range(1, n_bins + 1):
                rank = j * (n // n_bins) + min(j, n % n_bins)
                end = np.searchsorted(entries[row, 1:], rank, side="right")
                count = entries[row, end] - entries[row, start]
                if count == 0:
                    continue
                outcome = outcomes[row, end] - outcomes[row, start]
                if outcome / count < last_frequency:
                    missed = np.inf
                    break
                last_frequency = outcome / count
                missed += abs(confidences[row, end] - confidences[row, start] - outcome)
                start = end
            if missed == np.inf:
                break
            error[row] = missed / n
