"""Every image of a data set opened once: which cannot be, and which hold the same."""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ccr_diag.data.dataset import MultiLabelDataset
from ccr_diag.errors import BadData
from ccr_diag.progress import UnitProgress, silent

WORKERS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True)
class Content:
    """What the images of a split hold.

    Args:
        digests: content key → numbers of the images that have it.
        unreadable: number of an image → why it cannot be opened.
    """

    digests: Mapping[str, Sequence[int]]
    unreadable: Mapping[int, str]


def content_of(data: MultiLabelDataset, progress: UnitProgress = silent) -> Content:
    """Open every image, several at a time.

    Args:
        data: the images.
        progress: told the images done and the images in all.
    """

    def opened(i: int) -> tuple[str, str]:
        """The content key, or else why there is none."""
        try:
            data.open_image(i).close()
            return data.digest(i), ""
        except BadData as error:
            return "", str(error)

    digests: dict[str, list[int]] = defaultdict(list)
    unreadable = {}
    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            for i, (digest, reason) in enumerate(pool.map(opened, range(len(data)))):
                if reason:
                    unreadable[i] = reason
                else:
                    digests[digest].append(i)
                progress(i + 1, len(data))
        except BaseException:  # Ctrl-C too: what is not begun is not waited for
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return Content(digests, unreadable)
