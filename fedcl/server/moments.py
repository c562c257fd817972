"""Collects the sites' moments, requested before training or sent with updates, and adds them up.

One share is in memory at a time, unless each site's own moments are passed on.
"""

from dataclasses import dataclass, field, replace
from uuid import uuid4

import numpy as np

from fedcl.config.experiment import Config
from fedcl.errors import RoundError
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import MomentShare
from fedcl.messages.summed_arrays import Shapes, expected_shapes, moments_in, moments_purpose
from fedcl.moments.grid import node_count
from fedcl.moments.shared import SharedMoments
from fedcl.moments.sums import NodeSums, node_shapes
from fedcl.server.reply_checks import moments_problem, read_reply, share_problem
from fedcl.server.round import Round
from fedcl.server.round_record import RoundRecord
from fedcl.server.secure_round import OpenedRound, open_sum_of
from fedcl.wire.orders import MOMENTS


@dataclass
class CollectedMoments:
    """The moments of a round that have arrived so far.

    Attributes:
        config: Configuration of the experiment.
        sites: Labels of the sites whose moments have arrived.
        parts: The sum of their moments, or each site's own, in float64.
    """

    config: Config
    sites: list[str] = field(default_factory=list)
    parts: list[NodeSums] = field(default_factory=list)

    def add(self, site: str, sums: NodeSums) -> None:
        """Add the moments of one site."""
        settings = self.config.objective.moments
        assert settings is not None
        self.sites.append(site)
        exact = sums.astype(np.float64)
        if settings.components == "sites" or not self.parts:
            self.parts.append(exact)
        else:
            self.parts[0] = self.parts[0] + exact

    def add_opened(self, opened: OpenedRound, record: RoundRecord, *, alone: bool) -> None:
        """Add the moments of all sites in a secure sum.

        Args:
            opened: The opened sum over sites.
            record: Record of the round, in which bytes and seconds are entered.
            alone: Whether the sites were asked for moments only.

        Raises:
            RoundError: the sum cannot be the moments of so many participants.
        """
        sums, settings = moments_in(opened.arrays), self.config.secure_sum
        assert sums is not None
        assert settings is not None
        self.sites, self.parts = list(opened.sites), [sums]
        problem = moments_problem(sums.astype(np.float32), opened.participants, self.config)
        if problem is not None:
            raise RoundError(
                f"round {record.number}: the sum over sites {', '.join(opened.sites)} holds "
                f"{problem}; one of them sent what cannot be. The run can be resumed from the "
                "round before."
            )
        words = len(opened.sites) * sum(array.size for array in sums.arrays().values())
        record.enter_moment_words(
            nbytes=words * settings.word_bits // 8,
            seconds=sum(offer.seconds for offer in opened.offers.values()) if alone else 0.0,
        )

    def shapes(self) -> Shapes:
        """Return the shape of each array of a site's moments."""
        settings = self.config.objective.moments
        assert settings is not None
        return node_shapes(node_count(settings), self.config.projector.dim)

    def shared(self, round_number: int) -> SharedMoments | None:
        """Return the moments that every site receives, in float32; None if no site answered."""
        if not self.sites:
            return None
        parts = tuple(part.astype(np.float32) for part in self.parts)
        return SharedMoments(round_number, tuple(self.sites), parts)


def ask_for_moments(
    round_: Round, asked: tuple[str, ...], order: Instruction
) -> tuple[tuple[str, ...], Instruction]:
    """Ask the sites of a round for their moments, before training or after a stretch of it.

    Return the sites that answered, which now hold the weights, and the instruction to train them. A
    site without an answer is left out of the round. If a site fails later, its moments stay in use.
    """
    if order.stretch == 0:
        order = question = replace(order, held=uuid4().hex)
    else:
        question = replace(order, weights={})  # the sites hold the weights already
    config, record = round_.config, round_.record
    collected = CollectedMoments(config)
    if config.secure_sum is not None:
        opened = open_sum_of(
            round_,
            asked,
            question,
            message_type=MOMENTS,
            purpose=moments_purpose(order.stretch),
            expected=expected_shapes({}, collected.shapes()),
        )
        collected.add_opened(opened, record, alone=True)
        return opened.sites, replace(order, shared=collected.shared(order.round))
    for label, reply in round_.ask(asked, question, message_type=MOMENTS):
        answer = read_reply(reply)
        problem = share_problem(answer, round_.introduction(label), order, config)
        if problem is None and isinstance(answer.release, MomentShare):
            collected.add(label, answer.release.moments)
            record.enter_moments(answer.release, received_bytes=answer.bytes)
        else:
            record.enter(label, None, received_bytes=answer.bytes, rejected=problem)
    return tuple(collected.sites), replace(order, shared=collected.shared(order.round))
