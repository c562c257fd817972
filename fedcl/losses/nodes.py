"""Participants of other sites, gathered at nodes of a grid over age (and other covariates).

What a loss needs of a node is how its participants' similarities to an anchor are distributed. The
mean and the variance of that are exact functions of the node's first two moments; the mean of their
exponential is approximated from both.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fedcl.shapes import AnchorRows, NodeCovariances, NodeMeans, PairWeights, PerNode, ToNodes

_SMALLEST_POWER = 1e-6
_SMALLEST_SPREAD = 1e-12


@dataclass(frozen=True)
class Nodes:
    """Who is at each node, as first and second moments of their unit embeddings.

    Attributes:
        count: Number of participants, > 0; not whole, since both nodes share one between them.
        mean: Mean of their embeddings.
        covariance: Covariance of their embeddings about the mean.
    """

    count: PerNode
    mean: NodeMeans
    covariance: NodeCovariances

    def __len__(self) -> int:
        return len(self.count)

    def variance_between(self) -> float:
        """Return the variance of the nodes' means about their common mean, in [0, 1].

        It is that part of the spread of the unit embeddings that the nodes' covariates account for:
        0 where all nodes lie together.
        """
        share = self.count / self.count.sum()
        common = share @ self.mean
        return float(share @ (self.mean - common).square().sum(dim=1))

    def similarity(self, vectors: AnchorRows) -> ToNodes:
        """Return the mean over a node's participants k of <vector, z_k>; exact."""
        with torch.autocast(vectors.device.type, enabled=False):
            return vectors @ self.mean.to(vectors.dtype).T

    def spread(self, vectors: AnchorRows) -> ToNodes:
        """Return the variance over a node's participants k of <vector, z_k>; exact, >= 0."""
        nodes, dim, _ = self.covariance.shape
        flat = self.covariance.to(vectors.dtype).transpose(0, 1).reshape(dim, nodes * dim)
        with torch.autocast(vectors.device.type, enabled=False):
            turned = (vectors @ flat).reshape(len(vectors), nodes, dim)
            return (turned * vectors[:, None, :]).sum(dim=2).clamp(min=0.0)


@dataclass(frozen=True)
class RemoteParticipants:
    """Participants of other sites beside a batch.

    Attributes:
        nodes: Moments of their unit embeddings.
        prior: The kernel between the batch's participants and the nodes, in this order, on both
            sides, ones on the diagonal; None: without a prior.
        order: Without a prior, what a distance sees of a node: 1 its mean, 2 its spread too.
    """

    nodes: Nodes
    prior: PairWeights | None
    order: Literal[1, 2]


def log_mean_exp(
    mean: ToNodes, spread: ToNodes, power: ToNodes | float, *, largest: float
) -> ToNodes:
    """Return (1 / power) log of the approximate mean of e^{power s}, s of this mean and variance.

    Half of the participants at mean + SD, half at mean - SD: mean + log cosh(power SD) / power, but
    never above `largest`. To second order in the SD this is the cumulant expansion
    mean + power SD^2 / 2, which grows without end where similarities spread widely.

    Args:
        mean: Mean of s, a similarity divided by the temperature.
        spread: Variance of the similarity s within each node.
        power: In [0, 1]: 1, or what damps the exponent.
        largest: No s is above it: 1 / temperature for cosines.
    """
    power = torch.as_tensor(power, dtype=mean.dtype, device=mean.device).clamp(min=_SMALLEST_POWER)
    deviation = spread.clamp(min=_SMALLEST_SPREAD).sqrt()
    return (mean + _log_cosh(power * deviation) / power).clamp(max=largest)


def _log_cosh(x: Tensor) -> Tensor:
    """Return log cosh x for x >= 0; near 0 by its series, where the difference loses all digits."""
    far = x + F.softplus(-2 * x) - math.log(2)
    return torch.where(x < 0.01, x.square() / 2, far)
