"""Participants of other sites, gathered at nodes of a grid over age (and other covariates).

What a loss needs of a node is how its participants' similarities to an anchor are distributed. The
mean and the variance of that are exact functions of the node's first two moments; the mean of their
exponential is approximated from both (second-order cumulant), and can't be more than any
distribution of this mean, variance and largest value has (Bennett's inequality).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fedcl.shapes import NodeCovariances, NodeMeans, PerNode, Rows, ToNodes

_SMALLEST_SHARE = 1e-6


@dataclass(frozen=True)
class Nodes:
    """Who is at each node, as first and second moments of their unit embeddings.

    Attributes:
        count: Participants, > 0; not whole, since one between two nodes is shared by both.
        mean: Of their embeddings.
        covariance: About the mean.
    """

    count: PerNode
    mean: NodeMeans
    covariance: NodeCovariances

    def __len__(self) -> int:
        return len(self.count)

    def similarity(self, vectors: Rows) -> ToNodes:
        """Return the mean over a node's participants k of <vector, z_k>; exact."""
        with torch.autocast(vectors.device.type, enabled=False):
            return vectors @ self.mean.to(vectors.dtype).T

    def spread(self, vectors: Rows) -> ToNodes:
        """Return the variance over a node's participants k of <vector, z_k>; exact, >= 0."""
        nodes, dim, _ = self.covariance.shape
        flat = self.covariance.to(vectors.dtype).transpose(0, 1).reshape(dim, nodes * dim)
        with torch.autocast(vectors.device.type, enabled=False):
            turned = (vectors @ flat).reshape(len(vectors), nodes, dim)
            return (turned * vectors[:, None, :]).sum(dim=2).clamp(min=0.0)


def log_mean_exp(
    mean: ToNodes, spread: ToNodes, power: ToNodes | float, *, largest: float
) -> ToNodes:
    """Return (1 / power) log of the approximate mean of e^{power s}, s of this mean and variance.

    The second-order cumulant mean + power spread / 2, but no more than Bennett's bound: the two
    points `largest` and mean - spread / (largest - mean) of this mean and variance have the largest
    mean exponential of all distributions below `largest`.

    Args:
        mean: Of s; a similarity divided by the temperature.
        spread: Variance of s.
        power: In [0, 1]: 1, or what damps the exponent.
        largest: No s is above it: 1 / temperature for cosines.
    """
    power = torch.as_tensor(power, dtype=mean.dtype, device=mean.device).clamp(min=_SMALLEST_SHARE)
    cumulant = mean + power * spread / 2
    return torch.minimum(cumulant, _bennett(mean, spread, power, largest))


def _bennett(mean: Tensor, spread: Tensor, power: Tensor, largest: float) -> Tensor:
    """Bennett 1962, https://doi.org/10.1080/01621459.1962.10482149."""
    above = (largest - mean).clamp(min=_SMALLEST_SHARE * largest)
    spread = spread.clamp(min=(_SMALLEST_SHARE * largest) ** 2)
    # Weights of the point at `largest` and of the one below the mean, unnormalised.
    log_high, log_low = spread.log(), 2 * above.log()
    log_sum = torch.logaddexp(log_high + power * above, log_low - power * spread / above)
    return mean + (log_sum - torch.logaddexp(log_high, log_low)) / power
