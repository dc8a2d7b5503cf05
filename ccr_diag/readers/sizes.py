"""How many images and classes a file of predictions holds, where its header says it."""

from pathlib import Path

from ccr_diag.npy import Archive, open_npy
from ccr_diag.predictions import KINDS
from ccr_diag.readers import require_readable


def size_of_predictions(path: Path) -> tuple[int, int] | None:
    """Images and classes; None of a table, which would have to be read for it.

    Raises:
        BadPredictions: the file is missing, empty, a pickle, damaged or of an unknown format.
    """
    suffix = require_readable(path)
    if suffix == ".npy":
        shape = open_npy(path).shape
    elif suffix == ".npz":
        archive = Archive(path)
        kinds = [kind for kind in KINDS if kind in archive]
        shape = archive.header(kinds[0]).shape if kinds else ()
    else:
        return None
    return (shape[0], shape[1]) if len(shape) == 2 else None
