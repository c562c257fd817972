"""A site's part of a release of moments with noise, and what its losses see of the release."""

import time

import torch

from fedcl.compute.device import choose_device
from fedcl.config.privacy import CentralPrivacy, ParticipantPrivacy
from fedcl.errors import RunError
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import PrivateMomentShare
from fedcl.moments.frozen import FrozenMoments, frozen_moments
from fedcl.moments.grid import node_count, node_shares
from fedcl.moments.of_a_site import embedded
from fedcl.moments.private import private_sums
from fedcl.privacy.noisy_moments import noised
from fedcl.privacy.plan import share_of_noise
from fedcl.sites.charges import pay_release
from fedcl.sites.held_weights import weights_received
from fedcl.sites.site import Site, received_network


def share_private_moments(site: Site, order: Instruction) -> PrivateMomentShare:
    """Return the site's moments under the weights received, with its noise; paid for first.

    In mode participant the noise is whole and every site's share a release by itself; in
    participant_central the sum over the sites is.

    Raises:
        FedclError: the weights do not fit the encoder, or the ledger does not allow it.
    """
    started = time.perf_counter()
    config, privacy = site.config, site.config.privacy
    settings = config.objective.private_moments
    assert settings is not None
    assert isinstance(privacy, ParticipantPrivacy | CentralPrivacy)
    entropy = pay_release(site, privacy, order.round)
    network = received_network(site, weights_received(site, order), order.round)
    found = [batch.cpu() for batch in embedded(network, site.cohort, site.rows, config)]
    names = [axis.covariate for axis in settings.grid]
    known = site.cohort.known_of(site.rows, names)
    shares = node_shares({name: torch.as_tensor(v) for name, v in known.items()}, settings)
    # A participant is the mean of their scans.
    weight = torch.from_numpy(site.cohort.shares(site.rows))[:, None]
    owners = torch.from_numpy(site.cohort.owners(site.rows))

    def of_participants(scans: torch.Tensor) -> torch.Tensor:
        nobody = torch.zeros(site.participants, scans.shape[1], dtype=torch.float64)
        return nobody.index_add(0, owners, weight * scans.double())

    means = torch.zeros(node_count(settings), config.projector.dim, dtype=torch.float64)
    if order.released is not None:
        means = order.released.means()
    slot = 1 + order.slots.index(site.label) if site.label in order.slots else 0
    sums = private_sums(
        of_participants(torch.cat(found)),
        of_participants(shares),
        means,
        settings,
        slot=slot,
        slots=len(order.slots),
    )
    central = isinstance(privacy, CentralPrivacy)
    noisy = noised(
        sums,
        settings,
        entropy,
        share=share_of_noise(config) if central else 1.0,
        slots=tuple(range(1 + len(order.slots))) if central else (slot,),
    )
    seconds = time.perf_counter() - started
    return PrivateMomentShare(site.label, order.round, site.participants, noisy, seconds)


def frozen(site: Site, order: Instruction) -> FrozenMoments | None:
    """Return the released moments as the site's losses see them; None where there are none.

    Raises:
        RunError: the server sends none, or others than the experiment has.
    """
    settings = site.config.objective.private_moments
    if settings is None:
        return None
    released, dim = order.released, site.config.projector.dim
    if released is None or released.sums.total.shape != (node_count(settings), dim):
        raise RunError("the server sends no released moments that fit the experiment")
    device = choose_device(site.config.compute)
    return frozen_moments(released, site.label, settings, device=device)
