"""Synthetic participants of an audit, with two views and an age each, and their clipped sum."""

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
    """The views and ages of some participants, in one order.

    Attributes:
        first: First view of each participant, volumes or feature rows, shape (participant, ...).
        second: Second view of each participant, of the same shape.
        ages: Age of each participant in years, shape (participant,).
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
        """Return the participants of both batches, those of this batch first."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Batch(*(torch.cat(pair) for pair in pairs))

    def to(self, dtype: torch.dtype) -> "Batch":
        """Return the same participants in another floating-point precision."""
        return Batch(*(value.to(dtype) for value in vars(self).values()))


BatchLosses = Callable[[Network, Batch], Tensor]
"""Maps a network and a batch to one loss per participant, whose sum a mechanism differentiates."""


def losses_of(task: Objective, frozen: FrozenMoments | None = None) -> BatchLosses:
    """Return the losses that participant privacy differentiates.

    Args:
        task: Objective that is a sum of one term per participant.
        frozen: Released moments, if the objective compares participants with them.
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
    """Return the sum to which a private step adds its noise, with all parameters in one row."""
    with clipped_sums(network, gradients=gradients, clip_norm=clip_norm) as total:
        sums = total(lambda positions: losses(network, batch.at(positions)), range(len(batch)))
    return torch.cat([gradient.flatten() for gradient in sums])


def alike(count: int, shape: tuple[int, ...], generator: torch.Generator) -> Batch:
    """Return participants with almost the same scan and age.

    If a loss lets participants move each other, an outsider then moves all of them the same way.
    """
    views = [1 + 0.02 * torch.randn(count, *shape, generator=generator) for _ in range(2)]
    return Batch(views[0], views[1], torch.linspace(48, 52, count))
