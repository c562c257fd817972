"""Pairs of anchors and candidates, which are all that a contrastive loss sees.

Every loss of the InfoNCE family is a function of these matrices, so a second view, another
participant or a node that stands for many participants of other sites is just one more column.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch

from fedcl.losses.nodes import Nodes, log_mean_exp
from fedcl.shapes import (
    BetweenParticipants,
    OfAnchors,
    OfCandidates,
    PairMask,
    PairWeights,
    PerCandidate,
    ToNodes,
    ViewEmbeddings,
)


@dataclass(frozen=True)
class Pairs:
    """Anchors (rows) against candidates (columns).

    Attributes:
        similarity: Divided by the temperature; finite, also where an anchor meets itself.
        positiveness: How much the candidate attracts the anchor, in [0, 1]; 0 where not allowed.
        allowed: False where an anchor meets itself.
        participants: Number of each anchor's participant, and of each candidate's; a candidate
            that stands for several participants has a number of its own.
        log_multiplicity: Logarithm of how many participants a candidate stands for; None: one.
        spread: Variance of the similarity within each of the last candidates, which are nodes (the
            similarity is then the mean); None: there are none, or theirs is not used.
        largest: No similarity is above it.
    """

    similarity: PairWeights
    positiveness: PairWeights
    allowed: PairMask
    participants: tuple[OfAnchors, OfCandidates]
    log_multiplicity: PerCandidate | None = None
    spread: ToNodes | None = None
    largest: float = float("inf")

    def repulsion(self, *, damped: bool = False) -> PairWeights:
        """Return the similarity that a denominator sees.

        A candidate's e^{r}, or e^{r (1 - w)} if damped, is the mean exponential of those it stands
        for; for one participant r is its similarity.
        """
        if self.spread is None:
            return self.similarity
        nodes = self.spread.shape[1]
        power = 1 - self.positiveness[:, -nodes:] if damped else 1.0
        of_nodes = log_mean_exp(
            self.similarity[:, -nodes:], self.spread, power, largest=self.largest
        )
        return torch.cat([self.similarity[:, :-nodes], of_nodes], dim=1)

    def candidates(self, exponent: PairWeights) -> PairWeights:
        """Return `exponent` with the logarithm of each candidate's multiplicity added."""
        return exponent if self.log_multiplicity is None else exponent + self.log_multiplicity

    def weights(self, attraction: PairWeights | PairMask) -> PairWeights:
        """Return `attraction`, 0 where not allowed, times each candidate's multiplicity."""
        weights = attraction.to(self.similarity.dtype)
        return weights if self.log_multiplicity is None else weights * self.log_multiplicity.exp()

    def positives(self) -> PairMask:
        """Return the candidates of the anchor's own class: those of positiveness 1."""
        return self.positiveness == 1

    def own_views(self) -> PairMask:
        """Return the candidates that are other views of the anchor's participant."""
        anchors, candidates = self.participants
        return self.allowed & (anchors[:, None] == candidates[None, :])


