"""What a contrastive loss sees: anchors against candidates.

Every loss of the InfoNCE family is a function of these matrices, so a second view, another
participant or a node that stands for many participants of other sites is just one more column.
"""

from dataclasses import dataclass
from typing import Literal

import torch

from fedcl.shapes import (
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
        positiveness: How much the candidate attracts the anchor, in [0, 1].
        allowed: False where an anchor meets itself.
        same_participant: True where the candidate is another view of the anchor's participant.
        log_multiplicity: Logarithm of how many participants a candidate stands for; 0 for one.
    """

    similarity: PairWeights
    positiveness: PairWeights
    allowed: PairMask
    same_participant: PairMask
    log_multiplicity: PerCandidate

    def candidates(self, exponent: PairWeights) -> PairWeights:
        """Return `exponent` with each candidate's multiplicity, -inf where it is not allowed."""
        return (exponent + self.log_multiplicity).masked_fill(~self.allowed, -torch.inf)

    def share(self, weights: PairWeights) -> PairWeights:
        """Return each candidate's share of the weights: rows sum to 1, or 0 where all are 0."""
        weights = weights * self.log_multiplicity.exp() * self.allowed
        total = weights.sum(dim=1, keepdim=True)
        return weights / torch.where(total > 0, total, 1.0)

    def positives(self) -> PairMask:
        """Return the candidates of the anchor's own class: those of positiveness 1."""
        return self.allowed & (self.positiveness == 1)


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
    flat = embeddings.reshape(participants * views, dim)
    similarity = gram(flat) / temperature
    if metric == "euclidean":
        norm = similarity.diagonal()
        similarity = 2 * similarity - norm[:, None] - norm[None, :]
    spread = positiveness.to(similarity.dtype)
    number = torch.arange(participants, device=flat.device).repeat_interleave(views)
    allowed = ~torch.eye(len(number), dtype=torch.bool, device=flat.device)
    return Pairs(
        similarity=similarity,
        positiveness=spread.repeat_interleave(views, dim=0).repeat_interleave(views, dim=1),
        allowed=allowed,
        same_participant=(number[:, None] == number[None, :]) & allowed,
        log_multiplicity=torch.zeros(len(number), dtype=similarity.dtype, device=flat.device),
    )


def gram(rows: torch.Tensor) -> PairWeights:
    """Return the scalar products of all rows, in float32 at least, also under autocast."""
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    with torch.autocast(rows.device.type, enabled=False):
        return rows @ rows.T
