"""The method on one screen: participants -> views -> encoder -> objective -> step.

The same function runs at a site of the federation, on all sites pooled, and at one site alone.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from fedcl.compute.device import autocast
from fedcl.config.counts import Participants
from fedcl.config.experiment import Config
from fedcl.data.cohort import Cohort, Rows
from fedcl.data.sampling import read_ahead, shuffled_batches
from fedcl.data.views import two_views
from fedcl.messages.releases import TermSum
from fedcl.models.network import Network
from fedcl.moments.cross_site import CrossSite
from fedcl.moments.snapshot import Snapshot
from fedcl.objective import objective
from fedcl.seeds import derive, numpy_generator


@dataclass(frozen=True)
class TrainingSums:
    """What a local round says of itself; every quantity is a sum that adds across sites.

    Two parts of one round add up too.

    Attributes:
        participants: Training participants seen in each epoch.
        steps: Optimiser steps taken.
        terms: Of every term of the objective, summed over batches and epochs.
        seconds: Wall-clock time.
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
    config: Config,
    *,
    round_number: int,
    site: str,
    proximal: float = 0.0,
    snapshot: Snapshot | None = None,
    epochs: range | None = None,
    received: Sequence[torch.Tensor] | None = None,
) -> TrainingSums:
    """Train `network` in place on the participants in `rows`.

    Every draw is named by (seed, purpose, site or scan, round, epoch), so the result does not
    depend on what ran before in this process. Two scans of one participant are two rows.

    Args:
        network: Holds the weights received; trained in place, on its device.
        optimizer: Over the network's parameters.
        cohort: The participants.
        rows: The scans to train on, ascending.
        config: The experiment.
        round_number: Counts from 1.
        site: Names the draws: a label, or what stands for several sites.
        proximal: mu of FedProx, >= 0; 0 leaves the term out.
        snapshot: What batches see of the other sites; None: nothing.
        epochs: Which of the round's epochs, from 0; None: all.
        received: The parameters that the round began from; None: as they are now.
    """
    started = time.perf_counter()
    device = next(network.parameters()).device
    if received is None:
        received = [p.detach().clone() for p in network.parameters()] if proximal else []
    epochs = epochs or range(config.local.epochs)
    seed = config.seed
    scans = cohort.table["scan"].to_numpy()
    steps = 0
    sums: dict[str, torch.Tensor] = {}

    network.train()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        later = (epochs.start,) if epochs.start else ()
        # torch.manual_seed would write down who called, for a GPU that may come: a millisecond.
        begin = torch.manual_seed if device.type == "cuda" else torch.default_generator.manual_seed
        begin(derive(seed, "network", site, round_number, *later))
        for epoch in epochs:
            shuffle = numpy_generator(seed, "order", site, round_number, epoch)
            batches = shuffled_batches(rows, batch_size=config.local.batch_size, generator=shuffle)
            for batch, arrays in read_ahead(cohort, batches, device=device):
                draws = [derive(seed, "view", scans[i], round_number, epoch) for i in batch]
                views = two_views(arrays, config.views, seeds=draws, scale=network.feature_scale())
                known = {
                    name: torch.as_tensor(values, device=device)
                    for name, values in cohort.known_of(batch, config.objective.names).items()
                }
                cross_site = None
                if snapshot is not None:
                    positions = torch.as_tensor(np.searchsorted(rows, batch), device=device)
                    cross_site = CrossSite(snapshot, positions)
                with autocast(config.compute, device):
                    loss = objective(
                        network,
                        views,
                        known,
                        config.objective,
                        cross_site,
                        round_number=round_number,
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
    optimizer.zero_grad(set_to_none=True)  # as much memory as the weights, of no more use

    return TrainingSums(
        participants=cohort.participants(rows),
        steps=steps,
        terms={name: TermSum.of(*term.tolist()) for name, term in sums.items()},
        seconds=time.perf_counter() - started,
    )


def _squared_distance(network: nn.Module, received: Sequence[torch.Tensor]) -> torch.Tensor:
    """||w - w_global||^2: the proximal term of Li et al. 2020, https://arxiv.org/abs/1812.06127."""
    parameters = zip(network.parameters(), received, strict=True)
    return torch.stack([(p - start).square().sum() for p, start in parameters]).sum()
