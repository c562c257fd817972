"""The game of participant privacy, with an experiment's own clipping, noise and sampling."""

from collections.abc import Sequence

import torch

from fedcl.audit.batch import alike, clipped_sum, losses_of
from fedcl.audit.canary import find_canary
from fedcl.audit.game import Game, sampled_game
from fedcl.config.experiment import Config
from fedcl.config.privacy import CentralPrivacy, ParticipantPrivacy
from fedcl.models.network import build_network
from fedcl.moments.frozen import FrozenMoments
from fedcl.privacy.accounting import NoisySums
from fedcl.seeds import torch_generator

OTHER_PARTICIPANTS = 3
"""Number of participants besides the canary; few, since sampling forms a sum of each subset."""

_RESTARTS, _STEPS = 2, 20
"""Number of ascents that search the canary, and of steps of each."""

_VOXELS = 16
"""Largest size of a synthetic volume along each axis."""


def participant_game(
    config: Config, shape: tuple[int, ...], cost: NoisySums, frozen: FrozenMoments | None = None
) -> Game:
    """Return the game of sums over synthetic participants in the experiment's own network.

    The weights are the initial ones and the volumes are small, since privacy may not depend on
    either.

    Args:
        shape: Shape of one participant's array, the channel first.
        cost: The noisy sums that the run released at one site.
        frozen: Released moments, if the objective compares participants with them.
    """
    privacy = config.privacy
    assert isinstance(privacy, ParticipantPrivacy | CentralPrivacy)
    # Only the axes of space, after the channel, are cut; a table has none.
    shape = (*shape[:1], *(min(size, _VOXELS) for size in shape[1:]))
    network = build_network(config, shape, seed=config.seed)
    losses, generator = losses_of(config.objective, frozen), torch_generator(config.seed, "canary")
    others = alike(OTHER_PARTICIPANTS, shape, generator)
    canary = find_canary(
        losses,
        network,
        others,
        clip_norm=privacy.clip_norm,
        restarts=_RESTARTS,
        steps=_STEPS,
        generator=generator,
    )
    everybody = others.followed_by(canary.batch.to(torch.float32))

    def sum_of(positions: Sequence[int]) -> torch.Tensor:
        return clipped_sum(
            network,
            losses,
            everybody.at(positions),
            clip_norm=privacy.clip_norm,
            gradients=privacy.gradients,
        )

    return sampled_game(
        sum_of,
        OTHER_PARTICIPANTS,
        rate=cost.sampling_rate,
        noise_sd=cost.noise_multiplier * privacy.clip_norm,
        steps=cost.steps,
    )
