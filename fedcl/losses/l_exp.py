"""L_exp: similar ages attract, and dissimilar ages repel in proportion to their distance.

Barbano et al., "Contrastive learning for regression in multi-site brain age prediction", ISBI
2023, https://arxiv.org/abs/2211.08326; released code
https://github.com/EIDOSLAB/contrastive-brain-age-prediction
"""

import torch

from fedcl.losses.log_sums import log_sum, log_sum_without_each
from fedcl.losses.pairs import Pairs
from fedcl.losses.released import BASE_TEMPERATURE
from fedcl.losses.terms import AnchorLoss


def l_exp(pairs: Pairs) -> AnchorLoss:
    """Return -(1/sum_t w_it) sum_k w_ik log(e^{s_ik} / sum_{t != k} e^{s_it (1 - w_it)}).

    t runs over the allowed candidates. A pair (i, k) whose sum is empty (k is the only candidate)
    is skipped; an anchor without positives, or with skipped ones only, is not counted.
    """
    exponent = pairs.candidates(pairs.similarity * (1 - pairs.positiveness))
    log_repulsion = log_sum_without_each(exponent, pairs.log_multiplicity)
    weights = pairs.share(pairs.positiveness)
    defined = (weights > 0) & (log_repulsion > -torch.inf)
    log_ratio = torch.where(defined, pairs.similarity - log_repulsion, 0.0)
    return AnchorLoss(-(weights * log_ratio).sum(dim=1), defined.any(dim=1))


def l_exp_released(pairs: Pairs, *, temperature: float) -> AnchorLoss:
    """Return the value of the authors' code.

    The row's largest similarity m, self included, is subtracted before the factor (1 - w), so that
    the denominator is sum_{t != i} e^{s (1 - w) + m w}; it keeps t = k; the whole is multiplied by
    temperature / 0.07. An anchor without positives is NaN there and not counted here.
    """
    largest = pairs.similarity.detach().amax(dim=1, keepdim=True)
    exponent = (pairs.similarity - largest) * (1 - pairs.positiveness) + largest
    log_repulsion = log_sum(pairs.candidates(exponent))
    weights = pairs.share(pairs.positiveness)
    counted = (weights > 0).any(dim=1)
    value = log_repulsion - (weights * pairs.similarity).sum(dim=1)
    value = (temperature / BASE_TEMPERATURE) * torch.where(counted, value, 0.0)
    return AnchorLoss(value, counted)
