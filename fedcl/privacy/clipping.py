"""Sum the gradients of participants, each clipped to an L2 norm of at most the clipping norm.

Abadi et al., "Deep learning with differential privacy", CCS 2016, https://arxiv.org/abs/1607.00133.
The unit is the participant: the gradients of both views of all their scans are added up before
clipping. Adding or removing a participant, however many scans they have and whatever these hold,
changes the sum by at most the clipping norm.
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
"""A function that returns the losses of the participants at some positions of a batch; each loss
depends on its own participant only."""


Owners = Sequence[int]
"""Number of the participant of each scan of a batch, from 0; each has at least one scan."""

Sum = Callable[[ParticipantLosses, Owners], Gradients]
"""A function that returns the clipped sum over the participants of a batch, which may be empty."""


@contextmanager
def clipped_sums(
    network: nn.Module, *, gradients: Literal["hooks", "loop"], clip_norm: float
) -> Iterator[Sum]:
    """Yield a function that computes the clipped sum of each batch.

    Args:
        network: Network without batch normalisation.
        gradients: Method: "hooks" computes all gradients of a batch in one pass by Opacus' hooks,
            and needs every layer to be called once, with the views of scan i of n in the rows i,
            n + i, ...; "loop" makes one pass for each participant, in the memory of one.
        clip_norm: Largest L2 norm of a participant's gradient, > 0.
    """
    if gradients == "loop":
        yield lambda losses, owners: _one_by_one(network, losses, owners, clip_norm=clip_norm)
        return
    # The import takes 2 s, and in a deployment every message is handled by a new process.
    from opacus import GradSampleModule

    # The loss is a sum over participants, so that the hooks must not rescale the gradients.
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
        # Torch warns that the inputs need no gradient, which is intended for scans.
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        losses(range(participants)).sum().backward()  # type: ignore[no-untyped-call]
    samples = [_of_participants(p, owners, participants) for p in parameters]
    _forget_samples(network)
    factor = _factors(samples, clip_norm=clip_norm)
    finite = factor > 0
    if (
        not finite.all()
    ):  # gradients that are not finite are left out, since 0 times infinity is NaN
        factor, samples = factor[finite], [s[finite] for s in samples]
    return [torch.einsum("i,i...->...", factor.to(s.dtype), s) for s in samples]


def _one_by_one(
    network: nn.Module, losses: ParticipantLosses, owners: Owners, *, clip_norm: float
) -> Gradients:
    parameters = trainable(network)
    total = [torch.zeros_like(p) for p in parameters]
    for position in range(len(set(owners))):
        gradients = torch.autograd.grad(
            losses([position]).sum(), parameters, allow_unused=True, materialize_grads=True
        )
        factor = _factors([g[None] for g in gradients], clip_norm=clip_norm)[0]
        if factor > 0:
            for summed, own in zip(total, gradients, strict=True):
                summed.add_(own * factor.to(own.dtype))
    return total


def trainable(network: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of a network that are trained, in its order."""
    return [p for p in network.parameters() if p.requires_grad]


def trainable_names(network: nn.Module) -> tuple[str, ...]:
    """Return the names of the parameters that are trained, in the network's order."""
    return tuple(name for name, p in network.named_parameters() if p.requires_grad)


def _forget_samples(network: nn.Module) -> None:
    for p in trainable(network):
        p.grad = None
        if hasattr(p, "grad_sample"):
            p.grad_sample = None


def _of_participants(parameter: nn.Parameter, owners: Owners, participants: int) -> Tensor:
    """Return the gradient of each participant, the sum over the rows of all their views."""
    total = parameter.new_zeros(participants, *parameter.shape)
    sample = getattr(parameter, "grad_sample", None)
    if sample is None:  # the loss does not reach this parameter
        return total
    of_rows = torch.as_tensor(owners, device=total.device).repeat(len(sample) // len(owners))
    return total.index_add_(0, of_rows, sample.detach())


def _factors(samples: Gradients, *, clip_norm: float) -> PerParticipant:
    """Return min(1, clip_norm / norm) for each participant, or 0 if a gradient is not finite."""
    # In float64 the square of 1e30 is finite, and rounding does not exceed the bound.
    norms = [torch.linalg.vector_norm(s.flatten(1), dim=1, dtype=torch.float64) for s in samples]
    norm = torch.stack(norms).square().sum(dim=0).sqrt()
    factor = (clip_norm / norm.clamp(min=1e-300)).clamp(max=1.0)
    return torch.where(torch.isfinite(norm), factor, 0.0)