def pairs_of_views(
    embeddings: ViewEmbeddings,
    positiveness: PairWeights,
    *,
    temperature: float,
    metric: Literal["cosine", "euclidean"] = "cosine",
) -> Pairs:
    """Return every view of every participant against all the other views.

    Args:
        embeddings: Unit vectors; the computation is float32 at least, also under autocast.
        positiveness: Between participants, shape (participant, participant), ones on the diagonal.
        temperature: Divides the similarity; dimensionless, > 0.
        metric: Similarity is <z, z'> (cosine) or -||z - z'||^2 (euclidean).
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    participants, views, dim = embeddings.shape
    if positiveness.shape != (participants, participants):
        raise ValueError(
            f"positiveness must be ({participants}, {participants}), "
            f"got {tuple(positiveness.shape)}"
        )
    rows = embeddings.reshape(participants * views, dim)
    similarity = gram(rows, temperature)
    if metric == "euclidean":
        norm = similarity.diagonal()
        similarity = 2 * similarity - norm[:, None] - norm[None, :]
    number = torch.arange(participants, device=rows.device).repeat_interleave(views)
    allowed = ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    return Pairs(
        similarity=similarity,
        positiveness=between_views(positiveness, views).to(similarity.dtype) * allowed,
        allowed=allowed,
        participants=(number, number),
        largest=1 / temperature,
    )


def own_views(embeddings: ViewEmbeddings, *, temperature: float) -> Pairs:
    """Return every view against the views of its own participant, itself not allowed.

    Row by row: nothing of one participant is computed from another, not even times zero.

    Args:
        embeddings: Unit vectors, one row for each view of each participant.
        temperature: Divides the cosine similarity, > 0.
    """
    participants, views, _ = embeddings.shape
    embeddings = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
    with torch.autocast(embeddings.device.type, enabled=False):
        similarity = (
            (embeddings[:, :, None, :] * embeddings[:, None, :, :]).sum(dim=3).flatten(0, 1)
        )
    other = ~torch.eye(views, dtype=torch.bool, device=embeddings.device).repeat(participants, 1)
    own_number = torch.zeros(views, dtype=torch.long, device=embeddings.device)
    return Pairs(
        similarity=similarity / temperature,
        positiveness=other.to(similarity.dtype),
        allowed=other,
        participants=(own_number[:1].expand(len(similarity)), own_number),
        largest=1 / temperature,
    )


def beside_nodes(
    pairs: Pairs,
    embeddings: ViewEmbeddings,
    nodes: Nodes,
    positiveness: ToNodes,
    *,
    temperature: float,
    order: Literal[1, 2],
) -> Pairs:
    """Return the pairs with every node as a further candidate of every anchor.

    A node stands for as many candidates as its participants have views.

    Args:
        pairs: Pairs of the views in `embeddings`.
        embeddings: Unit vectors, one row for each view of each participant.
        nodes: Participants who are not among the anchors.
        positiveness: Between participants and nodes, shape (participant, node).
        temperature: Divides the cosine similarity, > 0; the one that the pairs were built with.
        order: 1: a denominator sees a node's mean similarity; 2: its spread too.
    """
    participants, views, dim = embeddings.shape
    rows = embeddings.reshape(participants * views, dim)
    rows = rows.to(pairs.similarity.dtype)
    anchors, candidates = pairs.participants
    own_number = pairs.similarity.shape[1] + torch.arange(len(nodes), device=rows.device)
    log_count = (views * nodes.count.to(rows.dtype)).log()
    so_far = pairs.log_multiplicity
    if so_far is None:
        so_far = torch.zeros(pairs.similarity.shape[1], dtype=rows.dtype, device=rows.device)
    weights = positiveness.to(rows.dtype).repeat_interleave(views, dim=0)
    return replace(
        pairs,
        similarity=torch.cat([pairs.similarity, nodes.similarity(rows) / temperature], dim=1),
        positiveness=torch.cat([pairs.positiveness, weights], dim=1),
        allowed=torch.cat([pairs.allowed, torch.ones_like(weights, dtype=torch.bool)], dim=1),
        participants=(anchors, torch.cat([candidates, own_number])),
        log_multiplicity=torch.cat([so_far, log_count]),
        spread=nodes.spread(rows) / temperature**2 if order == 2 else None,
    )


def between_views(positiveness: BetweenParticipants, views: int) -> PairWeights:
    """Return what holds between participants as it holds between their views."""
    n = len(positiveness)
    blocks = positiveness[:, None, :, None].expand(n, views, n, views)
    return blocks.reshape(n * views, n * views)


def gram(rows: torch.Tensor, temperature: float = 1.0) -> PairWeights:
    """Return the scalar products of all rows over the temperature, in float32 at least."""
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    with torch.autocast(rows.device.type, enabled=False):
        return (rows / temperature) @ rows.T
