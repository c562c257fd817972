"""Runs NVIDIA FLARE's simulator with its FedAvg recipe for PyTorch.

Roth et al., "NVIDIA FLARE: federated learning from simulation to real-world", 2022,
https://arxiv.org/abs/2210.13291

Sites train in processes of their own. With fewer threads than sites a process is started anew for
each site and round; with as many, all stay in memory.
"""

import json
import re
from datetime import datetime
from pathlib import Path

import torch
from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
from nvflare.client.config import ExchangeFormat
from nvflare.recipe.sim_env import SimEnv

from engines import nvflare_site
from engines.age_network import AgeNetwork
from engines.local_steps import one_thread
from engines.outcome import hand_back, options

JOB = "peers"


def main() -> None:
    """Run the rounds and read the times of their ends from the server's log."""
    parser = options(__doc__)
    parser.add_argument("--threads", type=int, help="default: one for each site")
    chosen = parser.parse_args()
    task, settings, out = chosen.task, chosen.task.settings, chosen.out.resolve()
    one_thread()
    start = out / "start.pt"
    torch.save({name: torch.from_numpy(a) for name, a in task.start().items()}, start)
    recipe = FedAvgRecipe(
        name=JOB,
        model={
            "class_path": f"{AgeNetwork.__module__}.{AgeNetwork.__qualname__}",
            "args": {"width": settings.width},
        },
        initial_ckpt=str(start),
        min_clients=settings.sites,
        num_rounds=settings.rounds,
        train_script=nvflare_site.__file__,
        train_args=f"--task {task.folder.resolve()}",
        # Tensors travel as they are, without NumPy between.
        server_expected_format=ExchangeFormat.PYTORCH,
        # This takes a quarter less memory in all and is not slower.
        client_memory_gc_rounds=1,
        server_memory_gc_rounds=1,
    )
    recipe.run(
        SimEnv(
            num_clients=settings.sites,
            num_threads=chosen.threads or settings.sites,
            workspace_root=str(out),
        )
    )
    server = out / JOB / "server"
    last = torch.load(next(server.rglob("FL_global_model.pt")), weights_only=True)
    weights = {name: torch.as_tensor(value).numpy() for name, value in last["model"].items()}
    hand_back(out, _round_ends(server), weights)


def _round_ends(server: Path) -> list[float]:
    """Return the times when rounds ended: when the next began or the workflow was finished."""
    stamps = []
    for line in (server / "log.json").read_text().splitlines():
        entry = json.loads(line)
        if re.search(r"Round \d+ started|Finished FedAvg", entry["message"]):
            moment = datetime.strptime(entry["asctime"], "%Y-%m-%d %H:%M:%S,%f")
            stamps.append(moment.timestamp())
    return stamps[1:]


if __name__ == "__main__":
    main()
