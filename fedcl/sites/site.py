"""Opens a site with its participants, introduces it, and loads its network."""

from dataclasses import dataclass
from functools import lru_cache
from weakref import WeakKeyDictionary

import numpy as np

from fedcl.arrays.tensors import State
from fedcl.compute.device import choose_device, to_device, use_threads
from fedcl.config.counts import Participants
from fedcl.config.experiment import Config
from fedcl.config.federation import Federation
from fedcl.config.loading import fingerprint, parse
from fedcl.config.network import MLPEncoder
from fedcl.data.cohort import TRAIN, Cohort, feature_sums
from fedcl.data.open import open_experiment
from fedcl.deployment.home import SiteHome
from fedcl.errors import ConfigError
from fedcl.messages.releases import Introduction
from fedcl.models.network import Network, build_network
from fedcl.models.travelling import (
    TensorNames,
    read_state,
    travelling,
    travelling_names,
    write_state,
)
from fedcl.run_folder.folder import RunFolder
from fedcl.sites.agreement import agreed_config, require_enough
from fedcl.sites.memory import SiteMemory


@dataclass(frozen=True)
class Site:
    """One acquisition site of an experiment.

    Attributes:
        label: Label of the site in the cohort.
        config: Configuration of the experiment.
        cohort: The data, of which only rows of this site are ever read.
        rows: Rows of the scans of this site's training participants.
        memory: What the site stores from round to round.
        agreed: Fingerprint of the experiment's text as received, the same at every site.
    """

    label: str
    config: Config
    cohort: Cohort
    rows: np.ndarray
    memory: SiteMemory
    agreed: str

    @property
    def participants(self) -> Participants:
        """Number of training participants, each of whom may have several scans."""
        return self.cohort.participants(self.rows)


def open_site(config_text: str, partition: int) -> Site:
    """Open a site of a simulation, the site number `partition` of the experiment's cohort.

    Raises:
        FedclError: the configuration or the data cannot be used here.
    """
    config, cohort = _experiment(config_text)
    if not 0 <= partition < len(cohort.sites):
        raise ConfigError(f"there is no site number {partition}: {cohort.name} has {cohort.sites}")
    return _site(config, cohort, cohort.sites[partition], config_text)


def open_home(config_text: str, home: SiteHome) -> Site:
    """Open a site between institutions, with its own data and within its limits.

    Raises:
        FedclError: the experiment is not approved or exceeds the limits, or the data cannot be
            used.
    """
    config = agreed_config(config_text, home)
    label = home.settings.site
    cohort = open_experiment(config, own_site=label)
    if label not in cohort.sites:
        raise ConfigError(f"site: {label} is not among the sites of its data: {cohort.sites}")
    site = _site(config, cohort, label, config_text)
    if len(site.rows):
        require_enough(site.participants, home)
    return site


def _site(config: Config, cohort: Cohort, label: str, config_text: str) -> Site:
    rows = cohort.rows(split=TRAIN, site=label)
    if cohort.participants(rows) < config.local.min_participants:
        rows = rows[:0]
    memory = SiteMemory(RunFolder(config.output.path).site_path(label))
    return Site(label, config, cohort, rows, memory, fingerprint(config_text))


def introduce(site: Site) -> Introduction:
    """Return the site's introduction, for a table with the sums that standardise its features."""
    encoder = site.config.encoder
    wanted = isinstance(encoder, MLPEncoder) and encoder.public_scale is None and len(site.rows)
    sums = feature_sums(site.cohort, site.rows) if wanted else None
    return Introduction(site.label, site.participants, site.cohort.shape, sums)


# One process of a simulation plays many sites, so it opens the cohort and builds the network once.
@lru_cache(maxsize=2)
def _experiment(config_text: str) -> tuple[Config, Cohort]:
    config = parse(config_text, source="the configuration from the server")
    return config, open_experiment(config)


@lru_cache(maxsize=1)
def network_of(config: Config, shape: tuple[int, ...]) -> tuple[Network, State]:
    """Return one network for all sites, and the initial values of the tensors that never travel.

    Every tensor is overwritten in each round, so the training of one site cannot reach another.
    """
    network = build_network(config, shape, seed=config.seed)
    return network, read_state(network, staying_names(network, config.federation))


def received_network(site: Site, weights: State, round_number: int) -> Network:
    """Return the network with the received weights and the tensors that stay at the site."""
    config = site.config
    use_threads(config.compute)
    network, first_state = network_of(config, site.cohort.shape)
    _unchanged.pop(network, None)
    staying = site.memory.tensors.before(round_number)
    write_state(network, {**weights, **(staying or first_state)})
    to_device(network, choose_device(config.compute))
    return network


def network_to_read(site: Site, weights: State, round_number: int) -> Network:
    """Return `received_network` for a caller that changes no tensor.

    In a simulation the sites of a step are sent the same arrays, which are written once.
    """
    network, _ = network_of(site.config, site.cohort.shape)
    if not _same_memory(_unchanged.get(network), weights):
        received_network(site, weights, round_number)
        _unchanged[network] = weights
    return network


# While the arrays are held here, no others can have their place in memory.
_unchanged: "WeakKeyDictionary[Network, State]" = WeakKeyDictionary()


def _same_memory(some: State | None, others: State) -> bool:
    """Return whether two states are the same bytes of one message, which nobody can change."""
    if some is None or some.keys() != others.keys():
        return False
    return all(
        array.ctypes.data == others[name].ctypes.data
        and array.shape == others[name].shape
        and not (array.flags.writeable or others[name].flags.writeable)
        for name, array in some.items()
    )


def staying_names(network: Network, federation: Federation) -> TensorNames:
    """Return the names of the tensors that stay at the site."""
    travel = set(travelling_names(network, federation))
    return tuple(n for n in travelling(network, keep_norm=False) if n not in travel)
