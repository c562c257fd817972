"""Answers the two questions before a step whose contrast meets all sites' participants in it."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fedcl.errors import RunError
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import StepMoments, StepSlopes
from fedcl.messages.step_releases import meets_the_step
from fedcl.moments.cross_site import CrossSite
from fedcl.moments.live import (
    LiveSums,
    NodeSlopes,
    candidates_in_step,
    live_sums,
    others_in_step,
    slopes_by,
    told_problem,
)
from fedcl.moments.of_a_site import resident_shares
from fedcl.moments.snapshot import with_candidates
from fedcl.objective import Loss
from fedcl.sites.held_weights import held_weights, weights_received
from fedcl.sites.moments import snapshot_of_round
from fedcl.sites.site import Site, network_to_read
from fedcl.sites.step_part import EncodedPart, encoded_part, part_of, rows_of, seeded_step

_MOST_PARTS = 128
"""Largest number of parts whose embeddings a process keeps between the two questions of a step."""

_last_parts: dict[tuple[Path, int, int, str], EncodedPart] = {}


@dataclass(frozen=True)
class MetOthers:
    """A site's part of a step, compared with the other sites' participants in the step.

    Attributes:
        loss: Loss of the part.
        value: Loss times the number of participants, with a gradient.
        own: Sums over the part, with a gradient.
        slopes: Derivatives of `value` by the sums over the others.
    """

    loss: Loss
    value: Tensor
    own: LiveSums
    slopes: NodeSlopes


def share_step_moments(site: Site, order: Instruction) -> StepMoments:
    """Return the sums over the site's part of a step, and hold the weights until the gradient.

    Raises:
        FedclError: the weights do not fit the encoder, or the site has no part in the step.
    """
    started = time.perf_counter()
    part = part_of(site, order)
    _require_asked(site)
    held_weights(site.config.output).put(order.held, order.weights)
    sums = _own_sums(_encoded(site, order))
    return StepMoments(
        site=site.label,
        round=order.round,
        step=order.stretch,
        participants=site.participants,
        part=part.participants,
        moments=sums.released(),
        seconds=time.perf_counter() - started,
    )


def share_step_slopes(site: Site, order: Instruction) -> StepSlopes:
    """Return the derivatives of the part's loss by the sums over other sites' participants.

    Raises:
        FedclError: the site holds no weights, or has no part in the step.
    """
    started = time.perf_counter()
    part = part_of(site, order)
    _require_asked(site)
    require_held(order)
    met = meet_others(_encoded(site, order), order)
    return StepSlopes(
        site=site.label,
        round=order.round,
        step=order.stretch,
        participants=site.participants,
        part=part.participants,
        slopes=met.slopes,
        seconds=time.perf_counter() - started,
    )


def require_held(order: Instruction) -> None:
    """Refuse other weights than those under which the site said its sums of the step.

    Raises:
        RunError: the question carries weights, or names none that are held.
    """
    if order.weights or not order.held:
        raise RunError("a step whose sites meet has one set of weights, which the sites hold")


def _require_asked(site: Site) -> None:
    if not meets_the_step(site.config):
        raise RunError("the experiment does not compare the participants of a step")


def meet_others(batch: EncodedPart, order: Instruction) -> MetOthers:
    """Return a part's loss beside other sites' participants in the step, and its derivatives.

    Raises:
        RunError: the instruction has no sums of the step.
    """
    if order.in_step is None:
        raise RunError("the server asks for slopes before it has said all sites' sums of the step")
    task = batch.site.config.objective
    settings = task.moments
    assert settings is not None
    own = _own_sums(batch)
    dim = own.total.shape[1]
    problem = told_problem(order.in_step, own, order.slopes, task, dim)
    if problem is not None:
        raise RunError(f"what the server says of the step cannot be: {problem}")
    others = others_in_step(order.in_step, own)
    candidates = candidates_in_step(others)
    snapshot = with_candidates(snapshot_of_round(batch.site, order), settings, candidates)
    loss = batch.loss(CrossSite(snapshot, batch.positions))
    value = loss.value * batch.participants
    return MetOthers(loss, value, own, slopes_by(others, value))


def _own_sums(batch: EncodedPart) -> LiveSums:
    embedding = batch.encoded.embedding
    assert embedding is not None
    shares = resident_shares(batch.site.cohort, batch.rows, batch.site.config.objective)
    return live_sums(embedding, shares)


def _encoded(site: Site, order: Instruction) -> EncodedPart:
    """Return the part without a gradient, as this process encoded it last or encoded now."""
    key = (site.memory.folder, order.round, order.stretch, order.held)
    if key not in _last_parts:
        network = network_to_read(site, weights_received(site, order), order.round)
        rows = rows_of(site, order, part_of(site, order))
        with torch.no_grad(), seeded_step(site, order, next(network.parameters()).device):
            batch = encoded_part(network, site, rows, order)
        while len(_last_parts) >= _MOST_PARTS:
            del _last_parts[next(iter(_last_parts))]
        _last_parts[key] = batch
    return _last_parts[key]
