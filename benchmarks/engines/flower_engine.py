"""Runs Flower's simulation engine, Ray, with Flower's own FedAvg and one actor per core."""

import os

import torch
from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

from engines import flower_site
from engines.local_steps import one_thread
from engines.outcome import Clock, hand_back, options


def main() -> None:
    """Run the rounds, each of which ends at the strategy's evaluation hook."""
    parser = options(__doc__)
    parser.add_argument("--processes", type=int, required=True)
    chosen = parser.parse_args()
    task, settings, clock = chosen.task, chosen.task.settings, Clock()
    os.environ[flower_site.TASK] = str(task.folder.resolve())
    one_thread()
    app = ServerApp()

    def after_round(number: int, _: ArrayRecord) -> MetricRecord | None:
        if number:
            clock.stamp()
        return None

    @app.main()
    def serve(grid: Grid, _: Context) -> None:
        strategy = FedAvg(
            fraction_evaluate=0.0,
            min_train_nodes=settings.sites,
            min_available_nodes=settings.sites,
        )
        start = {name: torch.from_numpy(array) for name, array in task.start().items()}
        result = strategy.start(
            grid, ArrayRecord(start), num_rounds=settings.rounds, evaluate_fn=after_round
        )
        weights = {name: array.numpy() for name, array in result.arrays.items()}
        hand_back(chosen.out, clock.ends, weights)

    run_simulation(
        app,
        flower_site.app,
        num_supernodes=settings.sites,
        backend_config={
            "init_args": {"num_cpus": chosen.processes, "include_dashboard": False},
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        },
    )


if __name__ == "__main__":
    main()
