"""What a contrastive loss sees: anchors against candidates.

Every loss of the InfoNCE family is a function of these four matrices, so a second view, another
participant or a node that stands for many participants of other sites is just one more column.
"""

from dataclasses import dataclass

import torch

from fedcl.shapes import PairMask, PairWeights, PerAnchor, PerCandidate, ViewEmbeddings


@dataclass(frozen=True)
class Pairs:
    """Anchors (rows) against candidates (columns).

    Attributes:
        similarity: Cosine similarity divided by the temperature.
        positiveness: How much the candidate attracts the anchor, in [0, 1].
        allowed: False where an anchor meets itself.
        log_multiplicity: Logarithm of how many participants a candidate stands for; 0 for one.
    """

    similarity: PairWeights
    positiveness: PairWeights
    allowed: PairMask
    log_multiplicity: PerCandidate

    def weights(self) -> PairWeights:
        """Return each candidate's share of the attraction: rows sum to 1, or 0 if none attract."""
        weight = self.positiveness * self.log_multiplicity.exp() * self.allowed
        total = weight.sum(dim=1, keepdim=True)
        return weight / torch.where(total > 0, total, 1.0)

    def has_positive(self) -> PerAnchor:
        """Return 1 for an anchor that some candidate attracts, 0 for one that a loss skips."""
        attracted = (self.positiveness * self.allowed).sum(dim=1) > 0
        return attracted.to(self.similarity.dtype)


def pairs_of_views(
    embeddings: ViewEmbeddings, positiveness: PairWeights, *, temperature: float
) -> Pairs:
    """Return every view of every participant against all the other views.

    Args:
        embeddings: Unit vectors; the computation is float32 at least, also under autocast.
        positiveness: Between participants, shape (participant, participant), ones on the diagonal.
        temperature: Divides the cosine similarity; dimensionless, > 0.
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
    flat = flat.to(torch.promote_types(flat.dtype, torch.float32))
    with torch.autocast(flat.device.type, enabled=False):
        similarity = flat @ flat.T / temperature
    spread = positiveness.to(flat.dtype)
    spread = spread.repeat_interleave(views, dim=0).repeat_interleave(views, dim=1)
    anchors = participants * views
    return Pairs(
        similarity=similarity,
        positiveness=spread,
        allowed=~torch.eye(anchors, dtype=torch.bool, device=flat.device),
        log_multiplicity=torch.zeros(anchors, dtype=flat.dtype, device=flat.device),
    )
