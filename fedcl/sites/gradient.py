"""Computes a site's share of the gradient for a step that all sites take together."""

import time

from fedcl.config.privacy import CentralPrivacy
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import GradientShare
from fedcl.privacy.central_step import gradient_share
from fedcl.sites.charges import pay_step
from fedcl.sites.private_moments import moments_for_round
from fedcl.sites.site import Site, received_network


def share_gradient(site: Site, order: Instruction) -> GradientShare:
    """Return the site's noisy sum of gradients under the received weights.

    Raises:
        FedclError: the weights do not fit the encoder, or the step is not paid for.
    """
    started = time.perf_counter()
    privacy = site.config.privacy
    assert isinstance(privacy, CentralPrivacy)
    entropy = pay_step(site, privacy, order.round, order.stretch)
    share = gradient_share(
        received_network(site, order.weights, order.round),
        site.cohort,
        site.rows,
        site.config,
        entropy,
        round_number=order.round,
        step=order.stretch,
        frozen=moments_for_round(site, order),
    )
    seconds = time.perf_counter() - started
    return GradientShare(site.label, order.round, order.stretch, site.participants, share, seconds)
