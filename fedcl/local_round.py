"""Train a network for one round: participants -> views -> encoder -> objective -> step.

The same function trains at a site of the federation, on all sites pooled, and at one site alone.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from fedcl.compute.device import autocast
from fedcl.config.counts import Participants
from fedcl.config.local_settings import LocalSettings
from fedcl.data.cohort import Cohort, Rows
from fedcl.data.sampling import read_ahead, shuffled_batches
from fedcl.data.views import two_views
from fedcl.kernels.positiveness import Known
from fedcl.messages.releases import TermSum
from fedcl.models.network import Network
from fedcl.moments.cross_site import CrossSite
from fedcl.moments.snapshot import Snapshot
from fedcl.objective import Loss, objective
from fedcl.seeds import derive, numpy_generator
from fedcl.shapes import Inputs


@dataclass(frozen=True)
class TrainingSums:
    """Hold the sums that describe a local round; adding two parts of one round gives the whole.

    Attributes:
        participants: Number of training participants seen in each epoch.
        steps: Number of optimiser steps taken.
        terms: Sum of every term of the objective over batches and epochs, by the term's name.
        seconds: Wall-clock time of the round in seconds.
    """

    participants: Participants
    steps: int
    terms: dict[str, TermSum]
    seconds: float

    def __add__(self, other: "TrainingSums") -> "TrainingSums":
        terms = dict(self.terms)
        for name, term in other.terms.items():
            terms[name] = terms[name] + term if name in terms else term
        steps, seconds = self.steps + other.steps, self.seconds + other.seconds
        return TrainingSums(other.participants, steps, terms, seconds)


def local_round(
    network: Network,
    optimizer: torch.optim.Optimizer,
    cohort: Cohort,
    rows: Rows,
    settings: LocalSettings,
    *,
    round_number: int,
    site: str,
    proximal: float = 0.0,
    snapshot: Snapshot | None = None,
    epochs: range | None = None,
    received: Sequence[torch.Tensor] | None = None,
) -> TrainingSums:
    """Train `network` in place on the scans in `rows`, and return sums that describe the round.

    Every random draw is seeded by (seed, purpose, site or scan, round, epoch), so the result does
    not depend on what ran before in this process. Two scans of one participant are two rows.

    Args:
        network: Network with the weights received, which is trained in place on its device.
        optimizer: Optimiser over the network's parameters.
        cohort: Cohort that the scans belong to.
        rows: Rows of the scans to train on, ascending.
        settings: Objective, views, optimiser settings and seed of the experiment.
        round_number: Number of the round, counted from 1.
        site: Label that seeds the draws: the site's, or one that stands for several sites.
        proximal: Weight mu of the proximal term of FedProx, >= 0; 0 leaves the term out.
        snapshot: Participants of other sites as batches are compared with them; None for none.
        epochs: Epochs of the round to train now, counted from 0; None trains all.
        received: Parameters at the start of the round; None takes those of `network` now.
    """
    started = time.perf_counter()
    device = next(network.parameters()).device
    if received is None:
        received = [p.detach().clone() for p in network.parameters()] if proximal else []
    epochs = epochs or range(settings.local.epochs)
    seed = settings.seed
    steps = 0
    sums: dict[str, torch.Tensor] = {}

    network.train()
    later = (epochs.start,) if epochs.start else ()
    with seeded(device, derive(seed, "network", site, round_number, *later)):
        for epoch in epochs:
            shuffle = numpy_generator(seed, "order", site, round_number, epoch)
            batches = shuffled_batches(
                rows, batch_size=settings.local.batch_size, generator=shuffle
            )
            for batch, arrays in read_ahead(cohort, batches, device=device):
                cross_site = None
                if snapshot is not None:
                    positions = torch.as_tensor(np.searchsorted(rows, batch), device=device)
                    cross_site = CrossSite(snapshot, positions)
                loss = loss_of_batch(
                    network,
                    cohort,
                    batch,
                    arrays,
                    settings,
                    cross_site,
                    round_number=round_number,
                    epoch=epoch,
                )
                value = loss.value
                if proximal:
                    value = value + proximal / 2 * _squared_distance(network, received)
                optimizer.zero_grad(set_to_none=True)
                value.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                steps += 1
                for name, term in loss.terms.items():
                    sums[name] = sums[name] + term if name in sums else term
    optimizer.zero_grad(set_to_none=True)  # gradients take as much memory as the weights

    return TrainingSums(
        participants=cohort.participants(rows),
        steps=steps,
        terms={name: TermSum.of(*term.tolist()) for name, term in sums.items()},
        seconds=time.perf_counter() - started,
    )


@contextmanager
def seeded(device: torch.device, seed: int) -> Iterator[None]:
    """Seed torch's draws on a device, and restore its random state at the end."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        if device.type == "cuda":
            torch.manual_seed(seed)
        else:
            # torch.manual_seed would also record the call stack for a GPU that may be used later,
            # which takes a millisecond.
            torch.default_generator.manual_seed(seed)
        yield


def loss_of_batch(
    network: Network,
    cohort: Cohort,
    batch: Rows,
    arrays: torch.Tensor,
    settings: LocalSettings,
    cross_site: CrossSite | None,
    *,
    round_number: int,
    epoch: int,
) -> Loss:
    """Return the loss of a batch, of which each scan's two views are drawn here.

    Args:
        network: Network with the weights of the step.
        cohort: Cohort that the scans belong to.
        batch: Rows of the scans in the batch.
        arrays: The scans' arrays on the network's device, in the order of `batch`.
        settings: Objective, views, precision and seed of the experiment.
        cross_site: What the batch sees of other sites; None where it holds them itself.
        round_number: Number of the round, counted from 1.
        epoch: Number of the pass in the round, counted from 0.
    """
    views, known = views_of_batch(
        network, cohort, batch, arrays, settings, round_number=round_number, epoch=epoch
    )
    with autocast(settings.compute, arrays.device):
        return objective(
            network, views, known, settings.objective, cross_site, round_number=round_number
        )


def views_of_batch(
    network: Network,
    cohort: Cohort,
    batch: Rows,
    arrays: torch.Tensor,
    settings: LocalSettings,
    *,
    round_number: int,
    epoch: int,
) -> tuple[tuple[Inputs, Inputs], Known]:
    """Return two views of each scan of a batch, and the covariates that the objective compares.

    The arguments are those of `loss_of_batch`.
    """
    scans = cohort.table["scan"].to_numpy()
    draws = [derive(settings.seed, "view", scans[i], round_number, epoch) for i in batch]
    views = two_views(arrays, settings.views, seeds=draws, scale=network.feature_scale())
    known = {
        name: torch.as_tensor(values, device=arrays.device)
        for name, values in cohort.known_of(batch, settings.objective.names).items()
    }
    return views, known


def _squared_distance(network: nn.Module, received: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return ||w - w_global||^2, the proximal term of FedProx.

    Li et al., "Federated optimization in heterogeneous networks", MLSys 2020,
    https://arxiv.org/abs/1812.06127
    """
    parameters = zip(network.parameters(), received, strict=True)
    return torch.stack([(p - start).square().sum() for p, start in parameters]).sum()
