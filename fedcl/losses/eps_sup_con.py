"""eps-SupInfoNCE and eps-SupCon: classes kept apart by a margin epsilon.

Barbano et al., "Unbiased supervised contrastive learning", ICLR 2023,
https://arxiv.org/abs/2211.05568; the authors' code
https://github.com/EIDOSLAB/unbiased-contrastive-learning
"""

import math

import torch

from fedcl.kernels.label_kernels import LabelKernel
from fedcl.losses.log_sums import log_sum
from fedcl.losses.module import Reduction, TwoViewLoss
from fedcl.losses.pairs import Pairs
from fedcl.losses.terms import BASE_TEMPERATURE, AnchorLoss
from fedcl.shapes import PairMask, PairWeights

_INSIDE_LOG = 1e-6


def eps_sup_info_nce(pairs: Pairs, *, epsilon: float) -> AnchorLoss:
    """Return -sum_p log(e^{s_ip} / (e^{s_ip - epsilon} + sum_neg e^{s_ij})).

    Positives p have positiveness 1, all other candidates are negatives. With epsilon = math.inf a
    positive leaves its own denominator; an anchor without negatives is then not counted, nor is
    one without positives. A positive node meets its own mean similarity in its denominator.

    Args:
        pairs: Anchors against candidates.
        epsilon: Margin, >= 0, in units of the similarity divided by the temperature.
    """
    positives = pairs.positives()
    log_negatives = log_sum(pairs.candidates(pairs.repulsion()), pairs.allowed & ~positives)
    log_denominator = log_negatives[:, None].expand_as(pairs.similarity)
    if not math.isinf(epsilon):
        margin_of_own = torch.where(positives, pairs.similarity - epsilon, 0.0)
        log_denominator = torch.logaddexp(margin_of_own, log_denominator)
    defined = positives & log_denominator.isfinite()
    weights = pairs.weights(defined)
    log_ratio = torch.where(defined, pairs.similarity - log_denominator, 0.0)
    return AnchorLoss(-(weights * log_ratio).sum(dim=1), defined.any(dim=1))


def eps_sup_con(pairs: Pairs, *, epsilon: float) -> AnchorLoss:
    """Return eps - (1/P) sum_p log(e^{s_ip} / (sum_pos e^{s_it - eps} + sum_neg e^{s_ij})).

    epsilon = 0 is SupCon. An anchor without positives is not counted.

    Args:
        pairs: Anchors against candidates.
        epsilon: Margin, finite and >= 0, in units of the similarity divided by the temperature.
    """
    positives = pairs.positives()
    weights = pairs.weights(positives)
    total = weights.sum(dim=1)
    counted = total > 0
    log_denominator = log_sum(
        pairs.candidates(pairs.repulsion() - epsilon * positives), pairs.allowed
    )
    attraction = (weights * pairs.similarity).sum(dim=1) / torch.where(counted, total, 1.0)
    value = epsilon + log_denominator - attraction
    return AnchorLoss(torch.where(counted, value, 0.0), counted)


def eps_sup_info_nce_authors_variant(
    pairs: Pairs, *, epsilon: float, temperature: float
) -> AnchorLoss:
    """Return the value of the authors' code (its default form).

    The mean over positives instead of the sum; similarities less the row's largest m, self
    included; 1e-6 added to the denominator, which is then e^{-m} smaller than published; the
    whole multiplied by temperature / 0.07. An anchor without positives counts as 0.
    """
    positives, shifted, exponential = _authors_terms(pairs)
    negatives = (exponential * (pairs.allowed & ~positives)).sum(dim=1, keepdim=True)
    margin = torch.exp(torch.tensor(-epsilon, dtype=exponential.dtype))
    log_denominator = (margin * exponential * positives + negatives + _INSIDE_LOG).log()
    return _authors_loss(positives, shifted - log_denominator, temperature)


