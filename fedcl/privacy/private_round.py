"""Train for one round with differential privacy: sample, clip, add noise, step.

Abadi et al., "Deep learning with differential privacy", CCS 2016, https://arxiv.org/abs/1607.00133
(the step); Mironov et al. 2019, https://arxiv.org/abs/1908.10530 (each participant is drawn
independently, as the accounting assumes).
"""

import time

import torch

from fedcl.config.experiment import Config
from fedcl.config.privacy import ParticipantPrivacy
from fedcl.data.cohort import Cohort, Rows
from fedcl.local_round import TrainingSums
from fedcl.models.network import Network
from fedcl.moments.frozen import FrozenMoments
from fedcl.privacy.clipping import clipped_sums, trainable
from fedcl.privacy.entropy import Entropy
from fedcl.privacy.plan import plan
from fedcl.privacy.step_batch import StepBatch


def private_round(
    network: Network,
    optimizer: torch.optim.Optimizer,
    cohort: Cohort,
    rows: Rows,
    config: Config,
    entropy: Entropy,
    *,
    round_number: int,
    proximal: float = 0.0,
    frozen: FrozenMoments | None = None,
) -> TrainingSums:
    """Train `network` in place with the privacy loss that the plan states.

    No term of the objective is reported, since a loss depends on the participants' scans.

    Args:
        network: Network with the weights received, which is trained in place on its device.
        optimizer: Optimiser over the network's parameters; it may use noisy gradients in any way
            without further privacy loss.
        cohort: Cohort that the scans belong to.
        rows: Rows of the scans to train on, with all scans of a participant or none.
        config: Configuration, whose objective must be a sum of losses of single participants.
        entropy: Stream of random numbers for the draws and the noise.
        round_number: Number of the round, from 1, which seeds the augmentations; these need no
            secret randomness.
        proximal: Weight mu of the proximal term of FedProx, >= 0.
        frozen: Released moments; None where the objective does not compare with them.
    """
    started = time.perf_counter()
    participants, owners = cohort.participants(rows), cohort.owners(rows)
    privacy, planned = config.privacy, plan(config, participants)
    assert isinstance(privacy, ParticipantPrivacy)
    received = [p.detach().clone() for p in trainable(network)]
    noise_sd = planned.cost.noise_multiplier * privacy.clip_norm
    network.train()
    with clipped_sums(network, gradients=privacy.gradients, clip_norm=privacy.clip_norm) as total:
        for step in range(planned.cost.steps):
            chosen = entropy.uniform(participants) < planned.cost.sampling_rate
            drawn = rows[chosen[owners]]
            batch = StepBatch(network, cohort, drawn, config, round_number, step, frozen)
            gradients = total(batch.losses, batch.owners)
            for parameter, start, clipped in zip(
                trainable(network), received, gradients, strict=True
            ):
                noise = noise_sd * entropy.normal(clipped.numel()).view_as(clipped)
                noisy = (clipped + noise.to(clipped)) / planned.expected
                parameter.grad = noisy + proximal * (parameter.detach() - start)
            optimizer.step()
    return TrainingSums(participants, planned.cost.steps, {}, time.perf_counter() - started)
