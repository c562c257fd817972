"""InfoNCE (SimCLR) and its margin: a participant attracts its own other views and nobody else.

Chen et al., "A simple framework for contrastive learning of visual representations", ICML 2020,
https://arxiv.org/abs/2002.05709; the margin epsilon: Barbano et al., "Unbiased supervised
contrastive learning", ICLR 2023, https://arxiv.org/abs/2211.05568
"""

import math

import torch

from fedcl.losses.log_sums import log_sum_without_each
from fedcl.losses.module import Reduction, TwoViewLoss
from fedcl.losses.pairs import Pairs
from fedcl.losses.terms import AnchorLoss
from fedcl.losses.yaware import cross_entropy


def info_nce(pairs: Pairs) -> AnchorLoss:
    """Return -log(e^{s_i+} / sum_{t != i} e^{s_it}), the mean over a participant's other views.

    An anchor with a single view is not counted. The positiveness is not used.
    """
    return cross_entropy(pairs, pairs.weights(pairs.own_views()))


def eps_info_nce(pairs: Pairs, *, epsilon: float) -> AnchorLoss:
    """Return -log(e^{s_i+} / (e^{s_i+ - epsilon} + sum_{t != i, +} e^{s_it})), as `info_nce`.

    Args:
        pairs: Anchors against candidates.
        epsilon: Margin, >= 0: 0 is InfoNCE; math.inf leaves the positive out of its own
            denominator (the decoupled loss), and an anchor that meets nobody else is not counted.
    """
    own = pairs.weights(pairs.own_views())
    log_denominators = log_sum_without_each(
        pairs.repulsion(),
        pairs.allowed,
        pairs.own_views().to(own.dtype),
        lost=-math.expm1(-epsilon),  # what the margin takes from the positive's own exponential
        log_multiplicity=pairs.log_multiplicity,
    )
    views = own.sum(dim=1)
    counted = (views > 0) & (log_denominators > -torch.inf)
    attraction = (own * pairs.similarity).sum(dim=1)
    value = (log_denominators - attraction) / torch.where(counted, views, 1.0)
    return AnchorLoss(torch.where(counted, value, 0.0), counted)


class InfoNCE(TwoViewLoss):
    """A participant's two views attract each other, and everybody else repels; no labels.

    Args:
        temperature: Divides the cosine similarity, > 0.
        reduction: "mean" over the anchors that count, "sum" over them, or "none": a value for each.

    Example:
        >>> import torch
        >>> from fedcl.losses import InfoNCE
        >>> first = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
        >>> second = torch.tensor([[0.9, 0.1], [0.6, 0.8], [0.1, 0.9]])
        >>> loss = InfoNCE()
        >>> loss(first, second)
        tensor(0.3111)
    """

    loss = "info_nce"

    def __init__(self, *, temperature: float = 0.1, reduction: Reduction = "mean") -> None:
        super().__init__(None, temperature=temperature, reduction=reduction)


class EpsInfoNCE(TwoViewLoss):
    """InfoNCE with a margin; no labels.

    Args:
        epsilon: Margin, >= 0, in units of the similarity divided by the temperature; math.inf
            decouples.
        temperature: Divides the cosine similarity, > 0.
        reduction: "mean" over the anchors that count, "sum" over them, or "none": a value for each.

    Example:
        >>> import torch
        >>> from fedcl.losses import EpsInfoNCE
        >>> first = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
        >>> second = torch.tensor([[0.9, 0.1], [0.6, 0.8], [0.1, 0.9]])
        >>> loss = EpsInfoNCE(epsilon=0.25)
        >>> loss(first, second)
        tensor(0.1317)
    """

    loss = "eps_info_nce"

    def __init__(
        self, *, epsilon: float, temperature: float = 0.1, reduction: Reduction = "mean"
    ) -> None:
        super().__init__(None, epsilon=epsilon, temperature=temperature, reduction=reduction)
