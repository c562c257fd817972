"""Logarithms of sums of exponentials, row by row, where entries may be left out.

Both functions write their gradient out: the matrices are the cost of a loss, and automatic
differentiation of the same steps takes twice the passes over them.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fedcl.shapes import PairMask, PairWeights, PerAnchor, PerCandidate

_CHUNK = 1 << 18
"""Entries worked on at once: 1 MB in float32, which stays in a core's cache."""


def log_sum(exponent: PairWeights, allowed: PairMask) -> PerAnchor:
    """Return log sum e^{x_it} over the allowed t; an empty row is -inf with a zero gradient.

    Args:
        exponent: x, with the logarithm of each candidate's multiplicity already in it.
        allowed: Which entries the sums hold.
    """
    result: PerAnchor = _LogSum.apply(exponent, allowed)  # type: ignore[no-untyped-call]
    return result


def log_sum_without_each(
    similarity: PairWeights,
    allowed: PairMask,
    weights: PairWeights,
    *,
    lost: float = 1.0,
    damped: bool = False,
    log_multiplicity: PerCandidate | None = None,
) -> PerAnchor:
    """Return sum_k m_k w_ik log(sum_t m_t e^{x_it} - lost e^{x_ik}) for every row i.

    t and k are the allowed candidates. With lost = 1 one participant of each k leaves its own sum.
    A row is -inf, with a zero gradient, where a k of positive weight leaves nothing. Everything but
    the similarity has no gradient.

    Args:
        similarity: s; the exponents x are s, or s (1 - w) if damped.
        allowed: Which entries the sums hold.
        weights: w >= 0, 0 where not allowed; of one participant, not times the multiplicity.
        lost: Share of its own exponential that k does not meet, in [0, 1]: 1 - e^-epsilon under a
            margin epsilon.
        damped: Whether the weights, in [0, 1], damp the exponents. Done here and not by the caller,
            so that no further matrix is kept.
        log_multiplicity: log m, of how many participants each t stands for; None: one each.
    """
    result: PerAnchor = _WithoutEach.apply(  # type: ignore[no-untyped-call]
        similarity, allowed, weights, lost, damped, log_multiplicity
    )
    return result


def _chunks(matrix: Tensor) -> list[slice]:
    rows = max(1, _CHUNK // matrix.shape[1])
    return [slice(start, start + rows) for start in range(0, len(matrix), rows)]


class _LogSum(torch.autograd.Function):
    """Value and gradient at once, a few rows at a time: one matrix is kept, the gradient."""

    @staticmethod
    def forward(ctx: Any, exponent: Tensor, allowed: Tensor) -> Tensor:
        value, gradient = torch.empty_like(exponent[:, :1]), torch.empty_like(exponent)
        for chunk in _chunks(exponent):
            x = exponent[chunk].masked_fill(~allowed[chunk], -torch.inf)
            largest = _finite(x.amax(dim=1, keepdim=True))
            x.sub_(largest).exp_()
            total = x.sum(dim=1, keepdim=True)
            value[chunk] = total.log() + largest
            torch.div(x, torch.where(total > 0, total, 1.0), out=gradient[chunk])
        ctx.save_for_backward(gradient)
        return value[:, 0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (of_exponent,) = ctx.saved_tensors
        return of_exponent * gradient[:, None], None


class _WithoutEach(torch.autograd.Function):
    """Value and gradient of `log_sum_without_each` at once, a few rows at a time."""

    @staticmethod
    def forward(
        ctx: Any,
        similarity: Tensor,
        allowed: Tensor,
        weights: Tensor,
        lost: float,
        damped: bool,
        log_multiplicity: Tensor | None,
    ) -> Tensor:
        value, gradient = torch.empty_like(similarity[:, :1]), torch.empty_like(similarity)
        share: Tensor | float = lost
        if log_multiplicity is not None:
            share = lost * (-log_multiplicity).exp().clamp(max=1)
        for chunk in _chunks(similarity):
            x, w, slope = similarity[chunk], weights[chunk], gradient[chunk]
            if damped:
                x = torch.addcmul(x, x, w, value=-1)
            if log_multiplicity is not None:
                x, w = x + log_multiplicity, w * log_multiplicity.exp()
            x = x.masked_fill(~allowed[chunk], -torch.inf)
            value[chunk] = _without_each(x, w, share, slope)
            if damped:
                slope.addcmul_(slope, weights[chunk], value=-1)
        ctx.save_for_backward(gradient)
        return value[:, 0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        (of_similarity,) = ctx.saved_tensors
        return of_similarity * gradient[:, None], None, None, None, None, None


def _without_each(x: Tensor, weights: Tensor, lost: Tensor | float, gradient: Tensor) -> Tensor:
    """Return the rows' values, shape (row, 1), and fill in their `gradient`; x is written over.

    Subtracting e^{x_k} from the row's sum cancels where k dominates the row. At most the row's
    largest entry, `top`, can hold more than half of the sum. So the exponentials are formed
    without it, relative to the second largest, and top's own sum from these alone.
    """
    largest, top = x.max(dim=1, keepdim=True)
    weight_of_top = weights.gather(1, top)
    rest = x.scatter_(1, top, -torch.inf)
    second = _finite(rest.amax(dim=1, keepdim=True))
    rest.sub_(second).exp_()
    log_rest = rest.sum(dim=1, keepdim=True).log_().add_(second)
    everything = _finite(torch.logaddexp(log_rest, largest))
    lost_of_top = lost[top] if isinstance(lost, Tensor) else torch.full_like(largest, lost)
    kept_of_top = largest + torch.log1p(-lost_of_top)
    without_top = torch.logaddexp(log_rest, kept_of_top)

    scale = (second - everything).exp()  # rest * scale are shares of the whole, at most 1 / 2
    left = (rest * -scale).mul_(lost)
    value = left.log1p().mul_(weights).sum(dim=1, keepdim=True)
    value += everything * (weights.sum(dim=1, keepdim=True) - weight_of_top)
    value += torch.where(weight_of_top > 0, weight_of_top * without_top, 0.0)

    ratio = torch.div(weights, left.add_(1.0), out=left).scatter_(1, top, 0.0)
    of_all = ratio.sum(dim=1, keepdim=True)
    without_top = _finite(without_top)
    from_top = weight_of_top * (second - without_top).exp()
    ratio.mul_(lost).mul_(-scale).add_(scale * of_all + from_top)
    at_top = of_all * (largest - everything).exp()
    at_top += weight_of_top * (kept_of_top - without_top).exp()
    torch.mul(ratio, rest, out=gradient)
    gradient.scatter_(1, top, at_top)
    return value


def _finite(exponent: Tensor) -> Tensor:
    """Return the exponents with 0 for the -inf of an empty row, so that differences are defined."""
    return torch.where(exponent == -torch.inf, 0.0, exponent)
