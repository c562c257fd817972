"""Invented participants of an audit: two views and an age each, and their clipped sum."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fedcl.config.objective import Objective
from fedcl.models.network import Network
from fedcl.moments.frozen import FrozenMoments
from fedcl.objective import participant_losses
from fedcl.privacy.clipping import clipped_sums


@dataclass(frozen=True)
class Batch:
    """Some participants.

    Attributes:
        first: A view of each, volumes or feature rows.
        second: The other view.
        ages: Years.
    """

    first: Tensor
    second: Tensor
    ages: Tensor

    def __len__(self) -> int:
        return len(self.ages)

    def at(self, positions: Sequence[int]) -> "Batch":
        """Return the participants at these positions."""
        chosen = torch.as_tensor(list(positions), dtype=torch.long)
        return Batch(self.first[chosen], self.second[chosen], self.ages[chosen])

    def followed_by(self, other: "Batch") -> "Batch":
        """Return both, this one's participants first."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Batch(*(torch.cat(pair) for pair in pairs))

    def to(self, dtype: torch.dtype) -> "Batch":
        """Return the same in another precision."""
        return Batch(*(value.to(dtype) for value in vars(self).values()))


BatchLosses = Callable[[Network, Batch], Tensor]
"""What a mechanism differentiates, summed over the values returned."""


def losses_of(task: Objective, frozen: FrozenMoments | None = None) -> BatchLosses:
    """Return what participant privacy differentiates; `task` decomposes.

    Args:
        task: The objective.
        frozen: Released moments, where it compares with them.
    """
    return lambda network, batch: participant_losses(
        network, (batch.first, batch.second), {"age": batch.ages}, task, frozen
    )


def clipped_sum(
    network: Network,
    losses: BatchLosses,
    batch: Batch,
    *,
    clip_norm: float,
    gradients: Literal["hooks", "loop"],
) -> Tensor:
    """Return the sum that a private step adds its noise to, all parameters in one row."""
    with clipped_sums(network, gradients=gradients, clip_norm=clip_norm) as total:
        found = total(lambda positions: losses(network, batch.at(positions)), range(len(batch)))
    return torch.cat([one.flatten() for one in found])


def alike(count: int, shape: tuple[int, ...], generator: torch.Generator) -> Batch:
    """Return participants with almost the same scan and age: somebody from elsewhere then pulls
    all of them the same way, where a loss lets anybody pull another."""
    views = [1 + 0.02 * torch.randn(count, *shape, generator=generator) for _ in range(2)]
    return Batch(views[0], views[1], torch.linspace(48, 52, count))
