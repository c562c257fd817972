"""Logarithms of sums of exponentials, row by row, where entries may be left out."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fedcl.shapes import PairWeights, PerAnchor, PerCandidate


def log_sum(exponent: PairWeights) -> PerAnchor:
    """Return log sum_t e^{x_it}; a row of -inf alone gives -inf with a zero gradient, not NaN."""
    largest = exponent.detach().amax(dim=1)
    shift = torch.where(largest == -torch.inf, 0.0, largest)
    total = (exponent - shift[:, None]).exp().sum(dim=1)
    empty = total == 0
    return (torch.where(empty, 1.0, total).log() + shift).masked_fill(empty, -torch.inf)


def log_sum_without_each(exponent: PairWeights, log_multiplicity: PerCandidate) -> PairWeights:
    """Return log sum_{t != k} e^{x_it} for every i and k; -inf where nothing is left.

    Args:
        exponent: x, with the logarithm of each candidate's multiplicity already in it.
        log_multiplicity: A candidate that stands for m participants loses one of them: (m - 1) / m
            of its exponential stays in its own sum. Without a gradient.
    """
    others = 1 - (-log_multiplicity).exp()
    result: PairWeights = _WithoutEach.apply(exponent, others.clamp(min=0))  # type: ignore[no-untyped-call]
    return result


class _WithoutEach(torch.autograd.Function):
    """Subtracting e^{x_k} from the row's sum cancels where k dominates the row.

    At most the row's largest entry, `top`, can hold more than half of the sum. Its own sum is
    formed apart, in the value and again in the gradient; written out because automatic
    differentiation of the same steps takes twice the passes over the matrix.
    """

    @staticmethod
    def forward(ctx: Any, exponent: Tensor, kept: Tensor) -> Tensor:
        top = exponent.argmax(dim=1, keepdim=True)
        largest = exponent.gather(1, top)
        largest = torch.where(largest == -torch.inf, 0.0, largest)
        share = (exponent - largest).exp_()
        total = share.sum(dim=1, keepdim=True)
        share /= total.clamp(min=torch.finfo(share.dtype).tiny)
        without = share.mul_(kept - 1).log1p_().add_(total.log() + largest)
        own_rest = exponent.gather(1, top) + kept[top].log()
        without_top = log_sum(exponent.scatter(1, top, own_rest))[:, None]
        without.scatter_(1, top, without_top)
        ctx.save_for_backward(exponent, kept, top, total.log() + largest, without)
        return without

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        exponent, kept, top, everything, without = ctx.saved_tensors
        everything = torch.where(everything == -torch.inf, 0.0, everything)
        of_top = gradient.gather(1, top)
        without_top = without.gather(1, top)
        without_top = torch.where(without_top == -torch.inf, 0.0, without_top)
        # Sums of k other than top are at least half of the row's; the clamp is for empty rows.
        ratio = (everything - without).clamp_(max=1.0).exp_().mul_(gradient).scatter_(1, top, 0.0)
        of_all = ratio.sum(dim=1, keepdim=True)
        result = (exponent - everything).exp_().mul_(ratio.mul_(kept - 1).add_(of_all))
        through_top = (exponent - without_top).exp_().mul_(of_top)
        own_rest = exponent.gather(1, top) + kept[top].log()
        at_top = (own_rest - without_top).exp() * of_top
        return result.add_(through_top.scatter_(1, top, at_top)), None
