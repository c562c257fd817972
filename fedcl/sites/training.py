"""Runs a site's local round, whole or in stretches between which sites exchange moments."""

import time
from dataclasses import dataclass, replace

import numpy as np
import torch

from fedcl.arrays.tensors import State
from fedcl.compression.state import encode_change
from fedcl.config.experiment import Config
from fedcl.config.federation import CommonSteps, FedProx
from fedcl.config.local_settings import LocalSettings
from fedcl.config.privacy import CentralPrivacy, ParticipantPrivacy
from fedcl.errors import RunError
from fedcl.local_round import TrainingSums, local_round
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import MomentShare, TermSum, Update
from fedcl.models.network import Network
from fedcl.models.travelling import read_state, travelling, travelling_names, write_state
from fedcl.optimizer import build_optimizer, optimizer_state, restore_optimizer
from fedcl.privacy.private_round import private_round
from fedcl.sites.charges import pay
from fedcl.sites.held_weights import held_weights, weights_received
from fedcl.sites.moments import remembered_moments, snapshot
from fedcl.sites.private_moments import moments_for_round
from fedcl.sites.site import Site, received_network, staying_names

_TERM = "term/"


@dataclass(frozen=True)
class _InTraining:
    """A local round under way.

    Attributes:
        network: The network as received, or as the last stretch left it.
        optimizer: Optimiser of the network's parameters.
        weights: The travelling tensors with which the round began.
        received: The parameters with which the round began, for FedProx; else empty.
        done: Sums of the training in the stretches before.
    """

    network: Network
    optimizer: torch.optim.Optimizer
    weights: State
    received: tuple[torch.Tensor, ...]
    done: TrainingSums


def share_moments(site: Site, order: Instruction) -> MomentShare:
    """Return the site's moments under the server's weights or after a stretch of training.

    The received weights and the state of the training are stored until the training ends.

    Raises:
        FedclError: the weights do not fit the encoder, or the memory cannot be read.
    """
    started = time.perf_counter()
    if not site.config.objective.compares_snapshots:
        raise RunError("the experiment compares no snapshot of moments")
    if order.stretch == 0:
        held_weights(site.config.output).put(order.held, order.weights)
        network = received_network(site, weights_received(site, order), order.round)
    else:
        work, done = _train_stretch(site, order)
        network = work.network
        _remember_midway(site, order, work, done)
    sums = remembered_moments(site, network, order.round)
    seconds = time.perf_counter() - started
    return MomentShare(site.label, order.round, site.participants, sums, seconds)


def train(site: Site, order: Instruction) -> Update:
    """Run a local round, or its last stretch, and return the update.

    Raises:
        FedclError: the experiment has no such round, the weights do not fit the encoder, or the
            memory cannot be read.
    """
    _require_updates(site.config, order.round)
    config, settings = site.config, site.config.objective.moments
    compression = config.federation.compression
    moments = None
    if settings is not None and not settings.fresh:
        network = received_network(site, weights_received(site, order), order.round)
        moments = remembered_moments(site, network, order.round)
    work, trained = _train_stretch(site, order)
    staying = staying_names(work.network, config.federation)
    if staying:
        site.memory.tensors.write(order.round, read_state(work.network, staying))
    if config.local.keep_optimizer:
        site.memory.optimizer.write(order.round, optimizer_state(work.optimizer))
    return Update(
        site=site.label,
        round=order.round,
        participants=trained.participants,
        weights=_weights_to_send(site, order, work),
        terms=trained.terms,
        steps=trained.steps,
        seconds=trained.seconds,
        moments=moments,
        change=None if compression is None else compression.updates,
    )


def _require_updates(config: Config, round_number: int) -> None:
    """Refuse to train alone where the experiment, as it was approved, has steps of all sites.

    Raises:
        RunError: sites send gradients in this round.
    """
    rule = config.federation.rule
    common = isinstance(rule, CommonSteps) and round_number > rule.local_rounds
    if common or isinstance(config.privacy, CentralPrivacy):
        raise RunError(
            f"the server asks for trained weights in round {round_number}, in which this "
            "experiment's sites send gradients"
        )


