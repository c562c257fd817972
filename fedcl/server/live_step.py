"""Leads the two exchanges before a step whose contrast meets all sites' participants in it.

Each site says the sums over its part of the step, then the derivatives of its loss by everybody's
sums. With both the sites compute their gradients.
"""

from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

from fedcl.messages.orders import Instruction
from fedcl.messages.releases import StepMoments, StepSlopes
from fedcl.moments.grid import node_count
from fedcl.moments.live import NodeSlopes
from fedcl.moments.sums import NodeSums
from fedcl.server.reply_checks import read_reply
from fedcl.server.round import Round
from fedcl.server.step_checks import step_moments_problem, step_slopes_problem
from fedcl.wire.orders import STEP_MOMENTS, STEP_SLOPES


def meet_in_step(
    round_: Round, order: Instruction, parts: dict[str, int]
) -> tuple[Instruction, dict[str, int]]:
    """Return the instruction for the gradients of a step, and the sites that are still in it.

    Sums are added in the order of `parts`. A site that fails is left out of what follows.

    Args:
        round_: The round under way, in whose record the answers are entered.
        order: Instruction of the step, with its weights.
        parts: Participants of each site in the step, by label.
    """
    settings = round_.config.objective.moments
    assert settings is not None
    nodes, dim = node_count(settings), round_.config.projector.dim
    order = replace(order, held=uuid4().hex)
    sums = dict(_moments(round_, order, parts))
    order = replace(order, weights={}, in_step=NodeSums.add_all(sums.values(), nodes, dim))
    parts = {label: size for label, size in parts.items() if label in sums}
    slopes = dict(_slopes(round_, order, parts))
    order = replace(order, slopes=NodeSlopes.add_all(slopes.values(), nodes, dim))
    return order, {label: size for label, size in parts.items() if label in slopes}


def _moments(
    round_: Round, order: Instruction, parts: dict[str, int]
) -> Iterator[tuple[str, NodeSums]]:
    """Yield each site's valid sums over its part of the step."""
    silent = set(parts)
    for label, reply in round_.ask(tuple(parts), order, message_type=STEP_MOMENTS):
        silent.remove(label)
        answer = read_reply(reply)
        introduction = round_.introduction(label)
        problem = step_moments_problem(
            answer, introduction, order, part=parts[label], config=round_.config
        )
        share = answer.release
        round_.record.receive(label, answer.bytes)
        if problem is None and isinstance(share, StepMoments):
            round_.record.enter_moment_words(nbytes=share.moments.nbytes, seconds=share.seconds)
            yield label, share.moments
        elif problem is not None:
            round_.record.leave_out(label, problem)
    for label in silent:
        round_.record.leave_out(label)


def _slopes(
    round_: Round, order: Instruction, parts: dict[str, int]
) -> Iterator[tuple[str, NodeSlopes]]:
    """Yield the valid derivatives of each site's loss by the sums of the step."""
    silent = set(parts)
    for label, reply in round_.ask(tuple(parts), order, message_type=STEP_SLOPES):
        silent.remove(label)
        answer = read_reply(reply)
        introduction = round_.introduction(label)
        problem = step_slopes_problem(
            answer, introduction, order, part=parts[label], config=round_.config
        )
        share = answer.release
        round_.record.receive(label, answer.bytes)
        if problem is None and isinstance(share, StepSlopes):
            nbytes = sum(array.nbytes for array in share.slopes.arrays().values())
            round_.record.enter_moment_words(nbytes=nbytes, seconds=share.seconds)
            yield label, share.slopes
        elif problem is not None:
            round_.record.leave_out(label, problem)
    for label in silent:
        round_.record.leave_out(label)
