"""Everybody under one encoder, as one site sees them: the others at nodes, its own one by one.

For FairKL the participants of the site itself are taken from the same encoder as the others:
comparing similarities of today with others of the last exchange would penalise training itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedcl.config.moments import Moments
from fedcl.kernels.positiveness import Known
from fedcl.losses.nodes import Nodes
from fedcl.moments.grid import node_count, nodes_known
from fedcl.moments.sums import NodeSums, unpacked
from fedcl.shapes import Embedding, Mean, NodeShares, Numbers

_MET = 0.5
"""The least share of a resident at nodes that others are at too, to be compared with them."""


@dataclass(frozen=True)
class OwnParticipants:
    """A site's own training participants, in the order of its rows.

    Attributes:
        embeddings: Under the snapshot's encoder.
        shares: Of each at every node of the grid.
    """

    embeddings: Embedding
    shares: NodeShares


@dataclass(frozen=True)
class OtherParticipants:
    """Participants of other sites, at the nodes that have enough of them.

    Attributes:
        nodes: What is known of them.
        at: Where on the grid each node is.
    """

    nodes: Nodes
    at: Numbers

    @property
    def participants(self) -> float:
        """How many there are."""
        return float(self.nodes.count.sum())


@dataclass(frozen=True)
class Snapshot:
    """Everybody under one encoder, as one site sees them.

    Attributes:
        settings: The grid and how the nodes are used.
        grid: The covariates of every node of the grid.
        others: Participants of other sites under that encoder.
        candidates: The others as contrastive losses meet them: `others`, or a mean over rounds.
        residents: None where the site was not asked when the snapshot was taken.
        shift: How far the residents' mean stands from that of others of their age; None without
            residents or others.
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
    """Return what a site sees, as float32 on its device.

    Args:
        others: Sums over the other sites: one, or one per site.
        residents: The site's own participants under the same encoder.
        settings: Of the moments.
        candidates: Sums over the others as contrastive losses meet them; None: `others`.
        dim: Of an embedding.
        device: Where the training runs.
    """
    seen = _others(tuple(others), settings, dim, device)
    met = seen if candidates is None else _others(tuple(candidates), settings, dim, device)
    points = nodes_known(settings)
    grid = {name: values.to(device, torch.float32) for name, values in points.items()}
    if residents is not None:
        residents = OwnParticipants(residents.embeddings.to(device), residents.shares.to(device))
    return Snapshot(settings, grid, seen, met, residents, _shift(seen, residents))


def _others(
    others: tuple[NodeSums, ...], settings: Moments, dim: int, device: torch.device
) -> OtherParticipants:
    everybody = NodeSums.add_all(others, node_count(settings), dim)
    enough = everybody.count >= settings.min_count
    parts = others or (everybody,)  # nobody
    used = [np.flatnonzero(enough & (sums.count > 0)) for sums in parts]
    moments = [_moments(sums, at, dim) for sums, at in zip(parts, used, strict=True)]
    joined = [torch.cat(part) for part in zip(*moments, strict=True)]
    nodes = Nodes(*(part.to(device, torch.float32) for part in joined))
    return OtherParticipants(nodes, torch.from_numpy(np.concatenate(used)).to(device))


def _moments(sums: NodeSums, at: np.ndarray, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Count, mean and covariance at some nodes; formed in float64, where nothing cancels."""
    count = torch.from_numpy(sums.count[at].astype(np.float64))
    mean = torch.from_numpy(sums.total[at].astype(np.float64)) / count[:, None]
    second = unpacked(sums.squares[at], dim) / count[:, None, None]
    return count, mean, second - mean[:, :, None] * mean[:, None, :]


def _shift(others: OtherParticipants, residents: OwnParticipants | None) -> Mean | None:
    """Mean over residents of their embedding less the others' mean at their age.

    Residents whose nodes hold nobody else are left out.
    """
    nodes, at = others.nodes, others.at
    if residents is None or not len(nodes):
        return None
    # With a part for each site a node occurs several times: weigh each by whom it holds.
    everybody = nodes.count.new_zeros(residents.shares.shape[1]).index_add(0, at, nodes.count)
    weights = residents.shares[:, at].to(nodes.mean.dtype) * (nodes.count / everybody[at])
    covered = weights.sum(dim=1)
    met = covered > _MET
    if not met.any():
        return None
    expected = (weights @ nodes.mean)[met] / covered[met, None]
    return (residents.embeddings[met].to(expected.dtype) - expected).mean(dim=0)
