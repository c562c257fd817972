"""Compare a batch with the other sites' participants of the same step, and pass their gradient on.

Candidates that do not move are a trap: an anchor is pulled towards them, and nothing pushes them
apart, so that an encoder which does not carry age yet maps everybody to one point
(docs/measurements/collapse.md). Here the sums at the nodes are those of all sites' participants in
one step under the weights of that step. With z the embeddings, M = sum_k m(z_k) the sums and l_s
the loss of site s, the gradient of sum_s l_s(z_s; M - m(z_s)) is

    d l_s / d z_s  at fixed sums of others,  plus  (sum_{r != s} d l_r / d M) d m / d z_s

which needs sums alone: first M, then the derivatives by M, then the gradient itself. So a step is
that of a loss on everybody's participants together.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedcl.config.moments import Moments
from fedcl.config.objective import Objective
from fedcl.losses.nodes import Nodes
from fedcl.moments.grid import node_count
from fedcl.moments.snapshot import OtherParticipants
from fedcl.moments.sums import NodeSums, node_shapes, unit_problem
from fedcl.shapes import NodeShares, ViewEmbeddings

_LEAST = 0.25
"""Nodes with fewer participants of other sites than this are not used; what is left of a node that
only this site occupies is rounding."""


@dataclass(frozen=True)
class NodeSlopes:
    """Hold derivatives of losses by the sums at the nodes; they add across sites.

    Attributes:
        total: Derivative by each node's sum of embeddings, float64, shape (node, dim).
        squares: Derivative by its packed products, float64, shape (node, dim (dim + 1) / 2).
    """

    total: np.ndarray
    squares: np.ndarray

    def __add__(self, other: "NodeSlopes") -> "NodeSlopes":
        return NodeSlopes(self.total + other.total, self.squares + other.squares)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays by the name of their attribute."""
        return {"total": self.total, "squares": self.squares}

    @staticmethod
    def add_all(slopes: Iterable["NodeSlopes"], nodes: int, dim: int) -> "NodeSlopes":
        """Return the sum of several sites' slopes; zeros where there are none."""
        shapes = node_shapes(nodes, dim)
        total = NodeSlopes(np.zeros(shapes["total"]), np.zeros(shapes["squares"]))
        for one in slopes:
            total = total + one
        return total


@dataclass(frozen=True)
class LiveSums:
    """Hold sums at the nodes as float64 tensors, through which a gradient may flow.

    Attributes:
        count: Weighted number of participants, shape (node,).
        total: Weighted sum of embeddings, shape (node, dim).
        squares: Packed weighted sum of products, shape (node, dim (dim + 1) / 2).
    """

    count: Tensor
    total: Tensor
    squares: Tensor

    def released(self) -> NodeSums:
        """Return the sums as arrays without a gradient."""
        arrays = (part.detach().cpu().numpy() for part in (self.count, self.total, self.squares))
        return NodeSums(*arrays)


def live_sums(embeddings: ViewEmbeddings, shares: NodeShares) -> LiveSums:
    """Return the sums over the participants of a batch, each the mean over its views.

    Args:
        embeddings: Unit vectors, one row for each view of each scan.
        shares: Weight of each scan at each node, shape (scan, node).
    """
    z, p = embeddings.double(), shares.double().to(embeddings.device)
    first, second = torch.triu_indices(z.shape[2], z.shape[2], device=z.device)
    products = (z[:, :, first] * z[:, :, second]).mean(dim=1)
    return LiveSums(p.sum(dim=0), p.T @ z.mean(dim=1), p.T @ products)


def others_in_step(everybody: NodeSums, own: LiveSums) -> LiveSums:
    """Return the sums over other sites' participants in the step, by which one can differentiate.

    Args:
        everybody: Sums over all sites' participants in the step, with this site's.
        own: Sums over this site's.
    """
    device = own.count.device
    count, total, squares = (torch.from_numpy(a).to(device) for a in everybody.arrays().values())
    return LiveSums(
        count - own.count,
        (total - own.total.detach()).requires_grad_(),
        (squares - own.squares.detach()).requires_grad_(),
    )


