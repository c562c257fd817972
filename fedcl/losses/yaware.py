"""y-aware InfoNCE: participants of similar age attract each other.

Dufumier et al., "Contrastive learning with continuous proxy meta-data for 3D MRI classification",
MICCAI 2021, https://arxiv.org/abs/2106.08808; the authors' code
https://github.com/Duplums/yAwareContrastiveLearning
"""

import torch

from fedcl.kernels.label_kernels import LabelKernel
from fedcl.losses.log_sums import log_sum
from fedcl.losses.module import Reduction, TwoViewLoss
from fedcl.losses.pairs import Pairs
from fedcl.losses.terms import AnchorLoss
from fedcl.shapes import PairWeights


def y_aware(pairs: Pairs) -> AnchorLoss:
    """Return -sum_k (w_ik / sum_t w_it) log(e^{s_ik} / sum_{t != i} e^{s_it}).

    An anchor without any positive is not counted.
    """
    return cross_entropy(pairs, pairs.weights(pairs.positiveness))


def cross_entropy(pairs: Pairs, weights: PairWeights) -> AnchorLoss:
    """Return -sum_k (q_ik / sum_t q_it) log(e^{s_ik} / sum_{t != i} e^{s_it}).

    Args:
        pairs: Anchors against candidates.
        weights: q >= 0, 0 where a candidate is not allowed; a row of zeros is not counted.
    """
    log_partition = log_sum(pairs.candidates(pairs.repulsion()), pairs.allowed)
    total = weights.sum(dim=1)
    counted = total > 0
    attraction = (weights * pairs.similarity).sum(dim=1) / torch.where(counted, total, 1.0)
    return AnchorLoss(torch.where(counted, log_partition - attraction, 0.0), counted)


def y_aware_authors_variant(pairs: Pairs) -> AnchorLoss:
    """Return the value of the authors' code: weights w_ik / sum_t w_tk, and twice the loss.

    Their division broadcasts over columns, so that a row's weights need not sum to 1.
    """
    weights = pairs.weights(pairs.positiveness)
    total = weights.sum(dim=0)
    weights = weights / torch.where(total > 0, total, 1.0)
    log_partition = log_sum(pairs.candidates(pairs.similarity), pairs.allowed)
    in_row = weights.sum(dim=1)
    counted = in_row > 0
    log_partition = torch.where(counted, log_partition, 0.0)
    value = 2 * (in_row * log_partition - (weights * pairs.similarity).sum(dim=1))
    return AnchorLoss(value, counted)


class YAware(TwoViewLoss):
    """InfoNCE in which everybody attracts by their degree of positiveness.

    Args:
        kernel: Says how much two participants attract each other, from their labels.
        temperature: Divides the cosine similarity, > 0.
        reduction: "mean" over the anchors that count, "sum" over them, or "none": a value for each.
        authors_variant: Whether to compute what the authors' public code does instead.

    Example:
        >>> import torch
        >>> from fedcl.kernels import Gaussian
        >>> from fedcl.losses import YAware
        >>> first = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
        >>> second = torch.tensor([[0.9, 0.1], [0.6, 0.8], [0.1, 0.9]])
        >>> ages = torch.tensor([20.0, 25.0, 60.0])
        >>> loss = YAware(Gaussian(bandwidth=5.0))
        >>> loss(first, second, ages)
        tensor(1.1897)
    """

    loss = "y_aware"

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
