"""What a contrastive loss sees: anchors against candidates.

Every loss of the InfoNCE family is a function of these matrices, so a second view, another
participant or a node that stands for many participants of other sites is just one more column.
"""

from dataclasses import dataclass
from typing import Literal

import torch

from fedcl.shapes import (
    BetweenParticipants,
    Numbers,
    PairMask,
    PairWeights,
    PerCandidate,
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
    """

    similarity: PairWeights
    positiveness: PairWeights
    allowed: PairMask
    participants: tuple[Numbers, Numbers]
    log_multiplicity: PerCandidate | None = None

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
