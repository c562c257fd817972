"""A small world of sites whose embeddings are known, and what one of them sees of the others."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fedcl.config.moments import Moments
from fedcl.kernels.positiveness import positiveness
from fedcl.moments.cross_site import CrossSite
from fedcl.moments.grid import node_shares, nodes_known
from fedcl.moments.snapshot import OwnParticipants, Snapshot, _shift, snapshot_of
from fedcl.moments.sums import NodeSums, sums_of

SETTINGS = {
    "grid": [{"kind": "spaced", "covariate": "age", "first": 15, "last": 65, "spacing": 5}],
    "order": 2,
    "components": "sum",
    "min_count": 1,
    "participants": None,
    "momentum": 0,
    "fresh": True,
}


def settings(**changes) -> Moments:
    """Every node is used, however few are there, unless a test asks for a threshold."""
    found = Moments.model_validate({**SETTINGS, **changes})
    return found if "min_count" in changes else found.model_copy(update={"min_count": 0.0})


def spaced(spacing: float) -> list[dict]:
    return [{"kind": "spaced", "covariate": "age", "first": 15, "last": 65, "spacing": spacing}]


@dataclass(frozen=True)
class World:
    """Participants of every site: unit embeddings (float64) and what is known of them."""

    embeddings: tuple[Tensor, ...]
    known: tuple[dict[str, Tensor], ...]

    def sums(self, site: int, moments: Moments) -> NodeSums:
        return sums_of(self.embeddings[site], node_shares(self.known[site], moments))

    def everybody_but(self, site: int) -> tuple[Tensor, dict[str, Tensor]]:
        others = [i for i in range(len(self.embeddings)) if i != site]
        known = {n: torch.cat([self.known[i][n] for i in others]) for n in self.known[0]}
        return torch.cat([self.embeddings[i] for i in others]), known

    def seen_from(self, site: int, moments: Moments, *, float32: bool = False) -> Snapshot:
        """The site's snapshot, kept in float64 so that equalities can be tight."""
        parts = [self.sums(i, moments) for i in range(len(self.embeddings)) if i != site]
        if moments.components == "sum":
            empty = NodeSums(*(0 * a for a in self.sums(site, moments).arrays().values()))
            parts = [sum(parts, start=empty)]
        if float32:
            parts = [part.astype(np.float32) for part in parts]
        residents = OwnParticipants(self.embeddings[site], node_shares(self.known[site], moments))
        snapshot = snapshot_of(
            tuple(parts),
            residents,
            moments,
            dim=self.embeddings[site].shape[1],
            device=torch.device("cpu"),
        )
        return snapshot if float32 else in_float64(snapshot, parts, moments)


def in_float64(snapshot: Snapshot, parts: list[NodeSums], moments: Moments) -> Snapshot:
    """The same nodes, their moments formed again without the cast to float32."""
    rows = []
    at = snapshot.others.at.tolist()
    place = 0
    for part in parts:
        for node in np.flatnonzero(part.count > 0):
            if place < len(at) and at[place] == node:
                rows.append((part, node))
                place += 1
    nodes = snapshot.others.nodes
    count = torch.tensor([p.count[g] for p, g in rows], dtype=torch.float64)
    dim = nodes.mean.shape[1]
    mean = torch.tensor(np.array([p.total[g] for p, g in rows]).reshape(-1, dim)) / count[:, None]
    first, second = np.triu_indices(dim)
    covariance = torch.zeros(len(rows), dim, dim, dtype=torch.float64)
    for i, (p, g) in enumerate(rows):
        covariance[i, first, second] = torch.from_numpy(p.squares[g]) / count[i]
        covariance[i, second, first] = torch.from_numpy(p.squares[g]) / count[i]
        covariance[i] -= torch.outer(mean[i], mean[i])
    grid = {name: values.double() for name, values in nodes_known(moments).items()}
    nodes = replace(nodes, count=count, mean=mean, covariance=covariance)
    others = replace(snapshot.others, nodes=nodes)
    shift = _shift(others, snapshot.residents)
    return replace(snapshot, others=others, candidates=others, grid=grid, shift=shift)


def world(
    generator: torch.Generator, sizes=(7, 13, 5), dim: int = 6, clusters: float | None = None
) -> World:
    """Sites of unequal size with overlapping ages; clustered embeddings where `clusters` is given:
    two directions per site, and noise of that size around them."""
    embeddings, known = [], []
    for size in sizes:
        z = torch.randn(size, dim, generator=generator, dtype=torch.float64)
        if clusters is not None:
            centres = torch.randn(2, dim, generator=generator, dtype=torch.float64)
            centres = torch.nn.functional.normalize(centres, dim=1)
            which = torch.randint(0, 2, (size,), generator=generator)
            z = centres[which] + clusters * z
        embeddings.append(torch.nn.functional.normalize(z, dim=1))
        age = 18 + 40 * torch.rand(size, generator=generator, dtype=torch.float64)
        sex = torch.randint(0, 2, (size,), generator=generator).double()
        known.append({"age": age, "sex": sex})
    return World(tuple(embeddings), tuple(known))


def batch_of(world: World, site: int, rows: list[int]) -> dict[str, Tensor]:
    return {name: values[rows] for name, values in world.known[site].items()}


def beside(snapshot: Snapshot, rows: list[int]) -> CrossSite:
    return CrossSite(snapshot, torch.tensor(rows))


def interpolated(anchors, candidates, kernel, moments: Moments) -> Tensor:
    """The kernel as the grid sees it: sum_g p_g(candidate) K(anchor, g), as loops."""
    grid = nodes_known(moments)
    at_nodes = positiveness(anchors, grid, kernel)
    shares = node_shares(candidates, moments)
    weights = torch.zeros(len(at_nodes), len(shares), dtype=torch.float64)
    for i in range(len(at_nodes)):
        for k in range(len(shares)):
            for g in range(shares.shape[1]):
                weights[i, k] += shares[k, g] * at_nodes[i, g]
    return weights
