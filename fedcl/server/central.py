"""Takes optimiser steps on the sum of all sites' noisy gradients.

The server's optimiser works on sums that are private already. A sum is divided by the expected
number of participants, a public number, whichever sites answered.
"""

from dataclasses import replace

import numpy as np
import torch

from fedcl.arrays.tensors import State
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import GradientShare
from fedcl.messages.summed_arrays import Shapes, gradient_shapes, gradients_in, gradients_purpose
from fedcl.models.network import build_network
from fedcl.models.travelling import read_state, travelling_names, write_state
from fedcl.optimizer import build_optimizer, optimizer_state, restore_optimizer
from fedcl.privacy.clipping import trainable_names
from fedcl.privacy.plan import central_plan, longest_share
from fedcl.run_folder.checkpoint import Checkpoint
from fedcl.server.reply_checks import gradient_problem, read_reply
from fedcl.server.round import Round
from fedcl.server.secure_round import open_sum_of
from fedcl.wire.orders import GRADIENT


def steps_together(
    round_: Round, order: Instruction, checkpoint: Checkpoint
) -> tuple[State, State]:
    """Take the steps of a round and return the weights and the optimiser's state.

    Raises:
        RoundError: too few sites answered a step, whose noise would be too little.
        PrivacyError: the target epsilon cannot be reached.
    """
    config, record = round_.config, round_.record
    todo = central_plan(config)
    network = build_network(config, round_.roster.common_shape(), seed=config.seed)
    names = travelling_names(network, config.federation)
    write_state(network, checkpoint.weights)
    optimizer = build_optimizer(network, config.local, round_number=order.round)
    if config.local.keep_optimizer:
        restore_optimizer(optimizer, checkpoint.server)
    shapes = {name: tuple(network.get_parameter(name).shape) for name in trainable_names(network)}
    for step in range(1, todo.cost.steps + 1):
        weights = read_state(network, names)
        instruction = replace(order, weights=weights, stretch=step)
        record.begin_step()
        add_up = _in_the_clear if config.secure_sum is None else _masked
        total = add_up(round_, instruction, shapes)
        record.require_quorum(config.federation, step=step)
        for name, parameter in network.named_parameters():
            if name in total:
                mean = torch.from_numpy(total[name]) / todo.expected
                parameter.grad = mean.to(parameter)
        optimizer.step()
    return read_state(network, names), optimizer_state(optimizer)


def _in_the_clear(round_: Round, order: Instruction, shapes: Shapes) -> State:
    """Return the float64 sum of a step's valid shares, with one share in memory at a time."""
    total = {name: np.zeros(shape) for name, shape in shapes.items()}
    record, values = round_.record, sum(array.size for array in total.values())
    for label, reply in round_.ask(record.asked, order, message_type=GRADIENT):
        answer = read_reply(reply)
        record.receive(label, answer.bytes)
        introduction = round_.introduction(label)
        longest = longest_share(round_.config, introduction.participants, values)
        problem = gradient_problem(answer, introduction, order, set(shapes), longest=longest)
        share = answer.release
        if problem is not None:
            record.leave_out(label, problem)
        elif isinstance(share, GradientShare):
            record.enter_step(label, participants=share.participants, seconds=share.seconds)
            for name, array in total.items():
                array += share.gradients[name]
    return total


def _masked(round_: Round, order: Instruction, shapes: Shapes) -> State:
    """Return the sum of a step, opened by a secure sum."""
    record = round_.record
    opened = open_sum_of(
        round_,
        record.asked,
        order,
        message_type=GRADIENT,
        purpose=gradients_purpose(order.stretch),
        expected=gradient_shapes(shapes),
    )
    for site, offer in opened.offers.items():
        record.enter_step(site, participants=offer.participants, seconds=offer.seconds)
    return gradients_in(opened.arrays)
