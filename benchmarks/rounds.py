"""Seconds and memory per round: 64 sites, the 33-million-parameter encoder, next to no training.

What is left is the cost of federating: messages, copies, checks, aggregation, checkpoints. Each
arm runs in a fresh process. Run: python benchmarks/rounds.py [--rounds 3]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ARMS = {
    "plain loop, one process": (0, None),
    "fedcl simulate, 1 worker": (1, None),
    "fedcl simulate, 2 workers": (2, None),
    "1 worker, moments one round stale": (1, "stale"),
    "1 worker, moments asked for first": (1, "fresh"),
}
SITES = 64
DIM = 128


def experiment(folder: Path, rounds: int, workers: int, moments: str | None):
    """One step of SGD per site and round on three tiny volumes."""
    import yaml

    from fedcl.config.text import parse

    tree = yaml.safe_load((Path(__file__).parents[1] / "configs" / "demo.yaml").read_text())
    tree["data"] |= {"path": str(folder / "phantom"), "scale": 0.001, "grid": [8, 9, 8]}
    tree["views"] = {"kind": "none"}
    tree["encoder"]["width"] = 64
    tree["projector"]["dim"] = DIM
    if moments is not None:
        axis = {"kind": "spaced", "covariate": "age", "first": 5, "last": 90, "spacing": 5}
        tree["objective"]["moments"] = {
            "grid": [axis],
            "order": 2,
            "components": "sum",
            "min_count": 2,
            "participants": None,
            "momentum": 0,
            "fresh": moments == "fresh",
        }
    tree["local"] |= {
        "epochs": 1,
        "optimizer": {"kind": "sgd", "learning_rate": 0.01, "weight_decay": 0, "momentum": 0},
        "min_participants": 2,
    }
    tree["federation"]["rounds"] = rounds
    tree["compute"]["workers"] = max(workers, 1)
    tree["evaluation"] = {"every_rounds": None, "bootstrap": 0}
    tree["output"]["path"] = str(folder / f"run-{workers}-{moments}")
    return parse(yaml.safe_dump(tree), source="benchmark")


def plain_loop(config) -> list[float]:
    """What any researcher would write: no messages, no checks, no checkpoints."""
    from fedcl.compute import use_threads
    from fedcl.data.cohort import TRAIN
    from fedcl.data.open import open_experiment
    from fedcl.local_round import local_round
    from fedcl.models.network import build_network
    from fedcl.models.travelling import read_state, travelling, write_state
    from fedcl.optimizer import build_optimizer
    from server.rules import weighted_mean

    use_threads(config.compute)
    cohort = open_experiment(config)
    network = build_network(config, cohort.shape, seed=config.seed)
    names = travelling(network, keep_norm=False)
    weights = read_state(network, names)
    seconds = []
    for number in range(1, config.federation.rounds + 1):
        started = time.perf_counter()

        def updates(weights=weights, number=number):
            for site in cohort.training_sites(min_participants=config.local.min_participants):
                rows = cohort.rows(split=TRAIN, site=site)
                write_state(network, weights)
                optimizer = build_optimizer(network, config.local, round_number=number)
                local_round(
                    network, optimizer, cohort, rows, config, round_number=number, site=site
                )
                yield read_state(network, names), float(len(rows))

        weights = weighted_mean(updates())
        seconds.append(time.perf_counter() - started)
    return seconds


def federation(config) -> list[dict]:
    """The real apps on the in-process Grid; return the log."""
    from fedcl.run_folder import RunFolder
    from fedcl.simulation import simulate

    simulate(config, sites=SITES, resume=False)
    return RunFolder(config.output.path).read_log()


def main() -> None:
    """Print one row per arm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm is not None:
        workers, moments = ARMS[options.arm]
        config = experiment(options.folder, options.rounds, workers, moments)
        if workers:
            log = federation(config)
            seconds = [record["seconds"] for record in log]
            # The first round of stale moments has none to send.
            keys = ("bytes", "sent_bytes", "moments_bytes")
            traffic = {key: log[-1][key] for key in keys}
        else:
            seconds, traffic = plain_loop(config), None
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss if workers > 1 else 0
        megabytes = (own + workers * worker) / 1024
        print(json.dumps({"seconds": seconds, "megabytes": megabytes, "traffic": traffic}))
        return
    with tempfile.TemporaryDirectory() as folder:
        print("| variant | s/round (median) | ratio | peak memory, GB | ", end="")
        print("GB a round, both ways | of them moments |\n|---|---|---|---|---|---|")
        reference = None
        for name in ARMS:
            command = [sys.executable, __file__, "--arm", name, "--folder", folder]
            command += ["--rounds", str(options.rounds)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            result = json.loads(output.splitlines()[-1])
            median = sorted(result["seconds"])[len(result["seconds"]) // 2]
            reference = reference or median
            row = f"{median:.1f} | {median / reference:.2f}x | {result['megabytes'] / 1024:.2f}"
            traffic = result["traffic"]
            if traffic:
                total = traffic["bytes"] + traffic["sent_bytes"]
                share = traffic["moments_bytes"]
                row += f" | {total / 1e9:.2f} | {share / 1e6:.0f} MB, {100 * share / total:.2f} %"
            else:
                row += " | – | –"
            print(f"| {name} | {row} |", flush=True)


if __name__ == "__main__":
    main()