def eps_sup_con_authors_variant(pairs: Pairs, *, epsilon: float, temperature: float) -> AnchorLoss:
    """Return the value of the authors' code.

    Similarities less the row's largest, self included; 1e-6 added to the denominator; no leading
    epsilon; the whole multiplied by temperature / 0.07. An anchor without positives counts as 0.
    """
    positives, shifted, exponential = _authors_terms(pairs)
    margin = torch.exp(torch.tensor(-epsilon, dtype=exponential.dtype))
    weighted = torch.where(positives, margin * exponential, exponential * pairs.allowed)
    log_denominator = (weighted.sum(dim=1, keepdim=True) + _INSIDE_LOG).log()
    return _authors_loss(positives, shifted - log_denominator, temperature)


def _authors_terms(pairs: Pairs) -> tuple[PairMask, PairWeights, PairWeights]:
    shifted = pairs.similarity - pairs.similarity.detach().amax(dim=1, keepdim=True)
    return pairs.positives(), shifted, shifted.exp()


def _authors_loss(positives: PairMask, log_ratio: PairWeights, temperature: float) -> AnchorLoss:
    mean = (positives * log_ratio).sum(dim=1) / positives.sum(dim=1).clamp(min=1)
    return AnchorLoss(
        -(temperature / BASE_TEMPERATURE) * mean,
        torch.ones_like(positives[:, 0]),
    )


class EpsSupInfoNCE(TwoViewLoss):
    """Classes kept apart by a margin, with one denominator for each positive.

    Args:
        kernel: Says who is of one class, 0 or 1.
        epsilon: Margin, >= 0, in units of the similarity divided by the temperature; math.inf
            decouples.
        temperature: Divides the cosine similarity, > 0.
        reduction: "mean" over the anchors that count, "sum" over them, or "none": a value for each.
        authors_variant: Whether to compute what the authors' public code does instead.

    Example:
        >>> import torch
        >>> from fedcl.kernels import Discrete
        >>> from fedcl.losses import EpsSupInfoNCE
        >>> first = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
        >>> second = torch.tensor([[0.9, 0.1], [0.6, 0.8], [0.1, 0.9]])
        >>> classes = torch.tensor([0, 0, 1])
        >>> loss = EpsSupInfoNCE(Discrete(), epsilon=0.25)
        >>> loss(first, second, classes)
        tensor(0.7199)
    """

    loss = "eps_sup_info_nce"

    def __init__(
        self,
        kernel: LabelKernel,
        *,
        epsilon: float,
        temperature: float = 0.1,
        reduction: Reduction = "mean",
        authors_variant: bool = False,
    ) -> None:
        super().__init__(
            kernel,
            epsilon=epsilon,
            temperature=temperature,
            reduction=reduction,
            authors_variant=authors_variant,
        )


class EpsSupCon(TwoViewLoss):
    """Classes kept apart by a margin, with one denominator for all positives.

    Args:
        kernel: Says who is of one class, 0 or 1.
        epsilon: Margin, >= 0, in units of the similarity divided by the temperature.
        temperature: Divides the cosine similarity, > 0.
        reduction: "mean" over the anchors that count, "sum" over them, or "none": a value for each.
        authors_variant: Whether to compute what the authors' public code does instead.

    Example:
        >>> import torch
        >>> from fedcl.kernels import Discrete
        >>> from fedcl.losses import EpsSupCon
        >>> first = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
        >>> second = torch.tensor([[0.9, 0.1], [0.6, 0.8], [0.1, 0.9]])
        >>> classes = torch.tensor([0, 0, 1])
        >>> loss = EpsSupCon(Discrete(), epsilon=0.25)
        >>> loss(first, second, classes)
        tensor(1.4152)
    """

    loss = "eps_sup_con"

    def __init__(
        self,
        kernel: LabelKernel,
        *,
        epsilon: float,
        temperature: float = 0.1,
        reduction: Reduction = "mean",
        authors_variant: bool = False,
    ) -> None:
        super().__init__(
            kernel,
            epsilon=epsilon,
            temperature=temperature,
            reduction=reduction,
            authors_variant=authors_variant,
        )
