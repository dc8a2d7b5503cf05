"""Which examples a run is tuned on: those that its settings list in a file, or those they draw."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from ccr_diag.arrays import Labels
from ccr_diag.config import FinetuneConfig
from ccr_diag.data.fewshot import drawn_rows, require_base_class
from ccr_diag.data.shared_lists import listed_rows


def example_rows(
    config: FinetuneConfig, of: str, ids: Sequence[str], labels: Labels
) -> Int[np.ndarray, " rows"]:
    """Rows to tune on.

    Args:
        config: ``examples`` lists them, or ``shots`` of each class are drawn by ``seed``.
        of: what they are examples of, as an error names it.
        ids: one name an example.
        labels: (examples, classes), base classes only.

    Returns:
        Row numbers in increasing order: the order of a file decides nothing.

    Raises:
        BadConfig: a file that cannot be read.
        BadData: it lists what is no example or one twice, or no example shows a base class.
    """
    if not config.examples:
        return drawn_rows(labels, config.shots, config.seed)
    rows = np.sort(listed_rows(Path(config.examples), of, ids))
    require_base_class(labels[rows])
    return rows
