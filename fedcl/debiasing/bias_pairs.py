"""Pairs of participants that share the bias (the site), and pairs that do not."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from fedcl.debiasing.groups import BiasGroups, Group
from fedcl.losses.pairs import between_views, gram
from fedcl.shapes import PairMask, PairWeights, PerParticipant, ViewEmbeddings


@dataclass(frozen=True)
class BiasPairs:
    """Every view against every view; views of one participant do not meet.

    Attributes:
        similarity: Cosine similarity, not divided by a temperature.
        positiveness: In [0, 1].
        aligned: Both participants share the bias.
        conflicting: They do not. A participant of unknown bias is in no pair.
        same_bias: Rows of equal bias, every row with itself and its other views included.
    """

    similarity: PairWeights
    positiveness: PairWeights
    aligned: PairMask
    conflicting: PairMask
    same_bias: PairMask

    @property
    def groups(self) -> BiasGroups:
        """The pairs as FairKL compares them."""

        def group(mask: PairMask) -> Group:
            counts = mask.to(self.similarity.dtype)
            return Group(self.similarity, self.positiveness, counts)

        return BiasGroups(group(self.aligned), group(self.conflicting))


def bias_pairs(
    vectors: ViewEmbeddings, positiveness: PairWeights, bias: PerParticipant
) -> BiasPairs:
    """Return the pairs of a batch.

    Unlike the authors' FairKL, which counts each participant's similarity 1 with itself among the
    bias-aligned, views of one participant are no pair: they are alike whatever the bias does.

    Args:
        vectors: Embeddings or representations, scaled to unit length here.
        positiveness: Between participants.
        bias: A code per participant, such as its site's number; NaN where it is not known.
    """
    participants, views, dim = vectors.shape
    rows = vectors.reshape(participants * views, dim)
    rows = F.normalize(rows.to(torch.promote_types(rows.dtype, torch.float32)), dim=1)
    number = torch.arange(participants, device=rows.device).repeat_interleave(views)
    other = number[:, None] != number[None, :]
    code = bias.repeat_interleave(views)
    known = ~code.isnan()
    same = code[:, None] == code[None, :]
    return BiasPairs(
        similarity=gram(rows),
        positiveness=between_views(positiveness, views).to(rows.dtype),
        aligned=same & other,
        conflicting=~same & other & known[:, None] & known[None, :],
        same_bias=same,
    )