def _weights_to_send(site: Site, order: Instruction, work: _InTraining) -> State:
    """Return the trained weights, or their compressed change with the last rounding error."""
    config = site.config
    # The message is encoded before the network trains on, so no further copy is needed.
    trained = read_state(
        work.network, travelling_names(work.network, config.federation), copy=False
    )
    compression = config.federation.compression
    if compression is None:
        return trained
    before = site.memory.residual.before(order.round)
    change, residual = encode_change(trained, work.weights, before, compression.updates)
    if residual:
        site.memory.residual.write(order.round, residual)
    return change


def _train_stretch(site: Site, order: Instruction) -> tuple[_InTraining, TrainingSums]:
    """Train from where the last stretch ended; return the state and the sums of the round."""
    config, rule, settings = site.config, site.config.federation.rule, site.config.objective.moments
    work = _begin(site, order) if order.stretch <= 1 else _midway(site, order)
    proximal = rule.mu if isinstance(rule, FedProx) else 0.0
    if isinstance(config.privacy, ParticipantPrivacy):
        entropy = pay(site, config.privacy, order.round)
        trained = private_round(
            work.network,
            work.optimizer,
            site.cohort,
            site.rows,
            config,
            entropy,
            round_number=order.round,
            proximal=proximal,
            frozen=moments_for_round(site, order),
        )
        return work, trained
    epochs = range(config.local.epochs)
    if settings is not None and settings.refresh_epochs is not None:
        first = settings.refresh_epochs * (order.stretch - 1)
        epochs = epochs[first : first + settings.refresh_epochs]
    trained = local_round(
        work.network,
        work.optimizer,
        site.cohort,
        site.rows,
        LocalSettings.of(config),
        round_number=order.round,
        site=site.label,
        proximal=proximal,
        snapshot=snapshot(site, order),
        epochs=epochs,
        received=work.received,
    )
    return work, work.done + trained


def _begin(site: Site, order: Instruction) -> _InTraining:
    """Return the received network, with a new optimiser or the stored one."""
    weights = weights_received(site, order)
    network = received_network(site, weights, order.round)
    optimizer = build_optimizer(network, site.config.local, round_number=order.round)
    memory = site.memory.optimizer.before(order.round)
    if memory:
        restore_optimizer(optimizer, memory)
    compared = isinstance(site.config.federation.rule, FedProx)
    received = tuple(p.detach().clone() for p in network.parameters() if compared)
    return _InTraining(
        network, optimizer, weights, received, TrainingSums(site.participants, 0, {}, 0.0)
    )


def _midway(site: Site, order: Instruction) -> _InTraining:
    """Return the network and the optimiser as the last stretch left them."""
    start = _begin(site, order)
    state = site.memory.midway.of(order.round)
    numbers = state.pop("stretch", np.array(0)), state.pop("done", np.zeros(2))
    if int(numbers[0]) != order.stretch - 1:
        raise RunError(f"the site holds no training up to stretch {order.stretch} of the round")
    terms = {name: state.pop(name) for name in list(state) if name.startswith(_TERM)}
    write_state(start.network, state)
    restore_optimizer(start.optimizer, site.memory.midway_optimizer.of(order.round))
    steps, seconds = numbers[1].tolist()
    sums = {name.removeprefix(_TERM): TermSum.of(*three.tolist()) for name, three in terms.items()}
    done = TrainingSums(site.participants, int(steps), sums, seconds)
    return replace(start, done=done)


def _remember_midway(site: Site, order: Instruction, work: _InTraining, done: TrainingSums) -> None:
    state = read_state(work.network, travelling(work.network, keep_norm=False))
    state["stretch"] = np.array(order.stretch)
    state["done"] = np.array([done.steps, done.seconds])
    for name, term in done.terms.items():
        state[_TERM + name] = np.array([term.total, term.count, term.skipped], dtype=np.float64)
    site.memory.midway_optimizer.write(order.round, optimizer_state(work.optimizer))
    site.memory.midway.write(order.round, state)
