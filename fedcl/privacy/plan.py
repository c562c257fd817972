"""Plan the private releases of a round and their cost, before any participant's data is read."""

import math
from dataclasses import dataclass, replace

from fedcl.config.counts import Participants
from fedcl.config.experiment import Config
from fedcl.config.federation import Federation
from fedcl.config.objective import Objective
from fedcl.config.privacy import CentralPrivacy, ParticipantPrivacy
from fedcl.privacy.accounting import NoisySums, calibrate


@dataclass(frozen=True)
class PrivacyPlan:
    """Describe the private steps of a round, which depend on public numbers alone.

    Attributes:
        expected: Expected number of participants per step, at least 1.
        cost: Noise, sampling rate and number of the noisy sums of a round.
    """

    expected: int
    cost: NoisySums


def plan(config: Config, participants: Participants) -> PrivacyPlan:
    """Return the private steps of a site with `participants` training participants in each round.

    There are as many steps as shuffled batches would take, but each participant is in each step
    independently, with the same probability.

    Raises:
        PrivacyError: the target epsilon cannot be reached.
    """
    privacy = config.privacy
    assert isinstance(privacy, ParticipantPrivacy)
    return _planned(config, privacy, min(config.local.batch_size, participants), participants)


def central_plan(config: Config) -> PrivacyPlan:
    """Return the private steps of all sites together in each round.

    Raises:
        PrivacyError: the target epsilon cannot be reached.
    """
    privacy = config.privacy
    assert isinstance(privacy, CentralPrivacy)
    everybody = Participants(privacy.participants)
    return _planned(config, privacy, config.local.batch_size, everybody)


def release_cost(task: Objective) -> NoisySums:
    """Return the mechanism of one release of private moments, from which its cost follows."""
    settings = task.private_moments
    assert settings is not None
    return NoisySums(settings.noise_multiplier, 1.0, 1)


def share_of_noise(federation: Federation) -> float:
    """Return the SD of the noise that one site adds, as a share of the SD of the planned noise.

    The share is that of a round in which only federation.min_sites sites take part, so that the
    noise is sufficient when all the others drop out.
    """
    return 1 / math.sqrt(federation.min_sites)


def noise_of_share(config: Config) -> float:
    """Return the SD of the noise in each value of a site's part of a step.

    Raises:
        PrivacyError: the target epsilon cannot be reached.
    """
    privacy = config.privacy
    assert isinstance(privacy, CentralPrivacy)
    return (
        central_plan(config).cost.noise_multiplier
        * privacy.clip_norm
        * share_of_noise(config.federation)
    )


def longest_share(config: Config, participants: Participants, values: int) -> float:
    """Return an L2 norm that no honest site's part of a step exceeds, from public numbers alone.

    The bound assumes that all participants of the site are drawn, that their clipped gradients have
    the same direction, and that the noise has ten times its expected norm, which has a probability
    below 1e-22.

    Args:
        config: Configuration of the experiment.
        participants: Number of training participants that the site reports.
        values: Number of values of the gradient.

    Raises:
        PrivacyError: the target epsilon cannot be reached.
    """
    privacy = config.privacy
    assert isinstance(privacy, CentralPrivacy)
    most = privacy.clip_norm * min(participants, privacy.participants)
    return most + 10 * noise_of_share(config) * math.sqrt(values)


def _planned(
    config: Config,
    privacy: ParticipantPrivacy | CentralPrivacy,
    expected: int,
    participants: Participants,
) -> PrivacyPlan:
    rate = expected / participants
    steps = config.local.epochs * -(-participants // expected)
    noise = privacy.noise_multiplier
    if noise is None:
        assert privacy.target_epsilon is not None
        noise = calibrate(
            target_epsilon=privacy.target_epsilon,
            delta=privacy.delta,
            sampling_rate=rate,
            steps=steps * config.federation.rounds,
            beside=_releases(config),
        )
    return PrivacyPlan(expected, NoisySums(noise, rate, steps))


def _releases(config: Config) -> tuple[NoisySums, ...]:
    settings = config.objective.private_moments
    if settings is None:
        return ()
    return (
        replace(release_cost(config.objective), steps=settings.releases(config.federation.rounds)),
    )
