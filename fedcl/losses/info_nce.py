"""InfoNCE (SimCLR) and its margin: a participant attracts its own other views and nobody else.

Chen et al., "A simple framework for contrastive learning of visual representations", ICML 2020,
https://arxiv.org/abs/2002.05709; the margin epsilon: Barbano et al., "Unbiased supervised
contrastive learning", ICLR 2023, https://arxiv.org/abs/2211.05568
"""

import math

import torch

from fedcl.losses.log_sums import log_sum_without_each
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
