"""Computes the gradient of a site's part of a step that all sites take together."""

import time

import numpy as np
import torch

from fedcl.arrays.tensors import State
from fedcl.config.local_settings import LocalSettings
from fedcl.data.cohort import Rows
from fedcl.errors import RunError
from fedcl.local_round import loss_of_batch, seeded
from fedcl.messages.gradient_pieces import pieces_of
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import StepGradient, TermSum
from fedcl.messages.step_schedule import SitePart, common_rule, parts_of_site, shuffled_participants
from fedcl.models.network import Network
from fedcl.moments.cross_site import CrossSite
from fedcl.moments.snapshot import Snapshot
from fedcl.objective import Loss
from fedcl.seeds import derive
from fedcl.sites.moments import snapshot_of_round
from fedcl.sites.site import Site, network_to_read


def share_step(site: Site, order: Instruction) -> StepGradient:
    """Return the gradient of the site's part of a step under the received weights.

    Raises:
        FedclError: the weights do not fit the encoder, or the site has no part in the step.
    """
    started = time.perf_counter()
    part = _part(site, order)
    rows = _rows(site, order, part)
    network = network_to_read(site, order.weights, order.round)
    gradients, terms = step_gradient(network, site, rows, order, snapshot_of_round(site, order))
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
    network: Network, site: Site, rows: Rows, order: Instruction, others: Snapshot | None
) -> tuple[State, dict[str, TermSum]]:
    """Return the gradient of (mean loss times participants), as it leaves, and the terms' sums.

    Args:
        network: Network with the weights of the step, which are not changed.
        site: The site, whose draws are seeded by its label.
        rows: Rows of the scans in the step, ascending.
        order: Instruction with the numbers of the round and of the step.
        others: Participants of other sites as the batch is compared with them; None for none.
    """
    device = next(network.parameters()).device
    arrays = torch.from_numpy(site.cohort.load(rows)).to(device)
    cross_site = None
    if others is not None:
        positions = torch.as_tensor(np.searchsorted(site.rows, rows), device=device)
        cross_site = CrossSite(others, positions)
    network.train()
    network.zero_grad(set_to_none=True)
    seed = derive(site.config.seed, "network", site.label, order.round, order.stretch)
    with seeded(device, seed):
        loss = loss_of_batch(
            network,
            site.cohort,
            rows,
            arrays,
            LocalSettings.of(site.config),
            cross_site,
            round_number=order.round,
            epoch=_epoch(order),
        )
        (loss.value * site.cohort.participants(rows)).backward()  # type: ignore[no-untyped-call]
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


def _epoch(order: Instruction) -> int:
    return (order.stretch - 1) // order.steps


def _part(site: Site, order: Instruction) -> SitePart:
    """Return the site's part of the step.

    Raises:
        RunError: the site has none, or the round has no such step.
    """
    config = site.config
    most = config.local.epochs * order.steps
    if not 1 <= order.stretch <= most or order.round <= common_rule(config).local_rounds:
        raise RunError(
            f"the server asks for step {order.stretch} of {most} of round {order.round}, which "
            "has no such step"
        )
    parts = parts_of_site(
        config,
        site.label,
        site.participants,
        round_number=order.round,
        epoch=_epoch(order),
        steps=order.steps,
    )
    here = (order.stretch - 1) % order.steps
    for part in parts:
        if part.step == here:
            return part
    raise RunError(f"the site has no participants in step {order.stretch} of the round")


def _rows(site: Site, order: Instruction, part: SitePart) -> Rows:
    """Return the rows of all the scans of the participants in a part, ascending."""
    shuffled = shuffled_participants(
        site.config,
        site.label,
        site.participants,
        round_number=order.round,
        epoch=_epoch(order),
    )
    chosen = shuffled[part.first : part.end]
    rows: Rows = site.rows[np.isin(site.cohort.owners(site.rows), chosen)]
    return rows
