"""Compare a site's batch with the other sites: further contrastive candidates and FairKL groups.

A site with one scanner has no participants of other sites at hand. A contrastive loss and FairKL
need only the distribution of their similarities to an anchor, which the moments at the nodes give
(docs/explanation/moments.md).
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from fedcl.config.kernels import Kernel
from fedcl.debiasing.groups import BiasGroups, Group
from fedcl.kernels.positiveness import Known, positiveness, within_batch
from fedcl.losses.nodes import Nodes, RemoteParticipants
from fedcl.losses.pairs import Pairs, beside_nodes
from fedcl.moments.snapshot import OwnParticipants, Snapshot
from fedcl.shapes import AnchorRows, Embedding, Numbers, OfAnchors, ToNodes, ViewEmbeddings

_SMALLEST_SHARE = 1e-6
"""Nodes that all lie together stand for so small a share of their participants: its logarithm is
finite."""


@dataclass(frozen=True)
class CrossSite:
    """Hold a snapshot of all sites together with the positions of one batch in it.

    Attributes:
        snapshot: Participants of all sites under one encoder.
        positions: Position of each participant of the batch among the site's rows, from 0.
    """

    snapshot: Snapshot
    positions: Numbers

    @property
    def contrasts(self) -> bool:
        """Return whether other sites' participants are candidates of the contrastive losses."""
        return len(self.snapshot.candidates.nodes) > 0 and self.snapshot.settings.participants != 0


def own_before(cross_site: CrossSite) -> Embedding | None:
    """Return the embeddings of the batch's participants in the snapshot; None without residents."""
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
    if not cross_site.contrasts:
        return pairs
    snapshot = cross_site.snapshot
    return beside_nodes(
        pairs,
        embeddings,
        _scaled(snapshot),
        positiveness(known, snapshot.grid, kernel)[:, snapshot.candidates.at],
        temperature=temperature,
        order=snapshot.settings.order,
    )


def remote_of(known: Known, cross_site: CrossSite, prior: Kernel | None) -> RemoteParticipants:
    """Return the other sites' participants for decoupled uniformity, with a kernel as its prior."""
    snapshot = cross_site.snapshot
    kernel = None
    if prior is not None:
        points = {
            name: torch.cat([known[name].to(values.dtype), values[snapshot.candidates.at]])
            for name, values in snapshot.grid.items()
        }
        kernel = within_batch(points, prior)
    return RemoteParticipants(_scaled(snapshot), kernel, snapshot.settings.order)


def bias_groups(
    vectors: ViewEmbeddings, known: Known, cross_site: CrossSite, kernel: Kernel
) -> BiasGroups:
    """Return each anchor's pairs with its own site and with all others, both from the snapshot.

    For both groups the kernel is interpolated on the grid. The anchor's participant is left out of
    its own group.

    Args:
        vectors: Embeddings of the batch, scaled to unit length here.
        known: Covariates of the batch's participants, by name.
        cross_site: Snapshot of all sites and the positions of the batch in it.
        kernel: Kernel that gives the degree of positiveness of a pair, in [0, 1].
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
        conflicting=_group_of_others(rows, to_grid[:, snapshot.others.at], snapshot.others.nodes),
    )


def _group_of_others(rows: AnchorRows, weights: ToNodes, nodes: Nodes) -> Group:
    if not len(nodes):
        return _nobody(rows)
    similarity = nodes.similarity(rows)
    counts = nodes.count.to(rows.dtype).expand_as(similarity)
    return Group(similarity, weights, counts, nodes.spread(rows))


def _scaled(snapshot: Snapshot) -> Nodes:
    """Return the candidates' nodes with the counts that `moments.participants` asks for."""
    candidates, wanted = snapshot.candidates, snapshot.settings.participants
    nodes = candidates.nodes
    match wanted:
        case None:
            share = 1.0
        case "auto":
            share = max(nodes.variance_between(), _SMALLEST_SHARE)
        case _:
            share = wanted / candidates.participants
    return replace(nodes, count=nodes.count * share)


def _own_group(
    rows: AnchorRows, to_grid: ToNodes, owner: OfAnchors, residents: OwnParticipants | None
) -> Group:
    if residents is None:
        return _nobody(rows)
    with torch.autocast(rows.device.type, enabled=False):
        similarity = rows @ residents.embeddings.to(rows.dtype).T
        weights = to_grid @ residents.shares.to(rows.dtype).T
    everybody = torch.arange(len(residents.embeddings), device=rows.device)
    return Group(similarity, weights, (owner[:, None] != everybody[None, :]).to(rows.dtype))


def _nobody(rows: AnchorRows) -> Group:
    nothing = rows.new_zeros(len(rows), 1)
    return Group(nothing, nothing, nothing)
