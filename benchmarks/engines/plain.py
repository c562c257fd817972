"""Runs a loop as one would write it by hand: without messages, checks and checkpoints."""

import torch

from engines.age_network import AgeNetwork
from engines.local_steps import one_thread, train
from engines.outcome import Clock, hand_back, options


def main() -> None:
    """Run the loop with sums in place: one copy of the global weights and one of their sum."""
    chosen = options(__doc__).parse_args()
    task, settings, clock = chosen.task, chosen.task.settings, Clock()
    one_thread()
    sites = [task.site(number) for number in range(settings.sites)]
    total = sum(len(site) for site in sites)
    network = AgeNetwork(settings.width)
    weights = {name: torch.from_numpy(array) for name, array in task.start().items()}
    for number in range(1, settings.rounds + 1):
        mean = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
        for site in sites:
            network.load_state_dict(weights)
            train(network, site, round_number=number, learning_rate=settings.learning_rate)
            for name, tensor in network.state_dict().items():
                mean[name].add_(tensor, alpha=len(site) / total)
        weights = mean
        clock.stamp()
    hand_back(chosen.out, clock.ends, {name: tensor.numpy() for name, tensor in weights.items()})


if __name__ == "__main__":
    main()
