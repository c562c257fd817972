"""Trains a site for one round in plain PyTorch, with one pass of SGD per epoch."""

import torch

from engines.age_network import AgeNetwork
from engines.task import Site


def one_thread() -> None:
    """Limit this process to one thread, since engines differ in their numbers of processes."""
    torch.set_num_threads(1)


def train(network: AgeNetwork, site: Site, *, round_number: int, learning_rate: float) -> None:
    """Train in place on the round's batches."""
    optimizer = torch.optim.SGD(network.parameters(), lr=learning_rate)
    network.train()
    for volumes, ages in site.batches(round_number):
        optimizer.zero_grad(set_to_none=True)
        network.loss(volumes, ages).backward()
        optimizer.step()
