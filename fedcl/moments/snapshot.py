"""Hold all sites' participants under one encoder: others at nodes, the site's own one by one.

For FairKL the participants of the site itself are encoded by the same encoder as the others: a
comparison of current similarities with those of the last exchange would penalise training itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fedcl.config.moments import Moments
from fedcl.kernels.positiveness import Known
from fedcl.losses.nodes import Nodes
from fedcl.moments.grid import node_count, nodes_known
from fedcl.moments.sums import NodeSums, unpacked
from fedcl.shapes import Embedding, Mean, NodeShares, Numbers

_LEAST_COVERAGE = 0.5
"""Residents with a smaller weight at nodes that others occupy are not compared with them."""


@dataclass(frozen=True)
class OwnParticipants:
    """Hold a site's own training participants, in the order of its rows.

    Attributes:
        embeddings: Embedding of each scan under the encoder of the snapshot.
        shares: Weight of each scan at every node of the grid, in [0, 1].
    """

    embeddings: Embedding
    shares: NodeShares


@dataclass(frozen=True)
class OtherParticipants:
    """Hold the participants of other sites, at the nodes that have enough of them.

    Attributes:
        nodes: Count, mean and covariance of the embeddings at each node.
        at: Index of each node on the grid, from 0.
    """

    nodes: Nodes
    at: Numbers

    @property
    def participants(self) -> float:
        """Return the number of participants at these nodes, the sum of their weights."""
        return float(self.nodes.count.sum())


@dataclass(frozen=True)
class Snapshot:
    """Hold the participants of all sites under one encoder, as one site uses them.

    Attributes:
        settings: Moments section of the objective: the grid and how its nodes are used.
        grid: Covariates of every node of the grid, by name.
        others: Participants of other sites under the encoder of the snapshot.
        candidates: Other sites' candidates in contrastive losses: `others`, or a mean over rounds.
        residents: Participants of this site under the same encoder; None where the site did not
            take part when the snapshot was taken.
        shift: Mean difference between residents' embeddings and others' mean at their age; None
            without residents or others.
    """

    settings: Moments
    grid: Known
    others: OtherParticipants
    candidates: OtherParticipants
    residents: OwnParticipants | None
    shift: Mean | None


def snapshot_of(
    others: Iterable[NodeSums],
    residents: OwnParticipants | None,
    settings: Moments,
    *,
    candidates: Iterable[NodeSums] | None = None,
    dim: int,
    device: torch.device,
) -> Snapshot:
    """Return the snapshot of all sites as one site uses it, float32 on its device.

    Args:
        others: Sums over the other sites: one for all, or one per site.
        residents: Participants of the site itself under the same encoder, or None.
        settings: Moments section of the objective.
        candidates: Sums over other sites for contrastive losses; None takes `others`.
        dim: Length of an embedding, >= 1.
        device: Device on which the training runs.
    """
    at_nodes = _others(tuple(others), settings, dim, device)
    contrasted = (
        at_nodes if candidates is None else _others(tuple(candidates), settings, dim, device)
    )
    points = nodes_known(settings)
    grid = {name: values.to(device, torch.float32) for name, values in points.items()}
    if residents is not None:
        residents = OwnParticipants(residents.embeddings.to(device), residents.shares.to(device))
    shift = _shift(at_nodes, residents)
    return Snapshot(settings, grid, at_nodes, contrasted, residents, shift)


def with_candidates(
    snapshot: Snapshot | None, settings: Moments, candidates: OtherParticipants
) -> Snapshot:
    """Return a snapshot with other candidates for contrastive losses; without one, with only these.

    Args:
        snapshot: Participants of all sites for debiasing terms, or None.
        settings: Moments section of the objective.
        candidates: Other sites' participants whom a contrast meets.
    """
    if snapshot is not None:
        return replace(snapshot, candidates=candidates)
    device = candidates.nodes.count.device
    points = nodes_known(settings)
    grid = {name: values.to(device, torch.float32) for name, values in points.items()}
    return Snapshot(settings, grid, candidates, candidates, None, None)


def _others(
    others: tuple[NodeSums, ...], settings: Moments, dim: int, device: torch.device
) -> OtherParticipants:
    everybody = NodeSums.add_all(others, node_count(settings), dim)
    enough = everybody.count >= settings.min_count
    parts = others or (everybody,)  # without other sites: one part that sums over nobody
    used = [np.flatnonzero(enough & (sums.count > 0)) for sums in parts]
    moments = [_moments(sums, at, dim) for sums, at in zip(parts, used, strict=True)]
    joined = [torch.cat(part) for part in zip(*moments, strict=True)]
    nodes = Nodes(*(part.to(device, torch.float32) for part in joined))
    return OtherParticipants(nodes, torch.from_numpy(np.concatenate(used)).to(device))


def _moments(sums: NodeSums, at: np.ndarray, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return count, mean and covariance at some nodes, float64 to limit cancellation."""
    count = torch.from_numpy(sums.count[at].astype(np.float64))
    mean = torch.from_numpy(sums.total[at].astype(np.float64)) / count[:, None]
    second = unpacked(sums.squares[at], dim) / count[:, None, None]
    return count, mean, second - mean[:, :, None] * mean[:, None, :]


def _shift(others: OtherParticipants, residents: OwnParticipants | None) -> Mean | None:
    """Return the mean over residents of their embedding minus the others' mean at their age.

    Residents at nodes without other participants are left out.
    """
    nodes, at = others.nodes, others.at
    if residents is None or not len(nodes):
        return None
    # With one part per site a node occurs several times: each is weighted by its participants.
    everybody = nodes.count.new_zeros(residents.shares.shape[1]).index_add(0, at, nodes.count)
    weights = residents.shares[:, at].to(nodes.mean.dtype) * (nodes.count / everybody[at])
    covered = weights.sum(dim=1)
    compared = covered > _LEAST_COVERAGE
    if not compared.any():
        return None
    expected = (weights @ nodes.mean)[compared] / covered[compared, None]
    return (residents.embeddings[compared].to(expected.dtype) - expected).mean(dim=0)
