"""The noise that a site adds to a release, as its experiment asks for it."""

from fedcl.config.counts import Participants
from fedcl.config.experiment import Config
from fedcl.config.privacy import CentralPrivacy, ParticipantPrivacy
from fedcl.messages.summed_arrays import GRADIENTS, PRIVATE_MOMENTS, UPDATE_PURPOSE
from fedcl.moments.private import SENSITIVITY
from fedcl.privacy.plan import central_plan, plan, release_cost, share_of_noise
from fedcl.receipts.line import AddedNoise


def noise_of(config: Config, purpose: str, participants: Participants) -> AddedNoise | None:
    """Return the noise in a site's release; None without any.

    Args:
        purpose: What the release is for, as `fedcl.messages.summed_arrays` names it.
        participants: Number of training participants of the site.

    Raises:
        PrivacyError: the target epsilon cannot be reached.
    """
    privacy = config.privacy
    if not isinstance(privacy, ParticipantPrivacy | CentralPrivacy):
        return None
    central = isinstance(privacy, CentralPrivacy)
    if purpose == PRIVATE_MOMENTS:
        multiplier, sensitivity = release_cost(config.objective).noise_multiplier, SENSITIVITY
    elif purpose == UPDATE_PURPOSE or purpose.startswith(GRADIENTS):
        todo = central_plan(config) if central else plan(config, participants)
        multiplier, sensitivity = todo.cost.noise_multiplier, privacy.clip_norm
    else:
        return None
    return AddedNoise(
        mechanism="gaussian",
        multiplier=multiplier,
        sensitivity=sensitivity,
        share=share_of_noise(config.federation) if central else 1.0,
        private=privacy.test_seed is None,
    )
