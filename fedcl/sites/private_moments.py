"""Computes a site's part of a release of noisy moments, and prepares releases for its losses."""

import time

import torch

from fedcl.compute.device import choose_device
from fedcl.config.privacy import CentralPrivacy, ParticipantPrivacy
from fedcl.errors import RunError
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import PrivateMomentShare
from fedcl.moments.frozen import FrozenMoments, frozen_moments
from fedcl.moments.grid import node_count, node_shares
from fedcl.moments.of_a_site import embed_rows
from fedcl.moments.private import private_sums
from fedcl.privacy.noisy_moments import add_noise
from fedcl.privacy.plan import share_of_noise
from fedcl.sites.charges import pay_release
from fedcl.sites.held_weights import weights_received
from fedcl.sites.site import Site, received_network


def share_private_moments(site: Site, order: Instruction) -> PrivateMomentShare:
    """Charge the ledger, then return the site's moments under the received weights with noise.

    In mode participant each site's share has the whole noise and is a release by itself; in mode
    participant_central only the sum over sites has.

    Raises:
        FedclError: the weights do not fit the encoder, or the ledger does not allow the release.
    """
    started = time.perf_counter()
    config, privacy = site.config, site.config.privacy
    settings = config.objective.private_moments
    assert settings is not None
    assert isinstance(privacy, ParticipantPrivacy | CentralPrivacy)
    entropy = pay_release(site, privacy, order.round)
    network = received_network(site, weights_received(site, order), order.round)
    batches = [batch.cpu() for batch in embed_rows(network, site.cohort, site.rows, config.compute)]
    names = [axis.covariate for axis in settings.grid]
    known = site.cohort.known_of(site.rows, names)
    shares = node_shares({name: torch.as_tensor(v) for name, v in known.items()}, settings)
    # A participant counts with the mean of their scans.
    weight = torch.from_numpy(site.cohort.shares(site.rows))[:, None]
    owners = torch.from_numpy(site.cohort.owners(site.rows))

    def of_participants(scans: torch.Tensor) -> torch.Tensor:
        zeros = torch.zeros(site.participants, scans.shape[1], dtype=torch.float64)
        return zeros.index_add(0, owners, weight * scans.double())

    means = torch.zeros(node_count(settings), config.projector.dim, dtype=torch.float64)
    if order.released is not None:
        means = order.released.means()
    slot = 1 + order.slots.index(site.label) if site.label in order.slots else 0
    sums = private_sums(
        of_participants(torch.cat(batches)),
        of_participants(shares),
        means,
        settings,
        slot=slot,
        slots=len(order.slots),
    )
    central = isinstance(privacy, CentralPrivacy)
    noisy = add_noise(
        sums,
        settings,
        entropy,
        share=share_of_noise(config.federation) if central else 1.0,
        slots=tuple(range(1 + len(order.slots))) if central else (slot,),
    )
    seconds = time.perf_counter() - started
    return PrivateMomentShare(site.label, order.round, site.participants, noisy, seconds)


def moments_for_round(site: Site, order: Instruction) -> FrozenMoments | None:
    """Return the released moments as the site's losses use them, or None without any.

    Raises:
        RunError: the server sends no release, or one that does not fit the experiment.
    """
    settings = site.config.objective.private_moments
    if settings is None:
        return None
    released, dim = order.released, site.config.projector.dim
    if released is None or released.sums.total.shape != (node_count(settings), dim):
        raise RunError("the server sends no released moments that fit the experiment")
    device = choose_device(site.config.compute)
    return frozen_moments(released, site.label, settings, device=device)
