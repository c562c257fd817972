"""A site's participants under a frozen encoder: one row of features for each of them.

Each participant is encoded with the received weights and, if normalisation layers stay at the
sites, with the site's own.
"""

from collections.abc import Iterable
from dataclasses import replace

from fedcl.data.cohort import Rows
from fedcl.errors import ConfigError, RunError
from fedcl.evaluation.per_participant import per_participant
from fedcl.evaluation.represent import represent
from fedcl.evaluation.split import Split
from fedcl.messages.orders import Instruction
from fedcl.models.network import Network
from fedcl.sites.held_weights import weights_received
from fedcl.sites.site import Site, network_of, received_network, staying_names

FEATURE_KINDS = ("representation", "embedding")
"""Kinds of features in the order in which the network returns them."""


def frozen_network(site: Site, order: Instruction) -> Network:
    """Return the network of the instruction's weights after its round.

    Raises:
        RunError: normalisation layers stay at the sites, and this site has none of its own yet.
    """
    weights = weights_received(site, order)
    template, _ = network_of(site.config, site.cohort.shape)
    after = order.round + 1
    if staying_names(template, site.config.federation) and not site.memory.tensors.before(after):
        raise RunError("the site has no normalisation layers of its own yet, which stay at sites")
    return received_network(site, weights, after)


def participant_features(
    site: Site, network: Network, rows: Rows, kinds: Iterable[str], order: Instruction
) -> dict[str, Split]:
    """Return participants' features by kind, erased where the instruction says so.

    Args:
        network: Network in which the scans are encoded.
        rows: Rows of the participants' scans.
        kinds: Kinds of features to return.
        order: Instruction, which holds the projections that erase the site.

    Raises:
        ConfigError: a projection is of another dimension than the features.
    """
    encoded = represent(network, site.cohort, rows, site.config.compute)
    both = dict(zip(FEATURE_KINDS, encoded, strict=True))
    splits = {}
    for kind in kinds:
        split = per_participant(site.cohort, both[kind], rows)
        projection = order.erasure.get(kind)
        if projection is not None:
            if len(projection.offset) != split.features.shape[1]:
                raise ConfigError(f"the server's erasure does not fit this site's {kind}")
            split = replace(split, features=projection(split.features))
        splits[kind] = split
    return splits
