"""What a site's batch sees of the other sites: everybody as they were under one encoder.

A site with one scanner has no participant of another site at hand. Both what a contrastive loss
and what FairKL ask of the others is how their similarities to an anchor are distributed, and the
moments at the nodes give that (docs/moments.md). For FairKL the participants of the site itself are
taken from the same encoder too: comparing similarities of today with others of the last exchange
would penalise training itself.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from fedcl.config.kernels import Kernel
from fedcl.config.moments import Moments
from fedcl.debiasing.groups import BiasGroups, Group
from fedcl.losses.kernels import Known, positiveness, within_batch
from fedcl.losses.nodes import Nodes
from fedcl.losses.pairs import Pairs, beside_nodes
from fedcl.losses.uniformity import Remote
from fedcl.moments.grid import node_count, nodes_known
from fedcl.moments.sums import NodeSums, unpacked
from fedcl.shapes import (
    Embedding,
    Mean,
    NodeShares,
    Numbers,
    OfAnchors,
    Rows,
    ToNodes,
    ViewEmbeddings,
)

_MET = 0.5
"""The least share of a resident at nodes that others are at too, to be compared with them."""


@dataclass(frozen=True)
class Residents:
    """A site's own training participants, in the order of its rows.

    Attributes:
        embeddings: Under the snapshot's encoder.
        shares: Of each at every node of the grid.
    """

    embeddings: Embedding
    shares: NodeShares


@dataclass(frozen=True)
class Snapshot:
    """Everybody under one encoder, as one site sees them.

    Attributes:
        settings: The grid and how the nodes are used.
        grid: The covariates of every node of the grid.
        others: Participants of other sites, at the nodes that have enough of them.
        at: Where on the grid each of `others` is.
        residents: None where the site was not asked when the snapshot was taken.
        shift: How far the residents' mean stands from that of others of their age; None without
            residents or others.
    """

    settings: Moments
    grid: Known
    others: Nodes
    at: Numbers
    residents: Residents | None
    shift: Mean | None

    @property
    def participants(self) -> float:
        """How many participants of other sites the nodes hold."""
        return float(self.others.count.sum())


@dataclass(frozen=True)
class CrossSite:
    """A snapshot beside one batch.

    Attributes:
        snapshot: Of everybody.
        positions: Of the batch's participants among the site's rows.
    """

    snapshot: Snapshot
    positions: Numbers


def snapshot_of(
    others: tuple[NodeSums, ...],
    residents: Residents | None,
    settings: Moments,
    *,
    dim: int,
    device: torch.device,
) -> Snapshot:
    """Return what a site sees, as float32 on its device.

    Args:
        others: Sums over the other sites: one, or one per site.
        residents: The site's own participants under the same encoder.
        settings: Of the moments.
        dim: Of an embedding.
        device: Where the training runs.
    """
    enough = NodeSums.add_all(others, node_count(settings), dim).count >= settings.min_count
    counts, means, covariances, at = [], [], [], []
    for sums in others:
        used = np.flatnonzero(enough & (sums.count > 0))
        count = torch.from_numpy(sums.count[used].astype(np.float64))
        mean = torch.from_numpy(sums.total[used].astype(np.float64)) / count[:, None]
        second = unpacked(sums.squares[used], dim) / count[:, None, None]
        counts.append(count)
        means.append(mean)
        # About the mean, here in float64: a variance formed later from float32 would cancel.
        covariances.append(second - mean[:, :, None] * mean[:, None, :])
        at.append(torch.from_numpy(used))
    empty = (torch.zeros(0), torch.zeros(0, dim), torch.zeros(0, dim, dim), torch.zeros(0).long())
    found = (counts, means, covariances, at)
    parts = [torch.cat(p) if p else e for p, e in zip(found, empty, strict=True)]
    nodes = Nodes(*(part.to(device, torch.float32) for part in parts[:3]))
    grid = {
        name: values.to(device, torch.float32) for name, values in nodes_known(settings).items()
    }
    if residents is not None:
        residents = Residents(residents.embeddings.to(device), residents.shares.to(device))
    where = parts[3].to(device)
    return Snapshot(settings, grid, nodes, where, residents, _shift(nodes, where, residents))


def _shift(others: Nodes, at: Numbers, residents: Residents | None) -> Mean | None:
    """Mean over residents of their embedding less the others' mean at their age.

    Residents whose nodes hold nobody else are left out.
    """
    if residents is None or not len(others):
        return None
    # With a part for each site a node occurs several times: weigh each by whom it holds.
    everybody = others.count.new_zeros(residents.shares.shape[1]).index_add(0, at, others.count)
    weights = residents.shares[:, at].to(others.mean.dtype) * (others.count / everybody[at])
    covered = weights.sum(dim=1)
    met = covered > _MET
    if not met.any():
        return None
    expected = (weights @ others.mean)[met] / covered[met, None]
    return (residents.embeddings[met].to(expected.dtype) - expected).mean(dim=0)


def own_before(cross_site: CrossSite) -> Embedding | None:
    """Return the batch's participants as they were in the snapshot."""
    residents = cross_site.snapshot.residents
    return None if residents is None else residents.embeddings[cross_site.positions]


