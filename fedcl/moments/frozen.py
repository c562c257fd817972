"""Use released moments in a loss, as fixed points that stand for the participants of all sites.

A participant who is compared with these points only has a loss that depends on no other
participant, so that clipping bounds its gradient. Everything here is computed from what was
released, so it costs no further privacy.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fedcl.config.kernels import Kernel
from fedcl.config.moments import PrivateMoments
from fedcl.debiasing.groups import BiasGroups, Group
from fedcl.kernels.positiveness import Known, positiveness
from fedcl.losses.nodes import Nodes
from fedcl.losses.pairs import Pairs, beside_nodes, own_views
from fedcl.moments.grid import nodes_known
from fedcl.moments.private import PrivateSums, matrix_of, within_norm
from fedcl.shapes import ToNodes, ViewEmbeddings


@dataclass(frozen=True)
class NoisyMoments:
    """Hold the noisy moments that every site receives: one release, or a mean over several.

    Attributes:
        round: Number of the round of the last release, from 1.
        slots: Labels of the sites whose residuals are summed separately.
        sizes: Number of training participants of all sites without a slot, then of each slot.
        sums: Noisy sums over the training participants of all sites, float32.
    """

    round: int
    slots: tuple[str, ...]
    sizes: tuple[int, ...]
    sums: PrivateSums

    def means(self) -> Tensor:
        """Return the mean embedding of every node, no longer than 1; shape (node, dim), float64."""
        count = torch.from_numpy(self.sums.count.astype(np.float64)).clamp(min=1.0)
        return within_norm(
            torch.from_numpy(self.sums.total.astype(np.float64)) / count[:, None], 1.0
        )

    def blended(self, now: "NoisyMoments", momentum: float) -> "NoisyMoments":
        """Return momentum * this + (1 - momentum) * now; a new slot takes the values of now."""
        before = np.array(now.sums.residuals, dtype=np.float64)
        before[0] = self.sums.residuals[0]
        for number, site in enumerate(now.slots, 1):
            if site in self.slots:
                before[number] = self.sums.residuals[1 + self.slots.index(site)]
        earlier = replace(self.sums.astype(np.float64), residuals=before)
        mean = earlier * momentum + now.sums.astype(np.float64) * (1 - momentum)
        return replace(now, sums=mean.astype(np.float32))


@dataclass(frozen=True)
class FrozenMoments:
    """Hold released moments as one site uses them.

    Attributes:
        grid: Covariates of every used node, by name.
        everybody: Moments of all sites' participants at the nodes, the candidates of a contrast.
        own: Moments of the site's own participants; None where the site has no slot.
        others: Moments of all other sites' participants; None where the site has no slot.
    """

    grid: Known
    everybody: Nodes
    own: Nodes | None
    others: Nodes | None


def frozen_moments(
    released: NoisyMoments, site: str, settings: PrivateMoments, *, device: torch.device
) -> FrozenMoments:
    """Return released moments in the form that a site's losses use, float32.

    The mean of a site at a node is the mean of all sites plus the site's mean residual.

    Args:
        released: Noisy moments received from the server.
        site: Label of the site that trains.
        settings: Private moments section: grid, least count of a used node, bound of residuals.
        device: Device on which the training runs.
    """
    sums, size = released.sums, np.asarray(released.sizes, dtype=np.float64)
    dim = sums.total.shape[1]
    used = torch.from_numpy(np.flatnonzero(sums.count >= settings.min_count))
    count = torch.from_numpy(sums.count.astype(np.float64))[used]
    means = released.means()[used]
    covariance = _psd(matrix_of(sums.squares, dim) / size.sum())

    def nodes(residual: Tensor, participants: float) -> Nodes:
        counts = count * (participants / count.sum())
        spread = covariance.expand(len(used), dim, dim)
        parts = (counts, means + residual, spread)
        return Nodes(*(part.to(device, torch.float32) for part in parts))

    own = others = None
    if site in released.slots:
        slot = 1 + released.slots.index(site)
        residuals = torch.from_numpy(sums.residuals.astype(np.float64))
        rest = float(size.sum() - size[slot])
        residual = within_norm(residuals[slot] / size[slot], settings.residual_norm)
        own = nodes(residual, float(size[slot]))
        residual = (residuals.sum(dim=0) - residuals[slot]) / max(rest, 1.0)
        others = nodes(within_norm(residual, settings.residual_norm), max(rest, 1.0))
    no_residual = torch.zeros(dim, dtype=torch.float64)
    everybody = nodes(no_residual, float(settings.participants or count.sum()))
    points = nodes_known(settings)
    grid = {name: values[used].to(device, torch.float32) for name, values in points.items()}
    return FrozenMoments(grid, everybody, own, others)


def pairs_with_moments(
    embeddings: ViewEmbeddings,
    known: Known,
    frozen: FrozenMoments,
    kernel: Kernel,
    *,
    temperature: float,
) -> Pairs:
    """Return pairs of every view with the participant's other views and with all sites' nodes.

    Args:
        embeddings: Embeddings of Euclidean norm 1, shape (participant, view, dim).
        known: Values of the grid's covariates for each participant, by name.
        frozen: Released moments as this site uses them.
        kernel: Kernel that gives the degree of positiveness of a pair, in [0, 1].
        temperature: Divisor of the cosine similarity, dimensionless, > 0.
    """
    pairs = own_views(embeddings, temperature=temperature)
    if not len(frozen.everybody):
        return pairs
    weights = positiveness(known, frozen.grid, kernel)
    return beside_nodes(
        pairs, embeddings, frozen.everybody, weights, temperature=temperature, order=2
    )


def frozen_groups(
    embeddings: ViewEmbeddings, known: Known, frozen: FrozenMoments, kernel: Kernel
) -> BiasGroups:
    """Return every view's pairs with the nodes of its own site and with those of all others.

    Args:
        embeddings: Embeddings of Euclidean norm 1, shape (participant, view, dim).
        known: Values of the grid's covariates for each participant, by name.
        frozen: Released moments as this site uses them.
        kernel: Kernel that gives the degree of positiveness of a pair, in [0, 1].
    """
    rows = embeddings.flatten(0, 1).to(torch.promote_types(embeddings.dtype, torch.float32))
    weights = positiveness(known, frozen.grid, kernel).to(rows.dtype)
    weights = weights.repeat_interleave(embeddings.shape[1], dim=0)
    return BiasGroups(
        aligned=_group(rows, weights, frozen.own), conflicting=_group(rows, weights, frozen.others)
    )


def _group(rows: Tensor, weights: ToNodes, nodes: Nodes | None) -> Group:
    if nodes is None or not len(nodes):
        nothing = rows.new_zeros(len(rows), 1)
        return Group(nothing, nothing, nothing)
    similarity = nodes.similarity(rows)
    counts = nodes.count.to(rows.dtype).expand_as(similarity)
    return Group(similarity, weights, counts, nodes.spread(rows))


def _psd(matrix: Tensor) -> Tensor:
    """Return the nearest positive semi-definite matrix; noise can make a variance negative."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0.0)) @ vectors.T
