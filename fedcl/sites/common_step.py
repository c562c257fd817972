"""Computes the gradient of a site's part of a step that all sites take together."""

import time

import numpy as np
import torch

from fedcl.arrays.tensors import State
from fedcl.data.cohort import Rows
from fedcl.errors import RunError
from fedcl.messages.gradient_pieces import pieces_of
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import StepGradient, TermSum
from fedcl.messages.step_releases import meets_the_step
from fedcl.models.network import Network
from fedcl.moments.cross_site import CrossSite
from fedcl.moments.live import pull_of_others
from fedcl.objective import Loss
from fedcl.sites.held_weights import weights_received
from fedcl.sites.live_step import meet_others, require_held
from fedcl.sites.moments import snapshot_of_round
from fedcl.sites.site import Site, network_to_read
from fedcl.sites.step_part import encoded_part, part_of, rows_of, seeded_step


def share_step(site: Site, order: Instruction) -> StepGradient:
    """Return the gradient of the site's part of a step under the received weights.

    Raises:
        FedclError: the weights do not fit the encoder, or the site has no part in the step.
    """
    started = time.perf_counter()
    part = part_of(site, order)
    if meets_the_step(site.config):
        require_held(order)
        if order.slopes is None:
            raise RunError("the server asks for a gradient before it has said all sites' slopes")
    elif order.slopes is not None or order.in_step is not None:
        raise RunError("the experiment does not compare the participants of a step")
    network = network_to_read(site, weights_received(site, order), order.round)
    gradients, terms = step_gradient(network, site, rows_of(site, order, part), order)
    return StepGradient(
        site=site.label,
        round=order.round,
        step=order.stretch,
        participants=site.participants,
        part=part.participants,
        gradients=gradients,
        terms=terms,
        seconds=time.perf_counter() - started,
    )


def step_gradient(
    network: Network, site: Site, rows: Rows, order: Instruction
) -> tuple[State, dict[str, TermSum]]:
    """Return the gradient of (mean loss times participants), as it leaves, and the terms' sums.

    Args:
        network: Network with the weights of the step, which are not changed.
        site: The site, whose draws are seeded by its label.
        rows: Rows of the scans in the step, ascending.
        order: Instruction with the numbers of the round and of the step, and what is known of the
            other sites.
    """
    network.zero_grad(set_to_none=True)
    device = next(network.parameters()).device
    with seeded_step(site, order, device):
        batch = encoded_part(network, site, rows, order)
        if order.slopes is None:
            others = snapshot_of_round(site, order)
            seen = None if others is None else CrossSite(others, batch.positions)
            loss = batch.loss(seen)
            value = loss.value * batch.participants
        else:
            met = meet_others(batch, order)
            loss = met.loss
            value = met.value + pull_of_others(met.own, order.slopes, met.slopes)
        value.backward()  # type: ignore[no-untyped-call]
    return _gradients(network), _terms(loss)


def _gradients(network: Network) -> State:
    """Return the parameters' gradients as they travel, over byte strings that are sent as such."""
    parameters = dict(network.named_parameters())
    pieces = pieces_of({name: tuple(p.shape) for name, p in parameters.items()})
    found = {
        number: np.frombuffer(b"".join(_gradient(parameters[name]) for name in piece), np.float32)
        for number, piece in pieces.items()
    }
    network.zero_grad(set_to_none=True)  # gradients take as much memory as the weights
    return found


def _gradient(parameter: torch.Tensor) -> memoryview:
    """Return the gradient of a parameter, zero where the loss does not depend on it."""
    gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    return gradient.detach().float().cpu().contiguous().numpy().data


def _terms(loss: Loss) -> dict[str, TermSum]:
    return {name: TermSum.of(*sums.tolist()) for name, sums in loss.terms.items()}
