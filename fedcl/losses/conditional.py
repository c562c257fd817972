"""Conditional alignment and uniformity: similar ages are aligned, dissimilar ones spread out.

Dufumier et al., "Conditional alignment and uniformity for contrastive learning with continuous
proxy labels", MedNeurIPS 2021, https://arxiv.org/abs/2111.05643
"""

import torch

from fedcl.kernels.label_kernels import LabelKernel
from fedcl.losses.log_sums import log_sum
from fedcl.losses.module import TwoViewLoss
from fedcl.losses.pairs import Pairs
from fedcl.losses.terms import BatchTerm

SCALE = 2.0
"""Multiplies the squared distance in the uniformity."""


def conditional_alignment_uniformity(pairs: Pairs) -> dict[str, BatchTerm]:
    """Return the named terms of the batch; their sum is the loss.

    alignment: sum w ||z - z'||^2 / sum w; uniformity: log(sum (1 - w) e^{-2 ||z - z'||^2} /
    sum (1 - w)). Both sums run over all ordered pairs of different views and are normalised by
    their weights. A term whose weights are all 0 (all ages equal: the uniformity) is not counted.

    Args:
        pairs: Built with metric "euclidean" and temperature 1.
    """
    distance = -pairs.similarity
    attracted = pairs.weights(pairs.positiveness)
    repelled = pairs.weights((1 - pairs.positiveness) * pairs.allowed)
    attraction, repulsion = attracted.sum(), repelled.sum()
    alignment = (attracted * distance).sum() / torch.where(attraction > 0, attraction, 1.0)
    exponent = torch.where(repelled > 0, repelled, 1.0).log() - SCALE * distance
    log_sum_repelled = log_sum(exponent.reshape(1, -1), (repelled > 0).reshape(1, -1))[0]
    some = repulsion > 0
    uniformity = torch.where(some, log_sum_repelled, 0.0) - torch.where(some, repulsion, 1.0).log()
    return {
        "alignment": BatchTerm(alignment, (attraction > 0).to(distance.dtype)),
        "uniformity": BatchTerm(uniformity, some.to(distance.dtype)),
    }


class ConditionalAlignmentUniformity(TwoViewLoss):
    """Similar ages are aligned, and dissimilar ones spread out.

    Args:
        kernel: Says how much two participants attract each other, from their labels.

    Example:
        >>> import torch
        >>> from fedcl.kernels import Gaussian
        >>> from fedcl.losses import ConditionalAlignmentUniformity
        >>> first = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
        >>> second = torch.tensor([[0.9, 0.1], [0.6, 0.8], [0.1, 0.9]])
        >>> ages = torch.tensor([20.0, 25.0, 60.0])
        >>> loss = ConditionalAlignmentUniformity(Gaussian(bandwidth=5.0))
        >>> loss(first, second, ages)
        tensor(-1.2058)
    """

    loss = "conditional_alignment_uniformity"

    def __init__(self, kernel: LabelKernel) -> None:
        super().__init__(kernel)
