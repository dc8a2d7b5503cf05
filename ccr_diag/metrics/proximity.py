"""How near an image lies to others: the axis along which PIECE cuts its bins.

Features are brought to unit length. All pairs are looked at, in blocks; nothing is approximated.
"""

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64

from ccr_diag.errors import BadConfig, BadData, nearest

BLOCK_PAIRS = 2**22  # similarities held at a time

SquaredDistances = Float64[np.ndarray, "images k"]

VARIANTS: dict[str, Callable[[SquaredDistances], Float64[np.ndarray, " images"]]] = {
    "original": lambda d2: np.exp(-d2).mean(axis=1),
    "clip_calibration": lambda d2: np.exp(-np.sqrt(d2).mean(axis=1)),
}


def proximity(
    features: Float[np.ndarray, "images dim"],
    reference: Float[np.ndarray, "others other_dim"] | None = None,
    k: int = 10,
    variant: Literal["original", "clip_calibration"] = "original",
) -> Float64[np.ndarray, " images"]:
    """Nearness to the k nearest reference images, 1 when they coincide.

    With d_j = ‖x/‖x‖ − r_j/‖r_j‖‖₂ the distances to the k nearest, ``original`` is
    Σ_j exp(−d_j²) / k (its authors take k = 10), ``clip_calibration`` is exp(−Σ_j d_j / k) (k = 5).

    Neighbours are found in float32; their distances are computed in float64.

    Args:
        features: image features.
        reference: features among which neighbours are sought; the other images by default.
        k: neighbours; all reference images where there are fewer.
        variant: a key of ``VARIANTS``.

    Raises:
        BadConfig: k below 1, an unknown variant.
        BadData: no neighbour to find, unequal widths, or a row of zero length or not finite.

    Source: Xiong et al. 2023, and the code of the CLIP calibration benchmark of Wang et al. 2024.
    """
    if k < 1:
        raise BadConfig(f"The number of neighbours must be at least 1, but got {k}.")
    if variant not in VARIANTS:
        raise BadConfig(f"{variant!r} is not a variant of proximity{nearest(variant, VARIANTS)}")
    images = _unit(features)
    others = images if reference is None else _unit(reference)
    if images.shape[1] != others.shape[1]:
        raise BadData(
            "Features and reference must have one width, "
            f"but got {images.shape[1]} and {others.shape[1]}."
        )
    alone = reference is None
    available = len(others) - alone
    if available < 1 and len(images):
        raise BadData("Proximity needs at least 1 other image to compare with, but got none.")
    blocks = _nearest_squared(images, others, min(k, available), alone)
    found = [VARIANTS[variant](squared) for squared in blocks]
    return np.concatenate([np.empty(0), *found])


def proximity_bins(
    proximity: Float[np.ndarray, " images"], n_bins: int
) -> Int64[np.ndarray, " images"]:
    """Bins of as equal numbers of images as ties allow, 0 the least near.

    Cut like the ``ranks`` of equal-mass bins: equal values share the bin of the first of them.

    Args:
        proximity: one value per image.
        n_bins: bins; some stay empty where values tie or images are few.

    Raises:
        BadConfig: fewer than 1 bin.
        BadData: a value that is not finite.

    Source: Xiong et al. 2023, whose quantiles do not keep ties together.
    """
    if n_bins < 1:
        raise BadConfig(f"There must be at least 1 bin, but got {n_bins}.")
    bad = np.flatnonzero(~np.isfinite(proximity))
    if bad.size:
        raise BadData(f"A proximity must be finite, but that of image {bad[0]} is not.")
    parts = np.array_split(np.sort(proximity), n_bins)
    last = np.array([part[-1] for part in parts[:-1] if part.size], dtype=proximity.dtype)
    return np.searchsorted(last, proximity, side="left").astype(np.int64)


def _nearest_squared(
    images: Float32[np.ndarray, "images dim"],
    others: Float32[np.ndarray, "others dim"],
    k: int,
    alone: bool,
) -> Iterator[SquaredDistances]:
    """Squared distances to the k nearest others, block by block; alone: an image is not its own."""
    step = max(1, BLOCK_PAIRS // max(1, len(others), k * images.shape[1]))
    for start in range(0, len(images), step):
        block = images[start : start + step]
        cosine = block @ others.T
        if alone:
            rows = np.arange(len(block))
            cosine[rows, start + rows] = -np.inf
        near = np.argpartition(cosine, -k, axis=1)[:, -k:]
        apart = block[:, None].astype(np.float64) - others[near]
        yield np.asarray((apart**2).sum(axis=2))


def _unit(rows: Float[np.ndarray, "rows dim"]) -> Float32[np.ndarray, "rows dim"]:
    if rows.ndim != 2:
        raise BadData(f"Features must be an (images, dim) array, but got shape {rows.shape}.")
    length = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    bad = np.flatnonzero(~((length > 0) & np.isfinite(length)))
    if bad.size:
        raise BadData(f"A feature must be finite and not zero, but row {bad[0]} is not.")
    return np.asarray(rows / length, dtype=np.float32)
