"""EnD: decorrelate what shares the bias, entangle a class across biases; first moments only.

Tartaglione et al., "EnD: entangling and disentangling deep representations for bias correction",
CVPR 2021, https://arxiv.org/abs/2103.02023
"""

from typing import Literal

import torch

from fedcl.debiasing.bias_pairs import BiasPairs
from fedcl.debiasing.module import DebiasingTerm
from fedcl.kernels.label_kernels import LabelKernel
from fedcl.losses.terms import BatchTerm


def end(pairs: BiasPairs, *, side: Literal["positive", "negative", "both"]) -> dict[str, BatchTerm]:
    """Return the named terms of the batch.

    decorrelate (negative side): sum over biases b of |sum of similarities of pairs that share b|,
    over the number of such pairs, whatever their classes. entangle (positive side): mean of
    (1 - similarity) / 2 over bias-conflicting pairs weighted by positiveness. A term without pairs
    is not counted.

    Args:
        pairs: All pairs of a batch.
        side: negative: decorrelate; positive: entangle; both: the two.
    """
    terms = {}
    if side != "positive":
        together = pairs.aligned.to(pairs.similarity.dtype)
        per_anchor = (pairs.similarity * together).sum(dim=1)
        # A bias's sum, at every row of that bias, so that each row holds its share of it.
        peers = pairs.same_bias.to(together.dtype)
        with torch.autocast(peers.device.type, enabled=False):
            of_bias = (peers @ per_anchor).abs() / peers.sum(dim=1).clamp(min=1)
        count = together.sum()
        value = of_bias.sum() / count.clamp(min=1)
        terms["decorrelate"] = BatchTerm(value, (count > 0).to(value.dtype))
    if side != "negative":
        weights = pairs.positiveness * pairs.conflicting
        total = weights.sum()
        value = (weights * (1 - pairs.similarity) / 2).sum() / torch.where(total > 0, total, 1.0)
        terms["entangle"] = BatchTerm(value, (total > 0).to(value.dtype))
    return terms


class EnD(DebiasingTerm):
    """Decorrelate what shares the bias, entangle a class across biases.

    Args:
        kernel: Says how much two participants' labels are alike, in [0, 1].
        side: "negative" decorrelates, "positive" entangles, "both" adds the two.

    Example:
        >>> import torch
        >>> from fedcl.kernels import Discrete
        >>> from fedcl.debiasing import EnD
        >>> vectors = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
        >>> site = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
        >>> classes = torch.tensor([0, 0, 1, 1, 0, 0, 1, 1])
        >>> EnD(Discrete())(vectors, classes, site)
        tensor(0.6101)
    """

    name = "end"

    def __init__(
        self, kernel: LabelKernel, *, side: Literal["positive", "negative", "both"] = "both"
    ) -> None:
        super().__init__(kernel, side=side)
