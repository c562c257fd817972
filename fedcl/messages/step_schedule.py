"""Say which participants are in which of the steps that all sites take together.

A pass over everybody has as many steps as batches of all sites together would make. A site draws
from the seed alone, so the server knows, from the number of its participants, at which steps to ask
it. A participant is in one step of a pass, with all their scans.
"""

from dataclasses import dataclass

import numpy as np

from fedcl.config.counts import Participants
from fedcl.config.experiment import Config
from fedcl.config.federation import CommonSteps
from fedcl.seeds import numpy_generator


@dataclass(frozen=True)
class SitePart:
    """One site's part of a step.

    Attributes:
        step: Number of the step in the pass, from 0.
        first: Position of its first participant in the site's shuffled order, from 0.
        end: Position after its last participant.
    """

    step: int
    first: int
    end: int

    @property
    def participants(self) -> Participants:
        """Number of participants in the part, at least 1."""
        return Participants(self.end - self.first)


def common_rule(config: Config) -> CommonSteps:
    """Return the rule of an experiment whose sites take steps together."""
    rule = config.federation.rule
    assert isinstance(rule, CommonSteps)
    return rule


def steps_of_pass(config: Config, participants: int) -> int:
    """Return how many steps a pass has.

    Args:
        config: Configuration of an experiment with the rule common_steps.
        participants: Number of training participants of the sites of the round together.
    """
    return -(-participants // (common_rule(config).batch_size or config.local.batch_size))


def parts_of_site(
    config: Config, site: str, participants: int, *, round_number: int, epoch: int, steps: int
) -> tuple[SitePart, ...]:
    """Return the parts that a site cuts its participants into, spread evenly over a pass.

    Their sizes differ by one at most, and no two are in the same step.

    Args:
        config: Configuration of an experiment with the rule common_steps.
        site: Label of the site.
        participants: Number of its training participants.
        round_number: Number of the round, from 1.
        epoch: Number of the pass in the round, from 0.
        steps: Number of steps of the pass, at least 1.
    """
    count = min(steps, max(1, participants // common_rule(config).least))
    begin = int(_draws("steps", config, site, round_number, epoch).integers(steps))
    ends = [participants * (number + 1) // count for number in range(count)]
    return tuple(
        SitePart((begin + number * steps // count) % steps, first, end)
        for number, (first, end) in enumerate(zip([0, *ends], ends, strict=False))
    )


def shuffled_participants(
    config: Config, site: str, participants: int, *, round_number: int, epoch: int
) -> np.ndarray:
    """Return the numbers of a site's participants, from 0, in the order that a pass cuts."""
    return _draws("order", config, site, round_number, epoch).permutation(participants)


def _draws(
    purpose: str, config: Config, site: str, round_number: int, epoch: int
) -> np.random.Generator:
    return numpy_generator(config.seed, purpose, site, round_number, epoch)
