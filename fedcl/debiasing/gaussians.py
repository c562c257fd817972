"""Gaussians fitted to weighted similarities, and how far two of them are apart."""

from dataclasses import dataclass

import torch
from torch import Tensor

VARIANCE_FLOOR = 1e-4
"""Similarities spread by less than 0.01 count as spread by 0.01: the KL divides by the variance."""


@dataclass(frozen=True)
class FittedGaussian:
    """One Gaussian, or one per anchor: tensors of one shape.

    Attributes:
        mean: Mean of the similarities.
        variance: Variance about the mean, at least VARIANCE_FLOOR.
        effective: Kish's effective number of pairs, (sum w)^2 / sum w^2; 0 without any.
    """

    mean: Tensor
    variance: Tensor
    effective: Tensor


def fit(
    similarity: Tensor,
    weights: Tensor,
    dim: int | tuple[int, ...],
    *,
    counts: Tensor,
    spread: Tensor | None = None,
) -> FittedGaussian:
    """Return the weighted mean and variance along `dim`; mean 0 where all weights are 0.

    Args:
        similarity: Similarity of each partner; the mean of those that it stands for.
        weights: Weight of one participant, in [0, 1].
        dim: Axis, or axes, of the partners.
        counts: How many participants each partner stands for, >= 0.
        spread: Variance of the similarity within each partner; None: 0.
    """
    # Divided by a tiny total, the weight of a partner outside the group would be infinite.
    weights = torch.where(counts > 0, weights, 0.0)
    total = (counts * weights).sum(dim=dim, keepdim=True)
    of_one = weights / torch.where(total > 0, total, 1.0)
    share = counts * of_one
    squares = (share * of_one).sum(dim=dim)
    effective = torch.where(squares > 0, 1 / torch.where(squares > 0, squares, 1.0), 0.0)
    mean = (share * similarity).sum(dim=dim, keepdim=True)
    deviation = (similarity - mean).square()
    variance = (share * (deviation if spread is None else deviation + spread)).sum(dim=dim)
    return FittedGaussian(
        mean.squeeze(dim),
        variance.clamp(min=VARIANCE_FLOOR),
        effective,
    )


def kl(first: FittedGaussian, second: FittedGaussian) -> Tensor:
    """Return D_KL(first || second), >= 0, in nats."""
    ratio = first.variance / second.variance
    shift = (first.mean - second.mean).square() / second.variance
    return (ratio + shift - ratio.log() - 1) / 2


def squared_gap(first: FittedGaussian, second: FittedGaussian) -> Tensor:
    """Return the squared difference of the means plus that of the standard deviations."""
    spread = (first.variance.sqrt() - second.variance.sqrt()).square()
    return (first.mean - second.mean).square() + spread
