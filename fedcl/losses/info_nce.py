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
            denominator (the decoupled loss), and a positive that has nobody else there is skipped.
    """
    own = pairs.weights(pairs.own_views())
    exponent = pairs.candidates(pairs.similarity)
    log_rest = log_sum_without_each(exponent, pairs.log_multiplicity)
    margin_of_own = pairs.similarity - epsilon
    log_denominator = log_rest if math.isinf(epsilon) else torch.logaddexp(margin_of_own, log_rest)
    defined = (own > 0) & log_denominator.isfinite()
    log_ratio = torch.where(defined, pairs.similarity - log_denominator, 0.0)
    views = own.sum(dim=1).clamp(min=1)
    return AnchorLoss(-(own * log_ratio).sum(dim=1) / views, defined.any(dim=1))
