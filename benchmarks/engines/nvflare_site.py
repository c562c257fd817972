"""A site under NVIDIA FLARE: the script of its Client API, which runs once in each process."""

import argparse
from pathlib import Path

import nvflare.client as flare
from nvflare.client import FLModel

from engines.age_network import AgeNetwork
from engines.local_steps import one_thread, train
from engines.task import Task


def main() -> None:
    """Train one round whenever a model arrives."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", type=Path, required=True)
    task = Task(parser.parse_args().task)
    one_thread()
    flare.init()
    # FLARE names simulated sites site-1, site-2 ...
    site = task.site(int(flare.get_site_name().rpartition("-")[2]) - 1)
    network = AgeNetwork(task.settings.width)
    while flare.is_running():
        received = flare.receive()
        if received is None:
            break
        network.load_state_dict(received.params)
        train(
            network,
            site,
            round_number=received.current_round + 1,
            learning_rate=task.settings.learning_rate,
        )
        # FLARE weighs sites by this number, whatever it counts.
        meta = {"NUM_STEPS_CURRENT_ROUND": len(site)}
        flare.send(FLModel(params=network.state_dict(), meta=meta))


if __name__ == "__main__":
    main()
