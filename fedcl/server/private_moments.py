"""Asks sites for noisy moments, adds them up and blends them with earlier releases."""

from dataclasses import replace

import numpy as np

from fedcl.messages.orders import Instruction
from fedcl.messages.releases import Introduction, PrivateMomentShare
from fedcl.messages.summed_arrays import (
    PRIVATE_MOMENTS,
    Shapes,
    private_moment_shapes,
    private_moments_in,
)
from fedcl.moments.frozen import NoisyMoments
from fedcl.moments.grid import node_count
from fedcl.moments.private import PrivateSums, private_shapes
from fedcl.server.reply_checks import DecodedReply, checked_release, read_reply, tensors_problem
from fedcl.server.round import Round
from fedcl.server.secure_round import open_sum_of
from fedcl.wire.orders import MOMENTS


def release_moments(round_: Round, order: Instruction) -> NoisyMoments:
    """Ask the sites of a round for noisy moments under the order's weights and return the release.

    Raises:
        RoundError: too few sites answered, so that their noise would be too little.
    """
    config, record = round_.config, round_.record
    settings = config.objective.private_moments
    assert settings is not None
    sizes = {label: round_.introduction(label).participants for label in record.asked}
    slots = tuple(label for label, size in sizes.items() if size >= settings.min_participants)
    question = replace(order, slots=slots)
    shapes = private_shapes(node_count(settings), config.projector.dim, len(slots))
    add_up = _in_the_clear if config.secure_sum is None else _masked
    answered, total = add_up(round_, question, shapes)
    record.require_moments(config.federation, len(answered))
    # The slot of a site that did not answer holds only noise, so it is dropped.
    filled = tuple(label for label in slots if label in answered)
    rows = [0, *(1 + slots.index(label) for label in filled)]
    rest = sum(sizes[label] for label in answered if label not in filled)
    now = NoisyMoments(
        order.round,
        filled,
        (rest, *(sizes[label] for label in filled)),
        replace(total, residuals=total.residuals[rows]).astype(np.float32),
    )
    return now if order.released is None else order.released.blended(now, settings.momentum)


def _in_the_clear(
    round_: Round, order: Instruction, shapes: Shapes
) -> tuple[list[str], PrivateSums]:
    """Return the labels of the sites whose moments are valid, and the sum of these."""
    total = PrivateSums(**{name: np.zeros(shape) for name, shape in shapes.items()})
    answered = []
    record = round_.record
    for label, reply in round_.ask(record.asked, order, message_type=MOMENTS):
        answer = read_reply(reply)
        share = answer.release
        problem = _problem(answer, round_.introduction(label), order, shapes)
        if problem is None and isinstance(share, PrivateMomentShare):
            total = total + share.moments.astype(np.float64)
            answered.append(label)
            record.enter_moments(share, received_bytes=answer.bytes)
        else:
            record.enter(label, None, received_bytes=answer.bytes, rejected=problem)
    return answered, total


def _masked(round_: Round, order: Instruction, shapes: Shapes) -> tuple[list[str], PrivateSums]:
    """Return the labels of the sites in a secure sum, and the moments that it opens."""
    opened = open_sum_of(
        round_,
        round_.record.asked,
        order,
        message_type=MOMENTS,
        purpose=PRIVATE_MOMENTS,
        expected=private_moment_shapes(shapes),
    )
    sums, settings = private_moments_in(opened.arrays), round_.config.secure_sum
    assert settings is not None
    words = len(opened.sites) * sum(array.size for array in sums.arrays().values())
    round_.record.enter_moment_words(
        nbytes=words * settings.word_bits // 8,
        seconds=sum(offer.seconds for offer in opened.offers.values()),
    )
    return list(opened.sites), sums


def _problem(
    answer: DecodedReply,
    introduction: Introduction,
    order: Instruction,
    shapes: Shapes,
) -> str | None:
    share = checked_release(answer, PrivateMomentShare, introduction, order)
    if isinstance(share, str):
        return share
    wanted = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    return tensors_problem(share.moments.arrays(), wanted)
