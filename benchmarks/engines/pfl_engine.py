"""Runs Apple's pfl-research, its FederatedAveraging on its SimulatedBackend.

Granqvist et al., "pfl-research: simulation framework for accelerating research in private federated
learning", NeurIPS 2024, https://arxiv.org/abs/2404.06430

With more than one process it is started by torchrun, as its manual says, and sums by gloo.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByDatapoints
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam.base import NNEvalHyperParams, NNTrainHyperParams
from pfl.internal.ops import pytorch_ops
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel

from engines.age_network import AgeNetwork
from engines.local_steps import one_thread
from engines.outcome import Clock, hand_back, options
from engines.task import Site


class Measured(AgeNetwork):
    """The network with the one further method that pfl needs, which computes nothing."""

    def metrics(self, volumes: torch.Tensor, _: torch.Tensor) -> dict[str, Weighted]:
        """Return a count, so that pfl's evaluation of the first round costs nothing."""
        return {"participants": Weighted.from_unweighted(len(volumes))}


class OneRound(Dataset):
    """The batches of a site in one round, in the order that the task gives."""

    def __init__(self, site: Site, number: int, name: int) -> None:
        super().__init__((site.volumes, site.ages), user_id=str(name))
        self._site, self._number = site, number

    def iter(self, _: int | None) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the batches of every epoch of the round."""
        return self._site.batches(self._number)


class RoundEnds(TrainingProcessCallback[PyTorchModel]):
    """Stamps the clock after each round and knows the number of the present round."""

    def __init__(self) -> None:
        self.clock = Clock()

    def after_central_iteration(self, *_: Any, **__: Any) -> tuple[bool, Metrics]:
        """Record that the mean of a round has been applied."""
        self.clock.stamp()
        return False, Metrics()


def main() -> None:
    """Run the rounds on the sites in turn, which processes share."""
    chosen = options(__doc__).parse_args()
    task, settings = chosen.task, chosen.task.settings
    one_thread()
    network = Measured(settings.width)
    network.load_state_dict({name: torch.from_numpy(a) for name, a in task.start().items()})
    network.train()
    ends = RoundEnds()
    sites = [task.site(number) for number in range(settings.sites)]
    sizes = {number: len(site) for number, site in enumerate(sites)}
    # What processes share the work by: it takes a further process each, so only where sites differ
    # or cannot be dealt out evenly.
    uneven = len(set(sizes.values())) > 1 or len(sites) % pytorch_ops.distributed.world_size
    data = FederatedDataset(
        _opener(sites, ends.clock),
        get_user_sampler("minimize_reuse", list(sizes)),
        user_id_to_weight=sizes if uneven else None,
    )
    model = PyTorchModel(
        network, torch.optim.SGD, central_optimizer=torch.optim.SGD(network.parameters(), lr=1.0)
    )
    FederatedAveraging().run(
        NNAlgorithmParams(
            central_num_iterations=settings.rounds,
            evaluation_frequency=settings.rounds + 1,
            train_cohort_size=settings.sites,
            val_cohort_size=None,
        ),
        SimulatedBackend(data, data, postprocessors=[WeightByDatapoints()]),
        model,
        NNTrainHyperParams(
            # One epoch of pfl's is one round here, since `OneRound` yields all epochs.
            local_num_epochs=1,
            local_learning_rate=settings.learning_rate,
            local_batch_size=None,
        ),
        NNEvalHyperParams(local_batch_size=None),
        callbacks=[ends],
    )
    if pytorch_ops.distributed.global_rank == 0:
        weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
        hand_back(chosen.out, ends.clock.ends, weights)


def _opener(sites: list[Site], clock: Clock) -> Callable[[int], OneRound]:
    return lambda number: OneRound(sites[number], len(clock.ends) + 1, number)


if __name__ == "__main__":
    main()
