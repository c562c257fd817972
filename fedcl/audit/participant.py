"""The game of participant privacy: an experiment's own clipping, noise and sampling."""

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
"""Whom the canary meets: with sampling every subset of them is a sum to form."""

_RESTARTS, _STEPS = 2, 20
"""Ascents to the canary, and steps of each."""

_VOXELS = 16
"""Of an invented volume along each axis, at most."""


def participant_game(
    config: Config, shape: tuple[int, ...], cost: NoisySums, frozen: FrozenMoments | None = None
) -> Game:
    """Return the game of sums over invented participants, in the experiment's own network.

    Its weights are the initial ones, and volumes are small: privacy may depend on neither.

    Args:
        config: The experiment.
        shape: Of one participant's array.
        cost: The sums of the run at one site.
        frozen: Released moments, where the objective compares with them.
    """
    privacy = config.privacy
    assert isinstance(privacy, ParticipantPrivacy | CentralPrivacy)
    # The axes of space come after the channel; a table has none.
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
