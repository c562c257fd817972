"""Finds and encodes a site's part of a step that all sites take together."""

from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch

from fedcl.compute.device import autocast
from fedcl.config.counts import Participants
from fedcl.config.local_settings import LocalSettings
from fedcl.data.cohort import Rows
from fedcl.errors import RunError
from fedcl.kernels.positiveness import Known
from fedcl.local_round import seeded, views_of_batch
from fedcl.messages.orders import Instruction
from fedcl.messages.step_schedule import SitePart, common_rule, parts_of_site, shuffled_participants
from fedcl.models.network import Network
from fedcl.moments.cross_site import CrossSite
from fedcl.objective import Loss, objective_of
from fedcl.seeds import derive
from fedcl.shapes import Numbers
from fedcl.sites.site import Site
from fedcl.terms import EncodedViews, encode_views


@dataclass(frozen=True)
class EncodedPart:
    """A site's part of a step, encoded under the weights of the step.

    Attributes:
        site: The site that the participants belong to.
        rows: Rows of the scans in the step, ascending.
        encoded: Both views of every scan.
        known: Covariates of the scans, by name.
        round: Number of the round, from 1.
    """

    site: Site
    rows: Rows
    encoded: EncodedViews
    known: Known
    round: int

    @property
    def participants(self) -> Participants:
        """Number of participants in the part."""
        return self.site.cohort.participants(self.rows)

    @property
    def positions(self) -> Numbers:
        """Position of each scan among the site's rows, from 0."""
        device = self.encoded.representation.device
        return torch.as_tensor(np.searchsorted(self.site.rows, self.rows), device=device)

    def loss(self, others: CrossSite | None) -> Loss:
        """Return the loss of the part beside what it sees of other sites."""
        return objective_of(
            self.encoded,
            self.known,
            self.site.config.objective,
            others,
            round_number=self.round,
        )


def encoded_part(network: Network, site: Site, rows: Rows, order: Instruction) -> EncodedPart:
    """Return the site's part of a step, encoded; the draws are those of the step.

    Args:
        network: Network with the weights of the step.
        site: The site, whose draws are seeded by its label.
        rows: Rows of the scans in the step, ascending.
        order: Instruction with the numbers of the round and of the step.
    """
    device = next(network.parameters()).device
    arrays = torch.from_numpy(site.cohort.load(rows)).to(device)
    network.train()
    views, known = views_of_batch(
        network,
        site.cohort,
        rows,
        arrays,
        LocalSettings.of(site.config),
        round_number=order.round,
        epoch=_epoch(order),
    )
    with autocast(site.config.compute, device):
        encoded = encode_views(network, views)
    return EncodedPart(site, rows, encoded, known, order.round)


def seeded_step(
    site: Site, order: Instruction, device: torch.device
) -> AbstractContextManager[None]:
    """Seed torch's draws of a site's part of a step, which its questions all begin with."""
    return seeded(
        device, derive(site.config.seed, "network", site.label, order.round, order.stretch)
    )


def part_of(site: Site, order: Instruction) -> SitePart:
    """Return the site's part of the step.

    Raises:
        RunError: the site has none, or the round has no such step.
    """
    config = site.config
    most = config.local.epochs * order.steps
    if not 1 <= order.stretch <= most or order.round <= common_rule(config).local_rounds:
        raise RunError(
            f"the server asks for step {order.stretch} of {most} of round {order.round}, which "
            "has no such step"
        )
    parts = parts_of_site(
        config,
        site.label,
        site.participants,
        round_number=order.round,
        epoch=_epoch(order),
        steps=order.steps,
    )
    here = (order.stretch - 1) % order.steps
    for part in parts:
        if part.step == here:
            return part
    raise RunError(f"the site has no participants in step {order.stretch} of the round")


def rows_of(site: Site, order: Instruction, part: SitePart) -> Rows:
    """Return the rows of all the scans of the participants in a part, ascending."""
    shuffled = shuffled_participants(
        site.config,
        site.label,
        site.participants,
        round_number=order.round,
        epoch=_epoch(order),
    )
    chosen = shuffled[part.first : part.end]
    rows: Rows = site.rows[np.isin(site.cohort.owners(site.rows), chosen)]
    return rows


def _epoch(order: Instruction) -> int:
    return (order.stretch - 1) // order.steps
