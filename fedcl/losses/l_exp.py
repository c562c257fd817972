"""L_exp: similar ages attract, and dissimilar ages repel in proportion to their distance.

Barbano et al., "Contrastive learning for regression in multi-site brain age prediction", ISBI
2023, https://arxiv.org/abs/2211.08326
"""

import torch

from fedcl.losses.pairs import Pairs
from fedcl.shapes import PairWeights, PerAnchor


def l_exp(pairs: Pairs) -> PerAnchor:
    """Return -(1/sum_t w_it) sum_k w_ik log(e^{s_ik} / sum_{t != k} e^{s_it (1 - w_it)}).

    One value per anchor; t runs over the allowed candidates. A pair (i, k) whose sum is empty
    (k is the only candidate) is skipped, and an anchor without any positive gives 0.
    """
    exponent = pairs.similarity * (1 - pairs.positiveness) + pairs.log_multiplicity
    exponent = exponent.masked_fill(~pairs.allowed, -torch.inf)
    log_repulsion = logsumexp_without_each(exponent)
    counted = pairs.allowed & log_repulsion.isfinite()
    log_ratio = torch.where(counted, pairs.similarity - log_repulsion, 0.0)
    return -(pairs.weights() * log_ratio).sum(dim=1)


def logsumexp_without_each(exponent: PairWeights) -> PairWeights:
    """Return log sum_{t != k} e^{x_it} for every i and k; -inf where nothing is left.

    Subtracting e^{x_k} from the row's sum cancels only if k dominates the row, and at most the
    row's largest entry can: that one is left out by a second log-sum-exp.
    """
    largest = exponent.detach().argmax(dim=1, keepdim=True)
    is_largest = torch.zeros_like(exponent, dtype=torch.bool).scatter_(1, largest, True)
    without_largest = _logsumexp(exponent.masked_fill(is_largest, -torch.inf))[:, None]
    everything = _logsumexp(exponent)[:, None]
    # At most half of the row's sum is removed here, so log1p is well conditioned.
    share = torch.where(is_largest | everything.isinf(), -torch.inf, exponent - everything)
    remainder = everything + torch.log1p(-share.exp())
    return torch.where(is_largest, without_largest, remainder)


def _logsumexp(exponent: PairWeights) -> PerAnchor:
    """Row-wise; an empty row is -inf with a zero gradient, not NaN."""
    empty = exponent.isinf().all(dim=1)
    value = exponent.masked_fill(empty[:, None], 0.0).logsumexp(dim=1)
    return value.masked_fill(empty, -torch.inf)
