"""Steps that all sites take together: add up their noisy gradients, let the optimiser step.

The server's optimiser works on what is private already. The sum is divided by the expected number
of participants, a public number, whoever answered.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from flwr.serverapp import Grid

from fedcl.config.experiment import Config
from fedcl.models.network import Network, build_network
from fedcl.models.travelling import read_state, travelling_names, write_state
from fedcl.optimizer import build_optimizer, optimizer_state, restore_optimizer
from fedcl.privacy.clipping import trainable, trainable_names
from fedcl.privacy.plan import central_plan
from fedcl.release import GradientShare, State
from fedcl.run_folder import Checkpoint
from fedcl.wire import GRADIENT, Instruction
from server.question import ask_sites
from server.record import RoundRecord
from server.replies import gradient_problem, read_answer
from server.roster import Roster


def steps_together(
    grid: Grid,
    roster: Roster,
    order: Instruction,
    config: Config,
    record: RoundRecord,
    checkpoint: Checkpoint,
) -> tuple[State, State]:
    """Take the steps of a round; return (weights, the optimiser's memory).

    Raises:
        RoundError: too few sites answered a step, whose noise would be too little.
        PrivacyError: the target epsilon cannot be reached.
    """
    todo = central_plan(config)
    network = build_network(config, roster.common_shape(), seed=config.seed)
    names = travelling_names(network, config)
    write_state(network, checkpoint.weights)
    optimizer = build_optimizer(network, config.local, round_number=order.round)
    if config.local.keep_optimizer:
        restore_optimizer(optimizer, checkpoint.server)
    for step in range(1, todo.cost.steps + 1):
        weights = read_state(network, names)
        asked = replace(order, weights=weights, stretch=step)
        shares = _shares(grid, roster, asked, config, record, set(trainable_names(network)))
        total = _sum(network, shares)
        record.require_quorum(config, step=step)
        for parameter, one in zip(trainable(network), total, strict=True):
            parameter.grad = (one / todo.expected).to(parameter)
        optimizer.step()
    return read_state(network, names), optimizer_state(optimizer)


def _shares(
    grid: Grid,
    roster: Roster,
    order: Instruction,
    config: Config,
    record: RoundRecord,
    trainable: set[str],
) -> Iterator[State]:
    """Yield the valid shares of a step, in the order of the sites."""
    record.begin_step()
    replies = ask_sites(grid, roster, record.asked, order, config, record, message_type=GRADIENT)
    for label, reply in replies:
        answer = read_answer(reply)
        problem = gradient_problem(answer, roster.introductions[label], order, trainable)
        share = answer.release if isinstance(answer.release, GradientShare) else None
        record.enter_step(
            label,
            share if problem is None else None,
            received_bytes=answer.bytes,
            rejected=problem,
        )
        if problem is None and share is not None:
            yield share.gradients


def _sum(network: Network, shares: Iterator[State]) -> list[torch.Tensor]:
    names = trainable_names(network)
    total = [torch.zeros_like(p, dtype=torch.float64) for p in trainable(network)]
    for share in shares:
        for held, name in zip(total, names, strict=True):
            held.add_(torch.from_numpy(np.array(share[name])))
    return total
