"""The sum of participants' gradients, each no longer than the clipping norm.

Abadi et al., "Deep learning with differential privacy", CCS 2016, https://arxiv.org/abs/1607.00133.
The unit is the participant: both views of all their scans are added up before clipping. Adding or
removing anybody, however many their scans and whatever these hold, moves the sum by at most the
norm.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from fedcl.shapes import PerParticipant

Gradients = list[Tensor]
"""One tensor for each trainable parameter, in the network's order."""

ParticipantLosses = Callable[[Sequence[int]], PerParticipant]
"""The losses of the participants at these positions of a batch, each a function of its own only."""


Owners = Sequence[int]
"""Whose scan each of a batch's scans is; participants count from 0, and each has one or more."""

Sum = Callable[[ParticipantLosses, Owners], Gradients]
"""The clipped sum over the participants of a batch, who may be none."""


@contextmanager
def clipped_sums(
    network: nn.Module, *, gradients: Literal["hooks", "loop"], clip_norm: float
) -> Iterator[Sum]:
    """Yield what forms the clipped sum of each batch.

    Args:
        network: Without batch normalisation.
        gradients: hooks: one pass through Opacus' hooks for all of a batch. The rows of every
            layer, called once, are views: those of scan i of n at i, n + i, ... loop: a pass for
            each participant, in the memory of one.
        clip_norm: > 0, in the unit of the gradient.
    """
    if gradients == "loop":
        yield lambda losses, owners: _one_by_one(network, losses, owners, clip_norm=clip_norm)
        return
    from opacus import GradSampleModule  # 2 s: every message of a deployed site is a new process

    # The loss is a sum over participants, so that the hooks scale nothing.
    wrapped = GradSampleModule(network, loss_reduction="sum")
    try:
        yield lambda losses, owners: _by_hooks(network, losses, owners, clip_norm=clip_norm)
    finally:
        wrapped.remove_hooks()
        _forget_samples(network)


def _by_hooks(
    network: nn.Module, losses: ParticipantLosses, owners: Owners, *, clip_norm: float
) -> Gradients:
    parameters, participants = trainable(network), len(set(owners))
    if participants == 0:
        return [torch.zeros_like(p) for p in parameters]
    _forget_samples(network)
    with warnings.catch_warnings():
        # Scans need no gradient; that is what torch remarks on, and right here.
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        losses(range(participants)).sum().backward()  # type: ignore[no-untyped-call]
    samples = [_of_participants(p, owners, participants) for p in parameters]
    _forget_samples(network)
    factor = _factors(samples, clip_norm=clip_norm)
    held = factor > 0
    if not held.all():  # nothing finite comes of 0 times infinity
        factor, samples = factor[held], [s[held] for s in samples]
    return [torch.einsum("i,i...->...", factor.to(s.dtype), s) for s in samples]


def _one_by_one(
    network: nn.Module, losses: ParticipantLosses, owners: Owners, *, clip_norm: float
) -> Gradients:
    parameters = trainable(network)
    total = [torch.zeros_like(p) for p in parameters]
    for position in range(len(set(owners))):
        found = torch.autograd.grad(
            losses([position]).sum(), parameters, allow_unused=True, materialize_grads=True
        )
        factor = _factors([g[None] for g in found], clip_norm=clip_norm)[0]
        if factor > 0:
            for held, one in zip(total, found, strict=True):
                held.add_(one * factor.to(one.dtype))
    return total


def trainable(network: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that are trained."""
    return [p for p in network.parameters() if p.requires_grad]


def trainable_names(network: nn.Module) -> tuple[str, ...]:
    """Return their names, in the same order."""
    return tuple(name for name, p in network.named_parameters() if p.requires_grad)


def _forget_samples(network: nn.Module) -> None:
    for p in trainable(network):
        p.grad = None
        if hasattr(p, "grad_sample"):
            p.grad_sample = None


def _of_participants(parameter: nn.Parameter, owners: Owners, participants: int) -> Tensor:
    """Gradient of each participant: the sum over the rows of all their views."""
    total = parameter.new_zeros(participants, *parameter.shape)
    sample = getattr(parameter, "grad_sample", None)
    if sample is None:  # the loss does not reach this parameter
        return total
    of_rows = torch.as_tensor(owners, device=total.device).repeat(len(sample) // len(owners))
    return total.index_add_(0, of_rows, sample.detach())


def _factors(samples: Gradients, *, clip_norm: float) -> PerParticipant:
    """min(1, clip_norm / norm) of each participant; 0 where anything is not finite."""
    # float64: the square of 1e30 is finite there, and rounding adds nothing to the bound.
    norms = [torch.linalg.vector_norm(s.flatten(1), dim=1, dtype=torch.float64) for s in samples]
    norm = torch.stack(norms).square().sum(dim=0).sqrt()
    factor = (clip_norm / norm.clamp(min=1e-300)).clamp(max=1.0)
    return torch.where(torch.isfinite(norm), factor, 0.0)
