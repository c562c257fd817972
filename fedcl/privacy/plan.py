"""What is released in a round, and its cost: known before anybody's data is looked at."""

import math
from dataclasses import dataclass, replace

from fedcl.config.counts import Participants
from fedcl.config.experiment import Config
from fedcl.config.privacy import CentralPrivacy, ParticipantPrivacy
from fedcl.privacy.accounting import NoisySums, calibrate


@dataclass(frozen=True)
class PrivacyPlan:
    """The private steps of a round; a function of public numbers alone.

    Attributes:
        expected: Participants per step, in the mean.
        cost: The sums of a round.
    """

    expected: int
    cost: NoisySums


def plan(config: Config, participants: Participants) -> PrivacyPlan:
    """Return what a site of so many participants does in each round.

    As many steps as shuffled batches would take, but each participant is in each with the same
    chance, on their own.

    Raises:
        PrivacyError: the target epsilon cannot be reached.
    """
    privacy = config.privacy
    assert isinstance(privacy, ParticipantPrivacy)
    return _planned(config, privacy, min(config.local.batch_size, participants), participants)


def central_plan(config: Config) -> PrivacyPlan:
    """Return what all sites together do in each round.

    Raises:
        PrivacyError: as of `plan`.
    """
    privacy = config.privacy
    assert isinstance(privacy, CentralPrivacy)
    everybody = Participants(privacy.participants)
    return _planned(config, privacy, config.local.batch_size, everybody)


def release_cost(config: Config) -> NoisySums:
    """Return what one release of private moments costs."""
    settings = config.objective.private_moments
    assert settings is not None
    return NoisySums(settings.noise_multiplier, 1.0, 1)


def share_of_noise(config: Config) -> float:
    """Return the SD of the noise that one site adds to its sum, as a share of the whole noise's.

    As if only federation.min_sites took part: the noise is whole when all the others drop out.
    """
    return 1 / math.sqrt(config.federation.min_sites)


def noise_of_share(config: Config) -> float:
    """Return the SD of the noise in each value of a site's part of a step.

    Raises:
        PrivacyError: as of `plan`.
    """
    privacy = config.privacy
    assert isinstance(privacy, CentralPrivacy)
    return central_plan(config).cost.noise_multiplier * privacy.clip_norm * share_of_noise(config)


def longest_share(config: Config, participants: int, values: int) -> float:
    """Return an L2 norm that no honest site's part of a step exceeds, from public numbers alone.

    As if all its participants were drawn, their clipped gradients had one direction, and the noise
    were ten times as long as noise is, for which the chance is below 1e-22.

    Args:
        config: The experiment.
        participants: Of the site, as it says.
        values: Of the gradient.

    Raises:
        PrivacyError: as of `plan`.
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
    return (replace(release_cost(config), steps=settings.releases(config.federation.rounds)),)
