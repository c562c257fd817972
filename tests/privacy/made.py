"""A small network and participants to clip: no training, no files."""

import torch

from fedcl.config.objective import Objective
from fedcl.models.mlp import MLP
from fedcl.models.network import Network
from fedcl.models.projector import Projector
from fedcl.objective import participant_losses

PROTOTYPES = {"first": 20, "last": 80, "spacing": 10, "bandwidth": 15, "multiplicity": 2}


def objective_of(loss="l_exp", **changes) -> Objective:
    return Objective.model_validate(
        {
            "loss": loss,
            "variant": "published",
            "temperature": 0.1,
            "kernel": {"kind": "gaussian", "covariates": ["age"], "bandwidths": [8]},
            "also": [],
            "debias": [],
            "moments": None,
            "prototypes": PROTOTYPES,
            **changes,
        }
    )


def small_network(task: Objective, features: int = 5) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        projector = Projector(8, hidden=7, dim=6) if task.uses_embedding else None
        head = torch.nn.Linear(8, 1) if task.predicts_age else None
        return Network(MLP(features, (8,), norm="none"), projector, head)


class Batch:
    """Two views of each of some participants, and their losses."""

    def __init__(self, network, task, generator, count=5, features=5):
        self.network, self.task = network, task
        self.views = [torch.randn(count, features, generator=generator) for _ in range(2)]
        self.ages = 20 + 60 * torch.rand(count, generator=generator)

    def __len__(self):
        return len(self.ages)

    def losses(self, positions):
        at = list(positions)
        views = tuple(view[at] for view in self.views)
        return participant_losses(self.network, views, {"age": self.ages[at]}, self.task)

    def without(self, participant):
        """The same batch, one participant removed."""
        kept = [i for i in range(len(self)) if i != participant]
        other = object.__new__(Batch)
        other.network, other.task = self.network, self.task
        other.views = [view[kept] for view in self.views]
        other.ages = self.ages[kept]
        return other