def candidates_in_step(others: LiveSums) -> OtherParticipants:
    """Return other sites' participants in the step as candidates, float32."""
    at = torch.nonzero(others.count > _LEAST).flatten()
    dim = others.total.shape[1]
    count = others.count[at]
    mean = others.total[at] / count[:, None]
    second = _matrices(others.squares[at], dim) / count[:, None, None]
    covariance = second - mean[:, :, None] * mean[:, None, :]
    return OtherParticipants(Nodes(count.float(), mean.float(), covariance.float()), at)


def slopes_by(others: LiveSums, value: Tensor) -> NodeSlopes:
    """Return the derivatives of a loss by the sums over other sites' participants.

    The graph of the loss is kept. They are zero where the loss does not depend on the sums.
    """
    by = (others.total, others.squares)
    found: tuple[Tensor | None, ...] = (None, None)
    if value.requires_grad:
        found = torch.autograd.grad(value, by, retain_graph=True, allow_unused=True)
    arrays = (
        torch.zeros_like(wanted) if slope is None else slope
        for wanted, slope in zip(by, found, strict=True)
    )
    return NodeSlopes(*(slope.detach().cpu().numpy() for slope in arrays))


def pull_of_others(own: LiveSums, everybody: NodeSlopes, mine: NodeSlopes) -> Tensor:
    """Return the scalar whose gradient is what other sites' losses ask of this site's embeddings.

    Args:
        own: Sums over this site's participants in the step, with their gradient.
        everybody: Derivatives of all sites' losses by the sums.
        mine: Derivatives of this site's loss, which are part of them.
    """
    device = own.total.device
    total = torch.from_numpy(everybody.total - mine.total).to(device)
    squares = torch.from_numpy(everybody.squares - mine.squares).to(device)
    return (total * own.total).sum() + (squares * own.squares).sum()


def steepest(task: Objective) -> float:
    """Return a norm of slopes per participant that no honest site exceeds.

    An anchor's loss changes by at most 2 with each similarity over the temperature T, and a node
    holds at least `_LEAST` participants, so that its derivatives by sums stay below 10 / T^2; this
    is ten times as much, by the weights of the terms.
    """
    weights = sum(weight for weight, _ in task.terms)
    coldest = min(term.temperature for _, term in task.terms)
    return 100 * weights / min(coldest, 1.0) ** 2


def told_problem(
    everybody: NodeSums, own: LiveSums, slopes: NodeSlopes | None, task: Objective, dim: int
) -> str | None:
    """Return why what a site is told of a step cannot be true, or None.

    Args:
        everybody: Sums over all sites' participants in the step, as the server tells them.
        own: Sums over this site's, which are part of them.
        slopes: Derivatives of all sites' losses, as the server tells them; None before.
        task: Objective section of the experiment.
        dim: Length of an embedding.
    """
    settings = task.moments
    assert settings is not None
    shapes = node_shapes(node_count(settings), dim)
    told = dict(everybody.arrays())
    if slopes is not None:
        shapes |= {f"slope {name}": shape for name, shape in slope_shapes(settings, dim).items()}
        told |= {f"slope {name}": array for name, array in slopes.arrays().items()}
    for name, shape in shapes.items():
        array = told[name]
        if array.dtype != np.float64 or array.shape != shape or not np.isfinite(array).all():
            return f"{name} of the step: not finite, or not float64 of shape {shape}"
    participants = float(everybody.count.sum())
    if (everybody.count - own.count.cpu().numpy() < -_LEAST).any():
        return "sums of the step: this site's participants are not among them"
    if slopes is not None:
        length = float(np.sqrt(sum((a**2).sum() for a in slopes.arrays().values())))
        if length > steepest(task) * participants:
            return "slopes of the step: longer than any losses of its participants have"
    return unit_problem(everybody, participants)


def slope_shapes(settings: Moments, dim: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each array of `NodeSlopes` by name."""
    shapes = node_shapes(node_count(settings), dim)
    return {"total": shapes["total"], "squares": shapes["squares"]}


def _matrices(packed: Tensor, dim: int) -> Tensor:
    """Return symmetric matrices from their upper triangles, with a gradient."""
    first, second = torch.triu_indices(dim, dim, device=packed.device)
    place = torch.zeros(dim, dim, dtype=torch.long, device=packed.device)
    numbers = torch.arange(len(first), device=packed.device)
    place[first, second] = numbers
    place[second, first] = numbers
    return packed[:, place.flatten()].reshape(-1, dim, dim)
