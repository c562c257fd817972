"""The same local round on the union of the sites: the reference a federation is measured against.

A pooled round is one local round on everybody, so a run of R rounds makes as many passes over the
participants as the federation does; the optimiser lives on from round to round.
"""

import math
import time
from collections.abc import Callable

from fedcl.compute.device import choose_device, to_device, use_threads
from fedcl.config.experiment import Config
from fedcl.config.local_settings import LocalSettings
from fedcl.config.network import MLPEncoder
from fedcl.data.cohort import Cohort, Rows, feature_sums
from fedcl.errors import RunError
from fedcl.local_round import TrainingSums, local_round
from fedcl.models.network import Network, build_network
from fedcl.models.public_scale import read_public_scale
from fedcl.models.travelling import read_state, travelling, write_state
from fedcl.optimizer import build_optimizer, optimizer_state, restore_optimizer
from fedcl.run_folder.checkpoint import Checkpoint
from fedcl.run_folder.folder import RunFolder
from fedcl.run_folder.rounds_file import (
    RoundLine,
    SiteLine,
    term_counts,
    term_means,
    term_skips,
)


def train_rounds(
    config: Config,
    cohort: Cohort,
    rows: Rows,
    folder: RunFolder,
    *,
    name: str,
    on_round: Callable[[int], None] = lambda _: None,
) -> None:
    """Train one network on `rows` for all rounds, checkpointing each; go on from the last one.

    Args:
        cohort: Everybody, training and test participants.
        rows: The scans to train on, those of all sites or of one.
        folder: The run that the checkpoints and the log belong to.
        name: Names the random draws, and stands for the sites in the log.
        on_round: Called with the round's number after each.

    Raises:
        RunError: the training diverged; the rounds before are kept.
    """
    use_threads(config.compute)
    network = start_network(config, cohort, rows)
    names = travelling(network, keep_norm=False)
    checkpoint = folder.load()
    if checkpoint is None:
        checkpoint = Checkpoint(0, read_state(network, names), {}, None)
        folder.save(checkpoint, keep_every=config.evaluation.every_rounds)
    else:
        folder.write_log(checkpoint)
    write_state(network, checkpoint.weights)
    to_device(network, choose_device(config.compute))
    memory = checkpoint.server

    for number in range(checkpoint.round + 1, config.federation.rounds + 1):
        started = time.perf_counter()
        optimizer = build_optimizer(network, config.local, round_number=number)
        if memory:
            restore_optimizer(optimizer, memory)
        trained = local_round(
            network,
            optimizer,
            cohort,
            rows,
            LocalSettings.of(config),
            round_number=number,
            site=name,
        )
        if not math.isfinite(trained.terms["loss"].total):
            raise RunError(
                f"{folder.path}: the training diverged in round {number}: the loss is no finite "
                "number; take a smaller local.optimizer.learning_rate"
            )
        memory = optimizer_state(optimizer)
        line = RoundLine(
            round=number,
            seconds=round(time.perf_counter() - started, 3),
            loss=trained.terms["loss"].mean,
            bytes=0,
            sites={name: _site_line(trained)},
        )
        folder.save(
            Checkpoint(number, read_state(network, names), memory, line),
            keep_every=config.evaluation.every_rounds,
        )
        on_round(number)


def _site_line(trained: TrainingSums) -> SiteLine:
    """Return what the log says of a round without a federation: nothing travelled."""
    return SiteLine(
        participants=trained.participants,
        seconds=round(trained.seconds, 3),
        bytes=0,
        terms=term_means(trained.terms),
        counts=term_counts(trained.terms),
        skipped=term_skips(trained.terms),
        steps=trained.steps,
        rejected=None,
    )


def start_network(config: Config, cohort: Cohort, rows: Rows) -> Network:
    """Return the experiment's first network; a table encoder standardises by `rows`."""
    network = build_network(config, cohort.shape, seed=config.seed)
    if isinstance(config.encoder, MLPEncoder):
        path = config.encoder.public_scale
        if path is not None:
            network.set_feature_scale(*read_public_scale(path, cohort.shape[0]))
        else:
            network.set_feature_scale(*feature_sums(cohort, rows).scale())
    return network
