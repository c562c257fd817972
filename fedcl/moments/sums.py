"""Hold a site's moments: count, sum and sum of outer products of the embeddings at every node.

They add across sites, in any order and grouping, and a site's own share can be subtracted again.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from fedcl.shapes import Embedding, NodeShares

_ROUNDING = 1e-3
"""Rounding error of sums of float32 unit vectors, as a share of the sum."""


@dataclass(frozen=True)
class NodeSums:
    """Hold sums over participants k with embeddings z_k and weights p_g(k) at nodes g.

    Attributes:
        count: Weighted number sum_k p_g(k), shape (node,).
        total: Weighted sum sum_k p_g(k) z_k, shape (node, dim).
        squares: Upper triangle of sum_k p_g(k) z_k z_k^T, row by row: (node, dim (dim + 1) / 2).
    """

    count: np.ndarray
    total: np.ndarray
    squares: np.ndarray

    def __add__(self, other: "NodeSums") -> "NodeSums":
        return NodeSums(
            self.count + other.count, self.total + other.total, self.squares + other.squares
        )

    def __sub__(self, other: "NodeSums") -> "NodeSums":
        return NodeSums(
            self.count - other.count, self.total - other.total, self.squares - other.squares
        )

    def __mul__(self, factor: float) -> "NodeSums":
        return NodeSums(self.count * factor, self.total * factor, self.squares * factor)

    def astype(self, kind: type[np.floating]) -> "NodeSums":
        """Return the sums as float32 (to travel) or float64 (to add)."""
        return NodeSums(self.count.astype(kind), self.total.astype(kind), self.squares.astype(kind))

    @property
    def nbytes(self) -> int:
        """Return the size of all arrays in bytes."""
        return self.count.nbytes + self.total.nbytes + self.squares.nbytes

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays by the name of their attribute."""
        return {"count": self.count, "total": self.total, "squares": self.squares}

    @staticmethod
    def zeros(nodes: int, dim: int) -> "NodeSums":
        """Return sums over no participants, float64."""
        shapes = node_shapes(nodes, dim)
        return NodeSums(*(np.zeros(shape) for shape in shapes.values()))

    @staticmethod
    def add_all(sums: Iterable["NodeSums"], nodes: int, dim: int) -> "NodeSums":
        """Return the sum of several sums, float64; zeros where there are none."""
        total = NodeSums.zeros(nodes, dim)
        for part in sums:
            total = total + part.astype(np.float64)
        return total


def node_shapes(nodes: int, dim: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each array of `NodeSums` by name."""
    return {"count": (nodes,), "total": (nodes, dim), "squares": (nodes, dim * (dim + 1) // 2)}


def sums_of(embeddings: Embedding, shares: NodeShares) -> NodeSums:
    """Return the sums over some participants, such as a batch; a site's are the sum over batches.

    Args:
        embeddings: Embeddings of Euclidean norm 1, shape (participant, dim).
        shares: Weight of each participant at each node, shape (participant, node).
    """
    z, p = embeddings.double(), shares.double()
    first, second = torch.triu_indices(z.shape[1], z.shape[1], device=z.device)
    outer = z[:, first] * z[:, second]
    sums = (p.sum(dim=0), p.T @ z, p.T @ outer)
    return NodeSums(*(part.cpu().numpy() for part in sums))


def unpacked(squares: np.ndarray, dim: int) -> torch.Tensor:
    """Return symmetric matrices, float64, shape (node, dim, dim), from their upper triangles."""
    packed = torch.from_numpy(np.ascontiguousarray(squares, dtype=np.float64))
    first, second = torch.triu_indices(dim, dim)
    matrices = torch.zeros(len(packed), dim, dim, dtype=torch.float64)
    matrices[:, first, second] = packed
    matrices[:, second, first] = packed
    return matrices


def unit_problem(sums: NodeSums, participants: float) -> str | None:
    """Return why finite sums cannot be those of so many unit embeddings, or None."""
    slack = _ROUNDING * (participants + 1)
    if sums.count.min() < 0 or sums.count.sum() > participants + slack:
        return f"moments count: not those of {participants:g} participants"
    dim = sums.total.shape[1]
    diagonal = sums.squares[:, np.cumsum([0, *range(dim, 1, -1)])]
    most = sums.count + slack
    if (
        (np.abs(sums.squares) > most[:, None]).any()
        or (diagonal < -slack).any()
        or (np.abs(diagonal.sum(axis=1)) > most).any()
        or (np.linalg.norm(sums.total, axis=1) > most).any()
    ):
        return "moments: not those of unit embeddings"
    return None
