"""What one site adds to a release of moments with noise, and the most that one participant does.

Everybody adds (p, p (x) z, r / rho, svec(r r^T) / rho^2): p the shares of the nodes of the grid, z
the embedding, r its distance from the mean of its age as last released, no longer than rho. svec
has sqrt(2) off the diagonal, so that |svec(r r^T)| = |r|^2. All is cut before it is added: whatever
a scan holds, its vector is no longer than SENSITIVITY.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedcl.config.moments import PrivateMoments

SENSITIVITY = 2.0
"""L2 norm of the largest contribution: sqrt(|p|^2 + |p|^2 |z|^2 + |r|^2 / rho^2 + |r|^4 / rho^4)
where none of p, z and r / rho is longer than 1. Adding or removing a participant moves a release by
no more."""

SENSITIVITY_TO_REPLACEMENT = math.sqrt(8.5)
"""The same for exchanging one participant for another: at most 4 from (p, p (x) z), and
2 - 2 c + 2 - 2 c^2 = 4.5 from the residuals, at c = -1/2 the cosine between them."""


@dataclass(frozen=True)
class PrivateSums:
    """Sums over participants; they add across sites.

    Attributes:
        count: sum of p, shape (node,).
        total: sum of p (x) z, shape (node, dim).
        residuals: sum of r over the sites without a slot, then of each slot's: (1 + slot, dim).
        squares: sum of svec(r r^T), shape (dim (dim + 1) / 2,).
    """

    count: np.ndarray
    total: np.ndarray
    residuals: np.ndarray
    squares: np.ndarray

    def __add__(self, other: "PrivateSums") -> "PrivateSums":
        pairs = zip(self.arrays().values(), other.arrays().values(), strict=True)
        return PrivateSums(*(one + another for one, another in pairs))

    def __mul__(self, factor: float) -> "PrivateSums":
        return PrivateSums(*(array * factor for array in self.arrays().values()))

    def astype(self, kind: type[np.floating]) -> "PrivateSums":
        """Return the sums as float32 (to travel) or float64 (to add)."""
        return PrivateSums(*(array.astype(kind) for array in self.arrays().values()))

    @property
    def nbytes(self) -> int:
        """Of the arrays."""
        return sum(array.nbytes for array in self.arrays().values())

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays by name."""
        return {
            "count": self.count,
            "total": self.total,
            "residuals": self.residuals,
            "squares": self.squares,
        }


def private_shapes(nodes: int, dim: int, slots: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each of the arrays."""
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
    """Return the sums over some participants, still without noise.

    Args:
        embeddings: One for each participant, float64, shape (participant, dim); whatever is not
            finite counts as 0, whatever is longer than 1 is cut to it.
        shares: Of each at every node, shape (participant, node); a row adds up to 1 at most.
        means: Of each node as last released, no longer than 1, shape (node, dim).
        settings: The residuals' bound.
        slot: Of the participants' site, from 1; 0: it has none.
        slots: How many there are.
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
    return PrivateSums(*(one.numpy() for one in sums))


def matrix_of(squares: np.ndarray, dim: int) -> Tensor:
    """Return the symmetric matrix of an svec, float64, shape (dim, dim)."""
    first, second, root = _svec(dim)
    values = torch.from_numpy(np.asarray(squares, dtype=np.float64)) / root
    matrix = torch.zeros(dim, dim, dtype=torch.float64)
    matrix[first, second] = values
    matrix[second, first] = values
    return matrix


def within_norm(rows: Tensor, longest: float) -> Tensor:
    """Return the rows, those longer than `longest` cut to it."""
    norm = rows.norm(dim=-1, keepdim=True)
    return rows * (longest / norm.clamp(min=longest))


def _svec(dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows and columns of the upper triangle, and sqrt(2) off the diagonal."""
    first, second = torch.triu_indices(dim, dim)
    root = torch.where(first == second, 1.0, math.sqrt(2)).double()
    return first, second, root
