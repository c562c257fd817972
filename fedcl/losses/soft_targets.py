"""X-CLR, soft SupCon and Euclidean-Euclidean weighting: InfoNCE with softmax targets.

Vock et al. 2026 compare the three on brain MRI; X-CLR is from Sobal et al., "X-sample contrastive
loss", ICLR 2025, https://arxiv.org/abs/2407.18134. In all three the target is a softmax of label
similarities, here of degrees of positiveness g = K(y, y'), at a temperature of its own.
"""

import torch

from fedcl.kernels.label_kernels import LabelKernel
from fedcl.losses.module import Reduction, TwoViewLoss
from fedcl.losses.pairs import Pairs
from fedcl.losses.terms import AnchorLoss
from fedcl.losses.yaware import cross_entropy
from fedcl.shapes import PairWeights


def x_clr(pairs: Pairs, *, label_temperature: float) -> AnchorLoss:
    """Return the cross-entropy with targets softmax_{t != i}(g_it / label_temperature).

    Everybody attracts a little, also at positiveness 0.

    Args:
        pairs: Anchors against candidates.
        label_temperature: Divides the positiveness; dimensionless, > 0. Towards 0 only the most
            similar candidates attract.
    """
    return cross_entropy(pairs, _softmax(pairs, pairs.positiveness / label_temperature))


def soft_sup_con(pairs: Pairs, *, label_temperature: float) -> AnchorLoss:
    """Return the cross-entropy with targets softmax(g_it / label_temperature) over those of g > 0.

    With classes (positiveness 0 or 1) it is SupCon at any label temperature. An anchor without
    positives is not counted.
    """
    exponent = pairs.positiveness / label_temperature
    return cross_entropy(
        pairs, _softmax(pairs, exponent.masked_fill(pairs.positiveness <= 0, -torch.inf))
    )


def euclidean(pairs: Pairs, *, label_temperature: float) -> AnchorLoss:
    """Return the cross-entropy with softmax_{t != i}(log g_it / label_temperature).

    Euclidean on both sides: build the pairs with metric "euclidean", -||z - z'||^2 / T, and g with
    a gaussian kernel, so that log g is -(y - y')^2 / (2 sigma^2). On unit vectors and at label
    temperature 1 this is y-aware at half the temperature.
    """
    return cross_entropy(pairs, _softmax(pairs, pairs.positiveness.log() / label_temperature))


def _softmax(pairs: Pairs, exponent: PairWeights) -> PairWeights:
    """Return the softmax of each row over the allowed candidates; zeros where there is none."""
    exponent = pairs.candidates(exponent).masked_fill(~pairs.allowed, -torch.inf)
    nobody = exponent.amax(dim=1, keepdim=True) == -torch.inf
    return exponent.masked_fill(nobody, 0.0).softmax(dim=1).masked_fill(nobody, 0.0)


class XClr(TwoViewLoss):
    """InfoNCE whose targets are a softmax of positiveness over everybody.

    Args:
        kernel: Says how much two participants attract each other, from their labels.
        label_temperature: Divides the positiveness before its softmax, > 0.
        temperature: Divides the cosine similarity, > 0.
        reduction: "mean" over the anchors that count, "sum" over them, or "none": a value for each.

    Example:
        >>> import torch
        >>> from fedcl.kernels import Gaussian
        >>> from fedcl.losses import XClr
        >>> first = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
        >>> second = torch.tensor([[0.9, 0.1], [0.6, 0.8], [0.1, 0.9]])
        >>> ages = torch.tensor([20.0, 25.0, 60.0])
        >>> loss = XClr(Gaussian(bandwidth=5.0), label_temperature=0.1)
        >>> loss(first, second, ages)
        tensor(0.3720)
    """

    loss = "x_clr"

    def __init__(
        self,
        kernel: LabelKernel,
        *,
        label_temperature: float,
        temperature: float = 0.1,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(
            kernel,
            label_temperature=label_temperature,
            temperature=temperature,
            reduction=reduction,
        )


class SoftSupCon(TwoViewLoss):
    """InfoNCE whose targets are a softmax of positiveness over the positives.

    Args:
        kernel: Says how much two participants attract each other, from their labels.
        label_temperature: Divides the positiveness before its softmax, > 0.
        temperature: Divides the cosine similarity, > 0.
        reduction: "mean" over the anchors that count, "sum" over them, or "none": a value for each.

    Example:
        >>> import torch
        >>> from fedcl.kernels import Gaussian
        >>> from fedcl.losses import SoftSupCon
        >>> first = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
        >>> second = torch.tensor([[0.9, 0.1], [0.6, 0.8], [0.1, 0.9]])
        >>> ages = torch.tensor([20.0, 25.0, 60.0])
        >>> loss = SoftSupCon(Gaussian(bandwidth=5.0), label_temperature=0.1)
        >>> loss(first, second, ages)
        tensor(0.3720)
    """

    loss = "soft_sup_con"

    def __init__(
        self,
        kernel: LabelKernel,
        *,
        label_temperature: float,
        temperature: float = 0.1,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(
            kernel,
            label_temperature=label_temperature,
            temperature=temperature,
            reduction=reduction,
        )


class Euclidean(TwoViewLoss):
    """InfoNCE of Euclidean distances, with targets softmax(log positiveness).

    Args:
        kernel: Says how much two participants attract each other, from their labels.
        label_temperature: Divides the logarithm of positiveness before its softmax, > 0.
        temperature: Divides the cosine similarity, > 0.
        reduction: "mean" over the anchors that count, "sum" over them, or "none": a value for each.

    Example:
        >>> import torch
        >>> from fedcl.kernels import Gaussian
        >>> from fedcl.losses import Euclidean
        >>> first = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
        >>> second = torch.tensor([[0.9, 0.1], [0.6, 0.8], [0.1, 0.9]])
        >>> ages = torch.tensor([20.0, 25.0, 60.0])
        >>> loss = Euclidean(Gaussian(bandwidth=5.0))
        >>> loss(first, second, ages)
        tensor(1.2309)
    """

    loss = "euclidean"

    def __init__(
        self,
        kernel: LabelKernel,
        *,
        label_temperature: float = 1.0,
        temperature: float = 1.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(
            kernel,
            label_temperature=label_temperature,
            temperature=temperature,
            reduction=reduction,
        )