def with_others(
    pairs: Pairs,
    embeddings: ViewEmbeddings,
    known: Known,
    cross_site: CrossSite,
    kernel: Kernel,
    *,
    temperature: float,
) -> Pairs:
    """Return the pairs of a batch with the other sites' nodes as further candidates."""
    snapshot = cross_site.snapshot
    if not len(snapshot.others):
        return pairs
    return beside_nodes(
        pairs,
        embeddings,
        _scaled(snapshot),
        positiveness(known, snapshot.grid, kernel)[:, snapshot.at],
        temperature=temperature,
        order=snapshot.settings.order,
    )


def remote_of(known: Known, cross_site: CrossSite, prior: Kernel | None) -> Remote:
    """Return the other sites as decoupled uniformity sees them, with a kernel as its prior."""
    snapshot = cross_site.snapshot
    kernel = None
    if prior is not None:
        points = {
            name: torch.cat([known[name].to(values.dtype), values[snapshot.at]])
            for name, values in snapshot.grid.items()
        }
        kernel = within_batch(points, prior)
    return Remote(_scaled(snapshot), kernel, snapshot.settings.order)


def bias_groups(
    vectors: ViewEmbeddings, known: Known, cross_site: CrossSite, kernel: Kernel
) -> BiasGroups:
    """Return an anchor's pairs with its own site and with all others, both of the snapshot.

    Both groups see the kernel as the grid interpolates it. The anchor's participant is left out of
    its own group.

    Args:
        vectors: Embeddings of the batch, scaled to unit length here.
        known: Of the batch's participants.
        cross_site: The snapshot.
        kernel: Degree of positiveness.
    """
    snapshot = cross_site.snapshot
    participants, views, dim = vectors.shape
    rows = vectors.reshape(participants * views, dim)
    rows = F.normalize(rows.to(torch.promote_types(rows.dtype, torch.float32)), dim=1)
    to_grid = positiveness(known, snapshot.grid, kernel).to(rows.dtype)
    to_grid = to_grid.repeat_interleave(views, dim=0)
    owner = cross_site.positions.repeat_interleave(views)
    return BiasGroups(
        aligned=_own_group(rows, to_grid, owner, snapshot.residents),
        conflicting=_group_of_others(rows, to_grid[:, snapshot.at], snapshot.others),
    )


def _group_of_others(rows: Rows, weights: ToNodes, nodes: Nodes) -> Group:
    if not len(nodes):
        return _nobody(rows)
    similarity = nodes.similarity(rows)
    counts = nodes.count.to(rows.dtype).expand_as(similarity)
    return Group(similarity, weights, counts, nodes.spread(rows))


def _scaled(snapshot: Snapshot) -> Nodes:
    """The others as a batch meets them: as many as moments.participants says."""
    nodes, wanted = snapshot.others, snapshot.settings.participants
    if wanted is None or not len(nodes):
        return nodes
    return replace(nodes, count=nodes.count * (wanted / snapshot.participants))


def _own_group(
    rows: Rows, to_grid: ToNodes, owner: OfAnchors, residents: Residents | None
) -> Group:
    if residents is None:
        return _nobody(rows)
    with torch.autocast(rows.device.type, enabled=False):
        similarity = rows @ residents.embeddings.to(rows.dtype).T
        weights = to_grid @ residents.shares.to(rows.dtype).T
    everybody = torch.arange(len(residents.embeddings), device=rows.device)
    return Group(similarity, weights, (owner[:, None] != everybody[None, :]).to(rows.dtype))


def _nobody(rows: Rows) -> Group:
    nothing = rows.new_zeros(len(rows), 1)
    return Group(nothing, nothing, nothing)
