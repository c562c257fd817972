"""Compute a site's sums for a release of noisy moments, and bound one participant's contribution.

Each participant adds (p, p (x) z, r / rho, svec(r r^T) / rho^2): p are the weights at the nodes of
the grid, z is the embedding, and r is its difference from the mean at its age as last released,
with norm at most rho. svec has a factor sqrt(2) off the diagonal, so that |svec(r r^T)| = |r|^2.
Every part is clipped before it is added, so that the vector of any participant, whatever the scan
holds, has norm at most SENSITIVITY.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedcl.config.moments import PrivateMoments

SENSITIVITY = 2.0
"""L2 sensitivity of a release to adding or removing a participant, the norm of the largest
contribution: sqrt(|p|^2 + |p|^2 |z|^2 + |r|^2 / rho^2 + |r|^4 / rho^4) with p, z and r / rho of
norm at most 1."""

SENSITIVITY_TO_REPLACEMENT = math.sqrt(8.5)
"""L2 sensitivity to exchanging one participant for another. The squared distance is at most 4 from
(p, p (x) z), and 2 - 2 c + 2 - 2 c^2 = 4.5 from the residuals, at cosine c = -1/2 between them."""


@dataclass(frozen=True)
class PrivateSums:
    """Hold sums over participants, which add across sites.

    Attributes:
        count: Sum of p, shape (node,).
        total: Sum of p (x) z, shape (node, dim).
        residuals: Sum of r over sites without a slot, then over each slot; (1 + slot, dim).
        squares: Sum of svec(r r^T), shape (dim (dim + 1) / 2,).
    """

    count: np.ndarray
    total: np.ndarray
    residuals: np.ndarray
    squares: np.ndarray

    def __add__(self, other: "PrivateSums") -> "PrivateSums":
        pairs = zip(self.arrays().values(), other.arrays().values(), strict=True)
        return PrivateSums(*(mine + theirs for mine, theirs in pairs))

    def __mul__(self, factor: float) -> "PrivateSums":
        return PrivateSums(*(array * factor for array in self.arrays().values()))

    def astype(self, kind: type[np.floating]) -> "PrivateSums":
        """Return the sums as float32 (to travel) or float64 (to add)."""
        return PrivateSums(*(array.astype(kind) for array in self.arrays().values()))

    @property
    def nbytes(self) -> int:
        """Return the size of all arrays in bytes."""
        return sum(array.nbytes for array in self.arrays().values())

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays by the name of their attribute."""
        return {
            "count": self.count,
            "total": self.total,
            "residuals": self.residuals,
            "squares": self.squares,
        }


def private_shapes(nodes: int, dim: int, slots: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each array of `PrivateSums` by name."""
    return {
        "count": (nodes,),
        "total": (nodes, dim),
        "residuals": (1 + slots, dim),
        "squares": (dim * (dim + 1) // 2,),
    }


def private_sums(
    embeddings: Tensor,
    shares: Tensor,
    means: Tensor,
    settings: PrivateMoments,
    *,
    slot: int,
    slots: int,
) -> PrivateSums:
    """Return the sums over some participants, without noise yet.

    Args:
        embeddings: Embedding of each participant, float64, shape (participant, dim); values that
            are not finite count as 0, and rows are clipped to norm 1.
        shares: Weight of each participant at every node, shape (participant, node); a row adds up
            to at most 1.
        means: Mean embedding of each node as last released, norm at most 1, shape (node, dim).
        settings: Private moments section, of which the bound rho of residuals is used.
        slot: Number of the slot of the participants' site, from 1; 0 for a site without one.
        slots: Number of slots in the release, at least 0.
    """
    rho = settings.residual_norm
    z = within_norm(torch.nan_to_num(embeddings.double(), nan=0.0, posinf=0.0, neginf=0.0), 1.0)
    p = shares.double()
    r = within_norm(z - p @ means.double(), rho)
    first, second, root = _svec(z.shape[1])
    residuals = torch.zeros(1 + slots, z.shape[1], dtype=torch.float64)
    residuals[slot] = r.sum(dim=0)
    squares = (r[:, first] * r[:, second]).sum(dim=0) * root
    sums = (p.sum(dim=0), p.T @ z, residuals, squares)
    return PrivateSums(*(part.numpy() for part in sums))


def matrix_of(squares: np.ndarray, dim: int) -> Tensor:
    """Return the symmetric matrix whose svec is `squares`, float64, shape (dim, dim)."""
    first, second, root = _svec(dim)
    values = torch.from_numpy(np.asarray(squares, dtype=np.float64)) / root
    matrix = torch.zeros(dim, dim, dtype=torch.float64)
    matrix[first, second] = values
    matrix[second, first] = values
    return matrix


def within_norm(rows: Tensor, longest: float) -> Tensor:
    """Return the rows clipped to a Euclidean norm of at most `longest`."""
    norm = rows.norm(dim=-1, keepdim=True)
    return rows * (longest / norm.clamp(min=longest))


def _svec(dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return rows and columns of the upper triangle, and factors: sqrt(2) off the diagonal."""
    first, second = torch.triu_indices(dim, dim)
    root = torch.where(first == second, 1.0, math.sqrt(2)).double()
    return first, second, root
