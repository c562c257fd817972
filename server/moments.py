"""The sites' moments: asked for before the training, or taken from the updates; checked and added.

One share is in memory at a time, but where every site's own is passed on.
"""

from dataclasses import dataclass, field, replace
from uuid import uuid4

import numpy as np
from flwr.serverapp import Grid

from fedcl.config.experiment import Config
from fedcl.moments.shared import Shared
from fedcl.moments.sums import NodeSums
from fedcl.release import MomentShare
from fedcl.wire import MOMENTS, Instruction
from server.question import ask_sites
from server.record import RoundRecord
from server.replies import read_answer, share_problem
from server.roster import Roster


@dataclass
class Collected:
    """Moments of a round, as they come in.

    Attributes:
        config: The experiment.
        sites: Whose moments are in.
        parts: Their sum, or each; float64 while they are added.
    """

    config: Config
    sites: list[str] = field(default_factory=list)
    parts: list[NodeSums] = field(default_factory=list)

    def add(self, site: str, sums: NodeSums) -> None:
        """Take in one site's moments."""
        settings = self.config.objective.moments
        assert settings is not None
        self.sites.append(site)
        exact = sums.astype(np.float64)
        if settings.components == "sites" or not self.parts:
            self.parts.append(exact)
        else:
            self.parts[0] = self.parts[0] + exact

    def shared(self, round_number: int) -> Shared | None:
        """Return what every site is told, float32; None where nobody answered."""
        if not self.sites:
            return None
        parts = tuple(part.astype(np.float32) for part in self.parts)
        return Shared(round_number, tuple(self.sites), parts)


def ask_for_moments(
    grid: Grid,
    roster: Roster,
    asked: tuple[str, ...],
    order: Instruction,
    config: Config,
    record: RoundRecord,
) -> tuple[tuple[str, ...], Instruction]:
    """Ask the sites of a round for their moments, before the training or after a stretch of it.

    Return those that answered, who hold the weights now, and the order to train them. A site that
    did not is left out of the round. One that goes later leaves its moments behind: they are true.
    """
    if order.stretch == 0:
        order = question = replace(order, held=uuid4().hex)
    else:
        question = replace(order, weights={})  # the sites hold them
    replies = ask_sites(grid, roster, asked, question, config, record, message_type=MOMENTS)
    collected = Collected(config)
    for label, reply in replies:
        answer = read_answer(reply)
        problem = share_problem(answer, roster.introductions[label], order, config)
        if problem is None and isinstance(answer.release, MomentShare):
            collected.add(label, answer.release.moments)
            record.enter_moments(answer.release, received_bytes=answer.bytes)
        else:
            record.enter(label, None, received_bytes=answer.bytes, rejected=problem)
    return tuple(collected.sites), replace(order, shared=collected.shared(order.round))
