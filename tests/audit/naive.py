"""What fedcl refuses and an audit must catch: a contrast within the batch, clipped all the same."""

import torch

from fedcl.models.mlp import MLP
from fedcl.models.network import Network
from fedcl.models.projector import Projector
from fedcl.objective import objective
from tests.privacy.made import objective_of

FEATURES = 6
_TASK = objective_of(prototypes=None)


def naive_losses(network, batch):
    """The batch's objective as it is trained without privacy; one value, of everybody."""
    views, known = (batch.first, batch.second), {"age": batch.ages}
    return objective(network, views, known, _TASK).value[None] * len(batch)


def tiny_network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Network(MLP(FEATURES, (8,)), Projector(8, hidden=7, dim=6), None)
