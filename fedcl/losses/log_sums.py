"""Logarithms of sums of exponentials, row by row, where entries may be left out.

Both write their gradient out: the matrices are the cost of a loss, and automatic differentiation
of the same steps takes twice the passes over them.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fedcl.shapes import PairWeights, PerAnchor, PerCandidate


def log_sum(exponent: PairWeights) -> PerAnchor:
    """Return log sum_t e^{x_it}; a row of -inf alone gives -inf with a zero gradient, not NaN."""
    result: PerAnchor = _LogSum.apply(exponent)  # type: ignore[no-untyped-call]
    return result


def log_sum_without_each(
    exponent: PairWeights, log_multiplicity: PerCandidate | None = None
) -> PairWeights:
    """Return log sum_{t != k} e^{x_it} for every i and k; -inf where nothing is left.

    Args:
        exponent: x, with the logarithm of each candidate's multiplicity already in it.
        log_multiplicity: A candidate that stands for m participants loses one of them: (m - 1) / m
            of its exponential stays in its own sum. Without a gradient; None: one each.
    """
    lost = None if log_multiplicity is None else (-log_multiplicity).exp().clamp(max=1)
    result: PairWeights = _WithoutEach.apply(exponent, lost)  # type: ignore[no-untyped-call]
    return result


class _LogSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, exponent: Tensor) -> Tensor:
        largest = _finite(exponent.amax(dim=1, keepdim=True))
        share = (exponent - largest).exp_()
        total = share.sum(dim=1, keepdim=True)
        ctx.save_for_backward(share, total)
        return (total.log() + largest)[:, 0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        share, total = ctx.saved_tensors
        scale = torch.where(total > 0, gradient[:, None] / total, 0.0)
        return share * scale


class _WithoutEach(torch.autograd.Function):
    """Subtracting e^{x_k} from the row's sum cancels where k dominates the row.

    At most the row's largest entry, `top`, can hold more than half of the sum. So the exponentials
    are formed without it, relative to the second largest, and top's own sum from these alone.
    """

    @staticmethod
    def forward(ctx: Any, exponent: Tensor, lost: Tensor | None) -> Tensor:
        largest, top = exponent.max(dim=1, keepdim=True)
        rest = exponent.scatter(1, top, -torch.inf)
        second = _finite(rest.amax(dim=1, keepdim=True))
        rest.sub_(second).exp_()
        total = rest.sum(dim=1, keepdim=True)
        log_rest = total.log() + second
        everything = torch.logaddexp(log_rest, largest)
        without_top = log_rest
        if lost is not None:
            without_top = torch.logaddexp(log_rest, largest + (1 - lost[top]).log())
        # Share of each but top in the whole sum: `rest` times one number per row, at most 1 / 2.
        scale = (second - _finite(everything)).exp()
        without = rest * -scale
        if lost is not None:
            without *= lost
        without.log1p_().add_(everything).scatter_(1, top, without_top)
        ctx.save_for_backward(rest, scale, second, top, largest, everything, without_top, lost)
        return without

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        rest, scale, second, top, largest, everything, without_top, lost = ctx.saved_tensors
        of_top = gradient.gather(1, top)
        remains = rest * -scale
        if lost is not None:
            remains *= lost
        ratio = torch.div(gradient, remains.add_(1.0), out=remains).scatter_(1, top, 0.0)
        of_all = ratio.sum(dim=1, keepdim=True)
        if lost is not None:
            ratio *= lost
        from_top = of_top * (second - _finite(without_top)).exp()
        result = ratio.mul_(-scale).add_(scale * of_all + from_top).mul_(rest)
        at_top = of_all * (largest - _finite(everything)).exp()
        if lost is not None:
            kept = largest + (1 - lost[top]).log()
            at_top = at_top + of_top * (kept - _finite(without_top)).exp()
        return result.scatter_(1, top, at_top), None


def _finite(exponent: Tensor) -> Tensor:
    """-inf, of an empty row, becomes 0: differences with it stay defined."""
    return torch.where(exponent == -torch.inf, 0.0, exponent)
