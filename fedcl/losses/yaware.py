"""y-aware InfoNCE: participants of similar age attract each other.

Dufumier et al., "Contrastive learning with continuous proxy meta-data for 3D MRI classification",
MICCAI 2021, https://arxiv.org/abs/2106.08808
"""

import torch

from fedcl.losses.pairs import Pairs
from fedcl.shapes import PerAnchor


def y_aware(pairs: Pairs) -> PerAnchor:
    """Return -sum_k (w_ik / sum_t w_it) log(e^{s_ik} / sum_{t != i} e^{s_it}), one per anchor.

    An anchor without any positive gives 0; `pairs.has_positive()` tells which.
    """
    logits = pairs.similarity + pairs.log_multiplicity
    logits = logits.masked_fill(~pairs.allowed, -torch.inf)
    log_partition = logits.logsumexp(dim=1, keepdim=True)
    # -inf on the diagonal times weight 0 would be NaN: the masked entries are cleared first.
    log_ratio = (pairs.similarity - log_partition).masked_fill(~pairs.allowed, 0.0)
    return -(pairs.weights() * log_ratio).sum(dim=1)
