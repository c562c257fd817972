"""L_thr: an anchor attracts k and repels only those that are further from it in age than k.

Barbano et al., "Contrastive learning for regression in multi-site brain age prediction", ISBI
2023, https://arxiv.org/abs/2211.08326; the authors' code
https://github.com/EIDOSLAB/contrastive-brain-age-prediction
"""

import torch

from fedcl.kernels.label_kernels import LabelKernel
from fedcl.losses.log_sums import log_sum
from fedcl.losses.module import Reduction, TwoViewLoss
from fedcl.losses.pairs import Pairs
from fedcl.losses.terms import BASE_TEMPERATURE, AnchorLoss


def l_thr(pairs: Pairs) -> AnchorLoss:
    """Return -sum_k (w_ik / sum_t w_it) log(e^{s_ik} / sum_{t: w_it < w_ik} e^{s_it}).

    A pair (i, k) with nobody further away is skipped; an anchor whose pairs are all skipped (all
    ages equal) is not counted. Unlike the paper, whose weight w_k / sum_{t: w_t < w_k} w_t divides
    by nearly nothing for the farthest k, the weights of an anchor are its shares of positiveness.

    Each row is sorted by positiveness, so that every denominator is a prefix of the row: memory is
    O(n^2), where comparing all triplets takes O(n^3).
    """
    # Whoever is not allowed goes last, behind every positiveness: no prefix reaches it.
    key = pairs.positiveness.masked_fill(~pairs.allowed, torch.inf)
    key, order = key.sort(dim=1)
    similarity = pairs.similarity.gather(1, order)
    weights = pairs.weights(pairs.positiveness).gather(1, order)
    total = weights.sum(dim=1)
    exponent = pairs.candidates(pairs.repulsion()).gather(1, order)
    further = torch.searchsorted(key, key)  # how many are strictly further than each
    defined = (weights > 0) & (further > 0)
    log_repulsion = exponent.logcumsumexp(dim=1).gather(1, (further - 1).clamp(min=0))
    log_ratio = torch.where(defined, similarity - log_repulsion, 0.0)
    value = -(weights * log_ratio).sum(dim=1) / torch.where(total > 0, total, 1.0)
    return AnchorLoss(value, defined.any(dim=1))


def l_thr_authors_variant(pairs: Pairs, *, temperature: float) -> AnchorLoss:
    """Return the value of the authors' code.

    It compares on the transposed axis: one denominator per anchor, sum_{j != i} c_ij e^{s_ij} with
    c_ij the number of k for which w_jk < w_ij. Those closest in age are repelled most. Multiplied
    by temperature / 0.07. All ages equal makes log 0 there; here such anchors are not counted.
    """
    if pairs.positiveness.shape[0] != pairs.positiveness.shape[1]:
        raise ValueError("the authors' l_thr takes no cross-site node: it compares candidates")
    # The authors' matrix has everybody's positiveness 1 with themselves.
    positiveness = pairs.positiveness.masked_fill(~pairs.allowed, 1.0)
    of_candidate = positiveness.sort(dim=1).values
    count = torch.searchsorted(of_candidate, positiveness.T.contiguous()).T
    log_repulsion = log_sum(
        pairs.candidates(pairs.similarity + count.to(of_candidate.dtype).log()), pairs.allowed
    )
    weights = pairs.weights(pairs.positiveness)
    total = weights.sum(dim=1)
    counted = (total > 0) & (log_repulsion > -torch.inf)
    attraction = (weights * pairs.similarity).sum(dim=1) / torch.where(counted, total, 1.0)
    value = (temperature / BASE_TEMPERATURE) * (log_repulsion - attraction)
    return AnchorLoss(torch.where(counted, value, 0.0), counted)


class LThr(TwoViewLoss):
    """An anchor attracts k and repels only those further from it in age than k.

    Args:
        kernel: Says how much two participants attract each other, from their labels.
        temperature: Divides the cosine similarity, > 0.
        reduction: "mean" over the anchors that count, "sum" over them, or "none": a value for each.
        authors_variant: Whether to compute what the authors' public code does instead.

    Example:
        >>> import torch
        >>> from fedcl.kernels import Gaussian
        >>> from fedcl.losses import LThr
        >>> first = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
        >>> second = torch.tensor([[0.9, 0.1], [0.6, 0.8], [0.1, 0.9]])
        >>> ages = torch.tensor([20.0, 25.0, 60.0])
        >>> loss = LThr(Gaussian(bandwidth=5.0))
        >>> loss(first, second, ages)
        tensor(-1.6343)
    """

    loss = "l_thr"

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
