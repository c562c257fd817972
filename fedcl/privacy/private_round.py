"""A local round whose weights tell next to nothing about anybody: sample, clip, add noise, step.

Abadi et al., "Deep learning with differential privacy", CCS 2016, https://arxiv.org/abs/1607.00133
(the step); Mironov et al. 2019, https://arxiv.org/abs/1908.10530 (each participant is drawn by a
coin of their own, as the accounting assumes).
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
    """Train `network` in place; the weights are then private as the plan's cost says.

    No term of the objective is reported: a loss is a function of the participants' scans.

    Args:
        network: Holds the weights received; trained in place, on its device.
        optimizer: Over the network's parameters; what it does with a noisy gradient costs nothing.
        cohort: The participants.
        rows: The scans to train on, all of a participant's or none.
        config: The experiment, its objective one that decomposes.
        entropy: Of the draws and the noise.
        round_number: Names the augmentations, which need no secret.
        proximal: mu of FedProx, >= 0.
        frozen: Released moments, where the objective compares with them.
    """
    started = time.perf_counter()
    participants, owners = cohort.participants(rows), cohort.owners(rows)
    privacy, todo = config.privacy, plan(config, participants)
    assert isinstance(privacy, ParticipantPrivacy)
    received = [p.detach().clone() for p in trainable(network)]
    noise_sd = todo.cost.noise_multiplier * privacy.clip_norm
    network.train()
    with clipped_sums(network, gradients=privacy.gradients, clip_norm=privacy.clip_norm) as total:
        for step in range(todo.cost.steps):
            chosen = entropy.uniform(participants) < todo.cost.sampling_rate
            drawn = rows[chosen[owners]]
            batch = StepBatch(network, cohort, drawn, config, round_number, step, frozen)
            gradients = total(batch.losses, batch.owners)
            for parameter, start, one in zip(trainable(network), received, gradients, strict=True):
                noise = noise_sd * entropy.normal(one.numel()).view_as(one)
                noisy = (one + noise.to(one)) / todo.expected
                parameter.grad = noisy + proximal * (parameter.detach() - start)
            optimizer.step()
    return TrainingSums(participants, todo.cost.steps, {}, time.perf_counter() - started)
