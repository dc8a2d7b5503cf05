"""How classes are absent together: logits and labels of a batch in, a class × class matrix out.

CCR pulls the correlation of the predicted absences towards the similarity of the zero-shot class
texts. The paper's exact estimator is not public; its description allows the four in ``ESTIMATORS``.
With ``p = σ(z)``, ``q = 1 − p = σ(−z)``, B images b and classes i, j, each is
``C_ij = (1/B) Σ_b r_bi r_bj``:

==================  =======================  ====================================================
name                residual r_bc            reads the description as
==================  =======================  ====================================================
uncentred           q_bc                     joint confidence of absence; every image counts
uncentred_inactive  1[y_bc=0]·q_bc           the same, over images whose labels say absent
centred_inactive    1[y_bc=0]·(q_bc − μ_c)   covariance over those images; μ_c: their class mean
centred             q_bc − mean_b q_bc       plain covariance; p in place of q gives the same
==================  =======================  ====================================================

All four are Gram matrices, hence positive semi-definite, with rank at most B: never invert one. An
unknown label is no evidence of absence. The inactive estimators leave such an entry out, as they do
a positive one; the other two put it at its class's mean over the known entries, so that it adds no
variation and does not pull uncentred correlations to zero. In none does its logit play a part.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ccr_diag.arrays import ABSENT, UNKNOWN
from ccr_diag.errors import BadConfig, nearest

Covariance = Callable[[Tensor, Tensor], Tensor]


def _absence(logits: Float[Tensor, "images classes"]) -> Float[Tensor, "images classes"]:
    """Confidence of absence, q = σ(−z), in float32 or better; 1 − σ(z) is 0 from z = 17 on."""
    return torch.sigmoid(-logits.to(torch.promote_types(logits.dtype, torch.float32)))


def _class_mean(
    q: Float[Tensor, "images classes"], where: Bool[Tensor, "images classes"]
) -> Float[Tensor, " classes"]:
    """Mean of each class over its marked images; 0 for a class that has none."""
    return (q * where).sum(dim=0) / where.sum(dim=0).clamp(min=1)


def _known_absence(
    logits: Float[Tensor, "images classes"], labels: Int[Tensor, "images classes"]
) -> Float[Tensor, "images classes"]:
    """q, with unknown entries put at their class's mean over the known ones."""
    q = _absence(logits)
    known = labels != UNKNOWN
    return torch.where(known, q, _class_mean(q, known))


def _gram(rows: Float[Tensor, "rows columns"]) -> Float[Tensor, "columns columns"]:
    """Rowsᵀ·rows in the rows' own precision: autocast would round the product to half precision."""
    with torch.autocast(rows.device.type, enabled=False):
        return rows.T @ rows


def uncentred(
    logits: Float[Tensor, "images classes"], labels: Int[Tensor, "images classes"]
) -> Float[Tensor, "classes classes"]:
    """Second moment of absence: C_ij = (1/B) Σ_b q_bi q_bj."""
    return _gram(_known_absence(logits, labels)) / len(logits)


def uncentred_inactive(
    logits: Float[Tensor, "images classes"], labels: Int[Tensor, "images classes"]
) -> Float[Tensor, "classes classes"]:
    """Second moment over jointly inactive entries: C_ij = (1/B) Σ_b 1[y_bi = y_bj = 0] q_bi q_bj.

    Dividing by B and not by the number of jointly inactive images keeps C positive semi-definite.
    """
    return _gram(_absence(logits) * (labels == ABSENT)) / len(logits)


def centred_inactive(
    logits: Float[Tensor, "images classes"], labels: Int[Tensor, "images classes"]
) -> Float[Tensor, "classes classes"]:
    """Covariance over jointly inactive entries, with μ_c the mean of q_bc over y_bc = 0.

    C_ij = (1/B) Σ_b 1[y_bi = y_bj = 0] (q_bi − μ_i)(q_bj − μ_j).
    """
    q, inactive = _absence(logits), labels == ABSENT
    return _gram((q - _class_mean(q, inactive)) * inactive) / len(logits)


def centred(
    logits: Float[Tensor, "images classes"], labels: Int[Tensor, "images classes"]
) -> Float[Tensor, "classes classes"]:
    """Plain covariance, the same for p as for q: C_ij = (1/B) Σ_b (q_bi − q̄_i)(q_bj − q̄_j)."""
    q = _known_absence(logits, labels)
    return _gram(q - q.mean(dim=0)) / len(logits)


ESTIMATORS: dict[str, Covariance] = {
    "uncentred": uncentred,
    "uncentred_inactive": uncentred_inactive,
    "centred_inactive": centred_inactive,
    "centred": centred,
}

# A centred estimator scatters around 0, an uncentred one around its large common part. Class text
# cosines share such a common part too, so each kind needs its own target (`text_correlation`).
CENTRED: dict[str, bool] = {
    "uncentred": False,
    "uncentred_inactive": False,
    "centred_inactive": True,
    "centred": True,
}


def check_estimator(estimator: str) -> None:
    """Refuse an unknown estimator name.

    Raises:
        BadConfig: the name is not a key of ``ESTIMATORS``.
    """
    if estimator not in ESTIMATORS:
        raise BadConfig(
            f"The estimator must be a known one, but got {estimator!r}"
            f"{nearest(estimator, ESTIMATORS)}"
        )


def predicted_correlation(
    logits: Float[Tensor, "images classes"],
    labels: Int[Tensor, "images classes"],
    estimator: str,
    eps: float | None = None,
) -> tuple[Float[Tensor, "classes classes"], Bool[Tensor, " classes"]]:
    """Correlation of predicted absence, and which classes have one.

    C̃_ij = C_ij · (C_ii + ε)^−½ · (C_jj + ε)^−½.

    Args:
        logits: (images, classes), z.
        labels: (images, classes), in {1, 0, −1 unknown}.
        estimator: a key of ``ESTIMATORS``.
        eps: ε ≥ 0. By default 1e-6 for centred estimators, whose gradient grows without bound for a
            nearly constant class, and 1e-12 for uncentred ones, whose gradient does not.

    Returns:
        The correlation, with diagonal C_ii / (C_ii + ε), and the mask of live classes. A class with
        C_ii ≤ ε is dead (saturated, constant, or without a usable entry): its row and column are 0.

    Raises:
        BadConfig: unknown estimator.
    """
    check_estimator(estimator)
    if eps is None:
        eps = 1e-6 if CENTRED[estimator] else 1e-12
    moment = ESTIMATORS[estimator](logits, labels)
    variance = moment.diagonal()
    alive = variance > eps
    # The inner `where` keeps the gradient of a dead class at 0, also for ε = 0.
    scale = torch.rsqrt(torch.where(alive, variance, 1.0) + eps) * alive
    return moment * scale[:, None] * scale, alive


def text_correlation(
    text_embeddings: Float[Tensor, "classes dim"], centre: bool
) -> Float[Tensor, "classes classes"]:
    """Cosine between class text embeddings, Σ_ij = cos(t_i, t_j): the target of CCR.

    Args:
        text_embeddings: (classes, dim), zero-shot; any length, they are made unit first.
        centre: subtract the mean unit embedding and make unit again; ``CENTRED`` says which
            estimators need it.
    """
    unit = torch.nn.functional.normalize(
        text_embeddings.to(torch.promote_types(text_embeddings.dtype, torch.float32))
    )
    if centre:
        unit = torch.nn.functional.normalize(unit - unit.mean(dim=0))
    return _gram(unit.T)
