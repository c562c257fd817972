"""A site's part of the erasure: sums over the features of its training participants."""

import time

from fedcl.erasure.settings import nodes_of
from fedcl.erasure.sums import ErasureSums
from fedcl.errors import ConfigError
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import ErasureShare
from fedcl.sites.features import frozen_network, participant_features
from fedcl.sites.site import Site


def share_erasure_sums(site: Site, order: Instruction) -> ErasureShare:
    """Return sums over the site's training participants, by kind of features.

    Raises:
        FedclError: no erasure is due, or the weights do not fit the encoder.
    """
    started, settings = time.perf_counter(), site.config.erasure
    if settings is None or order.round != site.config.federation.rounds:
        raise ConfigError(f"no erasure is due after round {order.round}")
    if not len(site.rows):
        raise ConfigError("a site without training participants has no part in the erasure")
    network = frozen_network(site, order)
    found = participant_features(site, network, site.rows, settings.features, order)
    sums = {
        kind: ErasureSums.of(split.features, split.ages, nodes_of(settings))
        for kind, split in found.items()
    }
    seconds = time.perf_counter() - started
    return ErasureShare(site.label, order.round, site.participants, sums, seconds)
