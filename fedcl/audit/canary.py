"""Finds the participant who moves a clipped sum most, by gradient ascent on their views and age.

The gradient of a clipped sum by a scan is a second derivative. First derivatives at two shifted
parameters give it, so that losses need no second one: Pearlmutter, "Fast exact multiplication by
the Hessian", Neural Computation 1994, https://doi.org/10.1162/neco.1994.6.1.147.
"""

from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from fedcl.audit.batch import Batch, BatchLosses
from fedcl.models.network import AGE_CENTRE_YEARS, AGE_SPREAD_YEARS, Network
from fedcl.shapes import Embedding, Inputs, Representation

Parameters = dict[str, Tensor]

_SHIFT = 1e-4
"""Shift of the parameters, relative to a unit vector, in float64."""

_YEAR = 0.05
"""Shift of the age in years, for its numerical derivative."""

_RATE = 0.2
"""Learning rate of Adam, in the unit of the scan and in decades of age."""


@dataclass(frozen=True)
class Canary:
    """The participant found by the search.

    Attributes:
        batch: Batch that holds this one participant.
        distance: Norm of the change that they make to the clipped sum, at least 0.
    """

    batch: Batch
    distance: float


def find_canary(
    losses: BatchLosses,
    network: Network,
    others: Batch,
    *,
    clip_norm: float,
    restarts: int,
    steps: int,
    generator: torch.Generator,
) -> Canary:
    """Return the best of all steps of several ascents from random starts.

    Each participant's gradient is that of a copy of the parameters which they alone use, as Opacus'
    hooks see it; the losses may compare participants or not.

    Args:
        losses: The losses whose gradients the mechanism clips and adds.
        network: Network at which gradients are taken; it is not changed.
        others: The other participants in the sum.
        clip_norm: Largest norm of a participant's gradient, greater than 0.
        restarts: Number of ascents, at least 1.
        steps: Number of steps of each ascent.
        generator: Random generator of the starting points.
    """
    exact = deepcopy(network).double().eval()
    others = others.to(torch.float64)
    canaries = [
        _ascend(losses, exact, others, _start(others, generator), clip_norm, steps)
        for _ in range(restarts)
    ]
    return max(canaries, key=lambda canary: canary.distance)


def _start(others: Batch, generator: torch.Generator) -> Batch:
    size = 4 * torch.rand((), generator=generator)
    shape = others.first[:1].shape
    views = [size * torch.randn(shape, generator=generator) for _ in range(2)]
    ages = 20 + 60 * torch.rand(1, generator=generator)
    return Batch(views[0], views[1], ages).to(torch.float64)


def _ascend(
    losses: BatchLosses, network: Network, others: Batch, start: Batch, clip_norm: float, steps: int
) -> Canary:
    views = [view.clone().requires_grad_() for view in (start.first, start.second)]
    decades = (start.ages / 10).requires_grad_()
    optimizer = torch.optim.Adam([*views, decades], lr=_RATE)
    without = _flat_sum(_gradients(losses, network, others), clip_norm)
    best = Canary(start, 0.0)
    for _ in range(steps):
        canary = Batch(views[0], views[1], 10 * decades)
        gradients = _gradients(losses, network, others.followed_by(canary))
        moved = _flat_sum(gradients, clip_norm) - without
        size = float(moved.norm())
        if size > best.distance:
            best = Canary(Batch(*(v.detach().clone() for v in vars(canary).values())), size)
        push = _push(gradients, moved / moved.norm().clamp(min=1e-300), clip_norm)
        slopes = [
            torch.autograd.grad(
                losses(_Separated(network, push, sign * _SHIFT), others.followed_by(canary)).sum(),
                views,
            )
            for sign in (1, -1)
        ]
        for view, more, less in zip(views, *slopes, strict=True):
            view.grad = -(more - less) / (2 * _SHIFT)
        decades.grad = -_slope_of_age(losses, network, others, canary, moved, without, clip_norm)
        optimizer.step()
    return best


def _slope_of_age(
    losses: BatchLosses,
    network: Network,
    others: Batch,
    canary: Batch,
    moved: Tensor,
    without: Tensor,
    clip_norm: float,
) -> Tensor:
    """Return the derivative of the distance by the age in decades, as a central difference.

    A numerical derivative, so that kernels of age need none of their own.
    """
    sizes = []
    for years in (_YEAR, -_YEAR):
        other = Batch(canary.first, canary.second, canary.ages + years)
        total = _flat_sum(_gradients(losses, network, others.followed_by(other)), clip_norm)
        sizes.append((total - without).norm())
    return (10 * (sizes[0] - sizes[1]) / (2 * _YEAR)).detach().expand(1)


def _gradients(losses: BatchLosses, network: Network, batch: Batch) -> Tensor:
    """Return each participant's gradient, shape (participant, value)."""
    separated = _Separated(network, torch.zeros(len(batch), 1), 0.0)
    gradients = torch.autograd.grad(
        losses(separated, batch).sum(),
        list(separated.copies.values()),
        allow_unused=True,
        materialize_grads=True,
    )
    return torch.cat([gradient.flatten(1) for gradient in gradients], dim=1)


def _flat_sum(gradients: Tensor, clip_norm: float) -> Tensor:
    return (_factors(gradients, clip_norm) * gradients).sum(dim=0)


def _factors(gradients: Tensor, clip_norm: float) -> Tensor:
    norm = gradients.norm(dim=1, keepdim=True).clamp(min=1e-300)
    return (clip_norm / norm).clamp(max=1)


def _push(gradients: Tensor, direction: Tensor, clip_norm: float) -> Tensor:
    """Return the derivative of <direction, clipped sum> by each participant's gradient."""
    factors = _factors(gradients, clip_norm)
    unit = gradients / gradients.norm(dim=1, keepdim=True).clamp(min=1e-300)
    along = (unit @ direction)[:, None] * unit
    return factors * torch.where(factors < 1, direction - along, direction)


class _Separated(Network):
    """The network with a copy of its parameters for each participant, each shifted by a row."""

    def __init__(self, network: Network, rows: Tensor, shift: float) -> None:
        super().__init__(network.encoder, network.projector, network.age_head)
        self.copies: Parameters = {}
        start = 0
        for name, parameter in network.named_parameters():
            copies = parameter.detach().expand(len(rows), *parameter.shape)
            if shift:
                part = rows[:, start : start + parameter.numel()]
                self.copies[name] = copies + shift * part.view_as(copies)
            else:
                self.copies[name] = copies.clone().requires_grad_()
            start += parameter.numel()

    def represent(self, inputs: Inputs) -> Representation:
        return self._each("encoder", inputs)

    def project(self, representation: Representation) -> Embedding:
        return self._each("projector", representation)

    def predict_age(self, representation: Representation) -> Embedding:
        return AGE_CENTRE_YEARS + AGE_SPREAD_YEARS * self._each("age_head", representation)

    def _each(self, name: str, rows: Tensor) -> Tensor:
        """Apply a module to each participant's rows, which are the views at i, n + i, ..."""
        module, prefix = getattr(self, name), f"{name}."
        own = {n.removeprefix(prefix): p for n, p in self.copies.items() if n.startswith(prefix)}
        count = len(next(iter(own.values())))
        views = rows.view(-1, count, *rows.shape[1:])
        call = vmap(partial(functional_call, module), in_dims=(0, 1), out_dims=1)
        return call(own, views).flatten(0, 1)
