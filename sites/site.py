"""A site: its participants, its device, and the work it does for one message."""

import time
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fedcl.compute import choose_device, place, use_threads
from fedcl.config.experiment import Config
from fedcl.config.federation import FedProx
from fedcl.config.network import MLPEncoder
from fedcl.config.privacy import ParticipantPrivacy
from fedcl.config.text import parse
from fedcl.data.cohort import TRAIN, Cohort
from fedcl.data.open import open_experiment
from fedcl.errors import ConfigError, PrivacyError, RunError
from fedcl.local_round import local_round
from fedcl.models.network import Network, build_network
from fedcl.models.travelling import read_state, travelling, travelling_names, write_state
from fedcl.moments.shared import mean_over_rounds
from fedcl.moments.snapshot import Snapshot, snapshot_of
from fedcl.moments.sums import NodeSums
from fedcl.optimizer import build_optimizer, optimizer_state, restore_optimizer
from fedcl.pooled import feature_sums
from fedcl.privacy.entropy import Entropy
from fedcl.privacy.ledger import Charge, Ledger
from fedcl.privacy.private_round import plan, private_round
from fedcl.release import Introduction, MomentShare, State, Update
from fedcl.run_folder import RunFolder
from fedcl.site_moments import residents, site_moments
from fedcl.wire import Instruction
from sites.held import HeldWeights
from sites.memory import SiteMemory

Names = tuple[str, ...]


@dataclass(frozen=True)
class Site:
    """One acquisition site of an experiment.

    Attributes:
        label: The site's name in the cohort.
        config: The experiment.
        cohort: The data; only rows of this site are ever read.
        rows: This site's training participants.
        memory: What it remembers between rounds.
    """

    label: str
    config: Config
    cohort: Cohort
    rows: np.ndarray
    memory: SiteMemory


def open_site(config_text: str, partition: int) -> Site:
    """Open the site number `partition` of the experiment's cohort.

    Raises:
        FedclError: the configuration or the data cannot be used here.
    """
    config, cohort = _experiment(config_text)
    if not 0 <= partition < len(cohort.sites):
        raise ConfigError(f"there is no site number {partition}: {cohort.name} has {cohort.sites}")
    label = cohort.sites[partition]
    rows = cohort.rows(split=TRAIN, site=label)
    if len(rows) < config.local.min_participants:
        rows = rows[:0]
    return Site(
        label, config, cohort, rows, SiteMemory(RunFolder(config.output.path).site_path(label))
    )


def introduce(site: Site) -> Introduction:
    """Say who this site is, and for a ROI table the sums that standardise it."""
    encoder = site.config.encoder
    wanted = isinstance(encoder, MLPEncoder) and encoder.public_scale is None and len(site.rows)
    sums = feature_sums(site.cohort, site.rows) if wanted else None
    return Introduction(site.label, len(site.rows), site.cohort.shape, sums)


def share_moments(site: Site, order: Instruction) -> MomentShare:
    """Return the site's moments under the server's weights; hold both until the training.

    Raises:
        FedclError: the weights do not fit the encoder, or the memory cannot be read.
    """
    started = time.perf_counter()
    held(site.config).put(order.held, order.weights)
    network, _, _ = _received(site, order.weights, order.round)
    sums = _remembered_moments(site, network, order.round)
    seconds = time.perf_counter() - started
    return MomentShare(site.label, order.round, len(site.rows), sums, seconds)


def train(site: Site, order: Instruction) -> Update:
    """Run one local round from the server's weights and return the update.

    Raises:
        FedclError: the weights do not fit the encoder, or the memory cannot be read.
    """
    config, rule, round_number = site.config, site.config.federation.rule, order.round
    weights = order.weights or held(config).take(order.held)
    network, names, optimizer_memory = _received(site, weights, round_number)
    snapshot = _snapshot(site, order)
    settings = config.objective.moments
    moments = None
    if settings is not None and not settings.fresh:
        moments = _remembered_moments(site, network, round_number)

    optimizer = build_optimizer(network, config.local, round_number=round_number)
    if optimizer_memory:
        restore_optimizer(optimizer, optimizer_memory)
    proximal = rule.mu if isinstance(rule, FedProx) else 0.0
    if isinstance(config.privacy, ParticipantPrivacy):
        entropy = _pay(site, config.privacy, round_number)
        trained = private_round(
            network,
            optimizer,
            site.cohort,
            site.rows,
            config,
            entropy,
            round_number=round_number,
            proximal=proximal,
        )
    else:
        trained = local_round(
            network,
            optimizer,
            site.cohort,
            site.rows,
            config,
            round_number=round_number,
            site=site.label,
            proximal=proximal,
            snapshot=snapshot,
        )
    staying_names = _staying_names(network, config)
    if staying_names:
        site.memory.tensors.write(round_number, read_state(network, staying_names))
    if config.local.keep_optimizer:
        site.memory.optimizer.write(round_number, optimizer_state(optimizer))
    return Update(
        site=site.label,
        round=round_number,
        participants=trained.participants,
        weights=read_state(network, names),
        terms=trained.terms,
        steps=trained.steps,
        seconds=trained.seconds,
        moments=moments,
    )


