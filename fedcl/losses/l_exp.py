"""L_exp: similar ages attract, and dissimilar ages repel in proportion to their distance.

Barbano et al., "Contrastive learning for regression in multi-site brain age prediction", ISBI
2023, https://arxiv.org/abs/2211.08326; the authors' code
https://github.com/EIDOSLAB/contrastive-brain-age-prediction
"""

import torch

from fedcl.kernels.label_kernels import LabelKernel
from fedcl.losses.log_sums import log_sum, log_sum_without_each
from fedcl.losses.module import Reduction, TwoViewLoss
from fedcl.losses.pairs import Pairs
from fedcl.losses.terms import BASE_TEMPERATURE, AnchorLoss


def l_exp(pairs: Pairs) -> AnchorLoss:
    """Return -(1/sum_t w_it) sum_k w_ik log(e^{s_ik} / sum_{t != k} e^{s_it (1 - w_it)}).

    t runs over the allowed candidates. A pair (i, k) whose sum is empty (k is the only candidate)
    is skipped; an anchor without positives, or with skipped ones only, is not counted.
    """
    weights = pairs.weights(pairs.positiveness)
    repulsion = log_sum_without_each(
        pairs.repulsion(damped=True),
        pairs.allowed,
        pairs.positiveness,
        damped=True,
        log_multiplicity=pairs.log_multiplicity,
    )
    total = weights.sum(dim=1)
    # Only an anchor's single candidate can have an empty sum: then the whole row has no value.
    counted = (total > 0) & (repulsion > -torch.inf)
    attraction = (weights * pairs.similarity).sum(dim=1)
    value = (repulsion - attraction) / torch.where(counted, total, 1.0)
    return AnchorLoss(torch.where(counted, value, 0.0), counted)


def l_exp_authors_variant(pairs: Pairs, *, temperature: float) -> AnchorLoss:
    """Return the value of the authors' code.

    The row's largest similarity m, self included, is subtracted before the factor (1 - w), so that
    the denominator is sum_{t != i} e^{s (1 - w) + m w}; it keeps t = k; the whole is multiplied by
    temperature / 0.07. An anchor without positives is NaN there and not counted here.
    """
    largest = pairs.similarity.detach().amax(dim=1, keepdim=True)
    exponent = (pairs.similarity - largest) * (1 - pairs.positiveness) + largest
    log_repulsion = log_sum(pairs.candidates(exponent), pairs.allowed)
    weights = pairs.weights(pairs.positiveness)
    total = weights.sum(dim=1)
    counted = total > 0
    attraction = (weights * pairs.similarity).sum(dim=1) / torch.where(counted, total, 1.0)
    value = (temperature / BASE_TEMPERATURE) * (log_repulsion - attraction)
    return AnchorLoss(torch.where(counted, value, 0.0), counted)


class LExp(TwoViewLoss):
    """Similar ages attract, and dissimilar ages repel in proportion to their distance.

    Args:
        kernel: Says how much two participants attract each other, from their labels.
        temperature: Divides the cosine similarity, > 0.
        reduction: "mean" over the anchors that count, "sum" over them, or "none": a value for each.
        authors_variant: Whether to compute what the authors' public code does instead.

    Example:
        >>> import torch
        >>> from fedcl.kernels import Gaussian
        >>> from fedcl.losses import LExp
        >>> first = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
        >>> second = torch.tensor([[0.9, 0.1], [0.6, 0.8], [0.1, 0.9]])
        >>> ages = torch.tensor([20.0, 25.0, 60.0])
        >>> loss = LExp(Gaussian(bandwidth=5.0))
        >>> loss(first, second, ages)
        tensor(-2.2380)
    """

    loss = "l_exp"

    def __init__(
        self,
        kernel: LabelKernel,
        *,
        temperature: float = 0.1,
        reduction: Reduction = "mean",
        authors_variant: bool = False,
    ) -> None:
        super().__init__(
            kernel, temperature=temperature, reduction=reduction, authors_variant=authors_variant
        )
