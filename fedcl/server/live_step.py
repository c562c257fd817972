"""Leads the two exchanges before a step whose contrast meets all sites' participants in it.

Each site says the sums over its part of the step, then the derivatives of its loss by everybody's
sums. With both the sites compute their gradients.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from uuid import uuid4

from fedcl.messages.orders import Instruction
from fedcl.messages.releases import Release, StepMoments, StepSlopes
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


def _answers(
    round_: Round,
    order: Instruction,
    parts: dict[str, int],
    message_type: str,
    problem_of: Callable[..., str | None],
) -> Iterator[tuple[str, Release]]:
    """Ask the sites of a step one question; yield the valid answers, and note why others are not.

    Args:
        round_: The round under way, in whose record the answers are entered.
        order: Instruction of the step.
        parts: Participants of each site in the step, by label.
        message_type: Flower's message type of the question.
        problem_of: Check of an answer, such as `step_moments_problem`.
    """
    silent = set(parts)
    for label, reply in round_.ask(tuple(parts), order, message_type=message_type):
        silent.remove(label)
        answer = read_reply(reply)
        round_.record.receive(label, answer.bytes)
        introduction = round_.introduction(label)
        problem = problem_of(answer, introduction, order, part=parts[label], config=round_.config)
        if problem is not None:
            round_.record.leave_out(label, problem)
        elif answer.release is not None:
            yield label, answer.release
    for label in silent:
        round_.record.leave_out(label)


def _moments(
    round_: Round, order: Instruction, parts: dict[str, int]
) -> Iterator[tuple[str, NodeSums]]:
    """Yield each site's valid sums over its part of the step."""
    answers = _answers(round_, order, parts, STEP_MOMENTS, step_moments_problem)
    for label, share in answers:
        assert isinstance(share, StepMoments)
        round_.record.enter_moment_words(nbytes=share.moments.nbytes, seconds=share.seconds)
        yield label, share.moments


def _slopes(
    round_: Round, order: Instruction, parts: dict[str, int]
) -> Iterator[tuple[str, NodeSlopes]]:
    """Yield the valid derivatives of each site's loss by the sums of the step."""
    answers = _answers(round_, order, parts, STEP_SLOPES, step_slopes_problem)
    for label, share in answers:
        assert isinstance(share, StepSlopes)
        nbytes = sum(array.nbytes for array in share.slopes.arrays().values())
        round_.record.enter_moment_words(nbytes=nbytes, seconds=share.seconds)
        yield label, share.slopes
