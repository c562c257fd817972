"""Computes a site's own moments and prepares the other sites' moments for its batches."""

import hashlib
from pathlib import Path

from fedcl.compute.device import choose_device
from fedcl.errors import RunError
from fedcl.messages.orders import Instruction
from fedcl.models.network import Network
from fedcl.moments.of_a_site import residents, site_moments
from fedcl.moments.shared import mean_over_rounds
from fedcl.moments.snapshot import Snapshot, snapshot_of
from fedcl.moments.sums import NodeSums
from fedcl.sites.site import Site

_MOST_SNAPSHOTS = 128
"""Number of sites' snapshots that one process of a simulation holds, the latest ones."""

_snapshots: dict[tuple[Path, int, bytes], Snapshot | None] = {}


def remembered_moments(site: Site, network: Network, round_number: int) -> NodeSums:
    """Return the site's moments under a network, and store them in the site's memory."""
    sums, embeddings = site_moments(network, site.cohort, site.rows, site.config)
    site.memory.remember_moments(round_number, sums, embeddings)
    return sums


def snapshot_of_round(site: Site, order: Instruction) -> Snapshot | None:
    """Return `snapshot` of a round with many steps, made once in this process.

    Raises:
        RunError: the site no longer has its own moments, or its participants have changed.
    """
    if order.shared is None:
        return None
    digest = hashlib.blake2b()
    for part in order.shared.parts:
        for array in part.arrays().values():
            digest.update(array.tobytes())
    key = (site.memory.folder, order.round, digest.digest())
    if key not in _snapshots:
        while len(_snapshots) >= _MOST_SNAPSHOTS:
            del _snapshots[next(iter(_snapshots))]
        _snapshots[key] = snapshot(site, order)
    return _snapshots[key]


def snapshot(site: Site, order: Instruction) -> Snapshot | None:
    """Return the other sites' moments as the batches use them, or None without any.

    Raises:
        RunError: the site no longer has its own moments, or its participants have changed.
    """
    config, settings, shared = site.config, site.config.objective.moments, order.shared
    if shared is None or settings is None:
        return None
    remembered = site.memory.moments(shared.round)
    own, own_residents = None, None
    if remembered is not None:
        own, embeddings = remembered
        if len(embeddings) != len(site.rows):
            raise RunError("the site's participants changed since it released its moments")
        own_residents = residents(site.cohort, site.rows, config.objective, embeddings)
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