def held(config: Config) -> HeldWeights:
    """Return where weights are held from one message of a round to the next."""
    return HeldWeights(config.output.path / "held")


def _received(site: Site, weights: State, round_number: int) -> tuple[Network, Names, State]:
    """Return the network as received, what of it travels, and the optimiser's memory."""
    config = site.config
    use_threads(config.compute)
    network, first_state = _network(config, site.cohort.shape)
    staying = site.memory.tensors.before(round_number)
    write_state(network, {**weights, **(staying or first_state)})
    place(network, choose_device(config.compute))
    return network, travelling_names(network, config), site.memory.optimizer.before(round_number)


def _pay(site: Site, privacy: ParticipantPrivacy, round_number: int) -> Entropy:
    """Charge the site's ledger for a round before any scan is read; return the round's entropy."""
    ledger = Ledger.of(privacy.ledger, site.label)
    known = site.memory.charges.before(round_number).get("charges", np.array(0))
    if len(ledger.charges()) < known:
        raise PrivacyError(f"{ledger.path}: lines are gone that this run has paid; restore it")
    cost = plan(site.config, len(site.rows)).cost
    charge = Charge("training", site.config.name, round_number, cost)
    ledger.charge(charge, delta=privacy.delta, budget=privacy.budget)
    site.memory.charges.write(round_number, {"charges": np.array(len(ledger.charges()))})
    if privacy.test_seed is not None:
        return Entropy.not_private(privacy.test_seed, site.label, round_number)
    return Entropy.from_system()


def _remembered_moments(site: Site, network: Network, round_number: int) -> NodeSums:
    sums, embeddings = site_moments(network, site.cohort, site.rows, site.config)
    site.memory.remember_moments(round_number, sums, embeddings)
    return sums


def _snapshot(site: Site, order: Instruction) -> Snapshot | None:
    """Return what the batches of this round see of the other sites."""
    config, settings, shared = site.config, site.config.objective.moments, order.shared
    if shared is None or settings is None:
        return None
    remembered = site.memory.moments(shared.round)
    own, own_residents = None, None
    if remembered is not None:
        own, embeddings = remembered
        if len(embeddings) != len(site.rows):
            raise RunError("the site's participants changed since it released its moments")
        own_residents = residents(site.cohort, site.rows, config, embeddings)
    others = shared.others(site.label, own, summed=settings.components == "sum")
    candidates = others
    if settings.momentum:
        before = site.memory.others_before(order.round)
        candidates = mean_over_rounds(before, others, settings.momentum)
        site.memory.remember_others(order.round, candidates)
    return snapshot_of(
        others.values(),
        own_residents,
        settings,
        candidates=candidates.values() if settings.momentum else None,
        dim=config.projector.dim,
        device=choose_device(config.compute),
    )


# The simulation asks one process for many sites: the cohort is opened, and the network built, once.
@lru_cache(maxsize=2)
def _experiment(config_text: str) -> tuple[Config, Cohort]:
    config = parse(config_text, source="the configuration from the server")
    return config, open_experiment(config)


@lru_cache(maxsize=1)
def _network(config: Config, shape: tuple[int, ...]) -> tuple[Network, State]:
    """Return one network for all the sites, and the first values of the tensors that never travel.

    Every tensor is overwritten at each round, so what one site trained cannot reach another.
    """
    network = build_network(config, shape, seed=config.seed)
    return network, read_state(network, _staying_names(network, config))


def _staying_names(network: Network, config: Config) -> Names:
    travel = set(travelling_names(network, config))
    return tuple(n for n in travelling(network, keep_norm=False) if n not in travel)
