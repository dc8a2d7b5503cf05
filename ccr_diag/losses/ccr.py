"""Class-wise Covariance Regularisation: logits and labels of a batch in, one number out.

    L_cov = ‖C̃ − Σ_text‖_F²,    added to a loss as  L = L_BCE + λ·L_cov

C̃ is the correlation of predicted absence in the batch (``ccr_diag.covariance``), Σ_text the fixed
similarity of the zero-shot class texts. Both diagonals are 1 by definition: only pairs i ≠ j enter.
"""

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor, nn

from ccr_diag.backbone import Backbone
from ccr_diag.config import FinetuneConfig
from ccr_diag.covariance import CENTRED, check_estimator, predicted_correlation, text_correlation
from ccr_diag.errors import BadConfig
from ccr_diag.losses.reduction import check_reduction


class CCRLoss(nn.Module):
    """The regularizer: call it with logits and labels.

    A dead class (see ``predicted_correlation``) is in no pair. A batch without a live pair gives 0;
    so does a single image with a centred estimator, where every class is dead.

    Args:
        target: Σ_text, (classes, classes), in the class order of the logits; see ``from_text``.
        estimator: a key of ``covariance.ESTIMATORS``.
        reduction: "mean" over the pairs i ≠ j of live classes, or "sum", as the paper writes it.
            With all classes alive, λ_mean = C·(C − 1)·λ_sum gives the same objective.

    Raises:
        BadConfig: unknown estimator or reduction, or a target that is not square.
    """

    target: Tensor

    def __init__(
        self,
        target: Float[Tensor, "classes classes2"],
        estimator: str = "centred_inactive",
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        check_estimator(estimator)
        check_reduction(reduction)
        if target.shape[0] != target.shape[1]:
            raise BadConfig(
                f"The CCR target must be a (classes, classes) matrix, but got shape "
                f"{tuple(target.shape)}; make it with text_correlation."
            )
        self.register_buffer("target", target.detach())
        self.estimator, self.reduction = estimator, reduction

    @classmethod
    def from_text(
        cls,
        text_embeddings: Float[Tensor, "classes dim"],
        estimator: str = "centred_inactive",
        reduction: str = "mean",
        centre: bool | None = None,
    ) -> "CCRLoss":
        """CCR towards the cosines of these zero-shot class text embeddings.

        Args:
            text_embeddings: (classes, dim), in the class order of the logits.
            estimator: a key of ``covariance.ESTIMATORS``.
            reduction: "mean" or "sum".
            centre: centre the embeddings first; by default as the estimator needs it.
        """
        check_estimator(estimator)
        if centre is None:
            centre = CENTRED[estimator]
        return cls(text_correlation(text_embeddings, centre), estimator, reduction)

    @classmethod
    def from_config(
        cls,
        config: FinetuneConfig,
        backbone: Backbone,
        framework: nn.Module,
        class_names: Sequence[str],
        zero_shot: Float[Tensor, "classes dim"],
    ) -> "CCRLoss":
        """The regularizer of a run; see ``REGULARIZERS``."""
        centre = None if config.target == "auto" else config.target == "centred"
        return cls.from_text(zero_shot, config.estimator, config.reduction, centre)

    def forward(
        self, logits: Float[Tensor, "images classes"], labels: Int[Tensor, "images classes"]
    ) -> Float[Tensor, ""]:
        """L_cov of this batch."""
        return self.with_dead_count(logits, labels)[0]

    def of_step(
        self,
        logits: Float[Tensor, "images classes"],
        labels: Int[Tensor, "images classes"],
        text: Tensor,
        framework: nn.Module,
    ) -> Float[Tensor, ""]:
        """L_cov in a training step."""
        return self.forward(logits, labels)

    def with_dead_count(
        self, logits: Float[Tensor, "images classes"], labels: Int[Tensor, "images classes"]
    ) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
        """L_cov of this batch, and the number of dead classes that it leaves out."""
        correlation, alive = predicted_correlation(logits, labels, self.estimator)
        pairs = (alive[:, None] & alive).fill_diagonal_(False)
        squared = (correlation - self.target.to(correlation)).square()
        total = (squared * pairs).sum()
        if self.reduction == "mean":
            total = total / pairs.sum().clamp(min=1)
        return total, (~alive).sum()
